//! What is written so that `BuildKit` pulls through the mirror, and what buildx builders need. Pure.

use std::path::Path;

use super::builders::Builder;
use super::look::{Daemon, Facts};
use crate::edit::buildkitd::{self, Mirror};
use crate::edit::utf8;
use crate::engines::MirrorUrl;
use crate::engines::certs_d::{self, CertsD};
use crate::engines::plan::{Finding, Plan, Weight};
use crate::engines::{Engine, Wish};

/// What is to be done so that the wish is so; `previous`: our mirrors of earlier times. What is not there has an empty plan.
pub fn plan(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
    let mut plan = Plan::default();
    for daemon in &facts.daemons {
        plan.extend(of_daemon(facts, daemon, wish, previous));
    }
    let builders = facts.builders.iter().filter(|builder| !has(builder, wish)).map(|builder| builds_past(builder, wish));
    plan.findings.extend(facts.files.in_the_way(Engine::BuildKit));
    plan.findings.extend(facts.others.iter().map(|uid| others(*uid)).chain(builders));
    plan.findings.sort_by_key(|finding| finding.weight);
    if plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
        plan.steps.clear();
    }
    plan
}

fn of_daemon(facts: &Facts, daemon: &Daemon, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
    let mirrors = mirrors(&daemon.certs_d(), wish);
    let text = facts.files.get(&daemon.config).map(utf8).transpose();
    match text.and_then(|text| buildkitd::put_behind(text, &registries(wish), &mirrors, previous, wish.others)) {
        Err(misread) => {
            let what = format!("{}, {misread}", daemon.config.display());
            Plan { steps: Vec::new(), findings: vec![finding(Weight::Blocks, what, "mend the file, then apply again")] }
        }
        Ok(text) => {
            let mut steps = certs_d::writes(Engine::BuildKit, &daemon.certs_d(), &facts.files, wish);
            steps.extend(facts.files.write(Engine::BuildKit, &daemon.config, Some(text.into_bytes()), 0o644));
            let is_written = steps.iter().all(|step| facts.files.has_done(step));
            let is_due = daemon.pid.is_some() && (daemon.is_behind || !is_written);
            Plan { steps, findings: is_due.then(|| restart(daemon)).into_iter().collect() }
        }
    }
}

fn mirrors(certs: &Path, wish: &Wish) -> Vec<Mirror> {
    let mirror = |url: &MirrorUrl| {
        let paths = CertsD::of(certs, url);
        let text = |path: &Path| path.display().to_string();
        let ca = wish.anchors.as_ref().filter(|_| url.is_secure()).map(|_| text(&paths.anchors));
        let client = wish.client.as_ref().filter(|_| url.is_secure()).map(|_| (text(&paths.chain), text(&paths.key)));
        Mirror { url: url.clone(), ca: ca.into_iter().collect(), client }
    };
    wish.mirrors.iter().map(mirror).collect()
}

fn registries(wish: &Wish) -> Vec<String> {
    let others = wish.registries.iter().filter(|name| *name != HUB).cloned();
    std::iter::once(HUB.to_owned()).chain(others).collect()
}

fn restart(daemon: &Daemon) -> Finding {
    let what = format!("{}: buildkitd reads it when it starts: builds pull past the mirror until then", daemon.config.display());
    finding(Weight::Restart, what, "when no build runs, restart it: `systemctl restart buildkit`, or however it was started")
}

fn others(uid: u32) -> Finding {
    let what = format!("buildkitd of user {uid} reads that user's own file, and builds past the mirror");
    finding(Weight::Warns, what, "run `chandler apply --engine buildkit` as that user too")
}

/// Whether the builder asks our mirrors first, and can reach them.
fn has(builder: &Builder, wish: &Wish) -> bool {
    if !builder.host_network && wish.mirrors.iter().any(MirrorUrl::is_loopback) {
        return false; // its own loopback addresses are meant
    }
    let now = builder.config.as_ref().and_then(|text| buildkitd::mirrors(text, HUB).ok()).unwrap_or_default();
    let wanted = wish.mirrors.iter().map(MirrorUrl::authority);
    now.len() >= wish.mirrors.len() && now.into_iter().zip(wanted).all(|(now, wanted)| now == wanted)
}

fn builds_past(builder: &Builder, wish: &Wish) -> Finding {
    let Builder { name, file, driver, .. } = builder;
    let what = format!(
        "{}: the builder {name} ({driver}) has a BuildKit of its own, which reads neither daemon.json nor /etc/buildkit: it builds past the mirror",
        file.display()
    );
    let text = buildkitd::put_behind(None, &registries(wish), &mirrors(Path::new(DOCKERS), wish), &[], wish.others).unwrap_or_default();
    let is_loopback = wish.mirrors.iter().any(MirrorUrl::is_loopback);
    let network = if is_loopback && driver == "docker-container" { " --driver-opt network=host" } else { "" };
    let mut mend = format!(
        "its owner creates it anew, which loses its cache: `docker buildx rm {name}`, then `docker buildx create --name {name} --driver {driver} --config FILE{network}`, where FILE says:\n{}",
        text.trim_end()
    );
    if is_loopback && driver == "kubernetes" {
        mend.push_str("\na mirror on this machine's loopback address can't be reached from a pod: name one by an address of the network");
    }
    finding(Weight::Warns, what, mend)
}

fn finding(weight: Weight, what: String, mend: impl Into<String>) -> Finding {
    Finding { engine: Some(Engine::BuildKit), weight, what, mend: mend.into() }
}

const HUB: &str = "docker.io";
/// Where a machine with Docker has the mirror's certificate; buildx copies it into the container.
const DOCKERS: &str = "/etc/docker/certs.d";
