//! What is written so that containerd pulls through the mirror. Pure.

use std::path::{Path, PathBuf};

use super::look::{Daemon, Facts, STANDARD};
use super::settings::Settings;
use crate::edit::hosts::{self, Host};
use crate::edit::{self, Misread, utf8};
use crate::engines::MirrorUrl;
use crate::engines::certs_d::{self, CertsD};
use crate::engines::plan::{Finding, Plan, Step, Weight};
use crate::engines::{Engine, Others, Wish};

/// What is to be done so that the wish is so; `previous`: our mirrors of earlier times. What is not there has an empty plan.
pub fn plan(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
    let mut plan = facts.daemon.as_ref().map(|daemon| of_daemon(facts, daemon, wish, previous)).unwrap_or_default();
    for distribution in &facts.distributions {
        plan.extend(distribution.plan(&facts.files, wish, previous));
    }
    plan.findings.extend(facts.files.in_the_way(Engine::Containerd));
    plan.findings.extend(facts.others.iter().map(|uid| of_another(*uid)));
    plan.findings.sort_by_key(|finding| finding.weight);
    if plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
        plan.steps.clear();
    }
    plan
}

/// A process that may be called containerd by chance.
fn of_another(uid: u32) -> Finding {
    let what = format!("a containerd, k3s or RKE2 of user {uid} is left alone: its files are that user's");
    finding(Weight::Warns, what, "run `chandler apply --engine containerd` as that user, if it is one that pulls images")
}

fn of_daemon(facts: &Facts, daemon: &Daemon, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
    let settings = match &daemon.settings {
        Ok(settings) => settings,
        Err(misread) => return blocked(&daemon.config, misread),
    };
    if let Some(line) = settings.old_mirrors {
        return Plan { steps: Vec::new(), findings: vec![old_form(daemon, line)] };
    }
    let folders = daemon.folders();
    let mut plan = Plan { steps: certs_d::writes(Engine::Containerd, &folders[0], &facts.files, wish), findings: Vec::new() };
    let mut mirrored = Vec::new();
    for registry in std::iter::once("docker.io").chain(wish.registries.iter().map(String::as_str).filter(|name| *name != "docker.io")) {
        match hosts_of(facts, &folders, registry, wish, previous) {
            Ok((file, step, finding)) => {
                mirrored.push(file);
                plan.steps.extend(step);
                plan.findings.extend(finding);
            }
            Err((path, misread)) => plan.findings.extend(blocked(&path, &misread).findings),
        }
    }
    plan.steps.extend(unmirrored(facts, &folders, &mirrored, previous));
    plan.findings.extend(unread(daemon, settings));
    plan.findings.sort_by_key(|finding| finding.weight);
    plan
}

/// The `hosts.toml` of one registry, how it is written, and what there is to know.
type Hosts = (PathBuf, Option<Step>, Option<Finding>);

fn hosts_of(facts: &Facts, folders: &[PathBuf], registry: &str, wish: &Wish, previous: &[MirrorUrl]) -> Result<Hosts, (PathBuf, Misread)> {
    let (file, base) = file_of(facts, folders, registry, wish);
    let base = base.unwrap_or_else(|| file.clone());
    let ours: Vec<Host> = wish.mirrors.iter().map(|mirror| host(&folders[0], mirror, wish)).collect();
    let text = facts.files.get(&base).map(utf8).transpose();
    let edited = text.and_then(|text| hosts::put_first(text, registry, &ours, previous, wish.others));
    let edited = edited.map_err(|misread| (base.clone(), misread))?;
    let step = facts.files.write(Engine::Containerd, &file, Some(edited.into_bytes()), 0o644);
    let copied = (base != file).then(|| {
        let what = format!(
            "{}: it counts for {registry} too as long as that has no file of its own; what it says is copied to {}",
            base.display(),
            file.display()
        );
        finding(
            Weight::Warns,
            what,
            "keep both alike when one changes; a certificate that it names without a folder has to be named in full",
        )
    });
    Ok((file, step, copied))
}

/// Files of registries that were mirrored before, and are no longer.
fn unmirrored(facts: &Facts, folders: &[PathBuf], mirrored: &[PathBuf], previous: &[MirrorUrl]) -> Vec<Step> {
    let is_hosts =
        |path: &Path| path.ends_with(HOSTS) && path.ancestors().nth(2).is_some_and(|folder| folders.iter().any(|known| known == folder));
    let others = facts.files.iter().filter(|(path, _)| is_hosts(path) && !mirrored.iter().any(|known| known == path));
    let left = others.filter_map(|(path, bytes)| {
        // One that cannot be read has nothing of ours that counts.
        let left = hosts::without_ours(utf8(bytes).ok()?, previous).ok()?;
        facts.files.write(Engine::Containerd, path, Some(left.into_bytes()), 0o644)
    });
    left.collect()
}

