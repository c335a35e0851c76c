//! What a person must know of one Docker engine before its files are changed. Pure.

use std::path::Path;

use super::super::command_line::{Flag, Place};
use super::super::facts::{Api, Facts, Owner};
use crate::edit::{Misread, daemon, hosts, same_mirror};
use crate::engines::files::unreadable;
use crate::engines::{Engine, Finding, MirrorUrl, Others, Weight, Wish};

/// All that can be said without planning.
pub(super) fn of(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(owner(facts));
    let weight = if facts.is_ours_to_change { Weight::Blocks } else { Weight::Warns };
    found.extend(facts.unread.iter().map(|why| unreadable(Engine::Docker, weight, why)));
    found.extend(flags(facts, wish));
    found.extend(spelling(facts));
    found.extend(state(facts));
    found.extend(proxies(facts, wish));
    found.extend(plain(facts, wish));
    found.extend(loopback(wish));
    found.extend(others(facts, wish, previous));
    found.extend(hub_hosts(facts, wish, previous));
    found.extend(registries(facts, wish));
    found
}

/// A file that an edit could break.
pub(super) fn misread(path: &Path, error: &Misread) -> Finding {
    finding(
        Weight::Blocks,
        format!("{}:{}:{}: {}", path.display(), error.line, error.column, error.what),
        "mend the file, or take it away; chandler changes no file that it does not understand",
    )
}

/// A mirror of others that `hosts.toml` cannot have.
pub(super) fn is_left_out(url: &str, facts: &Facts) -> Finding {
    finding(
        Weight::Warns,
        format!(
            "the mirror {url} in {} is not asked any more: {} takes its mirrors from {}",
            facts.config_file.display(),
            facts.owner,
            hub_file(facts).display()
        ),
        "add it there by hand, as [host.\"…\"]",
    )
}

/// A builder that a reload does not reach: the old one keeps all mirrors, newer ones keep the way to each image for as long as somebody builds on it (`BuildKit`'s pool of resolvers).
pub(super) fn buildkit(facts: &Facts) -> Option<Finding> {
    let api = facts.report()?.api;
    Some(if api < Api::READS_HOSTS {
        let what = format!(
            "{} speaks API {api}: the BuildKit inside of it may keep the mirrors that it had when Docker started (that of 20.10 does); pulls and classic builds use the new ones at once",
            facts.owner
        );
        finding(Weight::Restart, what, "for builds with BuildKit: restart Docker when the machine is drained, or update it to 28 or newer")
    } else {
        let what = format!(
            "{}: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once",
            facts.owner
        );
        finding(Weight::Warns, what, "let builds on such images rest so long, or restart Docker when the machine is drained")
    })
}

/// Somebody else's engine.
fn owner(facts: &Facts) -> Option<Finding> {
    let (weight, mend) = match &facts.owner {
        _ if facts.is_ours_to_change => return None,
        Owner::Machine => (Weight::Blocks, "run chandler as root".to_owned()),
        // The machine's own engine is planned nevertheless.
        Owner::User { name, .. } => (Weight::Warns, format!("run chandler as {name} for it")),
    };
    Some(finding(weight, format!("{} is not changed: its files are {}", facts.owner, facts.config_file.display()), mend))
}

/// A key that is also a flag: dockerd refuses to start, and to reload.
fn flags(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let adds_insecure = facts.reads_hosts() != Some(true) && wish.mirrors.iter().any(|mirror| !mirror.is_secure() && !mirror.is_loopback());
    let keys = [("registry-mirror", daemon::MIRRORS, true), ("insecure-registry", daemon::INSECURE, adds_insecure)];
    let mut found = Vec::new();
    for (name, key, is_written) in keys {
        for flag in once(&facts.flags, name).into_iter().filter(|_| is_written) {
            found.push(finding(
                Weight::Blocks,
                format!("{}: dockerd is started with --{name}={}; with {key} in {} as well it neither starts nor reloads", flag.place, flag.value, facts.config_file.display()),
                "take the flag out there; that takes effect when Docker is started again, which ends containers without live-restore: drain the machine first",
            ));
        }
        for flag in once(&facts.idle_flags, name) {
            found.push(finding(
                Weight::Warns,
                format!("{}: --{name}={} has no effect: docker.service does not read this file", flag.place, flag.value),
                "take it out, so that nobody relies on it",
            ));
        }
    }
    found
}

