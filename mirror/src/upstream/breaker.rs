//! A circuit breaker a host: where nobody answers, the next request fails at once instead of waiting again.
//!
//! The machine is pure; time is handed in. Only silence counts against a host: no connection, or no answer. A 404, 401, 429 or 500 is an answer, and
//! so is nonsense. While it is open, one request at a time goes through as a probe, and however that ends, the breaker is not left waiting for it:
//! each request that is let through holds a [`Pass`], which takes what became of it, or gives its turn back when it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The breakers of all hosts that an upstream led us to.
#[derive(Debug, Default)]
pub(super) struct Breakers(Mutex<HashMap<Arc<str>, Breaker>>);

impl Breakers {
    /// The right to send a request to `host` now, if there is one.
    pub(super) fn admit(&self, host: &Arc<str>, now: Instant) -> Option<Pass<'_>> {
        let is_probe = self.with(|hosts| hosts.get_mut(host).map_or(Some(false), |breaker| breaker.admit(now)))?;
        Some(Pass { began: now, breakers: self, host: Arc::clone(host), is_probe })
    }

    /// Whether `host` is being left alone.
    pub(super) fn is_open(&self, host: &str) -> bool {
        self.with(|hosts| hosts.get(host).is_some_and(Breaker::is_open))
    }

    /// Changes the breaker of `host`. Those of hosts that answer need no memory, and a registry that redirects to ever new silent ones gets no more than this.
    fn change<T>(&self, host: &Arc<str>, work: impl FnOnce(&mut Breaker) -> T) -> T {
        self.with(|hosts| {
            if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
                hosts.retain(|_, breaker| breaker.is_open());
            }
            if hosts.len() >= MOST_HOSTS && !hosts.contains_key(host) {
                hosts.clear();
            }
            work(hosts.entry(Arc::clone(host)).or_default())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Arc<str>, Breaker>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that was let through. It ends in one of three ways: the host answered, it was silent, or nobody knows, because the request was dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    began: Instant,
    breakers: &'a Breakers,
    host: Arc<str>,
    is_probe: bool,
}

impl Pass<'_> {
    /// The host answered.
    pub(super) fn answered(mut self, now: Instant) {
        self.is_probe = false;
        self.breakers.change(&self.host, |breaker| breaker.answered(now));
    }

    /// It did not. Returns whether the breaker is open now.
    pub(super) fn silent(mut self, now: Instant, silence: Silence) -> bool {
        let (began, was_probe) = (self.began, std::mem::take(&mut self.is_probe));
        self.breakers.change(&self.host, |breaker| {
            breaker.silent(began, now, silence, was_probe);
            breaker.is_open()
        })
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breakers.with(|hosts| hosts.get_mut(&self.host).map(|breaker| breaker.give_back(self.began)));
        }
    }
}

/// How a host was silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// It took no connection: cheap to find out, so a few of them are needed.
    Brief,
    /// It broke the connection off. That counts for a probe only: a connection that was kept for the next request may have ended long ago.
    Cut,
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
    Probing,
}

