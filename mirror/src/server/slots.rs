//! Places for connections. Where all are taken, who has been idle longest makes room for a newcomer: nobody keeps others out by doing nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::keeper::Keeper;

/// All places of one server; a clone is the same ones.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// How many are asked to go at once: with one a newcomer, a crowd that goes slowly would keep the next ones waiting.
    at_once: usize,
    free: Arc<Semaphore>,
    keeper: Keeper,
}

impl Slots {
    pub(super) fn new(connections: usize, keeper: Keeper) -> Self {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        Self { at_once: 1 + connections / PORTION, free: Arc::new(Semaphore::new(connections)), keeper }
    }

    /// A place that nobody has.
    pub(super) fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// A place for a client that is here, once there is one: while everybody is busy it waits.
    pub(super) async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            if let Some(slot) = self.free() {
                return slot;
            }
            self.keeper.make_room(self.at_once);
            if let Ok(slot) = timeout(MOMENT, Arc::clone(&self.free).acquire_owned()).await {
                return slot.expect("the semaphore is never closed");
            }
        }
    }
}

/// For an idle client to say goodbye, before the next ones are asked.
const MOMENT: Duration = Duration::from_millis(100);
/// One in so many goes at once.
const PORTION: usize = 64;
