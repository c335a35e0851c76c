//! What there is of containerd, k3s and RKE2 on a machine. Effects; nothing is changed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::kubernetes::{self, Distribution};
use super::settings::Settings;
use crate::edit::Misread;
use crate::engines::Wish;
use crate::engines::certs_d;
use crate::engines::files::{Files, LookError, found, running};
use crate::engines::podman::Asker;
use crate::engines::process::{self, Process};
use crate::engines::program;
use crate::host::Root;

/// All that a plan is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// containerd by itself, if it is there for anybody but Docker.
    pub daemon: Option<Daemon>,
    /// k3s and RKE2.
    pub distributions: Vec<Distribution>,
    /// containerds, k3s and RKE2 of other users, whose files are theirs: user ids. Nothing that these processes say of themselves is followed.
    pub others: Vec<u32>,
    /// The contents of all files that a plan may ask for.
    pub files: Files,
    /// Folders of hosts that have something of others beside `hosts.toml`: containerd takes them for those of their registry whether that file is there or not.
    pub folders: Vec<PathBuf>,
}

/// containerd by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// Its `config.toml`, which need not be there.
    pub config: PathBuf,
    /// Whether it is.
    pub is_written: bool,
    /// Whether it, or a file that it imports, was changed after the process started, which reads them then and no more.
    pub is_behind: bool,
    /// What it says; or why it cannot be read.
    pub settings: Result<Settings, Misread>,
}

/// Looks at the machine. `supposed`: it counts as there, and may come later.
pub async fn look(root: &Root, asker: &Asker, wish: &Wish, supposed: bool) -> Result<Facts, LookError> {
    let (processes, mut others) = parted(running(root, "containerd")?, asker);
    let mut facts = Facts { distributions: kubernetes::look(root, asker, &mut others)?, ..Facts::default() };
    let own = processes.iter().find(|process| !is_anothers(process));
    if own.is_some() || (processes.is_empty() && (supposed || !found(root, &["containerd"]).is_empty())) {
        let daemon = daemon(root, own).await;
        let is_dockers = daemon.settings.as_ref().is_ok_and(|settings| settings.without_cri);
        let has_docker = !found(root, &["dockerd"]).is_empty() && found(root, &["nerdctl"]).is_empty();
        facts.daemon = Some(daemon).filter(|_| supposed || !(is_dockers && has_docker));
    }
    facts.daemon.take_if(|daemon| !may_change(root, asker, daemon));
    others.sort_unstable();
    others.dedup();
    facts.others = others;
    let folders: Vec<PathBuf> = facts.daemon.iter().flat_map(Daemon::folders).collect();
    for folder in &folders {
        read_folder(root, folder, wish, &mut facts);
    }
    for distribution in facts.distributions.clone() {
        for path in distribution.paths(wish) {
            facts.files.read_one(root, &path);
        }
    }
    Ok(facts)
}

/// The asker's own processes, and the users of the others. Anybody may call a program `containerd`: what it names as its configuration, and the program itself, are trusted with the rights of its own
/// user and no others.
pub(super) fn parted(processes: Vec<Process>, asker: &Asker) -> (Vec<Process>, Vec<u32>) {
    let (own, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|process| process.uid == asker.uid);
    (own, others.iter().map(|process| process.uid).collect())
}

/// What lies in `/etc` is root's; in a tree that is being made it is the maker's.
fn may_change(root: &Root, asker: &Asker, daemon: &Daemon) -> bool {
    asker.uid == 0 || !root.is_machine() || !daemon.folders()[0].starts_with("/etc")
}

impl Daemon {
    /// Where it looks for `hosts.toml`; where it would, if it were told to.
    pub fn folders(&self) -> Vec<PathBuf> {
        let said = self.settings.as_ref().map(|settings| settings.config_path.clone()).unwrap_or_default();
        if said.is_empty() { vec![PathBuf::from(STANDARD)] } else { said.into_iter().map(PathBuf::from).collect() }
    }
}

/// Docker's has its configuration in dockerd's folder, wherever flags have that, and is started by it; k3s's and RKE2's have it below `rancher`: none reads `/etc/containerd`.
fn is_anothers(process: &Process) -> bool {
    let is_written_there = config_of(process)
        .is_some_and(|config| ["/docker/containerd/", "/rancher/"].iter().any(|part| config.to_string_lossy().contains(part)));
    is_written_there || process::is_child_of(process.pid, "dockerd")
}

fn config_of(process: &Process) -> Option<PathBuf> {
    let mut arguments = process.arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if matches!(argument.as_str(), "-c" | "--config" | "-config") {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.strip_prefix("--config=").or_else(|| argument.strip_prefix("-c=")) {
            return Some(path.into());
        }
    }
    None
}

async fn daemon(root: &Root, process: Option<&Process>) -> Daemon {
    let config = process.and_then(config_of).unwrap_or_else(|| CONFIG.into());
    let written = match root.read(&config) {
        Ok(found) => found.map(|found| Settings::parse(&found.bytes)).transpose(),
        Err(error) => Err(unread(&mirror::chain(&error))),
    };
    let is_written = !matches!(written, Ok(None));
    let settings = match (written, process) {
        (Err(misread), _) => Err(misread),
        (Ok(written), Some(process)) => match dumped(process, &config).await {
            // A dump is in the program's own form; lines for the file are in the file's.
            Some(dumped) => Ok(Settings { version: written.map_or(dumped.version, |written| written.version), ..dumped }),
            None => imported(root, &config, written.unwrap_or_default()),
        },
        (Ok(written), None) => imported(root, &config, written.unwrap_or(Settings { version: 2, ..Settings::default() })),
    };
    let pid = process.map(|process| process.pid);
    Daemon { pid, is_behind: pid.is_some_and(|pid| is_behind(root, pid, &config)), config, is_written, settings }
}

