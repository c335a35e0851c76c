//! Work that is done one at a time, however many ask for it and whichever of them leave.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::cache::{CacheError, Deadline};

/// Whose turn it is. A clone is the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<Mutex<()>>);

impl Turn {
    /// Does `work` on a blocking thread, once no other is done, and waits for all of that until `deadline`. Work that has begun keeps its turn until
    /// it ends: who leaves does not make room for a second one beside it.
    pub(super) async fn take<T>(&self, what: &str, deadline: Deadline, work: impl FnOnce() -> T + Send + 'static) -> Result<T, CacheError>
    where
        T: Send + 'static,
    {
        let turn = deadline.wait(what, self.0.clone().lock_owned()).await?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        deadline.wait(what, done).await?.map_err(|_| CacheError::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn work_whose_asker_left_keeps_its_turn_and_nobody_waits_for_it_for_ever() {
        let turn = Turn::default();
        let (open, gate) = mpsc::channel::<()>();
        let (tell, begun) = tokio::sync::oneshot::channel();
        let (first, work) = (turn.clone(), move || {
            let _ = tell.send(());
            gate.recv().expect("the test opens it");
        });
        let asker = tokio::spawn(async move { first.take("a walk", Deadline::new(), work).await });
        begun.await.expect("it began");
        asker.abort();
        assert!(asker.await.is_err_and(|error| error.is_cancelled()));
        assert!(turn.0.try_lock().is_err(), "the walk goes on, and it is still its turn");
        let late = turn.take("a walk", Deadline::passed(), || ()).await;
        assert!(matches!(late, Err(CacheError::Timeout { .. })), "{late:?}");
        open.send(()).expect("it waits");
        assert_eq!(turn.take("a walk", Deadline::new(), || 2).await.expect("its turn"), 2);
    }
}
