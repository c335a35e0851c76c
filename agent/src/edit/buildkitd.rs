//! `buildkitd.toml`: per registry its mirrors, and per mirror how it is reached.
//!
//! `buildkitd` names a mirror by `host:port` and takes HTTPS for granted, at a loopback address plain HTTP, unless the table of that name says
//! `http`. It asks mirrors with `ns`, so one name serves all registries.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;
use std::ops::Range;

use toml_edit::{Item, Key, TableLike};

use super::Misread;
use super::text::{line_start, next_line, spliced};
use super::toml::{Toml, appended, list, quoted, start_of};
use crate::engines::{MirrorUrl, Others};

/// A mirror, and how it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// Where it is.
    pub url: MirrorUrl,
    /// Files with CA certificates; none: the system's own count.
    pub ca: Vec<String>,
    /// The files with a client certificate and its key.
    pub client: Option<(String, String)>,
}

/// The mirrors of a registry, as they are written.
pub fn mirrors(text: &str, registry: &str) -> Result<Vec<String>, Misread> {
    let toml = Toml::parse(text)?;
    match toml.item(&["registry", registry]) {
        Some(table) => Ok(toml.strings(table, MIRRORS)?.unwrap_or_default()),
        None => Ok(Vec::new()),
    }
}

/// Where a daemon listens that is told so here; of several places the first.
pub fn address(text: &str) -> Option<String> {
    let toml = Toml::parse(text).ok()?;
    toml.strings(toml.item(&["grpc"])?, "address").ok()??.into_iter().next()
}

/// Our mirrors before all others, for each of `registries`; those of an earlier apply go. A file that says so already is returned as it is. `None`: there is no file.
pub fn put_behind(
    text: Option<&str>,
    registries: &[String],
    ours: &[Mirror],
    previous: &[MirrorUrl],
    others: Others,
) -> Result<String, Misread> {
    let mut text = text.unwrap_or_default().to_owned();
    let names: Vec<String> = ours.iter().map(|mirror| mirror.url.authority()).collect();
    let stale: Vec<String> = previous.iter().map(MirrorUrl::authority).filter(|name| !names.contains(name)).collect();
    text = lists(&text, |registry, now| {
        if registries.iter().any(|wanted| wanted == registry) {
            let foreign = now.iter().filter(|name| others == Others::Keep && !named(&names, name) && !named(&stale, name));
            return names.iter().chain(foreign).cloned().collect();
        }
        let earlier: Vec<String> = previous.iter().map(MirrorUrl::authority).collect();
        now.iter().filter(|name| !named(&earlier, name)).cloned().collect()
    })?;
    text = without_reach(&text, &stale)?;
    for registry in registries {
        text = listed(&text, registry, &names)?;
    }
    for mirror in ours {
        let name = mirror.url.authority();
        if previous.iter().any(|url| url.authority() == name) && !says(&text, mirror)? {
            // What an earlier apply said and this one would not, such as a CA, goes with its table.
            text = without_reach(&text, &[name])?;
        }
        text = reached(&text, mirror)?;
    }
    Ok(text)
}

/// Only what is ours taken out of the file as it is now.
pub fn without_ours(text: &str, ours: &[MirrorUrl]) -> Result<String, Misread> {
    let names: Vec<String> = ours.iter().map(MirrorUrl::authority).collect();
    let text = lists(text, |_, now| now.iter().filter(|name| !named(&names, name)).cloned().collect())?;
    without_reach(&text, &names)
}

