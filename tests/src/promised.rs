//! Promised times: how long a client waits at most, measured on the monotonic clock.
//!
//! These are promises that clients count on, not figures of speed: an engine falls over to its next endpoint when they are over. A test that holds
//! the upstream forever would otherwise pass with any wait at all. The program keeps its time by itself; [`MARGIN`] is for what a busy machine
//! adds before a process gets its turn.

use std::time::{Duration, Instant};

use tokio::time::timeout;

/// "…always sends headers or an error within 10 s."
pub const HEADERS: Duration = Duration::from_secs(10);
/// "…one shared HEAD, waited for 1.5 s, then the stale answer."
pub const STALE: Duration = Duration::from_millis(1500);
/// "A hit touches no network": there is nothing to wait for.
pub const HIT: Duration = Duration::ZERO;
/// "…and window (default 1 s, so a job sees what the job before pushed)."
pub const WINDOW: Duration = Duration::from_secs(1);
/// What the machine may add.
pub const MARGIN: Duration = Duration::from_secs(3);

/// What `work` comes to; panics when it takes longer than `bound` and the machine's margin.
pub async fn within<T>(bound: Duration, what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = timeout(bound + MARGIN, work).await;
    let took = began.elapsed();
    // A timeout that is itself late lets work pass that was late too.
    match done {
        Ok(done) if took < bound + MARGIN => done,
        _ => panic!("{what}: promised within {bound:?}, and not there after {took:?}"),
    }
}
