//! What is written so that Podman and its kin pull through the mirror. Pure.
//!
//! A file of our own in `registries.conf.d`, and the certificates: no file of anybody else is changed. Each command reads them anew; what runs on,
//! `podman system service` and CRI-O, is told by a signal.

use std::path::Path;

use super::look::{Facts, Place, Service};
use super::reading::{Reading, drop_ins, entry, file};
use super::{drop_in, findings};
use crate::edit::registries::{self, NoPath, Registry};
use crate::engines::certs_d;
use crate::engines::plan::{Plan, Reload, Step, Weight};
use crate::engines::{Engine, Others, Wish};

/// What is to be done so that the wish is so. An engine that is not there has an empty plan.
pub fn plan(facts: &Facts, wish: &Wish) -> Plan {
    if !facts.is_there() {
        return Plan::default();
    }
    let mut plan = Plan { steps: certs_d::writes(Engine::Podman, &facts.certs_d, &facts.files, wish), findings: Vec::new() };
    let registries = mirrored(wish);
    let mut wanted = Vec::new();
    for place in targets(facts, &registries) {
        match Reading::of(facts, place) {
            Err(broken) => plan.findings.push(findings::broken(&broken)),
            Ok(reading) => match DropIn::of(&reading, &registries, wish) {
                Err(no_path) => plan.findings.push(findings::no_path(&no_path)),
                Ok(drop_in) => {
                    plan.findings.extend(findings::of_place(&reading, &registries, &drop_in, wish));
                    plan.steps.extend(drop_in.writes(facts, place));
                    wanted = drop_in.locations; // who asks goes by the last one
                }
            },
        }
    }
    plan.findings.extend(findings::of_machine(facts, &registries, wish));
    plan.findings.sort_by_key(|finding| finding.weight);
    if plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
        return Plan { steps: Vec::new(), ..plan };
    }
    let reloads = facts.services.iter().filter(|service| wants_reload(service, &wanted, !plan.steps.is_empty()));
    let reloads: Vec<Step> = reloads.map(|service| Step::Reload(service.reload(wanted.clone()))).collect();
    plan.steps.extend(reloads);
    plan
}

/// The reloads after which all that runs on works by a file that holds `bytes` (`None`: that has gone). None for what does already.
pub fn reloads(facts: &Facts, path: &Path, bytes: Option<&[u8]>) -> Vec<Reload> {
    let mut facts = facts.clone();
    match bytes {
        Some(bytes) => facts.files.insert(path, bytes),
        None => facts.files.remove(path),
    }
    let reading = targets(&facts, &[HUB.to_owned()]).pop().and_then(|place| Reading::of(&facts, place).ok());
    let Some(reading) = reading else { return Vec::new() };
    let left = reading.winner(HUB).map(|(_, entry)| entry.mirrors.iter().map(|mirror| mirror.location.clone()).collect());
    let left: Vec<String> = left.unwrap_or_default();
    facts.services.iter().filter(|service| wants_reload(service, &left, true)).map(|service| service.reload(left.clone())).collect()
}

/// The drop-in for one place.
#[derive(Debug)]
pub struct DropIn<'a> {
    /// The file's name.
    pub name: String,
    /// What it holds.
    pub text: String,
    /// The entries of others that it replaces, each with its file.
    pub replaced: Vec<(&'a Path, &'a Registry)>,
    /// The mirrors of Docker Hub by their location, in order: what a service reports that has read it.
    pub locations: Vec<String>,
}

impl<'a> DropIn<'a> {
    fn of(reading: &'a Reading<'_>, names: &[String], wish: &Wish) -> Result<Self, NoPath> {
        let replaced: Vec<_> = names.iter().filter_map(|name| reading.winner(name)).collect();
        let theirs: Vec<Registry> = replaced.iter().map(|(_, entry)| (*entry).clone()).collect();
        let text = registries::render(names, &wish.mirrors, &theirs, wish.others)?;
        let hub = registries::entries(&text).unwrap_or_default().into_iter().find(|entry| entry.prefix == HUB);
        let locations = hub.into_iter().flat_map(|entry| entry.mirrors).map(|mirror| mirror.location).collect();
        Ok(Self { name: drop_in::name(&reading.rivals(names), &reading.names()), text, replaced, locations })
    }

    /// It is written before one of ours by another name goes, so that there is no moment without.
    fn writes(&self, facts: &Facts, place: &Place) -> Vec<Step> {
        let path = place.folder.join(&self.name);
        let ours = drop_ins(facts, place).filter(|(other, bytes)| drop_in::is_ours(bytes) && *other != path);
        let removed = ours.filter_map(|(other, _)| facts.files.write(Engine::Podman, other, None, 0o644));
        let written = facts.files.write(Engine::Podman, &path, Some(self.text.clone().into_bytes()), 0o644);
        written.into_iter().chain(removed).collect()
    }
}

/// The registries that Podman can find at a mirror.
fn mirrored(wish: &Wish) -> Vec<String> {
    let named = wish.registries.iter().filter(|name| is_path(name) && *name != HUB).cloned();
    std::iter::once(HUB.to_owned()).chain(named).collect()
}

/// Where a drop-in of ours is needed: for everybody, and for the one who asks where his own files hide that.
fn targets<'a>(facts: &'a Facts, registries: &[String]) -> Vec<&'a Place> {
    let own = facts.own.as_ref().filter(|place| facts.system.is_none() || hides(facts, place, registries));
    facts.system.iter().chain(own).collect()
}

/// Whether Podman can name a registry in a mirror's path.
pub fn is_path(registry: &str) -> bool {
    registries::render(&[registry.to_owned()], &[], &[], Others::Keep).is_ok()
}

/// Whether a user's files make the machine's drop-in count for nothing: an own `registries.conf`, or own entries for the same registries.
pub fn hides(facts: &Facts, place: &Place, registries: &[String]) -> bool {
    let mut others = drop_ins(facts, place).filter(|(_, bytes)| !drop_in::is_ours(bytes));
    let has_entry = |bytes| file(bytes, false).map_or(true, |file| registries.iter().any(|name| entry(&file, name).is_some()));
    facts.files.get(&place.main).is_some() || others.any(|(_, bytes)| has_entry(bytes))
}

/// One that says what it has is told if that is not what it should be; one that doesn't, whenever a file changes.
fn wants_reload(service: &Service, wanted: &[String], writes: bool) -> bool {
    service.reported.as_ref().map_or(writes, |reported| reported != wanted)
}

const HUB: &str = "docker.io";