/// Each value of a flag once, where a person can change it: in a file rather than on a command line.
fn once<'a>(flags: &'a [Flag], name: &str) -> Vec<&'a Flag> {
    let mut all: Vec<&Flag> = flags.iter().filter(|flag| flag.name == name).collect();
    all.sort_by_key(|flag| !matches!(flag.place, Place::File(..)));
    let mut found: Vec<&Flag> = Vec::new();
    for flag in all {
        if !found.iter().any(|known| known.value == flag.value && (matches!(flag.place, Place::Process(_)) || known.place == flag.place)) {
            found.push(flag);
        }
    }
    found
}

/// Keys that were to be others.
fn spelling(facts: &Facts) -> Vec<Finding> {
    let Some(text) = text(facts) else { return Vec::new() };
    let path = facts.config_file.display();
    if text.trim().is_empty() {
        let what = format!("{path} is empty: dockerd before 23.0 does not start with it");
        return vec![finding(Weight::Warns, what, "nothing: chandler writes it anew; an undo makes it empty again")];
    }
    let suspicions = daemon::suspicions(text).unwrap_or_default();
    let one = |key: daemon::Suspicion| {
        // A flag's name is no unknown key to dockerd.
        let is_flag = matches!(key.key.as_str(), "registry-mirror" | "insecure-registry");
        let (weight, does) = if is_flag { (Weight::Warns, "ignores") } else { (Weight::Blocks, "refuses") };
        let what = format!("{path}:{}:{}: `{}` is no key of dockerd, which {does} it; {} is one", key.line, key.column, key.key, key.meant);
        finding(weight, what, format!("rename it to {}, or take it out", key.meant))
    };
    suspicions.into_iter().map(one).collect()
}

/// Whether it can be told, and is there to be told.
fn state(facts: &Facts) -> Option<Finding> {
    match facts.running.as_ref().map(|running| (running.pid, &running.answer)) {
        None => Some(finding(
            Weight::Warns,
            "Docker does not run: nothing is reloaded, it reads its files when it starts",
            "`chandler verify` once it runs",
        )),
        Some((pid, Err(why))) => Some(finding(
            Weight::Restart,
            format!("{} (process {pid}) cannot be asked: {why}", facts.owner),
            format!("the files are written, and `kill -HUP {pid}` has it read them, unseen by chandler"),
        )),
        Some((_, Ok(_))) => None,
    }
}

/// A proxy between engine and mirror.
fn proxies(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let through = wish.mirrors.iter().filter_map(|mirror| Some((mirror, facts.proxies.before(mirror)?)));
    let one = |(mirror, proxy): (&MirrorUrl, &super::super::proxy::Said)| {
        let what = format!("Docker asks {mirror} through the proxy {} ({}): NO_PROXY does not name it", proxy.url, proxy.place);
        finding(
            Weight::Warns,
            what,
            format!("add {} to NO_PROXY beside it; that takes effect when Docker is started again: drain the machine first", mirror.host()),
        )
    };
    through.map(one).collect()
}

/// Plain HTTP over a network.
fn plain(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let mirrors = wish.mirrors.iter().filter(|mirror| !mirror.is_secure() && !mirror.is_loopback());
    let build = match facts.reads_hosts() {
        Some(true) => "",
        _ => "; the BuildKit inside of Docker before 28 asks it only because insecure-registries names it",
    };
    let one = |mirror: &MirrorUrl| {
        let what = format!("{mirror} is plain http: whoever is on the way can answer for a tag with an image of their own{build}");
        finding(
            Weight::Warns,
            what,
            "give the mirror a certificate and write https://, or run a mirror on the machine itself at http://127.0.0.1",
        )
    };
    mirrors.map(one).collect()
}

