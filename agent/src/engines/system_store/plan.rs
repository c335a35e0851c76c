//! What is to be done so that the system trusts the wished CAs. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::bodies;
use super::look::{Facts, Family, Store};
use crate::engines::plan::{Finding, Plan, Rebuild, Step, Weight};
use crate::engines::{Engine, Wish};

/// A file for each CA that no other file has, and a run of the tool. That it is needed is for who knows what is on the disk.
pub fn plan(facts: &Facts, wish: &Wish) -> Plan {
    let finding = |weight, what: &str, mend: &str| Plan {
        steps: Vec::new(),
        findings: vec![Finding { engine: Some(Engine::System), weight, what: what.to_owned(), mend: mend.to_owned() }],
    };
    let Some(anchors) = wish.anchors.as_deref() else {
        return finding(Weight::Warns, "no CA is named that the system would have to be told of", "--ca FILE, or --ca sha256:… names it");
    };
    let Some(store) = &facts.store else { return finding(Weight::Blocks, UNKNOWN, INSTALL) };
    let unread: Vec<Finding> = facts.files.in_the_way(Engine::System).collect();
    if !unread.is_empty() {
        return Plan { steps: Vec::new(), findings: unread };
    }
    let wanted = bodies(anchors.as_bytes());
    let astray = facts.astray.difference(&wanted).count();
    if astray > 0 {
        let what = format!(
            "{} holds certificates that are in no file of the store ({astray}): {} would make it anew without them",
            store.family.bundle, store.family.tool
        );
        let mend = format!("put each into a file of its own, {}/NAME.{}, and run this again", store.family.folder, store.family.extension);
        return finding(Weight::Blocks, &what, &mend);
    }
    let mut steps: Vec<Step> = each(anchors).iter().filter_map(|one| write(facts, store, one)).collect();
    steps.push(Step::Rebuild(rebuild(store, store.family.adds, wanted)));
    Plan { steps, findings: Vec::new() }
}

/// The run of the tool after which files of ours that are gone count for nothing; `None` where there is no tool, or nothing that it could take out. `ours` are the certificates that we wrote.
pub fn rebuilt_without(facts: &Facts, has_changed: bool, ours: &[&[u8]]) -> Option<Rebuild> {
    let store = facts.store.as_ref()?;
    let is_left = || ours.iter().flat_map(|text| bodies(text)).any(|body| facts.bundle.contains(&body));
    (has_changed || is_left()).then(|| rebuild(store, store.family.renews, BTreeSet::new()))
}

fn rebuild(store: &Store, arguments: &'static [&'static str], holds: BTreeSet<String>) -> Rebuild {
    let Family { bundle, renews, .. } = *store.family;
    Rebuild { tool: store.tool.clone(), arguments, renews, bundle: PathBuf::from(bundle), holds, lacks: BTreeSet::new() }
}

/// Of one certificate.
fn write(facts: &Facts, store: &Store, pem: &str) -> Option<Step> {
    let path = path(store, pem)?;
    let body = bodies(pem.as_bytes());
    let is_elsewhere =
        facts.files.in_folder(Path::new(store.family.folder)).any(|(other, bytes)| other != path && !bodies(bytes).is_disjoint(&body));
    if is_elsewhere { None } else { facts.files.write(Engine::System, &path, Some(pem.as_bytes().to_vec()), 0o644) }
}

/// Named after what is in it, as `chandler ca export` does, so that an older one beside it stays.
fn path(store: &Store, pem: &str) -> Option<PathBuf> {
    let authority = certs::ca::Authority::read_all(pem).ok()?.into_iter().next()?;
    Some(Path::new(store.family.folder).join(format!("chandler-{}.{}", &authority.fingerprint()[..12], store.family.extension)))
}

/// One certificate a text: the tools take no more from a file.
fn each(anchors: &str) -> Vec<String> {
    certs::ca::Authority::read_all(anchors).unwrap_or_default().iter().map(certs::ca::Authority::pem).collect()
}

const UNKNOWN: &str =
    "this system has no store of CAs that chandler knows: neither update-ca-certificates nor update-ca-trust with its folder is there";
const INSTALL: &str = "install the package ca-certificates; on other systems put the CA where its own documentation says";
