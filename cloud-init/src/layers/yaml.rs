//! YAML's scalars as cloud-init's reader takes them: `PyYAML`, which reads version 1.1.
//!
//! In 1.1, `on`, `0644`, `22:30` and `2020-01-01` are no strings, and a writer of 1.2 such as `serde_yaml` leaves them bare. So every string is in double quotes here, or a literal block where it has
//! several lines and no character that a reader of lines would change.

use std::fmt::Write as _;

/// One string behind a key or a dash, quoted; a literal block if it has several lines and can be one. `indent`: how many spaces are before the key or dash that it belongs to.
pub fn scalar(text: &str, indent: usize) -> String {
    if is_literal(text) { literal(text, indent + 2) } else { quoted(text) }
}

/// In double quotes, on one line.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => write!(out, "\\x{:02x}", u32::from(c)).expect("a String takes all"),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)).expect("a String takes all"),
            c => write!(out, "\\U{:08x}", u32::from(c)).expect("a String takes all"),
        }
    }
    out.push('"');
    out
}

/// `|`, and the lines below it.
fn literal(text: &str, indent: usize) -> String {
    let chomping = match () {
        () if !text.ends_with('\n') => "-",
        () if text.ends_with("\n\n") => "+",
        () => "",
    };
    let mut out = format!("|{chomping}");
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out
}

/// Several lines, whose first one tells the indentation, and whose ends nobody can miss.
fn is_literal(text: &str) -> bool {
    let starts_bare = text.starts_with(|c: char| !c.is_whitespace());
    let ends_bare = text.lines().all(|line| !line.ends_with([' ', '\t']));
    starts_bare && ends_bare && text.contains('\n') && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

/// What `PyYAML` reads as it stands; it refuses or changes the rest. Astral characters too: it did not take them before 5.1.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(document: &str) -> String {
        let value: serde_yaml::Value = serde_yaml::from_str(document).unwrap_or_else(|error| panic!("{error}\n{document}"));
        value["above"]["key"].as_str().unwrap_or_else(|| panic!("no string:\n{document}")).to_owned()
    }

    #[test]
    fn what_yaml_1_1_takes_for_something_else_is_a_string() {
        for word in ["on", "no", "~", "0644", "22:30", "2020-01-01", "1e3", "", "=", "<<", "- a", "a: b", "#"] {
            assert_eq!(scalar(word, 0), format!("\"{word}\""));
        }
    }

    #[test]
    fn several_lines_are_a_block_and_their_last_end_is_kept() {
        assert_eq!(scalar("a\n\n  b", 2), "|-\n    a\n\n      b");
        assert_eq!(scalar("a\n", 0), "|\n  a");
        assert_eq!(scalar("a\n\n", 0), "|+\n  a\n");
    }

    #[test]
    fn what_a_reader_of_lines_would_change_is_escaped() {
        for (text, shown) in [
            ("a\r\nb", r#""a\r\nb""#),
            ("a\u{85}b\n", r#""a\x85b\n""#),
            ("a\u{2028}\n", r#""a\u2028\n""#),
            (" a\n", r#"" a\n""#),
            ("a \nb", r#""a \nb""#),
            ("\u{1f6a2}\n", r#""\U0001f6a2\n""#),
        ] {
            assert_eq!(scalar(text, 0), shown);
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_what_is_read(text in "(?s)([ -~]|\\n|\\PC|.){0,40}") {
            let document = format!("above:\n  key: {}\n  next: 1\n", scalar(&text, 2));
            prop_assert_eq!(read(&document), text);
        }

        #[test]
        fn lines_of_a_script_are_what_is_read(text in "([a-z%$'\"\\\\#:-][ a-z%$'\"\\\\#:\\t-]{0,8}\\n{1,3}){1,5}[a-z]?") {
            let document = format!("above:\n  key: {}\n  next: 1\n", scalar(&text, 2));
            prop_assert_eq!(read(&document), text);
        }
    }
}
