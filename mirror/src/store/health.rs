//! Whether the store's disk works: a small write, read and removal now and then, and what real writes and reads meet in between.
//!
//! A full disk is not ill. So many failures in a row make the store unhealthy: then nothing new is written, and what is stored is still read.
//! A folder that is no longer the one that was locked makes it so at once: it may be another process's. Only a restart takes it up.
//! A check that hangs, as a dead network file system makes it, counts as failed, and no second one is started beside it.

use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::disk::Disk;
use super::error::is_full;
use super::open;
use crate::config::HealthConfig;

/// Whether the store takes writes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not: pulls go past it, and `/readyz` says so.
    Unhealthy {
        /// What failed last.
        reason: String,
    },
}

/// Counts failures and tells of changes.
#[derive(Debug)]
pub(super) struct Monitor {
    failures: AtomicU32,
    state: watch::Sender<Health>,
    threshold: u32,
}

impl Monitor {
    pub(super) fn new(config: &HealthConfig) -> Self {
        // Without a check there are no other failures to wait for.
        let threshold = if config.enabled { config.threshold.max(1) } else { 1 };
        Self { failures: AtomicU32::new(0), state: watch::Sender::new(Health::Healthy), threshold }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.state.subscribe()
    }

    /// Why nothing is to be written, if so.
    pub(super) fn illness(&self) -> Option<String> {
        match &*self.state.borrow() {
            Health::Healthy => None,
            Health::Unhealthy { reason } => Some(reason.clone()),
        }
    }

    /// A write failed, or a read. A full disk is no illness, and neither is a process with too many open files.
    pub(super) fn failed(&self, error: &io::Error) {
        let descriptors = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        if is_full(error) || descriptors {
            return;
        }
        self.count(error.to_string());
    }

    fn count(&self, reason: String) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < self.threshold {
            warn!(error = reason, failures, "the store's disk failed once; it is watched");
            return;
        }
        self.state.send_if_modified(|state| {
            if *state == Health::Healthy {
                error!(error = reason, failures, "the store is unhealthy: pulls go on without storing");
            }
            let now = Health::Unhealthy { reason };
            let changed = *state != now;
            *state = now;
            changed
        });
    }

    /// The folder is not ours: no write may follow, not even a second one.
    fn lost(&self, reason: String) {
        self.failures.fetch_max(self.threshold, Ordering::Relaxed);
        self.count(reason);
    }

    fn passed(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.send_if_modified(|state| {
            let changed = *state != Health::Healthy;
            if changed {
                info!("the store is healthy again");
                *state = Health::Healthy;
            }
            changed
        });
    }
}

/// Checks until cancelled. With the check off it only finds out when an unhealthy store has recovered.
pub(super) async fn watch(disk: Arc<Disk>, config: HealthConfig, cancel: CancellationToken) {
    let interval = config.interval.max(Duration::from_millis(10));
    loop {
        let paused = tokio::time::timeout(interval, cancel.cancelled()).await;
        if paused.is_ok() {
            return;
        }
        if config.enabled || disk.health.illness().is_some() {
            let mut checking = pin!(check(&disk, interval.max(PATIENCE)));
            tokio::select! {
                () = cancel.cancelled() => {
                    // A healthy disk needs a moment; a process that ends before leaves the check's file behind.
                    let _ = tokio::time::timeout(MOMENT, checking).await;
                    return;
                }
                () = &mut checking => {}
            }
        }
    }
}

async fn check(disk: &Arc<Disk>, patience: Duration) {
    let probing = Arc::clone(disk);
    let mut probe = tokio::task::spawn_blocking(move || hold(&probing).and_then(|()| probe(&probing)));
    if let Ok(outcome) = tokio::time::timeout(patience, &mut probe).await {
        return judge(disk, outcome.unwrap_or_else(|panic| Err(io::Error::other(panic))));
    }
    disk.health.count(format!("a small write took more than {}", humantime::format_duration(patience)));
    let outcome = probe.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
    judge(disk, outcome);
}

fn judge(disk: &Disk, outcome: io::Result<()>) {
    match outcome {
        Err(error) if !is_full(&error) => disk.health.failed(&error),
        Ok(()) | Err(_) => disk.health.passed(),
    }
    disk.metrics.healthy.set(i64::from(disk.health.illness().is_none()));
}

/// Makes sure that the folder is ours.
fn hold(disk: &Disk) -> io::Result<()> {
    if disk.lock().is_in_place(&disk.layout)? {
        return Ok(());
    }
    if let Err(error) = open::lock_again(disk) {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let reason = format!("{error}{cause}");
        disk.health.lost(reason.clone());
        return Err(io::Error::other(reason));
    }
    warn!(path = %disk.layout.lock().display(), "somebody removed the store's lock file; it was made again");
    Ok(())
}

/// Writes a few bytes, has them on the disk, reads them again.
fn probe(disk: &Disk) -> io::Result<()> {
    let path = disk.layout.spool().join(disk.temporaries.next());
    let outcome = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).and_then(write_and_read);
    let removed = if outcome.is_ok() { fs::remove_file(&path) } else { fs::remove_file(&path).or(Ok(())) };
    outcome.and(removed)
}

fn write_and_read(mut file: File) -> io::Result<()> {
    file.write_all(PROBE)?;
    file.sync_all()?;
    file.rewind()?;
    let mut read = Vec::new();
    file.read_to_end(&mut read)?;
    if read == PROBE { Ok(()) } else { Err(io::Error::other("a small write read back as something else")) }
}

const PROBE: &[u8] = b"chandler was here\n";
/// What a stop waits for a check that runs.
const MOMENT: Duration = Duration::from_secs(1);
/// A disk under load may take seconds for an fsync and is not ill.
const PATIENCE: Duration = Duration::from_secs(10);
