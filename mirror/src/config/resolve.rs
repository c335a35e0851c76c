//! Defaults, file, environment and flags, in that order of rising weight → one [`Config`], or every problem at once.

use std::io;
use std::path::{Path, PathBuf};

use super::environment;
use super::keys;
use super::lower::{self, from_shorthand};
use super::problem::{Note, Origin, Problem, Problems};
use super::reader::{Reader, split};
use super::tree::{self, Node, Value};
use super::{Config, registry, rules, show};

/// Everything that a configuration is made of, as values: nothing else is looked at.
pub struct Sources {
    /// Somebody will sign in to upstreams, so that a password's variable must be there.
    pub accounts: bool,
    /// The `registry` image is stood in for: `file` and `REGISTRY_…` variables are read as that image reads them, and its defaults hold.
    pub drop_in: bool,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// What the command line said.
    pub flags: Vec<Flag>,
    /// How a file that the configuration names is read (`admin.token_file`).
    pub read: fn(&Path) -> io::Result<String>,
    /// The process is root: the store's default is in `/var/lib`.
    pub root: bool,
    /// Logs go to a terminal: they are for humans by default.
    pub terminal: bool,
}

impl Default for Sources {
    /// Root, no terminal, and nothing said.
    fn default() -> Self {
        let read = |path: &Path| std::fs::read_to_string(path);
        Self { accounts: true, drop_in: false, environment: Vec::new(), file: None, flags: Vec::new(), read, root: true, terminal: false }
    }
}

impl Sources {
    /// A file's text and nothing else: `Sources::yaml("tag_window: 5s")`.
    pub fn yaml(text: &str) -> Self {
        Self { file: Some(("chandler.yaml".into(), text.to_owned())), ..Self::default() }
    }

    /// A variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A key that a flag sets. No `Debug`, since it may hold a password.
#[derive(Clone)]
pub struct Flag {
    key: String,
    node: Node,
}

impl Flag {
    /// `flag` (with its dashes) says that `key` is `value`.
    ///
    /// A key is a path such as `store.max_size`, with an item by its number (`upstreams.0.url`) or all of them (`listeners.[].tls.key`).
    pub fn one(key: impl Into<String>, flag: &str, value: impl Into<String>) -> Self {
        Self { key: key.into(), node: Node::text(value, &Origin::flag(flag)) }
    }

    /// `flag` says that the list at `key` is `values`.
    pub fn list<T: Into<String>>(key: impl Into<String>, flag: &str, values: impl IntoIterator<Item = T>) -> Self {
        Self { key: key.into(), node: Node::texts(values, &Origin::flag(flag)) }
    }
}

/// A configuration, and how it came about. No `Debug`: it keeps what was written, passwords too.
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// What an operator should know: whose images are open, what is ignored.
    pub notes: Vec<Note>,
    pub(super) tree: Node,
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved").field("config", &self.config).field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl Resolved {
    /// The whole configuration as a YAML file, each value with its origin as a comment, secrets as `(secret)`.
    pub fn show(&self) -> String {
        show::with_origins(&self.config, &self.tree)
    }

    /// Something that is wrong with what `key` says, with where it was said. The key is a path such as `listeners.0.tls`.
    pub fn problem(&self, key: &str, text: impl std::fmt::Display) -> Problem {
        Problem { origin: self.tree.origin_of(key), text: format!("{key}: {text}") }
    }
}

/// Makes the configuration.
///
/// # Errors
/// Every mistake at once, each with its origin and mend.
pub fn resolve(sources: &Sources) -> Result<Resolved, Problems> {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    let mut tree = base(sources, &mut problems, &mut notes);
    normalise(&mut tree);
    report_unknown(&tree, &mut problems);
    let (settings, unknown) = environment::settings(&sources.environment);
    problems.extend(unknown);
    let flags = sources.flags.iter().map(|flag| (flag.key.as_str(), &flag.node));
    for (path, node) in settings.iter().map(|setting| (setting.path.as_str(), &setting.node)).chain(flags) {
        apply(&mut tree, path, node, &mut problems);
    }
    tree.tidy("", &mut |path, origin| {
        let text =
            format!("{} holds a line break or another control character, which no setting may; write it on one line", path.escape_debug());
        problems.push(Problem { origin: origin.clone(), text });
    });
    let mut reader = Reader::new(&tree);
    let mut config = lower::config(&mut reader, sources);
    rules::check(&mut reader, &mut config);
    problems.append(&mut reader.problems);
    notes.append(&mut reader.notes);
    if sources.drop_in {
        problems.iter_mut().chain(&mut notes).for_each(registry::in_its_words);
    }
    problems.sort_by_key(Problem::place);
    if problems.is_empty() { Ok(Resolved { config, notes, tree }) } else { Err(Problems(problems)) }
}

