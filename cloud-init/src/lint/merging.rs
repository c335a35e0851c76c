//! How a cloud-config joins those before it. Without a word about it, each key of a later part takes the place of an earlier part's, lists and all.

use super::Finding;
use super::tree::{Node, Value};

/// A part that is a cloud-config.
pub(super) struct Part {
    /// In messages.
    pub(super) name: String,
    /// By its header.
    pub(super) merge_type: Option<String>,
    pub(super) tree: Node,
    /// Where its text begins in the document; `None` where it is encoded.
    pub(super) line: Option<usize>,
}

/// What is said of merging.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Merge {
    /// The later one counts.
    Replaces,
    /// The earlier one counts, also for lists.
    Keeps,
    /// Lists are joined.
    Joins,
}

/// What is wrong with the words of one part.
pub(super) fn of_one(tree: &Node, findings: &mut Vec<Finding>) {
    for key in KEYS {
        let Some(node) = tree.get(key) else { continue };
        for (name, settings) in said(node).unwrap_or_default() {
            let mend = format!("write {key}: '{JOINS}'");
            if let Some((_, known)) = OPTIONS.iter().find(|(own, _)| *own == name) {
                for setting in settings.iter().filter(|setting| !known.contains(&setting.as_str())) {
                    findings.push(Finding::warning(
                        node.at,
                        format!("`{setting}` is nothing that `{name}` can do in a merge"),
                        mend.clone(),
                    ));
                }
            } else {
                findings.push(Finding::error(node.at, format!("there is no merger `{name}`: cloud-init stops at it"), mend));
            }
        }
        if said(node).is_none() {
            findings.push(Finding::error(node.at, format!("`{key}` is not understood"), format!("write {key}: '{JOINS}'")));
        }
    }
}

/// Keys that are in several parts.
pub(super) fn of_parts(parts: &[Part], findings: &mut Vec<Finding>) {
    for (index, part) in parts.iter().enumerate() {
        let merge = merge(part);
        if merge == Merge::Joins {
            continue;
        }
        for entry in part.tree.entries().iter().filter(|entry| is_whole(&entry.value) && !KEYS.contains(&entry.key.as_str())) {
            let before = parts[..index].iter().find(|before| before.tree.get(&entry.key).is_some_and(is_whole));
            let Some(before) = before else { continue };
            let (key, name) = (&entry.key, &before.name);
            let what = match merge {
                Merge::Replaces => format!("`{key}` is in part {name} too, and this one takes its place: what is there is lost"),
                _ => format!("`{key}` is in part {name} too, and by this part's merge_how that one stays: what is here is lost"),
            };
            let finding = Finding::error(entry.at, what, format!("write merge_how: '{JOINS}' into this part"));
            findings.push(Finding { part: part.line.is_none().then(|| part.name.clone()), ..finding });
        }
    }
}

fn is_whole(node: &Node) -> bool {
    matches!(node.value, Value::List(_) | Value::Map(_))
}

fn merge(part: &Part) -> Merge {
    let own = KEYS.iter().find_map(|key| part.tree.get(key)).and_then(said);
    let by_header = || part.merge_type.as_deref().map(words);
    let said = own.filter(|said| !said.is_empty()).or_else(by_header).unwrap_or_default();
    let settings = |name: &str| said.iter().find(|(own, _)| own == name).map(|(_, settings)| settings.as_slice());
    let has = |name: &str, words: &[&str]| settings(name).is_some_and(|own| own.iter().any(|word| words.contains(&word.as_str())));
    if said.is_empty() || has("dict", &["replace"]) {
        return Merge::Replaces;
    }
    let joins = has("list", &["append", "prepend"]) && has("dict", &["recurse_list", "recurse_array"]);
    if joins { Merge::Joins } else { Merge::Keeps }
}

type Said = Vec<(String, Vec<String>)>;

/// `list(append)+dict()` or a list of maps with `name` and `settings`.
fn said(node: &Node) -> Option<Said> {
    match &node.value {
        Value::Scalar { text, .. } => Some(words(text)),
        Value::List(items) => items
            .iter()
            .map(|item| {
                let settings = item.get("settings").map(Node::items).unwrap_or_default();
                Some((item.get("name")?.text()?.to_owned(), settings.iter().filter_map(Node::text).map(str::to_owned).collect()))
            })
            .collect(),
        Value::Map(_) => None,
    }
}

fn words(text: &str) -> Said {
    let mergers = text.split('+').map(str::trim).filter(|merger| !merger.is_empty());
    mergers
        .map(|merger| {
            let (name, settings) = merger.split_once('(').unwrap_or((merger, ""));
            let settings = settings.trim_end_matches(')').split(',').map(str::trim).filter(|setting| !setting.is_empty());
            // What stood here before 0.7.2 is `m_dict`, and cloud-init still takes it.
            (name.trim().trim_start_matches("m_").to_owned(), settings.map(str::to_owned).collect())
        })
        .collect()
}

const KEYS: [&str; 2] = ["merge_how", "merge_type"];
const JOINS: &str = "list(append)+dict(recurse_list,no_replace)+str()";
const OPTIONS: [(&str, &[&str]); 3] = [
    ("list", &["append", "prepend", "no_replace", "replace", "recurse_list", "recurse_array", "recurse_dict", "recurse_str"]),
    ("dict", &["no_replace", "replace", "recurse_list", "recurse_array", "recurse_dict", "recurse_str", "allow_delete"]),
    ("str", &["append"]),
];
