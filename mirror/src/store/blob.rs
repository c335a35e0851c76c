//! A stored blob that somebody reads.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::disk::{self, Claim, Disk, is_of_nothing};
use super::index::Seconds;
use super::layout::KINDS;
use crate::oci::{ChildKind, Digest};

/// An open file of the store: a blob, or a manifest read as one.
///
/// While it, or any clone of its [`file`](Self::file), lives, the blob is not evicted; and when it goes all the same, as it is damaged, its
/// readers keep what they have.
#[derive(Debug)]
pub struct Stored {
    digest: Digest,
    disk: Arc<Disk>,
    file: Arc<File>,
    generation: u16,
    kind: ChildKind,
    size: u64,
}

impl Stored {
    /// Opens `digest` where it is stored. `used` is `None` for a check of our own, which does not keep the blob from eviction for long.
    pub(super) fn open(disk: &Arc<Disk>, digest: &Digest, used: Option<Seconds>) -> Option<Self> {
        // The lease comes before the file, so that eviction cannot come in between.
        let Some(lease) = disk.index.lease(digest, used) else { return Self::find(disk, digest) };
        let Some((file, metadata)) = open(disk, lease.kind, digest) else {
            disk.give_up(&Claim::Lease(digest.clone(), lease.generation)); // The entry may be gone as well by now.
            disk.vanished(digest);
            return None;
        };
        Self::new(disk, digest, lease.kind, Arc::new(file), lease.generation, &metadata)
    }

    /// Opens `digest` where the index knows it and the kernel has its name and its file in memory.
    pub(super) fn open_at_once(disk: &Arc<Disk>, digest: &Digest, used: Seconds) -> Option<Self> {
        let lease = disk.index.lease(digest, Some(used))?;
        let cached = open_cached(&disk.layout.content(lease.kind, digest)).and_then(|file| Some((file.metadata().ok()?, file)));
        let Some((metadata, file)) = cached.filter(|(metadata, _)| metadata.is_file() && metadata.size() > 0) else {
            disk.give_up(&Claim::Lease(digest.clone(), lease.generation));
            return None;
        };
        Some(Self::published(disk, digest, lease.kind, Arc::new(file), lease.generation, metadata.size()))
    }

    /// A file that was just published with one reader, which is this.
    pub(super) fn published(disk: &Arc<Disk>, digest: &Digest, kind: ChildKind, file: Arc<File>, generation: u16, size: u64) -> Self {
        Self { digest: digest.clone(), disk: Arc::clone(disk), file, generation, kind, size }
    }

    /// A file that the index does not know.
    fn find(disk: &Arc<Disk>, digest: &Digest) -> Option<Self> {
        let (kind, (file, metadata)) = KINDS.into_iter().find_map(|kind| Some((kind, open(disk, kind, digest)?)))?;
        let generation = disk.adopt(digest, kind, &metadata)?;
        Self::new(disk, digest, kind, Arc::new(file), generation, &metadata)
    }

    /// A full read computed another hash, or met the file's end too early.
    pub fn quarantine(&self) {
        self.put_aside("a full read computed another hash");
    }

    /// A read failed: the health check hears of it, and what the disk does not give is put aside, so that it is fetched again.
    pub fn failed(&self, error: &io::Error) {
        tracing::warn!(blob.digest = %self.digest, error = %error, "cannot read a stored file");
        if error.raw_os_error().is_some() {
            self.disk.health.failed(error); // And not a file that lost its end: that disk answers.
        }
        if is_of_the_file(error) {
            self.put_aside("the disk does not give its bytes");
        }
    }

    /// Moves this very file aside, so that its content is fetched again. A newer file under the same name, whoever published it meanwhile, stays.
    fn put_aside(&self, reason: &str) {
        let same = |there: &Metadata| self.file.metadata().is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()));
        if open(&self.disk, self.kind, &self.digest).is_some_and(|(_, there)| same(&there)) {
            self.disk.quarantine(&self.digest, reason);
        }
    }

    fn new(disk: &Arc<Disk>, digest: &Digest, kind: ChildKind, file: Arc<File>, generation: u16, metadata: &Metadata) -> Option<Self> {
        let stored = Self::published(disk, digest, kind, file, generation, metadata.size());
        if stored.size == 0 && !is_of_nothing(digest) {
            drop(stored);
            disk.quarantine(digest, "the file has no bytes");
            return None;
        }
        Some(stored)
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The open file. A clone keeps the blob from eviction as well.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether this process has hashed the file: when it was published, at a full read, or in the background.
    pub fn is_verified(&self) -> bool {
        self.disk.index.is_verified(&self.digest, self.generation)
    }

    /// Notes that the file was hashed and is right.
    pub fn mark_verified(&self) {
        self.disk.index.mark_verified(&self.digest, self.generation);
    }

    /// Notes a use.
    pub fn touch(&self) {
        self.disk.touch(&self.digest, disk::now());
    }

    /// As it is on a disk that no longer gives the file's bytes.
    #[cfg(test)]
    pub(crate) fn unreadable(mut self) -> Self {
        let file = File::options().write(true).open(self.disk.layout.content(self.kind, &self.digest));
        self.file = Arc::new(file.expect("it is stored"));
        self
    }

    /// What it should be.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Notes that a check has read so many bytes.
    pub(super) fn count_checked(&self, bytes: u64) {
        self.disk.metrics.checked_bytes.inc_by(bytes);
    }

    /// What it is stored as.
    pub(super) fn kind(&self) -> ChildKind {
        self.kind
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.disk.let_go(&self.file, Claim::Lease(self.digest.clone(), self.generation));
    }
}

/// Whether the file is at fault, rather than the moment: a stop, too little memory, a network file system that lost its handle.
fn is_of_the_file(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, StaleNetworkFileHandle, TimedOut, UnexpectedEof, WouldBlock};
    let is_told = error.raw_os_error().is_some() || error.kind() == UnexpectedEof;
    is_told && !matches!(error.kind(), Interrupted | OutOfMemory | StaleNetworkFileHandle | TimedOut | WouldBlock)
}

fn open(disk: &Disk, kind: ChildKind, digest: &Digest) -> Option<(File, Metadata)> {
    let file = File::open(disk.layout.content(kind, digest)).ok()?;
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    Some((file, metadata))
}

/// Fails rather than wait for a disk. Where the system has no such way (before Linux 5.12, or where a container's rules forbid it) it always fails.
fn open_cached(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}
