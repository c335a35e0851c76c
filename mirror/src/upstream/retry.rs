//! When a request is worth sending again, and how long to wait before. Pure; the budgets are [`Tuning`]'s.

use std::time::Duration;

use super::FetchError;

/// Every duration of the upstream client. Tests shorten them; nobody configures them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    /// From a request's start to its answer's headers, tokens, redirects and retries included. Under the ten seconds in which the mirror answers.
    pub(super) budget: Duration,
    /// To a TCP connection and its TLS session.
    pub(super) connect: Duration,
    /// For one answer's headers.
    pub(super) headers: Duration,
    /// For the password's helper program.
    pub(super) helper: Duration,
    /// The unit of the waits between tries.
    pub(super) pace: Duration,
    /// The time over which it is judged whether a body comes too slowly.
    pub(super) rate_window: Duration,
    /// A body that sends no byte for so long is given up, and fetched on from there.
    pub(super) stall: Duration,
    /// `HTTP_PROXY` and its like hold.
    pub(super) system_proxy: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(9),
            connect: Duration::from_secs(3),
            headers: Duration::from_secs(8),
            helper: Duration::from_secs(5),
            pace: Duration::from_millis(200),
            rate_window: Duration::from_mins(1),
            stall: Duration::from_secs(20),
            system_proxy: true,
        }
    }
}

/// The wait before try `tries + 2` of a request that has `left` of its budget; `None`: `error` is final.
pub(super) fn before_next(error: &FetchError, tries: u32, pace: Duration, left: Duration) -> Option<Duration> {
    let wait = pause(tries, pace);
    (is_worth_repeating(error) && tries < MOST_REPEATS && wait < left).then_some(wait)
}

/// The wait before a body is fetched on, after `idle` tries in a row that brought no byte; `None`: enough of them.
pub(super) fn before_resume(idle: u32, pace: Duration) -> Option<Duration> {
    (idle < MOST_IDLE_RESUMES).then(|| pause(idle, pace))
}

/// Whether a body that came too slowly for so many windows in a row may be gone on with.
pub(super) fn is_worth_waiting(slow_in_a_row: u32) -> bool {
    slow_in_a_row < MOST_SLOW
}

/// Whether another address of the same content may do better than the one that said this.
pub(super) fn is_worth_another_address(error: &FetchError) -> bool {
    error.is_transient() || matches!(error, FetchError::DigestMismatch { .. } | FetchError::Redirect { .. })
}

/// Whether a body that broke off may be had from its next byte on, after trying that failed with this.
pub(super) fn is_worth_resuming(error: &FetchError) -> bool {
    is_worth_another_address(error)
}

/// A quota does not come back, nor a breaker close, nor a free lane appear, within a request's budget.
fn is_worth_repeating(error: &FetchError) -> bool {
    let waits = matches!(error, FetchError::RateLimited { .. } | FetchError::BreakerOpen { .. } | FetchError::Busy { .. });
    error.is_transient() && !waits
}

/// 1, 2.5, 5, 10, 20, 20 … times the pace: 0.2, 0.5, 1, 2, 4 s.
fn pause(tries: u32, pace: Duration) -> Duration {
    pace * [10, 25, 50, 100, 200][tries.min(4) as usize] / 10
}

/// About half a minute of trying, after which a client does better elsewhere.
const MOST_IDLE_RESUMES: u32 = 8;
const MOST_REPEATS: u32 = 2;
/// Three slow minutes in a row, over three connections: it is not the connection.
const MOST_SLOW: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::error::Subject;

    #[test]
    fn waits_grow_and_end() {
        let pace = Duration::from_millis(200);
        let waits: Vec<_> = (0..10).map_while(|idle| before_resume(idle, pace)).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [200, 500, 1000, 2000, 4000, 4000, 4000, 4000]);
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_only_within_the_budget() {
        let subject = Subject::new(&"docker.io".parse().expect("a name"), "library/alpine:3");
        let second = Duration::from_secs(1);
        let cut = FetchError::Cut { subject: subject.clone(), source: None };
        assert_eq!(before_next(&cut, 0, second, 9 * second), Some(second));
        assert_eq!(before_next(&cut, 0, second, second), None);
        assert_eq!(before_next(&cut, MOST_REPEATS, second, 60 * second), None);
        for error in [
            FetchError::NotFound { subject: subject.clone() },
            FetchError::Denied { subject: subject.clone() },
            FetchError::RateLimited { subject: subject.clone(), retry_after: None },
            FetchError::BreakerOpen { subject: subject.clone(), host: "hub".into() },
        ] {
            assert_eq!(before_next(&error, 0, second, 9 * second), None, "{error}");
        }
        assert!(is_worth_another_address(&FetchError::RateLimited { subject: subject.clone(), retry_after: None }));
        assert!(!is_worth_another_address(&FetchError::NotFound { subject }));
    }
}
