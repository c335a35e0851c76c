//! What must change so that one Docker engine pulls through the mirrors. Pure: facts and a wish in, a plan out.
//!
//! ```text
//! certs.d/MIRROR/chandler-ca.crt, chandler.key, chandler.cert    how an https mirror is known, and what it is shown
//! certs.d/REGISTRY/hosts.toml                                    registries beyond Docker Hub, where the engine reads it
//! certs.d/docker.io/hosts.toml                                   only where registry-mirrors is not enough, see below
//! daemon.json                                                    registry-mirrors, insecure-registries
//! reload
//! ```
//!
//! Trust comes before what needs it, and goes after. Files of our own name stand beside what others have in the same folder, since Docker reads all of it.
//!
//! Docker 28 and newer ask the Hub and the mirrors of `registry-mirrors` through one and the same TLS client, for the `BuildKit` inside and the containerd store. It knows the certificates of
//! `certs.d/docker.io` only, so a mirror with a private CA, or one that wants a client certificate, is not to be reached; and beside a mirror on loopback, which may have any certificate, the
//! Hub may have any as well. There, and where somebody made one already, `hosts.toml` names the mirrors, each with a client of its own: all that `registry-mirrors` names, which Docker then does
//! not look at, in the same order. So it matters to nobody which of the two an engine reads.

mod findings;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::facts::{Api, Contents, Facts};
use super::reload::{Shown, is_as_wanted};
use crate::edit::daemon::{self, Ours};
use crate::edit::{self, Misread, hosts};
use crate::engines::secrets::holds_secret;
use crate::engines::{Change, Engine, Finding, MirrorUrl, Others, Plan, Reload, Step, Weight, Wish};

/// The steps for one engine, and what a person must know. `previous`: the mirrors of an earlier apply, which go unless they are wished for again.
pub fn plan(facts: &Facts, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
    let mut plan = Plan { steps: Vec::new(), findings: findings::of(facts, wish, previous) };
    if facts.is_ours_to_change {
        let planner = Planner { facts, wish, previous };
        match planner.steps(&mut plan.findings) {
            Ok(steps) => plan.steps = steps,
            Err(finding) => plan.findings.push(finding),
        }
    }
    plan.findings.sort_by_key(|finding| finding.weight);
    if plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
        plan.steps.clear();
    }
    plan
}

/// The reload by which a running engine comes to work by a `daemon.json` of this text; `None` where none can be asked, where it works so already, and where the text says nothing of mirrors, since
/// an engine keeps those that it has then. Of insecure registries it must show these. Another user's engine is not told anything, whatever it calls its file.
pub fn reload_for(facts: &Facts, text: &str, insecure: &[String]) -> Result<Option<Reload>, Misread> {
    let running = facts.running.as_ref().filter(|_| facts.is_ours_to_change);
    let Some(answer) = running.and_then(|running| running.answer.as_ref().ok()) else { return Ok(None) };
    if !daemon::says_mirrors(text)? && insecure.is_empty() {
        return Ok(None);
    }
    let mut mirrors: Vec<String> = Vec::new();
    for url in daemon::mirrors(text)?.iter().map(|url| spelt(url)) {
        // dockerd takes each once, however often a file names it.
        if !mirrors.contains(&url) {
            mirrors.push(url);
        }
    }
    let reload = Reload { engine: Engine::Docker, daemon: answer.daemon.clone(), mirrors, insecure: insecure.to_vec() };
    let shown = Shown { mirrors: answer.report.mirrors.clone(), insecure: answer.report.insecure.clone() };
    let is_so = is_as_wanted(&reload, &shown);
    Ok((!is_so).then_some(reload))
}

/// As dockerd spells a mirror.
pub fn spelt(url: &str) -> String {
    format!("{}/", url.strip_suffix('/').unwrap_or(url))
}

struct Planner<'a> {
    facts: &'a Facts,
    wish: &'a Wish,
    previous: &'a [MirrorUrl],
}

