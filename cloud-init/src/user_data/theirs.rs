//! User data that somebody has already: each piece of it becomes a part of ours, in its order and unchanged.

use std::fmt;

use crate::gzip;
use crate::kind::Kind;
use crate::multipart::{self, Part, safe_name};

/// A file of theirs.
#[derive(Clone, Eq, PartialEq)]
pub struct Theirs {
    /// The file's name, without a folder.
    pub name: String,
    /// What is in it: plain or in gzip, one piece or a MIME message of several.
    pub bytes: Vec<u8>,
}

/// What somebody else's file holds is nobody's to show.
impl fmt::Debug for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Theirs").field("name", &self.name).field("bytes", &self.bytes.len()).finish()
    }
}

/// Why a file cannot be taken in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TheirsError {
    /// A part of the message has an encoding that leads to no text.
    #[error("{name}: line {line}: this part cannot be decoded to text")]
    Broken {
        /// The file.
        name: String,
        /// Where the part begins.
        line: usize,
    },
    /// Neither text nor gzip of a text.
    #[error("{0} is neither text in UTF-8 nor such a text in gzip")]
    NoText(String),
    /// Nothing says what it is.
    #[error("{0}: its first line does not say what it is: cloud-init knows `#cloud-config`, `#!/bin/sh` and the like")]
    Unknown(String),
}

impl Theirs {
    /// Its parts. `number`: which of the files it is, in whose order scripts are run.
    pub(super) fn parts(&self, number: usize) -> Result<Vec<Part>, TheirsError> {
        let text = self.text().ok_or_else(|| TheirsError::NoText(self.name.clone()))?;
        let named = |own: &str| safe_name(&format!("{BEFORE}{number:02}-{own}"));
        let Some(message) = multipart::read(&text) else {
            let kind = Kind::of_text(&text).ok_or_else(|| TheirsError::Unknown(self.name.clone()))?;
            return Ok(vec![Part { name: named(&self.name), content_type: kind.content_type().to_owned(), merge_type: None, text }]);
        };
        let part = |(index, part): (usize, multipart::ReadPart)| {
            if part.broken.is_some() {
                return Err(TheirsError::Broken { name: self.name.clone(), line: part.line });
            }
            // As cloud-init does: the first line counts where the type says nothing.
            let said = part.content_type.filter(|said| !matches!(said.as_str(), "text/plain" | "text/x-not-multipart"));
            let content_type = said.or_else(|| Kind::of_text(&part.text).map(|kind| kind.content_type().to_owned()));
            let name = part.name.unwrap_or_else(|| format!("part-{:03}", index + 1));
            let content_type = content_type.ok_or_else(|| TheirsError::Unknown(format!("{}, part {name}", self.name)))?;
            Ok(Part { name: named(&name), content_type, merge_type: part.merge_type, text: part.text })
        };
        message.parts.into_iter().enumerate().map(part).collect()
    }

    fn text(&self) -> Option<String> {
        let bytes = if gzip::is_packed(&self.bytes) { gzip::unpack(&self.bytes)? } else { self.bytes.clone() };
        String::from_utf8(bytes).ok()
    }
}

/// cloud-init runs scripts by their names, and the commands of `runcmd` as one that is called `runcmd`: theirs come after it, with the mirror in place.
const BEFORE: &str = "user-";

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(name: &str, bytes: &[u8]) -> Theirs {
        Theirs { name: name.to_owned(), bytes: bytes.to_vec() }
    }

    fn shown(theirs: &Theirs) -> Vec<String> {
        let parts = theirs.parts(1).expect("it can be taken in");
        parts.into_iter().map(|part| format!("{} {} {:?}", part.name, part.content_type, part.text)).collect()
    }

    #[test]
    fn a_script_and_a_cloud_config_are_parts_and_run_after_ours() {
        assert_eq!(shown(&theirs("set up.sh", b"#!/bin/sh\nx\n")), [r##"user-01-set-up.sh text/x-shellscript "#!/bin/sh\nx\n""##]);
        assert_eq!(
            shown(&theirs("c.yaml", &gzip::pack(b"#cloud-config\n{}\n"))),
            [r##"user-01-c.yaml text/cloud-config "#cloud-config\n{}\n""##]
        );
        assert!(BEFORE > "runcmd" && BEFORE > "00-chandler");
    }

    #[test]
    fn a_message_is_taken_apart() {
        let text = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n#!/bin/sh\n\n--b\nContent-Type: text/cloud-config\nMerge-Type: list(append)\n\n{}\n--b--\n";
        assert_eq!(
            shown(&theirs("m", text.as_bytes())),
            [r##"user-01-part-001 text/x-shellscript "#!/bin/sh\n""##, r#"user-01-part-002 text/cloud-config "{}""#]
        );
    }

    #[test]
    fn what_nobody_could_run_is_refused_by_name() {
        for (bytes, said) in [
            (&b"\xff\xfe"[..], "f is neither text in UTF-8 nor such a text in gzip"),
            (b"\x1f\x8bno", "f is neither text in UTF-8 nor such a text in gzip"),
            (b"runcmd: []\n", "f: its first line does not say what it is: cloud-init knows `#cloud-config`, `#!/bin/sh` and the like"),
            (
                b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n!!\n--b--\n",
                "f: line 5: this part cannot be decoded to text",
            ),
        ] {
            assert_eq!(theirs("f", bytes).parts(1).map_err(|error| error.to_string()), Err(said.to_owned()));
        }
    }
}
