//! When a tag's answer still holds. Pure: known facts and a moment in, a verdict out.
//!
//! Moments are of the monotonic clock, so that a wall clock which jumps makes nothing fresh or stale.

use std::time::{Duration, Instant};

use crate::oci::{Digest, MediaType};

/// What a tag pointed at, when the upstream was last asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Descriptor {
    /// The manifest.
    pub(crate) digest: Digest,
    /// What kind it is, where the upstream said so.
    pub(crate) media_type: Option<MediaType>,
    /// Bytes, where the upstream said so.
    pub(crate) size: Option<u64>,
}

/// What is known of a tag.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// What it pointed at last; stays when the upstream no longer answers.
    pub(crate) at: Option<Descriptor>,
    /// When the upstream last answered, whatever it answered. `None` after a start.
    pub(crate) checked: Option<Instant>,
    /// The upstream said 404 at that check.
    pub(crate) gone: bool,
    /// Until then the upstream is left in peace: it answered 429.
    pub(crate) quiet_until: Option<Instant>,
}

/// Whether the upstream must be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lookup {
    /// The answer holds.
    Fresh,
    /// Nothing is known.
    Miss,
    /// There is an answer, and it should be checked.
    Stale,
}

impl Known {
    /// At `now`, with answers that hold for `window`. That a tag does not exist holds for [`NEGATIVE`] at most.
    pub(crate) fn lookup(&self, now: Instant, window: Duration) -> Lookup {
        let window = if self.gone { window.min(NEGATIVE) } else { window };
        let is_young = self.checked.is_some_and(|checked| now.saturating_duration_since(checked) < window);
        let is_quiet = self.quiet_until.is_some_and(|until| now < until) && self.at.is_some();
        match (is_young || is_quiet, &self.at) {
            (true, _) => Lookup::Fresh,
            (false, Some(_)) => Lookup::Stale,
            (false, None) => Lookup::Miss,
        }
    }

    /// The upstream asks for peace: at least [`QUIET`], at most [`QUIET_MOST`], whatever its `Retry-After` says.
    pub(crate) fn rate_limited(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.quiet_until = Some(now + retry_after.unwrap_or(QUIET).clamp(QUIET, QUIET_MOST));
    }

    /// The window is widened right now.
    pub(crate) fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }
}

/// How long "no such tag" holds at most: a job that pushes and pulls at once must not be told of the past.
const NEGATIVE: Duration = Duration::from_secs(1);
/// The shortest peace after a 429.
const QUIET: Duration = Duration::from_secs(5);
/// The longest: an hour of stale tags because of one header would be worse than a few more 429s.
const QUIET_MOST: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    fn at() -> Descriptor {
        Descriptor { digest: Digest::of(Algorithm::Sha256, b"x"), media_type: None, size: None }
    }

    #[test]
    fn an_answer_holds_for_the_window_and_then_wants_a_check() {
        let now = Instant::now();
        let known = Known { at: Some(at()), checked: Some(now), ..Known::default() };
        let window = Duration::from_secs(10);
        assert_eq!(known.lookup(now + Duration::from_secs(9), window), Lookup::Fresh);
        assert_eq!(known.lookup(now + Duration::from_secs(10), window), Lookup::Stale);
        assert_eq!(known.lookup(now, Duration::ZERO), Lookup::Stale, "a window of nothing asks each time");
        assert_eq!(Known { at: Some(at()), ..Known::default() }.lookup(now, window), Lookup::Stale, "after a start");
        assert_eq!(Known::default().lookup(now, window), Lookup::Miss);
    }

    #[test]
    fn no_such_tag_holds_for_a_second_at_most() {
        let now = Instant::now();
        let known = Known { checked: Some(now), gone: true, ..Known::default() };
        assert_eq!(known.lookup(now + Duration::from_millis(900), Duration::from_mins(10)), Lookup::Fresh);
        assert_eq!(known.lookup(now + Duration::from_secs(1), Duration::from_mins(10)), Lookup::Miss);
    }

    #[test]
    fn a_429_widens_the_window_within_bounds_and_only_where_there_is_an_answer() {
        let now = Instant::now();
        for (asked, seconds) in [(None, 5), (Some(1), 5), (Some(30), 30), (Some(86_400), 60)] {
            let mut known = Known { at: Some(at()), ..Known::default() };
            known.rate_limited(now, asked.map(Duration::from_secs));
            assert_eq!(known.lookup(now + Duration::from_secs(seconds - 1), Duration::ZERO), Lookup::Fresh);
            assert_eq!(known.lookup(now + Duration::from_secs(seconds), Duration::ZERO), Lookup::Stale);
            known.at = None;
            assert_eq!(known.lookup(now, Duration::ZERO), Lookup::Miss);
        }
    }
}
