//! A text and places in it: lines, columns, line ends, and cuts and pastes that leave the rest alone.

use std::ops::Range;

/// Line and column of a byte, both from 1, the column in characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..floor(text, offset)];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// Where the line around a byte begins.
pub(super) fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// Where the line after the one around a byte begins, or the text's end.
pub(super) fn next_line(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |at| offset + at + 1)
}

/// The white space at the head of the line around a byte.
pub(super) fn indent(text: &str, offset: usize) -> &str {
    let line = &text[line_start(text, offset)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// How lines end in this text: as its first does.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Each span replaced by its text; they do not overlap, and where two start at one place, the first given comes first.
pub(super) fn spliced(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut out = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for (span, with) in edits {
        debug_assert!(done <= span.start, "edits overlap");
        out.push_str(&text[done..span.start]);
        out.push_str(&with);
        done = span.end;
    }
    out.push_str(&text[done..]);
    out
}

fn floor(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_counted_in_lines_and_characters_from_one() {
        let text = "a\r\näö\n";
        for (offset, wanted) in [(0, (1, 1)), (1, (1, 2)), (3, (2, 1)), (5, (2, 2)), (6, (2, 2)), (7, (2, 3)), (8, (3, 1)), (99, (3, 1))] {
            assert_eq!(place(text, offset), wanted, "{offset}");
        }
    }

    #[test]
    fn lines_are_found_around_a_byte() {
        let text = "ab\n\t cd\n";
        assert_eq!((line_start(text, 0), line_start(text, 2), line_start(text, 3), line_start(text, 8)), (0, 0, 3, 8));
        assert_eq!((next_line(text, 0), next_line(text, 3), next_line(text, 8)), (3, 8, 8));
        assert_eq!((indent(text, 1), indent(text, 6)), ("", "\t "));
        assert_eq!((newline("a\r\nb\n"), newline("a\nb\r\n"), newline("a")), ("\r\n", "\n", "\n"));
    }

    #[test]
    fn edits_are_made_in_the_order_of_the_text_whatever_the_order_they_come_in() {
        let edits = vec![(4..5, "E".to_owned()), (0..0, "<".to_owned()), (0..2, String::new()), (5..5, ">".to_owned())];
        assert_eq!(spliced("abcde", edits), "<cdE>");
    }
}
