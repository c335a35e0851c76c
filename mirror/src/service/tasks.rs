//! Tasks that end together, and in bounded time: a disk that hangs must not hold the process.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks with the token that ends them.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    pub(super) cancel: CancellationToken,
    pub(super) tracker: TaskTracker,
}

impl Tasks {
    /// Ends them. Waits for `patience` and no longer, and says how many are left then.
    pub(super) async fn end(&self, patience: Duration) -> usize {
        self.cancel.cancel();
        self.tracker.close();
        if timeout(patience, self.tracker.wait()).await.is_ok() { 0 } else { self.tracker.len() }
    }
}
