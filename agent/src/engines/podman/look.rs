//! What there is of Podman, Buildah, Skopeo and CRI-O on a machine. Effects; nothing is changed.

use std::path::{Path, PathBuf};

use super::service;
use crate::engines::certs_d;
use crate::engines::files::{Files, LookError, found, homes, is_file, running};
use crate::engines::plan::{Daemon, Reload};
use crate::engines::process::Process;
use crate::engines::{Engine, Wish};
use crate::host::Root;

/// All that a plan is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// The programs that were found.
    pub programs: Vec<PathBuf>,
    /// Whether `/etc/containers` is there, which packages of these programs bring.
    pub folder: bool,
    /// The files for everybody, if we may write them.
    pub system: Option<Place>,
    /// Our own user's.
    pub own: Option<Place>,
    /// Those of other users, by name: looked at only.
    pub others: Vec<(String, Place)>,
    /// What of other users' files cannot be read: whose, and why.
    pub closed: Vec<(String, String)>,
    /// `certs.d` of whoever asks.
    pub certs_d: PathBuf,
    /// The contents of all these.
    pub files: Files,
    /// What runs on and has read the files before.
    pub services: Vec<Service>,
    /// Services of other users, who have files of their own: process and user ids.
    pub foreign: Vec<(u32, u32)>,
    /// Settings that choose another `registries.conf`, with file and line.
    pub chosen: Vec<(PathBuf, usize, String)>,
}

/// Where the configuration lies for everybody, or for one user.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// `registries.conf`.
    pub main: PathBuf,
    /// `registries.conf.d`.
    pub folder: PathBuf,
    /// Further folders of drop-ins, which Podman reads from version 6 on: all of them together, by the files' names.
    pub more: Vec<PathBuf>,
    /// What counts too where `main` is not there.
    pub below: Option<Box<Self>>,
}

/// A process that keeps what it has read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Service {
    /// `podman system service` or `crio`.
    pub name: &'static str,
    /// Its process, and where it listens.
    pub daemon: Daemon,
    /// The mirrors of Docker Hub that it has, in order; `None`: it does not say.
    pub reported: Option<Vec<String>>,
}

/// Who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asker {
    /// User id; 0 speaks for the machine.
    pub uid: u32,
    /// The home, as `/etc/passwd` has it. What the environment says may be another user's where `sudo` left it, and root must not follow that user's links.
    pub home: PathBuf,
}

impl Facts {
    /// Whether there is anything that reads these files.
    pub fn is_there(&self) -> bool {
        self.folder || !self.programs.is_empty() || !self.services.is_empty()
    }
}

impl Place {
    /// The machine's.
    pub fn system() -> Self {
        Self { more: MORE.iter().map(PathBuf::from).collect(), ..Self::below(Path::new("/etc/containers")) }
    }

    /// A user's.
    pub fn of_home(home: &Path) -> Self {
        Self { below: Some(Box::new(Self::system())), ..Self::below(&home.join(".config/containers")) }
    }

    fn below(folder: &Path) -> Self {
        Self { main: folder.join("registries.conf"), folder: folder.join("registries.conf.d"), ..Self::default() }
    }
}

impl Service {
    /// How it is made to read again.
    pub fn reload(&self, mirrors: Vec<String>) -> Reload {
        Reload { engine: Engine::Podman, daemon: self.daemon.clone(), mirrors, insecure: Vec::new() }
    }
}

