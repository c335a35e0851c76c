//! Folders and records: small files that are written whole, and folders that count what they take.
//!
//! A record is written to a temporary file, synced, renamed over the old one, and its folder synced: a reader finds the old or the new one.
//! One lock for all of it, held for a rename and two `stat`s: the bytes of a folder that grows are counted once. While the scan at start walks
//! the tree, only folders that it has been to are counted; what is written into others it will find.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::account::in_blocks;
use super::disk::{Disk, allocated, folder_bytes, locked};
use super::error::{StoreError, is_full};

/// The lock over folders and records.
#[derive(Debug)]
pub(super) struct Tree {
    counted: Mutex<Counted>,
}

/// Which folders below `repos` are in the account.
#[derive(Debug)]
enum Counted {
    All,
    Only(HashSet<PathBuf>),
}

impl Default for Tree {
    fn default() -> Self {
        Self { counted: Mutex::new(Counted::Only(HashSet::new())) }
    }
}

impl Tree {
    /// Does `change` in `folder`, and counts what the folder itself grew by.
    pub(super) fn within<T>(&self, disk: &Disk, folder: &Path, change: impl FnOnce() -> T) -> T {
        let _counted = locked(&self.counted);
        let before = folder_bytes(folder);
        let outcome = change();
        disk.account.change(before, folder_bytes(folder));
        outcome
    }

    /// Makes a shard's folder. Its parent is counted since the store was opened; the shard counts itself.
    pub(super) fn make_shard(&self, disk: &Disk, folder: &Path) -> io::Result<()> {
        let parent = folder.parent().expect("a shard lies in its algorithm's folder");
        self.within(disk, parent, || make(folder))?;
        sync(parent)
    }

    /// Makes a new file of our own in the spool.
    pub(super) fn temporary(&self, disk: &Disk) -> io::Result<(PathBuf, File)> {
        let folder = disk.layout.spool();
        let path = folder.join(disk.temporaries.next());
        let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = self.within(disk, &folder, open)?;
        Ok((path, file))
    }

    /// Writes records of one folder, each whole, and all of them durably: the folder is synced once. Says of each whether it is written, and what
    /// failed first.
    pub(super) fn write_all(&self, disk: &Disk, records: &[(PathBuf, Vec<u8>)]) -> (Vec<bool>, Result<(), StoreError>) {
        let mut failure = Ok(());
        let mut written: Vec<bool> = Vec::with_capacity(records.len());
        for (path, bytes) in records {
            let outcome = self.write(disk, path, bytes);
            written.push(outcome.is_ok());
            failure = failure.and(outcome);
        }
        if let Some(folder) = records.first().map(|(path, _)| folder_of(path)).filter(|_| written.contains(&true))
            && let Err(source) = sync(folder)
        {
            written.fill(false); // None of them is sure to outlive a crash of the machine.
            failure = failure.and(Err(failed(disk, 0, folder, source)));
        }
        (written, failure)
    }

    /// Writes a record whole and durably, whether there is room by our own rules or not.
    pub(super) fn write_always(&self, disk: &Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let room = in_blocks(bytes.len() as u64);
        disk.account.add(room);
        let placed = self.temporary(disk).and_then(|(temporary, file)| {
            let placed = fill(file, bytes).and_then(|allocated| self.place(disk, &temporary, path, (room, allocated)));
            placed.inspect_err(|_| drop(fs::remove_file(&temporary)))
        });
        placed.inspect_err(|_| disk.account.sub(room))?;
        sync(folder_of(path))
    }

    /// Writes a record whole. It outlives a crash of the machine once its folder is synced.
    fn write(&self, disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(reason) = disk.health.illness() {
            return Err(StoreError::Unhealthy(reason));
        }
        let room = in_blocks(bytes.len() as u64);
        disk.admit(room).map_err(StoreError::Full)?;
        let placed = self.temporary(disk).and_then(|(temporary, file)| {
            let placed = fill(file, bytes).and_then(|allocated| self.place(disk, &temporary, path, (room, allocated)));
            placed.inspect_err(|_| drop(fs::remove_file(&temporary)))
        });
        placed.map_err(|source| {
            disk.account.sub(room);
            failed(disk, room, path, source)
        })
    }

