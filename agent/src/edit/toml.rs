//! TOML as it is written: where each table's header stands, and where its lines end.
//!
//! `toml_edit` reads, and says where things are. What it would print is not used: it knows no CRLF and moves tables, whereas a cut and a paste leave the rest alone.

#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;

use toml_edit::{Document, Item, Table, Value};

use super::Misread;
use super::text::{indent, line_start, newline, next_line};

/// A text that is TOML.
pub(super) struct Toml<'a> {
    pub(super) text: &'a str,
    document: Document<&'a str>,
    sections: Vec<Section>,
}

/// A table that has a header, `[a.b]` or `[[a.b]]`, up to the last line of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Section {
    pub(super) path: Vec<String>,
    /// Written `[[…]]`.
    pub(super) many: bool,
    /// Where the comment lines right above the header begin.
    pub(super) lead: usize,
    /// Where the header's line begins.
    pub(super) head: usize,
    /// Behind the header's line.
    pub(super) body: usize,
    /// Behind the line of the last value.
    pub(super) end: usize,
}

impl<'a> Toml<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Misread> {
        if text.starts_with('\u{feff}') {
            // Not every engine reads one, and nothing may be put before it.
            return Err(Misread::at(text, 0, "a byte order mark; save the file as UTF-8 without it"));
        }
        let document = Document::parse(text).map_err(|error| {
            let at = error.span().map_or(text.len(), |span| span.start);
            Misread::at(text, at, format!("not TOML: {}", error.message().trim().replace('\n', "; ")))
        })?;
        let mut found = Found::default();
        found.table(document.as_table(), &mut Vec::new());
        let sections = found.sections(text);
        Ok(Self { text, document, sections })
    }

    pub(super) fn root(&self) -> &Table {
        self.document.as_table()
    }

    /// In the order of the text.
    pub(super) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(super) fn section(&self, path: &[&str]) -> Option<&Section> {
        self.sections.iter().find(|section| !section.many && section.path == path)
    }

    /// What is at a path, however it is written.
    pub(super) fn item(&self, path: &[&str]) -> Option<&Item> {
        path.iter().try_fold(self.document.as_item(), |item, key| item.as_table_like()?.get(key))
    }

    pub(super) fn error(&self, at: usize, what: impl Into<String>) -> Misread {
        Misread::at(self.text, at, what)
    }

    /// A refusal that points at an item.
    pub(super) fn wrong(&self, item: &Item, what: impl Into<String>) -> Misread {
        self.error(start_of(item), what)
    }

    /// The list of strings under `key` of a table, with `null` for none.
    pub(super) fn strings(&self, table: &Item, key: &str) -> Result<Option<Vec<String>>, Misread> {
        let Some(item) = table.as_table_like().and_then(|table| table.get(key)) else { return Ok(None) };
        let strings = item.as_array().and_then(|array| array.iter().map(|value| value.as_str().map(str::to_owned)).collect());
        match strings {
            Some(strings) => Ok(Some(strings)),
            None => Err(self.wrong(item, format!("`{key}` is no list of strings, and must be one: [\"…\"]"))),
        }
    }

    /// An edit that gives a key of a section this value, in place or as the section's first line.
    pub(super) fn set(&self, section: &Section, key: &str, value: &str) -> (Range<usize>, String) {
        let path: Vec<&str> = section.path.iter().map(String::as_str).chain([key]).collect();
        if let Some(span) = self.item(&path).and_then(Item::span) {
            return (span, value.to_owned());
        }
        let newline = newline(self.text);
        let first = &self.text[section.body..section.end];
        let indent = if first.trim().is_empty() { "  " } else { indent(self.text, section.body) };
        let before = if self.text[..section.body].ends_with('\n') { "" } else { newline };
        (section.body..section.body, format!("{before}{indent}{key} = {value}{newline}"))
    }

    /// The edit that takes sections out, each with the empty line that sets it apart. Comments above and below stay.
    pub(super) fn cuts(&self, gone: impl Fn(&Section) -> bool) -> Vec<(Range<usize>, String)> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        for section in self.sections.iter().filter(|section| gone(section)) {
            match runs.last_mut() {
                Some(run) if self.text[run.end..section.head].trim().is_empty() => run.end = section.end,
                _ => runs.push(section.head..section.end),
            }
        }
        runs.into_iter().map(|run| (self.apart(run), String::new())).collect()
    }

    fn apart(&self, run: Range<usize>) -> Range<usize> {
        let after = next_line(self.text, run.end);
        if run.end < self.text.len() {
            let blank = self.text[run.end..after].trim().is_empty();
            return run.start..if blank { after } else { run.end };
        }
        let before = line_start(self.text, run.start.saturating_sub(1));
        let blank = self.text[before..run.start].trim().is_empty();
        if blank { before..run.end } else { run }
    }
}

