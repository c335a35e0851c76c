//! A JSON object whose members are read and changed in place.
//!
//! What is JSON is decided as Go's `encoding/json` does, which reads `daemon.json` for dockerd: no comments, no comma before a closing bracket, nothing before or behind the object. Of a key that is said
//! twice, the last counts. Half a surrogate pair in a string is the replacement character. Values are scanned without recursion, at most [`DEPTH`] deep.

mod scan;

#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;

use self::scan::Scan;
use super::Misread;
use super::text::{indent, line_start, newline, spliced};

/// An object, borrowed from its text.
#[derive(Debug)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<Member>,
    /// Just behind `{`.
    open: usize,
    /// At `}`.
    close: usize,
}

/// A key and where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key<'a> {
    /// Without quotes and escapes.
    pub name: &'a str,
    /// Of its opening quote.
    pub line: usize,
    /// Of its opening quote.
    pub column: usize,
}

/// A member: spans in bytes.
#[derive(Debug)]
struct Member {
    key: String,
    name: Range<usize>,
    value: Range<usize>,
}

impl<'a> Object<'a> {
    /// Reads a whole text as one object.
    pub fn parse(text: &'a str) -> Result<Self, Misread> {
        if text.starts_with('\u{feff}') {
            return Err(Misread::at(
                text,
                0,
                "a byte order mark, which dockerd before 23.0 does not read; save the file as UTF-8 without it",
            ));
        }
        let mut scan = Scan::new(text);
        scan.space();
        match scan.peek() {
            Some(b'{') => scan.step(),
            Some(_) => return Err(scan.error(format!("{} where `{{` is expected: the file is one JSON object", scan.found()))),
            None => {
                return Err(scan.error("the file is empty: dockerd before 23.0 does not start with it (it says `EOF`); write {} into it"));
            }
        }
        let open = scan.at();
        let mut members = Vec::new();
        scan.space();
        if scan.peek() != Some(b'}') {
            members.push(member(&mut scan)?);
            while scan.comma_or(b'}')? {
                members.push(member(&mut scan)?);
            }
        }
        let close = scan.at();
        scan.step();
        scan.space();
        if scan.peek().is_some() {
            return Err(scan.error(format!("{} behind the closing `}}`: nothing may follow it", scan.found())));
        }
        Ok(Self { text, members, open, close })
    }

