//! What the `registry` image (CNCF distribution) reads, in our own keys: its `config.yml` and its `REGISTRY_…` variables.
//!
//! The reader translates and no more: the result is a tree of our keys whose values keep their origin, so that everything after it (our own
//! variables, flags, rules) is the same for both. A key that guards something or says where data lives and that we do not have is refused
//! with what replaces it; what is harmless and unknown is named in one note. `keys` says which is which.

mod keys;
mod variables;

use super::lower::{authority, is_hub_host, name_of};
use super::problem::{Note, Origin, Problem};
use super::tree::{Node, Value};
use keys::{Fate, TABLE, Verdict};
use variables::Meant;

pub use variables::{config_path, is_drop_in};

/// Our tree, and what the image's configuration held besides.
pub(super) struct Translated {
    pub(super) tree: Node,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
}

/// Reads the image's file and variables; a variable beats the file.
pub(super) fn translate(mut file: Node, environment: &[(String, String)]) -> Translated {
    let mut translation =
        Translation { out: Translated { tree: Node::empty(), problems: Vec::new(), notes: Vec::new() }, unknown: Vec::new() };
    let unknown = variables::apply(&mut file, environment);
    translation.unknown.extend(unknown.into_iter().map(|name| (name, Origin::Default)));
    translation.walk(&file, "");
    translation.memory(&file);
    translation.hosts(&file);
    translation.clients(&file);
    translation.upstream(&file, environment);
    translation.name_unknown();
    translation.out
}

struct Translation {
    out: Translated,
    /// Path or variable of what is neither used nor refused, and where it is in the file.
    unknown: Vec<(String, Origin)>,
}

impl Translation {
    fn walk(&mut self, node: &Node, path: &str) {
        let Value::Map(entries) = &node.value else { return };
        for entry in entries {
            let path = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
            if is_nothing(&entry.node) {
                continue;
            }
            let is_map = matches!(entry.node.value, Value::Map(_));
            match TABLE.iter().find(|(key, _)| *key == path) {
                Some((_, fate)) if !(is_map && is_section(&path)) => self.meet(&path, fate, &entry.node),
                // Never passed over as unknown: `access` guards.
                None if OWN.contains(&path.as_str()) => self.refuse(&path, &entry.origin, &own_key(&path)),
                None if path.starts_with("storage.") && !is_section(&path) && path.matches('.').count() == 1 => {
                    self.refuse(&path, &entry.node.origin, OTHER_DRIVER);
                }
                _ if is_map && is_section(&path) => self.walk(&entry.node, &path),
                _ if is_section(&path) => self.problem(&entry.node.origin, format!("{path} is a section of keys, not a single value")),
                _ => self.unknown.push(match &entry.node.origin {
                    Origin::Variable(name) => (name.to_string(), Origin::Default),
                    _ => (path, entry.origin.clone()),
                }),
            }
        }
    }

    /// The driver that keeps all in memory has no keys, so that nothing under its name says that it is meant.
    fn memory(&mut self, file: &Node) {
        if let Some(node) = file.at("storage.inmemory").filter(|node| is_nothing(node)) {
            self.refuse("storage.inmemory", &node.origin, OTHER_DRIVER);
        }
    }

    /// Without hosts that image lets whoever connects decide for which names certificates are ordered.
    fn hosts(&mut self, file: &Node) {
        let said = |path: &str| file.at(path).filter(|node| !is_nothing(node));
        if let Some(node) = said("http.tls.letsencrypt").filter(|_| said("http.tls.letsencrypt.hosts").is_none()) {
            let text = "http.tls.letsencrypt has no hosts: name those that engines use, such as hosts: [mirror.example.com]";
            self.problem(&node.origin, text.into());
        }
    }

    /// With CAs for clients that image talks with nobody who has no certificate of theirs.
    fn clients(&mut self, file: &Node) {
        let said = |path: &str| file.at(path).filter(|node| !is_nothing(node));
        match (said("http.tls.clientcas"), said("http.tls.clientauth")) {
            (Some(cas), _) => {
                self.put("access.0.name", &Node::text("http.tls.clientcas", &cas.origin));
                self.put("access.0.clients", &Node::texts(["*".to_owned()], &cas.origin));
            }
            (None, Some(node)) => {
                let text = "http.tls.clientauth needs http.tls.clientcas, the CAs whose certificates count: add it, or leave out both";
                self.problem(&node.origin, text.into());
            }
            (None, None) => {}
        }
    }

