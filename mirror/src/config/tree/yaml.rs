//! YAML text → tree, with each value's line and column.
//!
//! Bounded in depth and in what aliases may expand to, so that no text can exhaust the machine.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Entry, Node, Value};
use crate::config::problem::{Origin, Problem};

/// Reads one document. An empty one is an empty map.
pub(in crate::config) fn parse(path: &Path, text: &str) -> Result<Node, Vec<Problem>> {
    let mut builder = Builder { path: path.into(), open: Vec::new(), done: None, anchors: HashMap::new(), nodes: 0, problems: Vec::new() };
    // A byte order mark, as editors of another system leave it, is no content.
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        match event {
            Ok((event, span)) => builder.event(event, span.start),
            Err(error) => {
                let origin = builder.origin(*error.marker());
                let mend = if error.info().contains("tab") { "; indent with spaces" } else { "" };
                builder.problem(origin, format!("not YAML: {}{mend}", error.info()));
                break;
            }
        }
        if builder.nodes > MAX_NODES {
            break;
        }
    }
    builder.finish()
}

struct Builder {
    path: Arc<Path>,
    open: Vec<Open>,
    done: Option<Node>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<Problem>,
}

/// A list or map whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Origin)>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Marker) {
        let origin = self.origin(at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), &origin);
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Text(text.into_owned()) };
                self.add(Node { origin, value }, anchor);
            }
            Event::SequenceStart(anchor, tag) => self.start(Value::List(Vec::new()), origin, anchor, tag.as_deref()),
            Event::MappingStart(anchor, tag) => self.start(Value::Map(Vec::new()), origin, anchor, tag.as_deref()),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.add(open.node, open.anchor);
                }
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => {
                    self.nodes += count(&node);
                    self.add(node, 0);
                }
                None => self.problem(origin, "an alias cannot stand within what it names; write the value out".into()),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
    }

    fn start(&mut self, value: Value, origin: Origin, anchor: usize, tag: Option<&Tag>) {
        self.check_tag(tag, &origin);
        if self.open.len() >= MAX_DEPTH {
            self.nodes = MAX_NODES + 1;
            return self.problem(origin, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(Open { node: Node { origin, value }, anchor, key: None });
    }

    fn add(&mut self, node: Node, anchor: usize) {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.problem(node.origin, format!("more than {MAX_NODES} values"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            if self.done.is_some() {
                return self.problem(node.origin, "a second document; one file holds one, so remove the `---` and what follows".into());
            }
            self.done = Some(node);
            return;
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                None => match key_of(&node) {
                    Ok(name) => open.key = Some((name, node.origin)),
                    Err(text) => {
                        // Its value must still find a key to go under.
                        open.key = Some((String::new(), node.origin.clone()));
                        self.problem(node.origin, text);
                    }
                },
                Some((name, origin)) => match entries.iter().find(|entry| entry.name == name) {
                    Some(first) => {
                        let text = format!("`{name}` is said twice, first at {}; keep one of them", first.origin);
                        self.problem(origin, text);
                    }
                    None => entries.push(Entry { name, origin, node }),
                },
            },
            Value::Null | Value::Text(_) => unreachable!("only lists and maps are opened"),
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, origin: &Origin) {
        let Some(tag) = tag else { return };
        let plain = tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "bool" | "float" | "int" | "map" | "null" | "seq" | "str");
        let non_specific = tag.handle.is_empty() && tag.suffix == "!";
        if !plain && !non_specific {
            self.problem(origin.clone(), "tags such as `!x` mean nothing here; write the value itself".into());
        }
    }

    fn origin(&self, at: Marker) -> Origin {
        Origin::File { path: self.path.clone(), line: at.line().max(1), column: at.col() + 1 }
    }

    fn problem(&mut self, origin: Origin, text: String) {
        self.problems.push(Problem { origin, text });
    }

    fn finish(self) -> Result<Node, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let node = self.done.unwrap_or_else(Node::empty);
        match node.value {
            Value::Map(_) => Ok(node),
            Value::Null => Ok(Node { value: Value::Map(Vec::new()), ..node }),
            Value::List(_) | Value::Text(_) => {
                Err(vec![Problem { origin: node.origin, text: "the file is no map of keys; write `key: value` lines".into() }])
            }
        }
    }
}

fn key_of(node: &Node) -> Result<String, String> {
    match &node.value {
        Value::Text(text) if text == "<<" => Err("merge keys (`<<`) are not read; write the keys out".into()),
        Value::Text(text) => Ok(text.clone()),
        Value::Null => Err("a key without a name".into()),
        Value::List(_) | Value::Map(_) => Err("a key is a word, not a list or map; quote it if the brackets belong to it".into()),
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.node)).sum::<usize>(),
        Value::Null | Value::Text(_) => 1,
    }
}

/// No configuration is deeper; recursion over a tree is bounded by it.
const MAX_DEPTH: usize = 32;
/// Most values of one file, aliases counted as what they stand for.
const MAX_NODES: usize = 20_000;
