//! One task that watches all connections: it ends what makes no progress, and drains them at a stop. Where a newcomer finds no place, it chooses who goes.
//!
//! It looks at counters every few seconds ([`Times::sweep`]), so a limit is met late by at most that much, and requests pay no timers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::wire::{Line, Order, Sample};
use super::{Metrics, Times};

/// Knows every connection; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    emptied: Notify,
    metrics: Metrics,
    roll: Mutex<Roll>,
    times: Times,
}

#[derive(Debug, Default)]
struct Roll {
    /// When it was last said that there is no place.
    crowded: Option<Instant>,
    draining: bool,
    lines: HashMap<u64, (Arc<Line>, Marks)>,
    /// When connections were last asked to go.
    made_room: Option<Instant>,
    next: u64,
}

impl Roll {
    /// The numbers of those that can be asked to go, or cut, at `now`.
    fn longest_idle(&self, most: usize, now: Instant, times: &Times) -> Vec<u64> {
        let idle = |(number, (line, marks)): (&u64, &(Arc<Line>, Marks))| {
            let may_go = marks.asked_to_go.is_none_or(|asked| now.saturating_duration_since(asked) >= GOODBYE);
            let since = marks.idle_since(line.sample(), now, times).filter(|_| may_go && line.ordered() != Order::Cut)?;
            Some((since, *number))
        };
        let mut idle: Vec<_> = self.lines.iter().filter_map(idle).collect();
        if idle.len() > most {
            idle.select_nth_unstable(most);
            idle.truncate(most);
        }
        idle.into_iter().map(|(_, number)| number).collect()
    }
}

/// A connection's place on the roll; dropping it strikes the connection off.
#[derive(Debug)]
pub(super) struct Enrolled {
    keeper: Keeper,
    line: Arc<Line>,
    number: u64,
}

impl Keeper {
    pub(super) fn new(times: Times, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { emptied: Notify::new(), metrics, roll: Mutex::default(), times }))
    }

    /// Puts a new connection on the roll. One that comes after the stop is told so at once.
    pub(super) fn enroll(&self) -> Enrolled {
        let line = Arc::new(Line::new(self.0.metrics.panics.clone()));
        let mut roll = self.roll();
        let number = roll.next;
        roll.next += 1;
        roll.lines.insert(number, (Arc::clone(&line), Marks::default()));
        if roll.draining {
            line.order(Order::Drain);
        }
        self.0.metrics.accepted.inc();
        self.0.metrics.open.inc();
        Enrolled { keeper: self.clone(), line, number }
    }

    /// Sweeps until `cancel`, then drains for `deadline` and cuts what is left.
    pub(super) async fn keep(self, deadline: Duration, cancel: CancellationToken) {
        let mut sweeps = tokio::time::interval(self.0.times.sweep);
        sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                _ = sweeps.tick() => self.sweep(Instant::now()),
            }
        }
        self.roll().draining = true;
        self.order_all(Order::Drain);
        if tokio::time::timeout(deadline, self.emptied()).await.is_err() {
            let cut = self.order_all(Order::Cut);
            tracing::warn!(
                server.connections = cut,
                "the drain's {} ended: {cut} connections were cut",
                humantime::format_duration(deadline)
            );
            // A handler that blocks its thread cannot be ended; it must not hold the stop either.
            let _ = tokio::time::timeout(LAST_WAIT, self.emptied()).await;
        }
    }

    fn sweep(&self, now: Instant) {
        let mut roll = self.roll();
        for (line, marks) in roll.lines.values_mut() {
            if let Some(verdict) = marks.judge(line.sample(), now, &self.0.times) {
                self.0.metrics.end(verdict.reason());
                line.order(Order::Cut);
            }
        }
    }

    /// Asks the longest idle connections to go, `most` of them; those that were asked a while before, and are here still, are cut. An idle one loses
    /// nothing: its client connects anew when it has something to ask. One that is new is not idle: its handshake or its request is on the way, and
    /// clients do not try again where a new connection is reset.
    pub(super) fn make_room(&self, most: usize) {
        self.make_room_at(most, Instant::now());
    }

    fn make_room_at(&self, most: usize, now: Instant) {
        let mut roll = self.roll();
        if roll.made_room.is_some_and(|last| now.saturating_duration_since(last) < ROOM_AGAIN) {
            return; // For another newcomer, just now: who was asked needs a moment to go.
        }
        roll.made_room = Some(now);
        for number in roll.longest_idle(most, now, &self.0.times) {
            let Some((line, marks)) = roll.lines.get_mut(&number) else { continue };
            if marks.asked_to_go.is_none() {
                self.0.metrics.end("crowded");
                marks.asked_to_go = Some(now);
                line.order(Order::Drain);
            } else {
                line.order(Order::Cut);
            }
        }
        if roll.crowded.is_none_or(|told| now - told >= TOLD_AGAIN) {
            roll.crowded = Some(now);
            let open = roll.lines.len();
            tracing::warn!(
                server.connections = open,
                "all {open} places for connections are taken: the longest idle ones make room for newcomers. hint: raise limits.connections"
            );
        }
    }

    fn order_all(&self, order: Order) -> usize {
        let roll = self.roll();
        roll.lines.values().for_each(|(line, _)| line.order(order));
        roll.lines.len()
    }

    async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.0.emptied.notified());
            emptied.as_mut().enable(); // before the look, else the last one to leave could be missed
            if self.roll().lines.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.0.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Enrolled {
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let mut roll = self.keeper.roll();
        roll.lines.remove(&self.number);
        self.keeper.0.metrics.open.dec();
        if roll.lines.is_empty() {
            self.keeper.0.emptied.notify_waiters();
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// No request came for long.
    Idle,
    /// A request's head was begun, or awaited from a new connection, and not finished.
    SlowHead,
    /// The client does not take what is there for it.
    Stalled,
}

impl Verdict {
    fn reason(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::Stalled => "stalled",
        }
    }
}

