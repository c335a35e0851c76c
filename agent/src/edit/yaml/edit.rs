//! Cuts and pastes in YAML text: a value put under a path, a list's items changed, an entry taken out.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Entry, Kind, Node, Tree, Yaml, word};
use crate::edit::Misread;
use crate::edit::text::{indent, line_start, newline, next_line, spliced};

impl Yaml<'_> {
    /// The text with a value under a path of keys, which are made where they are missing.
    pub(in crate::edit) fn put(&self, path: &[&str], value: &Tree) -> Result<String, Misread> {
        let mut wanted = self.tree();
        wanted.set(path, value.clone());
        let edit = match &self.root {
            None => self.appended(&nested(path, value)),
            Some(root) => self.put_below(root, path, 0, value)?,
        };
        self.checked(path, vec![edit], &wanted)
    }

    /// The text in which a list of texts at a path has other items: those that go are cut, new ones come first.
    pub(in crate::edit) fn relist(&self, path: &[&str], first: &[String], keep: impl Fn(&str) -> bool) -> Result<String, Misread> {
        let now = self.texts(path)?;
        let left: Vec<String> = first.iter().chain(now.iter().filter(|text| keep(text))).cloned().collect();
        let Some(Node { kind: Kind::List { flow: false, items }, .. }) = self.at(path) else { return self.put(path, &Tree::texts(&left)) };
        self.plain(path)?;
        let (Some(top), false) = (items.first(), left.is_empty()) else { return self.put(path, &Tree::texts(&left)) };
        let newline = newline(self.text);
        let head = line_start(self.text, top.span.start);
        let dash = format!("{}- ", indent(self.text, top.span.start));
        let new = first.iter().map(|text| format!("{dash}{}{newline}", super::quoted(text))).collect::<Vec<_>>().concat();
        let mut edits = vec![(head..head, new)];
        for (item, text) in items.iter().zip(&now).filter(|(_, text)| !keep(text)) {
            let lines = self.lines(&item.span);
            if !self.text[lines.start..item.span.start].trim().starts_with('-') {
                return Err(self.odd(item.span.start, path, &format!("take `{text}` out")));
            }
            edits.push((lines, String::new()));
        }
        let mut wanted = self.tree();
        wanted.set(path, Tree::texts(&left));
        self.checked(path, edits, &wanted)
    }

    /// The text without the entry at a path, and without the maps around it that become empty.
    pub(in crate::edit) fn remove(&self, path: &[&str]) -> Result<String, Misread> {
        if self.at(path).is_none() {
            return Ok(self.text.to_owned());
        }
        let alone = |node: &Node| matches!(&node.kind, Kind::Map { entries, .. } if entries.len() == 1);
        let mut depth = path.len();
        while depth > 1 && self.at(&path[..depth - 1]).is_some_and(alone) {
            depth -= 1;
        }
        let path = &path[..depth];
        self.plain(path)?;
        let mut wanted = self.tree();
        wanted.remove(path);
        let (last, parents) = path.split_last().expect("a path has a key");
        let parent = self.at(parents).expect("it has an entry");
        let Kind::Map { flow, entries } = &parent.kind else { unreachable!("it has an entry") };
        let index = entries.iter().position(|entry| entry.key == *last).expect("it has this entry");
        let span = match (*flow, entries.get(index + 1), index.checked_sub(1)) {
            (false, ..) => self.lines(&whole(&entries[index])),
            (true, Some(next), _) => entries[index].at.start..next.at.start,
            (true, None, Some(before)) => whole(&entries[before]).end..whole(&entries[index]).end,
            (true, None, None) => parent.span.start + 1..parent.span.end - 1,
        };
        self.checked(path, vec![(span, String::new())], &wanted)
    }

    fn put_below(&self, node: &Node, path: &[&str], depth: usize, value: &Tree) -> Result<(Range<usize>, String), Misread> {
        let by_hand = || format!("write there by hand: {}", nested(&path[depth..], value).flow());
        if node.odd {
            return Err(self.odd(node.span.start, path, &by_hand()));
        }
        let Some((key, rest)) = path[depth..].split_first() else { return self.replaced(node, path, value) };
        let Kind::Map { flow, entries } = &node.kind else {
            return Err(self.error(node.span.start, format!("a map of keys is expected here, with `{key}` in it; {}", by_hand())));
        };
        match (node.get(key), entries.last()) {
            (Some(entry), _) if matches!(entry.value.kind, Kind::Null) && !entry.value.odd => {
                Ok(self.filled(entry, *flow, &nested(rest, value)))
            }
            (Some(entry), _) => self.put_below(&entry.value, path, depth + 1, value),
            (None, Some(last)) if *flow => {
                let end = whole(last).end;
                Ok((end..end, format!(", {}: {}", super::quoted(key), nested(rest, value).flow())))
            }
            (None, None) => {
                Ok((node.span.start + 1..node.span.start + 1, format!("{}: {}", super::quoted(key), nested(rest, value).flow())))
            }
            (None, Some(last)) => Ok(self.behind(last, key, &nested(rest, value))),
        }
    }

    /// A value that is there gives way to another.
    fn replaced(&self, node: &Node, path: &[&str], value: &Tree) -> Result<(Range<usize>, String), Misread> {
        match &node.kind {
            Kind::Map { flow: false, .. } | Kind::List { flow: false, .. } => {
                Err(self.odd(node.span.start, path, &format!("write {}", value.flow())))
            }
            _ => Ok((node.span.clone(), value.flow())),
        }
    }

    /// An entry that says nothing yet.
    fn filled(&self, entry: &Entry, flow: bool, value: &Tree) -> (Range<usize>, String) {
        if !self.text[entry.value.span.clone()].trim().is_empty() || flow {
            // `key: ~`, or within braces
            let span = entry.value.span.clone();
            let gap = if span.is_empty() && !self.text[..span.start].ends_with(' ') { " " } else { "" };
            return (span, format!("{gap}{}", value.flow()));
        }
        let line = self.lines(&entry.at);
        let content = self.text[line.clone()].trim_end_matches(['\r', '\n']).len();
        let at = line.start + content;
        (at..at, value.block(indent(self.text, entry.at.start), newline(self.text)))
    }

    /// A new entry behind the last one of a map in block style.
    fn behind(&self, last: &Entry, key: &str, value: &Tree) -> (Range<usize>, String) {
        let newline = newline(self.text);
        let indent = " ".repeat(self.text[line_start(self.text, last.at.start)..last.at.start].chars().count());
        let at = self.lines(&whole(last)).end;
        let before = if self.text[..at].ends_with('\n') { "" } else { newline };
        (at..at, format!("{before}{indent}{}:{}{newline}", word(key), value.block(&indent, newline)))
    }

    /// Entries of a file that has none: behind its comments.
    fn appended(&self, value: &Tree) -> (Range<usize>, String) {
        let newline = newline(self.text);
        let at = self.text.len();
        let before = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { newline };
        let block = match value {
            Tree::Map(map) => {
                map.iter().map(|(key, value)| format!("{}:{}{newline}", word(key), value.block("", newline))).collect::<Vec<_>>().concat()
            }
            other => other.flow(),
        };
        (at..at, format!("{before}{block}"))
    }

    /// The lines from where a span begins to where its content ends.
    fn lines(&self, span: &Range<usize>) -> Range<usize> {
        let end = span.start + self.text[span.start..span.end.max(span.start)].trim_end().len();
        line_start(self.text, span.start)..next_line(self.text, end)
    }

    /// Nothing on the way to a path is shared with another place.
    fn plain(&self, path: &[&str]) -> Result<(), Misread> {
        for depth in 0..=path.len() {
            if let Some(node) = self.at(&path[..depth]).filter(|node| node.odd) {
                return Err(self.odd(node.span.start, path, "change it by hand"));
            }
        }
        Ok(())
    }

    /// The edited text, if it says what is wanted.
    fn checked(&self, path: &[&str], edits: Vec<(Range<usize>, String)>, wanted: &Tree) -> Result<String, Misread> {
        let at = edits.first().map_or(0, |(span, _)| span.start);
        let text = spliced(self.text, edits);
        match Yaml::parse(&text) {
            Ok(yaml) if yaml.tree().squeezed() == wanted.clone().squeezed() => Ok(text),
            _ => Err(self.odd(at, path, "write it in lines of its own, without anchors, tags or merge keys")),
        }
    }

    fn odd(&self, at: usize, path: &[&str], mend: &str) -> Misread {
        self.error(at, format!("YAML of a form that is not edited for `{}`; {mend}", path.join(".")))
    }
}

impl Tree {
    /// Empty maps and nothing at all are the same to who reads the file, and a removed entry may leave either.
    fn squeezed(self) -> Self {
        match self {
            Self::Map(map) if map.is_empty() => Self::Null,
            Self::Map(map) => {
                let map: BTreeMap<String, Self> = map.into_iter().map(|(key, value)| (key, value.squeezed())).collect();
                Self::Map(map)
            }
            Self::List(items) => Self::List(items.into_iter().map(Self::squeezed).collect()),
            other => other,
        }
    }
}

/// From a key to the end of its value.
fn whole(entry: &Entry) -> Range<usize> {
    entry.at.start..entry.value.span.end.max(entry.at.end)
}

/// A value within maps of one key each.
fn nested(path: &[&str], value: &Tree) -> Tree {
    path.iter().rev().fold(value.clone(), |inner, key| Tree::Map(BTreeMap::from([((*key).to_owned(), inner)])))
}
