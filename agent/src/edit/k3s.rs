//! `registries.yaml` of k3s and RKE2, of which they make containerd's `hosts.toml` when they start: so a change here waits for a restart.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::slice;

use super::yaml::{Kind, Tree, Yaml};
use super::{Misread, is_ours, same_mirror};
use crate::engines::{MirrorUrl, Others};

/// A mirror, and how it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// Asked with `ns`, so one URL for all registries.
    pub url: MirrorUrl,
    /// The file with the CA's certificate; `None`: the system's own.
    pub ca: Option<String>,
    /// The files with a client certificate and its key.
    pub client: Option<(String, String)>,
}

/// The endpoints of a registry, as they are written.
pub fn endpoints(text: &str, registry: &str) -> Result<Vec<String>, Misread> {
    Yaml::parse(text)?.texts(&[MIRRORS, registry, ENDPOINT])
}

/// Our mirrors before all others, for each of `registries`; those of an earlier apply go, from every registry. A file that says so already is returned as it is. `None`: there is no file.
pub fn put_behind(
    text: Option<&str>,
    registries: &[String],
    ours: &[Mirror],
    previous: &[MirrorUrl],
    others: Others,
) -> Result<String, Misread> {
    let mut text = text.unwrap_or_default().to_owned();
    let urls: Vec<MirrorUrl> = ours.iter().map(|mirror| mirror.url.clone()).collect();
    let is_used = |url: &MirrorUrl| urls.iter().any(|one| one.authority() == url.authority());
    let stale: Vec<MirrorUrl> = previous.iter().filter(|url| !is_used(url)).cloned().collect();
    for registry in mirrored(&text)?.into_iter().filter(|registry| !registries.contains(registry)) {
        text = unlisted(&text, &registry, previous)?;
    }
    for registry in registries {
        text = listed(&text, registry, &urls, previous, others)?;
    }
    text = without_reach(&text, &stale)?;
    for mirror in ours {
        if previous.iter().any(|url| url.authority() == mirror.url.authority()) && !says(&text, mirror)? {
            // What an earlier apply said and this one would not, such as a CA, goes with its entry.
            text = without_reach(&text, slice::from_ref(&mirror.url))?;
        }
        text = reached(&text, mirror)?;
    }
    Ok(text)
}

/// Only what is ours taken out of the file as it is now.
pub fn without_ours(text: &str, ours: &[MirrorUrl]) -> Result<String, Misread> {
    let mut text = text.to_owned();
    for registry in mirrored(&text)? {
        text = unlisted(&text, &registry, ours)?;
    }
    without_reach(&text, ours)
}

/// The registries that have mirrors.
fn mirrored(text: &str) -> Result<Vec<String>, Misread> {
    let yaml = Yaml::parse(text)?;
    Ok(match yaml.at(&[MIRRORS]).map(|node| &node.kind) {
        Some(Kind::Map { entries, .. }) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    })
}

fn listed(text: &str, registry: &str, ours: &[MirrorUrl], previous: &[MirrorUrl], others: Others) -> Result<String, Misread> {
    let yaml = Yaml::parse(text)?;
    let path = [MIRRORS, registry, ENDPOINT];
    let now = yaml.texts(&path)?;
    let keep = |url: &str| others == Others::Keep && !is_ours(url, ours) && !is_ours(url, previous);
    let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
    let wanted: Vec<&str> = ours.iter().map(String::as_str).chain(now.iter().map(String::as_str).filter(|url| keep(url))).collect();
    if now.len() == wanted.len() && now.iter().zip(&wanted).all(|(one, other)| same_mirror(one, other)) {
        return Ok(text.to_owned());
    }
    yaml.relist(&path, &ours, keep)
}

fn unlisted(text: &str, registry: &str, ours: &[MirrorUrl]) -> Result<String, Misread> {
    let yaml = Yaml::parse(text)?;
    let path = [MIRRORS, registry, ENDPOINT];
    let now = yaml.texts(&path)?;
    match now.iter().filter(|url| is_ours(url, ours)).count() {
        0 => Ok(text.to_owned()),
        all if all == now.len() => yaml.remove(&path),
        _ => yaml.relist(&path, &[], |url| !is_ours(url, ours)),
    }
}

/// The files by which a mirror is known, and we are to it, under their keys.
fn files(mirror: &Mirror) -> Vec<(&'static str, String)> {
    let (chain, key) = mirror.client.clone().map_or((None, None), |(chain, key)| (Some(chain), Some(key)));
    let files = [("ca_file", mirror.ca.clone()), ("cert_file", chain), ("key_file", key)];
    files.into_iter().filter_map(|(key, file)| Some((key, file?))).collect()
}

/// Whether just these files are said of a mirror.
fn says(text: &str, mirror: &Mirror) -> Result<bool, Misread> {
    let yaml = Yaml::parse(text)?;
    let name = mirror.url.authority();
    let said = |key: &str| match yaml.at(&[CONFIGS, &name, TLS, key]).map(|node| &node.kind) {
        Some(Kind::Text(file)) => Some(file.clone()),
        _ => None,
    };
    let files = files(mirror);
    let wanted = |key: &str| files.iter().find(|(one, _)| *one == key).map(|(_, file)| file.clone());
    Ok(FILES.iter().all(|key| said(key) == wanted(key)))
}

/// Says so in the file.
fn reached(text: &str, mirror: &Mirror) -> Result<String, Misread> {
    let name = mirror.url.authority();
    let files = files(mirror);
    let yaml = Yaml::parse(text)?;
    if !files.is_empty() && yaml.at(&[CONFIGS, &name, TLS]).is_none_or(|node| matches!(node.kind, Kind::Null)) {
        let map: BTreeMap<String, Tree> = files.into_iter().map(|(key, file)| (key.to_owned(), Tree::Text(file))).collect();
        return yaml.put(&[CONFIGS, &name, TLS], &Tree::Map(map));
    }
    let mut text = text.to_owned();
    for (key, file) in files {
        let yaml = Yaml::parse(&text)?;
        let path = [CONFIGS, &name, TLS, key];
        let same = yaml.at(&path).is_some_and(|node| matches!(&node.kind, Kind::Text(now) if *now == file));
        if !same {
            text = yaml.put(&path, &Tree::Text(file))?;
        }
    }
    Ok(text)
}

/// What was said of how our mirrors are reached goes, unless more is said there than we would.
fn without_reach(text: &str, ours: &[MirrorUrl]) -> Result<String, Misread> {
    let mut text = text.to_owned();
    for url in ours {
        let yaml = Yaml::parse(&text)?;
        let name = url.authority();
        let path = [CONFIGS, &name];
        let Some(node) = yaml.at(&path) else { continue };
        let entries = |kind: &Kind, known: &[&str]| matches!(kind, Kind::Map { entries, .. } if entries.iter().all(|entry| known.contains(&entry.key.as_str())));
        let tls = node.get(TLS).is_some_and(|entry| entries(&entry.value.kind, &FILES));
        if tls && entries(&node.kind, &[TLS]) {
            text = yaml.remove(&path)?;
        }
    }
    Ok(text)
}

const CONFIGS: &str = "configs";
const ENDPOINT: &str = "endpoint";
const FILES: [&str; 3] = ["ca_file", "cert_file", "key_file"];
const MIRRORS: &str = "mirrors";
const TLS: &str = "tls";
