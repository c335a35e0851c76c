//! A circuit breaker a host: where nobody answers, the next request fails at once instead of waiting again.
//!
//! The machine is pure; time is handed in. Only silence counts against a host: no connection, or no answer. A 404, 401, 429 or 500 is an answer.
//! While it is open, one request at a time goes through as a probe; a probe that is dropped gives its turn back after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The breakers of all hosts that an upstream led us to.
#[derive(Debug, Default)]
pub(super) struct Breakers(Mutex<HashMap<Arc<str>, Breaker>>);

impl Breakers {
    /// Whether a request to `host` may go now.
    pub(super) fn admits(&self, host: &str, now: Instant) -> bool {
        self.with(|hosts| hosts.get_mut(host).is_none_or(|breaker| breaker.admits(now)))
    }

    /// `host` answered.
    pub(super) fn answered(&self, host: &str, now: Instant) {
        self.with(|hosts| {
            if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
                hosts.retain(|_, breaker| breaker.is_open());
            }
            hosts.entry(host.into()).or_default().answered(now);
        });
    }

    /// `host` did not answer a request that was sent at `began`. Returns whether the breaker is open now.
    pub(super) fn silent(&self, host: &str, began: Instant, now: Instant, silence: Silence) -> bool {
        self.with(|hosts| {
            let breaker = hosts.entry(host.into()).or_default();
            breaker.silent(began, now, silence);
            breaker.is_open()
        })
    }

    /// Whether `host` is being left alone.
    pub(super) fn is_open(&self, host: &str) -> bool {
        self.with(|hosts| hosts.get(host).is_some_and(Breaker::is_open))
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Arc<str>, Breaker>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a host was silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// It took no connection, or broke it: cheap to find out, so a few of them are needed.
    Brief,
    /// It took the request and the whole time that we have for one: once is enough, for each further one costs a client its patience.
    Long,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    last_answer: Option<Instant>,
    state: State,
    /// How often it opened since the last answer.
    trips: u32,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing {
        since: Instant,
    },
}

impl Breaker {
    fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until } if now < until => false,
            State::Probing { since } if now < since + PROBE_LEASE => false,
            State::Open { .. } | State::Probing { .. } => {
                self.state = State::Probing { since: now };
                true
            }
        }
    }

    fn answered(&mut self, now: Instant) {
        *self = Self { last_answer: Some(now), ..Self::default() };
    }

    fn silent(&mut self, began: Instant, now: Instant, silence: Silence) {
        if self.last_answer.is_some_and(|answer| answer > began) {
            return; // It answers others: one slow object is no sick host.
        }
        self.failures = self.failures.saturating_add(if silence == Silence::Long { THRESHOLD } else { 1 });
        let was_probe = matches!(self.state, State::Probing { .. });
        if was_probe || (self.state == State::Closed && self.failures >= THRESHOLD) {
            let wait = FIRST_PAUSE.saturating_mul(1 << self.trips.min(10)).min(LONGEST_PAUSE);
            self.trips = self.trips.saturating_add(1);
            self.state = State::Open { until: now + wait };
        }
    }

    fn is_open(&self) -> bool {
        self.state != State::Closed
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Hosts of CDNs come and go; those that answer need no memory.
const MOST_HOSTS: usize = 256;
const PROBE_LEASE: Duration = Duration::from_secs(10);
/// Failures in a row that open it.
const THRESHOLD: u32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened(at: Instant) -> Breakers {
        let breakers = Breakers::default();
        for _ in 0..THRESHOLD {
            assert!(breakers.admits("hub", at));
            breakers.silent("hub", at, at, Silence::Brief);
        }
        breakers
    }

    #[test]
    fn three_refused_connections_in_a_row_or_one_long_silence_open_it() {
        let now = Instant::now();
        let breakers = opened(now);
        assert!(!breakers.admits("hub", now));
        assert!(breakers.admits("another", now));
        assert!(breakers.silent("another", now, now, Silence::Long));
        assert!(!breakers.admits("another", now));
    }

    #[test]
    fn an_answer_between_failures_starts_the_count_anew() {
        let now = Instant::now();
        let breakers = Breakers::default();
        for _ in 0..10 {
            breakers.silent("hub", now, now, Silence::Brief);
            breakers.silent("hub", now, now, Silence::Brief);
            breakers.answered("hub", now);
        }
        assert!(breakers.admits("hub", now));
    }

    #[test]
    fn a_slow_object_does_not_close_a_host_that_answers_others() {
        let now = Instant::now();
        let breakers = Breakers::default();
        breakers.answered("hub", now + Duration::from_secs(5));
        assert!(!breakers.silent("hub", now, now + Duration::from_secs(9), Silence::Long));
    }

    #[test]
    fn one_probe_at_a_time_decides_and_the_pause_grows() {
        let mut now = Instant::now();
        let breakers = opened(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let nearly = now + Duration::from_millis(pause * 1000 - 1);
            assert!(!breakers.admits("hub", nearly));
            now += Duration::from_secs(pause);
            assert!(breakers.admits("hub", now), "after {pause} s");
            assert!(!breakers.admits("hub", now), "a second one beside the probe");
            breakers.silent("hub", now, now, Silence::Brief);
        }
        now += LONGEST_PAUSE;
        assert!(breakers.admits("hub", now));
        breakers.answered("hub", now);
        assert!(breakers.admits("hub", now) && breakers.admits("hub", now) && !breakers.is_open("hub"));
    }

    #[test]
    fn a_probe_that_was_dropped_does_not_keep_it_open_for_ever() {
        let mut now = Instant::now();
        let breakers = opened(now);
        now += FIRST_PAUSE;
        assert!(breakers.admits("hub", now));
        assert!(!breakers.admits("hub", now + PROBE_LEASE.saturating_sub(Duration::from_millis(1))));
        assert!(breakers.admits("hub", now + PROBE_LEASE));
    }

    proptest! {
        #[test]
        fn whatever_happened_it_admits_somebody_within_the_longest_pause(steps in prop::collection::vec((0_u8..4, 0_u64..20_000), 0..40)) {
            let mut now = Instant::now();
            let breakers = Breakers::default();
            for (step, wait) in steps {
                now += Duration::from_millis(wait);
                match step {
                    0 => { breakers.admits("hub", now); }
                    1 => breakers.answered("hub", now),
                    2 => { breakers.silent("hub", now, now, Silence::Brief); }
                    _ => { breakers.silent("hub", now, now, Silence::Long); }
                }
            }
            prop_assert!(breakers.admits("hub", now + LONGEST_PAUSE));
        }
    }
}
