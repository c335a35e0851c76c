//! What a person must know of a machine's Podman before it is put behind a mirror. Pure.

use std::path::Path;

use super::look::{Facts, Place};
use super::plan::{DropIn, hides, is_path};
use super::reading::{BrokenFile, Reading};
use crate::edit::Misread;
use crate::edit::registries::{NoPath, Registry};
use crate::engines::plan::{Finding, Weight};
use crate::engines::{Engine, Others, Wish};

/// A file that stops every command, ours included.
pub fn broken(file: &BrokenFile<'_>) -> Finding {
    let BrokenFile { path, misread: Misread { line, column, what } } = file;
    let what = format!("{}:{line}:{column}: {what}; with it Podman, Buildah, Skopeo and CRI-O pull nothing at all", path.display());
    finding(Weight::Blocks, what, "mend that line or take the file away, then apply again")
}

/// A mirror that Podman cannot name.
pub fn no_path(no_path: &NoPath) -> Finding {
    finding(Weight::Blocks, no_path.to_string(), "apply again with a mirror that is named so")
}

/// What is so at one place.
pub fn of_place(reading: &Reading<'_>, registries: &[String], drop_in: &DropIn<'_>, wish: &Wish) -> Vec<Finding> {
    let mut found: Vec<Finding> = drop_in.replaced.iter().map(|(path, entry)| replaced(path, entry, &drop_in.name, wish)).collect();
    for registry in registries {
        found.extend(reading.within(registry).map(|(path, entry)| {
            let (path, line, prefix) = (path.display(), entry.line, &entry.prefix);
            let what = format!(
                "{path}:{line}: {prefix} has an entry of its own, which counts before that for {registry}: these images go past the mirror"
            );
            finding(Weight::Warns, what, "take that entry out, if these images are to come through the mirror too")
        }));
    }
    found.extend(reading.first_version().map(first_version));
    found
}

/// An entry of others that ours replaces.
fn replaced(path: &Path, entry: &Registry, name: &str, wish: &Wish) -> Finding {
    let (place, prefix, count) = (format!("{}:{}", path.display(), entry.line), &entry.prefix, entry.mirrors.len());
    if entry.blocked {
        let what = format!("{place}: `blocked = true`: no image of {prefix} may be pulled, and through a mirror neither");
        return finding(Weight::Warns, what, "take `blocked` out there and apply again, if images are to be pulled");
    }
    let mirrors = match (wish.others, count) {
        (_, 0) => String::new(),
        (Others::Keep, _) => format!("; its mirrors ({count}) come behind ours"),
        (Others::Replace, _) => format!("; its mirrors ({count}) are left out"),
    };
    let what = format!(
        "{place}: {prefix} has an entry there already, and of several the last one counts: {name} is read after it and takes it over{mirrors}"
    );
    finding(Weight::Warns, what, "apply again whenever that entry changes: until then the change counts for nothing")
}

fn first_version((path, line): (&Path, usize)) -> Finding {
    let what = format!("{}:{line}: the old form ([registries.…]), which Podman reads up to version 5 only", path.display());
    finding(Weight::Warns, what, "write it in the new form: unqualified-search-registries = […] and [[registry]]")
}

/// What is so on the machine as a whole.
pub fn of_machine(facts: &Facts, registries: &[String], wish: &Wish) -> Vec<Finding> {
    let mut found: Vec<Finding> = wish.registries.iter().filter(|name| !is_path(name)).map(|name| ported(name)).collect();
    found.extend(facts.chosen.iter().map(|(file, line, variable)| chosen(file, *line, variable)));
    let hidden = facts.others.iter().filter(|(_, place)| hides(facts, place, registries));
    found.extend(hidden.map(|(user, place)| own_files(facts, user, place)));
    found.extend(facts.foreign.iter().map(|(pid, uid)| foreign(*pid, *uid)));
    found.extend(unreadable_key(facts, wish));
    found.extend(facts.files.in_the_way(Engine::Podman));
    found.extend(facts.closed.iter().map(|(user, why)| closed(user, why)));
    found
}

fn closed(user: &str, why: &str) -> Finding {
    let what = format!("{why}; whether {user}'s Podman pulls through the mirror can't be told");
    finding(Weight::Warns, what, format!("have {user} mend it, and run `chandler apply --engine podman` as {user} too"))
}

fn own_files(facts: &Facts, user: &str, place: &Place) -> Finding {
    let what = if facts.files.get(&place.main).is_some() {
        format!(
            "{}: Podman before version 6 then reads none of the machine's files for {user}, who pulls past the mirror",
            place.main.display()
        )
    } else {
        format!("{}: {user}'s own entry for a mirrored registry counts before ours: {user} pulls past the mirror", place.folder.display())
    };
    finding(Weight::Warns, what, format!("run `chandler apply --engine podman` as {user} too"))
}

fn foreign(pid: u32, uid: u32) -> Finding {
    let what = format!("`podman system service` of user {uid} (process {pid}) may have read its files before, and then pulls as before");
    finding(Weight::Warns, what, format!("`kill -HUP {pid}`: it reads them again, and what it runs notices nothing"))
}

fn ported(name: &str) -> Finding {
    let what = format!("Podman can't pull {name} through a mirror: in a mirror's path, such a name is no part of an image's");
    finding(Weight::Warns, what, format!("nothing: images of {name} come from there, as before"))
}

fn chosen(file: &Path, line: usize, variable: &str) -> Finding {
    let what = format!(
        "{}:{line}: {variable} chooses another registries.conf: Podman and Buildah of version 6 and its time then read no drop-in, and go past the mirror",
        file.display()
    );
    finding(Weight::Warns, what, "take that line out, and say what that file says in /etc/containers/registries.conf.d")
}

/// A client's key is for root alone; other users' commands fail at the mirror, and go on to the registry.
fn unreadable_key(facts: &Facts, wish: &Wish) -> Option<Finding> {
    let secure = wish.mirrors.iter().any(crate::engines::MirrorUrl::is_secure);
    let has_users = facts.system.is_some() && !facts.others.is_empty();
    (wish.client.is_some() && secure && has_users).then(|| {
        let what = format!("{}: only root can read the client key, so that rootless Podman pulls past the mirror", facts.certs_d.display());
        finding(Weight::Warns, what, "run `chandler apply --engine podman` as these users too, with a key of their own")
    })
}

fn finding(weight: Weight, what: String, mend: impl Into<String>) -> Finding {
    Finding { engine: Some(Engine::Podman), weight, what, mend: mend.into() }
}
