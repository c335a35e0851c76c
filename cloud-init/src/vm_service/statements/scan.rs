//! The scanner: one pass over a file's bytes, with a stack of what is open.

use super::Broken;

pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Open>,
    pending: Vec<Heredoc>,
}

/// What is open, and where it was opened.
struct Open {
    kind: Kind,
    at: usize,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Double,
    /// `$(`, and each `(` in it.
    Paren,
    /// `$((` or `((`, with the parentheses that are open in it.
    Arithmetic(usize),
    /// `${`.
    Brace,
    Backquote,
}

/// One that was announced and whose lines are still to come.
struct Heredoc {
    at: usize,
    delimiter: String,
    /// Of `<<-`: tabs before its lines are none of them.
    tabs: bool,
    /// By quotes: a backslash at a line's end joins nothing.
    quoted: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new(), pending: Vec::new() }
    }

    /// Reads one statement: where its command ends, and where the last of its here-documents does.
    pub(super) fn statement(&mut self) -> Result<(usize, usize), Broken> {
        loop {
            let Some(byte) = self.peek(0) else { return self.end() };
            match byte {
                b'\\' => self.backslash()?,
                b'\n' if self.is_code() => {
                    self.at += 1;
                    let command = self.at;
                    self.heredocs()?;
                    if self.open.is_empty() {
                        return Ok((command, self.at));
                    }
                }
                _ => self.byte(byte)?,
            }
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Broken> {
        let inside = self.open.last().map(|open| open.kind);
        match (inside, byte) {
            (_, b'$') => self.dollar()?,
            (Some(Kind::Backquote), b'`') | (Some(Kind::Double), b'"') | (Some(Kind::Paren), b')') | (Some(Kind::Brace), b'}') => {
                self.close();
            }
            (_, b'`') => self.push(Kind::Backquote, 1),
            (Some(Kind::Arithmetic(depth)), b'(' | b')') => self.arithmetic(depth, byte),
            (Some(Kind::Double | Kind::Arithmetic(_)), _) => self.at += 1,
            (_, b'"') => self.push(Kind::Double, 1),
            (_, b'\'') if !self.is_doubly_quoted() => self.single(1, false)?,
            (Some(Kind::Brace), _) => self.at += 1,
            (_, b'#') if self.begins_word() => self.comment(),
            (_, b'<') if self.rest().starts_with("<<<") => self.at += 3,
            (_, b'<') if self.rest().starts_with("<<") => self.announce(),
            (_, b'(') if self.rest().starts_with("((") && self.begins_word() => self.push(Kind::Arithmetic(2), 2),
            (Some(_), b'(') => self.push(Kind::Paren, 1),
            _ => self.at += 1,
        }
        Ok(())
    }

    fn dollar(&mut self) -> Result<(), Broken> {
        let rest = self.rest();
        match () {
            () if rest.starts_with("$((") => self.push(Kind::Arithmetic(2), 3),
            () if rest.starts_with("$(") => self.push(Kind::Paren, 2),
            () if rest.starts_with("${") => self.push(Kind::Brace, 2),
            () if rest.starts_with("$'") && self.is_code() => self.single(2, true)?,
            // `$#` and `$$` begin nothing.
            () => self.at += if matches!(self.peek(1), Some(b'#' | b'$')) { 2 } else { 1 },
        }
        Ok(())
    }

    /// Up to the line's end; in backquotes, no further than they.
    fn comment(&mut self) {
        let ends: &[char] = if self.open.iter().any(|open| open.kind == Kind::Backquote) { &['\n', '`'] } else { &['\n'] };
        self.at += self.rest().find(ends).unwrap_or(self.rest().len());
    }

    /// The text between single quotes; bash's `$'…'` has backslashes.
    fn single(&mut self, opening: usize, backslashes: bool) -> Result<(), Broken> {
        let start = self.at;
        self.at += opening;
        loop {
            match self.peek(0) {
                None => return Err(self.broken(start, "a single quote (') is opened here and not closed".to_owned())),
                Some(b'\\') if backslashes => self.at += 2,
                Some(b'\'') => break self.at += 1,
                Some(_) => self.at += 1,
            }
        }
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), Broken> {
        let last = matches!(self.rest(), "\\" | "\\\n");
        if last && self.open.is_empty() {
            return Err(self.broken(self.at, "the last line ends with a backslash, which takes in what is put behind it".to_owned()));
        }
        self.at = self.text.len().min(self.at + 2);
        Ok(())
    }

    fn arithmetic(&mut self, depth: usize, byte: u8) {
        let depth = if byte == b'(' { depth + 1 } else { depth - 1 };
        self.at += 1;
        if depth == 0 {
            self.open.pop();
        } else if let Some(open) = self.open.last_mut() {
            open.kind = Kind::Arithmetic(depth);
        }
    }

    /// Takes note of `<< WORD`.
    fn announce(&mut self) {
        let at = self.at;
        self.at += 2;
        let tabs = self.peek(0) == Some(b'-');
        self.at += usize::from(tabs);
        while matches!(self.peek(0), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        let length = self.rest().find([' ', '\t', '\n', ';', '&', '|', '<', '>', '(', ')']).unwrap_or(self.rest().len());
        let word = &self.rest()[..length];
        let delimiter: String = word.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
        if !word.is_empty() {
            self.pending.push(Heredoc { at, quoted: delimiter != word, delimiter, tabs });
        }
        self.at += length;
    }

    /// Reads the lines of all here-documents that were announced.
    fn heredocs(&mut self) -> Result<(), Broken> {
        for heredoc in std::mem::take(&mut self.pending) {
            self.heredoc(&heredoc)?;
        }
        Ok(())
    }

    fn heredoc(&mut self, heredoc: &Heredoc) -> Result<(), Broken> {
        let (mut joined, mut almost) = (false, None);
        while self.at < self.text.len() {
            let length = self.rest().find('\n').map_or(self.rest().len(), |end| end + 1);
            let start = self.at;
            let line = self.rest()[..length].trim_end_matches('\n');
            self.at += length;
            let bare = if heredoc.tabs { line.trim_start_matches('\t') } else { line };
            if bare == heredoc.delimiter && !joined {
                return Ok(());
            }
            if line.trim() == heredoc.delimiter {
                almost.get_or_insert(start);
            }
            joined = !heredoc.quoted && line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        }
        let word = &heredoc.delimiter;
        let hint = almost.map(|at| format!("; line {} is `{word}` with blanks around it", self.line(at))).unwrap_or_default();
        Err(self.broken(heredoc.at, format!("the here-document that begins here has no line `{word}` at its end{hint}")))
    }

    /// The file's end, where nothing may be open.
    fn end(&mut self) -> Result<(usize, usize), Broken> {
        self.heredocs()?;
        let Some(open) = self.open.first() else { return Ok((self.at, self.at)) };
        let what = match open.kind {
            Kind::Double => "a double quote (\")",
            Kind::Paren => "a `$(`",
            Kind::Arithmetic(_) => "a `((`",
            Kind::Brace => "a `${`",
            Kind::Backquote => "a backquote (`)",
        };
        Err(self.broken(open.at, format!("{what} is opened here and not closed")))
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.open.push(Open { kind, at: self.at });
        self.at += length;
    }

    fn close(&mut self) {
        self.open.pop();
        self.at += 1;
    }

    /// Whether what comes is a command's, and no string's.
    fn is_code(&self) -> bool {
        matches!(self.open.last().map(|open| open.kind), None | Some(Kind::Paren | Kind::Backquote))
    }

    /// In a `${` within double quotes, a single quote is a character like any other.
    fn is_doubly_quoted(&self) -> bool {
        let inner = self.open.iter().rev().map(|open| open.kind).find(|kind| *kind != Kind::Brace);
        inner == Some(Kind::Double) && self.open.last().is_some_and(|open| open.kind == Kind::Brace)
    }

    fn begins_word(&self) -> bool {
        self.at == 0 || matches!(self.text.as_bytes()[self.at - 1], b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'`')
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    fn broken(&self, at: usize, reason: String) -> Broken {
        Broken { line: self.line(at), reason }
    }
}
