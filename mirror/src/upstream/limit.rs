//! That an upstream limits our pulls: since when, and until when as far as it says. Pure.
//!
//! A limit begins with a 429, or with an answer that tells that no pull is left. It ends when a pull is accepted, or when the moment comes at which
//! the upstream said that it would. The Hub goes on answering HEAD while its quota is spent, so an accepted HEAD ends only what a HEAD met.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::quota::Quota;

/// A limit that holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// A request was answered 429. Otherwise the next pull will be.
    pub refused: bool,
    /// When it was met first.
    pub since: SystemTime,
    /// When it ends at the latest, where the upstream tells.
    pub until: Option<SystemTime>,
    by_pull: bool,
}

/// What an answer says of limits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// The content came.
    Accepted,
    /// 429, and how long it asks us to wait.
    Refused(Option<Duration>),
}

impl Limit {
    /// What holds at `now`, after an answer to a pull (`is_pull`: it costs quota) with what it said of the `quota`; `before` held until then.
    pub(super) fn after(before: Option<Self>, now: SystemTime, is_pull: bool, sign: Sign, quota: Option<Quota>) -> Option<Self> {
        let before = before.and_then(|limit| limit.at(now));
        let spent = quota.filter(|quota| quota.remaining == Some(0));
        let refused = match sign {
            Sign::Refused(_) => true,
            Sign::Accepted if spent.is_none() => {
                let says_nothing = !is_pull && quota.is_none();
                return before.filter(|before| says_nothing && before.by_pull);
            }
            Sign::Accepted => before.is_some_and(|before| before.refused && !is_pull),
        };
        let since = before.map_or(now, |before| before.since);
        let asked = if let Sign::Refused(wait) = sign { wait.map(|wait| now + wait) } else { None };
        let window = spent.and_then(|quota| quota.window).map(|window| since + window);
        let until = asked.max(window).or(before.and_then(|before| before.until));
        Some(Self { refused, since, until, by_pull: is_pull || before.is_some_and(|before| before.by_pull) })
    }

    /// The limit, unless it is over at `now` by the upstream's own word.
    pub(super) fn at(self, now: SystemTime) -> Option<Self> {
        self.until.is_none_or(|until| now < until).then_some(self)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what =
            if self.refused { "the upstream refuses pulls for now (429)" } else { "the quota is spent: the next pull will be refused" };
        write!(f, "{what}, since {}", humantime::format_rfc3339_seconds(self.since))?;
        match self.until {
            Some(until) => write!(f, ", until {} at the latest", humantime::format_rfc3339_seconds(until)),
            None => f.write_str("; it does not say until when"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn quota(remaining: u64) -> Quota {
        Quota { limit: 100, remaining: Some(remaining), window: Some(6 * HOUR) }
    }

    #[test]
    fn a_spent_quota_holds_from_its_first_sign_until_its_window_is_over() {
        let now = SystemTime::UNIX_EPOCH + HOUR;
        let spent = Limit::after(None, now, true, Sign::Accepted, Some(quota(0))).expect("the next pull will be refused");
        assert!(!spent.refused);
        let refused = Limit::after(Some(spent), now + HOUR, true, Sign::Refused(None), Some(quota(0))).expect("a limit");
        assert_eq!((refused.refused, refused.since, refused.until), (true, now, Some(now + 6 * HOUR)));
        assert_eq!(
            refused.to_string(),
            "the upstream refuses pulls for now (429), since 1970-01-01T01:00:00Z, until 1970-01-01T07:00:00Z at the latest"
        );
        assert_eq!(refused.at(now + 5 * HOUR), Some(refused));
        assert_eq!(refused.at(now + 6 * HOUR), None);
    }

    #[test]
    fn an_accepted_pull_ends_a_limit_and_a_head_that_costs_nothing_does_not() {
        let now = SystemTime::UNIX_EPOCH;
        let limit = Limit::after(None, now, true, Sign::Refused(None), None);
        assert!(limit.is_some_and(|limit| limit.to_string().ends_with("it does not say until when")));
        assert_eq!(Limit::after(limit, now, false, Sign::Accepted, None), limit);
        assert!(Limit::after(limit, now, false, Sign::Accepted, Some(quota(0))).is_some_and(|limit| limit.refused));
        assert_eq!(Limit::after(limit, now, false, Sign::Accepted, Some(quota(7))), None, "there are pulls again");
        assert_eq!(Limit::after(limit, now, true, Sign::Accepted, None), None);
        let met_by_head = Limit::after(None, now, false, Sign::Refused(Some(HOUR)), None);
        assert_eq!(met_by_head.and_then(|limit| limit.until), Some(now + HOUR));
        assert_eq!(Limit::after(met_by_head, now, false, Sign::Accepted, None), None);
    }
}
