//! A configuration as it was written: a tree of texts, each with its origin.
//!
//! Scalars stay the text that was written, so that YAML's guesses (`no`, `0123`, `1e5`) never change a password or a name; what a text means
//! is decided by the key it stands under. Paths are the keys joined by dots, list items by their number: `upstreams.0.account.user`.
//! Nothing here knows a key by name. There is no `Debug`, since a tree holds passwords.

mod yaml;

use super::problem::Origin;

pub(super) use yaml::parse;

/// A value and where it was said.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// What can be written.
#[derive(Clone)]
pub(super) enum Value {
    List(Vec<Node>),
    Map(Vec<Entry>),
    Null,
    Text(String),
}

/// A key of a map, where the key stands, and its value.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) node: Node,
}

impl Node {
    /// A map without keys.
    pub(super) fn empty() -> Self {
        Self { origin: Origin::Default, value: Value::Map(Vec::new()) }
    }

    /// A scalar.
    pub(super) fn text(text: impl Into<String>, origin: &Origin) -> Self {
        Self { origin: origin.clone(), value: Value::Text(text.into()) }
    }

    /// A list of scalars.
    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>, origin: &Origin) -> Self {
        let items = texts.into_iter().map(|text| Self::text(text, origin)).collect();
        Self { origin: origin.clone(), value: Value::List(items) }
    }

    /// The node under `name` of a map, or at that number of a list.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.name == name).map(|entry| &entry.node),
            Value::List(items) => items.get(name.parse::<usize>().ok()?),
            Value::Null | Value::Text(_) => None,
        }
    }

    /// The node under `name` of a map, whatever the case of its letters.
    pub(super) fn child_in_any_case(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name)).map(|entry| &entry.node)
    }

    /// The node at a path.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.child(name))
    }

    /// Where the value at `path` was said, or the section around it.
    pub(super) fn origin_of(&self, mut path: &str) -> Origin {
        loop {
            match (self.at(path), path.rsplit_once('.')) {
                (Some(node), _) => return node.origin.clone(),
                (None, Some((parent, _))) => path = parent,
                (None, None) => return Origin::Default,
            }
        }
    }

    /// The number of items, where this is a list.
    fn len(&self) -> usize {
        match &self.value {
            Value::List(items) => items.len(),
            _ => 0,
        }
    }

    /// Whether this is a list in which nothing is.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Value::List(items) if items.is_empty())
    }

    /// The text, where this is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts `node` at a path, making the maps and lists on the way; a number may be at most one past a list's end, and `[]` means each item
    /// (the first, where there is none). `Err` is the list's length when the number is beyond it.
    pub(super) fn set(&mut self, path: &str, node: &Self) -> Result<(), usize> {
        let Some((name, rest)) = path.split_once('.') else { return self.put(path, "", node) };
        self.put(name, rest, node)
    }

    /// Takes line breaks off the end of each text: a `|` block ends in one, and so does many a variable that was filled from a file. `report` is
    /// called with the path and place of texts and names that hold another control character.
    pub(super) fn tidy(&mut self, path: &str, report: &mut impl FnMut(&str, &Origin)) {
        let child = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match &mut self.value {
            Value::Map(entries) => {
                for entry in entries {
                    let path = child(&entry.name);
                    if entry.name.contains(is_control) {
                        report(&path, &entry.origin);
                    }
                    entry.node.tidy(&path, report);
                }
            }
            Value::List(items) => (0..).zip(items).for_each(|(index, item)| item.tidy(&child(&usize::to_string(&index)), report)),
            Value::Text(text) => {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
                if text.contains(is_control) {
                    report(path, &self.origin);
                }
            }
            Value::Null => {}
        }
    }

    fn put(&mut self, name: &str, rest: &str, node: &Self) -> Result<(), usize> {
        if name == "[]" {
            return (0..self.len().max(1)).try_for_each(|index| self.put(&index.to_string(), rest, node));
        }
        let slot = match name.parse::<usize>() {
            Ok(index) => self.item(index, &node.origin)?,
            Err(_) => self.entry(name, &node.origin),
        };
        if rest.is_empty() {
            *slot = node.clone();
            return Ok(());
        }
        slot.set(rest, node)
    }

    fn item(&mut self, index: usize, origin: &Origin) -> Result<&mut Self, usize> {
        if !matches!(self.value, Value::List(_)) {
            self.value = Value::List(Vec::new());
        }
        let Value::List(items) = &mut self.value else { unreachable!("made a list above") };
        if index > items.len() {
            return Err(items.len());
        }
        if index == items.len() {
            items.push(Self { origin: origin.clone(), ..Self::empty() });
        }
        Ok(&mut items[index])
    }

    fn entry(&mut self, name: &str, origin: &Origin) -> &mut Self {
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { unreachable!("made a map above") };
        let index = entries.iter().position(|entry| entry.name == name).unwrap_or_else(|| {
            let node = Self { origin: origin.clone(), ..Self::empty() };
            entries.push(Entry { name: name.to_owned(), origin: origin.clone(), node });
            entries.len() - 1
        });
        &mut entries[index].node
    }
}

/// Breaks the line or worse, on some reader's side; a tab is in many a header.
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reaches_what_was_set_there() {
        let mut tree = Node::empty();
        let node = |text: &str| Node::text(text, &Origin::flag("--x"));
        assert_eq!(tree.set("a.0.b", &node("1")), Ok(()));
        assert_eq!(tree.set("a.1.b", &node("2")), Ok(()));
        assert_eq!(tree.set("a.3.b", &node("4")), Err(2));
        assert_eq!(tree.set("a.[].c", &node("3")), Ok(()));
        for (path, text) in [("a.0.b", "1"), ("a.1.b", "2"), ("a.0.c", "3"), ("a.1.c", "3")] {
            assert_eq!(tree.at(path).and_then(Node::as_text), Some(text), "{path}");
        }
    }
}
