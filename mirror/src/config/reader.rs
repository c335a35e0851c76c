//! Reads typed values out of a tree, and collects every problem on the way.

use super::keys;
use super::problem::{Note, Origin, Problem};
use super::tree::{Node, Value};

/// A tree being read. What is wrong is remembered and read as absent, so that one run finds everything.
pub(super) struct Reader<'a> {
    pub(super) tree: &'a Node,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a Node) -> Self {
        Self { tree, problems: Vec::new(), notes: Vec::new() }
    }

    /// Where the value at `path` was said, or the section around it.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.tree.origin_of(path)
    }

    pub(super) fn problem(&mut self, path: &str, text: impl Into<String>) {
        self.problem_at(self.origin(path), text);
    }

    pub(super) fn problem_at(&mut self, origin: Origin, text: impl Into<String>) {
        self.problems.push(Problem { origin, text: text.into() });
    }

    pub(super) fn note(&mut self, path: &str, text: impl Into<String>) {
        self.notes.push(Note { origin: self.origin(path), text: text.into() });
    }

    /// Whether anything was said there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.tree.at(path).is_some()
    }

    /// The text at a path.
    pub(super) fn text(&mut self, path: &str) -> Option<&'a str> {
        let node = self.tree.at(path)?;
        match &node.value {
            Value::Text(text) => return Some(text),
            Value::Null => {
                self.problem(path, format!("{path} has no value; give one, or leave the key out (quote it if the word itself is meant)"));
            }
            Value::List(_) | Value::Map(_) => self.problem(path, format!("{path} is a single value, not a {}", shape(node))),
        }
        None
    }

    /// The value at a path.
    pub(super) fn read<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(path)?;
        parse(text).map_err(|error| self.problem(path, describe(path, text, &error))).ok()
    }

    /// The value at a path, where `off` means none.
    pub(super) fn read_or_off<T>(&mut self, path: &str, default: Option<T>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match self.tree.at(path).and_then(Node::as_text) {
            Some("off") => None,
            _ => self.read(path, |text| parse(text).map_err(|error| format!("{error}, or off"))).or(default),
        }
    }

    /// The texts of a list; one text is a list of what its commas separate.
    pub(super) fn texts(&mut self, path: &str) -> Option<Vec<Node>> {
        let node = self.tree.at(path)?;
        match &node.value {
            Value::Text(text) => Some(split(text).map(|item| Node::text(item, &node.origin)).collect()),
            Value::List(items) => {
                for item in items.iter().filter(|item| item.as_text().is_none()) {
                    self.problem_at(item.origin.clone(), format!("each item of {path} is a single value, not a {}", shape(item)));
                }
                Some(items.iter().filter(|item| item.as_text().is_some()).cloned().collect())
            }
            Value::Null => {
                self.problem(path, format!("{path} has no value; write a list, or leave the key out"));
                None
            }
            Value::Map(_) => {
                self.problem(path, format!("{path} is a list, not a map"));
                None
            }
        }
    }

    /// The values of a list.
    pub(super) fn list<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let nodes = self.texts(path)?;
        let mut values = Vec::new();
        for node in &nodes {
            let text = node.as_text().unwrap_or_default();
            match parse(text) {
                Ok(value) => values.push(value),
                Err(error) => self.problem_at(node.origin.clone(), describe(path, text, &error)),
            }
        }
        Some(values)
    }

    /// The names of a map, each with its values; one text is `name=value,…`.
    pub(super) fn pairs(&mut self, path: &str) -> Vec<(String, Node)> {
        let Some(node) = self.tree.at(path) else { return Vec::new() };
        let mut pairs = Vec::new();
        match &node.value {
            Value::Text(text) => {
                for pair in split(text) {
                    match pair.split_once('=') {
                        Some((name, value)) => pairs.push((name.trim().to_owned(), Node::text(value.trim(), &node.origin))),
                        None => self.problem(path, format!("{path}: write name=value, separated by commas")),
                    }
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    match &entry.node.value {
                        Value::Text(_) => pairs.push((entry.name.clone(), entry.node.clone())),
                        Value::List(items) if items.iter().all(|item| item.as_text().is_some()) => {
                            pairs.extend(items.iter().map(|item| (entry.name.clone(), item.clone())));
                        }
                        _ => self.problem_at(entry.origin.clone(), format!("{path}.{} is a single value", entry.name)),
                    }
                }
            }
            Value::Null => {}
            Value::List(_) => self.problem(path, format!("{path} is a map of names and values, not a list")),
        }
        pairs
    }

    /// Checks that a section, where it is there, is a map. An empty one is.
    pub(super) fn section(&mut self, path: &str) {
        let Some(node) = self.tree.at(path) else { return };
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let names = keys::names_under(&keys::pattern_of(path)).join(", ");
            self.problem(path, format!("{path} is a section with the keys {names}, not a {}", shape(node)));
        }
    }

    /// The number of items of a list of sections.
    pub(super) fn items(&mut self, path: &str) -> usize {
        let Some(node) = self.tree.at(path) else { return 0 };
        match &node.value {
            Value::List(items) => {
                for index in 0..items.len() {
                    self.section(&format!("{path}.{index}"));
                }
                return items.len();
            }
            Value::Null => self.problem(path, format!("{path} has no value; write a list, or leave the key out")),
            Value::Map(_) | Value::Text(_) => self.problem(path, format!("{path} is a list; begin each item with `- `")),
        }
        0
    }
}

/// What commas separate, without blanks and empty pieces.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn describe(path: &str, text: &str, error: &str) -> String {
    if keys::is_secret(path) || text.contains('@') || text.is_empty() {
        return format!("{path} {error}");
    }
    let shown = text.chars().take(MOST_SHOWN).collect::<String>();
    let verb = ["ends ", "holds ", "is ", "leaves ", "must "].iter().any(|verb| error.starts_with(verb));
    match error {
        _ if error.starts_with("not ") => format!("{path}: {shown:?} is {error}"),
        _ if verb => format!("{path}: {shown:?} {error}"),
        _ => format!("{path}: {shown:?} does not fit: {error}"),
    }
}

fn shape(node: &Node) -> &'static str {
    match node.value {
        Value::List(_) => "list",
        Value::Map(_) => "map",
        Value::Null | Value::Text(_) => "single value",
    }
}

const MOST_SHOWN: usize = 80;
