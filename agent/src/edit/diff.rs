//! What a change to a file is, as a unified diff that a person reads and `patch` would: no colours, and no character that does something to a terminal.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

/// The change of one file; empty where nothing changes. `None`: the file is not there.
pub fn unified(path: &str, before: Option<&[u8]>, after: Option<&[u8]>, secret: bool) -> String {
    if before == after {
        return String::new();
    }
    let path = shown(path);
    let verb = match (before, after) {
        (None, _) => "is made",
        (_, None) => "is removed",
        _ => "is changed",
    };
    if secret {
        return format!("{path} {verb} (its content is secret)\n");
    }
    let (Some(old), Some(new)) = (text(before), text(after)) else {
        let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        return format!("{path} {verb} (no text; {} bytes before, {} after)\n", size(before), size(after));
    };
    let name = |side: Option<&[u8]>| if side.is_some() { path.as_str() } else { "/dev/null" };
    let mut out = format!("--- {}\n+++ {}\n", name(before), name(after));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    for hunk in TextDiff::from_slices(&old, &new).unified_diff().context_radius(CONTEXT).iter_hunks() {
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            out.push(match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            });
            let line = change.value();
            out.push_str(&shown(line.strip_suffix('\n').unwrap_or(line)));
            out.push('\n');
            if !line.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// A file that is not there has no lines. `None`: no text.
fn text(bytes: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(bytes.unwrap_or_default()).ok()?;
    if text.contains('\0') { None } else { Some(text) }
}

/// With every character that a terminal would act upon as `^M`, `^[` or `\u{…}`.
fn shown(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\t' => out.push(c),
            '\0'..=' ' if c != ' ' => out.extend(['^', char::from(c as u8 + b'@')]),
            c if c.is_control() || is_invisible(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Turns the direction of what is read, breaks lines, or is not seen at all.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

const CONTEXT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(before: &str, after: &str) -> String {
        unified("/etc/docker/daemon.json", Some(before.as_bytes()), Some(after.as_bytes()), false)
    }

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let lines: Vec<String> = (1..=12).map(|n| format!("line {n}\n")).collect();
        let before = lines.concat();
        insta::assert_snapshot!(diff(&before, &before.replace("line 6\n", "line six\nand more\n")), @r"
        --- /etc/docker/daemon.json
        +++ /etc/docker/daemon.json
        @@ -3,7 +3,8 @@
         line 3
         line 4
         line 5
        -line 6
        +line six
        +and more
         line 7
         line 8
         line 9
        ");
    }

    #[test]
    fn a_file_that_is_made_or_removed_has_dev_null_on_the_other_side() {
        insta::assert_snapshot!(unified("/etc/a", None, Some(b"x\n"), false), @r"
        --- /dev/null
        +++ /etc/a
        @@ -0,0 +1 @@
        +x
        ");
        insta::assert_snapshot!(unified("/etc/a", Some(b"x\ny\n"), None, false), @r"
        --- /etc/a
        +++ /dev/null
        @@ -1,2 +0,0 @@
        -x
        -y
        ");
    }

    #[test]
    fn a_missing_last_line_end_and_foreign_line_ends_are_seen() {
        insta::assert_snapshot!(diff("{}", "{}\n"), @r"
        --- /etc/docker/daemon.json
        +++ /etc/docker/daemon.json
        @@ -1 +1 @@
        -{}
        \ No newline at end of file
        +{}
        ");
        insta::assert_snapshot!(diff("a\r\nb\x1b[31m\u{202e}\r\n", "a\nb\n"), @r"
        --- /etc/docker/daemon.json
        +++ /etc/docker/daemon.json
        @@ -1,2 +1,2 @@
        -a^M
        -b^[[31m\u{202e}^M
        +a
        +b
        ");
    }

    #[test]
    fn secrets_and_what_is_no_text_are_one_line() {
        assert_eq!(unified("/k", None, Some(b"KEY"), true), "/k is made (its content is secret)\n");
        assert_eq!(unified("/k", Some(b"KEY"), Some(b"YEK"), true), "/k is changed (its content is secret)\n");
        assert_eq!(unified("/b", Some(b"\xff\xfe"), Some(b"x"), false), "/b is changed (no text; 2 bytes before, 1 after)\n");
        assert_eq!(unified("/b", Some(b"a\0"), None, false), "/b is removed (no text; 2 bytes before, 0 after)\n");
    }

    #[test]
    fn no_change_is_no_text() {
        assert_eq!(diff("a\n", "a\n"), "");
        assert_eq!(unified("/k", Some(b"KEY"), Some(b"KEY"), true), "");
    }
}
