//! Files of a machine as they were read: a value that planners compare with. What is in them is not shown by `Debug`, for keys are among them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::Engine;
use super::plan::{Change, Finding, Step, Weight};
use super::process::{self, Process};
use super::secrets::holds_secret;
use crate::host::{HostError, Root};

/// Path and bytes; a path that is not in it was not there.
///
/// What a plan is made from may be supposed: the same files as they would be without us. What the disk has is kept beside it, for what runs has read that.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Files {
    disk: BTreeMap<PathBuf, Vec<u8>>,
    supposed: BTreeMap<PathBuf, Vec<u8>>,
    /// What is there and cannot be read, each with why.
    unread: BTreeMap<PathBuf, String>,
}

impl Files {
    /// What the file holds, if it is there.
    pub fn get(&self, path: &Path) -> Option<&[u8]> {
        self.supposed.get(path).map(Vec::as_slice)
    }

    /// Supposes that a file holds this.
    pub fn insert(&mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) {
        self.supposed.insert(path.into(), bytes.into());
    }

    /// Supposes that a file has gone.
    pub fn remove(&mut self, path: &Path) {
        self.supposed.remove(path);
    }

    /// Whether the disk has already what a step would write, whatever is supposed.
    pub fn has_done(&self, step: &Step) -> bool {
        step.change().is_some_and(|change| self.disk.get(&change.path) == change.after.as_ref())
    }

    /// Takes note of a file as it is.
    fn note(&mut self, path: &Path, bytes: Vec<u8>) {
        self.disk.insert(path.to_owned(), bytes.clone());
        self.supposed.insert(path.to_owned(), bytes);
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.supposed.iter().map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// Reads a file, if it is there. One that cannot be read is taken note of: it is a matter of its engine, and no reason to say nothing of the others.
    pub fn read_one(&mut self, root: &Root, path: &Path) {
        match root.read(path) {
            Ok(found) => found.into_iter().for_each(|found| self.note(path, found.bytes)),
            Err(error) => self.note_unread(path, &error),
        }
    }

    /// Reads all files of a folder. What else is in it, folders and sockets, is passed over.
    pub fn read_folder(&mut self, root: &Root, folder: &Path) {
        for name in self.list(root, folder) {
            let path = folder.join(name);
            if is_file(root, &path) {
                self.read_one(root, &path);
            }
        }
    }

    /// The names in a folder.
    pub fn list(&mut self, root: &Root, folder: &Path) -> Vec<OsString> {
        root.list(folder)
            .unwrap_or_else(|error| {
                self.note_unread(folder, &error);
                None
            })
            .unwrap_or_default()
    }

    fn note_unread(&mut self, path: &Path, error: &HostError) {
        self.unread.insert(path.to_owned(), mirror::chain(error));
    }

    /// Why some of it could not be read.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.values().map(String::as_str)
    }

    /// For each of these, why nothing is done for the engine that reads it.
    pub fn in_the_way(&self, engine: Engine) -> impl Iterator<Item = Finding> {
        self.unread().map(move |why| unreadable(engine, Weight::Blocks, why))
    }

    /// Only what was read.
    pub fn without_unread(self) -> Self {
        Self { unread: BTreeMap::new(), ..self }
    }

    /// What others saw, with what they could read of it.
    pub fn extend(&mut self, other: Self) {
        self.disk.extend(other.disk);
        self.supposed.extend(other.supposed);
        self.unread.extend(other.unread);
    }

