//! The task that takes what changed in the CAs' files and in the list of what was taken back, without a restart.
//!
//! As with a listener's own pair, it looks instead of waiting for events (see `tls::watch`). What cannot be read changes nothing, and is said once it
//! has lasted for [`PATIENCE`]: a list that is wrong for good would let in whom it is to keep out.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::Metrics;
use super::{Clients, ClientsError};

/// Looks every `interval` until `cancel`.
pub async fn watch(clients: Clients, metrics: Metrics, interval: Duration, cancel: CancellationToken) {
    let mut watcher = Watcher { files: clients.files(), clients, metrics, seen: None, trouble: None };
    let mut looks = tokio::time::interval(interval);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = cancel.cancelled() => return, _ = looks.tick() => {} }
        watcher.look().await;
    }
}

struct Watcher {
    clients: Clients,
    files: Vec<PathBuf>,
    metrics: Metrics,
    seen: Option<Vec<Identity>>,
    trouble: Option<Trouble>,
}

/// They are not usable, since then.
struct Trouble {
    said: bool,
    since: Instant,
}

/// Changes with any change of a file, or of a link on the way to it.
type Identity = Option<(u64, u64, u64, i64, i64, i64)>;

impl Watcher {
    /// The first look always reads: something may have changed between the start and here.
    async fn look(&mut self) {
        let (clients, files) = (self.clients.clone(), self.files.clone());
        let seen = self.seen.clone().filter(|_| self.trouble.is_none());
        // A network file system may hang; that must not hold a thread that serves.
        let looked = tokio::task::spawn_blocking(move || {
            let now: Vec<Identity> = files.iter().map(identity).collect();
            (Some(&now) != seen.as_ref()).then(|| (now, clients.reload()))
        });
        let Ok(Some((now, reloaded))) = looked.await else { return };
        self.seen = Some(now);
        if reloaded.is_new {
            self.metrics.reloaded_clients("taken");
            tracing::info!("the CAs of clients, or what they took back, have changed; every certificate is judged by that from now on");
        }
        match reloaded.trouble {
            Some(error) => self.complain(&error),
            None if self.trouble.take().is_some_and(|trouble| trouble.said) => {
                tracing::info!("all CAs of clients can be read again");
            }
            None => {}
        }
    }

    fn complain(&mut self, error: &ClientsError) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble { said: false, since: Instant::now() });
        if trouble.said || trouble.since.elapsed() < PATIENCE {
            return;
        }
        trouble.said = true;
        self.metrics.reloaded_clients("refused");
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a CA of clients cannot be read; what was known of it stays, and what it takes back meanwhile is not refused"
        );
    }
}

fn identity(file: &PathBuf) -> Identity {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()))
}

/// Longer than any write takes.
const PATIENCE: Duration = Duration::from_secs(10);