/// What earlier looks at a connection left behind.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// When it was asked to make room.
    asked_to_go: Option<Instant>,
    quiet: Option<Quiet>,
    /// Since when the client takes nothing, and the bytes written then.
    stalled: Option<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// First seen that bytes came without making a request.
    partial: Option<Instant>,
    read: u64,
    requests: u64,
    since: Instant,
}

impl Marks {
    /// Since when nothing is asked and nothing on its way; `None`: it is busy, or was a moment ago.
    fn idle_since(&self, seen: Sample, now: Instant, times: &Times) -> Option<Instant> {
        let since = self.quiet.filter(|quiet| quiet.requests == seen.requests)?.since;
        let least = if seen.requests == 0 { times.unasked_least } else { times.idle_least };
        (!seen.busy && !seen.waits_for_client && now.saturating_duration_since(since) >= least).then_some(since)
    }

    fn judge(&mut self, seen: Sample, now: Instant, times: &Times) -> Option<Verdict> {
        self.is_stalled(seen, now, times.stall).then_some(Verdict::Stalled).or_else(|| self.is_quiet(seen, now, times))
    }

    /// Blocked alone is no stall: a fast reader is blocked at half of all looks. Nor is a written byte progress: HTTP/2 pings are bytes.
    fn is_stalled(&mut self, seen: Sample, now: Instant, limit: Duration) -> bool {
        if !seen.waits_for_client {
            self.stalled = None;
            return false;
        }
        match self.stalled {
            Some((since, written)) if seen.written - written < PROGRESS => now - since >= limit,
            _ => {
                self.stalled = Some((now, seen.written));
                false
            }
        }
    }

    fn is_quiet(&mut self, seen: Sample, now: Instant, times: &Times) -> Option<Verdict> {
        let fresh = Quiet { partial: None, read: seen.read, requests: seen.requests, since: now };
        let quiet = match &mut self.quiet {
            _ if seen.busy => {
                self.quiet = None;
                return None;
            }
            Some(quiet) if quiet.requests == seen.requests => quiet,
            other => other.insert(fresh),
        };
        // HTTP/2 frames without a request (settings, pings, windows) are no half head.
        if !seen.http2 && seen.read != quiet.read && quiet.partial.is_none() {
            quiet.partial = Some(now);
        }
        let first = (seen.requests == 0).then_some(quiet.since);
        let slow = first.or(quiet.partial).is_some_and(|since| now - since >= times.head);
        // Over HTTP/2 a client is told to go, and goes by itself if it likes.
        let idle = now - quiet.since >= if seen.leaving { times.parting } else { times.idle };
        if slow { Some(Verdict::SlowHead) } else { idle.then_some(Verdict::Idle) }
    }
}

/// Bytes that count as progress within [`Times::stall`]: more than the pings of HTTP/2, less than any reader that is alive.
const PROGRESS: u64 = 1024;

