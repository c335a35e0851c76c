//! One piece of work for all who ask for the same thing at the same time.
//!
//! The work is a task of its own: whoever waits for it waits as long as it likes, and whoever leaves ends nothing. Within bounds, for anybody can ask
//! for a thousand things and leave. In a [`Room`] only so many pieces of work are under way at once: more are refused ([`Full`]). And only so many
//! of them go on with nobody waiting: beyond that a piece of work ends with the last who waits for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Room for work of one kind. A clone is the same room.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    cancel: CancellationToken,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    unwaited: Arc<Semaphore>,
}

/// As much work of this kind as there may be is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

/// A piece of work that counts as under way, until this is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Room {
    /// Its work runs on `tasks` and ends with `cancel`.
    pub(crate) fn new(tasks: TaskTracker, cancel: CancellationToken) -> Self {
        Self { cancel, places: Arc::new(Semaphore::new(PLACES)), tasks, unwaited: Arc::new(Semaphore::new(UNWAITED)) }
    }

    /// A place for one more piece of work.
    pub(crate) fn enter(&self) -> Result<Place, Full> {
        self.places.clone().try_acquire_owned().map_err(|_| Full)
    }

    /// Does `work`, whose result those wait for who hold receivers of `done`. `None` where the mirror stops; and where nobody waits any more, too many
    /// others go on like that, and `leave` says that really nobody has come.
    pub(crate) async fn see_through<T, V>(
        &self,
        mut work: impl Future<Output = T> + Unpin,
        done: &watch::Sender<V>,
        mut leave: impl FnMut() -> bool,
    ) -> Option<T> {
        let mut unwaited = None;
        loop {
            tokio::select! {
                biased;
                value = &mut work => return Some(value),
                () = self.cancel.cancelled() => return None,
                () = done.closed(), if unwaited.is_none() => {
                    unwaited = self.unwaited.try_acquire().ok();
                    if unwaited.is_none() && leave() {
                        return None;
                    }
                }
            }
        }
    }
}

/// Work in progress, by what it is for.
#[derive(Debug)]
pub(crate) struct Shared<K, V> {
    running: Mutex<HashMap<K, watch::Sender<Option<V>>>>,
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
    /// Joins the work for `key`, or starts what `make` makes, if `room` has a place for it. The flag tells whether this call started it.
    pub(crate) fn join<F>(self: &Arc<Self>, room: &Room, key: K, make: impl FnOnce() -> F) -> Result<(Pending<V>, bool), Full>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().expect("no holder panics");
        let slot = match running.entry(key.clone()) {
            Entry::Occupied(slot) => return Ok((Pending(slot.get().subscribe()), false)),
            Entry::Vacant(slot) => slot,
        };
        let place = room.enter()?;
        let (done, pending) = watch::channel(None);
        slot.insert(done.clone());
        let work = Box::pin(make()); // Some kilobytes, which a task would else hold twice.
        let mut entry = Registration { is_on: true, key, shared: self.clone() };
        let owned = room.clone();
        room.tasks.spawn(async move {
            let value = owned.see_through(work, &done, || entry.leave(&done)).await;
            drop((entry, place)); // Who comes now starts anew; who waits gets this value.
            done.send_replace(value);
        });
        Ok((Pending(pending), true))
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
    is_on: bool,
    key: K,
    shared: Arc<Shared<K, V>>,
}

impl<K: Eq + Hash, V> Registration<K, V> {
    /// Takes it off unless somebody waits. Who comes later starts anew, since joining takes the same lock.
    fn leave(&mut self, done: &watch::Sender<Option<V>>) -> bool {
        let mut running = self.shared.running.lock().expect("no holder panics");
        if done.receiver_count() > 0 {
            return false;
        }
        running.remove(&self.key);
        self.is_on = false;
        true
    }
}

impl<K: Eq + Hash, V> Drop for Registration<K, V> {
    fn drop(&mut self) {
        if self.is_on
            && let Ok(mut running) = self.shared.running.lock()
        {
            running.remove(&self.key);
        }
    }
}

/// Pieces of work under way at once, some ten kilobytes each: about what the lanes to an upstream get done in the nine seconds that a client waits.
pub(super) const PLACES: usize = 2048;
/// Those of them that nobody waits for: an answer that comes late, for the next who asks.
pub(super) const UNWAITED: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn room() -> Room {
        Room::new(TaskTracker::new(), CancellationToken::new())
    }

    #[tokio::test]
    async fn all_who_ask_meanwhile_get_one_result_and_who_asks_later_starts_anew() {
        let (shared, room, runs) = (Arc::new(Shared::default()), room(), Arc::new(AtomicUsize::new(0)));
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
        let (first, led) = shared.join(&room, "key", work(Some(gate))).expect("room");
        let (second, joined) = shared.join(&room, "key", work(None)).expect("room");
        assert!(led && !joined);
        open.send(()).expect("it waits");
        assert_eq!((first.wait().await, second.wait().await), (Some(1), Some(1)));
        assert_eq!(shared.join(&room, "key", work(None)).expect("room").0.wait().await, Some(2));
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_and_a_panic_frees_its_key() {
        let (shared, room) = (Arc::new(Shared::default()), room());
        let (tell, told) = oneshot::channel();
        let left = shared.join(&room, 1, || async move {
            let _ = tell.send(());
        });
        drop(left.expect("room"));
        told.await.expect("it ran though nobody waited");
        assert_eq!(shared.join(&room, 2, || async { panic!("on purpose") }).expect("room").0.wait().await, None);
        assert!(shared.join(&room, 2, || async {}).expect("room").1, "the key is free");
    }

    #[tokio::test]
    async fn what_is_asked_and_left_by_the_thousand_ends_but_for_a_few_and_what_somebody_waits_for_stays() {
        let (shared, room) = (Arc::new(Shared::<usize, ()>::default()), room());
        let waited = shared.join(&room, 0, std::future::pending).expect("room");
        for key in 1..=10 * PLACES {
            drop(shared.join(&room, key, std::future::pending).expect("room"));
            while key.is_multiple_of(PLACES / 2) && shared.running.lock().expect("no panic").len() > 1 + UNWAITED {
                tokio::task::yield_now().await;
            }
        }
        assert!(!shared.join(&room, 0, std::future::pending).expect("room").1, "it goes on");
        assert_eq!(room.places.available_permits(), PLACES - 1 - UNWAITED);
        drop(waited);
    }

    #[tokio::test]
    async fn beyond_its_places_new_work_is_refused_and_running_work_is_joined() {
        let (shared, room) = (Arc::new(Shared::<usize, ()>::default()), room());
        let waited: Vec<_> = (0..PLACES).map(|key| shared.join(&room, key, std::future::pending).expect("room")).collect();
        assert!(shared.join(&room, PLACES, std::future::pending).is_err());
        assert!(shared.join(&room, 7, std::future::pending).is_ok_and(|(_, led)| !led));
        drop(waited);
        while shared.join(&room, PLACES, std::future::pending).is_err() {
            tokio::task::yield_now().await;
        }
    }
}
