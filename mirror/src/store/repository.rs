//! What is known of one repository: which content it holds, where its tags point, whether it is private.
//!
//! All reads are from memory, after one load at its first use (one that fails is tried again at the next), and what is learned is in memory at once: pulls go on while a disk is slow or full.
//! [`Repository::save`] writes what only memory knows; [`Repository::is_behind`] tells that there is something, for the price of a look.
//!
//! That a digest is *held* is a proof, not a guess: a manifest linked here names it, or the upstream itself said so. Content that was
//! evicted stays held: that is the answer to a cold HEAD.

mod known;
mod load;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use self::known::Known;
use super::disk::{self, Disk, locked};
use super::error::StoreError;
use super::layout::{BLOBS, MANIFESTS, TAGS, file_name};
use super::records::{ManifestRecord, RepositoryState, TagRecord};
use crate::config::UpstreamName;
use crate::oci::{ChildKind, Digest, MediaType, RepoName, Tag};

/// Content that a repository is known to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Whether it is asked for as a manifest or as a blob.
    pub kind: ChildKind,
    /// What it is served as.
    pub media_type: MediaType,
    /// Bytes.
    pub size: u64,
}

/// One repository of one upstream.
pub struct Repository {
    /// Memory knows something that the disk does not.
    behind: AtomicBool,
    disk: Arc<Disk>,
    folder: PathBuf,
    known: RwLock<Known>,
    /// One writer at a time: what is written last is what was known last.
    writes: Mutex<()>,
}

impl Repository {
    /// What the repository holds under `digest`; `None`: nobody has proved that it holds it.
    pub fn held(&self, digest: &Digest) -> Option<Held> {
        self.read().held(digest)
    }

