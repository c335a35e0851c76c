//! k3s and RKE2: their `registries.yaml`, of which they make containerd's configuration at each start.
//!
//! So a change there waits for a restart of the node's service, which is the operator's to choose. Whether one is due is seen in what they made.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::look::parted;
use crate::edit::{hosts, k3s, utf8};
use crate::engines::MirrorUrl;
use crate::engines::certs_d::{self, CertsD};
use crate::engines::files::{Files, LookError, found, is_file, running};
use crate::engines::plan::{Finding, Plan, Weight};
use crate::engines::podman::Asker;
use crate::engines::{Engine, Wish};
use crate::host::Root;

/// One that is installed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Distribution {
    /// `k3s`, `rke2`.
    pub name: &'static str,
    /// The service that has to be restarted: `k3s`, `rke2-agent`.
    pub unit: String,
    /// Whether it runs, so that it has read the file already.
    pub runs: bool,
}

/// Looks for both, and takes note of the users of processes that are not the asker's. Their files are root's.
pub fn look(root: &Root, asker: &Asker, others: &mut Vec<u32>) -> Result<Vec<Distribution>, LookError> {
    let mut found = Vec::new();
    for name in ["k3s", "rke2"] {
        let folders = [format!("/etc/rancher/{name}"), format!("/var/lib/rancher/{name}")];
        let has_folder = folders.iter().any(|folder| root.is_folder(Path::new(folder)).unwrap_or(false));
        let (processes, foreign) = parted(running(root, name)?, asker);
        others.extend(foreign);
        let may_change = asker.uid == 0 || !root.is_machine();
        if may_change && (has_folder || !processes.is_empty()) {
            found.push(Distribution { name, unit: unit(root, name), runs: !processes.is_empty() });
        }
    }
    Ok(found)
}

/// Servers and agents have a unit each, by the installer's names.
fn unit(root: &Root, name: &str) -> String {
    let server = if name == "k3s" { name.to_owned() } else { format!("{name}-server") };
    let agent = format!("{name}-agent");
    let is_there = |unit: &str| UNITS.iter().any(|folder| is_file(root, &Path::new(folder).join(format!("{unit}.service"))));
    let is_enabled = |unit: &str| is_file(root, &Path::new(WANTED).join(format!("{unit}.service")));
    // A package brings both units; the one that starts with the machine is meant.
    let is_agent = is_enabled(&agent) || (is_there(&agent) && !is_there(&server) && !is_enabled(&server));
    if is_agent { agent } else { server }
}

impl Distribution {
    /// Its configuration.
    pub fn file(&self) -> PathBuf {
        self.folder().join("registries.yaml")
    }

    /// The certificates that our entries name.
    fn certs_d(&self) -> PathBuf {
        self.folder().join("certs.d")
    }

    /// The beginning of a `crictl` command that speaks to it: k3s has that within, RKE2 lays it out when it starts.
    pub fn crictl(&self) -> Option<impl Fn() -> Command + use<>> {
        let root = Root::machine();
        let (program, words) = match self.name {
            "k3s" => (found(&root, &["k3s"]).into_iter().next()?, vec!["crictl"]),
            _ => (PathBuf::from("/var/lib/rancher/rke2/bin/crictl"), vec!["--config", "/var/lib/rancher/rke2/agent/etc/crictl.yaml"]),
        };
        is_file(&root, &program).then_some(move || {
            let mut command = Command::new(&program);
            command.args(&words);
            command
        })
    }

    fn folder(&self) -> PathBuf {
        Path::new("/etc/rancher").join(self.name)
    }

    /// What it made of its configuration when it started.
    fn made(&self) -> PathBuf {
        Path::new("/var/lib/rancher").join(self.name).join("agent/etc/containerd/certs.d/docker.io/hosts.toml")
    }

    /// What a plan wants to read.
    pub fn paths(&self, wish: &Wish) -> Vec<PathBuf> {
        [self.file(), self.made()].into_iter().chain(certs_d::paths(&self.certs_d(), wish)).collect()
    }

    /// What is to be done for it.
    pub fn plan(&self, files: &Files, wish: &Wish, previous: &[MirrorUrl]) -> Plan {
        let file = self.file();
        let now = files.get(&file);
        let mirrors: Vec<k3s::Mirror> = wish.mirrors.iter().map(|mirror| self.mirror(mirror, wish)).collect();
        let registries: Vec<String> = registries(wish);
        let text = now.map(utf8).transpose();
        let edited = text.and_then(|text| k3s::put_behind(text, &registries, &mirrors, previous, wish.others));
        match edited {
            Err(misread) => {
                let what = format!("{}, {misread}", file.display());
                Plan { steps: Vec::new(), findings: vec![finding(Weight::Blocks, what, "mend the file, then apply again")] }
            }
            Ok(text) => {
                let mut steps = certs_d::writes(Engine::Containerd, &self.certs_d(), files, wish);
                // For root alone, as the installers make it.
                steps.extend(files.write(Engine::Containerd, &file, Some(text.into_bytes()), 0o600));
                let is_written = steps.iter().all(|step| files.has_done(step));
                let due = self.runs && (!is_written || !self.has_made(files, wish));
                Plan { steps, findings: due.then(|| self.restart()).into_iter().collect() }
            }
        }
    }

    fn mirror(&self, mirror: &MirrorUrl, wish: &Wish) -> k3s::Mirror {
        let paths = CertsD::of(&self.certs_d(), mirror);
        let text = |path: &Path| path.display().to_string();
        let ca = wish.anchors.as_ref().filter(|_| mirror.is_secure()).map(|_| text(&paths.anchors));
        let client = wish.client.as_ref().filter(|_| mirror.is_secure()).map(|_| (text(&paths.chain), text(&paths.key)));
        k3s::Mirror { url: mirror.clone(), ca, client }
    }

    /// Whether it has started since it was told of the mirrors.
    fn has_made(&self, files: &Files, wish: &Wish) -> bool {
        let made = files.get(&self.made()).and_then(|bytes| hosts::hosts(utf8(bytes).ok()?).ok()).unwrap_or_default();
        let bare = |url: &str| url.trim_end_matches("/v2").trim_end_matches('/').to_owned();
        let has = |mirror: &MirrorUrl| made.iter().any(|host| bare(host) == mirror.to_string());
        wish.mirrors.iter().all(has)
    }

    fn restart(&self) -> Finding {
        let Self { name, unit, .. } = self;
        let what = format!("{}: {name} reads it when it starts: pods are pulled past the mirror until then", self.file().display());
        finding(Weight::Restart, what, format!("drain the node if jobs mind, then `systemctl restart {unit}`"))
    }
}

fn registries(wish: &Wish) -> Vec<String> {
    let others = wish.registries.iter().filter(|name| *name != "docker.io").cloned();
    std::iter::once("docker.io".to_owned()).chain(others).collect()
}

fn finding(weight: Weight, what: String, mend: impl Into<String>) -> Finding {
    Finding { engine: Some(Engine::Containerd), weight, what, mend: mend.into() }
}

const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants";
