//! The scan at start: what is stored goes into the index and into the account.
//!
//! Hits do not wait for it, they open the path. A shard is scanned under its lock, so that whatever is published, evicted or opened meanwhile
//! is counted once. One `stat` relative to the open folder a file, and no path built: that is what makes 100,000 files a matter of half a second.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::disk::{Disk, ScanState, is_of_nothing, now};
use super::index::{New, Seconds};
use super::layout::{ALGORITHMS, KINDS, parse_content};
use crate::oci::{Algorithm, ChildKind, Digest};

/// Scans everything; blocking. What cannot be read is logged, and counts as not there.
pub(super) fn run(disk: &Disk, cancel: &CancellationToken) {
    let start = Instant::now();
    disk.set_scan_state(ScanState::Running);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS)) {
            scope.spawn(|| {
                while let Ok(shard) = u8::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                    if cancel.is_cancelled() {
                        return;
                    }
                    scan_shard(disk, shard);
                }
            });
        }
    });
    if let Err(error) = disk.tree.scan(disk, cancel) {
        warn!(path = %disk.layout.repos().display(), error = %error, "cannot count all records");
        disk.health.failed(&error);
    }
    if cancel.is_cancelled() {
        return disk.set_scan_state(ScanState::Waiting);
    }
    disk.set_scan_state(ScanState::Done);
    let (blobs, manifests) = (disk.index.count(ChildKind::Blob), disk.index.count(ChildKind::Manifest));
    info!(blobs, manifests, bytes = disk.account.used(), elapsed = ?start.elapsed(), "the store is scanned");
}

fn scan_shard(disk: &Disk, shard: u8) {
    let mut scanned = disk.shard_at(shard);
    let mut hollow = Vec::new();
    for algorithm in ALGORITHMS {
        for kind in KINDS {
            if let Err(error) = scan_folder(disk, kind, algorithm, shard, &mut hollow) {
                warn!(path = %disk.layout.shard(kind, algorithm, shard).display(), error = %error, "cannot scan");
                disk.health.failed(&io::Error::from(error));
            }
        }
    }
    *scanned = true;
    drop(scanned);
    for digest in hollow {
        disk.quarantine(&digest, "the file has no bytes");
    }
}

fn scan_folder(disk: &Disk, kind: ChildKind, algorithm: Algorithm, shard: u8, hollow: &mut Vec<Digest>) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(disk.layout.shard(kind, algorithm, shard), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        folder => folder?,
    };
    let mut bytes = allocated(&rustix::fs::fstat(&folder)?);
    let latest = now();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let Some(digest) = parse_content(algorithm, shard, entry.file_name().to_bytes()) else { continue };
        let file = match rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            file => file?,
        };
        if FileType::from_raw_mode(file.st_mode) != FileType::RegularFile {
            continue;
        }
        if file.st_size == 0 && !is_of_nothing(&digest) {
            hollow.push(digest.clone());
        }
        let last_use = Seconds::try_from(file.st_mtime).unwrap_or(0).min(latest); // A clock that was ahead would keep it for ever.
        let new = New { kind, bytes: allocated(&file), last_use, verified: false, leased: false };
        if disk.index.insert(digest.clone(), new).is_some() {
            bytes += allocated(&file);
        } else if kind == ChildKind::Blob && disk.index.kind(&digest) == Some(ChildKind::Manifest) {
            // A crash came between giving a manifest its name and removing the blob that it was before.
            rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty())?;
        }
    }
    disk.account.add(bytes);
    Ok(())
}

fn allocated(file: &rustix::fs::Stat) -> u64 {
    u64::try_from(file.st_blocks).unwrap_or(0) * 512
}

/// More threads wait for the same disk.
const MOST_THREADS: usize = 4;
