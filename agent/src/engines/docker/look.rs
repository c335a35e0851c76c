//! Looks at the Docker engines of a machine. Effects: files below a root, processes in `/proc`, engines' APIs.
//!
//! Nothing is changed. What runs is believed before what is written: the configuration file and the socket of a running dockerd are those on its command line. Of a tree that is not this machine
//! (an image that is being built) there are only files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::api;
use super::command_line::{Flag, Place, config_file, flags, socket, values, words};
use super::facts::{Answer, Contents, Facts, Owner, Running};
use super::proxy::{Proxies, Said};
use super::unit::{Unit, Variable, environment_file, words_of};
use crate::engines::Daemon;
use crate::engines::process::{self, Process};
use crate::host::{HostError, Root};

/// The files of a machine, or of a tree that will be one. Paths are as on the machine.
pub trait Tree {
    /// A file's bytes; `None` if it is not there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError>;
    /// The paths in a folder, in order; none if it is not there or cannot be listed.
    fn list(&self, folder: &Path) -> Vec<PathBuf>;
    /// Whether a file or a folder is there.
    fn exists(&self, path: &Path) -> bool;
    /// Whether it is the machine that we run on.
    fn is_this_machine(&self) -> bool;
}

impl Tree for Root {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        Ok(Root::read(self, path)?.map(|found| found.bytes))
    }

    fn list(&self, folder: &Path) -> Vec<PathBuf> {
        let names = Root::list(self, folder).ok().flatten().unwrap_or_default();
        names.into_iter().map(|name| folder.join(name)).collect()
    }

    fn exists(&self, path: &Path) -> bool {
        // A program that may be run and not read is there.
        self.is_folder(path).unwrap_or(true) || Root::read(self, path).map_or(true, |found| found.is_some())
    }

    fn is_this_machine(&self) -> bool {
        self.is_machine()
    }
}

/// Why nothing can be said about the machine's Docker.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// `/proc` is not to be had.
    #[error("cannot look for running daemons in /proc")]
    Processes(#[source] io::Error),
    /// The engine's own file.
    #[error(transparent)]
    Read(#[from] HostError),
}

/// All Docker engines: those that run, and the machine's own if it is installed and does not run, or if it is `supposed` to come.
pub async fn look(tree: &(dyn Tree + Sync), supposed: bool) -> Result<Vec<Facts>, LookError> {
    let machine = Seen { tree, start: Start::of_machine(tree), site: Site::machine() };
    let mut found = Vec::new();
    if tree.is_this_machine() {
        for daemon in process::running("dockerd").map_err(LookError::Processes)? {
            found.push(match user(tree, &daemon) {
                None => machine.facts(Some(&daemon)).await?,
                Some(site) if !site.is_ours_to_change() => site.somebodys(&daemon),
                Some(site) => Seen { tree, start: Start::of_user(tree, &site), site }.facts(Some(&daemon)).await?,
            });
        }
    }
    let has_own = found.iter().any(|facts: &Facts| facts.owner == Owner::Machine);
    if !has_own && (supposed || INSTALLED.iter().any(|path| tree.exists(Path::new(path)))) {
        found.insert(0, machine.facts(None).await?);
    }
    Ok(found)
}

/// Where an engine of somebody has its files.
struct Site {
    owner: Owner,
    config: PathBuf,
    certs_d: PathBuf,
    socket: PathBuf,
    home: PathBuf,
}

impl Site {
    fn machine() -> Self {
        let at = |path: &str| PathBuf::from(path);
        Self {
            owner: Owner::Machine,
            config: at("/etc/docker/daemon.json"),
            certs_d: at("/etc/docker/certs.d"),
            socket: at("/run/docker.sock"),
            home: at("/root"),
        }
    }

    fn is_ours_to_change(&self) -> bool {
        let us = rustix::process::geteuid().as_raw();
        match self.owner {
            Owner::Machine => us == 0,
            Owner::User { uid, .. } => us == uid,
        }
    }
}

impl Site {
    /// Another user's. Nothing of it is read or asked: whoever calls a program `dockerd` could have root wait, take all memory, or show what only root may read.
    fn somebodys(self, daemon: &Process) -> Facts {
        let answer = Err(format!("it is {}'s, who alone may ask it", self.name()));
        Facts {
            is_ours_to_change: false,
            config_file: self.config,
            certs_d: self.certs_d,
            owner: self.owner,
            daemon_json: None,
            trust: BTreeMap::new(),
            flags: Vec::new(),
            idle_flags: Vec::new(),
            proxies: Proxies::default(),
            running: Some(Running { pid: daemon.pid, answer }),
            unread: None,
        }
    }

    fn name(&self) -> String {
        match &self.owner {
            Owner::Machine => "root".to_owned(),
            Owner::User { name, .. } => name.clone(),
        }
    }
}

/// Of a daemon that is not root's: its user's places.
fn user(tree: &dyn Tree, daemon: &Process) -> Option<Site> {
    if daemon.uid == 0 {
        return None;
    }
    let passwd = text(tree, Path::new("/etc/passwd")).unwrap_or_default();
    let row =
        passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row.get(2) == Some(&daemon.uid.to_string().as_str()));
    let variable = |name: &str| daemon.environment.iter().find(|(known, _)| known == name).map(|(_, value)| PathBuf::from(value));
    let home =
        variable("HOME").or_else(|| row.as_ref().and_then(|row| row.get(5).map(PathBuf::from))).unwrap_or_else(|| PathBuf::from("/"));
    let folder = variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("docker");
    let run = variable("XDG_RUNTIME_DIR").unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", daemon.uid)));
    let name = row.and_then(|row| row.first().map(|name| (*name).to_owned())).unwrap_or_else(|| daemon.uid.to_string());
    Some(Site {
        owner: Owner::User { uid: daemon.uid, name },
        config: folder.join("daemon.json"),
        certs_d: folder.join("certs.d"),
        socket: run.join("docker.sock"),
        home,
    })
}

