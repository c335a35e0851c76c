//! YAML text → tree with places. Bounded in depth and number, and without recursion in what it reads.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::{Entry, Kind, Node, Yaml};
use crate::edit::Misread;

impl<'a> Yaml<'a> {
    pub(in crate::edit) fn parse(text: &'a str) -> Result<Self, Misread> {
        let mut reader = Reader {
            text,
            bytes: text.char_indices().map(|(at, _)| at).chain([text.len()]).collect(),
            open: Vec::new(),
            root: None,
            nodes: 0,
        };
        if text.starts_with('\u{feff}') {
            return Err(Misread::at(text, 0, "a byte order mark; save the file as UTF-8 without it"));
        }
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => reader.event(&event, span)?,
                Err(error) => {
                    let at = reader.byte(error.marker().index());
                    let mend = if error.info().contains("tab") { "; indent with spaces" } else { "" };
                    return Err(Misread::at(text, at, format!("not YAML: {}{mend}", error.info())));
                }
            }
        }
        match reader.root {
            None => Ok(Self { text, root: None }),
            Some(Node { kind: Kind::Null, odd: false, ref span }) if text[span.clone()].trim().is_empty() => Ok(Self { text, root: None }),
            Some(root) if matches!(root.kind, Kind::Map { .. }) => Ok(Self { text, root: Some(root) }),
            Some(root) => Err(Misread::at(text, root.span.start, "the file is no map of keys; write `key: value` lines")),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Where each character begins.
    bytes: Vec<usize>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

/// A map or list whose end has not come yet.
struct Open {
    node: Node,
    /// The key whose value comes next.
    key: Option<(String, Range<usize>)>,
}

impl Reader<'_> {
    fn event(&mut self, event: &Event<'_>, span: Span) -> Result<(), Misread> {
        let start = self.byte(span.start.index());
        let span = start..self.byte(span.end.index()).max(start);
        let flow = |sign: u8| self.text.as_bytes().get(span.start) == Some(&sign);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let span = match style {
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => quoted(self.text, span),
                    _ => span,
                };
                let null = *style == ScalarStyle::Plain && matches!(&**text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if null { Kind::Null } else { Kind::Text(text.to_string()) };
                self.add(Node { span, kind, odd: *anchor != 0 || tag.is_some() })
            }
            Event::Alias(_) => self.add(Node { span, kind: Kind::Text("*".to_owned()), odd: true }),
            Event::SequenceStart(anchor, tag) => {
                let kind = Kind::List { flow: flow(b'['), items: Vec::new() };
                self.start(Node { span, kind, odd: *anchor != 0 || tag.is_some() })
            }
            Event::MappingStart(anchor, tag) => {
                let kind = Kind::Map { flow: flow(b'{'), entries: Vec::new() };
                self.start(Node { span, kind, odd: *anchor != 0 || tag.is_some() })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { mut node, .. }) => {
                    node.span.end = match &node.kind {
                        Kind::Map { flow: false, entries } => {
                            entries.last().map_or(node.span.end, |entry| entry.value.span.end.max(entry.at.end))
                        }
                        Kind::List { flow: false, items } => items.last().map_or(node.span.end, |item| item.span.end),
                        _ => span.end,
                    };
                    self.add(node)
                }
                None => Ok(()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
        }
    }

    fn start(&mut self, node: Node) -> Result<(), Misread> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Misread::at(self.text, node.span.start, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { node, key: None });
        Ok(())
    }

    fn add(&mut self, mut node: Node) -> Result<(), Misread> {
        self.nodes += 1;
        let (text, start) = (self.text, node.span.start);
        let error = |what: String| Err(Misread::at(text, start, what));
        if self.nodes > MAX_NODES {
            return error(format!("more than {MAX_NODES} values"));
        }
        let Some(open) = self.open.last_mut() else {
            if self.root.is_some() {
                return error("a second document; one file holds one, so remove the `---` and what follows".to_owned());
            }
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.kind, open.key.take()) {
            (Kind::Map { entries, .. }, Some((key, at))) => {
                // A value that is left out stands right behind its key, not at what follows.
                if matches!(node.kind, Kind::Null) && text[node.span.clone()].trim().is_empty() {
                    node.span = at.end..at.end;
                }
                if entries.iter().any(|entry| entry.key == key) {
                    return Err(Misread::at(text, at.start, format!("`{key}` is said twice; keep one of them")));
                }
                entries.push(Entry { key, at, value: node });
            }
            (Kind::Map { .. }, None) => match node.kind {
                Kind::Text(text) if !node.odd => open.key = Some((text, node.span)),
                _ => return error("a key that is no plain word; write it out, in quotes if need be".to_owned()),
            },
            (Kind::List { items, .. }, _) => items.push(node),
            (Kind::Text(_) | Kind::Null, _) => unreachable!("only maps and lists are opened"),
        }
        Ok(())
    }

    fn byte(&self, index: usize) -> usize {
        self.bytes.get(index).copied().unwrap_or(self.text.len())
    }
}

/// The span of a text in quotes, which the parser gives up to what follows.
fn quoted(text: &str, span: Range<usize>) -> Range<usize> {
    let bytes = text.as_bytes();
    let quote = bytes[span.start];
    let mut at = span.start + 1;
    while at < span.end {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            c if c == quote && c == b'\'' && bytes.get(at + 1) == Some(&c) => at += 2,
            c if c == quote => return span.start..at + 1,
            _ => at += 1,
        }
    }
    span
}

/// No such file is deeper; recursion over a tree is bounded by it.
const MAX_DEPTH: usize = 32;
/// Most values of one file.
const MAX_NODES: usize = 20_000;