/// For who was asked to go, before it is cut: its client may have a request on the way.
const GOODBYE: Duration = Duration::from_secs(1);
/// Between two times that connections are asked, however many newcomers wait.
const ROOM_AGAIN: Duration = Duration::from_millis(100);
/// Between two warnings that there is no place.
const TOLD_AGAIN: Duration = Duration::from_mins(1);
/// For connections to see that they were cut.
const LAST_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::wire::Turn;
    use super::*;

    /// What is said of a connection that shows these samples, a second apart; the first verdict with its second.
    fn verdict(samples: impl IntoIterator<Item = Sample>) -> Option<(u64, Verdict)> {
        let times =
            Times { head: Duration::from_secs(30), idle: Duration::from_mins(2), stall: Duration::from_mins(1), ..Times::default() };
        let start = Instant::now();
        let mut marks = Marks::default();
        (0..).zip(samples).find_map(|(second, seen)| Some((second, marks.judge(seen, start + Duration::from_secs(second), &times)?)))
    }

    #[test]
    fn a_reader_with_no_progress_for_a_minute_is_cut() {
        let stuck = Sample { busy: true, waits_for_client: true, written: 5000, requests: 1, ..Sample::default() };
        assert_eq!(verdict(vec![stuck; 100]), Some((60, Verdict::Stalled)));
        let pings = (0..200).map(|second| Sample { http2: true, written: 5000 + second, ..stuck });
        assert_eq!(verdict(pings), Some((60, Verdict::Stalled)), "pings are no progress");
    }

    #[test]
    fn a_slow_reader_and_a_slow_upstream_are_not_cut() {
        let slow =
            (0..600).map(|second| Sample { busy: true, waits_for_client: true, written: second * 100, requests: 1, ..Sample::default() });
        assert_eq!(verdict(slow), None);
        let upstream = Sample { busy: true, requests: 1, ..Sample::default() };
        assert_eq!(verdict(vec![upstream; 600]), None);
    }

    #[test]
    fn heads_and_idle_connections_have_their_own_limits() {
        assert_eq!(verdict(vec![Sample::default(); 200]), Some((30, Verdict::SlowHead)), "a new connection owes a request");
        let idle = Sample { requests: 3, read: 100, ..Sample::default() };
        assert_eq!(verdict(vec![idle; 200]), Some((120, Verdict::Idle)));
        let drip = (0..200).map(|second| Sample { read: 100 + u64::from(second >= 50), ..idle });
        assert_eq!(verdict(drip), Some((80, Verdict::SlowHead)), "30 s from the head's first byte");
        let frames = (0..200).map(|second| Sample { http2: true, read: second, ..idle });
        assert_eq!(verdict(frames), Some((120, Verdict::Idle)));
        let leaving = Sample { leaving: true, ..idle };
        assert_eq!(verdict(vec![leaving; 200]), Some((10, Verdict::Idle)), "who was told to go need not be waited for");
        assert_eq!(verdict(vec![Sample { busy: true, ..leaving }; 200]), None, "its last answers come to their end");
    }

    #[test]
    fn who_idles_longest_makes_room_and_who_is_busy_never_does() {
        let keeper = Keeper::new(Times::default(), Metrics::default());
        let there: Vec<Enrolled> = (0..4).map(|_| keeper.enroll()).collect();
        let start = Instant::now();
        let asks: Vec<Turn> = there[1..].iter().map(|one| Turn::start(one.line(), true)).collect();
        keeper.sweep(start);
        let busy = asks.into_iter().next_back(); // The others have their answers now.
        keeper.sweep(start + Duration::from_secs(1));
        let orders = || there.iter().map(|one| one.line().ordered()).collect::<Vec<_>>();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        keeper.make_room_at(1, at(1));
        assert_eq!(orders(), [Order::Serve; 4], "what is new, or was busy a moment ago, is not idle");
        keeper.make_room_at(1, at(6));
        assert_eq!(orders(), [Order::Drain, Order::Serve, Order::Serve, Order::Serve]);
        keeper.make_room_at(2, at(6));
        assert_eq!(orders(), [Order::Drain, Order::Serve, Order::Serve, Order::Serve], "it is asked for all newcomers of a moment");
        keeper.make_room_at(1, at(6) + ROOM_AGAIN);
        assert_eq!(orders()[0], Order::Drain, "who was asked has a moment to go");
        keeper.make_room_at(5, at(9));
        assert_eq!(orders()[0], Order::Cut, "and is cut where it stays");
        keeper.make_room_at(5, at(12));
        assert_eq!(orders(), [Order::Cut, Order::Cut, Order::Cut, Order::Serve]);
        drop(busy);
    }

    #[test]
    fn each_request_starts_the_clock_again() {
        let steady = (0..1000).map(|second| Sample { requests: 1 + second / 100, read: second / 100, ..Sample::default() });
        assert_eq!(verdict(steady), None);
    }
}