/// The file for a registry in the first folder that knows it, else in the first folder; and, if there is none yet, the one that counts until then: `_default`, or Docker's, which is Docker's to
/// write. A folder with nothing in it but a file of ours that is supposed to be gone knows nothing.
fn file_of(facts: &Facts, folders: &[PathBuf], registry: &str, wish: &Wish) -> (PathBuf, Option<PathBuf>) {
    let names = [spelled(registry), registry.to_owned()];
    let is_known = |path: &PathBuf| facts.files.get(&path.join(HOSTS)).is_some() || facts.folders.contains(path);
    for folder in folders {
        let is_dockers = folder.ends_with(DOCKERS) && *folder != folders[0];
        let known = names.iter().map(|name| folder.join(name)).find(is_known).map(|known| known.join(HOSTS));
        match known {
            Some(known) if !is_dockers => return (known, None),
            Some(known) if is_theirs(facts, &known, wish) => return (folders[0].join(&names[0]).join(HOSTS), Some(known)),
            _ => {}
        }
        let default = folder.join("_default").join(HOSTS);
        if facts.files.get(&default).is_some() {
            let folder = if is_dockers { &folders[0] } else { folder };
            return (folder.join(&names[0]).join(HOSTS), Some(default));
        }
    }
    (folders[0].join(&names[0]).join(HOSTS), None)
}

/// Whether a file names somebody else's mirror first, and not one of ours: then it is not what chandler wrote for Docker.
fn is_theirs(facts: &Facts, path: &Path, wish: &Wish) -> bool {
    let named = facts.files.get(path).and_then(|bytes| hosts::hosts(utf8(bytes).ok()?).ok());
    named
        .is_none_or(|named| named.first().is_some_and(|url| !wish.mirrors.iter().any(|mirror| edit::same_mirror(&mirror.to_string(), url))))
}

/// `registry.corp:5000` is the folder `registry.corp_5000_`, which is looked for first.
fn spelled(registry: &str) -> String {
    registry.rsplit_once(':').map_or_else(|| registry.to_owned(), |(host, port)| format!("{host}_{port}_"))
}

fn host(folder: &Path, mirror: &MirrorUrl, wish: &Wish) -> Host {
    let paths = CertsD::of(folder, mirror);
    let text = |path: &Path| path.display().to_string();
    // With a certificate, containerd tries HTTPS first where plain HTTP is meant.
    let ca = wish.anchors.as_ref().filter(|_| mirror.is_secure()).map(|_| text(&paths.anchors));
    let client = wish.client.as_ref().filter(|_| mirror.is_secure()).map(|_| (text(&paths.chain), text(&paths.key)));
    Host { url: mirror.clone(), ca, client, dial_timeout: Some(DIAL.to_owned()) }
}

/// A `hosts.toml` by which one pull from Docker Hub asks these mirrors in this order: those of the wish known as its own files know them, others by nothing.
pub fn for_one_pull(daemon: &Daemon, mirrors: &[MirrorUrl], wish: &Wish) -> String {
    let bare = |mirror: &MirrorUrl| Host { url: mirror.clone(), ca: None, client: None, dial_timeout: Some(DIAL.to_owned()) };
    let is_ours = |mirror: &&MirrorUrl| wish.mirrors.contains(mirror);
    let host = |mirror| Some(mirror).filter(is_ours).map_or_else(|| bare(mirror), |mirror| host(&daemon.folders()[0], mirror, wish));
    let hosts: Vec<Host> = mirrors.iter().map(host).collect();
    hosts::put_first(None, "docker.io", &hosts, &[], Others::Keep).expect("nothing is read")
}

/// The CRI plugin looks at no `hosts.toml` before `config_path` says where; and what that says counts from a start of containerd to its end.
fn unread(daemon: &Daemon, settings: &Settings) -> Option<Finding> {
    if settings.without_cri {
        return None;
    }
    if daemon.is_behind && !settings.config_path.is_empty() {
        let what = format!(
            "{}: it was changed since containerd started, which reads it then: if its `config_path` is new, Kubernetes and crictl pull past the mirror until it is started again",
            daemon.config.display()
        );
        return Some(finding(Weight::Restart, what, "`systemctl restart containerd` (containers run on)"));
    }
    settings.config_path.is_empty().then(|| {
        let what = format!(
            "{}: it says no `config_path`, so that Kubernetes and crictl pull past the mirror; ctr and nerdctl find {STANDARD} themselves",
            daemon.config.display()
        );
        // The first line of a new file: without it, it is taken for one of the first version.
        let version = if daemon.is_written { String::new() } else { format!("version = {}\n", settings.version) };
        let lines = format!("{version}{}", settings.lines(STANDARD));
        finding(Weight::Restart, what, format!("add these lines there, then `systemctl restart containerd` (containers run on):\n{lines}"))
    })
}

fn old_form(daemon: &Daemon, line: usize) -> Finding {
    let what = format!(
        "{}:{line}: mirrors in the old form (`registry.mirrors`), which is all that counts for Kubernetes and crictl, and excludes `config_path`",
        daemon.config.display()
    );
    let mend =
        format!("move them to {STANDARD}/REGISTRY/hosts.toml, set `config_path = \"{STANDARD}\"`, restart containerd, then apply again");
    finding(Weight::Blocks, what, mend)
}

fn blocked(path: &Path, misread: &Misread) -> Plan {
    let what = format!("{}, {misread}", path.display());
    Plan { steps: Vec::new(), findings: vec![finding(Weight::Blocks, what, "mend the file, then apply again")] }
}

fn finding(weight: Weight, what: String, mend: impl Into<String>) -> Finding {
    Finding { engine: Some(Engine::Containerd), weight, what, mend: mend.into() }
}

const HOSTS: &str = "hosts.toml";
/// Docker's folder of hosts, which some `config.toml` name behind containerd's own.
const DOCKERS: &str = "/etc/docker/certs.d";
/// A mirror that is down costs a second for each object, not containerd's 30.
const DIAL: &str = "1s";