impl Breaker {
    /// Whether a request may go, and then whether it is the probe.
    fn admit(&mut self, now: Instant) -> Option<bool> {
        match self.state {
            State::Closed => Some(false),
            State::Open { until } if until <= now => {
                self.state = State::Probing;
                Some(true)
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    fn answered(&mut self, now: Instant) {
        *self = Self { last_answer: Some(now), ..Self::default() };
    }

    fn silent(&mut self, began: Instant, now: Instant, silence: Silence, was_probe: bool) {
        if self.last_answer.is_some_and(|answer| answer > began) {
            return; // It answers others: one slow object is no sick host.
        }
        self.failures = self.failures.saturating_add(match silence {
            Silence::Brief => 1,
            Silence::Cut => 0,
            Silence::Long => THRESHOLD,
        });
        if (was_probe && self.state == State::Probing) || (self.state == State::Closed && self.failures >= THRESHOLD) {
            let wait = FIRST_PAUSE.saturating_mul(1 << self.trips.min(10)).min(LONGEST_PAUSE);
            self.trips = self.trips.saturating_add(1);
            self.state = State::Open { until: now + wait };
        }
    }

    /// The probe told nothing: the next request is one.
    fn give_back(&mut self, began: Instant) {
        if self.state == State::Probing {
            self.state = State::Open { until: began };
        }
    }

    fn is_open(&self) -> bool {
        self.state != State::Closed
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Hosts of CDNs come and go.
const MOST_HOSTS: usize = 256;
/// Failures in a row that open it.
const THRESHOLD: u32 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str) -> Arc<str> {
        name.into()
    }

    /// A request to the hub that is let through.
    fn pass(breakers: &Breakers, at: Instant) -> Pass<'_> {
        breakers.admit(&host("hub"), at).expect("let through")
    }

    fn is_shut(breakers: &Breakers, at: Instant) -> bool {
        breakers.admit(&host("hub"), at).is_none()
    }

    fn opened(at: Instant) -> Breakers {
        let breakers = Breakers::default();
        for _ in 0..THRESHOLD {
            pass(&breakers, at).silent(at, Silence::Brief);
        }
        breakers
    }

    #[test]
    fn three_refused_connections_in_a_row_or_one_long_silence_open_it() {
        let now = Instant::now();
        let breakers = opened(now);
        assert!(is_shut(&breakers, now));
        let another = breakers.admit(&host("another"), now).expect("another host");
        assert!(another.silent(now, Silence::Long));
        assert!(breakers.admit(&host("another"), now).is_none());
    }

    #[test]
    fn an_answer_between_failures_starts_the_count_anew() {
        let now = Instant::now();
        let breakers = Breakers::default();
        for _ in 0..10 {
            pass(&breakers, now).silent(now, Silence::Brief);
            pass(&breakers, now).silent(now, Silence::Brief);
            pass(&breakers, now).answered(now);
        }
        assert!(!is_shut(&breakers, now));
    }

    #[test]
    fn a_slow_object_does_not_close_a_host_that_answers_others() {
        let now = Instant::now();
        let breakers = Breakers::default();
        let slow = pass(&breakers, now);
        pass(&breakers, now).answered(now + Duration::from_secs(5));
        assert!(!slow.silent(now + Duration::from_secs(9), Silence::Long));
    }

    #[test]
    fn kept_connections_that_ended_are_no_silence() {
        let now = Instant::now();
        let breakers = Breakers::default();
        for _ in 0..10 {
            assert!(!pass(&breakers, now).silent(now, Silence::Cut));
        }
    }

    #[test]
    fn one_probe_at_a_time_decides_and_the_pause_grows() {
        let mut now = Instant::now();
        let breakers = opened(now);
        for (pause, silence) in [1, 2, 4, 8, 16, 30, 30].into_iter().zip([Silence::Brief, Silence::Cut, Silence::Long].into_iter().cycle())
        {
            assert!(is_shut(&breakers, now + Duration::from_millis(pause * 1000 - 1)));
            now += Duration::from_secs(pause);
            let probe = pass(&breakers, now);
            assert!(is_shut(&breakers, now + LONGEST_PAUSE), "a second one beside the probe, after {pause} s");
            assert!(probe.silent(now, silence), "{silence:?}");
        }
        now += LONGEST_PAUSE;
        pass(&breakers, now).answered(now);
        let (_one, _other) = (pass(&breakers, now), pass(&breakers, now));
        assert!(!breakers.is_open("hub"));
    }

    #[test]
    fn a_probe_that_is_dropped_gives_its_turn_back_at_once() {
        let now = Instant::now() + FIRST_PAUSE;
        let breakers = opened(now.checked_sub(FIRST_PAUSE).expect("it was just added"));
        for _ in 0..3 {
            let probe = pass(&breakers, now);
            assert!(is_shut(&breakers, now));
            drop(probe);
        }
        assert!(pass(&breakers, now).silent(now, Silence::Brief));
        assert!(is_shut(&breakers, now + FIRST_PAUSE), "and its pause is that of the next failure: {:?}", 2 * FIRST_PAUSE);
    }

    #[test]
    fn a_late_failure_of_an_earlier_request_is_not_the_probes() {
        let now = Instant::now();
        let (breakers, later) = (Breakers::default(), now + FIRST_PAUSE);
        let early = pass(&breakers, now);
        for _ in 0..THRESHOLD {
            pass(&breakers, now).silent(now, Silence::Brief);
        }
        let probe = pass(&breakers, later);
        early.silent(later, Silence::Long);
        assert!(is_shut(&breakers, later + LONGEST_PAUSE), "the probe is under way");
        probe.answered(later);
        assert!(!is_shut(&breakers, later));
    }

    #[test]
    fn silent_hosts_without_end_do_not_fill_the_memory() {
        let (breakers, now) = (Breakers::default(), Instant::now());
        for number in 0..10 * MOST_HOSTS {
            breakers.admit(&host(&number.to_string()), now).expect("a new host").silent(now, Silence::Long);
        }
        assert!(breakers.with(|hosts| hosts.len()) <= MOST_HOSTS);
    }

    proptest! {
        #[test]
        fn whatever_happened_it_admits_somebody_within_the_longest_pause(steps in prop::collection::vec((0_u8..6, 0_u64..20_000), 0..40)) {
            let mut now = Instant::now();
            let breakers = Breakers::default();
            let mut passes = std::collections::VecDeque::new();
            for (step, wait) in steps {
                now += Duration::from_millis(wait);
                match (step, passes.pop_front()) {
                    (0, kept) => passes.extend(kept.into_iter().chain(breakers.admit(&host("hub"), now))),
                    (_, None) => {}
                    (1, Some(pass)) => pass.answered(now),
                    (2, Some(pass)) => { pass.silent(now, Silence::Brief); }
                    (3, Some(pass)) => { pass.silent(now, Silence::Cut); }
                    (4, Some(pass)) => { pass.silent(now, Silence::Long); }
                    (_, Some(pass)) => drop(pass),
                }
            }
            drop(passes);
            prop_assert!(!is_shut(&breakers, now + LONGEST_PAUSE));
        }
    }
}
