//! What a store looks like from outside: its files, the room they take, and file systems so small that they are full.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::hub::Digest;
use crate::program::{Builder, Program};
use crate::tools;

/// A file system in memory of a given size, mounted for as long as this lives. Declare it before the program that stores on it.
#[derive(Debug)]
pub struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    /// With `size` as `mount` takes it; `None` after saying that the test is skipped, where this process may not mount.
    pub fn new(size: &str) -> Option<Self> {
        tools::require_root().then(|| {
            let folder = TempDir::with_prefix("chandler-tmpfs-").expect("a folder in the temporary folder");
            mount(&["-o", &format!("size={size}")], folder.path());
            Self { folder }
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the program that `builder` starts store on it.
    pub fn hold_the_store_of(&self, builder: &Builder) {
        fs::create_dir_all(self.path().join("store")).expect("an empty file system has room for a folder");
        std::os::unix::fs::symlink(self.path().join("store"), builder.folder().join("store")).expect("the folder is new");
    }

    /// Bytes that are taken on it, files without a name included.
    pub fn used(&self) -> u64 {
        let system = rustix::fs::statvfs(self.path()).expect("it is mounted");
        (system.f_blocks - system.f_bfree) * system.f_frsize
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

/// Lies over a folder and takes no writes, until it is dropped.
#[derive(Debug)]
pub struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Over `folder`, whose own content is out of sight. Needs root.
    pub fn over(folder: &Path) -> Self {
        mount(&["-o", "ro,size=1m"], folder);
        Self(folder.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Where `store` keeps a blob once it is published.
pub fn blob_file(store: &Path, digest: &Digest) -> PathBuf {
    let (algorithm, hex) = digest.as_str().split_once(':').expect("ALGORITHM:HEX");
    store.join("blobs").join(algorithm).join(&hex[..2]).join(hex)
}

/// Waits until the blob is published; its last byte may have reached a client before.
pub async fn wait_for_blob(store: &Path, digest: &Digest) -> PathBuf {
    let file = blob_file(store, digest);
    wait_until(&format!("{digest} is stored"), || file.is_file()).await;
    file
}

/// The digests, in hexadecimal, of all blobs and manifests that are published in `store`.
pub fn published(store: &Path) -> Vec<String> {
    let files = ["blobs", "manifests"].into_iter().flat_map(|kind| files_below(&store.join(kind)));
    files.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect()
}

/// Waits until no part of a download is left in `store`.
pub async fn wait_for_empty_spool(store: &Path) {
    wait_until("the spool is empty", || files_below(&store.join("spool")).is_empty()).await;
}

/// Bytes that everything in `folder` takes on the disk, each file once, folders too.
pub fn allocated(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let own = fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks() * 512);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    own + entries.map(|entry| allocated(&entry.path())).sum::<u64>()
}

/// kill -9 forgets what was hashed; an orderly stop and a new start with the same files does too, and leaves nothing half done.
pub fn restarted_after(mut mirror: Program, change: impl FnOnce(&Path)) -> Program {
    let status = mirror.stop();
    assert!(status.success(), "the program ended with {status}");
    change(&mirror.store());
    mirror.crash_and_restart()
}

/// Waits for what no event tells of, such as a file; for a minute at most.
async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let come = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, come).await.is_ok(), "waited {PATIENCE:?} in vain until {what}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn mount(options: &[&str], at: &Path) {
    run(Command::new("mount").args(["-t", "tmpfs"]).args(options).arg("chandler-test").arg(at)).expect("root may mount");
}

/// A test that failed may still hold files there: then it goes when they do.
fn unmount(at: &Path) {
    if run(Command::new("umount").arg(at)).is_err() {
        run(Command::new("umount").arg("--lazy").arg(at)).expect("what was mounted can be unmounted");
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())) }
}

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
