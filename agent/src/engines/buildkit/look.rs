//! What there is of `BuildKit` on a machine. Effects; nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::builders::Builder;
use crate::edit::{buildkitd, utf8};
use crate::engines::Wish;
use crate::engines::certs_d;
use crate::engines::files::{Files, LookError, found, homes, running};
use crate::engines::podman::Asker;
use crate::engines::process::{Process, started};
use crate::host::Root;

/// All that a plan is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// buildkitd, once for each configuration.
    pub daemons: Vec<Daemon>,
    /// Those of other users, whose files are theirs: user ids.
    pub others: Vec<u32>,
    /// Builders of `docker buildx`.
    pub builders: Vec<Builder>,
    /// The contents of all files that a plan may ask for.
    pub files: Files,
}

/// A buildkitd.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// Its process, if it runs.
    pub pid: Option<u32>,
    /// Where it listens, as `buildctl --addr` takes it; `None`: where it does without being told.
    pub address: Option<String>,
    /// Its `buildkitd.toml`, which need not be there.
    pub config: PathBuf,
    /// Whether the file was changed after the process started.
    pub is_behind: bool,
}

impl Daemon {
    /// Where its certificates are: beside its configuration.
    pub fn certs_d(&self) -> PathBuf {
        self.config.parent().unwrap_or(Path::new("/etc/buildkit")).join("certs.d")
    }
}

/// Looks at the machine. `supposed`: it counts as there, and may come later.
pub fn look(root: &Root, asker: &Asker, wish: &Wish, supposed: bool) -> Result<Facts, LookError> {
    let processes = running(root, "buildkitd")?;
    let (own, others): (Vec<_>, Vec<_>) = processes.into_iter().partition(|process| process.uid == asker.uid);
    let mut facts = Facts { others: others.iter().map(|process| process.uid).collect(), ..Facts::default() };
    facts.daemons = own.iter().map(|process| daemon(root, process)).collect();
    if facts.daemons.is_empty() && facts.others.is_empty() && (supposed || !found(root, &["buildkitd"]).is_empty()) {
        let config = if asker.uid == 0 { CONFIG.into() } else { asker.home.join(USERS_CONFIG) };
        facts.daemons.push(Daemon { pid: None, address: None, config, is_behind: false });
    }
    for daemon in &facts.daemons {
        facts.files.read_one(root, &daemon.config);
        for path in certs_d::paths(&daemon.certs_d(), wish) {
            facts.files.read_one(root, &path);
        }
    }
    facts.builders = builders(root, asker)?;
    Ok(facts)
}

fn daemon(root: &Root, process: &Process) -> Daemon {
    let config = config_of(process);
    let disk = root.resolve(&config).map(|place| root.on_disk(&place.real));
    let changed = disk.ok().and_then(|path| fs::metadata(path).ok()?.modified().ok());
    let is_behind = changed.zip(started(process.pid)).is_some_and(|(changed, started)| changed > started);
    let said = || buildkitd::address(utf8(&root.read(&config).ok()??.bytes).ok()?);
    let address = argument(process, "addr").or_else(said);
    Daemon { pid: Some(process.pid), address, config, is_behind }
}

/// What follows `--NAME`, in one of the ways of Go's flags.
fn argument(process: &Process, name: &str) -> Option<String> {
    let flag = |argument: &str| argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?.strip_prefix(name).map(str::to_owned);
    let mut arguments = process.arguments.iter().skip(1);
    let rest = arguments.find_map(|argument| flag(argument).filter(|rest| rest.is_empty() || rest.starts_with('=')))?;
    rest.strip_prefix('=').map(str::to_owned).or_else(|| arguments.next().cloned())
}

/// `--config`, or where buildkitd looks without it.
fn config_of(process: &Process) -> PathBuf {
    if let Some(path) = argument(process, "config") {
        return path.into();
    }
    let variable = |name: &str| process.environment.iter().find(|(key, _)| key == name).map(|(_, value)| PathBuf::from(value));
    match process.uid {
        0 => CONFIG.into(),
        _ => variable("XDG_CONFIG_HOME")
            .map(|folder| folder.join("buildkit/buildkitd.toml"))
            .or_else(|| variable("HOME").map(|home| home.join(USERS_CONFIG)))
            .unwrap_or_else(|| CONFIG.into()),
    }
}

/// Of root and of every user whose home can be read.
fn builders(root: &Root, asker: &Asker) -> Result<Vec<Builder>, LookError> {
    let mut all: Vec<PathBuf> =
        homes(root)?.into_iter().map(|(_, home)| home).filter(|home| asker.uid == 0 || *home == asker.home).collect();
    all.push(asker.home.clone());
    all.sort();
    all.dedup();
    let mut found = Vec::new();
    for home in all {
        let mut files = Files::default();
        // What cannot be read is somebody's own business: these are findings only.
        files.read_folder(root, &home.join(INSTANCES));
        found.extend(files.iter().filter_map(|(path, bytes)| Builder::parse(path, bytes)));
    }
    Ok(found)
}

const CONFIG: &str = "/etc/buildkit/buildkitd.toml";
const USERS_CONFIG: &str = ".config/buildkit/buildkitd.toml";
const INSTANCES: &str = ".docker/buildx/instances";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_file_is_the_one_that_it_was_given_or_the_one_that_it_looks_for() {
        for (uid, line, config) in [
            (0, "buildkitd", "/etc/buildkit/buildkitd.toml"),
            (0, "buildkitd --addr unix:///x --config /srv/b.toml", "/srv/b.toml"),
            (0, "buildkitd --config=/srv/b.toml", "/srv/b.toml"),
            (1000, "buildkitd --oci-worker-no-process-sandbox", "/home/ci/.config/buildkit/buildkitd.toml"),
        ] {
            let arguments = line.split(' ').map(str::to_owned).collect();
            let environment = vec![("HOME".to_owned(), "/home/ci".to_owned())];
            assert_eq!(config_of(&Process { pid: 7, uid, arguments, environment }), Path::new(config), "{line}");
        }
    }

    #[test]
    fn where_a_daemon_listens_is_found_in_every_way_to_write_it() {
        for (line, address) in [
            ("buildkitd", None),
            ("buildkitd --addr unix:///x", Some("unix:///x")),
            ("buildkitd --debug -addr=tcp://127.0.0.1:1 --config /y", Some("tcp://127.0.0.1:1")),
            ("buildkitd --address-like x", None),
        ] {
            let arguments = line.split(' ').map(str::to_owned).collect();
            let process = Process { pid: 7, uid: 0, arguments, environment: Vec::new() };
            assert_eq!(argument(&process, "addr").as_deref(), address, "{line}");
        }
    }
}