/// Every list of mirrors that is there, as `wanted` has it. One that becomes empty goes, and so does a table that said nothing else.
fn lists(text: &str, wanted: impl Fn(&str, &[String]) -> Vec<String>) -> Result<String, Misread> {
    let toml = Toml::parse(text)?;
    let Some(registries) = registries(&toml)? else { return Ok(text.to_owned()) };
    let mut edits = Vec::new();
    let mut emptied: Vec<&str> = Vec::new();
    for (name, registry) in registries.iter() {
        let Some(now) = toml.strings(registry, MIRRORS)? else { continue };
        let wanted = wanted(name, &now);
        if same(&now, &wanted) {
            continue;
        }
        let table = registry.as_table_like().expect("a list was found in it");
        let item = table.get(MIRRORS).and_then(Item::span).unwrap_or_default();
        let sectioned = toml.section(&["registry", name]).is_some() && registry.is_table();
        if !wanted.is_empty() || !sectioned {
            edits.push((item, list(&wanted)));
        } else if table.iter().count() == 1 {
            emptied.push(name);
        } else {
            edits.push((lines(text, table.key(MIRRORS), item), String::new()));
        }
    }
    edits.extend(
        toml.cuts(|section| matches!(section.path.as_slice(), [first, name] if first == "registry" && emptied.contains(&name.as_str()))),
    );
    Ok(spliced(text, edits))
}

/// A registry's list of mirrors, where there is none yet.
fn listed(text: &str, registry: &str, names: &[String]) -> Result<String, Misread> {
    let toml = Toml::parse(text)?;
    let item = toml.item(&["registry", registry]);
    if let Some(table) = item
        && toml.strings(table, MIRRORS)?.is_some()
    {
        return Ok(text.to_owned());
    }
    match (toml.section(&["registry", registry]), item) {
        (Some(section), _) => Ok(spliced(text, vec![toml.set(section, MIRRORS, &list(names))])),
        (None, item) if is_open(&toml, item) => {
            Ok(appended(text, &format!("[registry.{}]\n  {MIRRORS} = {}\n", quoted(registry), list(names))))
        }
        (None, item) => Err(odd(&toml, item, &format!("{MIRRORS} = {}", list(names)))),
    }
}

/// Whether the table of a mirror's name says of it what we would, and no more of that.
fn says(text: &str, mirror: &Mirror) -> Result<bool, Misread> {
    let toml = Toml::parse(text)?;
    let item = toml.item(&["registry", &mirror.url.authority()]);
    let table = item.and_then(Item::as_table_like);
    let ca = item.map(|item| toml.strings(item, "ca")).transpose()?.flatten().unwrap_or_default();
    Ok(is_told(table, mirror) && ca == mirror.ca && table.and_then(keypair) == mirror.client)
}

/// Whether `buildkitd` takes the mirror for what it is, with TLS or without. At a loopback address it takes plain HTTP for granted, elsewhere HTTPS.
fn is_told(table: Option<&dyn TableLike>, mirror: &Mirror) -> bool {
    let http = table.and_then(|table| table.get("http")).and_then(Item::as_bool);
    let granted = mirror.url.is_secure() && !mirror.url.is_loopback();
    http.map_or(granted, |http| http != mirror.url.is_secure())
}

/// How a mirror is reached, said in the table of its name.
fn reached(text: &str, mirror: &Mirror) -> Result<String, Misread> {
    let name = mirror.url.authority();
    let path = ["registry", name.as_str()];
    let toml = Toml::parse(text)?;
    registries(&toml)?;
    let item = toml.item(&path);
    let table = item.and_then(Item::as_table_like);
    let mut wanted: Vec<(&str, String)> = Vec::new();
    if !is_told(table, mirror) {
        wanted.push(("http", http_word(!mirror.url.is_secure()).to_owned()));
    }
    let ca = item.map(|item| toml.strings(item, "ca")).transpose()?.flatten().unwrap_or_default();
    if !mirror.ca.is_empty() && ca != mirror.ca {
        wanted.push(("ca", list(&mirror.ca)));
    }
    let pair = mirror.client.as_ref().filter(|client| table.and_then(keypair).as_ref() != Some(*client));
    if wanted.is_empty() && pair.is_none() {
        return Ok(text.to_owned());
    }
    let is_pair = |section: &super::toml::Section| matches!(section.path.as_slice(), [_, one, last] if *one == name && last == "keypair");
    let lines = wanted.iter().map(|(key, value)| format!("  {key} = {value}\n")).collect::<Vec<_>>().concat();
    let mut edits = Vec::new();
    let mut block = String::new();
    match (toml.section(&path), item) {
        (Some(section), _) => edits.extend(wanted.iter().map(|(key, value)| toml.set(section, key, value))),
        (None, item) if is_open(&toml, item) => block = format!("[registry.{}]\n{lines}", quoted(&name)),
        (None, item) => return Err(odd(&toml, item, &lines)),
    }
    if let Some((chain, key)) = pair {
        if let Some(pair) = table.and_then(|table| table.get("keypair")).filter(|pair| !pair.is_array_of_tables()) {
            return Err(toml
                .wrong(pair, "`keypair` is no [[registry.\"…\".keypair]]; write it so, each with `key` and `cert` on lines of their own"));
        }
        edits.extend(toml.cuts(is_pair));
        let _ = write!(block, "  [[registry.{}.keypair]]\n    key = {}\n    cert = {}\n", quoted(&name), quoted(key), quoted(chain));
    }
    let text = spliced(text, edits);
    Ok(if block.is_empty() { text } else { appended(&text, &block) })
}

