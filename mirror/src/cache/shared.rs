//! One piece of work for all who ask for the same thing at the same time.
//!
//! The work is detached: it goes on when those who wait for it leave, and each of them waits only as long as it likes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Work in progress, by what it is for.
#[derive(Debug)]
pub(crate) struct Shared<K, V> {
    running: Mutex<HashMap<K, watch::Receiver<Option<V>>>>,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K, V> Shared<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the work for `key`, or starts what `make` makes; `cancel` ends it without a result. The flag tells whether this call started it.
    pub(crate) fn join<F>(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
        key: K,
        make: impl FnOnce() -> F,
    ) -> (Pending<V>, bool)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().expect("no holder panics");
        let slot = match running.entry(key.clone()) {
            Entry::Occupied(slot) => return (Pending(slot.get().clone()), false),
            Entry::Vacant(slot) => slot,
        };
        let (done, pending) = watch::channel(None);
        slot.insert(pending.clone());
        let work = make();
        let entry = Registration { key, shared: self.clone() };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let value = cancel.run_until_cancelled(work).await;
            drop(entry); // Who comes now starts anew; who waits gets this value.
            done.send_replace(value);
        });
        (Pending(pending), true)
    }
}

/// Work that somebody does.
#[derive(Debug)]
pub(crate) struct Pending<V>(watch::Receiver<Option<V>>);

impl<V: Clone> Pending<V> {
    /// Its result; `None` when the work ended without one, as it does at a stop.
    pub(crate) async fn wait(mut self) -> Option<V> {
        let value = self.0.wait_for(Option::is_some).await.ok()?;
        value.clone()
    }
}

/// Takes the work off the list, also when it panics or is dropped half done.
struct Registration<K: Eq + Hash, V> {
    key: K,
    shared: Arc<Shared<K, V>>,
}

impl<K: Eq + Hash, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        if let Ok(mut running) = self.shared.running.lock() {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_meanwhile_get_one_result_and_who_asks_later_starts_anew() {
        let (shared, tasks, runs) = (Arc::new(Shared::default()), TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
        let (open, gate) = oneshot::channel::<()>();
        let work = |gate: Option<oneshot::Receiver<()>>| {
            let runs = runs.clone();
            move || async move {
                if let Some(gate) = gate {
                    let _ = gate.await;
                }
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let (first, led) = shared.join(&tasks, &CancellationToken::new(), "key", work(Some(gate)));
        let (second, joined) = shared.join(&tasks, &CancellationToken::new(), "key", work(None));
        assert!(led && !joined);
        open.send(()).expect("it waits");
        assert_eq!((first.wait().await, second.wait().await), (Some(1), Some(1)));
        assert_eq!(shared.join(&tasks, &CancellationToken::new(), "key", work(None)).0.wait().await, Some(2));
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_and_a_panic_frees_its_key() {
        let (shared, tasks) = (Arc::new(Shared::default()), TaskTracker::new());
        let (tell, told) = oneshot::channel();
        drop(shared.join(&tasks, &CancellationToken::new(), 1, || async move {
            let _ = tell.send(());
        }));
        told.await.expect("it ran though nobody waited");
        assert_eq!(shared.join(&tasks, &CancellationToken::new(), 2, || async { panic!("on purpose") }).0.wait().await, None);
        assert!(shared.join(&tasks, &CancellationToken::new(), 2, || async {}).1, "the key is free");
    }
}
