//! What would be done to a machine: steps in their order, and what a person must know before. Values.
//!
//! A plan is made for applying and for undoing alike. Its steps are run in order, each may be run again after a crash: a file that already reads as it should is
//! left, an engine that already reports what it should is not reloaded.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use super::Engine;

/// Steps, and findings beside them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// In the order in which they are done. A plan with a finding that [blocks](Weight::Blocks) an engine has no steps for that engine.
    pub steps: Vec<Step>,
    /// For a person, worst first.
    pub findings: Vec<Finding>,
}

/// One thing that is done to the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A file is written or removed.
    Write(Change),
    /// An engine reads its configuration again, and shows that it did.
    Reload(Reload),
    /// The system's bundle of CAs is made anew of the files of its store.
    Rebuild(Rebuild),
}

/// A file, before and after.
#[derive(Clone, Eq, PartialEq)]
pub struct Change {
    /// For whom.
    pub engine: Engine,
    /// As seen on the machine: `/etc/docker/daemon.json`, whatever `--root` is.
    pub path: PathBuf,
    /// What it holds now; `None`: it is not there.
    pub before: Option<Vec<u8>>,
    /// What it is to hold; `None`: it is removed.
    pub after: Option<Vec<u8>>,
    /// Permissions where the file is made anew (0o644, keys 0o600); a file that is there keeps its own.
    pub mode: u32,
    /// Nobody is shown what is in it.
    pub secret: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &Option<Vec<u8>>| match bytes {
            Some(_) if self.secret => Some("(secret)".to_owned()),
            Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            None => None,
        };
        f.debug_struct("Change")
            .field("engine", &self.engine)
            .field("path", &self.path)
            .field("before", &text(&self.before))
            .field("after", &text(&self.after))
            .field("mode", &format_args!("{:o}", self.mode))
            .finish()
    }
}

/// A reload without a restart: running containers and builds notice nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reload {
    /// Who is told.
    pub engine: Engine,
    /// The running daemon.
    pub daemon: Daemon,
    /// The mirrors that it must report afterwards, as it spells them.
    pub mirrors: Vec<String>,
    /// The registries that it must report as insecure, among others; empty: not looked at.
    pub insecure: Vec<String>,
}

/// A run of the system's own tool, which makes of many files the one that programs read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rebuild {
    /// The tool, as the machine sees it.
    pub tool: PathBuf,
    /// What it is told.
    pub arguments: &'static [&'static str],
    /// What it is told where files are gone.
    pub renews: &'static [&'static str],
    /// What it makes.
    pub bundle: PathBuf,
    /// The certificates that this must hold afterwards, as [`bodies`](super::system_store::bodies) has them.
    pub holds: BTreeSet<String>,
    /// Where this holds none of these all the same, it does not matter that the tool fails.
    pub lacks: BTreeSet<String>,
}

impl fmt::Display for Rebuild {
    /// As a shell would have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tool.display())?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// A daemon that runs now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// Its process.
    pub pid: u32,
    /// Where its API listens.
    pub socket: PathBuf,
}

/// Something that a person must know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Whom it is about; `None`: the machine.
    pub engine: Option<Engine>,
    /// How bad it is.
    pub weight: Weight,
    /// What is so: to what, where (file and line), and why it matters.
    pub what: String,
    /// What to do about it.
    pub mend: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Weight {
    /// Nothing is changed for this engine before it is mended.
    Blocks,
    /// The files are written, but only a restart, which is the operator's, makes them count.
    Restart,
    /// It works, but not as well or not for everything.
    Warns,
}

impl Step {
    /// For whom it is done.
    pub fn engine(&self) -> Engine {
        match self {
            Self::Write(change) => change.engine,
            Self::Reload(reload) => reload.engine,
            Self::Rebuild(_) => Engine::System,
        }
    }

    /// The file that it changes.
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Write(change) => Some(change),
            Self::Reload(_) | Self::Rebuild(_) => None,
        }
    }
}

impl Plan {
    /// Another plan's steps and findings behind ours.
    pub fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.findings.extend(other.findings);
        self.findings.sort_by_key(|finding| finding.weight);
    }
}
