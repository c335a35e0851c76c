//! When a certificate is got anew, and why not yet. Pure: the same view gives the same action.
//!
//! - *Due*: at once when there is none, or another one is wanted; else at the moment that the CA suggests (ARI, RFC 9773), or after two thirds of
//!   its life, and in any case before the last sixth.
//! - *Held up*: by the last failure, by a clock that is wrong, by a certificate that was got just now, and by a budget of our own below the CA's
//!   limits, so that no loop of any kind uses them up.
//!
//! A window that the CA suggested for another certificate counts for nothing: acting on the window of the certificate before has made clients
//! issue five in ten seconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::history::{Class, WEEK};
use crate::{Difference, Facts, History, Identifiers, Moment, Setback, Wish};

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Somebody asked for a new one.
    pub asked: bool,
    /// What we spend at most.
    pub budget: &'a Budget,
    /// The certificate in hand.
    pub held: Option<&'a Facts>,
    /// What was tried.
    pub history: &'a History,
    /// Between 0 and 1, drawn once for each certificate: so that a hundred of them do not fall due at one second.
    pub jitter: f64,
    /// How far our clock is from the CA's.
    pub skew: Duration,
    /// What the CA suggests.
    pub suggestion: Option<&'a Suggestion>,
    /// What is wanted.
    pub wish: &'a Wish,
}

/// When the CA wants a certificate to be renewed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Suggestion {
    /// Which certificate it is about.
    pub id: String,
    /// The window's last moment.
    pub end: Moment,
    /// Our own moment in the window, drawn once.
    pub selected: Moment,
    /// The window's first moment.
    pub start: Moment,
}

/// Most that is asked of a CA. The default stays below Let's Encrypt's limits (5 certificates a set in 7 days, 5 failures a name in an hour, 300
/// orders in 3 hours) and leaves the last certificate to a person's decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Failed proofs of one name in an hour.
    pub failures: usize,
    /// Certificates for the same identifiers in seven days, those that replace others by ARI apart.
    pub issued: usize,
    /// Orders in an hour.
    pub orders: usize,
}

impl Budget {
    /// For Let's Encrypt, and whoever counts like it.
    pub const PUBLIC: Self = Self { failures: 3, issued: 3, orders: 10 };
    /// For a CA of one's own: no loop asks it all the time.
    pub const OWN: Self = Self { failures: 1000, issued: usize::MAX, orders: 1000 };
}

/// What to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It is due, and something is against it.
    Hold {
        /// Why it is due.
        due: Reason,
        /// Look again then.
        until: Moment,
        /// What is against it.
        why: Hold,
    },
    /// All is well.
    Idle {
        /// Why it will be due.
        due: Reason,
        /// When.
        until: Moment,
    },
    /// Get one now.
    Obtain {
        /// Why.
        due: Reason,
        /// It takes the place of the one in hand, and says so to the CA.
        replaces: bool,
    },
}

/// Why a certificate is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// Most of its life is over.
    Age,
    /// Somebody asked for a new one.
    Asked,
    /// Another one is wanted.
    Changed(Difference),
    /// It is over.
    Expired,
    /// Less than a sixth of its life is left, whatever the CA suggests.
    Floor,
    /// There is none.
    Missing,
    /// Its issuer took it back.
    Revoked,
    /// The CA suggests it.
    Suggested,
    /// The CA suggested a time that is over.
    SuggestionPassed,
}

/// What is against getting one now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hold {
    /// The last attempt failed.
    Backoff(Class),
    /// So many failed proofs of a name in an hour.
    Failures,
    /// So many certificates in a week.
    Issued,
    /// So many orders in an hour.
    Orders,
    /// The clock is wrong: by it no time can be judged.
    Skew,
    /// There is one from just now, and it is due already: something is wrong with it, with the CA or with us.
    TooSoon,
}