/// With what an engine would be started.
#[derive(Default)]
struct Start {
    flags: Vec<Flag>,
    idle: Vec<Flag>,
    variables: Vec<Variable>,
}

impl Start {
    /// By systemd; without a unit by the script that reads the options' files itself.
    fn of_machine(tree: &dyn Tree) -> Self {
        let folders = UNIT_FOLDERS.map(PathBuf::from);
        let has_unit = folders.iter().any(|folder| tree.exists(&folder.join(UNIT)));
        let mut start = Self::of(tree, &folders);
        for (path, name) in OPTIONS {
            let path = Path::new(path);
            let variables = text(tree, path).map(|text| environment_file(path, &text)).unwrap_or_default();
            for words in variables.iter().filter(|variable| variable.name == name).map(words_of) {
                // The first word of a command line is the program, and here there is none.
                let words: Vec<_> = words.first().cloned().into_iter().chain(words).collect();
                let new: Vec<Flag> = flags(&words).into_iter().filter(|flag| !start.flags.contains(flag)).collect();
                if has_unit { start.idle.extend(new) } else { start.flags.extend(new) }
            }
        }
        start
    }

    fn of_user(tree: &dyn Tree, site: &Site) -> Self {
        Self::of(
            tree,
            &[site.home.join(".config/systemd/user"), PathBuf::from("/etc/systemd/user"), PathBuf::from("/usr/lib/systemd/user")],
        )
    }

    /// By a unit in the first of the folders that has it, and drop-ins in all of them.
    fn of(tree: &dyn Tree, folders: &[PathBuf]) -> Self {
        let mut sources: Vec<(PathBuf, String)> = Vec::new();
        sources.extend(folders.iter().map(|folder| folder.join(UNIT)).find_map(|path| text(tree, &path).map(|text| (path, text))));
        // Of drop-ins with one name, the first folder's counts; all are read in the order of their names.
        let mut drop_ins = BTreeMap::new();
        for path in folders.iter().flat_map(|folder| tree.list(&folder.join(format!("{UNIT}.d")))) {
            if path.extension().is_some_and(|extension| extension == "conf") {
                drop_ins.entry(path.file_name().map(ToOwned::to_owned)).or_insert(path);
            }
        }
        sources.extend(drop_ins.into_values().filter_map(|path| text(tree, &path).map(|text| (path, text))));
        let unit = Unit::read(&sources);
        let files: Vec<Variable> =
            unit.files.iter().filter_map(|path| text(tree, path).map(|text| environment_file(path, &text))).flatten().collect();
        let flags = flags(&unit.command(&files));
        Self { flags, idle: Vec::new(), variables: unit.environment.into_iter().chain(files).collect() }
    }
}

/// An engine's files.
struct Seen<'a> {
    tree: &'a (dyn Tree + Sync),
    start: Start,
    site: Site,
}

