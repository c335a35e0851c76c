//! When a tag's answer still holds. Pure: known facts and a moment in, a verdict out.
//!
//! Moments are of the monotonic clock, so that a wall clock which jumps makes nothing fresh or stale.

use std::time::{Duration, Instant};

use super::Warning;
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
    /// The tag was gone then, and its repository was there.
    pub(crate) alive: Option<Instant>,
    /// What it pointed at last; stays when the upstream no longer answers.
    pub(crate) at: Option<Descriptor>,
    /// When the upstream last answered, whatever it answered. `None` after a start.
    pub(crate) checked: Option<Instant>,
    /// The upstream said 404 at that check.
    pub(crate) gone: bool,
    /// When a check failed, if none has succeeded since, and what a client is told of that.
    pub(crate) failed: Option<(Instant, Warning)>,
}

/// Whether the upstream must be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lookup {
    /// The answer holds.
    Fresh,
    /// There is an older answer, and it is no use to ask now: that is what the client is told.
    Held(Warning),
    /// Nothing is known.
    Miss,
    /// There is an answer, and it should be checked.
    Stale,
}

impl Known {
    /// At `now`, with answers that hold for `window`; `in_peace`: the upstream asked to be left alone. That a tag does not exist holds for
    /// [`NEGATIVE`] at most, and that an upstream gives no answer for [`FAILED`].
    pub(crate) fn lookup(&self, now: Instant, window: Duration, in_peace: bool) -> Lookup {
        let is_within = |moment: Instant, window: Duration| now.saturating_duration_since(moment) < window;
        let holds = if self.gone { window.min(NEGATIVE) } else { window };
        if self.checked.is_some_and(|checked| is_within(checked, holds)) {
            return Lookup::Fresh;
        }
        match (&self.at, self.failed) {
            (None, _) => Lookup::Miss,
            (Some(_), _) if in_peace => Lookup::Held(Warning::RateLimited),
            (Some(_), Some((failed, warning))) if is_within(failed, window.min(FAILED)) => Lookup::Held(warning),
            (Some(_), _) => Lookup::Stale,
        }
    }

    /// Whether it is worth keeping in memory: what was checked long ago can be read from its record again, and a tag that never was is nothing.
    pub(crate) fn is_of_use(&self, now: Instant) -> bool {
        let holds = if self.at.is_none() { NEGATIVE } else { REMEMBERED };
        self.checked.is_some_and(|checked| now.saturating_duration_since(checked) < holds)
    }

    /// The upstream answered at `asked`.
    pub(crate) fn answered(&mut self, asked: Instant, gone: bool) {
        (self.checked, self.failed, self.gone) = (Some(asked), None, gone);
    }
}

/// How long an upstream that answers 429 is left in peace: at least [`QUIET`], at most [`QUIET_MOST`], whatever its `Retry-After` says.
pub(crate) fn peace(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(QUIET).clamp(QUIET, QUIET_MOST)
}

/// How long "no such tag" holds at most: a job that pushes and pulls at once must not be told of the past.
const NEGATIVE: Duration = Duration::from_secs(1);
/// How long what is known of a tag is kept beside its record, where there are too many.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How long a failed check holds at most: with a window of an hour, an upstream that was sick for a moment is asked again before that.
const FAILED: Duration = Duration::from_mins(1);
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
        assert_eq!(known.lookup(now + Duration::from_secs(9), window, false), Lookup::Fresh);
        assert_eq!(known.lookup(now + Duration::from_secs(10), window, false), Lookup::Stale);
        assert_eq!(known.lookup(now, Duration::ZERO, false), Lookup::Stale, "a window of nothing asks each time");
        assert_eq!(Known { at: Some(at()), ..Known::default() }.lookup(now, window, false), Lookup::Stale, "after a start");
        assert_eq!(Known::default().lookup(now, window, false), Lookup::Miss);
    }

    #[test]
    fn no_such_tag_holds_for_a_second_at_most() {
        let now = Instant::now();
        let known = Known { checked: Some(now), gone: true, ..Known::default() };
        assert_eq!(known.lookup(now + Duration::from_millis(900), Duration::from_mins(10), false), Lookup::Fresh);
        assert_eq!(known.lookup(now + Duration::from_secs(1), Duration::from_mins(10), false), Lookup::Miss);
    }

    #[test]
    fn a_429_leaves_the_upstream_in_peace_within_bounds_and_only_where_there_is_an_answer() {
        let (now, known) = (Instant::now(), Known { at: Some(at()), ..Known::default() });
        assert_eq!(known.lookup(now, Duration::ZERO, true), Lookup::Held(Warning::RateLimited));
        assert_eq!(Known::default().lookup(now, Duration::ZERO, true), Lookup::Miss);
        let young = Known { checked: Some(now), ..known };
        assert_eq!(young.lookup(now, Duration::from_secs(1), true), Lookup::Fresh, "nothing to warn of");
        let seconds = [None, Some(1), Some(30), Some(86_400)].map(|asked| peace(asked.map(Duration::from_secs)).as_secs());
        assert_eq!(seconds, [5, 5, 30, 60]);
    }

    #[test]
    fn a_failed_check_holds_for_a_window_and_for_a_minute_at_most() {
        let now = Instant::now();
        let mut known = Known { at: Some(at()), failed: Some((now, Warning::Silent)), ..Known::default() };
        for (window, holds) in [(1, 1), (10, 10), (3600, 60)] {
            let window = Duration::from_secs(window);
            assert_eq!(known.lookup(now + Duration::from_millis(holds * 1000 - 1), window, false), Lookup::Held(Warning::Silent));
            assert_eq!(known.lookup(now + Duration::from_secs(holds), window, false), Lookup::Stale);
        }
        assert_eq!(known.lookup(now, Duration::ZERO, false), Lookup::Stale, "a window of nothing asks each time");
        known.answered(now, false);
        assert_eq!(known.failed, None);
    }
}
