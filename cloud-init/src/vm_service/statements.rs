//! A shell file as its statements: lines that belong together by a quote, a backslash or a here-document. Enough to tell a comment from a line of a here-document that looks like one, and to find what is not
//! closed, which would take in whatever is put behind it. No parser: `sh -n` is asked as well, by who has a shell.

mod scan;

use std::fmt;

/// One statement with all its lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Statement<'a> {
    /// Of its first line, from 1.
    pub line: usize,
    /// To the byte, with the end of its last line, if that has one.
    pub text: &'a str,
    /// How much of the text is the command; the rest is its here-documents, each with its delimiter.
    command: usize,
}

/// Why a file can't be added to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Where what is not closed begins, from 1.
    pub line: usize,
    /// What it is, and what is missing.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for Broken {}

/// The statements of a file; their texts one after another are the file.
pub fn statements(text: &str) -> Result<Vec<Statement<'_>>, Broken> {
    let mut scan = scan::Scan::new(text);
    let mut all = Vec::new();
    let (mut line, mut start) = (1, 0);
    while start < text.len() {
        let (command, end) = scan.statement()?;
        all.push(Statement { line, text: &text[start..end], command: command - start });
        line += text[start..end].matches('\n').count();
        start = end;
    }
    Ok(all)
}

impl<'a> Statement<'a> {
    /// The command without its here-documents.
    pub fn command(&self) -> &'a str {
        &self.text[..self.command]
    }

    /// The lines of its here-document without the delimiter; of several, all but the last one's.
    pub fn heredoc(&self) -> Option<&'a str> {
        let body = self.text[self.command..].strip_suffix('\n').unwrap_or(&self.text[self.command..]);
        if body.is_empty() { None } else { Some(&body[..body.rfind('\n').map_or(0, |end| end + 1)]) }
    }

    /// A line that is a comment and nothing else.
    pub fn is_comment(&self) -> bool {
        self.text.starts_with('#')
    }

    /// Whether it does anything.
    pub fn is_code(&self) -> bool {
        let bare = self.text.trim_start();
        !bare.is_empty() && !bare.starts_with('#')
    }

    /// The words of its command, unquoted, operators such as `<<` by themselves; what the shell would expand stands as it is. A comment behind them is left out.
    pub fn words(&self) -> Vec<String> {
        words(self.command())
    }
}

fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"') | None, '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(next) if quote.is_none() || matches!(next, '"' | '\\' | '$' | '`') => word.get_or_insert_default().push(next),
                Some(next) => word.get_or_insert_default().extend(['\\', next]),
            },
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '<' | '>' | ';' | '&' | '|') => {
                words.extend(word.take());
                let mut operator = String::from(c);
                while let Some(next) = chars.next_if(|&next| next == c || (operator == "<<" && next == '-')) {
                    operator.push(next);
                }
                words.push(operator);
            }
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests;
