//! What a start costs with many stored blobs, for whoever changes the scan: fills a folder once, then opens it and times open, first hit and scan.
//!
//! `cargo run --release -p mirror --example store_scan -- FOLDER [BLOBS]`; a second run with the same folder only opens it. Filling syncs each file:
//! `/dev/shm` is quick to fill, a real disk is what counts.
#![expect(clippy::print_stdout, reason = "its output is the figures")]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mirror::config::{ByteSize, DeletedTags, HealthConfig, Limit, StoreConfig};
use mirror::oci::{Algorithm, ChildKind, Digest};
use mirror::store::Store;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let blobs: u64 = arguments.next().map_or(Ok(100_000), |count| count.parse())?;
    if !root.exists() {
        fill(&Store::open(&config(root.clone()))?, blobs)?;
    }
    start(&config(root), blobs).await
}

async fn start(config: &StoreConfig, blobs: u64) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let store = Store::open(config)?;
    println!("opened after {:?}", start.elapsed());
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    store.spawn(&tasks, &cancel);
    store.blob(&digest(0)).ok_or("the first blob is not there")?;
    println!("first hit after {:?}", start.elapsed());
    while !store.figures().scanned {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("scanned after {:?}: {:?}", start.elapsed(), store.figures());
    let hits = Instant::now();
    for blob in 0..blobs {
        drop(store.blob(&digest(blob)).ok_or("a blob is not there")?);
    }
    println!("a hit: {:?}", hits.elapsed() / u32::try_from(blobs.max(1))?);
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn fill(store: &Store, blobs: u64) -> Result<(), Box<dyn Error>> {
    for blob in 0..blobs {
        let mut spool = store.spool(&digest(blob), Some(8))?;
        spool.append(&blob.to_le_bytes())?;
        drop(spool.publish(ChildKind::Blob)?);
    }
    Ok(())
}

fn digest(blob: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &blob.to_le_bytes())
}

fn config(root: PathBuf) -> StoreConfig {
    StoreConfig {
        deleted_tags: DeletedTags { grace: Duration::ZERO, keep: true },
        health: HealthConfig { enabled: true, interval: Duration::from_secs(10), threshold: 3 },
        keep_unused: None,
        max_size: None,
        min_free: Limit::Bytes(ByteSize(0)),
        root,
        scrub_rate: None,
    }
}
