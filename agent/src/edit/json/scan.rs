//! One pass over JSON text, which knows where it is.

use std::ops::Range;

use super::DEPTH;
use crate::edit::Misread;

/// A place in a text.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn skip_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    pub(super) fn error(&self, what: impl Into<String>) -> Misread {
        Misread::at(self.text, self.at, what)
    }

    /// What stands here, for a message.
    pub(super) fn found(&self) -> String {
        match self.text[self.at..].chars().next() {
            None => "the end of the file".to_owned(),
            Some('/' | '#') => "a comment (JSON has none)".to_owned(),
            Some('\'') => "a single quote (JSON has double ones)".to_owned(),
            Some('\n' | '\r') => "the end of the line".to_owned(),
            Some(c) if c.is_control() || c.is_whitespace() => format!("the character U+{:04X}", u32::from(c)),
            Some(c) => format!("`{c}`"),
        }
    }

    /// What kind of value begins here, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.peek() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    pub(super) fn colon(&mut self) -> Result<(), Misread> {
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.error(format!("{} where `:` is expected behind the key", self.found())));
        }
        self.step();
        Ok(())
    }

    /// Behind a value: a comma (then `true`, and the next value begins here), or the closing bracket, which is left.
    pub(super) fn comma_or(&mut self, close: u8) -> Result<bool, Misread> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.step();
                self.space();
                Ok(true)
            }
            Some(c) if c == close => Ok(false),
            _ => Err(self.error(format!("{} where `,` or `{}` is expected behind the value", self.found(), char::from(close)))),
        }
    }

    /// A string: its span, and what it says.
    pub(super) fn string(&mut self) -> Result<(Range<usize>, String), Misread> {
        let start = self.at;
        self.step();
        let mut said = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            said.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok((start..self.at, said));
                }
                Some(b'\\') => said.push(self.escape()?),
                Some(b'\n' | b'\r') | None => return Err(Misread::at(self.text, start, "a string whose closing quote is missing")),
                Some(c) => return Err(self.error(format!("the control character U+{c:04X} in a string; write it as \\u{c:04x}"))),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Misread> {
        let start = self.at;
        let sign = self.text.as_bytes().get(start + 1).copied();
        let plain = match sign {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let Some(high) = self.unit(start) else { return Err(self.error("`\\u` without four hexadecimal digits behind it")) };
                self.at = start + 6;
                let low = if (0xD800..0xDC00).contains(&high) { self.unit(self.at) } else { None };
                let pair = low.and_then(|low| char::decode_utf16([high, low]).next()?.ok());
                if pair.is_some() {
                    self.at += 6;
                }
                let alone = char::from_u32(u32::from(high)).unwrap_or(char::REPLACEMENT_CHARACTER);
                return Ok(pair.unwrap_or(alone));
            }
            _ => return Err(self.error("a backslash that begins no escape; write `\\\\` for a backslash")),
        };
        self.at = start + 2;
        Ok(plain)
    }

    /// The number of the `\uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        let all = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if all { u16::from_str_radix(digits, 16).ok() } else { None }
    }

    /// A value of any kind: its span.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Misread> {
        let start = self.at;
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    // The object around everything is one level.
                    if open.len() + 2 > DEPTH {
                        return Err(self.error(format!("nested deeper than {DEPTH} levels")));
                    }
                    self.step();
                    self.space();
                    let close = bracket + 2;
                    if self.peek() == Some(close) {
                        self.step();
                    } else {
                        open.push(close);
                        self.key_within(close)?;
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                _ => self.word()?,
            }
            // A value has ended: so may those around it.
            loop {
                let Some(close) = open.last().copied() else { return Ok(start..self.at) };
                if self.comma_or(close)? {
                    self.key_within(close)?;
                    break;
                }
                self.step();
                open.pop();
            }
        }
    }

    /// The key and colon, if a value of an object comes next.
    fn key_within(&mut self, close: u8) -> Result<(), Misread> {
        self.space();
        if self.peek() == Some(close) {
            let close = char::from(close);
            return Err(self.error(format!("a comma before the closing `{close}`: JSON allows none there; take the comma away")));
        }
        if close == b']' {
            return Ok(());
        }
        if self.peek() != Some(b'"') {
            return Err(self.error(format!("{} where a key in quotes is expected", self.found())));
        }
        self.string()?;
        self.colon()
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<(), Misread> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.' | '_')).unwrap_or(rest.len());
        let word = &rest[..end];
        if matches!(word, "true" | "false" | "null") || is_number(word) {
            self.at += end;
            return Ok(());
        }
        let found = if word.is_empty() { self.found() } else { format!("`{word}`") };
        Err(self.error(format!("{found} where a value is expected: a string in quotes, a number, true, false, null, a list or an object")))
    }
}

fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits) && exponent.is_none_or(digits)
}
