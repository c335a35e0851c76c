//! What the executor is told of engines: how they work now ([`Engines`], effects), and what is in their files ([`Editor`], pure).

use std::error::Error;
use std::path::{Path, PathBuf};

use crate::engines::{Daemon, Engine, Finding, Rebuild, Reload};
use crate::host::Root;

/// Why an engine could not be asked or told.
pub type Fault = Box<dyn Error + Send + Sync>;

/// The daemons that run.
pub trait Engines {
    /// What a daemon works by now.
    fn reported(&mut self, engine: Engine, daemon: &Daemon) -> Result<Reported, Fault>;

    /// Has it read its configuration again, without a restart, and waits until it reports what it should, or for as long as that can take. Returns what it reported
    /// last, whatever that is.
    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault>;

    /// Runs the system's tool in a tree, and looks at what it made.
    fn rebuild(&mut self, _root: &Root, rebuild: &Rebuild) -> Result<(), Fault> {
        Err(format!("nobody is here to run {rebuild}").into())
    }
}

/// What a daemon says that it works by.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reported {
    /// Its mirrors, in order, as it spells them.
    pub mirrors: Vec<String>,
    /// The registries that it takes for insecure.
    pub insecure: Vec<String>,
}

impl Reported {
    /// Whether that is what a reload is to bring.
    pub fn shows(&self, reload: &Reload) -> bool {
        self.mirrors == reload.mirrors && reload.insecure.iter().all(|registry| self.insecure.contains(registry))
    }
}

/// What is in engines' files: text in, text out, and no machine behind it but what was seen of it before.
pub trait Editor {
    /// A file that somebody edited, without what we put into it; `None`: nothing is left of it. The error says where it cannot be understood.
    fn without_ours(&self, edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String>;

    /// A file without any mirror, whoever configured it; `None`: nothing is left of it.
    fn without_mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String>;

    /// The mirrors that a file names.
    fn mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Vec<String>;

    /// What a file must hold for a moment so that an engine which keeps what it no longer finds lets go of its mirrors, before the file becomes `last` (`None`: before
    /// it is removed). `None` where that is not needed.
    fn emptied(&self, engine: Engine, path: &Path, last: Option<&[u8]>) -> Option<Vec<u8>>;

    /// The reload by which a running engine comes to work by a file that holds `bytes` (`None`: that is not there). `None` where none runs, where it reads the file
    /// at each pull, and where it reports already that it works so.
    fn reload(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Option<Reload>;

    /// The same where several that run go by one file.
    fn reloads(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Vec<Reload> {
        self.reload(engine, path, bytes).into_iter().collect()
    }

    /// How an engine that works by the mirrors of `last` already lets go of what else it has from files of `ours`. `None` where nothing is left of that.
    fn detour(&self, _engine: Engine, _path: &Path, _ours: &[&[u8]], _last: Option<&[u8]>) -> Option<Detour> {
        None
    }

    /// The restart, which is the operator's, without which a running engine goes on by what it read of a file that is brought back.
    fn restart(&self, _engine: Engine, _path: &Path) -> Option<Finding> {
        None
    }

    /// The run of the system's tool after which files that were brought back count, if any (`has_changed`); by what we wrote there, whether one that was broken off left something.
    fn rebuild(&self, _engine: Engine, _has_changed: bool, _ours: &[&[u8]]) -> Option<Rebuild> {
        None
    }

    /// The files in which an engine's mirrors may be named, whoever named them, with what they hold; those alone that may be changed.
    fn files(&self, _engine: Engine) -> Vec<(PathBuf, Vec<u8>)> {
        Vec::new()
    }
}

/// A way past what an engine must read in between, although its mirrors are the same before and after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detour {
    /// What it reads in between.
    pub bytes: Vec<u8>,
    /// How it comes to work by that.
    pub there: Reload,
    /// How it comes to work by its file again.
    pub back: Reload,
}

/// A file that somebody edited after we wrote it.
#[derive(Clone, Copy)]
pub struct Edit<'a> {
    /// For whom.
    pub engine: Engine,
    /// As the machine sees it.
    pub path: &'a Path,
    /// What it holds.
    pub now: &'a [u8],
    /// What it held before us; `None`: it was not there.
    pub original: Option<&'a [u8]>,
    /// What we wrote, the newest last: what is in these and not in the original is ours.
    pub ours: &'a [&'a [u8]],
}
