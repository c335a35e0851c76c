//! The upstreams of a tree, with what their names and hosts imply.

use std::time::Duration;

use url::{Host, Url};

use crate::config::reader::{Reader, split};
use crate::config::resolve::Sources;
use crate::config::tree::{Node, Value};
use crate::config::{AccountConfig, PasswordSource, Secret, UpstreamConfig, UpstreamName, parse};

/// Each upstream of the tree; Docker Hub where it names none.
pub(super) fn upstreams(reader: &mut Reader<'_>, sources: &Sources) -> Vec<UpstreamConfig> {
    let window = reader.read("tag_window", parse::duration).unwrap_or(Duration::from_secs(1));
    if reader.tree.at("upstreams").is_some_and(Node::is_empty_list) {
        reader.problem("upstreams", "upstreams is empty: there is nothing to mirror; leave the key out for Docker Hub");
    }
    let count = if reader.has("upstreams") { reader.items("upstreams") } else { 1 };
    (0..count).filter_map(|index| upstream(reader, sources, index, window)).collect()
}

fn upstream(reader: &mut Reader<'_>, sources: &Sources, index: usize, window: Duration) -> Option<UpstreamConfig> {
    let at = |key: &str| format!("upstreams.{index}.{key}");
    let before = reader.problems.len();
    let named = reader.read(&at("name"), parse::of::<UpstreamName>);
    let url = url(reader, &at("url"), named.as_ref());
    let answers_to = reader.list(&at("answers_to"), parse::host);
    let hub_said = reader.read(&at("hub"), parse::switch);
    let account = account(reader, sources, &at("account"));
    let upstream = UpstreamConfig {
        account,
        alternates: reader.list(&at("alternates"), parse::upstream_url).unwrap_or_default(),
        ca: reader.read(&at("ca"), parse::path),
        private: reader.list(&at("private"), parse::of),
        proxy: reader.read(&at("proxy"), parse::web_url),
        realms: reader.list(&at("realms"), parse::host).unwrap_or_default(),
        repositories: reader.list(&at("repositories"), parse::of),
        tag_window: reader.read(&at("tag_window"), parse::duration).unwrap_or(window),
        hub: false,
        answers_to: Vec::new(),
        name: hub_name(),
        url: hub_url(),
    };
    // Without its URL or name the rest would only repeat what is already said.
    let url = url.filter(|_| named.is_some() || !reader.has(&at("name")) || reader.problems.len() == before)?;
    let is_hub = is_hub_host(&url);
    let name = match named {
        Some(name) => name,
        None if is_hub => hub_name(),
        None => name_of(&url),
    };
    let answers_to = answers_to.unwrap_or_else(|| default_answers(&name, &url, is_hub));
    let hub = hub_said.unwrap_or_else(|| is_hub || answers_to.iter().any(|host| host == HUB));
    Some(UpstreamConfig { answers_to, hub, name, url, ..upstream })
}

fn url(reader: &mut Reader<'_>, path: &str, named: Option<&UpstreamName>) -> Option<Url> {
    if reader.has(path) {
        let url = reader.read(path, parse::upstream_url)?;
        // docker.io itself answers with a web page.
        if matches!(url.host_str(), Some(HUB | "hub.docker.com")) {
            reader.note(path, format!("{path}: {url} is a web site; Docker Hub's registry is {}, which is used", hub_url()));
            return Some(hub_url());
        }
        return Some(url);
    }
    let parent = path.trim_end_matches(".url");
    match named.map(UpstreamName::as_str) {
        Some(HUB) => Some(hub_url()),
        None if !reader.has(&format!("{parent}.name")) => Some(hub_url()),
        None => None,
        Some(name) => {
            reader.problem(parent, format!("{parent} ({name}) has no url; add one, such as url: https://{name}"));
            None
        }
    }
}

fn account(reader: &mut Reader<'_>, sources: &Sources, path: &str) -> Option<AccountConfig> {
    reader.section(path);
    let at = |key: &str| format!("{path}.{key}");
    let said: Vec<_> = PASSWORD_KEYS.into_iter().filter(|key| reader.has(&at(key))).collect();
    let user = reader.text(&at("user")).unwrap_or_default().to_owned();
    let is_empty = |reader: &Reader<'_>, key: &str| reader.tree.at(&at(key)).and_then(Node::as_text) == Some("");
    let blank = said.iter().all(|key| is_empty(reader, key));
    match (user.is_empty(), said.as_slice()) {
        // A variable set to nothing, as compose files do it, means anonymous.
        (true, _) if blank => return None,
        (true, [first, ..]) => {
            reader.problem(&at(first), format!("{path} has a {first} and no user; name the account in {path}.user"));
            return None;
        }
        (false, _) if blank && !sources.accounts => return Some(AccountConfig { password: elsewhere(), user }),
        (false, _) if blank => {
            let all = PASSWORD_KEYS.join(", ");
            reader.problem(&at("user"), format!("{path} has a user and no password; add one of {all}"));
            return None;
        }
        (_, [_, second, ..]) => {
            let all = said.join(" and ");
            reader.problem(&at(second), format!("{path} has {all}; keep one of them"));
            return None;
        }
        _ => {}
    }
    Some(AccountConfig { password: password(reader, sources, path, said[0])?, user })
}

