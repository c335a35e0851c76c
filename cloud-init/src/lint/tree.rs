//! YAML text → a tree in which each value has its line and column, and knows how it was written. Bounded in depth and in what aliases expand to.
//!
//! Nothing is refused but what is no YAML: what cloud-init would read, is read.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::{Finding, Place};

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What can be written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Map(Vec<Entry>),
    List(Vec<Node>),
    Scalar {
        text: String,
        /// Without quotes and in no block: YAML guesses what it is.
        plain: bool,
    },
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) value: Node,
}

impl Node {
    /// The entries, where it is a map.
    pub(super) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items, where it is a list.
    pub(super) fn items(&self) -> &[Self] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// What is under a key: of several, the last one counts.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().rfind(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Scalar { text, .. } = &self.value { Some(text) } else { None }
    }

    /// The text of a scalar that YAML guesses at.
    pub(super) fn plain(&self) -> Option<&str> {
        if let Value::Scalar { text, plain: true } = &self.value { Some(text) } else { None }
    }

    /// Whether nothing is said.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Reads one document; `first`: the line at which the text begins. `None` where there is nothing, or nothing that could be read.
pub(super) fn parse(text: &str, first: usize, findings: &mut Vec<Finding>) -> Option<Node> {
    let mut builder = Builder { first, open: Vec::new(), done: None, anchors: HashMap::new(), nodes: 0, findings };
    for event in Parser::new_from_str(text) {
        let went_on = match event {
            Ok((event, span)) => builder.event(event, span.start),
            Err(error) => {
                let place = builder.place(*error.marker());
                let mend = if error.info().contains("tab") || line_of(text, error.marker()).trim_start_matches(' ').starts_with('\t') {
                    "indent with spaces, tabs are none"
                } else {
                    "mend the line, or the one before it: cloud-init takes nothing of a document that it cannot read"
                };
                builder.findings.push(Finding::error(place, format!("not YAML: {}", error.info()), mend));
                return None;
            }
        };
        if !went_on {
            return None;
        }
    }
    builder.done
}

fn line_of<'a>(text: &'a str, marker: &Marker) -> &'a str {
    text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default()
}

struct Builder<'a> {
    first: usize,
    open: Vec<Open>,
    done: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    findings: &'a mut Vec<Finding>,
}

/// A list or map whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Place)>,
}

impl Builder<'_> {
    /// Whether it goes on.
    fn event(&mut self, event: Event<'_>, marker: Marker) -> bool {
        let at = self.place(marker);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                self.add(Node { at, value: Value::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(Node { at, value: Value::List(Vec::new()) }, anchor),
            Event::MappingStart(anchor, _) => self.start(Node { at, value: Value::Map(Vec::new()) }, anchor),
            Event::SequenceEnd | Event::MappingEnd => self.open.pop().is_none_or(|open| self.add(open.node, open.anchor)),
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => {
                    self.nodes += count(&node);
                    self.add(Node { at, ..node }, 0)
                }
                None => self.stop(at, "an alias within what it names"),
            },
            Event::DocumentStart(_) if self.done.is_some() => self.stop(at, "a second document: cloud-init reads one"),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => true,
        }
    }

    fn start(&mut self, node: Node, anchor: usize) -> bool {
        if self.open.len() >= MAX_DEPTH {
            return self.stop(node.at, &format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(Open { node, anchor, key: None });
        true
    }

    fn add(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.stop(node.at, &format!("more than {MAX_NODES} values"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node);
            return true;
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, at))) => entries.push(Entry { key, at, value: node }),
            // A list or map as a key has no name that anybody looks for.
            (Value::Map(_), None) => open.key = Some((node.text().unwrap_or_default().to_owned(), node.at)),
            (Value::Scalar { .. }, _) => {}
        }
        true
    }

    fn stop(&mut self, at: Place, what: &str) -> bool {
        self.findings.push(Finding::error(at, what, "write it out in one document"));
        self.done = None;
        false
    }

    fn place(&self, at: Marker) -> Place {
        Place { line: at.line().max(1) + self.first - 1, column: at.col() + 1 }
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| count(&entry.value)).sum(),
        Value::Scalar { .. } => 0,
    }
}

/// No configuration is deeper; recursion over a tree is bounded by it.
const MAX_DEPTH: usize = 32;
/// Most values of one document, aliases counted as what they stand for.
const MAX_NODES: usize = 20_000;