/// Looks at the machine. `supposed`: it counts as there, and may come later.
pub async fn look(root: &Root, asker: &Asker, wish: &Wish, supposed: bool) -> Result<Facts, LookError> {
    let certs_d = if asker.uid == 0 { PathBuf::from(CERTS_D) } else { asker.home.join(".config/containers/certs.d") };
    let mut facts = Facts {
        programs: found(root, &PROGRAMS),
        folder: supposed || root.is_folder(Path::new("/etc/containers")).unwrap_or(true),
        system: (asker.uid == 0).then(Place::system),
        own: Some(Place::of_home(&asker.home)),
        others: if asker.uid == 0 { others(root, asker)? } else { Vec::new() },
        chosen: chosen(root),
        certs_d,
        ..Facts::default()
    };
    for place in facts.own.iter().chain([&Place::system()]) {
        read_place(root, place, &mut facts.files);
    }
    for (user, place) in &facts.others {
        let mut files = Files::default();
        read_place(root, place, &mut files);
        // What another user has made unreadable is no reason to do nothing for the rest.
        facts.closed.extend(files.unread().map(|why| (user.clone(), why.to_owned())));
        facts.files.extend(files.without_unread());
    }
    for path in certs_d::paths(&facts.certs_d, wish) {
        facts.files.read_one(root, &path);
    }
    services(root, asker, &mut facts).await?;
    Ok(facts)
}

fn read_place(root: &Root, place: &Place, files: &mut Files) {
    files.read_one(root, &place.main);
    for folder in place.more.iter().chain([&place.folder]) {
        files.read_folder(root, folder);
    }
}

/// What runs on. Those of other users go by files that are not looked at here.
async fn services(root: &Root, asker: &Asker, facts: &mut Facts) -> Result<(), LookError> {
    let (podmans, crios) = (running(root, service::PODMAN)?, running(root, service::CRIO)?);
    let is_own = |process: &&Process| process.uid == asker.uid;
    for process in &podmans {
        match service::podman(process) {
            Some(found) if is_own(&process) => {
                let reported = service::reported(&found.daemon.socket).await;
                facts.services.push(Service { reported, ..found });
            }
            Some(_) => facts.foreign.push((process.pid, process.uid)),
            None => {}
        }
    }
    facts.services.extend(crios.iter().filter(is_own).map(service::crio));
    Ok(())
}

/// Users of `/etc/passwd` who have files of their own for these programs.
fn others(root: &Root, asker: &Asker) -> Result<Vec<(String, Place)>, LookError> {
    let homes = homes(root)?.into_iter().filter(|(_, home)| *home != asker.home);
    let places = homes.map(|(user, home)| (user, Place::of_home(&home)));
    // A home that can't be looked into (a network's, for one) is no reason to do nothing for the rest.
    Ok(places.filter(|(_, place)| is_file(root, &place.main) || root.is_folder(&place.folder).unwrap_or(false)).collect())
}

/// Lines that name another `registries.conf` for programs in general, or for services of these.
fn chosen(root: &Root) -> Vec<(PathBuf, usize, String)> {
    let mut files = Files::default();
    for path in SETTINGS {
        files.read_one(root, Path::new(path));
    }
    for folder in SETTING_FOLDERS {
        files.read_folder(root, Path::new(folder));
    }
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(choice).collect::<Vec<_>>();
    let choices = files.iter().flat_map(|(path, bytes)| {
        let found = lines(bytes).into_iter().enumerate();
        found.filter_map(move |(index, variable)| Some((path.to_owned(), index + 1, variable?.to_owned())))
    });
    choices.collect()
}

/// The variable that a line sets to choose another file.
fn choice(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    let is_said = !line.starts_with(['#', ';']);
    VARIABLES.into_iter().find(|name| is_said && line.contains(&format!("{name}=")))
}

const MORE: [&str; 3] =
    ["/usr/share/containers/registries.conf.d", "/etc/containers/registries.rootful.conf.d", "/etc/containers/registries.rootless.conf.d"];
const CERTS_D: &str = "/etc/containers/certs.d";
const PROGRAMS: [&str; 5] = ["podman", "buildah", "skopeo", "crio", "cri-o"];
const VARIABLES: [&str; 2] = ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"];
const SETTINGS: [&str; 7] = [
    "/etc/environment",
    "/etc/profile",
    "/etc/sysconfig/crio",
    "/etc/default/crio",
    "/etc/sysconfig/podman",
    "/etc/default/podman",
    "/etc/systemd/system.conf",
];
const SETTING_FOLDERS: [&str; 5] = [
    "/etc/environment.d",
    "/etc/profile.d",
    "/etc/systemd/system.conf.d",
    "/etc/systemd/system/podman.service.d",
    "/etc/systemd/system/crio.service.d",
];
