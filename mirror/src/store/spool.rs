//! A download under way: a file without its final name, whose room is taken before its first byte.
//!
//! Its bytes count against the cap from the start, so a full disk is known before the headers. Where the size is known the file system allocates
//! it all at once; else, or where more comes than was said, step by step.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::account::in_blocks;
use super::blob::Stored;
use super::disk::{self, Claim, Disk, allocated};
use super::error::{StoreError, is_full};
use super::layout;
use super::tree;
use crate::oci::{ChildKind, Digest};

/// A file that becomes a blob by [`publish`](Self::publish), or goes when dropped. Its bytes stay in the account until its last reader closes it.
#[derive(Debug)]
pub struct Spool {
    /// Which checked file was stored when this began.
    before: Option<u16>,
    digest: Digest,
    disk: Arc<Disk>,
    file: Arc<File>,
    path: PathBuf,
    /// Whether the file system allocates ahead; where it cannot, the account alone does.
    preallocates: bool,
    /// In the account but not yet on the file system.
    promised: u64,
    published: bool,
    /// In the account.
    reserved: u64,
    /// How far the reservation reaches into the file.
    room: u64,
    written: u64,
}

impl Spool {
    /// Makes the file and takes its room.
    pub(super) fn new(disk: &Arc<Disk>, digest: &Digest, size: Option<u64>) -> Result<Self, StoreError> {
        if let Some(size) = size.filter(|size| *size > LARGEST) {
            return Err(StoreError::Full(size));
        }
        if let Some(reason) = disk.health.illness() {
            return Err(StoreError::Unhealthy(reason));
        }
        let (path, file) = disk.tree.temporary(disk).map_err(|source| failed(disk, 0, "create", disk.layout.spool(), source))?;
        let mut spool = Self {
            before: disk.index.verified(digest),
            digest: digest.clone(),
            disk: Arc::clone(disk),
            file: Arc::new(file),
            path,
            preallocates: true,
            promised: 0,
            published: false,
            reserved: 0,
            room: 0,
            written: 0,
        };
        spool.reach(size.unwrap_or(0))?;
        Ok(spool)
    }

    /// The file, for readers to come: bytes below [`written`](Self::written) never change.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Bytes that were appended.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes `bytes` at the end. After an error what was written before is whole, and so are its readers.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let end = self.written + bytes.len() as u64;
        if end > self.room {
            self.reach(end.max(self.room + STEP)).or_else(|_| self.reach(end))?;
        }
        self.write(bytes)?;
        self.written = end;
        let kept = self.promised.min(bytes.len() as u64);
        self.promised -= kept;
        self.disk.account.keep_promise(kept);
        Ok(())
    }

    /// Makes it a blob, durably: bytes and name are on the disk when this returns. The caller has checked the hash. Where another spool of the same
    /// digest was published since this one began, that is the blob, and this one goes.
    pub fn publish(mut self, kind: ChildKind) -> Result<Stored, StoreError> {
        self.disk.sources.save(&self.disk)?; // Without it, the content would be the first upstream's after a crash.
        if let Some(stored) = self.published_meanwhile(kind) {
            self.sync_name(stored.kind())?; // The other one may not have come to it yet.
            return Ok(stored);
        }
        self.finish().map_err(|source| failed(&self.disk, 0, "sync", self.path.clone(), source))?;
        let placed = self.disk.place(&self.path, kind, &self.digest, self.reserved);
        let (kind, generation) = placed.map_err(|source| failed(&self.disk, 0, "publish", self.path.clone(), source))?;
        self.published = true;
        let stored = Stored::published(&self.disk, &self.digest, kind, self.file(), generation, self.written);
        self.sync_name(kind)?;
        Ok(stored)
    }

    fn published_meanwhile(&self, kind: ChildKind) -> Option<Stored> {
        let now = self.disk.index.verified(&self.digest);
        if now.is_none() || now == self.before {
            return None;
        }
        // What is read as a manifest must be stored as one; a blob may be either.
        let stored = Stored::open(&self.disk, &self.digest, Some(disk::now()))?;
        let is_whole = stored.size() == self.written && stored.is_verified();
        (is_whole && (stored.kind() == kind || kind == ChildKind::Blob)).then_some(stored)
    }

    fn sync_name(&self, kind: ChildKind) -> Result<(), StoreError> {
        let folder = self.disk.layout.shard(kind, self.digest.algorithm(), layout::shard_of(&self.digest));
        tree::sync(&folder).map_err(|source| failed(&self.disk, 0, "sync", folder, source))
    }

    /// Takes room up to `end` bytes, in the account first.
    fn reach(&mut self, end: u64) -> Result<(), StoreError> {
        let more = in_blocks(end).saturating_sub(in_blocks(self.room));
        if more == 0 {
            return Ok(());
        }
        self.disk.admit(more).map_err(StoreError::Full)?;
        if let Err(source) = self.allocate(end, more) {
            self.disk.account.sub(more);
            return Err(failed(&self.disk, more, "take room for", self.path.clone(), source.into()));
        }
        self.reserved += more;
        self.room = in_blocks(end);
        Ok(())
    }

    fn allocate(&mut self, end: u64, more: u64) -> Result<(), Errno> {
        while self.preallocates {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), self.room, in_blocks(end) - self.room) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) if self.disk.relieve(more) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.preallocates = false,
                Err(error) => return Err(error),
            }
        }
        self.promised += more;
        self.disk.account.promise(more);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut outcome = self.file.write_all_at(bytes, self.written);
        if outcome.as_ref().is_err_and(is_full) && self.disk.relieve(bytes.len() as u64) {
            outcome = self.file.write_all_at(bytes, self.written);
        }
        outcome.map_err(|source| failed(&self.disk, bytes.len() as u64, "write", self.path.clone(), source))
    }

    /// Cuts what was taken too much, has all of it on the disk, and counts what it really takes.
    fn finish(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.written)?;
        self.file.sync_all()?;
        let takes = allocated(&self.file.metadata()?);
        self.disk.account.change(self.reserved, takes);
        self.reserved = takes;
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.disk.account.keep_promise(self.promised);
        if !self.published {
            // Nothing to be done about an error: the next start removes it.
            let _ = std::fs::remove_file(&self.path);
            self.disk.let_go(&self.file, Claim::Bytes(self.reserved));
        }
    }
}

/// Tells the health check, and the caller what to do.
fn failed(disk: &Disk, need: u64, doing: &'static str, path: PathBuf, source: std::io::Error) -> StoreError {
    disk.health.failed(&source);
    if is_full(&source) {
        disk.metrics.full.inc();
        return StoreError::Full(need);
    }
    StoreError::Io { doing, path, source }
}

/// No blob is larger: a size beyond it was made up, and room for it would be everybody else's.
const LARGEST: u64 = 1 << 40;
/// Room is taken in steps of so many bytes where the size is not known.
const STEP: u64 = 4 << 20;