    fn meet(&mut self, path: &str, fate: &Fate, node: &Node) {
        match fate {
            Fate::Quiet => {}
            Fate::Refused(mend) => self.refuse(path, &node.origin, mend),
            Fate::List(key) | Fate::Map(key) => self.put(key, node),
            Fate::Judged(judge) => match node.as_text() {
                Some(text) => self.judge(path, text, judge(text), &node.origin),
                None => self.problem(&node.origin, format!("{path} is a single value")),
            },
        }
    }

    fn judge(&mut self, path: &str, text: &str, verdict: Verdict, origin: &Origin) {
        match verdict {
            Verdict::Means(key, text) => self.put(key, &Node::text(text, origin)),
            Verdict::Quiet => {}
            Verdict::Noted(text) => self.out.notes.push(Note { origin: origin.clone(), text: format!("{path} {text}") }),
            Verdict::Refused(mend) => self.refuse(path, origin, mend),
            Verdict::Wrong(error) => self.problem(origin, format!("{path}: {text:?} is {error}")),
        }
    }

    /// The upstream: what the proxy section says, taken as one.
    fn upstream(&mut self, file: &Node, environment: &[(String, String)]) {
        let said = |path: &str| file.at(path).filter(|node| !is_nothing(node));
        let own = environment.iter().any(|(name, _)| name.starts_with("CHANDLER_UPSTREAMS"));
        match said("proxy.remoteurl") {
            Some(node) => self.remote(node),
            // A section that is none was told.
            None if file.at("proxy").is_some_and(|proxy| proxy.as_text().is_some_and(|text| !text.is_empty())) => {}
            None if !own => self.problem(
                &file.at("proxy").map_or(Origin::Default, |node| node.origin.clone()),
                "proxy.remoteurl (REGISTRY_PROXY_REMOTEURL) is missing: chandler mirrors a registry and takes no pushes; \
                 for Docker Hub write https://registry-1.docker.io"
                    .into(),
            ),
            None => {}
        }
        let (user, password) = (said("proxy.username"), said("proxy.password"));
        let without = |have: &str, lack: &str, variable: &str| {
            format!("proxy.{have} needs proxy.{lack} too: set {variable}, or neither for anonymous pulls")
        };
        match (user, password) {
            (Some(user), Some(password)) => {
                for (key, node) in [("username", user), ("password", password)] {
                    let own = if key == "username" { "user" } else { key };
                    let node = self.without_brackets(key, node);
                    self.put(&format!("upstreams.0.account.{own}"), &node);
                }
            }
            (Some(user), None) => self.problem(&user.origin, without("username", "password", "REGISTRY_PROXY_PASSWORD")),
            (None, Some(password)) => self.problem(&password.origin, without("password", "username", "REGISTRY_PROXY_USERNAME")),
            (None, None) => {
                if let Some(empty) = file.at("proxy.username").filter(|node| !matches!(node.value, Value::Null)) {
                    let text = "proxy.username is empty: pulls are anonymous".into();
                    self.out.notes.push(Note { origin: empty.origin.clone(), text });
                }
            }
        }
    }

    /// Documentation writes `username: [username]`, and people put their name between the brackets, where YAML sees a list.
    fn without_brackets(&mut self, key: &str, node: &Node) -> Node {
        match &node.value {
            Value::List(items) if items.len() == 1 => {
                let text = format!("proxy.{key} stands in brackets, which are taken off; write {key}: followed by the text alone");
                self.out.notes.push(Note { origin: node.origin.clone(), text });
                items[0].clone()
            }
            _ => node.clone(),
        }
    }

    /// Clients of a stand-in ask for `docker.io` whatever is behind it: dockerd's `registry-mirrors` sends nothing else.
    fn remote(&mut self, node: &Node) {
        self.put("upstreams.0.url", node);
        let Some(url) = node.as_text().and_then(|text| super::parse::upstream_url(text).ok()) else { return };
        if !is_hub_host(&url) {
            self.put("upstreams.0.name", &Node::text(name_of(&url).as_str(), &node.origin));
            self.put("upstreams.0.answers_to", &Node::texts(["docker.io".to_owned(), authority(&url)], &node.origin));
            self.put("upstreams.0.hub", &Node::text("false", &node.origin));
        }
    }

