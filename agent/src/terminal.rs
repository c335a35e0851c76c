//! Whether a person sits there, and what is shown to one while something takes long. The one place that decides by it: what goes to standard output never does.
//!
//! Nothing is coloured, and nothing but a carriage return moves the cursor: `NO_COLOR` has nothing to object to. In a pipe or a log there is no progress at all.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::report::plain;

/// Whether a question is seen and can be answered.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks, and takes anything but a yes for a no.
pub(crate) fn says_yes(question: &str) -> bool {
    let mut line = String::new();
    // With standard error closed nobody sees it, and nobody says yes.
    let asked = write!(io::stderr().lock(), "{question} [y/N] ").and_then(|()| io::stdin().lock().read_line(&mut line));
    asked.is_ok() && is_yes(&line)
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim(), "y" | "Y" | "yes")
}

/// One line that says what is waited for, and is gone when it is over.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Characters that stand there; `None`: nobody looks.
    shown: Option<usize>,
}

impl Progress {
    /// For whoever sits at standard error.
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal().then_some(0) }
    }

    /// In the place of what was said before.
    pub(crate) fn say(&mut self, what: &str) {
        let Some(before) = self.shown else { return };
        let (line, length) = line(what, before);
        self.shown = Some(length);
        // It is told to nobody, then.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some_and(|length| length > 0) {
            self.say("");
        }
    }
}

/// What is written over a line of `before` characters, and how many stand there then. It is cut before a narrow terminal would break it in two.
fn line(what: &str, before: usize) -> (String, usize) {
    let text: String = plain(what).chars().take(WIDTH).collect();
    let length = text.chars().count();
    let rest = " ".repeat(before.saturating_sub(length));
    (if length == 0 { format!("\r{rest}\r") } else { format!("\r{text}{rest}") }, length)
}

/// Of a terminal's 80 columns.
const WIDTH: usize = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_the_place_of_the_one_before_and_goes() {
        assert_eq!(line("a mirror", 0), ("\ra mirror".to_owned(), 8));
        assert_eq!(line("it", 8), ("\rit      ".to_owned(), 2));
        assert_eq!(line("", 2), ("\r  \r".to_owned(), 0));
        assert_eq!(line(&"x".repeat(100), 0).1, WIDTH);
        assert!(!line("\u{1b}[2J", 0).0.contains('\u{1b}'));
    }

    #[test]
    fn only_a_yes_is_one() {
        for (said, yes) in
            [("y\n", true), ("yes\r\n", true), ("Y", true), ("", false), ("\n", false), ("n\n", false), ("yesterday\n", false)]
        {
            assert_eq!(is_yes(said), yes, "{said:?}");
        }
    }
}