    /// Whether `digest` was linked as a manifest of this repository itself, and is not only named by an index: that anybody can write.
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        self.read().manifests.contains_key(digest)
    }

    /// One of the manifests that are linked.
    pub fn some_manifest(&self) -> Option<Digest> {
        self.some_manifests(1).pop()
    }

    /// Manifests that are linked, `most` of them at the most.
    pub fn some_manifests(&self, most: usize) -> Vec<Digest> {
        self.read().manifests.keys().take(most).cloned().collect()
    }

    /// The record of a manifest that is linked.
    pub fn record(&self, digest: &Digest) -> Option<ManifestRecord> {
        self.read().manifests.get(digest).map(|linked| linked.record.clone())
    }

    /// Learns that the repository holds a manifest, and so all that it names.
    pub fn learn_manifest(&self, record: &ManifestRecord) {
        let mut known = self.change();
        if known.manifests.get(&record.digest).is_none_or(|linked| linked.record != *record) {
            known.link(record.clone(), false);
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Learns that the upstream itself said that the repository holds a blob of `size` bytes.
    pub fn learn_blob(&self, digest: &Digest, size: u64) {
        let mut known = self.change();
        if known.blobs.get(digest).is_none_or(|(known, _)| *known != size) {
            known.blobs.insert(digest.clone(), (size, false));
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Whether memory knows something that [`save`](Self::save) has still to write.
    pub fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Writes what only memory knows, each kind after what it builds on, and tells the first failure. One record that fails does not keep the others
    /// of its kind from being written.
    pub fn save(&self) -> Result<(), StoreError> {
        let _writing = locked(&self.writes);
        if !self.behind.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let unsaved = self.read().unsaved();
        let mut outcome = Ok(());
        for kind in unsaved.chunk_by(|one, next| one.folder() == next.folder()) {
            let records: Vec<_> = kind.iter().map(|fact| (self.folder.join(fact.path()), fact.document())).collect();
            let (written, failure) = self.disk.tree.write_all(&self.disk, &records);
            let mut known = self.change();
            kind.iter().zip(written).filter(|(_, written)| *written).for_each(|(fact, _)| known.saved(fact));
            outcome = failure;
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_err() {
            self.behind.store(true, Ordering::Release);
        }
        outcome
    }

    /// Forgets that the repository holds `digest`, and whatever only this manifest proved.
    pub fn unlink(&self, digest: &Digest) {
        let _writing = locked(&self.writes);
        let (manifest, blob) = self.change().unlink(digest);
        for (folder, known) in [(MANIFESTS, manifest), (BLOBS, blob)] {
            if known {
                self.disk.tree.remove(&self.disk, &self.folder.join(folder).join(file_name(digest)));
            }
        }
    }

    /// Where `tag` points, whether or not the upstream still has it.
    pub fn tag(&self, tag: &Tag) -> Option<TagRecord> {
        self.read().tags.get(tag).map(|(record, _)| record.clone())
    }

    /// Learns where `tag` points. What it points to should be stored and linked before.
    pub fn learn_tag(&self, tag: &Tag, record: &TagRecord) {
        let mut known = self.change();
        if known.tags.get(tag).is_none_or(|(known, _)| known != record) {
            known.tags.insert(tag.clone(), (record.clone(), false));
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Forgets a tag.
    pub fn remove_tag(&self, tag: &Tag) {
        let _writing = locked(&self.writes);
        if self.change().tags.remove(tag).is_some() {
            self.disk.tree.remove(&self.disk, &self.folder.join(TAGS).join(tag.as_str()));
        }
    }

    /// All tags, in their order, those that the upstream deleted included.
    pub fn tags(&self) -> Vec<Tag> {
        self.read().tags.keys().cloned().collect()
    }

    /// What is known of the repository as a whole.
    pub fn state(&self) -> RepositoryState {
        self.read().state.0
    }

    /// Changes a part of that; nobody else changes another part meanwhile.
    pub fn learn_state(&self, change: impl FnOnce(RepositoryState) -> RepositoryState) {
        let mut known = self.change();
        let state = change(known.state.0);
        if known.state.0 != state {
            known.state = (state, false);
            self.behind.store(true, Ordering::Release);
        }
    }

    /// Notes a use of a linked manifest and of all that it names, through indexes too, so that a hot image keeps the layers that engines have
    /// and nobody asks for. At most once a minute a manifest, so a hit may call it each time.
    pub fn touch_manifest(&self, digest: &Digest) {
        let now = disk::now();
        let used = self.read().use_at(digest, now);
        for digest in used {
            self.disk.touch(&digest, now);
        }
    }

    pub(super) fn load(disk: &Arc<Disk>, upstream: &UpstreamName, name: &RepoName) -> Result<Self, StoreError> {
        let folder = disk.layout.repository(upstream, name);
        let known = RwLock::new(load::load(disk, &folder)?);
        Ok(Self { behind: AtomicBool::new(false), disk: Arc::clone(disk), folder, known, writes: Mutex::new(()) })
    }

    /// Every digest that is linked by a record of its own, and every tag with its digest.
    pub(super) fn linked(&self) -> (HashSet<Digest>, Vec<(Tag, Digest)>) {
        let known = self.read();
        let digests = known.manifests.keys().chain(known.blobs.keys()).cloned().collect();
        (digests, known.tags.iter().map(|(tag, (record, _))| (tag.clone(), record.digest.clone())).collect())
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The repositories in use, and the last few that were.
#[derive(Debug)]
pub(super) struct Repositories {
    /// Those that somebody holds: there is never a second one beside them, or the two would know different things.
    alive: Mutex<HashMap<Key, Weak<Repository>>>,
    recent: moka::sync::Cache<Key, Arc<Repository>>,
}

type Key = (UpstreamName, RepoName);

impl Repositories {
    pub(super) fn new() -> Self {
        Self { alive: Mutex::default(), recent: moka::sync::Cache::new(MOST_RECENT) }
    }

    /// Loads it where nobody has it. What cannot be read is not kept: the next who asks tries again.
    pub(super) fn get(&self, disk: &Arc<Disk>, upstream: &UpstreamName, name: &RepoName) -> Result<Arc<Repository>, Arc<StoreError>> {
        let key = (upstream.clone(), name.clone());
        if let Some(repository) = self.recent.get(&key) {
            return Ok(repository);
        }
        self.recent.try_get_with(key.clone(), || self.alive(disk, key))
    }

    fn alive(&self, disk: &Arc<Disk>, key: Key) -> Result<Arc<Repository>, StoreError> {
        if let Some(repository) = locked(&self.alive).get(&key).and_then(Weak::upgrade) {
            return Ok(repository);
        }
        let loaded = Arc::new(Repository::load(disk, &key.0, &key.1)?);
        let mut alive = locked(&self.alive);
        if alive.len() > 2 * MOST_RECENT as usize {
            alive.retain(|_, repository| repository.strong_count() > 0);
        }
        let known = alive.get(&key).and_then(Weak::upgrade);
        let repository = known.unwrap_or(loaded);
        alive.insert(key, Arc::downgrade(&repository));
        Ok(repository)
    }
}

/// So many repositories stay in memory though nobody uses them.
const MOST_RECENT: u64 = 1024;

#[cfg(test)]
mod tests;
