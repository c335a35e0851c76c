//! Docker's `daemon.json`: its mirrors, and the registries that it may reach without TLS or without knowing their CA.
//!
//! dockerd knows both keys in exactly one spelling. Of another spelling, which Go would take for the same key, it says that it "doesn't match any configuration option" and does not start: so an edit
//! is refused too. A flag's name (`registry-mirror`) it accepts as a key, and ignores.

#[cfg(test)]
mod tests;

use super::json::Object;
use super::{Misread, is_ours, same_mirror};
use crate::engines::{MirrorUrl, Others};

/// What is ours in the file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ours {
    /// In the order in which they are asked.
    pub mirrors: Vec<MirrorUrl>,
    /// `host:port` or network, for mirrors that are reached without a CA that dockerd knows.
    pub insecure: Vec<String>,
}

/// A key that looks like one of the two, and is none of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suspicion {
    /// Of the key.
    pub line: usize,
    /// Of the key.
    pub column: usize,
    /// As it is written.
    pub key: String,
    /// What was probably meant.
    pub meant: &'static str,
}

/// The mirrors that it names, as they are written.
pub fn mirrors(text: &str) -> Result<Vec<String>, Misread> {
    Ok(parse(text)?.strings(MIRRORS)?.unwrap_or_default())
}

/// The registries that it names as insecure, as they are written.
pub fn insecure(text: &str) -> Result<Vec<String>, Misread> {
    Ok(parse(text)?.strings(INSECURE)?.unwrap_or_default())
}

/// Whether it says anything of mirrors, be it that there are none: a reload changes nothing in an engine whose file does not.
pub fn says_mirrors(text: &str) -> Result<bool, Misread> {
    Ok(parse(text)?.get(MIRRORS).is_some())
}

/// Our mirrors before all others; those of an earlier apply go. A file that says so already is returned as it is. `None`: there is no file.
pub fn put_behind(text: Option<&str>, ours: &Ours, previous: &Ours, others: Others) -> Result<String, Misread> {
    let text = text.unwrap_or(NEW);
    let now = mirrors(text)?;
    let mut wanted: Vec<String> = ours.mirrors.iter().map(ToString::to_string).collect();
    if others == Others::Keep {
        let foreign = now.iter().filter(|url| !is_ours(url, &ours.mirrors) && !is_ours(url, &previous.mirrors));
        wanted.extend(foreign.cloned());
    }
    let same = now.len() == wanted.len() && now.iter().zip(&wanted).all(|(one, other)| same_mirror(one, other));
    let text = if same { text.to_owned() } else { parse(text)?.with(MIRRORS, &wanted) };

    let now = insecure(&text)?;
    let mut wanted: Vec<String> = now.clone();
    wanted.retain(|entry| !names(&previous.insecure, entry) || names(&ours.insecure, entry));
    for entry in &ours.insecure {
        if !names(&wanted, entry) {
            wanted.push(entry.clone());
        }
    }
    changed(&text, INSECURE, &now, &wanted)
}

/// The same, with an empty list under each of the two keys that it lacks: engines keep the old value of a key that is gone, so this is what they read before the key goes.
pub fn emptied(text: Option<&str>) -> Result<String, Misread> {
    let mut text = text.unwrap_or(NEW).to_owned();
    for key in [MIRRORS, INSECURE] {
        let object = parse(&text)?;
        if object.get(key).is_none() {
            text = object.with(key, &[]);
        }
    }
    Ok(text)
}

/// Only what is ours taken out of the file as it is now. A list of which nothing is left goes as a whole.
pub fn without_ours(text: &str, ours: &Ours) -> Result<String, Misread> {
    let now = mirrors(text)?;
    let left: Vec<String> = now.iter().filter(|url| !is_ours(url, &ours.mirrors)).cloned().collect();
    let text = changed(text, MIRRORS, &now, &left)?;
    let now = insecure(&text)?;
    let left: Vec<String> = now.iter().filter(|entry| !names(&ours.insecure, entry)).cloned().collect();
    changed(&text, INSECURE, &now, &left)
}

/// No mirrors at all, whoever put them there; the insecure registries stay, since they may be registries of their own right.
pub fn clean(text: &str) -> Result<String, Misread> {
    Ok(parse(text)?.without(MIRRORS))
}

/// Keys that dockerd ignores or refuses, and that probably were to be one of the two.
pub fn suspicions(text: &str) -> Result<Vec<Suspicion>, Misread> {
    let object = Object::parse(text)?;
    let suspicion = |key: super::json::Key<'_>| {
        let meant = meant(key.name)?;
        Some(Suspicion { line: key.line, column: key.column, key: key.name.to_owned(), meant })
    };
    Ok(object.keys().filter_map(suspicion).collect())
}

/// An object whose two keys are well spelt, and lists of strings.
fn parse(text: &str) -> Result<Object<'_>, Misread> {
    let object = Object::parse(text)?;
    for key in [MIRRORS, INSECURE] {
        if let Some(other) = object.keys().find(|other| other.name != key && other.name.to_lowercase() == key) {
            let what = format!("`{}` must be written `{key}`: dockerd refuses other capitals", other.name);
            return Err(Misread { line: other.line, column: other.column, what });
        }
        object.strings(key)?;
    }
    if object.strings(MIRRORS)?.unwrap_or_default().iter().any(String::is_empty) {
        let at = object.value_place(MIRRORS).unwrap_or_default();
        return Err(Misread::at(text, at, format!("`{MIRRORS}` has an empty entry, which dockerd refuses; take it out")));
    }
    Ok(object)
}

/// The text with a list as wanted, untouched if it is so; an empty one goes with its key.
fn changed(text: &str, key: &str, now: &[String], wanted: &[String]) -> Result<String, Misread> {
    if now == wanted {
        return Ok(text.to_owned());
    }
    let object = parse(text)?;
    Ok(if wanted.is_empty() { object.without(key) } else { object.with(key, wanted) })
}

fn names(entries: &[String], entry: &str) -> bool {
    entries.iter().any(|one| one.eq_ignore_ascii_case(entry))
}

/// Which of the two keys a wrong one was to be.
fn meant(key: &str) -> Option<&'static str> {
    let letters: String = key.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let like = |forms: &[&str]| forms.iter().any(|form| strsim::osa_distance(&letters, form) <= 2);
    match key {
        MIRRORS | INSECURE => None,
        _ if like(&["registrymirrors", "registrymirror", "registriesmirrors", "mirrorregistries"]) || letters == "mirrors" => Some(MIRRORS),
        _ if like(&["insecureregistries", "insecureregistry", "insecureregistrys"]) => Some(INSECURE),
        _ => None,
    }
}

/// The key of the mirrors.
pub const MIRRORS: &str = "registry-mirrors";
/// The key of the registries that are reached without a known CA.
pub const INSECURE: &str = "insecure-registries";
/// What a file is that was not there.
const NEW: &str = "{}\n";
