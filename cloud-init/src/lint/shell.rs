//! Shell as far as quoting goes: whether all that opens also closes, and whether it needs bash where there is `sh`.
//!
//! Lenient: what is not surely wrong is nothing. It knows quotes, escapes, comments, substitutions within each other, arithmetic and here-documents.

/// What is wrong in a text for a shell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// This opens, and never closes.
    Open(&'static str),
    /// A here-document without its last line.
    Document(String),
    /// Words that bash alone understands.
    Bash(&'static str),
}

/// What is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Within {
    Single,
    Double,
    /// `$'…'`
    Ansi,
    /// `$(…)`, and a parenthesis within one.
    Parenthesis,
    /// `$((…))`
    Arithmetic,
    /// `${…}`
    Brace,
    Backtick,
}

impl Within {
    fn opening(self) -> &'static str {
        match self {
            Self::Single => "'",
            Self::Double => "\"",
            Self::Ansi => "$'",
            Self::Parenthesis => "$(",
            Self::Arithmetic => "$((",
            Self::Brace => "${",
            Self::Backtick => "`",
        }
    }
}

/// The first thing that never closes, and bash's own words.
pub(super) fn faults(text: &str) -> Vec<Fault> {
    let mut scanner = Scanner { text, at: 0, open: Vec::new(), documents: Vec::new(), begins_word: true, faults: Vec::new() };
    while scanner.at < text.len() {
        scanner.step();
    }
    if let Some(within) = scanner.open.first() {
        scanner.faults.push(Fault::Open(within.opening()));
    } else if let Some((end, _)) = scanner.documents.first() {
        scanner.faults.push(Fault::Document(end.clone()));
    }
    scanner.faults
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Within>,
    /// Here-documents that begin with the next line: their last line, and whether tabs before it count for nothing.
    documents: Vec<(String, bool)>,
    begins_word: bool,
    faults: Vec<Fault>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        match self.open.last() {
            Some(Within::Single) => self.until("'"),
            Some(Within::Ansi) => self.escaped_until("'"),
            Some(Within::Double) => self.double(),
            _ => self.code(),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// One character on, or what was open closes.
    fn until(&mut self, end: &str) {
        let closes = self.rest().starts_with(end);
        self.skip(1);
        if closes {
            self.open.pop();
        }
    }

    fn escaped_until(&mut self, end: &str) {
        if self.rest().starts_with('\\') { self.skip(2) } else { self.until(end) }
    }

    fn double(&mut self) {
        let rest = self.rest();
        if rest.starts_with('\\') {
            return self.skip(2);
        }
        if rest.starts_with('"') {
            return self.until("\"");
        }
        if !self.substitution() {
            self.skip(1);
        }
    }

    /// What opens within double quotes too.
    fn substitution(&mut self) -> bool {
        let rest = self.rest();
        let (within, length) = if rest.starts_with("$((") {
            (Within::Arithmetic, 3)
        } else if rest.starts_with("$(") {
            (Within::Parenthesis, 2)
        } else if rest.starts_with("${") {
            (Within::Brace, 2)
        } else if rest.starts_with('`') && !self.open.contains(&Within::Backtick) {
            (Within::Backtick, 1)
        } else {
            return false;
        };
        self.push(within, length);
        true
    }

    fn push(&mut self, within: Within, length: usize) {
        if self.open.len() < DEEPEST {
            self.open.push(within);
        }
        self.skip(length);
        self.begins_word = true;
    }

    fn code(&mut self) {
        let within = self.open.last().copied();
        let c = self.rest().chars().next().unwrap_or_default();
        let begins_word = std::mem::replace(&mut self.begins_word, c.is_whitespace() || matches!(c, ';' | '&' | '|' | '('));
        match c {
            '\\' => self.skip(2),
            '\'' if within == Some(Within::Brace) && self.open.contains(&Within::Double) => self.skip(1),
            '\'' => self.push(Within::Single, 1),
            '"' => self.push(Within::Double, 1),
            '$' if self.rest().starts_with("$'") => self.push(Within::Ansi, 2),
            '`' if within == Some(Within::Backtick) => self.until("`"),
            '#' if begins_word && within != Some(Within::Brace) && within != Some(Within::Arithmetic) => self.comment(),
            '}' if within == Some(Within::Brace) => self.until("}"),
            ')' if within == Some(Within::Arithmetic) => self.arithmetic_end(),
            ')' if within == Some(Within::Parenthesis) => self.until(")"),
            '(' if matches!(within, Some(Within::Parenthesis | Within::Arithmetic)) => self.push(Within::Parenthesis, 1),
            '\n' => self.line(),
            '<' if self.rest().starts_with("<<") && within != Some(Within::Arithmetic) => self.document(),
            _ => {
                self.words_of_bash(begins_word);
                if !self.substitution() {
                    self.skip(1);
                }
            }
        }
    }

    fn arithmetic_end(&mut self) {
        let length = if self.rest().starts_with("))") { 2 } else { 1 };
        self.skip(length);
        self.open.pop();
    }

    fn comment(&mut self) {
        let length = self.rest().find('\n').unwrap_or(self.rest().len());
        self.at += length;
    }

    fn words_of_bash(&mut self, begins_word: bool) {
        let found =
            BASH.iter().find(|(word, begins)| self.rest().starts_with(word) && (begins_word || !begins)).map(|(word, _)| word.trim());
        if let Some(word) = found.filter(|word| !self.faults.contains(&Fault::Bash(word))) {
            self.faults.push(Fault::Bash(word));
        }
    }

    /// `<<END`, `<<-'END'`; `<<<` is bash's.
    fn document(&mut self) {
        if self.rest().starts_with("<<<") {
            if !self.faults.contains(&Fault::Bash("<<<")) {
                self.faults.push(Fault::Bash("<<<"));
            }
            return self.skip(3);
        }
        let rest = &self.rest()[2..];
        let (rest, strips) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
        let rest = rest.trim_start_matches([' ', '\t']);
        let word =
            &rest[..rest.find(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '<' | '>' | '(' | ')')).unwrap_or(rest.len())];
        let end: String = word.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
        let is_word = end.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let length = self.rest().len() - rest.len() + word.len();
        if is_word {
            self.documents.push((end, strips));
        }
        self.at += length.max(2);
    }

    /// The line ends, and with it here-documents begin.
    fn line(&mut self) {
        self.skip(1);
        self.begins_word = true;
        while let Some((end, strips)) = self.documents.first().cloned() {
            let mut at = self.at;
            let found = self.text[at..].split_inclusive('\n').find_map(|line| {
                at += line.len();
                let bare = line.trim_end_matches(['\n', '\r']);
                let bare = if strips { bare.trim_start_matches('\t') } else { bare };
                (bare == end).then_some(at)
            });
            let Some(after) = found else {
                self.at = self.text.len();
                return;
            };
            self.at = after;
            self.documents.remove(0);
        }
    }

    fn skip(&mut self, characters: usize) {
        let length: usize = self.rest().chars().take(characters).map(char::len_utf8).sum();
        self.at += length;
    }
}

