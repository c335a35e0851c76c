//! Writes down what is known, after it was answered: manifests, small blobs, proofs, tags.
//!
//! Answers come from memory and wait for no disk. One task writes what is queued, content first, then the records that prove it and the tags that name
//! it, and ends when nothing is left. What the disk refuses stays in memory and is written when it is used again ([`Cache::keep_up`]), after a pause
//! that doubles with each failure. At a stop the queue is written to its end, unless the disk hangs.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Cache, Object, Repo};
use crate::oci::Digest;
use crate::store::{Health, Store, StoreError, TagRecord};

/// Something that memory knows and the disk does not.
#[derive(Clone, Debug)]
pub(crate) enum Unkept {
    /// A small blob's bytes.
    Blob(Arc<Object>),
    /// A manifest's bytes, what the repository learned with it, and the tags that point at it.
    Manifest(Arc<Repo>, Arc<Object>),
    /// What the repository learned.
    Records(Arc<Repo>),
    /// The tags that point at a manifest, if that is stored and the repository is known to hold it: a record never names what cannot be served.
    Tags(Arc<Repo>, Digest),
}

/// What is to be written, and when a try is worth it.
#[derive(Debug, Default)]
pub(crate) struct Keeper(Mutex<Desk>);

#[derive(Debug, Default)]
struct Desk {
    /// In the queue, or being written.
    bytes: usize,
    pause: Pause,
    queue: Vec<Unkept>,
    writing: bool,
}

/// How long nothing is tried again: it doubles with each failure.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Cache {
    /// Has `what` written soon.
    pub(crate) fn keep(&self, what: Unkept) {
        if !what.claim() {
            return;
        }
        self.0.lasting.metrics.write_queue.inc();
        match self.0.lasting.keeper.put(what) {
            Put::Full(what) => {
                what.ended(false); // Memory is not for what waits for a disk; it is written when it is used again.
                self.0.lasting.metrics.write_queue.dec();
            }
            Put::Queued => {}
            Put::WriterWanted => drop(self.0.lasting.tasks.spawn(self.clone().write_queue())),
        }
    }

    /// At a hit: what was not written then is written now. For what was, this is two looks.
    pub(crate) fn keep_up(&self, repo: &Arc<Repo>, object: &Arc<Object>) {
        if !object.is_kept() || repo.records.is_behind() {
            self.keep_again(repo, object);
        }
    }

    /// The same at a hit of a small blob.
    pub(crate) fn keep_up_blob(&self, object: &Arc<Object>) {
        if object.is_kept() || object.is_manifest() {
            return; // A manifest that is asked for as a blob is kept when it is asked for as what it is.
        }
        if self.store().knows(&object.digest) {
            object.set_kept(true); // Its own download has published it by now.
        } else if !self.0.lasting.flights.contains(&object.digest) && self.may_try() {
            self.keep(Unkept::Blob(object.clone()));
        }
    }

    #[cold]
    fn keep_again(&self, repo: &Arc<Repo>, object: &Arc<Object>) {
        if !self.may_try() {
            return;
        }
        if object.is_kept() {
            self.keep(Unkept::Records(repo.clone()));
        } else {
            self.keep(Unkept::Manifest(repo.clone(), object.clone()));
        }
    }

    fn may_try(&self) -> bool {
        *self.store().health().borrow() == Health::Healthy && self.0.lasting.keeper.desk().pause.is_over(Instant::now())
    }

    /// The one writer. Nobody waits for it but a stop.
    async fn write_queue(self) {
        let overdue = async {
            self.0.lasting.cancel.cancelled().await;
            tokio::time::sleep(LAST_WAIT).await;
        };
        tokio::pin!(overdue);
        while let Some(batch) = self.0.lasting.keeper.take() {
            let (store, keeper) = (self.store().clone(), self.0.lasting.keeper.clone());
            let queued = self.0.lasting.metrics.write_queue.clone();
            let written = tokio::task::spawn_blocking(move || {
                keeper.write(&store, &batch);
                queued.dec_by(batch.len() as i64);
            });
            tokio::select! {
                // A panic in it is reported by the runtime's hook; the next batch is another one.
                _ = written => {}
                () = &mut overdue => return tracing::warn!("the disk does not take what is known; it will be learned again"),
            }
        }
    }
}

impl Keeper {
    fn put(&self, what: Unkept) -> Put {
        let mut desk = self.desk();
        let bytes = what.weight();
        if desk.bytes + bytes > QUEUE {
            return Put::Full(what);
        }
        desk.bytes += bytes;
        desk.queue.push(what);
        if std::mem::replace(&mut desk.writing, true) { Put::Queued } else { Put::WriterWanted }
    }

