//! containers-registries.conf(5), which Podman, Buildah, Skopeo and CRI-O share.
//!
//! Ours is a drop-in of its own, so nobody's file is changed. But an entry with a prefix replaces the whole entry that an earlier file has for it, so ours takes over what that one says: its mirrors
//! behind ours, its location, and whether it is blocked. One broken file breaks every command of all these programs: what is written here is read again before it is given away.

mod render;

#[cfg(test)]
pub(crate) mod tests;

use toml_edit::{Item, TableLike};

use super::Misread;
use super::toml::{Toml, start_of};

pub use self::render::{NoPath, render};

/// Where our drop-in is.
pub const DROP_IN: &str = "/etc/containers/registries.conf.d/50-chandler-mirror.conf";

/// A `[[registry]]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Registry {
    /// Which images it is about: `docker.io`, `docker.io/library`, `*.corp`; its location, where it is not written.
    pub prefix: String,
    /// Where they really are.
    pub location: String,
    /// No TLS, or any certificate, for the location.
    pub insecure: bool,
    /// Nothing may be pulled.
    pub blocked: bool,
    /// All mirrors are for pulls by digest alone.
    pub by_digest_only: bool,
    /// In their order.
    pub mirrors: Vec<Mirror>,
    /// Of its header.
    pub line: usize,
    /// Of its header.
    pub column: usize,
}

/// A `[[registry.mirror]]`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mirror {
    /// `host:port/path`, with no scheme.
    pub location: String,
    /// No TLS, or any certificate.
    pub insecure: bool,
    /// `all`, `digest-only`, `tag-only`.
    pub pull_from: Option<String>,
}

/// What a file says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct File {
    /// In their order.
    pub registries: Vec<Registry>,
    /// Where it uses the old form, `[registries.search]`: mirrors cannot be said in it, and no file may mix it with the new one.
    pub v1: Option<(usize, usize)>,
}

/// An entry of another file that bears upon one of our prefixes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// Our prefix.
    pub prefix: String,
    /// The other's file.
    pub file: String,
    /// The other's entry.
    pub registry: Registry,
    /// What comes of it.
    pub kind: Kind,
}

/// What comes of two entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It is read before ours: ours counts, and takes over what it says.
    Replaced,
    /// It is read after ours: ours does not count.
    Replaces,
    /// Its prefix is a part of ours: for those images it counts, and ours does not.
    Narrower,
}

/// All `[[registry]]` entries of a file.
pub fn entries(text: &str) -> Result<Vec<Registry>, Misread> {
    read(text).map(|file| file.registries)
}

/// A file, by the rules by which Podman refuses one.
pub fn read(text: &str) -> Result<File, Misread> {
    let toml = Toml::parse(text)?;
    let v1 = toml.item(&["registries"]).filter(|item| item.is_table_like()).map(|item| {
        let at = toml.sections().iter().find(|section| section.path.first().is_some_and(|key| key == "registries"));
        super::place(text, at.map_or(start_of(item), |section| section.head))
    });
    let mut registries = Vec::new();
    for (table, at) in tables(&toml, toml.root().get("registry"), "[[registry]]")? {
        registries.push(registry(&toml, table, at)?);
    }
    if let (Some((line, column)), false) = (v1, registries.is_empty()) {
        let what = "the old form ([registries.…]) and the new one ([[registry]]) in one file: Podman refuses both together".to_owned();
        return Err(Misread { line, column, what });
    }
    Ok(File { registries, v1 })
}

/// What counts, when these files (name, text) are read in this order, the main file first, then the drop-ins by name: per prefix the last entry.
pub fn in_force(files: &[(&str, &str)]) -> Result<Vec<(String, Registry)>, (String, Misread)> {
    let mut all: Vec<(String, Registry)> = Vec::new();
    for (name, text) in files {
        for registry in entries(text).map_err(|error| ((*name).to_owned(), error))? {
            all.retain(|(_, earlier)| earlier.prefix != registry.prefix);
            all.push(((*name).to_owned(), registry));
        }
    }
    Ok(all)
}

/// Entries of other files that bear upon our prefixes. `files` is in the order in which they are read, with ours, by its name `own`, where it is or would be.
pub fn conflicts(files: &[(&str, &str)], own: &str, prefixes: &[String]) -> Result<Vec<Conflict>, (String, Misread)> {
    let place = files.iter().position(|(name, _)| *name == own).unwrap_or_else(|| {
        let before = |(name, _): &(&str, &str)| is_main(name) || *name < own;
        files.iter().take_while(|file| before(file)).count()
    });
    let mut conflicts = Vec::new();
    for (index, (name, text)) in files.iter().enumerate().filter(|(_, (name, _))| *name != own) {
        for registry in entries(text).map_err(|error| ((*name).to_owned(), error))? {
            for prefix in prefixes {
                if let Some(kind) = kind(&registry.prefix, prefix, index < place) {
                    conflicts.push(Conflict { prefix: prefix.clone(), file: (*name).to_owned(), registry: registry.clone(), kind });
                }
            }
        }
    }
    Ok(conflicts)
}