fn loopback(wish: &Wish) -> Option<Finding> {
    let mirror = wish.mirrors.iter().find(|mirror| mirror.is_secure() && mirror.is_loopback()).filter(|_| wish.client.is_some())?;
    let what = format!("Docker shows {mirror} no client certificate, nor asks whose certificate it has: it is on loopback");
    Some(finding(
        Weight::Warns,
        what,
        "let the mirror admit this machine by its address, or name the mirror by one that is not on loopback",
    ))
}

/// Those that are asked after ours.
fn others(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Option<Finding> {
    let others = foreign(daemon::mirrors(text(facts)?).ok()?, wish, previous);
    if others.is_empty() || wish.others == Others::Replace {
        return None;
    }
    let what = format!("{} has other mirrors, which are asked after ours: {}", facts.config_file.display(), others.join(", "));
    Some(finding(Weight::Warns, what, "nothing, if they are wanted; `--mirrors replace` takes them out"))
}

/// A file of others that makes Docker look past `registry-mirrors`.
fn hub_hosts(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Option<Finding> {
    let path = hub_file(facts);
    let bytes = facts.trusted(&path).filter(|_| facts.reads_hosts() != Some(false))?;
    let others = foreign(hosts::hosts(std::str::from_utf8(bytes).ok()?).ok()?, wish, previous);
    let named = text(facts).and_then(|text| daemon::mirrors(text).ok()).unwrap_or_default();
    if others.iter().all(|host| named.iter().any(|url| same_mirror(url, host))) {
        return None;
    }
    let what = format!(
        "{} is there: Docker 28 and newer take their mirrors from it and do not look at registry-mirrors; it names {}",
        path.display(),
        list(&others)
    );
    Some(finding(Weight::Warns, what, "nothing: ours are put first in both"))
}

/// Neither wished for, nor put there by us before.
fn foreign(urls: Vec<String>, wish: &Wish, previous: &[MirrorUrl]) -> Vec<String> {
    let is_ours = |url: &String| wish.mirrors.iter().chain(previous).any(|mirror| same_mirror(&mirror.to_string(), url));
    urls.into_iter().filter(|url| !is_ours(url)).collect()
}

/// Registries that this engine pulls past every mirror.
fn registries(facts: &Facts, wish: &Wish) -> Option<Finding> {
    if wish.registries.is_empty() {
        return None;
    }
    let report = facts.report();
    let why = match report {
        Some(report) if report.api < Api::READS_HOSTS => {
            format!("only Docker 28 and newer can (API {}; it has {})", Api::READS_HOSTS, report.api)
        }
        Some(report) if !report.has_containerd_store => "it can with containerd's image store only, and has the older one".to_owned(),
        Some(_) => return None,
        None => {
            let what =
                format!("{} go through the mirrors only where Docker is 28 or newer with containerd's image store", list(&wish.registries));
            return Some(finding(Weight::Warns, what, "`chandler verify` once it runs"));
        }
    };
    let what = format!("{} pulls {} past the mirrors: {why}", facts.owner, list(&wish.registries));
    Some(finding(Weight::Warns, what, "name the mirror in the image (MIRROR/REGISTRY/IMAGE), or use an engine that can"))
}

fn hub_file(facts: &Facts) -> std::path::PathBuf {
    facts.folder("docker.io").join(super::HOSTS)
}

fn text(facts: &Facts) -> Option<&str> {
    std::str::from_utf8(&facts.daemon_json.as_ref()?.0).ok()
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn finding(weight: Weight, what: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { engine: Some(Engine::Docker), weight, what: what.into(), mend: mend.into() }
}
