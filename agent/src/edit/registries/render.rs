//! Our drop-in's text.

use std::fmt::Write as _;

use super::{Mirror, Registry};
use crate::edit::toml::quoted;
use crate::engines::{MirrorUrl, Others};

/// What Podman cannot make a reference of: it then fails the whole pull, and asks neither another mirror nor the registry (seen with 4.3).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPath {
    /// A mirror by an IPv6 address.
    #[error("{0} is an IPv6 address, of which Podman cannot make an image's name, so that every pull would fail; give the mirror a name")]
    Mirror(MirrorUrl),
    /// A registry that is no part of a path.
    #[error(
        "{0} cannot be a part of a mirror's path for Podman, so that every pull would fail; name the mirror's upstream in small letters, digits, dots and dashes, without a port"
    )]
    Registry(String),
}

/// The drop-in that sends pulls from `registries` to the mirrors first. `theirs` is what counts without it ([`in_force`](super::in_force)): an entry for the same prefix is taken over whole.
pub fn render(registries: &[String], mirrors: &[MirrorUrl], theirs: &[Registry], others: Others) -> Result<String, NoPath> {
    if let Some(mirror) = mirrors.iter().find(|mirror| mirror.host().starts_with('[')) {
        return Err(NoPath::Mirror(mirror.clone()));
    }
    let mut out = HEAD.to_owned();
    for name in registries {
        if !name.split('/').all(is_component) {
            return Err(NoPath::Registry(name.clone()));
        }
        let base = theirs.iter().find(|registry| registry.prefix == *name);
        let _ = write!(out, "\n{}", entry(&merged(name, mirrors, base, others)));
    }
    Ok(out)
}

/// Ours first; of theirs each stays as it was, also where it was said once for all of them.
fn merged(name: &str, mirrors: &[MirrorUrl], base: Option<&Registry>, others: Others) -> Registry {
    let mut registry =
        base.cloned().unwrap_or_else(|| Registry { prefix: name.to_owned(), location: name.to_owned(), ..Registry::default() });
    let mut all: Vec<Mirror> = mirrors
        .iter()
        .map(|mirror| Mirror { location: format!("{}/{name}", mirror.authority()), insecure: !mirror.is_secure(), pull_from: None })
        .collect();
    if others == Others::Keep {
        for mut theirs in std::mem::take(&mut registry.mirrors) {
            if registry.by_digest_only {
                theirs.pull_from = Some("digest-only".to_owned());
            }
            if !all.iter().any(|ours| ours.location.eq_ignore_ascii_case(&theirs.location)) {
                all.push(theirs);
            }
        }
    }
    registry.by_digest_only = false;
    registry.mirrors = all;
    registry
}

/// Whether this can stand between slashes in an image's name: small letters and digits, with dots, dashes and underscores between them.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let parted = text.split(['.', '_', '-']).all(|part| part.chars().all(plain));
    parted && text.starts_with(plain) && text.ends_with(plain) && !text.contains("..")
}

fn entry(registry: &Registry) -> String {
    let mut out = format!("[[registry]]\nprefix = {}\n", quoted(&registry.prefix));
    if !registry.location.is_empty() {
        let _ = writeln!(out, "location = {}", quoted(&registry.location));
    }
    for (key, said) in [("insecure", registry.insecure), ("blocked", registry.blocked)] {
        if said {
            let _ = writeln!(out, "{key} = true");
        }
    }
    for mirror in &registry.mirrors {
        let _ = write!(out, "\n[[registry.mirror]]\nlocation = {}\n", quoted(&mirror.location));
        if mirror.insecure {
            out.push_str("insecure = true\n");
        }
        if let Some(word) = &mirror.pull_from {
            let _ = writeln!(out, "pull-from-mirror = {}", quoted(word));
        }
    }
    out
}

const HEAD: &str = "# Written by `chandler apply`, taken away by `chandler undo`. An entry here replaces those with the same prefix\n# in files that are read before it; what they said is taken over below.\n";