/// What a walk through the tables finds: headers, and the ends of values.
#[derive(Default)]
struct Found {
    heads: Vec<(Vec<String>, bool, usize)>,
    ends: Vec<usize>,
}

impl Found {
    fn table(&mut self, table: &Table, path: &mut Vec<String>) {
        for (key, item) in table {
            path.push(key.to_owned());
            match item {
                Item::None => {}
                Item::Value(value) => self.ends.extend(value.span().map(|span| span.end)),
                Item::Table(table) => {
                    self.head(table, path, false);
                    self.table(table, path);
                }
                Item::ArrayOfTables(tables) => {
                    for table in tables {
                        self.head(table, path, true);
                        self.table(table, path);
                    }
                }
            }
            path.pop();
        }
    }

    fn head(&mut self, table: &Table, path: &[String], many: bool) {
        if !table.is_implicit()
            && !table.is_dotted()
            && let Some(span) = table.span()
        {
            self.heads.push((path.to_vec(), many, span.start));
        }
    }

    fn sections(mut self, text: &str) -> Vec<Section> {
        self.heads.sort_by_key(|(_, _, start)| *start);
        self.ends.sort_unstable();
        let last_value = |from: usize, to: usize| {
            let before = self.ends.partition_point(|end| *end <= to);
            self.ends[..before].last().copied().filter(|end| *end > from)
        };
        let starts: Vec<usize> = self.heads.iter().map(|(_, _, start)| *start).collect();
        let mut floor = last_value(0, starts.first().copied().unwrap_or(text.len())).map_or(0, |end| next_line(text, end));
        let mut sections = Vec::with_capacity(self.heads.len());
        for (index, (path, many, start)) in self.heads.iter().enumerate() {
            let head = line_start(text, *start);
            let body = next_line(text, *start);
            let limit = starts.get(index + 1).copied().unwrap_or(text.len());
            let end = last_value(body, limit).map_or(body, |end| next_line(text, end));
            sections.push(Section { path: path.clone(), many: *many, lead: lead(text, head, floor), head, body, end });
            floor = end;
        }
        sections
    }
}

/// Where the comment lines right above a line begin, not above `floor`.
fn lead(text: &str, head: usize, floor: usize) -> usize {
    let mut lead = head;
    while lead > floor {
        let start = line_start(text, lead - 1);
        if start < floor || !text[start..lead].trim_start().starts_with('#') {
            break;
        }
        lead = start;
    }
    lead
}

/// Where an item begins, or what is in it where it has no place of its own.
pub(super) fn start_of(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}

/// A string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of strings on one line.
pub(super) fn list(strings: &[String]) -> String {
    let items: Vec<String> = strings.iter().map(|string| quoted(string)).collect();
    format!("[{}]", items.join(", "))
}

/// Text behind what is there already, set apart by an empty line.
pub(super) fn appended(text: &str, block: &str) -> String {
    let newline = newline(text);
    let block = block.replace('\n', newline);
    // Also behind empty lines: a cut takes one away again.
    let gap = match text {
        "" => 0,
        _ if text.ends_with('\n') => 1,
        _ => 2,
    };
    let gap = newline.repeat(gap);
    format!("{text}{gap}{block}")
}
