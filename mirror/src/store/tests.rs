//! The store as its callers see it, on a real file system.

mod background;
mod content;
mod crash;
mod full;
mod opening;
mod room;
mod sources;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{ByteSize, DeletedTags, HealthConfig, Limit};
use crate::oci::{Algorithm, Child, MediaType, Tag};

pub(super) fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

pub(super) fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        deleted_tags: DeletedTags { grace: Duration::from_mins(1), keep: false },
        health: HealthConfig { enabled: true, interval: Duration::from_secs(10), threshold: 3 },
        keep_unused: None,
        max_size: None,
        min_free: Limit::Bytes(ByteSize(0)),
        root: root.to_owned(),
        scrub_rate: None,
    }
}

pub(super) fn capped(root: &Path, bytes: u64) -> StoreConfig {
    StoreConfig { max_size: Some(Limit::Bytes(ByteSize(bytes))), ..config(root) }
}

pub(super) fn open(config: &StoreConfig) -> Store {
    Store::open(config).expect("a store")
}

/// With the scan done.
pub(super) fn opened(config: &StoreConfig) -> Store {
    let store = open(config);
    scan(&store);
    store
}

fn scan(store: &Store) {
    scan::run(&store.disk, &CancellationToken::new());
}

/// `length` bytes that no other seed gives.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = seed.to_le_bytes().repeat(length / 8 + 1);
    bytes.truncate(length);
    bytes
}

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn put(store: &Store, bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = digest_of(bytes);
    let mut spool = store.spool(&digest, Some(bytes.len() as u64))?;
    spool.append(bytes)?;
    spool.publish(ChildKind::Blob)?;
    Ok(digest)
}

fn read(stored: &Stored) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(stored.size()).expect("a small blob")];
    stored.file().read_exact_at(&mut bytes, 0).expect("all of it");
    bytes
}

pub(super) fn repository(store: &Store, name: &str) -> Arc<Repository> {
    try_repository(store, name).expect("it can be read")
}

pub(super) fn try_repository(store: &Store, name: &str) -> Result<Arc<Repository>, Arc<StoreError>> {
    store.repository(&"hub".parse().expect("a name"), &name.parse().expect("a name"))
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub(super) fn manifest(bytes: &[u8], children: Vec<Child>) -> ManifestRecord {
    let media_type = MediaType::new(MediaType::OCI_MANIFEST);
    ManifestRecord { digest: digest_of(bytes), media_type, size: bytes.len() as u64, children }
}

pub(super) fn layer(digest: &Digest, size: u64) -> Child {
    Child { digest: digest.clone(), kind: ChildKind::Blob, media_type: MediaType::new("application/x-layer"), size }
}

/// What `du` says of the folder and everything in it.
fn du(folder: &Path) -> u64 {
    let own = fs::symlink_metadata(folder).expect("there").blocks() * 512;
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    own + entries
        .map(|entry| {
            let metadata = entry.metadata().expect("there");
            if metadata.is_dir() { du(&entry.path()) } else { metadata.blocks() * 512 }
        })
        .sum::<u64>()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Waits for a condition; `what` says which one was waited for in vain.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// The same beside tasks.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::task::yield_now().await;
    }
}
