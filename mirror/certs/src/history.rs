//! What was tried for one certificate and what came of it. It outlives the process: a crash loop must not forget that it is one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Identifier, Identifiers, Moment, Wish};

/// The attempts of the last days, and what holds up the next one.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct History {
    /// Names that could not be proved, and when.
    pub failures: Vec<Failure>,
    /// Certificates that were issued.
    pub issued: Vec<Issued>,
    /// When orders were placed.
    pub orders: Vec<Moment>,
    /// The CAs, of several, that refuse what the setback is about: the others are asked first.
    pub refused: BTreeSet<String>,
    /// Why there is no new certificate yet.
    pub setback: Option<Setback>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Issued {
    /// When we got it, by our own clock.
    pub at: Moment,
    /// For whom.
    pub identifiers: Identifiers,
    /// It replaced another one by ARI, which CAs do not count.
    pub replaced: bool,
}

/// A name that could not be proved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// When.
    pub at: Moment,
    /// Which.
    pub identifier: Identifier,
}

/// A failed attempt, and when the next one may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Setback {
    /// Of which kind the last failure was.
    pub class: Class,
    /// Failures in a row.
    pub count: u32,
    /// What happened, for people.
    pub said: String,
    /// Since when nothing works.
    pub since: Moment,
    /// Not before.
    pub until: Moment,
    /// What was asked for. Asking for something else is a reason to try at once.
    pub wish: Wish,
}

/// What a failure says about the next attempt.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The CA will never do what is asked: somebody must change the configuration.
    Configuration,
    /// Too much was asked of the CA.
    RateLimited,
    /// The network, or a CA that is not well: it passes.
    Transient,
    /// The CA could not see that a name is ours.
    Validation,
}

/// What went wrong, as far as waiting is concerned.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Of which kind it is.
    pub class: Class,
    /// How long the CA asks us to wait.
    pub retry_after: Option<Duration>,
    /// For people.
    pub said: String,
}

impl History {
    /// Notes an order, before it is placed.
    pub fn ordered(&mut self, now: Moment) {
        self.forget(now);
        self.orders.push(now);
    }

    /// Notes a certificate; all is well again.
    pub fn issued(&mut self, now: Moment, identifiers: Identifiers, replaced: bool) {
        self.forget(now);
        self.issued.push(Issued { at: now, identifiers, replaced });
        self.setback = None;
        self.refused.clear();
    }

    /// Notes a name that the CA could not see to be ours.
    pub fn unproved(&mut self, now: Moment, identifier: Identifier) {
        self.failures.push(Failure { at: now, identifier });
    }

    /// Notes a failed attempt; `expires` is when the certificate in hand ends.
    pub fn failed(&mut self, now: Moment, trouble: Trouble, wish: &Wish, expires: Option<Moment>) {
        let (count, since) = match &self.setback {
            Some(before) if before.wish == *wish => (before.count.saturating_add(1), before.since),
            _ => {
                self.refused.clear();
                (1, now)
            }
        };
        let remaining = expires.map_or(Duration::ZERO, |expires| expires.since(now));
        let wait = wait(trouble.class, count, remaining).max(trouble.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER));
        self.setback = Some(Setback { class: trouble.class, count, said: trouble.said, since, until: now + wait, wish: wish.clone() });
    }

    /// Notes that the last failure was a refusal by the CA at `directory`: one of several does not hold up the others. Once each has refused, the wait is
    /// as long as for one that is the only one, and then each is asked again.
    pub fn refused_by(&mut self, now: Moment, directory: &str) {
        let Some(setback) = &mut self.setback else { return };
        self.refused.insert(directory.to_owned());
        if setback.wish.directories.iter().all(|one| self.refused.contains(one)) {
            self.refused.clear();
        } else {
            setback.until = now;
        }
    }

    /// Somebody has mended what was wrong: the next attempt need not wait, but for a CA that said how long.
    pub fn forgive(&mut self, now: Moment) {
        if let Some(setback) = self.setback.as_mut().filter(|setback| setback.class != Class::RateLimited) {
            setback.until = setback.until.min(now);
        }
    }

    /// What nobody counts any more.
    fn forget(&mut self, now: Moment) {
        self.issued.retain(|issued| now.since(issued.at) < WEEK);
        self.orders.retain(|at| now.since(*at) < WEEK);
        self.failures.retain(|failure| now.since(failure.at) < WEEK);
    }
}

/// How long to wait after the `count`th failure in a row, with so much left of the certificate in hand.
///
/// The shorter what is left, the more often; but no CA is asked more than once an hour for long.
pub fn wait(class: Class, count: u32, remaining: Duration) -> Duration {
    let first: &[u64] = match class {
        Class::Configuration => return DAY,
        Class::RateLimited => &[60],
        Class::Transient => &[1, 2, 5, 15, 60],
        Class::Validation => &[1, 10, 100], // After a minute another way is tried.
    };
    match first.get(count.saturating_sub(1) as usize) {
        Some(minutes) => Duration::from_secs(minutes * 60),
        None => (remaining / 12).clamp(HOUR, DAY),
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest period over which a CA counts.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// A `Retry-After` beyond this is a mistake of somebody's.
const LONGEST_RETRY_AFTER: Duration = WEEK;

#[cfg(test)]
mod tests {
    use crate::KeyKind;

    use super::*;

    #[test]
    fn one_of_several_cas_that_refuses_holds_up_nothing_until_all_have() {
        let names = ["https://one.test/dir", "https://two.test/dir"];
        let directories = names.map(str::to_owned).to_vec();
        let wish = Wish { directories, identifiers: Identifiers::new(), how: String::new(), key: KeyKind::P256, profile: None };
        let (mut history, now) = (History::default(), Moment::from_unix(1_000_000));
        for day in 0..2 {
            for (name, wait) in names.into_iter().zip([Duration::ZERO, DAY]) {
                history.failed(now, Trouble { class: Class::Configuration, retry_after: None, said: String::new() }, &wish, None);
                history.refused_by(now, name);
                assert_eq!(history.setback.as_ref().map(|setback| setback.until), Some(now + wait), "{name}, round {day}");
            }
        }
    }

    #[test]
    fn waits_grow_with_failures_and_shrink_with_what_is_left() {
        let minutes = |class, count, days: u64| wait(class, count, DAY * u32::try_from(days).expect("small")).as_secs() / 60;
        let schedule = |class, days| (1..=7).map(|count| minutes(class, count, days)).collect::<Vec<_>>();
        assert_eq!(schedule(Class::Transient, 30), [1, 2, 5, 15, 60, 1440, 1440]);
        assert_eq!(schedule(Class::Transient, 6), [1, 2, 5, 15, 60, 720, 720]);
        assert_eq!(schedule(Class::Transient, 0), [1, 2, 5, 15, 60, 60, 60]);
        assert_eq!(schedule(Class::Validation, 30), [1, 10, 100, 1440, 1440, 1440, 1440]);
        assert_eq!(schedule(Class::RateLimited, 0), [60; 7]);
        assert_eq!(schedule(Class::Configuration, 0), [1440; 7]);
    }
}
