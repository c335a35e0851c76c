//! Whether everybody may read a repository, as it was seen last: what holds without a question, and who waits for one.
//!
//! Pure: the clock is an argument, and the monotonic one. The verdict and its time are one value, changed in one step: nobody sees a new time beside
//! an old verdict, whatever the disk does meanwhile with the record of it.

use std::time::{Duration, Instant};

use crate::store::Visibility;

/// What was seen of one repository in this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// The upstream gave no answer then.
    unanswered: Option<Instant>,
    verdict: Option<(Instant, Visibility)>,
}

/// What is to be done before an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Question {
    /// To ask, and to wait as long as a request may.
    Ask,
    /// To ask in the background: this holds meanwhile.
    Ahead(Visibility),
    /// To ask, and to wait a moment: what is recorded holds where no answer comes.
    Briefly,
    /// Nothing.
    No(Visibility),
}

impl Seen {
    /// At `now`, where `recorded` is what an earlier answer was.
    pub(crate) fn question(&self, now: Instant, recorded: Option<Visibility>) -> Question {
        let since = |then: Instant| now.saturating_duration_since(then);
        let is_quiet = self.unanswered.is_some_and(|then| since(then) < QUIET);
        match (self.verdict, recorded) {
            (Some((then, verdict)), _) if since(then) < AHEAD || since(then) < HOLDS && is_quiet => Question::No(verdict),
            (Some((then, verdict)), _) if since(then) < HOLDS => Question::Ahead(verdict),
            // An upstream that is down, or hangs, changes nobody's rights, and no hit waits for it more than now and then.
            (_, Some(Visibility::Public)) if is_quiet => Question::No(Visibility::Public),
            (_, Some(Visibility::Public)) => Question::Briefly,
            _ => Question::Ask,
        }
    }

    /// The upstream answered.
    pub(crate) fn answered(&mut self, now: Instant, verdict: Visibility) {
        *self = Self { unanswered: None, verdict: Some((now, verdict)) };
    }

    /// It did not, or not in time.
    pub(crate) fn unanswered(&mut self, now: Instant) {
        self.unanswered = Some(now);
    }
}

/// How long an answer holds.
const HOLDS: Duration = Duration::from_mins(10);
/// From then on it is asked for anew, while it still holds.
const AHEAD: Duration = Duration::from_mins(9);
/// For so long nobody waits for an upstream that gave no answer.
const QUIET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::Visibility::{Private, Public};
    use super::*;

    #[test]
    fn an_answer_holds_and_is_asked_for_anew_before_its_end() {
        let now = Instant::now();
        for verdict in [Public, Private] {
            let mut seen = Seen::default();
            seen.answered(now, verdict);
            for recorded in [None, Some(Public), Some(Private)] {
                assert_eq!(seen.question(now + AHEAD / 2, recorded), Question::No(verdict), "whatever a record says");
                assert_eq!(seen.question(now + AHEAD, recorded), Question::Ahead(verdict));
            }
            assert_eq!(seen.question(now + HOLDS, None), Question::Ask);
        }
    }

    #[test]
    fn only_what_was_public_is_served_without_an_answer_and_then_hardly_anybody_waits() {
        let now = Instant::now();
        let mut seen = Seen::default();
        assert_eq!(
            [None, Some(Private), Some(Public)].map(|recorded| seen.question(now, recorded)),
            [Question::Ask, Question::Ask, Question::Briefly]
        );
        seen.unanswered(now);
        assert_eq!(seen.question(now, Some(Public)), Question::No(Public));
        assert_eq!([None, Some(Private)].map(|recorded| seen.question(now, recorded)), [Question::Ask; 2]);
        assert_eq!(seen.question(now + QUIET, Some(Public)), Question::Briefly);
        seen.answered(now, Private);
        assert_eq!(seen.question(now, Some(Public)), Question::No(Private));
    }
}