/// Tables of our mirrors' names go, unless they say more than we would.
fn without_reach(text: &str, names: &[String]) -> Result<String, Misread> {
    let toml = Toml::parse(text)?;
    let own = |name: &str| {
        let table = toml.item(&["registry", name]).and_then(Item::as_table_like);
        named(names, name) && table.is_some_and(|table| table.iter().all(|(key, _)| matches!(key, "http" | "ca" | "keypair")))
    };
    Ok(spliced(text, toml.cuts(|section| matches!(section.path.as_slice(), [first, name, ..] if first == "registry" && own(name)))))
}

/// The table of all registries.
fn registries<'a>(toml: &'a Toml<'_>) -> Result<Option<&'a dyn TableLike>, Misread> {
    let Some(item) = toml.root().get("registry") else { return Ok(None) };
    let table = item.as_table_like().ok_or_else(|| toml.wrong(item, "`registry` is no table; write [registry.\"docker.io\"]"))?;
    for (name, registry) in table.iter() {
        if !registry.is_table_like() {
            return Err(
                toml.wrong(registry, format!("the registry `{name}` is no table; write [registry.{}] and its keys below", quoted(name)))
            );
        }
    }
    Ok(Some(table))
}

/// Whether a header for this table may still be written: it is not there, or only tables within it are.
fn is_open(toml: &Toml<'_>, item: Option<&Item>) -> bool {
    let parent = toml.root().get("registry");
    parent.is_none_or(|parent| parent.as_table().is_some_and(|table| !table.is_dotted()))
        && item.is_none_or(|item| item.as_table().is_some_and(|table| table.is_implicit() && !table.is_dotted()))
}

fn odd(toml: &Toml<'_>, item: Option<&Item>, line: &str) -> Misread {
    let item = item.or_else(|| toml.root().get("registry"));
    let what = format!("a registry that is not written as a table of its own; add to it by hand: {}", line.trim().replace('\n', ", "));
    toml.error(item.map_or(0, start_of), what)
}

fn keypair(table: &dyn TableLike) -> Option<(String, String)> {
    let pairs = table.get("keypair")?.as_array_of_tables()?;
    let pair = pairs.get(0).filter(|_| pairs.len() == 1)?;
    Some((pair.get("cert")?.as_str()?.to_owned(), pair.get("key")?.as_str()?.to_owned()))
}

/// All lines of a key and its value.
fn lines(text: &str, key: Option<&Key>, value: Range<usize>) -> Range<usize> {
    let start = key.and_then(Key::span).map_or(value.start, |span| span.start);
    line_start(text, start)..next_line(text, value.end)
}

fn http_word(http: bool) -> &'static str {
    if http { "true" } else { "false" }
}

/// A mirror's name without what `buildkitd` drops or does not look at.
fn normal(name: &str) -> String {
    let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
    bare.trim_end_matches('/').to_lowercase()
}

fn named(names: &[String], name: &str) -> bool {
    names.iter().any(|one| normal(one) == normal(name))
}

fn same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| normal(one) == normal(other))
}

const MIRRORS: &str = "mirrors";