/// What to do at `now`.
pub fn plan(now: Moment, view: &View<'_>) -> Action {
    let (at, due) = due(now, view);
    if at > now {
        return Action::Idle { due, until: at };
    }
    let replaces = replaces(view, due);
    match hold(now, view, due, replaces) {
        Some((why, until)) => Action::Hold { due, until: until.max(now + SHORTEST), why },
        None => Action::Obtain { due, replaces },
    }
}

/// When it is due, and by which rule.
fn due(now: Moment, view: &View<'_>) -> (Moment, Reason) {
    let Some(held) = view.held else { return (now, Reason::Missing) };
    if held.not_after <= now {
        return (now, Reason::Expired);
    }
    if let Some(difference) = held.differs(view.wish) {
        return (now, Reason::Changed(difference));
    }
    if held.revoked {
        return (now, Reason::Revoked);
    }
    if view.asked {
        return (now, Reason::Asked);
    }
    let floor = (held.not_after - held.life() / 6, Reason::Floor);
    let by_rule = match view.suggestion.filter(|suggestion| suggestion.is_about(held)) {
        Some(suggestion) if suggestion.end <= now => (now, Reason::SuggestionPassed),
        Some(suggestion) => (suggestion.selected, Reason::Suggested),
        None => (by_age(held, view.jitter), Reason::Age),
    };
    if floor.0 < by_rule.0 { floor } else { by_rule }
}

/// Two thirds of its life, half of a short one, and a little earlier.
fn by_age(held: &Facts, jitter: f64) -> Moment {
    let life = held.life();
    let share = if life < SHORT_LIFE { life / 2 } else { life / 3 * 2 };
    held.not_before + share - (life / 50).mul_f64(jitter.clamp(0.0, 1.0))
}

/// A CA takes it as a replacement when one identifier is the same, and the one in hand is its own.
fn replaces(view: &View<'_>, due: Reason) -> bool {
    let shares = |held: &Facts| held.id.is_some() && !held.identifiers.is_disjoint(&view.wish.identifiers);
    let same_ca = |held: &Facts| view.wish.directories.first() == Some(&held.directory);
    due != Reason::Expired && view.held.is_some_and(|held| shares(held) && same_ca(held))
}

fn hold(now: Moment, view: &View<'_>, due: Reason, replaces: bool) -> Option<(Hold, Moment)> {
    let is_bare = matches!(due, Reason::Missing | Reason::Expired);
    let (history, budget, identifiers) = (view.history, view.budget, &view.wish.identifiers);
    // By a clock that was ahead when it failed, the next attempt could be years away: such a failure holds up nothing.
    let is_of_now = |setback: &&Setback| setback.since <= now + WORST_SKEW && setback.until <= now + WEEK;
    if let Some(setback) = history.setback.as_ref().filter(is_of_now)
        && setback.until > now
        && (setback.wish == *view.wish || setback.class == Class::RateLimited)
    {
        return Some((Hold::Backoff(setback.class), setback.until));
    }
    if view.skew > WORST_SKEW && !is_bare {
        return Some((Hold::Skew, now + SKEW_LOOK));
    }
    if let Some(gap) = view.held.and_then(|held| gap(due, held.life()))
        && let Some(last) = issued(history, identifiers).filter(|at| has_been(now, *at)).max().filter(|last| now.since(*last) < gap)
    {
        return Some((Hold::TooSoon, last + gap));
    }
    // With nothing to serve the last but one that the CA allows is spent as well.
    let allowed = budget.issued.saturating_add(usize::from(is_bare));
    let counted = history.issued.iter().filter(|one| !one.replaced && one.identifiers == *identifiers).map(|one| one.at);
    let failures = identifiers.iter().filter_map(|identifier| {
        let failed = history.failures.iter().filter(|failure| failure.identifier == *identifier);
        spent(now, failed.map(|failure| failure.at), budget.failures, HOUR)
    });
    None.or_else(|| spent(now, counted, allowed, WEEK).filter(|_| !replaces).map(|until| (Hold::Issued, until)))
        .or_else(|| failures.max().map(|until| (Hold::Failures, until)))
        .or_else(|| spent(now, history.orders.iter().copied(), budget.orders, HOUR).map(|until| (Hold::Orders, until)))
}