    /// All that waits; `None`, and the writer is gone, where nothing does.
    fn take(&self) -> Option<Vec<Unkept>> {
        let mut desk = self.desk();
        desk.writing = !desk.queue.is_empty();
        desk.writing.then(|| std::mem::take(&mut desk.queue))
    }

    /// Content, then records: what was learned of a repository is saved once for all of its manifests in the batch.
    fn write(&self, store: &Store, batch: &[Unkept]) {
        let mut tried = Vec::new();
        for what in batch {
            let content = what.put_content(store);
            what.ended(content.as_ref().is_none_or(Result::is_ok));
            what.learn_tags(store);
            tried.extend(content);
        }
        // A repository that came up twice has nothing left to save the second time.
        for repo in batch.iter().filter_map(Unkept::repo).filter(|repo| repo.records.is_behind()) {
            tried.push(repo.records.save().inspect_err(|error| log_failure(repo, error)));
        }
        let mut desk = self.desk();
        desk.bytes -= batch.iter().map(Unkept::weight).sum::<usize>();
        if tried.iter().any(Result::is_err) {
            desk.pause.lengthen(Instant::now());
        } else if !tried.is_empty() {
            desk.pause = Pause::default();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Put {
    Full(Unkept),
    Queued,
    WriterWanted,
}

impl Unkept {
    fn claim(&self) -> bool {
        match self {
            Self::Blob(object) | Self::Manifest(_, object) => object.claim(),
            Self::Records(repo) => !repo.is_saving.swap(true, Ordering::Relaxed),
            Self::Tags(..) => true,
        }
    }

    fn ended(&self, kept: bool) {
        match self {
            Self::Blob(object) | Self::Manifest(_, object) => object.set_kept(kept),
            Self::Records(repo) => repo.is_saving.store(false, Ordering::Relaxed),
            Self::Tags(..) => {}
        }
    }

    fn repo(&self) -> Option<&Arc<Repo>> {
        match self {
            Self::Blob(_) => None,
            Self::Manifest(repo, _) | Self::Records(repo) | Self::Tags(repo, _) => Some(repo),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Blob(object) | Self::Manifest(_, object) => object.weight() as usize,
            Self::Records(_) | Self::Tags(..) => SMALL,
        }
    }

    /// Nothing where there is none.
    fn put_content(&self, store: &Store) -> Option<Result<(), StoreError>> {
        let (Self::Blob(object) | Self::Manifest(_, object)) = self else { return None };
        let bytes = object.bytes.as_deref()?;
        let outcome = match self {
            Self::Manifest(repo, _) => {
                let put = store.put_manifest(&object.digest, bytes);
                put.and_then(|()| store.stored_from(&repo.upstream.config().name, &object.digest))
            }
            _ => store.put_blob(&object.digest, bytes),
        };
        Some(outcome.inspect_err(|error| {
            tracing::warn!(blob.digest = %object.digest, error = error as &dyn Error, "what is served could not be stored");
        }))
    }

    fn learn_tags(&self, store: &Store) {
        let (repo, digest) = match self {
            Self::Manifest(repo, object) if object.is_kept() => (repo, &object.digest),
            // Content without a proof is there after a crash between the two, or for another repository: then the manifest's own turn comes.
            Self::Tags(repo, digest) if repo.records.has_manifest(digest) && store.blob(digest).is_some() => (repo, digest),
            _ => return,
        };
        for tag in repo.unrecorded(digest) {
            repo.records.learn_tag(&tag, &TagRecord { digest: digest.clone(), gone_since: None });
        }
    }
}

impl Pause {
    fn is_over(self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn lengthen(&mut self, now: Instant) {
        if self.is_over(now) {
            self.length = (self.length * 2).clamp(PAUSE, PAUSE_MOST);
            self.until = Some(now + self.length);
        }
    }
}

fn log_failure(repo: &Repo, error: &StoreError) {
    tracing::warn!(repo.name = %repo.label, error = error as &dyn Error, "what is known of a repository is not recorded, and holds until the next start");
}

/// Bytes that may wait to be written: as much as memory holds.
const QUEUE: usize = 16 << 20;
/// What counts for a record.
const SMALL: usize = 1024;
/// The first pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MOST: Duration = Duration::from_mins(1);
/// What a stop waits for a disk that hangs.
const LAST_WAIT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_with_each_failure_after_its_end_and_a_success_ends_it() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        let mut lengths = Vec::new();
        for _ in 0..8 {
            pause.lengthen(now);
            assert!(!pause.is_over(now) && pause.is_over(now + pause.length));
            pause.lengthen(now + pause.length / 2); // One of the same batch: no news.
            lengths.push(pause.length.as_secs());
            now += pause.length;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(Pause::default().is_over(now));
    }
}
