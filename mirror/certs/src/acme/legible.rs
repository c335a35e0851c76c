//! What somebody else says, made fit for a terminal, a line of a log and a page: a CA, or whoever answers in its place, may send anything.

/// `text` in one line: what steers a terminal, ends a line or turns the direction of writing is replaced, and what is too long is cut.
pub(crate) fn legible(text: &str) -> String {
    cut(text, SENTENCE)
}

/// The same for a text that holds several.
pub(super) fn legible_at_length(text: &str) -> String {
    cut(text, PARAGRAPH)
}

fn cut(text: &str, most: usize) -> String {
    let mut rest = text.chars();
    let mut line: String = rest.by_ref().take(most).map(tame).collect();
    if rest.next().is_some() {
        line.push('…');
    }
    line
}

fn tame(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Characters of what a CA says of one thing.
const SENTENCE: usize = 500;
/// Of all that it says in an answer.
const PARAGRAPH: usize = 4000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_said_is_one_short_line_that_steers_nothing(text in any::<String>()) {
            let line = legible(&text);
            prop_assert!(!line.chars().any(char::is_control) && line.lines().count() <= 1, "{line:?}");
            prop_assert!(line.chars().count() <= SENTENCE + 1);
        }
    }

    #[test]
    fn words_stay_as_they_are() {
        assert_eq!(legible("no such zone: „müller.example“"), "no such zone: „müller.example“");
        assert_eq!(legible("\u{1b}[31mRED\r\nforged\u{202e}"), "\u{fffd}[31mRED  forged\u{fffd}");
        assert_eq!(legible(&"é".repeat(600)), "é".repeat(500) + "…");
    }
}