    /// All keys in their order, also those that are said again further down.
    pub fn keys(&self) -> impl Iterator<Item = Key<'_>> {
        self.members.iter().map(|member| {
            let (line, column) = super::place(self.text, member.name.start);
            Key { name: &member.key, line, column }
        })
    }

    /// The value of a key as it is written.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.last(key).map(|member| &self.text[member.value.clone()])
    }

    /// The value of a key that is a list of strings; `null` is an empty one, as for Go.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, Misread> {
        let Some(member) = self.last(key) else { return Ok(None) };
        let wrong =
            |at: usize, found: &str| Misread::at(self.text, at, format!("`{key}` is {found}, and must be a list of strings: [\"…\"]"));
        let mut scan = Scan::new(&self.text[..member.value.end]);
        scan.skip_to(member.value.start);
        match scan.peek() {
            Some(b'n') => return Ok(Some(Vec::new())),
            Some(b'[') => scan.step(),
            _ => return Err(wrong(scan.at(), scan.kind())),
        }
        let mut strings = Vec::new();
        scan.space();
        if scan.peek() == Some(b']') {
            return Ok(Some(strings));
        }
        loop {
            if scan.peek() != Some(b'"') {
                return Err(wrong(scan.at(), &format!("a list with {} in it", scan.kind())));
            }
            strings.push(scan.string()?.1);
            if !scan.comma_or(b']')? {
                return Ok(Some(strings));
            }
        }
    }

    /// The text in which a key has this list: the last place where it is said is changed, or it comes behind all others.
    pub fn with(&self, key: &str, strings: &[String]) -> String {
        let Some(member) = self.last(key) else { return self.inserted(key, strings) };
        if self.strings(key).is_ok_and(|now| now.as_deref() == Some(strings)) && self.get(key) != Some("null") {
            return self.text.to_owned();
        }
        let spread = self.text[member.value.clone()].contains('\n');
        let list = self.list(strings, spread, indent(self.text, member.name.start));
        spliced(self.text, vec![(member.value.clone(), list)])
    }

    /// The text in which a key is not said at all.
    pub fn without(&self, key: &str) -> String {
        let gone = |index: usize| self.members.get(index).is_some_and(|member| member.key == key);
        let mut cuts = Vec::new();
        let mut index = 0;
        while index < self.members.len() {
            if !gone(index) {
                index += 1;
                continue;
            }
            let first = index;
            while gone(index) {
                index += 1;
            }
            let span = match (first.checked_sub(1), self.members.get(index)) {
                (Some(before), _) => self.members[before].value.end..self.members[index - 1].value.end,
                (None, Some(next)) => self.members[0].name.start..next.name.start,
                (None, None) => self.open..self.close,
            };
            cuts.push((span, String::new()));
        }
        spliced(self.text, cuts)
    }

    /// Where the value of a key begins, for a message.
    pub(super) fn value_place(&self, key: &str) -> Option<usize> {
        self.last(key).map(|member| member.value.start)
    }

    fn last(&self, key: &str) -> Option<&Member> {
        self.members.iter().rfind(|member| member.key == key)
    }

    fn inserted(&self, key: &str, strings: &[String]) -> String {
        let quoted = quoted(key);
        let newline = newline(self.text);
        let Some(last) = self.members.last() else {
            let list = self.list(strings, false, "  ");
            let within = &self.text[self.open..self.close];
            // `{}` becomes three lines; white space that is there is before the brace again.
            let tail = if within.contains('\n') { within } else { newline };
            return spliced(self.text, vec![(self.open..self.close, format!("{newline}  {quoted}: {list}{tail}"))]);
        };
        let start = line_start(self.text, last.name.start);
        let head = &self.text[start..last.name.start];
        let colon = match &self.text[last.name.end..last.value.start] {
            colon if colon.contains('\n') => ": ",
            colon => colon,
        };
        let spread = self.members.iter().any(|member| {
            let value = &self.text[member.value.clone()];
            value.starts_with('[') && value.contains('\n')
        });
        let own_line = start > self.open && head.chars().all(|c| c == ' ' || c == '\t');
        let (gap, list) = if own_line {
            (format!("{newline}{head}"), self.list(strings, spread, head))
        } else {
            (self.gap(colon), self.list(strings, false, ""))
        };
        spliced(self.text, vec![(last.value.end..last.value.end, format!(",{gap}{quoted}{colon}{list}"))])
    }

    /// What stands between a comma and the next key on one line.
    fn gap(&self, colon: &str) -> String {
        let between = match self.members.as_slice() {
            [.., before, last] => self.text[before.value.end..last.name.start].split_once(',').map_or("", |(_, gap)| gap),
            _ if colon.ends_with([' ', '\t']) => " ",
            _ => "",
        };
        between.rsplit('\n').next().unwrap_or_default().to_owned()
    }

    /// A list on one line, or with an item on each, within a member that is indented by `indent`.
    fn list(&self, strings: &[String], spread: bool, indent: &str) -> String {
        let items: Vec<String> = strings.iter().map(|string| quoted(string)).collect();
        if items.is_empty() || !spread {
            let compact = self.text.contains(':') && !self.text.contains([' ', '\n']);
            let comma = if compact { "," } else { ", " };
            return format!("[{}]", items.join(comma));
        }
        let newline = newline(self.text);
        let unit = if indent.is_empty() { "  " } else { indent };
        let lines = items.join(&format!(",{newline}{indent}{unit}"));
        format!("[{newline}{indent}{unit}{lines}{newline}{indent}]")
    }
}

fn member(scan: &mut Scan<'_>) -> Result<Member, Misread> {
    scan.space();
    match scan.peek() {
        Some(b'"') => {}
        Some(b'}') => return Err(scan.error("a comma before the closing `}`: JSON allows none there; take the comma away")),
        _ => return Err(scan.error(format!("{} where a key in quotes is expected", scan.found()))),
    }
    let (name, key) = scan.string()?;
    scan.colon()?;
    scan.space();
    let value = scan.value()?;
    Ok(Member { key, name, value })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// How deep lists and objects may be within each other: as Go's `encoding/json`.
pub const DEPTH: usize = 10_000;