    /// Files directly in the folder, by name.
    pub fn in_folder<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = (&'a Path, &'a [u8])> {
        self.supposed.iter().filter(move |(path, _)| path.parent() == Some(folder)).map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// The step after which the file reads as `after`; `None` if it does already. What is in a key, and in a file with a login, is shown to nobody.
    pub fn write(&self, engine: Engine, path: &Path, after: Option<Vec<u8>>, mode: u32) -> Option<Step> {
        let before = self.get(path);
        if before == after.as_deref() {
            return None;
        }
        let secret = is_key(path, mode) || holds_secret([before, after.as_deref(), self.disk.get(path).map(Vec::as_slice)]);
        Some(Step::Write(Change { engine, path: path.to_owned(), before: before.map(<[u8]>::to_vec), after, mode, secret }))
    }
}

/// What only its owner may read. A `registries.yaml` is made so by k3s's installer, and mostly there is no login in it.
fn is_key(path: &Path, mode: u32) -> bool {
    mode == 0o600 && path.extension().is_none_or(|extension| extension != "yaml")
}

/// What stands in the way of an engine.
pub fn unreadable(engine: Engine, weight: Weight, why: &str) -> Finding {
    let mend = "mend or remove that file, or let chandler run as somebody who may read it".to_owned();
    Finding { engine: Some(engine), weight, what: why.to_owned(), mend }
}

/// Why a machine can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// One of its files.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What runs on it.
    #[error("the machine's processes can't be looked at")]
    Processes(#[source] io::Error),
}

/// Whether there is a plain file, with links followed.
pub fn is_file(root: &Root, path: &Path) -> bool {
    root.resolve(path).is_ok_and(|place| root.on_disk(&place.real).is_file())
}

/// Programs where machines have them.
pub fn found(root: &Root, names: &[&str]) -> Vec<PathBuf> {
    let all = names.iter().flat_map(|name| FOLDERS.iter().map(move |folder| Path::new(folder).join(name)));
    all.filter(|path| is_file(root, path)).collect()
}

/// What runs the program; in a tree that is not this machine's, nothing runs.
pub fn running(root: &Root, program: &str) -> Result<Vec<Process>, LookError> {
    if root.is_machine() { process::running(program).map_err(LookError::Processes) } else { Ok(Vec::new()) }
}

/// The users of `/etc/passwd`, and their homes.
pub fn homes(root: &Root) -> Result<Vec<(String, PathBuf)>, LookError> {
    let passwd = root.read(Path::new("/etc/passwd"))?.map(|found| found.bytes).unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd);
    let users = passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = Path::new(fields.get(5)?);
        (home.is_absolute() && home != Path::new("/")).then(|| (fields[0].to_owned(), home.to_owned()))
    });
    Ok(users.collect())
}

const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

impl<P: Into<PathBuf>, B: Into<Vec<u8>>> FromIterator<(P, B)> for Files {
    fn from_iter<I: IntoIterator<Item = (P, B)>>(pairs: I) -> Self {
        let mut files = Self::default();
        for (path, bytes) in pairs {
            files.note(&path.into(), bytes.into());
        }
        files
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.supposed.iter().map(|(path, bytes)| (path, bytes.len()))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_reads_as_it_should_is_no_step() {
        let files: Files = [("/etc/a", "1")].into_iter().collect();
        let path = Path::new("/etc/a");
        assert_eq!(files.write(Engine::Podman, path, Some(b"1".to_vec()), 0o644), None);
        assert_eq!(files.write(Engine::Podman, Path::new("/etc/b"), None, 0o644), None);
        let Some(Step::Write(change)) = files.write(Engine::Podman, path, None, 0o644) else { panic!("it is there, and is to go") };
        assert_eq!((change.before, change.after, change.secret), (Some(b"1".to_vec()), None, false));
    }

    #[test]
    fn what_cannot_be_read_is_noted_and_the_rest_is_read() {
        let folder = tempfile::TempDir::new().expect("a folder");
        std::fs::create_dir_all(folder.path().join("etc/a")).expect("made");
        std::fs::write(folder.path().join("etc/b"), "b").expect("written");
        let root = Root::below(folder.path()).expect("a tree");
        let mut files = Files::default();
        for path in ["/etc/a", "/etc/b", "/etc/c"] {
            files.read_one(&root, Path::new(path));
        }
        files.read_folder(&root, Path::new("/etc/b"));
        assert_eq!(files.get(Path::new("/etc/b")), Some(&b"b"[..]));
        let blocked: Vec<String> = files.in_the_way(Engine::Podman).map(|finding| finding.what).collect();
        assert!(blocked.len() == 2 && blocked[0].contains("/etc/a") && blocked[1].contains("/etc/b"), "{blocked:?}");
    }

    #[test]
    fn keys_are_not_shown() {
        let files: Files = [("/etc/key", "secret-bytes")].into_iter().collect();
        assert_eq!(format!("{files:?}"), r#"{"/etc/key": 12}"#);
        let step = files.write(Engine::Podman, Path::new("/etc/key"), Some(b"other-bytes".to_vec()), 0o600);
        assert!(!format!("{step:?}").contains("bytes\""), "{step:?}");
    }
}