    /// Harmless ones in one note. A name that is nearly one of the image's was meant to be it, and what it was to say is lost: a problem where
    /// that guards something or says where data lives, or where there are problems that may come of it.
    fn name_unknown(&mut self) {
        let unknown = std::mem::take(&mut self.unknown);
        let mut may_cause = !self.out.problems.is_empty();
        let mut harmless = Vec::new();
        for (name, origin) in unknown {
            let Some(Meant { written, key, fate }) = variables::meant_by(&name) else {
                harmless.push(name);
                continue;
            };
            let note = Note { origin, text: format!("{name} is not used: did you mean {written}?") };
            may_cause |= matches!(fate, Fate::Refused(_)) || GUARDS.iter().any(|section| key.starts_with(section));
            if may_cause { self.out.problems.push(note) } else { self.out.notes.push(note) }
        }
        if !harmless.is_empty() {
            let text = format!("not used by chandler, and harmless: {}", harmless.join(", "));
            self.out.notes.push(Note { origin: Origin::Default, text });
        }
    }

    fn put(&mut self, key: &str, node: &Node) {
        // The debug server had no token: what it showed stays open, the rest is not served there.
        if key == "admin.address" {
            self.put("admin.open_metrics", &Node::text("true", &node.origin));
        }
        self.out.tree.set(key, node).expect("only the first item of a list is written");
    }

    fn refuse(&mut self, path: &str, origin: &Origin, mend: &str) {
        self.problem(origin, format!("{path} {mend}"));
    }

    fn problem(&mut self, origin: &Origin, text: String) {
        self.out.problems.push(Problem { origin: origin.clone(), text });
    }
}

/// Go reads an empty value as one that was not given.
fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.iter().all(is_nothing),
        Value::Map(entries) => entries.iter().all(|entry| is_nothing(&entry.node)),
    }
}

/// What is said of a key of ours in the image's file, and never passed over: `access` guards.
fn own_key(key: &str) -> String {
    let variable = key.to_ascii_uppercase();
    format!(
        "is a key of chandler's own file, not of the registry image's config.yml; set it as a variable (CHANDLER_{variable}…), \
         or write all of it in chandler's own keys and name the file with `chandler mirror --config`"
    )
}

/// What is said of a value of the image's, in its words: our keys have other names.
pub(super) fn in_its_words(problem: &mut Problem) {
    let is_its = match &problem.origin {
        Origin::File { .. } => true,
        Origin::Variable(name) => variables::is_ours(name),
        Origin::Default | Origin::Flag(_) => false,
    };
    if is_its {
        for (ours, its) in WORDS {
            problem.text = problem.text.replace(ours, its);
        }
    }
}

fn is_section(path: &str) -> bool {
    TABLE.iter().any(|(key, _)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Keys of ours that the image's file has no other meaning for.
const OWN: [&str; 10] =
    ["access", "acme", "admin", "clients", "limits", "listeners", "store", "tag_window", "trusted_proxies", "upstreams"];
const OTHER_DRIVER: &str = "names another storage driver: chandler keeps plain files on a disk of its own; \
                            write storage.filesystem.rootdirectory (REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY) instead";

/// Sections that guard something, or say where data lives.
const GUARDS: [&str; 3] = ["http.tls.", "proxy.", "storage.filesystem."];
/// Our keys, the longest first, and what the image calls them.
const WORDS: &[(&str, &str)] = &[
    ("listeners.0.tls.certificate (--tls-cert)", "http.tls.certificate (REGISTRY_HTTP_TLS_CERTIFICATE)"),
    ("listeners.0.tls.key (--tls-key)", "http.tls.key (REGISTRY_HTTP_TLS_KEY)"),
    ("listeners.0.tls.acme", "http.tls.letsencrypt.hosts"),
    ("access.0.clients", "http.tls.clientcas"),
    ("clients.ca", "http.tls.clientcas"),
    ("acme.directories", "http.tls.letsencrypt.directoryurl"),
    ("acme.email", "http.tls.letsencrypt.email"),
    ("acme.path", "http.tls.letsencrypt.cachefile"),
    ("listeners.0.address", "http.addr"),
    ("listeners.0", "http"),
    ("upstreams.0.account.user", "proxy.username"),
    ("upstreams.0.account.password", "proxy.password"),
    ("upstreams.0.url", "proxy.remoteurl"),
    ("admin.address", "http.debug.addr"),
    ("store.path", "storage.filesystem.rootdirectory"),
    ("store.health", "health.storagedriver"),
    ("limits.drain", "http.draintimeout"),
];

#[cfg(test)]
mod tests;