/// Each with whether it counts only where a word begins.
const BASH: [(&str, bool); 5] = [("[[ ", true), ("source ", true), ("&>", false), ("set -o pipefail", true), ("set -euo pipefail", true)];
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_shell_takes_has_no_fault() {
        for text in [
            "",
            "echo 'a' \"b\" c\\'d",
            "echo \"$(echo \"a b\" 'c')\"",
            "x=\"${y:-it's}\"; echo `date` $((1 << 2)) $(( (1+2) * 3 ))",
            "case $x in a) echo 1;; esac",
            "x=$(case $y in a) echo 1;; esac)",
            "cat <<EOF >/x\nit's\nEOF\necho 'a'",
            "cat <<-'END'\n\ta\"\n\tEND\n",
            "echo a # it's",
            "echo a#b'c'",
            "sh -c 'exec \"$(command -v python3 || echo x)\" y'",
            "echo $# ${#x} ${x#*'}'}",
            "echo $'it\\'s'",
            "if [ ! -f /x ]; then echo '{}' > /x; fi",
            "a() { b; }",
            "cat << EOF | tee x\na\nEOF",
            "echo \u{e4}'\u{1f6a2}'",
        ] {
            assert_eq!(faults(text), [], "{text}");
        }
    }

    #[test]
    fn what_never_closes_is_named() {
        for (text, fault) in [
            ("echo it's", Fault::Open("'")),
            ("echo \"a", Fault::Open("\"")),
            ("echo \"$(a 'b)\"", Fault::Open("\"")),
            ("x=$(a", Fault::Open("$(")),
            ("echo ${a", Fault::Open("${")),
            ("echo `a", Fault::Open("`")),
            ("cat <<EOF\na", Fault::Document("EOF".to_owned())),
            ("cat <<EOF a EOF", Fault::Document("EOF".to_owned())),
            ("cat <<< $(jq . x) > x", Fault::Bash("<<<")),
            ("if [[ -f x ]]; then y; fi", Fault::Bash("[[")),
            ("x; source y", Fault::Bash("source")),
        ] {
            assert_eq!(faults(text), [fault], "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "([\\\\'\"`$(){}<#\n -]|EOF|<<|\\PC){0,40}") {
            let _ = faults(&text);
        }
    }
}