/// The file's tree, or what the `registry` image's file and variables mean in our own keys.
fn base(sources: &Sources, problems: &mut Vec<Problem>, notes: &mut Vec<Note>) -> Node {
    let tree = match &sources.file {
        Some((path, text)) => tree::parse(path, text).unwrap_or_else(|mut found| {
            problems.append(&mut found);
            Node::empty()
        }),
        None => Node::empty(),
    };
    // Nothing more is said of a file that is no YAML: every key in it would seem to be missing.
    if !sources.drop_in || !problems.is_empty() {
        return tree;
    }
    let translated = registry::translate(tree, &sources.environment);
    problems.extend(translated.problems);
    notes.extend(translated.notes);
    translated.tree
}

fn apply(tree: &mut Node, path: &str, node: &Node, problems: &mut Vec<Problem>) {
    let mut changed = tree.clone();
    match changed.set(path, node) {
        Ok(()) => *tree = changed,
        Err(length) => {
            let list = path.split('.').next().unwrap_or(path);
            let text = format!("{path}: {list} has {length} items, so the next number is {length}");
            problems.push(Problem { origin: node.origin.clone(), text });
        }
    }
    normalise(tree);
}

/// Short forms → what they stand for.
fn normalise(tree: &mut Node) {
    let Value::Map(entries) = &mut tree.value else { return };
    for entry in entries {
        match entry.name.as_str() {
            "upstreams" => expand(&mut entry.node, from_shorthand),
            "listeners" => expand(&mut entry.node, listener),
            "access" if entry.node.as_text() != Some("open") => access(&mut entry.node),
            "admin" => admin(&mut entry.node),
            _ => {}
        }
    }
}

/// Each text, alone or in a list, becomes the items that it stands for.
fn expand(node: &mut Node, items_of: fn(&str, &Node) -> Vec<Node>) {
    let items = match &node.value {
        Value::Text(text) => items_of(text, node),
        Value::List(items) => {
            items.iter().flat_map(|item| item.as_text().map_or_else(|| vec![item.clone()], |text| items_of(text, item))).collect()
        }
        Value::Map(_) | Value::Null => return,
    };
    node.value = Value::List(items);
}

fn listener(text: &str, node: &Node) -> Vec<Node> {
    split(text).map(|address| section("address", &Node::text(address, &node.origin))).collect()
}

/// `10.0.0.0/8,192.168.0.0/16`, or a list of networks, is one rule.
fn access(node: &mut Node) {
    let networks: Vec<Node> = match &node.value {
        Value::Text(text) => split(text).map(|network| Node::text(network, &node.origin)).collect(),
        Value::List(items) if !items.is_empty() && items.iter().all(|item| item.as_text().is_some()) => items.clone(),
        _ => return,
    };
    if networks.is_empty() {
        node.value = Value::List(Vec::new());
        return;
    }
    let networks = Node { origin: node.origin.clone(), value: Value::List(networks) };
    node.value = Value::List(vec![section("networks", &networks)]);
}

fn admin(node: &mut Node) {
    let Some(text) = node.as_text() else { return };
    let (key, text) = if text == "off" { ("off", "true") } else { ("address", text) };
    *node = section(key, &Node::text(text, &node.origin));
}

fn section(key: &str, value: &Node) -> Node {
    let mut section = Node { origin: value.origin.clone(), ..Node::empty() };
    section.set(key, value).expect("a map takes any key");
    section
}

fn report_unknown(tree: &Node, problems: &mut Vec<Problem>) {
    if let Some(node) = tree.at("proxy.remoteurl") {
        let text = "this is a config.yml of the `registry` image; name it with --registry-config instead of --config";
        return problems.push(Problem { origin: node.origin.clone(), text: text.into() });
    }
    keys::unknown(tree, "", &mut |section, entry| {
        let names = keys::names_under(&keys::pattern_of(section));
        let place = if section.is_empty() { String::new() } else { format!(" in {section}") };
        let deeper = keys::deeper(&keys::pattern_of(section), &entry.name);
        let text = match keys::nearest(&entry.name, names.iter().copied()) {
            _ if deeper.is_some() => format!("unknown key `{}`{place}; it stands further in: {}", entry.name, deeper.unwrap_or_default()),
            Some(meant) => format!("unknown key `{}`{place}; did you mean `{meant}`?", entry.name),
            None if names.is_empty() => format!("unknown key `{}`{place}; it takes a value, not keys", entry.name),
            None => format!("unknown key `{}`{place}; there are {}", entry.name, names.join(", ")),
        };
        problems.push(Problem { origin: entry.origin.clone(), text });
    });
}
