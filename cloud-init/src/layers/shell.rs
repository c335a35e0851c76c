//! The shell's quoting, for `sh` of any kind: dash, busybox, bash.

/// One word, whatever is in it but NUL, which no word can hold.
pub fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Lines that a command reads as they stand: no `$`, backslash or backquote of theirs is the shell's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heredoc {
    /// Belongs to the command: `<< 'EOD'`.
    pub redirection: String,
    /// Belongs behind the line of the command; it ends with a line's end.
    pub body: String,
}

impl Heredoc {
    /// Of these lines; a last one that has no end gets one. It ends where they end: the delimiter is a word that no line of them is.
    pub fn of(lines: &str) -> Self {
        let delimiter = delimiter(lines);
        let end = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
        Self { redirection: format!("<< '{delimiter}'"), body: format!("{lines}{end}{delimiter}\n") }
    }
}

/// `EOD`, or `EOD_2` and so on.
fn delimiter(lines: &str) -> String {
    // Not by `str::lines`, which takes a carriage return away.
    let free = |word: &String| lines.split('\n').all(|line| line != word);
    let numbered = (2..).map(|number| format!("EOD_{number}"));
    std::iter::once("EOD".to_owned()).chain(numbered).find(free).expect("a text has fewer lines than there are numbers")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a shell reads a word: quotes, and backslashes outside of them.
    fn word(quoted: &str) -> String {
        let (mut out, mut inside, mut chars) = (String::new(), false, quoted.chars());
        while let Some(c) = chars.next() {
            match c {
                '\'' => inside = !inside,
                '\\' if !inside => out.extend(chars.next()),
                c => {
                    assert!(inside, "{c} of {quoted} is the shell's");
                    out.push(c);
                }
            }
        }
        assert!(!inside, "{quoted} does not end");
        out
    }

    /// As a shell reads a here-document whose delimiter is quoted; and what is behind it.
    fn lines<'a>(redirection: &str, text: &'a str) -> (String, &'a str) {
        let delimiter = redirection.strip_prefix("<< '").and_then(|rest| rest.strip_suffix('\'')).expect("a quoted delimiter");
        let (mut body, mut rest) = (String::new(), text);
        while let Some((line, next)) = rest.split_once('\n') {
            rest = next;
            if line == delimiter {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        (body, rest)
    }

    #[test]
    fn a_delimiter_is_no_line_of_the_text() {
        assert_eq!(Heredoc::of("EOD \nEOD"), Heredoc { redirection: "<< 'EOD_2'".to_owned(), body: "EOD \nEOD\nEOD_2\n".to_owned() });
        assert_eq!(Heredoc::of("EOD_2\n EOD\n").redirection, "<< 'EOD'");
        assert_eq!(Heredoc::of("EOD_2\nEOD\n").redirection, "<< 'EOD_3'");
        assert_eq!(Heredoc::of("").body, "EOD\n");
    }

    proptest! {
        #[test]
        fn a_word_is_read_as_it_was(text in "(?s)(['\"\\\\$`!\n ]|.){0,30}") {
            prop_assert_eq!(word(&single_quoted(&text)), text);
        }

        #[test]
        fn lines_are_read_as_they_were(text in "(?s)((EOD|EOD_2|[ -~\r]{0,5})\n){0,8}") {
            let Heredoc { redirection, body } = Heredoc::of(&text);
            let body = format!("{body}next");
            prop_assert_eq!(lines(&redirection, &body), (text, "next"));
        }
    }
}
