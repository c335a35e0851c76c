//! `hosts.toml`, by which containerd, and Docker with its containerd store, know the mirrors of one registry.
//!
//! They ask the `[host."…"]` tables in the order of the file, then `server`. Only such headers count for the order, so a file that names its hosts in another way (inline, with dotted keys) is refused.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;

use toml_edit::Item;

use super::text::{newline, spliced};
use super::toml::{Toml, appended, list, quoted, start_of};
use super::{Misread, is_ours, same_mirror};
use crate::engines::{MirrorUrl, Others};

/// A mirror, and how it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// Asked with `ns`, so one URL for all registries.
    pub url: MirrorUrl,
    /// The file with the CA's certificate; `None`: the system's own.
    pub ca: Option<String>,
    /// The files with a client certificate and its key.
    pub client: Option<(String, String)>,
    /// Such as `1s`; `None`: the engine's 30 seconds for each object.
    pub dial_timeout: Option<String>,
}

/// Our hosts before all others; those of an earlier apply go, and so do all others with [`Others::Replace`]. A file that says so already is returned as it is.
///
/// `None`: there is no file, and one for `registry` is made.
pub fn put_first(text: Option<&str>, registry: &str, ours: &[Host], previous: &[MirrorUrl], others: Others) -> Result<String, Misread> {
    let Some(text) = text else {
        return Ok(format!("server = {}\n\n{}", quoted(&server(registry)), blocks(ours, &[])));
    };
    let toml = parse(text)?;
    let now = hosts_of(&toml);
    let is_one = |host: &str| ours.iter().any(|one| same_mirror(&one.url.to_string(), host));
    let stale = |host: &str| !is_one(host) && (others == Others::Replace || is_ours(host, previous));
    let first = now.len() >= ours.len() && now.iter().zip(ours).all(|(name, host)| stands(&toml, name, host));
    if first && !now[ours.len()..].iter().any(|host| is_one(host) || stale(host)) {
        return Ok(text.to_owned());
    }

    let extras: Vec<String> = ours.iter().map(|host| extras(&toml, host)).collect();
    let text = spliced(text, toml.cuts(|section| host_of(&section.path).is_some_and(|host| is_one(host) || stale(host))));
    let toml = parse(&text)?;
    let block = blocks(ours, &extras);
    Ok(match toml.sections().iter().find(|section| section.path.first().is_some_and(|key| key == "host")) {
        Some(first) => {
            let newline = newline(&text);
            spliced(&text, vec![(first.lead..first.lead, format!("{}{newline}", block.replace('\n', newline)))])
        }
        None => appended(&text, &block),
    })
}

/// Only our hosts taken out of the file as it is now.
pub fn without_ours(text: &str, ours: &[MirrorUrl]) -> Result<String, Misread> {
    let toml = parse(text)?;
    Ok(spliced(text, toml.cuts(|section| host_of(&section.path).is_some_and(|host| is_ours(host, ours)))))
}

/// The hosts in the order in which they are asked, as they are written.
pub fn hosts(text: &str) -> Result<Vec<String>, Misread> {
    Ok(hosts_of(&parse(text)?))
}

fn parse(text: &str) -> Result<Toml<'_>, Misread> {
    let toml = Toml::parse(text)?;
    let Some(item) = toml.root().get("host") else { return Ok(toml) };
    let odd = |at: usize| {
        toml.error(at, "a host that is not written as a table of its own: the engine would not see it in its order; write [host.\"https://…\"] on a line, and its keys below")
    };
    let Some(hosts) = item.as_table().filter(|table| !table.is_dotted()) else { return Err(odd(start_of(item))) };
    for (name, host) in hosts {
        let own = host.as_table().is_some_and(|table| !table.is_dotted())
            && toml.sections().iter().any(|section| host_of(&section.path) == Some(name));
        if !own {
            return Err(odd(hosts.key(name).and_then(toml_edit::Key::span).map_or(0, |span| span.start)));
        }
    }
    Ok(toml)
}

fn hosts_of(toml: &Toml<'_>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in toml.sections().iter().filter_map(|section| host_of(&section.path)) {
        if !hosts.iter().any(|one| one == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

/// The host that a header belongs to: `[host."X"]`, `[host."X".header]`.
fn host_of(path: &[String]) -> Option<&str> {
    match path {
        [first, host, ..] if first == "host" => Some(host),
        _ => None,
    }
}

/// Whether a table says of a host what ours would.
fn stands(toml: &Toml<'_>, name: &str, host: &Host) -> bool {
    let Some(table) = toml.item(&["host", name]).and_then(Item::as_table_like) else { return false };
    let same = |key: &str, wanted: Option<String>| match (table.get(key).map(Item::span), wanted) {
        (None, None) => true,
        (Some(Some(span)), Some(wanted)) => toml.text[span] == wanted,
        _ => false,
    };
    same_mirror(name, &host.url.to_string()) && settings(host).into_iter().all(|(key, wanted)| same(key, wanted))
}

/// The keys that are ours, with what they are to be.
fn settings(host: &Host) -> [(&'static str, Option<String>); 4] {
    let pair = |(chain, key): &(String, String)| format!("[{}]", list(&[chain.clone(), key.clone()]));
    [
        ("capabilities", Some(list(&["pull".to_owned(), "resolve".to_owned()]))),
        ("ca", host.ca.as_deref().map(quoted)),
        ("client", host.client.as_ref().map(pair)),
        ("dial_timeout", host.dial_timeout.as_deref().map(quoted)),
    ]
}

fn blocks(ours: &[Host], extras: &[String]) -> String {
    let block = |(index, host): (usize, &Host)| {
        let lines = settings(host).into_iter().filter_map(|(key, value)| Some(format!("  {key} = {}\n", value?)));
        let more = extras.get(index).map_or("", String::as_str);
        format!("[host.{}]\n{}{more}", quoted(&host.url.to_string()), lines.collect::<Vec<_>>().concat())
    };
    ours.iter().enumerate().map(block).collect::<Vec<_>>().join("\n")
}

/// What somebody added to our host's table: other keys, and tables within it.
fn extras(toml: &Toml<'_>, host: &Host) -> String {
    let Some(name) = hosts_of(toml).into_iter().find(|name| same_mirror(name, &host.url.to_string())) else { return String::new() };
    let mut out = String::new();
    let table = toml.item(&["host", &name]).and_then(Item::as_table);
    for (key, value) in table.into_iter().flat_map(toml_edit::Table::get_values) {
        let known = settings(host).iter().any(|(ours, _)| key[0].get() == *ours);
        let Some(span) = value.span().filter(|_| !known) else { continue };
        let key: Vec<String> = key.iter().map(|key| quoted_key(key.get())).collect();
        let _ = writeln!(out, "  {} = {}", key.join("."), toml.text[span].replace("\r\n", "\n"));
    }
    for section in toml.sections().iter().filter(|section| section.path.len() > 2 && host_of(&section.path) == Some(&name)) {
        let path: Vec<String> = section.path[2..].iter().map(|key| quoted_key(key)).collect();
        let header = format!("host.{}.{}", quoted(&host.url.to_string()), path.join("."));
        let header = if section.many { format!("[[{header}]]") } else { format!("[{header}]") };
        let body = toml.text[section.body..section.end].replace("\r\n", "\n");
        let _ = write!(out, "{header}\n{body}");
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

fn quoted_key(key: &str) -> String {
    toml_edit::Key::new(key).display_repr().into_owned()
}

/// What a registry's own address is.
fn server(registry: &str) -> String {
    let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
    format!("https://{host}")
}
