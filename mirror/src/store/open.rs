//! Opens the store's folder: makes what is missing, takes the lock, checks the version, and removes what an earlier run left half written.
//!
//! It reads no content and no record, but for the names of those that say who sent what: that is the scan's work, and a store serves before it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::info;

use super::VERSION;
use super::account::Account;
use super::disk::{Disk, Parts, folder_bytes};
use super::error::OpenError;
use super::health::Monitor;
use super::layout::{ALGORITHMS, KINDS, Layout, Temporaries, is_temporary};
use super::lock::Lock;
use super::quarantine::{KEPT, Quarantine};
use super::sources::Sources;
use super::tree;
use crate::config::StoreConfig;

/// Opens it for this process alone.
pub(super) fn open(config: &StoreConfig) -> Result<Disk, OpenError> {
    let layout = Layout::new(&config.root);
    attempt("create", layout.root(), make_root(layout.root()))?;
    let lock = Lock::take(&layout)?;
    let folders = make_folders(&layout)?;
    let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let temporaries = Temporaries::new(std::process::id(), start);
    remove_partial(&layout.spool())?;
    check_marker(&layout, &temporaries)?;
    let quarantine = attempt("read", &layout.quarantine(), Quarantine::open(&layout.quarantine()))?;
    let sources = attempt("read", &layout.repos(), Sources::open(&layout))?;
    let account = account(config, layout.root())?;
    account.add(folders.iter().map(|folder| folder_bytes(folder)).sum());
    for file in [layout.lock(), layout.marker()] {
        account.add(attempt("read", &file, fs::symlink_metadata(&file))?.blocks() * 512);
    }
    account.add(quarantine.bytes());
    let health = Monitor::new(&config.health);
    let disk = Disk::new(Parts { account, health, layout, lock, quarantine, sources, temporaries });
    disk.quarantine.trim(&disk, KEPT);
    disk.metrics.healthy.set(1);
    disk.metrics.cap.set(disk.account.cap().map_or(0, |cap| i64::try_from(cap).unwrap_or(i64::MAX)));
    Ok(disk)
}

/// Takes the lock again where only its file is gone. Another folder in the place of ours is not taken up: what is known here of repositories, and of who
/// sent what, would be written neither there nor anywhere, and what is known there would not be asked.
pub(super) fn lock_again(disk: &Disk) -> Result<(), OpenError> {
    let layout = &disk.layout;
    let mut held = disk.lock();
    if !attempt("read", layout.root(), held.is_of(layout))? {
        return Err(OpenError::Replaced { path: layout.root().to_owned() });
    }
    *held = Lock::take(layout)?;
    Ok(())
}

/// The folder itself, and those above it.
fn make_root(root: &Path) -> io::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    if let Some(above) = root.parent().filter(|above| !above.as_os_str().is_empty()) {
        fs::create_dir_all(above)?;
    }
    tree::make(root)
}

/// Our folders, made where they are missing, on the same file system all of them; those that the account counts from now on.
fn make_folders(layout: &Layout) -> Result<Vec<std::path::PathBuf>, OpenError> {
    let mut folders = vec![layout.root().to_owned(), layout.spool(), layout.quarantine()];
    for kind in KINDS {
        let algorithms = ALGORITHMS.map(|algorithm| layout.algorithm(kind, algorithm));
        folders.extend(algorithms[0].parent().map(Path::to_owned));
        folders.extend(algorithms);
    }
    let repos = layout.repos(); // Counted by the scan.
    let device = attempt("read", layout.root(), fs::metadata(layout.root()))?.dev();
    for folder in folders.iter().chain([&repos]) {
        attempt("create", folder, tree::make(folder))?;
        if attempt("read", folder, fs::metadata(folder))?.dev() != device {
            return Err(OpenError::OtherFileSystem { path: folder.clone() });
        }
    }
    for folder in &folders {
        attempt("sync", folder, tree::sync(folder))?; // A shard that is synced into a folder which is lost is lost too.
    }
    Ok(folders)
}

/// We have the lock, so whoever began these files is gone. Files of others stay.
fn remove_partial(spool: &Path) -> Result<(), OpenError> {
    let mut removed = 0;
    for entry in attempt("read", spool, fs::read_dir(spool))? {
        let entry = attempt("read", spool, entry)?;
        if entry.file_name().to_str().is_some_and(is_temporary) {
            attempt("remove", &entry.path(), fs::remove_file(entry.path()))?;
            removed += 1;
        }
    }
    if removed > 0 {
        info!(files = removed, "downloads that an earlier run left unfinished are removed");
    }
    Ok(())
}

fn check_marker(layout: &Layout, temporaries: &Temporaries) -> Result<(), OpenError> {
    let path = layout.marker();
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => attempt("write", &path, write_marker(layout, temporaries)),
        Err(source) => Err(OpenError::Io { doing: "read", path, source }),
        Ok(bytes) => match serde_json::from_slice::<Marker>(&bytes) {
            Ok(Marker { version, .. }) if version <= VERSION => Ok(()),
            Ok(Marker { version: found, .. }) => Err(OpenError::Newer { path, found }),
            Err(source) => Err(OpenError::Marker { path, source }),
        },
    }
}

fn write_marker(layout: &Layout, temporaries: &Temporaries) -> io::Result<()> {
    let temporary = layout.spool().join(temporaries.next());
    let text = serde_json::to_string(&Marker { version: VERSION, what: "a store of chandler mirror; see its README".into() })?;
    fs::write(&temporary, text + "\n")?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, layout.marker())?;
    tree::sync(layout.root())
}

fn account(config: &StoreConfig, root: &Path) -> Result<Account, OpenError> {
    let system = attempt("read the file system of", root, rustix::fs::statvfs(root).map_err(io::Error::from))?;
    let total = system.f_blocks * system.f_frsize;
    Ok(Account::new(config.max_size.map(|limit| limit.of(total)), config.min_free.of(total)))
}

fn attempt<T>(doing: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, OpenError> {
    outcome.map_err(|source| OpenError::Io { doing, path: path.to_owned(), source })
}

#[derive(Deserialize, Serialize)]
struct Marker {
    version: u32,
    #[serde(default)]
    what: String,
}
