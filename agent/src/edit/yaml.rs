//! YAML as it is written: a tree of maps, lists and scalars, each with its place, and edits that cut and paste there.
//!
//! YAML has more forms than an edit can know. So each edit is read again, and where the text does not say what was meant by it, or says anything else anew, it is refused.

mod edit;
mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use super::Misread;

/// A value and where it stands, in bytes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
    /// Has an anchor, a tag, or is an alias: what is said here may be said elsewhere too.
    pub(super) odd: bool,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Map { flow: bool, entries: Vec<Entry> },
    List { flow: bool, items: Vec<Node> },
    Text(String),
    Null,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Range<usize>,
    pub(super) value: Node,
}

/// A text that is one YAML document, a map at its top.
pub(super) struct Yaml<'a> {
    pub(super) text: &'a str,
    pub(super) root: Option<Node>,
}

/// What a text says, without how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Tree {
    Map(BTreeMap<String, Tree>),
    List(Vec<Tree>),
    Text(String),
    Null,
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map { entries, .. } => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    fn tree(&self) -> Tree {
        match &self.kind {
            Kind::Map { entries, .. } => Tree::Map(entries.iter().map(|entry| (entry.key.clone(), entry.value.tree())).collect()),
            Kind::List { items, .. } => Tree::List(items.iter().map(Self::tree).collect()),
            Kind::Text(text) => Tree::Text(text.clone()),
            Kind::Null => Tree::Null,
        }
    }
}

impl Yaml<'_> {
    /// What is at a path; what is empty there is not there.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self.root.as_ref()?, |node, key| node.get(key).map(|entry| &entry.value))
    }

    pub(super) fn tree(&self) -> Tree {
        self.root.as_ref().map_or_else(|| Tree::Map(BTreeMap::new()), Node::tree)
    }

    pub(super) fn error(&self, at: usize, what: impl Into<String>) -> Misread {
        Misread::at(self.text, at, what)
    }

    /// The list of texts at a path.
    pub(super) fn texts(&self, path: &[&str]) -> Result<Vec<String>, Misread> {
        let Some(node) = self.at(path) else { return Ok(Vec::new()) };
        let texts = match &node.kind {
            Kind::Null => Some(Vec::new()),
            Kind::List { items, .. } => {
                items.iter().map(|item| if let Kind::Text(text) = &item.kind { Some(text.clone()) } else { None }).collect()
            }
            Kind::Map { .. } | Kind::Text(_) => None,
        };
        texts
            .ok_or_else(|| self.error(node.span.start, format!("`{}` must be a list of texts: lines that begin with `- `", path.join("."))))
    }
}

impl Tree {
    /// With the value under a path, made on the way where it is missing.
    pub(super) fn set(&mut self, path: &[&str], value: Self) {
        let [key, rest @ ..] = path else {
            *self = value;
            return;
        };
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(BTreeMap::new());
        }
        if let Self::Map(map) = self {
            map.entry((*key).to_owned()).or_insert(Self::Null).set(rest, value);
        }
    }

    /// Without what is under a path.
    pub(super) fn remove(&mut self, path: &[&str]) {
        match (self, path) {
            (Self::Map(map), [key]) => drop(map.remove(*key)),
            (Self::Map(map), [key, rest @ ..]) => {
                if let Some(child) = map.get_mut(*key) {
                    child.remove(rest);
                }
            }
            _ => {}
        }
    }

    /// A list of texts.
    pub(super) fn texts(texts: &[String]) -> Self {
        Self::List(texts.iter().map(|text| Self::Text(text.clone())).collect())
    }

    /// On one line, as JSON, which is YAML too.
    pub(super) fn flow(&self) -> String {
        match self {
            Self::Map(map) => {
                let entries: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", quoted(key), value.flow())).collect();
                format!("{{{}}}", entries.join(", "))
            }
            Self::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Self::Text(text) => quoted(text),
            Self::Null => "null".to_owned(),
        }
    }

    /// In lines, as the value behind `key:`, the key being indented by `indent`.
    pub(super) fn block(&self, indent: &str, newline: &str) -> String {
        let deeper = format!("{indent}  ");
        match self {
            Self::Map(map) if !map.is_empty() => {
                let line = |(key, value): (&String, &Self)| format!("{newline}{deeper}{}:{}", word(key), value.block(&deeper, newline));
                map.iter().map(line).collect::<Vec<_>>().concat()
            }
            Self::List(items) if !items.is_empty() => {
                items.iter().map(|item| format!("{newline}{deeper}- {}", item.flow())).collect::<Vec<_>>().concat()
            }
            _ => format!(" {}", self.flow()),
        }
    }
}

/// A key: bare where that is a text for every reader, and in quotes otherwise.
fn word(key: &str) -> String {
    let bare = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
        && !matches!(key.to_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    if bare { key.to_owned() } else { quoted(key) }
}

/// In double quotes: JSON's escapes are YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
