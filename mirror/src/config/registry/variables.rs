//! `REGISTRY_SECTION_KEY` variables → the image's own tree.

use std::path::{Path, PathBuf};

use super::keys::{Fate, TABLE};
use crate::config::keys::nearest;
use crate::config::problem::Origin;
use crate::config::tree::{self, Node, Value};

/// Whether a variable configures the `registry` image, so that we stand in for it.
///
/// Its name must start with one of the image's sections: `REGISTRY_AUTH_FILE` is Podman's, `REGISTRY_PORT_…` and `REGISTRY_SERVICE_…` are set
/// by Kubernetes in each pod beside a service named `registry`.
pub fn is_drop_in(environment: &[(String, String)]) -> bool {
    environment.iter().any(|(name, _)| is_ours(name))
}

/// The file that `REGISTRY_CONFIGURATION_PATH` names.
pub fn config_path(environment: &[(String, String)]) -> Option<PathBuf> {
    environment.iter().find(|(name, value)| name == "REGISTRY_CONFIGURATION_PATH" && !value.is_empty()).map(|(_, value)| value.into())
}

/// Puts each variable over the file's tree, and names those that mean nothing.
pub(super) fn apply(file: &mut Node, environment: &[(String, String)]) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut variables: Vec<_> = environment.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value))).collect();
    variables.sort();
    for (name, rest, value) in variables.into_iter().filter(|(_, rest, _)| *rest != "CONFIGURATION_PATH") {
        match path_of(rest).filter(|_| is_setting(rest)) {
            // `REGISTRY_STORAGE=filesystem` names the driver; its folder stays what the file says.
            Some(path) if path == "storage" && value == "filesystem" => {}
            Some(path) => file.set(&path, &node(name, value)).expect("no path has a number"),
            None if is_setting(rest) || slip_of(name).is_some() => unknown.push(name.clone()),
            None => {} // Podman's, Kubernetes', anybody's.
        }
    }
    unknown
}

/// A key of the table that a name was meant to be.
#[derive(Clone)]
pub(super) struct Meant {
    /// As the name was written: a variable, or a path.
    pub(super) written: String,
    pub(super) key: &'static str,
    pub(super) fate: &'static Fate,
}

/// What was meant by a name that is in the table nowhere.
pub(super) fn meant_by(name: &str) -> Option<Meant> {
    slip_of(name).or_else(|| sibling_like(name))
}

/// One that differs by a slip of the pen.
fn slip_of(name: &str) -> Option<Meant> {
    let differs = |meant: &Meant| strsim::osa_distance(name, &meant.written);
    keys_like(name).filter(|meant| (1..=SLIP).contains(&differs(meant))).min_by_key(differs)
}

/// One of the same section that is much like it: `proxy.user`.
fn sibling_like(name: &str) -> Option<Meant> {
    let (section, word) = name.rsplit_once(['.', '_'])?;
    let last = |written: &str| {
        written.strip_prefix(section)?.strip_prefix(['.', '_']).filter(|last| !last.contains(['.', '_'])).map(str::to_owned)
    };
    let siblings: Vec<_> = keys_like(name).filter_map(|meant| Some((last(&meant.written)?, meant))).collect();
    let found = nearest(word, siblings.iter().map(|(last, _)| last.as_str()))?;
    siblings.iter().find(|(last, _)| last == found).map(|(_, meant)| meant.clone())
}

/// All keys, written as `name` is.
fn keys_like(name: &str) -> impl Iterator<Item = Meant> {
    let as_variables = name.starts_with(PREFIX);
    let written = move |key: &str| if as_variables { format!("{PREFIX}{}", variable_of(key)) } else { key.to_owned() };
    TABLE.iter().map(move |(key, fate)| Meant { written: written(key), key, fate })
}

fn variable_of(key: &str) -> String {
    key.replace('.', "_").to_ascii_uppercase()
}

/// Whether a variable is one of the image's.
pub(super) fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(is_setting)
}

fn is_setting(rest: &str) -> bool {
    rest != "AUTH_FILE"
        && SECTIONS.iter().any(|section| rest.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// The longest key that the name fits; what is left is a name under it.
fn path_of(rest: &str) -> Option<String> {
    let fits = |key: &str| rest.strip_prefix(&variable_of(key)).filter(|left| left.is_empty() || left.starts_with('_'));
    let (key, left) = TABLE.iter().filter_map(|(key, _)| Some((*key, fits(key)?))).max_by_key(|(key, _)| key.len())?;
    let left = left.trim_start_matches('_').to_ascii_lowercase();
    match (key, left.as_str()) {
        (_, "") => Some(key.to_owned()),
        // A header's name has dashes where a variable cannot.
        ("http.headers", name) => Some(format!("{key}.{}", name.replace(['_', '.'], "-"))),
        ("log.fields" | "auth" | "middleware" | "storage", name) => Some(format!("{key}.{}", name.replace('.', "-"))),
        (key, name) if takes_names(key) => Some(format!("{key}.{}", name.replace('.', "-"))),
        _ => None,
    }
    .filter(|path| path.split('.').all(|name| !name.is_empty() && name.parse::<usize>().is_err()))
}

/// Sections that are taken whole, whatever is in them.
fn takes_names(key: &str) -> bool {
    matches!(key, "http.tls.clientcas" | "proxy.exec") || (key.starts_with("storage.") && !key.starts_with("storage.filesystem"))
}

/// The image reads a value as YAML: blanks and line breaks around it are nothing, quotes are taken off, brackets are lists and maps. Anything else
/// is the text as it is.
fn node(name: &str, value: &str) -> Node {
    let (origin, value) = (Origin::variable(name), value.trim());
    if value.starts_with(['"', '\'', '[', '{']) {
        let text = format!("x: {value}");
        if let Some(mut node) = tree::parse(Path::new(name), &text).ok().and_then(|tree| tree.at("x").cloned()) {
            retell(&mut node, &origin);
            return node;
        }
    }
    Node::text(value, &origin)
}

fn retell(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| retell(item, origin)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.origin = origin.clone();
            retell(&mut entry.node, origin);
        }),
        Value::Null | Value::Text(_) => {}
    }
}

const PREFIX: &str = "REGISTRY_";
/// Letters that a slip of the pen changes.
const SLIP: usize = 2;
const SECTIONS: &[&str] = &[
    "AUTH",
    "CATALOG",
    "COMPATIBILITY",
    "CONFIGURATION_PATH",
    "HEALTH",
    "HTTP",
    "LOG",
    "LOGLEVEL",
    "MIDDLEWARE",
    "NOTIFICATIONS",
    "POLICY",
    "PROXY",
    "REDIS",
    "REPORTING",
    "STORAGE",
    "VALIDATION",
];
