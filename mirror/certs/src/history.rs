//! What was tried for one certificate and what came of it. It outlives the process: a crash loop must not forget that it is one.

use std::collections::{BTreeMap, BTreeSet};
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
    /// The CAs, of several, that ask for a pause, and until when: the others are asked meanwhile.
    pub paused: BTreeMap<String, Moment>,
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
    /// Something on this machine, such as a private CA that is not there yet: nobody else is asked, and a person may be mending it right now.
    Local,
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
        // What a CA asks for holds as long as the certificate in hand can bear it: a page for maintenance may ask for years.
        let bearable = (remaining / 12).clamp(HOUR, LONGEST_RETRY_AFTER);
        let wait = wait(trouble.class, count, remaining).max(trouble.retry_after.unwrap_or_default().min(bearable));
        self.setback = Some(Setback { class: trouble.class, count, said: trouble.said, since, until: now + wait, wish: wish.clone() });
    }

    /// Notes that the last failure was a refusal by the CA at `directory`: one of several does not hold up the others. Once each has refused, the wait is
    /// as long as for one that is the only one, and then each is asked again.
    pub fn refused_by(&mut self, now: Moment, directory: &str) {
        self.refused.insert(directory.to_owned());
        self.go_on(now);
    }

    /// Notes that with the last failure the CA at `directory` asked for the pause that was noted: it binds that CA, and none of the others.
    pub fn paused_by(&mut self, now: Moment, directory: &str) {
        if let Some(setback) = &self.setback {
            self.paused.insert(directory.to_owned(), setback.until);
            self.go_on(now);
        }
    }

    /// Not before one of the CAs may be asked that have not refused; where all have, all begins anew after the wait.
    fn go_on(&mut self, now: Moment) {
        let Some(setback) = &mut self.setback else { return };
        let paused = &self.paused;
        let left = setback.wish.directories.iter().filter(|one| !self.refused.contains(*one));
        match left.map(|one| paused.get(one).map_or(now, |until| now.max(*until))).min() {
            Some(until) => setback.until = until,
            None => self.refused.clear(),
        }
    }

    /// Which of the CAs of `wish` is to be asked: each `per_ca` failures in a row lead from one to the next, a refusal and a pause at once. Where all of
    /// them want a pause, it is the one whose pause ends first.
    pub fn directory<'a>(&self, now: Moment, wish: &'a Wish, per_ca: usize) -> Option<&'a str> {
        let failures = self.setback.as_ref().filter(|setback| setback.wish == *wish).map_or(0, |setback| setback.count as usize);
        // Beyond that it was noted by a clock that was ahead.
        let pause = |directory: &str| self.paused.get(directory).filter(|until| **until > now && **until <= now + LONGEST_RETRY_AFTER);
        let asked = wish.directories.iter().map(String::as_str).filter(|directory| failures == 0 || !self.refused.contains(*directory));
        let free: Vec<&str> = asked.clone().filter(|directory| pause(directory).is_none()).collect();
        let turn = failures / per_ca.max(1) % free.len().max(1);
        free.get(turn).copied().or_else(|| asked.min_by_key(|directory| pause(directory)))
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
        self.paused.retain(|_, until| *until > now);
    }
}

/// How long to wait after the `count`th failure in a row, with so much left of the certificate in hand.
///
/// The shorter what is left, the more often; but no CA is asked more than once an hour for long. What is on this machine costs nobody anything.
pub fn wait(class: Class, count: u32, remaining: Duration) -> Duration {
    let first: &[u64] = match class {
        Class::Configuration => return DAY,
        Class::Local => return if count <= AT_ONCE { LOCAL } else { MINUTE },
        Class::RateLimited => &[60],
        Class::Transient => &[1, 2, 5, 15, 60],
        Class::Validation => &[1, 10, 100], // After a minute another way is tried.
    };
    match first.get(count.saturating_sub(1) as usize) {
        Some(minutes) => Duration::from_secs(minutes * 60),
        None => (remaining / 12).clamp(HOUR, DAY),
    }
}

/// Looks at what is on this machine that come one right after the other.
const AT_ONCE: u32 = 12;
/// Between these.
const LOCAL: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);
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

    const NAMES: [&str; 2] = ["https://one.test/dir", "https://two.test/dir"];

    fn wish(directories: &[&str]) -> Wish {
        let directories = directories.iter().map(ToString::to_string).collect();
        Wish { directories, identifiers: Identifiers::new(), how: String::new(), key: KeyKind::P256, profile: None }
    }

    fn pause(class: Class, seconds: u64) -> Trouble {
        Trouble { class, retry_after: Some(Duration::from_secs(seconds)), said: String::new() }
    }

    #[test]
    fn a_pause_that_a_ca_asks_for_binds_that_ca_only() {
        let (wish, mut history, now) = (wish(&NAMES), History::default(), Moment::from_unix(1_000_000));
        let until = |history: &History| history.setback.as_ref().map(|setback| setback.until);
        assert_eq!(history.directory(now, &wish, 3), Some(NAMES[0]));
        history.failed(now, pause(Class::Transient, 99_999_999_999), &wish, None);
        history.paused_by(now, NAMES[0]);
        assert_eq!((until(&history), history.directory(now, &wish, 3)), (Some(now), Some(NAMES[1])), "the next is asked at once");
        history.failed(now, pause(Class::RateLimited, 120), &wish, None);
        history.paused_by(now, NAMES[1]);
        assert_eq!(until(&history), Some(now + HOUR), "nobody is asked before a pause is over");
        let later = now + HOUR;
        assert_eq!(history.directory(later, &wish, 3), Some(NAMES[0]), "and then the first again");
        history.failed(later, pause(Class::Transient, 600), &wish, None);
        history.paused_by(later, NAMES[0]);
        assert_eq!((until(&history), history.directory(later, &wish, 3)), (Some(later), Some(NAMES[1])));
        history.failed(later, Trouble { class: Class::Configuration, retry_after: None, said: String::new() }, &wish, None);
        history.refused_by(later, NAMES[1]);
        assert!(until(&history) > Some(later), "a refusal by the other one does not end a pause");
        assert_eq!(until(&history), history.paused.get(NAMES[0]).copied());
        assert_eq!(history.directory(later, &wish, 3), Some(NAMES[0]));
    }

    #[test]
    fn a_pause_is_no_longer_than_the_certificate_in_hand_can_bear() {
        let (wish, now) = (wish(&NAMES[..1]), Moment::from_unix(1_000_000));
        let waited = |seconds, days: Option<u32>| {
            let mut history = History::default();
            history.failed(now, pause(Class::Transient, seconds), &wish, days.map(|days| now + DAY * days));
            history.paused_by(now, NAMES[0]);
            history.setback.map(|setback| setback.until.since(now).as_secs())
        };
        let ages = 99_999_999_999;
        assert_eq!([waited(ages, None), waited(ages, Some(0)), waited(ages, Some(3))], [Some(3600), Some(3600), Some(6 * 3600)]);
        assert_eq!([waited(ages, Some(365)), waited(90, None), waited(90, Some(30))], [Some(7 * 24 * 3600), Some(90), Some(90)]);
    }

    #[test]
    fn one_of_several_cas_that_refuses_holds_up_nothing_until_all_have() {
        let names = NAMES;
        let wish = wish(&NAMES);
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
        let local = |count| wait(Class::Local, count, Duration::ZERO).as_secs();
        assert_eq!([1, 2, 12, 13, 99_999].map(local), [5, 5, 5, 60, 60], "whoever mends it does not wait for a CA that nobody asks");
    }
}