    /// Removes a record; one that is not there is removed already.
    pub(super) fn remove(&self, disk: &Disk, path: &Path) {
        let parent = folder_of(path);
        let counted = locked(&self.counted);
        let before = (folder_bytes(parent), file_bytes(path));
        match fs::remove_file(path) {
            Ok(()) if counted.has(parent) => disk.account.change(before.0 + before.1, folder_bytes(parent)),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                warn!(path = %path.display(), error = %error, "cannot remove a record");
                disk.health.failed(&error);
                return;
            }
        }
        drop(counted);
        // Best effort: after a crash of the machine the record may be back, which every reader of records can stand.
        let _ = sync(parent);
    }

    /// Removes a folder if it is empty.
    pub(super) fn remove_empty(&self, disk: &Disk, folder: &Path) -> bool {
        let parent = folder_of(folder);
        let mut counted = locked(&self.counted);
        let (before, own) = (folder_bytes(parent), folder_bytes(folder));
        let gone = fs::remove_dir(folder).is_ok();
        if gone && counted.has(parent) {
            disk.account.change(before, folder_bytes(parent));
        }
        // The scan may have been to its parent and not yet to it: then it is in no account.
        if gone && counted.has(folder) {
            disk.account.sub(own);
        }
        if let Counted::Only(folders) = &mut *counted {
            folders.remove(folder);
        }
        gone
    }

    /// Counts everything below `repos`. Files that are not ours count too: they lie in a folder that is.
    pub(super) fn scan(&self, disk: &Disk, cancel: &CancellationToken) -> io::Result<()> {
        let mut ahead = vec![disk.layout.repos()];
        while let Some(folder) = ahead.pop() {
            if cancel.is_cancelled() {
                return Ok(());
            }
            let mut counted = locked(&self.counted);
            if !counted.has(&folder) {
                ahead.extend(count(disk, &folder)?);
                counted.note(folder);
            }
        }
        *locked(&self.counted) = Counted::All;
        Ok(())
    }

    /// Gives a record its name. What was taken for it becomes what it takes.
    fn place(&self, disk: &Disk, temporary: &Path, path: &Path, (taken, takes): (u64, u64)) -> io::Result<()> {
        let folder = folder_of(path);
        let mut counted = locked(&self.counted);
        if !folder.is_dir() {
            make_all(disk, &mut counted, folder)?;
        }
        let before = folder_bytes(folder) + file_bytes(path);
        fs::rename(temporary, path)?;
        let (before, after) = if counted.has(folder) { (before, folder_bytes(folder) + takes) } else { (0, 0) };
        disk.account.change(before + taken, after);
        Ok(())
    }
}

impl Counted {
    fn has(&self, folder: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Only(folders) => folders.contains(folder),
        }
    }

    fn note(&mut self, folder: PathBuf) {
        if let Self::Only(folders) = self {
            folders.insert(folder);
        }
    }
}

/// Makes a folder and those above it.
fn make_all(disk: &Disk, counted: &mut Counted, folder: &Path) -> io::Result<()> {
    let parent = folder_of(folder);
    if !parent.is_dir() {
        make_all(disk, counted, parent)?;
    }
    let before = folder_bytes(parent);
    make(folder)?;
    if counted.has(parent) {
        disk.account.change(before, folder_bytes(parent) + folder_bytes(folder));
        counted.note(folder.to_owned());
    }
    sync(parent)
}

/// Makes the folder; that it is there already is fine.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        outcome => outcome,
    }
}

/// Has a folder's entries on the disk: a file whose name is not there after a crash was never published.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Tells the health check, and the caller what to do.
fn failed(disk: &Disk, room: u64, path: &Path, source: io::Error) -> StoreError {
    disk.health.failed(&source);
    if is_full(&source) { StoreError::Full(room) } else { StoreError::Io { doing: "write", path: path.to_owned(), source } }
}

/// Writes and syncs a new file; what it takes.
fn fill(mut file: File, bytes: &[u8]) -> io::Result<u64> {
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(allocated(&file.metadata()?))
}

/// Counts one folder and its files; the folders in it.
fn count(disk: &Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    let mut bytes = folder_bytes(folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folders), // Emptied and removed since it was seen.
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        } else {
            bytes += entry.metadata().map_or(0, |file| allocated(&file));
        }
    }
    disk.account.add(bytes);
    Ok(folders)
}

fn file_bytes(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |file| allocated(&file))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().expect("everything of the store lies in its folder")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, folder, open};
    use super::*;

    #[test]
    fn a_folder_that_the_scan_has_not_been_to_is_in_no_account_and_is_taken_out_of_none() {
        let root = folder();
        let store = open(&config(root.path()));
        let (disk, parent) = (&store.disk, store.disk.layout.repos());
        let child = parent.join("emptied-meanwhile");
        fs::create_dir(&child).expect("made");
        let ahead = count(disk, &parent).expect("counted");
        locked(&disk.tree.counted).note(parent);
        let before = disk.account.used();
        assert!(ahead.contains(&child) && disk.tree.remove_empty(disk, &child));
        assert_eq!(disk.account.used(), before);
    }
}