fn password(reader: &mut Reader<'_>, sources: &Sources, path: &str, key: &str) -> Option<PasswordSource> {
    let path = format!("{path}.{key}");
    match key {
        "password" => reader.text(&path).map(|text| PasswordSource::Value(Secret::new(text))),
        "password_file" => reader.read(&path, parse::path).map(PasswordSource::File),
        "password_env" => {
            let name = reader.text(&path)?;
            match sources.variable(name).map(|value| value.trim_end_matches(['\r', '\n'])) {
                Some(value) if !value.is_empty() => return Some(PasswordSource::Value(Secret::new(value))),
                _ if !sources.accounts => return Some(elsewhere()),
                Some(_) => reader.problem(&path, format!("{path}: the variable {name} is empty")),
                None => reader.problem(&path, format!("{path}: the variable {name} is not set")),
            }
            None
        }
        _ => helper(reader, &path).map(PasswordSource::Helper),
    }
}

/// The mirror's environment has it, and whoever asks here signs in to nothing.
fn elsewhere() -> PasswordSource {
    PasswordSource::Value(Secret::new(""))
}

fn helper(reader: &mut Reader<'_>, path: &str) -> Option<Vec<String>> {
    let node = reader.tree.at(path)?;
    let words: Vec<String> = match &node.value {
        Value::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => reader.list(path, parse::filled::<String>)?,
    };
    if words.is_empty() {
        reader.problem(path, format!("{path} is empty; name the program, such as docker-credential-pass"));
    }
    Some(words).filter(|words| !words.is_empty())
}

fn default_answers(name: &UpstreamName, url: &Url, is_hub: bool) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    if name.as_str() == HUB || is_hub {
        hosts.extend(HUB_HOSTS.map(str::to_owned));
    }
    hosts.extend([name.as_str().to_owned(), authority(url)]);
    let mut seen = Vec::new();
    hosts.retain(|host| {
        !seen.contains(host) && {
            seen.push(host.clone());
            true
        }
    });
    hosts
}

/// Host and port, as clients write them in an image's name.
pub(in crate::config) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A name made from a host and port, which may hold what a name may not.
pub(in crate::config) fn name_of(url: &Url) -> UpstreamName {
    let host = match url.host() {
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => url.host_str().unwrap_or_default().to_owned(),
    };
    let text = url.port().map_or_else(|| host.clone(), |port| format!("{host}-{port}"));
    let safe: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' }).collect();
    safe.trim_matches(['-', '.']).parse().unwrap_or_else(|_| "upstream".parse().expect("letters are a name"))
}

/// Whether a URL is Docker Hub's.
pub(in crate::config) fn is_hub_host(url: &Url) -> bool {
    url.host_str().is_some_and(|host| HUB_HOSTS.contains(&host) || host == "hub.docker.com")
}

fn hub_name() -> UpstreamName {
    HUB.parse().expect("docker.io is a name")
}

fn hub_url() -> Url {
    "https://registry-1.docker.io".parse().expect("our own default")
}

/// `NAME=URL`, `URL`, or the word `docker.io` → the keys of an upstream.
pub(in crate::config) fn from_shorthand(text: &str, node: &Node) -> Vec<Node> {
    split(text)
        .map(|item| {
            let mut upstream = Node { origin: node.origin.clone(), ..Node::empty() };
            let (name, url) = match item.split_once('=') {
                Some((name, url)) if !name.contains("://") => (Some(name), Some(url)),
                _ if item == HUB => (Some(item), None),
                _ => (None, Some(item)),
            };
            for (key, value) in [("name", name), ("url", url)] {
                let Some(value) = value else { continue };
                upstream.set(key, &Node::text(value, &node.origin)).expect("a map takes any key");
            }
            upstream
        })
        .collect()
}

const PASSWORD_KEYS: [&str; 4] = ["password", "password_file", "password_env", "credential_helper"];
const HUB: &str = "docker.io";
const HUB_HOSTS: [&str; 4] = ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];
