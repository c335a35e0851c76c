//! The last few megabytes of a fetch that has no room on the disk: a bounded window that its readers share.
//!
//! The fetch moves at the pace of its foremost reader and never further ahead than the window is long. A reader that falls out of the window
//! at the back is left behind, and fetches the rest for itself: one slow client must not hold up the others, nor fill the memory.
//! A fetch without readers ends, though not at once: between the answer that a fetch is under way and the reader's first look lies a moment.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// The window.
#[derive(Debug)]
pub(crate) struct Ring {
    capacity: u64,
    /// How long a fetch goes on without readers.
    grace: Duration,
    moved: Condvar,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<(u64, Bytes)>,
    closed: bool,
    /// Since when nobody reads.
    deserted: Option<Instant>,
    /// One past the last byte that came.
    end: u64,
    /// The furthest byte that any reader has taken, or waits for.
    foremost: u64,
    readers: usize,
}

/// What a reader finds at its offset.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// Bytes from there on.
    Bytes(Bytes),
    /// They have gone by.
    LeftBehind,
    /// They have not come yet.
    NotYet,
}

/// Nobody reads any more, or the mirror stops.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Abandoned;

impl Ring {
    /// A window of `capacity` bytes that starts at `start`, with `readers` already waiting for it; it goes on without any for `grace`.
    pub(crate) fn new(capacity: u64, start: u64, readers: usize, grace: Duration) -> Self {
        let deserted = (readers == 0).then(Instant::now);
        let state = State { chunks: VecDeque::new(), closed: false, deserted, end: start, foremost: start, readers };
        Self { capacity, grace, moved: Condvar::new(), state: Mutex::new(state) }
    }

    /// Appends, on the fetch's blocking thread; waits while the foremost reader is a window behind.
    pub(crate) fn push(&self, bytes: Bytes) -> Result<(), Abandoned> {
        let mut state = self.state.lock().expect("no holder panics");
        loop {
            let patience = state.deserted.map(|since| self.grace.saturating_sub(since.elapsed()));
            if state.closed || patience.is_some_and(|left| left.is_zero()) {
                return Err(Abandoned);
            }
            if state.end.saturating_sub(state.foremost) < self.capacity {
                break;
            }
            state = match patience {
                Some(left) => self.moved.wait_timeout(state, left).expect("no holder panics").0,
                None => self.moved.wait(state).expect("no holder panics"),
            };
        }
        let at = state.end;
        state.end += bytes.len() as u64;
        state.chunks.push_back((at, bytes));
        while state.chunks.front().is_some_and(|(at, first)| at + (first.len() as u64) + self.capacity <= state.end) {
            state.chunks.pop_front();
        }
        Ok(())
    }

    /// The bytes at `offset`, at most up to `limit`.
    pub(crate) fn take(&self, offset: u64, limit: u64) -> Taken {
        let mut state = self.state.lock().expect("no holder panics");
        if offset >= state.end.min(limit) {
            // One that waits for a far part is the foremost: a fetch that waited for it to read what is before would wait for ever.
            state.foremost = state.foremost.max(offset);
            self.moved.notify_all();
            return Taken::NotYet;
        }
        let found = state.chunks.iter().find(|(at, chunk)| *at <= offset && offset < at + chunk.len() as u64);
        let Some((at, chunk)) = found else { return Taken::LeftBehind };
        let from = (offset - at) as usize;
        let to = ((limit - at).min(chunk.len() as u64)) as usize;
        let bytes = chunk.slice(from..to);
        state.foremost = state.foremost.max(offset + bytes.len() as u64);
        self.moved.notify_all();
        Taken::Bytes(bytes)
    }

    /// One reader more.
    pub(crate) fn join(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.readers += 1;
        state.deserted = None;
    }

    /// One reader less; after the last one the fetch ends, unless another comes soon.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.readers = state.readers.saturating_sub(1);
        if state.readers == 0 {
            state.deserted = Some(Instant::now());
        }
        self.moved.notify_all();
    }

    /// Ends the wait of a fetch that is to stop.
    pub(crate) fn close(&self) {
        self.state.lock().expect("no holder panics").closed = true;
        self.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn chunk(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 10])
    }

    #[test]
    fn readers_take_what_is_in_the_window_and_the_slow_one_is_left_behind() {
        let ring = Ring::new(20, 100, 2, Duration::ZERO);
        assert_eq!(ring.take(100, 200), Taken::NotYet);
        ring.push(chunk(1)).expect("readers are there");
        assert_eq!(ring.take(104, 107), Taken::Bytes(Bytes::from(vec![1; 3])));
        assert_eq!(ring.take(104, 200), Taken::Bytes(Bytes::from(vec![1; 6])));
        ring.push(chunk(2)).expect("readers are there");
        assert_eq!(ring.take(110, 200), Taken::Bytes(chunk(2)));
        ring.push(chunk(3)).expect("readers are there");
        assert_eq!(ring.take(100, 200), Taken::LeftBehind, "the window is 20 bytes long");
        assert_eq!(ring.take(120, 200), Taken::Bytes(chunk(3)));
    }

    #[test]
    fn the_fetch_waits_for_its_foremost_reader_and_ends_with_its_last() {
        let ring = Arc::new(Ring::new(20, 0, 1, Duration::ZERO));
        ring.push(chunk(1)).expect("room");
        ring.push(chunk(2)).expect("room");
        let fetch = std::thread::spawn({
            let ring = ring.clone();
            move || std::iter::repeat_with(|| ring.push(chunk(3))).take_while(Result::is_ok).count()
        });
        // Its third chunk has room only once the reader has moved.
        assert_eq!(ring.take(10, 100), Taken::Bytes(chunk(2)));
        while !matches!(ring.take(20, 100), Taken::Bytes(_)) {
            std::thread::yield_now();
        }
        ring.leave();
        assert!(fetch.join().expect("no panic") >= 1);
        assert_eq!(ring.push(chunk(4)), Err(Abandoned));
    }

    #[test]
    fn a_closed_ring_frees_a_fetch_that_waits() {
        let ring = Ring::new(5, 0, 1, Duration::ZERO);
        ring.push(chunk(1)).expect("room");
        ring.close();
        assert_eq!(ring.push(chunk(2)), Err(Abandoned));
    }

    #[test]
    fn a_fetch_waits_a_while_for_its_first_reader() {
        let ring = Arc::new(Ring::new(5, 0, 0, Duration::from_mins(1)));
        ring.push(chunk(1)).expect("nobody reads yet, and there is room");
        let fetch = std::thread::spawn({
            let ring = ring.clone();
            move || ring.push(chunk(2))
        });
        ring.join();
        assert_eq!(ring.take(0, 100), Taken::Bytes(chunk(1)));
        assert_eq!(fetch.join().expect("no panic"), Ok(()));
    }

    #[test]
    fn a_reader_of_a_far_part_draws_the_window_to_it() {
        let ring = Ring::new(20, 0, 1, Duration::ZERO);
        assert_eq!(ring.take(70, 100), Taken::NotYet);
        for byte in 0..8 {
            ring.push(chunk(byte)).expect("the fetch does not wait for what nobody wants");
        }
        assert_eq!(ring.take(70, 100), Taken::Bytes(chunk(7)));
    }
}
