//! What is known of one Docker engine: values that `look` fills and that `plan` decides by.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::command_line::Flag;
use super::proxy::Proxies;
use crate::engines::Daemon;

/// One Docker engine of the machine: the machine's own, or a user's rootless one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Whose.
    pub owner: Owner,
    /// Whether who runs chandler may change it: root the machine's, a user the own one.
    pub is_ours_to_change: bool,
    /// Its `daemon.json`, wherever flags have it.
    pub config_file: PathBuf,
    /// Its folder of registries' certificates.
    pub certs_d: PathBuf,
    /// What is in `daemon.json`; `None`: it is not there.
    pub daemon_json: Option<Contents>,
    /// Why that cannot be read, where it is there.
    pub unread: Option<String>,
    /// What lies in the folders of [`certs_d`](Self::certs_d), by path.
    pub trust: BTreeMap<PathBuf, Contents>,
    /// Flags that the running daemon was started with, and those that it would be started with.
    pub flags: Vec<Flag>,
    /// Flags in a file that nothing reads, as far as can be seen.
    pub idle_flags: Vec<Flag>,
    /// Proxies of the running daemon, else those that it would be started with.
    pub proxies: Proxies,
    /// If it runs.
    pub running: Option<Running>,
}

/// Whose an engine is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The machine's, run by root.
    Machine,
    /// A user's, rootless.
    User {
        /// The user's id.
        uid: u32,
        /// The user's name, or the id again.
        name: String,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("Docker"),
            Self::User { name, .. } => write!(f, "{name}'s rootless Docker"),
        }
    }
}

/// A file's bytes, which `Debug` does not show: some are keys.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Contents(pub Vec<u8>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// An engine that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Its socket, and what it said there; or why it could not be asked.
    pub answer: Result<Answer, String>,
}

/// A daemon that was asked, and its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The process and the socket.
    pub daemon: Daemon,
    /// What it said.
    pub report: Report,
}

/// What an engine says of itself: `/version` and `/info`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Its name for its version: not to decide by.
    pub version: String,
    /// The newest API that it speaks.
    pub api: Api,
    /// Whether images are in containerd's store.
    pub has_containerd_store: bool,
    /// Mirrors of Docker Hub, in order, as it spells them.
    pub mirrors: Vec<String>,
    /// Registries and networks that it takes without a certificate that it knows.
    pub insecure: Vec<String>,
    /// Whether containers outlive a restart of it.
    pub live_restore: bool,
}

/// A version of Docker's API.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Api(pub u32, pub u32);

impl Api {
    /// Of Docker 28: `hosts.toml` is read, by the containerd store and by the `BuildKit` inside; what `registry-mirrors` says of schemes holds for the latter too.
    pub const READS_HOSTS: Self = Self(1, 48);

    /// Of `1.41`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Facts {
    /// What the running engine said.
    pub fn report(&self) -> Option<&Report> {
        self.running.as_ref()?.answer.as_ref().ok().map(|answer| &answer.report)
    }

    /// Whether it reads `hosts.toml` at all; `None` where no engine can be asked.
    pub fn reads_hosts(&self) -> Option<bool> {
        self.report().map(|report| report.api >= Api::READS_HOSTS)
    }

    /// A registry's folder of certificates.
    pub fn folder(&self, registry: &str) -> PathBuf {
        self.certs_d.join(registry)
    }

    /// A file among [`trust`](Self::trust).
    pub fn trusted(&self, path: &Path) -> Option<&[u8]> {
        self.trust.get(path).map(|contents| contents.0.as_slice())
    }
}