impl Seen<'_> {
    async fn facts(&self, daemon: Option<&Process>) -> Result<Facts, LookError> {
        let running = daemon.map(|daemon| flags(&words(daemon.pid, &daemon.arguments)));
        let effective = running.as_ref().unwrap_or(&self.start.flags);
        let file = config_file(effective).unwrap_or_else(|| self.site.config.clone());
        let (daemon_json, unread) = match self.tree.read(&file) {
            Ok(bytes) => (bytes, None),
            Err(error) => (None, Some(mirror::chain(&error))),
        };
        let json: Value = daemon_json.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
        let proxies = self.proxies(daemon, effective, &json, &file);
        let running_now = match daemon {
            Some(daemon) => Some(Running { pid: daemon.pid, answer: self.ask(daemon.pid, effective, &json).await }),
            None => None,
        };
        let flags = running.into_iter().flatten().chain(self.start.flags.iter().cloned()).collect();
        Ok(Facts {
            owner: self.site.owner.clone(),
            is_ours_to_change: self.site.is_ours_to_change(),
            config_file: file,
            certs_d: self.site.certs_d.clone(),
            daemon_json: daemon_json.map(Contents),
            unread,
            trust: trust(self.tree, &self.site.certs_d),
            flags,
            idle_flags: self.start.idle.clone(),
            proxies,
            running: running_now,
        })
    }

    async fn ask(&self, pid: u32, flags: &[Flag], json: &Value) -> Result<Answer, String> {
        let listed = json["hosts"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let hosts: Vec<&str> = values(flags, "host").map(|flag| flag.value.as_str()).chain(listed).collect();
        let socket = socket(&hosts, &self.site.socket).map_err(|hosts| format!("it listens on no Unix socket, only on {hosts}"))?;
        let report = api::ask(&socket).await.map_err(|error| format!("{}: {error}", socket.display()))?;
        Ok(Answer { daemon: Daemon { pid, socket }, report })
    }

    fn proxies(&self, daemon: Option<&Process>, flags: &[Flag], json: &Value, file: &Path) -> Proxies {
        let variables = match daemon {
            Some(daemon) => self.environment(daemon),
            None => self.start.variables.clone(),
        };
        let flag = |name: &str| values(flags, name).last();
        let member = |name: &str| json["proxies"][name].as_str().filter(|value| !value.is_empty());
        let said = |name: &str| {
            let flag = flag(name).map(|flag| Said::new(&flag.value, flag.place.to_string()));
            flag.or_else(|| Some(Said::new(member(name)?, file.display().to_string())))
        };
        let except = flag("no-proxy").map(|flag| flag.value.clone()).or_else(|| member("no-proxy").map(str::to_owned));
        Proxies::of(&variables).overridden(said("http-proxy"), said("https-proxy"), except)
    }

    /// What a running daemon has, named by the file that it came from where that still says the same.
    fn environment(&self, daemon: &Process) -> Vec<Variable> {
        let place = |name: &str, value: &str| {
            let from = self.start.variables.iter().find(|known| known.name == name && known.value == value);
            from.map_or(Place::Environment(daemon.pid), |known| known.place.clone())
        };
        let all = daemon.environment.iter();
        all.map(|(name, value)| Variable { name: name.clone(), value: value.clone(), place: place(name, value) }).collect()
    }
}

/// What lies in the folders of certificates. A file that cannot be read is as if it were not there: then its engine is not ours to change.
fn trust(tree: &dyn Tree, certs_d: &Path) -> BTreeMap<PathBuf, Contents> {
    let is_read =
        |path: &PathBuf| path.extension().is_some_and(|extension| ["cert", "crt", "key", "toml"].iter().any(|known| extension == *known));
    let files = tree.list(certs_d).into_iter().flat_map(|folder| tree.list(&folder)).filter(is_read);
    files.filter_map(|path| Some((path.clone(), Contents(tree.read(&path).ok()??)))).collect()
}

/// A file that only says more: one that is not to be read says nothing, such as a unit that is a link to `/dev/null`.
fn text(tree: &dyn Tree, path: &Path) -> Option<String> {
    let bytes = tree.read(path).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

const UNIT: &str = "docker.service";
/// In the order in which systemd prefers them.
const UNIT_FOLDERS: [&str; 5] =
    ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// Files with options that older packages' scripts read, and the variable in each.
const OPTIONS: [(&str, &str); 2] = [("/etc/default/docker", "DOCKER_OPTS"), ("/etc/sysconfig/docker", "OPTIONS")];
/// Any of them means that Docker is installed.
const INSTALLED: [&str; 6] = [
    "/etc/docker",
    "/usr/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/local/bin/dockerd",
    "/lib/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.service",
];

#[cfg(test)]
mod tests;