fn issued(history: &History, identifiers: &Identifiers) -> impl Iterator<Item = Moment> {
    history.issued.iter().filter(move |one| one.identifiers == *identifiers).map(|one| one.at)
}

/// When there is something left again of `allowed` in each `period`; `None` when there is now.
fn spent(now: Moment, times: impl Iterator<Item = Moment>, allowed: usize, period: Duration) -> Option<Moment> {
    let mut lately: Vec<Moment> = times.filter(|at| has_been(now, *at) && now.since(*at) < period).collect();
    lately.sort_unstable();
    let oldest_that_counts = lately.len().checked_sub(allowed.max(1))?;
    Some(lately[oldest_that_counts] + period)
}

/// Times to come are from a clock that was ahead: counted, they would hold up everything until then.
fn has_been(now: Moment, at: Moment) -> bool {
    at <= now + WORST_SKEW
}

/// Between two certificates: a tenth of a life and at least an hour, but never so long that a very short one ends meanwhile. An hour is enough where
/// the CA's moment has passed, which may mean that it will revoke; a CA that says so of every new certificate gets no loop for it.
fn gap(due: Reason, life: Duration) -> Option<Duration> {
    let shortest = match due {
        Reason::Asked | Reason::Changed(_) | Reason::Expired | Reason::Missing | Reason::Revoked => return None,
        Reason::SuggestionPassed => HOUR,
        Reason::Age | Reason::Floor | Reason::Suggested => (life / 10).max(HOUR),
    };
    Some(Duration::from_secs(shortest.min(life / 3).as_secs()))
}

impl Hold {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Backoff(_) => "the last attempt failed and is waited out",
            Self::Failures => "its names could not be proved so often that the CA is left alone",
            Self::Issued => "so many were got in a week that the CA would refuse another",
            Self::Orders => "so many were ordered in an hour that the CA is left alone",
            Self::Skew => "the clock of this machine is wrong: set it (chrony, systemd-timesyncd)",
            Self::TooSoon => "the one from just now is due already, which is the CA's fault or ours",
        }
    }
}

impl Reason {
    /// The one in hand is not to be used any longer: its issuer has taken it back or is about to, or a person knows why.
    pub fn supersedes(self) -> bool {
        matches!(self, Self::Asked | Self::Revoked | Self::SuggestionPassed)
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Age => "most of its life is over then",
            Self::Asked => "somebody asked for it",
            Self::Changed(Difference::Directory) => "the configuration names another CA",
            Self::Changed(Difference::Identifiers) => "the configuration has other names",
            Self::Changed(Difference::Key) => "the configuration wants another kind of key",
            Self::Changed(Difference::Profile) => "the configuration wants another profile",
            Self::Expired => "it has ended",
            Self::Floor => "little of its life is left then",
            Self::Missing => "there is none",
            Self::Revoked => "the CA has taken it back",
            Self::Suggested | Self::SuggestionPassed => "the CA suggests it",
        }
    }
}

impl Suggestion {
    /// `None` for a window that is none: "end is before start" is an answer that RFC 9773 4.2 tells clients to ignore.
    pub fn new(id: String, start: Moment, end: Moment, dice: f64) -> Option<Self> {
        let selected = start + end.since(start).mul_f64(dice.clamp(0.0, 1.0));
        (start < end).then_some(Self { id, end, selected, start })
    }

    /// Whether the CA meant this very certificate.
    pub fn is_about(&self, held: &Facts) -> bool {
        held.id.as_ref() == Some(&self.id)
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// A life that is called short: renewed after its half.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 3600);
/// A clock that is further off than this is not used to judge certificates.
pub const WORST_SKEW: Duration = Duration::from_secs(5 * 60);
/// While the clock is wrong.
const SKEW_LOOK: Duration = Duration::from_secs(10 * 60);
/// Nothing is looked at more often.
const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