fn is_behind(root: &Root, pid: u32, config: &Path) -> bool {
    let Some(started) = process::started(pid) else { return false };
    let changed = |path: &Path| fs::metadata(root.on_disk(&root.resolve(path).ok()?.real)).ok()?.modified().ok();
    let own = root.read(config).ok().flatten().and_then(|found| Settings::parse(&found.bytes).ok()).unwrap_or_default();
    let read = imports(root, config, &own);
    std::iter::once(config).chain(read.iter().map(|(path, _)| path)).filter_map(changed).any(|changed| changed > started)
}

/// What the program that runs makes of its files, with its own defaults.
async fn dumped(process: &Process, config: &Path) -> Option<Settings> {
    let mut command = Command::new(process::executable(process.pid));
    command.arg("--config").arg(config).args(["config", "dump"]);
    let dump = program::run(command, PATIENCE).await.ok()?;
    Settings::parse(dump.as_bytes()).ok()
}

/// Without the program, what the files say.
fn imported(root: &Root, config: &Path, mut settings: Settings) -> Result<Settings, Misread> {
    let files = imports(root, config, &settings);
    if let Some(why) = files.unread().next() {
        return Err(unread(why));
    }
    for (_, bytes) in files.iter() {
        settings.merge(Settings::parse(bytes)?);
    }
    Ok(settings)
}

/// The files that one names. Of a pattern only the folder before `*` is known to containerd's users.
fn imports(root: &Root, config: &Path, settings: &Settings) -> Files {
    let mut files = Files::default();
    let base = config.parent().unwrap_or(Path::new("/"));
    for import in &settings.imports {
        let path = base.join(import);
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.starts_with('*') => files.read_folder(root, path.parent().unwrap_or(base)),
            _ => files.read_one(root, &path),
        }
    }
    files
}

fn unread(why: &str) -> Misread {
    Misread { line: 1, column: 1, what: why.to_owned() }
}

fn read_folder(root: &Root, folder: &Path, wish: &Wish, facts: &mut Facts) {
    for name in facts.files.list(root, folder) {
        let hosts = folder.join(name);
        if root.is_folder(&hosts).unwrap_or(false) {
            facts.files.read_one(root, &hosts.join("hosts.toml"));
            let is_theirs = |name: &OsString| name != "hosts.toml" && !certs_d::is_ours(Path::new(name));
            if facts.files.list(root, &hosts).iter().any(is_theirs) {
                facts.folders.push(hosts);
            }
        }
    }
    for path in certs_d::paths(folder, wish) {
        facts.files.read_one(root, &path);
    }
}

/// Where `hosts.toml` files are by custom: `nerdctl` looks there without being told.
pub const STANDARD: &str = "/etc/containerd/certs.d";
const CONFIG: &str = "/etc/containerd/config.toml";
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_whoever_asks_are_believed_and_run() {
        let process = |pid, uid| Process { pid, uid, arguments: vec!["containerd".into()], environment: Vec::new() };
        for (asker, own, others) in [(0, vec![9], vec![1000]), (1000, vec![3], vec![0]), (1001, vec![], vec![1000, 0])] {
            let asker = Asker { uid: asker, home: "/home/x".into() };
            let (seen, whose) = parted(vec![process(3, 1000), process(9, 0)], &asker);
            assert_eq!((seen.iter().map(|process| process.pid).collect::<Vec<_>>(), whose), (own, others));
        }
    }

    #[test]
    fn of_the_machines_own_files_only_root_plans_changes() {
        let daemon = |folder: &str| Daemon {
            pid: None,
            config: CONFIG.into(),
            is_written: false,
            is_behind: false,
            settings: Ok(Settings { config_path: vec![folder.into()], ..Settings::default() }),
        };
        let (alice, root) = (Asker { uid: 1000, home: "/home/alice".into() }, Asker { uid: 0, home: "/root".into() });
        assert!(may_change(&Root::machine(), &root, &daemon(STANDARD)));
        assert!(!may_change(&Root::machine(), &alice, &daemon(STANDARD)));
        assert!(may_change(&Root::machine(), &alice, &daemon("/home/alice/certs.d")));
    }

    #[test]
    fn dockers_and_k3s_own_containerd_are_not_taken_for_the_machines() {
        for (line, anothers) in [
            ("containerd --config /var/run/docker/containerd/containerd.toml", true),
            ("containerd --config=/run/docker/containerd/containerd.toml --log-level info", true),
            ("containerd -c /var/lib/rancher/k3s/agent/etc/containerd/config.toml", true),
            ("/usr/bin/containerd", false),
            ("containerd --config /etc/containerd/config.toml", false),
        ] {
            let arguments = line.split(' ').map(str::to_owned).collect();
            let process = Process { pid: 7, uid: 0, arguments, environment: Vec::new() };
            assert_eq!(is_anothers(&process), anothers, "{line}");
        }
    }
}