impl Planner<'_> {
    fn steps(&self, findings: &mut Vec<Finding>) -> Result<Vec<Step>, Finding> {
        let text = self.daemon_json()?;
        let mut steps: Vec<Step> = self.trust();
        steps.extend(self.hosts(&text, findings)?);
        steps.extend(self.change(&self.facts.config_file, text.clone().into_bytes(), 0o644, false));
        let reload = reload_for(self.facts, &text, &self.insecure(&self.wish.mirrors))
            .map_err(|error| findings::misread(&self.facts.config_file, &error))?;
        findings.extend(reload.as_ref().and_then(|_| findings::buildkit(self.facts)));
        steps.extend(reload.map(Step::Reload));
        steps.extend(self.stale());
        Ok(steps)
    }

    /// What `daemon.json` is to be.
    fn daemon_json(&self) -> Result<String, Finding> {
        let path = &self.facts.config_file;
        let misread = |error: Misread| findings::misread(path, &error);
        let bytes = self.facts.daemon_json.as_ref().map(|contents| contents.0.as_slice());
        let text = bytes.map(edit::utf8).transpose().map_err(misread)?.filter(|text| !text.trim().is_empty());
        let [ours, previous] = [&self.wish.mirrors[..], self.previous]
            .map(|mirrors| Ours { mirrors: mirrors.to_vec(), insecure: self.insecure_entries(mirrors) });
        daemon::put_behind(text, &ours, &previous, self.wish.others).map_err(misread)
    }

    /// Mirrors that the engine must be told to ask without TLS, by `host:port`: the `BuildKit` in those before Docker 28. Newer ones believe the mirror's URL; and by their source, one that is
    /// named here has them take the Hub's certificate unseen as well.
    fn insecure(&self, mirrors: &[MirrorUrl]) -> Vec<String> {
        if self.facts.reads_hosts() == Some(true) {
            return Vec::new();
        }
        mirrors.iter().filter(|mirror| !mirror.is_secure() && !mirror.is_loopback()).map(MirrorUrl::authority).collect()
    }

    /// The same as `daemon.json` has it: with the scheme, which dockerd takes off with a warning in its log. Without it, `BuildKit` asks over TLS all the same.
    fn insecure_entries(&self, mirrors: &[MirrorUrl]) -> Vec<String> {
        self.insecure(mirrors).into_iter().map(|authority| format!("http://{authority}")).collect()
    }

    /// CA and client certificate of each mirror, where they are not there under any name.
    fn trust(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for mirror in self.wish.mirrors.iter().filter(|mirror| needs_trust(mirror, self.wish)) {
            let folder = self.facts.folder(&mirror.authority());
            if let Some(anchors) = self.wish.anchors.as_deref().filter(|anchors| !self.has(&folder, "crt", anchors)) {
                steps.extend(self.change(&folder.join(CA), anchors.as_bytes().to_vec(), 0o644, false));
            }
            if let Some(pair) =
                self.wish.client.as_ref().filter(|pair| !(self.has(&folder, "cert", &pair.chain) && self.has(&folder, "key", &pair.key)))
            {
                // A certificate without its key would stop every pull.
                steps.extend(self.change(&folder.join(KEY), pair.key.as_bytes().to_vec(), 0o600, true));
                steps.extend(self.change(&folder.join(CHAIN), pair.chain.as_bytes().to_vec(), 0o644, false));
            }
        }
        steps
    }

    /// Whether a folder has a file of this content that is not ours.
    fn has(&self, folder: &Path, extension: &str, content: &str) -> bool {
        self.theirs(folder, extension, content).is_some()
    }

    fn theirs(&self, folder: &Path, extension: &str, content: &str) -> Option<&Path> {
        let mut files = self.facts.trust.iter().filter(|(path, _)| path.parent() == Some(folder) && !is_ours(path));
        let same = |(path, Contents(bytes)): &(&std::path::PathBuf, &Contents)| {
            path.extension().is_some_and(|own| own == extension) && bytes.trim_ascii() == content.as_bytes().trim_ascii()
        };
        files.find(same).map(|(path, _)| path.as_path())
    }

    /// `hosts.toml` for each registry, and for Docker Hub where it is needed.
    fn hosts(&self, daemon_json: &str, findings: &mut Vec<Finding>) -> Result<Vec<Step>, Finding> {
        let mut steps = Vec::new();
        if self.hub_needs_hosts() {
            let named = daemon::mirrors(daemon_json).map_err(|error| findings::misread(&self.facts.config_file, &error))?;
            let foreign = named.iter().filter(|url| !self.wish.mirrors.iter().any(|mirror| edit::same_mirror(&mirror.to_string(), url)));
            let (known, odd): (Vec<_>, Vec<_>) = foreign.map(|url| url.parse::<MirrorUrl>().map_err(|_| url)).partition(Result::is_ok);
            findings.extend(odd.into_iter().filter_map(Result::err).map(|url| findings::is_left_out(url, self.facts)));
            let foreign = known.into_iter().flatten().map(|url| hosts::Host { url, ca: None, client: None, dial_timeout: None });
            let all: Vec<hosts::Host> = self.wish.mirrors.iter().map(|mirror| self.host(mirror)).chain(foreign).collect();
            steps.extend(self.hosts_of("docker.io", &all)?);
        }
        if self.facts.report().is_none_or(|report| report.has_containerd_store && report.api >= Api::READS_HOSTS) {
            let ours: Vec<hosts::Host> = self.wish.mirrors.iter().map(|mirror| self.host(mirror)).collect();
            for registry in &self.wish.registries {
                steps.extend(self.hosts_of(registry, &ours)?);
            }
        }
        Ok(steps)
    }

    /// Where `registry-mirrors` is not enough, or takes the Hub's certificate unseen.
    fn hub_needs_hosts(&self) -> bool {
        let is_there = self.facts.trusted(&self.facts.folder("docker.io").join(HOSTS)).is_some();
        let is_needed = self.wish.mirrors.iter().any(|mirror| mirror.is_loopback() || needs_trust(mirror, self.wish));
        self.facts.reads_hosts() != Some(false) && (is_there || is_needed)
    }

    fn hosts_of(&self, registry: &str, all: &[hosts::Host]) -> Result<Option<Step>, Finding> {
        let path = self.facts.folder(registry).join(HOSTS);
        let misread = |error: Misread| findings::misread(&path, &error);
        let text = self.facts.trusted(&path).map(edit::utf8).transpose().map_err(misread)?;
        let others = if registry == "docker.io" { self.wish.others } else { Others::Keep };
        let after = hosts::put_first(text, registry, all, self.previous, others).map_err(misread)?;
        Ok(self.change(&path, after.into_bytes(), 0o644, false))
    }

    fn host(&self, mirror: &MirrorUrl) -> hosts::Host {
        let folder = self.facts.folder(&mirror.authority());
        let needs = needs_trust(mirror, self.wish);
        let file = |extension: &str, own: &str, content: &str| {
            self.theirs(&folder, extension, content).map_or_else(|| folder.join(own), Path::to_owned).display().to_string()
        };
        let pair = self.wish.client.as_ref().filter(|_| needs).map(|pair| (file("cert", CHAIN, &pair.chain), file("key", KEY, &pair.key)));
        let ca = self.wish.anchors.as_ref().filter(|_| needs).map(|anchors| file("crt", CA, anchors));
        hosts::Host { url: mirror.clone(), ca, client: pair, dial_timeout: Some(DIAL.to_owned()) }
    }

    /// Files of ours that nothing needs any more. The certificate goes before its key.
    fn stale(&self) -> Vec<Step> {
        let wanted = |path: &Path| {
            let mirror = self.wish.mirrors.iter().find(|mirror| path.parent() == Some(&*self.facts.folder(&mirror.authority())));
            mirror.is_some_and(|mirror| needs_trust(mirror, self.wish))
                && (if path.ends_with(CA) { self.wish.anchors.is_some() } else { self.wish.client.is_some() })
        };
        let gone = self.facts.trust.iter().filter(|(path, _)| is_ours(path) && !wanted(path));
        gone.map(|(path, Contents(before))| {
            let secret = path.ends_with(KEY);
            Step::Write(Change {
                engine: Engine::Docker,
                path: path.clone(),
                before: Some(before.clone()),
                after: None,
                mode: 0o600,
                secret,
            })
        })
        .collect()
    }

    fn change(&self, path: &Path, after: Vec<u8>, mode: u32, secret: bool) -> Option<Step> {
        let known = if path == self.facts.config_file { self.facts.daemon_json.as_ref() } else { self.facts.trust.get(path) };
        let before = known.map(|contents| contents.0.clone());
        let is_so = before.as_ref() == Some(&after);
        let secret = secret || holds_secret([before.as_deref(), Some(&after)]);
        (!is_so).then(|| Step::Write(Change { engine: Engine::Docker, path: path.to_owned(), before, after: Some(after), mode, secret }))
    }
}

/// Whether an engine must be given files to reach it: on loopback Docker takes any certificate, and shows none.
fn needs_trust(mirror: &MirrorUrl, wish: &Wish) -> bool {
    mirror.is_secure() && !mirror.is_loopback() && (wish.anchors.is_some() || wish.client.is_some())
}

fn is_ours(path: &Path) -> bool {
    [CA, KEY, CHAIN].iter().any(|name| path.ends_with(name))
}

const CA: &str = "chandler-ca.crt";
const CHAIN: &str = "chandler.cert";
const KEY: &str = "chandler.key";
const HOSTS: &str = "hosts.toml";
/// A mirror that is gone holds up each object of an image for so long.
const DIAL: &str = "2s";
