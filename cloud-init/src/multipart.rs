//! MIME multi-part: pieces of user data of several kinds in one document.
//!
//! [`write()`] leaves a text as it is where every reader of mail has the same bytes of it: printable ASCII with line feeds, a document that a person can read. Any other is in base64, since readers split
//! lines at what is none and guess at letters beyond ASCII. [`read()`] takes what others wrote, as Python's reader does that cloud-init has.

mod read;

pub use self::read::{Read, ReadPart, is_message, read};

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A piece.
#[derive(Clone, Eq, PartialEq)]
pub struct Part {
    /// Its file's name, by which cloud-init sorts the scripts that it runs: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What it is, such as `text/cloud-config`.
    pub content_type: String,
    /// `Merge-Type`: how a cloud-config joins those before it, where it does not say so itself.
    pub merge_type: Option<String>,
    /// What is in it.
    pub text: String,
}

/// Its text may hold a key.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// The document.
pub fn write(parts: &[Part]) -> String {
    let mut document = String::new();
    write_to(&mut document, parts).expect("a String takes all");
    document
}

fn write_to(out: &mut String, parts: &[Part]) -> fmt::Result {
    let bodies: Vec<(&str, String)> = parts.iter().map(|part| body(&part.text)).collect();
    let boundary = boundary(&bodies);
    writeln!(out, "Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0")?;
    for (part, (encoding, body)) in parts.iter().zip(&bodies) {
        let charset = if *encoding == "7bit" { "us-ascii" } else { "utf-8" };
        writeln!(out, "\n--{boundary}\nContent-Type: {}; charset=\"{charset}\"\nMIME-Version: 1.0", part.content_type)?;
        writeln!(out, "Content-Transfer-Encoding: {encoding}")?;
        if let Some(merge) = &part.merge_type {
            writeln!(out, "Merge-Type: {merge}")?;
        }
        write!(out, "Content-Disposition: attachment; filename=\"{}\"\n\n{body}", part.name)?;
    }
    writeln!(out, "\n--{boundary}--")
}

/// As `name` may be in a header and in a folder of scripts.
pub fn safe_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    name.chars().map(safe).take(LONGEST_NAME).collect()
}

/// The encoding and the text in it.
fn body(text: &str) -> (&'static str, String) {
    if text.bytes().all(|byte| matches!(byte, b'\n' | b'\t' | b' '..=b'~')) {
        return ("7bit", text.to_owned());
    }
    let encoded = STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned());
    ("base64", lines.collect::<Vec<_>>().join("\n") + "\n")
}

/// A line that is in none of them.
fn boundary(bodies: &[(&str, String)]) -> String {
    let mut boundary = "==chandler-1==".to_owned();
    let mut number = 1_u32;
    while bodies.iter().any(|(_, body)| body.contains(&boundary)) {
        number += 1;
        boundary = format!("==chandler-{number}==");
    }
    boundary
}

const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    fn part(name: &str, content_type: &str, text: &str) -> Part {
        Part { name: name.to_owned(), content_type: content_type.to_owned(), merge_type: None, text: text.to_owned() }
    }

    #[test]
    fn a_document_can_be_read_by_a_person() {
        let script = part("b.sh", "text/x-shellscript", "#!/bin/sh\necho \u{e4}\n");
        let config =
            Part { merge_type: Some("list(append)".to_owned()), ..part("a.cfg", "text/cloud-config", "#cloud-config\nruncmd: []\n") };
        assert_snapshot!(write(&[config, script]), @r#"
        Content-Type: multipart/mixed; boundary="==chandler-1=="
        MIME-Version: 1.0

        --==chandler-1==
        Content-Type: text/cloud-config; charset="us-ascii"
        MIME-Version: 1.0
        Content-Transfer-Encoding: 7bit
        Merge-Type: list(append)
        Content-Disposition: attachment; filename="a.cfg"

        #cloud-config
        runcmd: []

        --==chandler-1==
        Content-Type: text/x-shellscript; charset="utf-8"
        MIME-Version: 1.0
        Content-Transfer-Encoding: base64
        Content-Disposition: attachment; filename="b.sh"

        IyEvYmluL3NoCmVjaG8gw6QK

        --==chandler-1==--
        "#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts in prop::collection::vec("(\\PC|[\n\r\t=-]|--==chandler-1==\n?){0,60}", 1..4)) {
            let parts: Vec<Part> = texts.iter().enumerate().map(|(index, text)| part(&format!("p{index}"), "text/x-shellscript", text)).collect();
            let read = read(&write(&parts)).expect("a message");
            let back: Vec<&str> = read.parts.iter().map(|part| part.text.as_str()).collect();
            prop_assert_eq!(back, texts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert!(read.parts.iter().zip(&parts).all(|(back, part)| back.name.as_ref() == Some(&part.name)));
        }

        #[test]
        fn no_name_breaks_a_header(name in "\\PC{0,99}") {
            let safe = safe_name(&name);
            prop_assert!(safe.len() <= LONGEST_NAME && !safe.contains(['"', '/', '\n', '\r', ' ']));
        }
    }
}