fn kind(theirs: &str, ours: &str, earlier: bool) -> Option<Kind> {
    match theirs.strip_prefix(ours)? {
        "" if earlier => Some(Kind::Replaced),
        "" => Some(Kind::Replaces),
        rest if rest.starts_with('/') => Some(Kind::Narrower),
        _ => None,
    }
}

/// The main file is read first, whatever its name.
fn is_main(name: &str) -> bool {
    !name.contains(".conf.d/")
}

/// A list of tables, in either of the two ways to write one, each with where it begins.
fn tables<'a>(toml: &Toml<'_>, item: Option<&'a Item>, what: &str) -> Result<Vec<(&'a dyn TableLike, usize)>, Misread> {
    match item {
        None => Ok(Vec::new()),
        Some(Item::ArrayOfTables(tables)) => {
            Ok(tables.iter().map(|table| (table as &dyn TableLike, table.span().map_or(0, |span| span.start))).collect())
        }
        Some(item) => {
            let tables = item.as_array().and_then(|array| {
                let table = |value: &'a toml_edit::Value| {
                    let at = value.span().map_or(0, |span| span.start);
                    Some((value.as_inline_table()? as &dyn TableLike, at))
                };
                array.iter().map(table).collect::<Option<Vec<_>>>()
            });
            tables.ok_or_else(|| toml.wrong(item, format!("this must be a list of tables: write {what}")))
        }
    }
}

fn registry(toml: &Toml<'_>, table: &dyn TableLike, at: usize) -> Result<Registry, Misread> {
    let location = address(toml, table, "location")?;
    let prefix = address(toml, table, "prefix")?;
    if location.is_empty() && !prefix.starts_with("*.") {
        return Err(toml.error(at, "a [[registry]] without `location`, which Podman refuses"));
    }
    if let Some(item) = table.get("pull-from-mirror") {
        return Err(toml.wrong(item, "`pull-from-mirror` belongs to a [[registry.mirror]], and Podman refuses it here"));
    }
    let (line, column) = super::place(toml.text, at);
    let mut registry = Registry {
        prefix: if prefix.is_empty() { location.clone() } else { prefix },
        location,
        insecure: flag(toml, table, "insecure")?,
        blocked: flag(toml, table, "blocked")?,
        by_digest_only: flag(toml, table, "mirror-by-digest-only")?,
        mirrors: Vec::new(),
        line,
        column,
    };
    for (table, at) in tables(toml, table.get("mirror"), "[[registry.mirror]]")? {
        let mirror = Mirror {
            location: address(toml, table, "location")?,
            insecure: flag(toml, table, "insecure")?,
            pull_from: word(toml, table, "pull-from-mirror")?.filter(|word| !word.is_empty()),
        };
        if mirror.location.is_empty() {
            return Err(toml.error(at, "a [[registry.mirror]] without `location`, which Podman refuses"));
        }
        if mirror.pull_from.as_deref().is_some_and(|word| !matches!(word, "all" | "digest-only" | "tag-only")) {
            return Err(toml.error(at, "`pull-from-mirror` must be all, digest-only or tag-only"));
        }
        if registry.by_digest_only && mirror.pull_from.is_some() {
            return Err(
                toml.error(at, "`pull-from-mirror` and the registry's `mirror-by-digest-only` exclude each other; keep one of them")
            );
        }
        registry.mirrors.push(mirror);
    }
    Ok(registry)
}

fn address(toml: &Toml<'_>, table: &dyn TableLike, key: &str) -> Result<String, Misread> {
    let address = word(toml, table, key)?.unwrap_or_default();
    if let (Some(item), true) = (table.get(key), address.contains("://")) {
        return Err(toml
            .wrong(item, format!("`{key}` with a scheme, which Podman refuses; write host[:port][/path], and insecure = true for http")));
    }
    Ok(address.trim_end_matches('/').to_owned())
}

fn word(toml: &Toml<'_>, table: &dyn TableLike, key: &str) -> Result<Option<String>, Misread> {
    let Some(item) = table.get(key) else { return Ok(None) };
    item.as_str().map(|word| Some(word.to_owned())).ok_or_else(|| toml.wrong(item, format!("`{key}` must be a string in quotes")))
}

fn flag(toml: &Toml<'_>, table: &dyn TableLike, key: &str) -> Result<bool, Misread> {
    let Some(item) = table.get(key) else { return Ok(false) };
    item.as_bool().ok_or_else(|| toml.wrong(item, format!("`{key}` must be true or false")))
}
