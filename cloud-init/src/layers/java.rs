//! Java's `String.format`, through which the CircleCI VM service puts its template: every `%` begins a conversion there.
//!
//! Two placeholders are the service's, [`NAME`] and [`KEY`]; a percent sign of ours is doubled. What else a template asks for either throws, so that no machine starts, or is worse: `date +%s` becomes `date +circleci`.

use std::fmt;

/// Where the service puts the name of the machine's user.
pub const NAME: &str = "%1$s";

/// Where it puts the public key of the machine's user.
pub const KEY: &str = "%2$s";

/// The text, with every `%` doubled.
pub fn escape(text: &str) -> String {
    text.replace('%', "%%")
}

/// What stands in a template, and is neither text, nor `%%`, nor one of the two placeholders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conversion {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// As far as Java would read it: `%Y`, `%3$s`, `% f`.
    pub written: String,
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, written } = self;
        write!(
            f,
            "line {line}, column {column}: Java takes `{written}` for a conversion: a percent sign is written `%%`, and only {NAME} and {KEY} are filled in"
        )
    }
}

impl std::error::Error for Conversion {}

/// Every conversion in a template that is none of the service's two.
pub fn lint(template: &str) -> Vec<Conversion> {
    pieces(template).filter_map(Result::err).collect()
}

/// What Java makes of a template, with these two arguments.
pub fn format(template: &str, name: &str, key: &str) -> Result<String, Conversion> {
    let text = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Percent => "%",
        Piece::Name => name,
        Piece::Key => key,
    };
    pieces(template).map(|piece| piece.map(text)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Piece<'a> {
    Text(&'a str),
    Percent,
    Name,
    Key,
}

fn pieces(template: &str) -> impl Iterator<Item = Result<Piece<'_>, Conversion>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &template[at..];
        let (piece, length) = match rest.find('%') {
            _ if rest.is_empty() => return None,
            None => (Ok(Piece::Text(rest)), rest.len()),
            Some(0) => conversion(template, at),
            Some(next) => (Ok(Piece::Text(&rest[..next])), next),
        };
        at += length;
        Some(piece)
    })
}

/// The conversion that begins at a percent sign, and its length.
fn conversion(template: &str, at: usize) -> (Result<Piece<'_>, Conversion>, usize) {
    let rest = &template[at..];
    for (written, piece) in [("%%", Piece::Percent), (NAME, Piece::Name), (KEY, Piece::Key)] {
        if rest.starts_with(written) {
            return (Ok(piece), written.len());
        }
    }
    let before = &template[..at];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let written = rest[..length(rest)].to_owned();
    let length = written.len();
    (Err(Conversion { line: before.matches('\n').count() + 1, column, written }), length)
}

/// `%[index$][flags][width][.precision]letter`; of what is none, the sign and what follows it.
fn length(conversion: &str) -> usize {
    let modifiers = conversion[1..].find(|c: char| !matches!(c, '0'..='9' | '$' | '-' | '#' | '+' | ' ' | ',' | '(' | '<' | '.'));
    let Some(modifiers) = modifiers else { return 1 };
    let letter = &conversion[1 + modifiers..];
    let letters = if letter.starts_with(['t', 'T']) { 2 } else { 1 };
    let length: usize = letter.chars().take(letters).take_while(|c| *c != '\n').map(char::len_utf8).sum();
    // A `%` at a line's end takes nothing of the next.
    if length == 0 { 1 } else { 1 + modifiers + length }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_placeholders_are_filled_in_and_a_doubled_sign_is_one() {
        let made = format("name: \"%1$s\"\n- \"%2$s\"\ndate +%%s 100%%\n", "circleci", "ssh-rsa K");
        assert_eq!(made.as_deref(), Ok("name: \"circleci\"\n- \"ssh-rsa K\"\ndate +%s 100%\n"));
    }

    #[test]
    fn every_other_conversion_is_found_where_it_is() {
        let found = |template| lint(template).into_iter().map(|one| (one.line, one.column, one.written)).collect::<Vec<_>>();
        assert_eq!(found("date +%s"), [(1, 7, "%s".to_owned())]);
        assert_eq!(
            found("a\n 90% full, %3$s\n%1$d %Y %n"),
            [
                (2, 4, "% f".to_owned()),
                (2, 12, "%3$s".to_owned()),
                (3, 1, "%1$d".to_owned()),
                (3, 6, "%Y".to_owned()),
                (3, 9, "%n".to_owned())
            ]
        );
        assert_eq!(found("é%tY %"), [(1, 2, "%tY".to_owned()), (1, 6, "%".to_owned())]);
        assert_eq!(found("%\n%%%"), [(1, 1, "%".to_owned()), (2, 3, "%".to_owned())]);
        assert_eq!(found("%%1$s %-5%"), [(1, 7, "%-5%".to_owned())]);
        assert_eq!(found("%11$s"), [(1, 1, "%11$s".to_owned())]);
    }

    #[test]
    fn a_conversion_is_told_with_its_mend() {
        insta::assert_snapshot!(lint("date +%Y")[0], @"line 1, column 7: Java takes `%Y` for a conversion: a percent sign is written `%%`, and only %1$s and %2$s are filled in");
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_what_java_makes(text in "(?s)(%|[0-9$s<t. -]|.){0,30}", name in "[a-z%$]{0,9}") {
            prop_assert_eq!(lint(&escape(&text)), []);
            prop_assert_eq!(format(&escape(&text), &name, "key"), Ok(text));
        }

        #[test]
        fn any_text_is_linted_without_a_panic(text in "(?s)(%|[0-9$s<tT.\n -]|.){0,30}") {
            prop_assert_eq!(lint(&text).is_empty(), format(&text, "a", "b").is_ok());
        }
    }
}
