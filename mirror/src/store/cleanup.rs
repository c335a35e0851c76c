//! The periodic clean-up: content that nobody used for the configured time, records of content that is long gone, folders that are empty.
//!
//! A record is kept after its content was evicted: it answers a cold HEAD and proves that the repository holds the digest. It goes when it is old
//! and its content is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::disk::{Disk, ScanState};
use super::index::Seconds;
use super::layout::{BLOBS, DAMAGED_STATE, MANIFESTS, STATE, TAGS, file_name};
use super::repository::{Repositories, Repository};
use crate::config::UpstreamName;
use crate::oci::RepoName;

/// What a clean-up works on.
#[derive(Clone, Debug)]
pub(super) struct Cleanup {
    pub(super) disk: Arc<Disk>,
    pub(super) keep_unused: Option<Duration>,
    pub(super) repositories: Arc<Repositories>,
}

impl Cleanup {
    /// Cleans up until cancelled: room each few seconds, for the disk has other users; age each hour. Last uses reach their files on the way, and at the end.
    pub(super) async fn watch(self, cancel: CancellationToken) {
        let mut ticks = 0_u64;
        while tokio::time::timeout(TRIM_EVERY, cancel.cancelled()).await.is_err() {
            ticks += 1;
            let (this, stop) = (self.clone(), cancel.clone());
            let aged = ticks.is_multiple_of(TRIMS_A_CLEANUP);
            let round = tokio::task::spawn_blocking(move || {
                this.disk.save_uses();
                this.disk.trim();
                if aged {
                    this.run(super::disk::now(), &stop);
                }
            });
            // A panic in it is reported by the runtime's hook; the next round starts anew. A disk that hangs does not hold up a stop.
            let _ = cancel.run_until_cancelled(round).await;
        }
        let _ = tokio::time::timeout(MOMENT, tokio::task::spawn_blocking(move || self.disk.save_uses())).await;
    }

    /// One round, at the time `now`; blocking.
    pub(super) fn run(&self, now: Seconds, cancel: &CancellationToken) {
        if self.disk.scan_state() != ScanState::Done {
            return;
        }
        let content = self.remove_unused(now);
        let records_age = self.keep_unused.unwrap_or(RECORDS_KEPT).max(Duration::from_mins(1));
        let oldest = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(now)).saturating_sub(records_age);
        let mut records = 0;
        for (upstream, name) in repositories(&self.disk) {
            if cancel.is_cancelled() {
                return;
            }
            match self.repositories.get(&self.disk, &upstream, &name) {
                Ok(repository) => records += self.remove_records(&repository, oldest),
                Err(error) => warn!(repo.name = %name, error = &*error as &dyn std::error::Error, "nothing of it is cleaned up"),
            }
        }
        records += self.disk.sources.forget_gone(&self.disk, oldest);
        remove_empty(&self.disk, &self.disk.layout.repos());
        if content + records > 0 {
            info!(content, records, "stale data is cleaned up");
        }
    }

    fn remove_unused(&self, now: Seconds) -> usize {
        let Some(keep) = self.keep_unused else { return 0 };
        let cutoff = now.saturating_sub(Seconds::try_from(keep.as_secs()).unwrap_or(Seconds::MAX));
        self.disk.index.settle(now);
        let unused = self.disk.index.unused_since(cutoff);
        unused.iter().filter(|digest| self.disk.evict(digest).is_some()).count()
    }

    /// Tags go before the manifests they name.
    fn remove_records(&self, repository: &Repository, oldest: SystemTime) -> usize {
        let (digests, tags) = repository.linked();
        let folder = repository.folder();
        let mut removed = 0;
        for (tag, digest) in tags {
            let path = folder.join(TAGS).join(tag.as_str());
            if !self.disk.index.contains(&digest) && is_older(&path, oldest) {
                repository.remove_tag(&tag);
                removed += 1;
            }
        }
        for digest in digests {
            let is_old = [MANIFESTS, BLOBS].into_iter().any(|kind| is_older(&folder.join(kind).join(file_name(&digest)), oldest));
            if !self.disk.index.contains(&digest) && is_old {
                repository.unlink(&digest);
                removed += 1;
            }
        }
        let state = folder.join(STATE);
        // Last, and never alone: what is left of a closed repository must stay closed.
        if repository.linked().0.is_empty() && repository.tags().is_empty() && !repository.state().closed && is_older(&state, oldest) {
            self.disk.tree.remove(&self.disk, &folder.join(DAMAGED_STATE));
            self.disk.tree.remove(&self.disk, &state);
            removed += 1;
        }
        removed
    }
}

/// Every repository that has a folder of records.
pub(super) fn repositories(disk: &Disk) -> BTreeSet<(UpstreamName, RepoName)> {
    let mut found = BTreeSet::new();
    for (name, folder) in folders(&disk.layout.repos()) {
        let Ok(upstream) = name.parse::<UpstreamName>() else { continue };
        let mut ahead: Vec<(String, PathBuf)> = folders(&folder);
        while let Some((name, folder)) = ahead.pop() {
            // An underscore in front makes it a folder of records, and no name.
            let Ok(repository) = name.parse::<RepoName>() else { continue };
            let inner = folders(&folder);
            if inner.iter().any(|(name, _)| name.starts_with('_')) || folder.join(STATE).exists() {
                found.insert((upstream.clone(), repository));
            }
            ahead.extend(inner.into_iter().map(|(component, folder)| (format!("{name}/{component}"), folder)));
        }
    }
    found
}

/// Whether a repository has any record of content.
pub(super) fn holds_something(disk: &Disk, upstream: &UpstreamName, name: &RepoName) -> bool {
    let folder = disk.layout.repository(upstream, name);
    [TAGS, MANIFESTS, BLOBS].into_iter().any(|kind| fs::read_dir(folder.join(kind)).is_ok_and(|mut entries| entries.next().is_some()))
}

/// Removes empty folders below `folder`, inner ones first.
fn remove_empty(disk: &Disk, folder: &Path) {
    for (_, inner) in folders(folder) {
        remove_empty(disk, &inner);
        disk.tree.remove_empty(disk, &inner);
    }
}

fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let inner = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    inner.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect()
}

pub(super) fn is_older(path: &Path, oldest: SystemTime) -> bool {
    fs::symlink_metadata(path).and_then(|file| file.modified()).is_ok_and(|written| written < oldest)
}

/// What a stop waits for the last uses to be saved.
const MOMENT: Duration = Duration::from_secs(1);
/// Between two looks at the cap and the free space.
const TRIM_EVERY: Duration = Duration::from_secs(10);
const TRIMS_A_CLEANUP: u64 = 360;
/// Records whose content is gone, where no other time is configured.
const RECORDS_KEPT: Duration = Duration::from_hours(720);
