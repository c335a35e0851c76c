//! What a certificate shall contain: a value, computed from values and the time. No key, no disk, no clock.
//!
//! What always holds of it: its time lies within its issuer's, its names within what every CA above it permits, and it is backdated a little, for
//! clients whose clock is behind.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::constraints::{Constraints, Permits};
use super::serial::Serial;
use crate::{Identifier, Identifiers, Moment};

/// What stands in a certificate, but for the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Content {
    /// Its last second.
    pub not_after: Moment,
    /// Its first second.
    pub not_before: Moment,
    /// What it may do.
    pub role: Role,
    /// Its number.
    pub serial: Serial,
    /// Whose it is.
    pub subject: Subject,
}

/// What a certificate may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// Sign certificates of servers and clients with these names, and none of another CA.
    Intermediate(Constraints),
    /// Be shown in a handshake.
    Leaf {
        /// For whom.
        identifiers: Identifiers,
        /// By which side.
        purpose: Purpose,
    },
    /// Be trusted, and sign intermediates.
    Root,
}

/// By which side of a connection a certificate is shown.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// By the one that connects.
    Client,
    /// By the one that listens.
    #[default]
    Server,
}

/// Whose a certificate is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subject {
    /// CN.
    pub common_name: Option<String>,
    /// O.
    pub organization: Option<String>,
}

/// What an issuer may issue, by its own certificate and all above it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Each of these must allow a name.
    pub constraints: Vec<Constraints>,
    /// How many more CAs may stand below it; `None` where nobody says. Below zero not even a leaf may.
    pub further: Option<i64>,
    /// The first end in the chain.
    pub not_after: Moment,
    /// The last beginning in the chain.
    pub not_before: Moment,
    /// For which purposes; `None` where nobody says.
    pub purposes: Option<BTreeSet<Purpose>>,
}

/// What a leaf is asked to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// For whom.
    pub identifiers: Identifiers,
    /// For how long; it may get less.
    pub life: Duration,
    /// By which side.
    pub purpose: Purpose,
}

/// Why a certificate is not issued.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The issuer ends.
    #[error("the CA's own certificate ends at {0}, too soon for another one below it")]
    Ending(Moment),
    /// It would be valid too long, or not at all.
    #[error("{0} days are refused: a certificate is for 1 to {MAX_DAYS} days")]
    Life(u64),
    /// Some names are not this CA's.
    #[error("the CA may not issue for {names}; it may for {permitted}")]
    Names {
        /// All of them.
        names: String,
        /// What its certificates say.
        permitted: String,
    },
    /// It would be for nobody.
    #[error("there is no name or address to issue for")]
    NoNames,
    /// Not one of a size that clients read.
    #[error("{0} names are too many for one certificate: at most {MAX_NAMES}")]
    NotSoMany(usize),
    /// The clock is wrong, or the issuer's time has not come.
    #[error("the CA's own certificate is not valid before {0}; is the clock right?")]
    NotYet(Moment),
    /// The CA above allows no CA below.
    #[error("the path length of a CA above allows no further CA below it")]
    Path,
    /// The CA above does not allow it.
    #[error("the CA may not issue for {0}s: its extended key usage says so")]
    Purpose(Purpose),
}

impl Terms {
    /// Of the first in `chain`, each issued by the one behind it.
    pub fn of(chain: &[Authority]) -> Self {
        let further = chain.iter().enumerate().filter_map(|(below, one)| Some(i64::from(one.path_length()?) - below as i64)).min();
        let purposes = chain.iter().filter_map(Authority::purposes).cloned().reduce(|all, these| &all & &these);
        Self {
            constraints: chain.iter().filter_map(Authority::constraints).cloned().collect(),
            further,
            not_after: chain.iter().map(Authority::not_after).min().unwrap_or(Moment::from_unix(0)),
            not_before: chain.iter().map(Authority::not_before).max().unwrap_or(Moment::END),
            purposes,
        }
    }

    /// The same, and besides only for what its operator permits.
    pub fn within(mut self, permits: &Permits) -> Self {
        let ours = Constraints::only(permits);
        if !permits.is_empty() && !self.constraints.contains(&ours) {
            self.constraints.push(ours);
        }
        self
    }

    /// Those that a client would refuse.
    fn outside(&self, identifiers: &Identifiers) -> Vec<Identifier> {
        let is_outside = |one: &&Identifier| !self.constraints.iter().all(|constraints| constraints.allow(one));
        identifiers.iter().filter(is_outside).cloned().collect()
    }

    /// The time of something that shall live so long from now on: within the issuer's, and a day shorter.
    fn time(&self, life: Duration, now: Moment) -> Result<(Moment, Moment), Refusal> {
        if self.not_before > now {
            return Err(Refusal::NotYet(self.not_before));
        }
        let end = (now + life).min(self.not_after - MARGIN);
        if end < now + SHORTEST {
            return Err(Refusal::Ending(self.not_after));
        }
        Ok(((now - BACKDATED).max(self.not_before), end))
    }
}

/// A root, trusted for ten years.
pub fn root(subject: Subject, serial: Serial, now: Moment) -> Content {
    Content { not_after: now + ROOT_LIFE, not_before: now - BACKDATED, role: Role::Root, serial, subject }
}

/// A CA below one with `terms`, which issues leaves for what is permitted.
pub fn intermediate(terms: &Terms, permits: &Permits, subject: Subject, serial: Serial, now: Moment) -> Result<Content, Refusal> {
    if terms.further.is_some_and(|further| further < 1) {
        return Err(Refusal::Path);
    }
    let (not_before, not_after) = terms.time(INTERMEDIATE_LIFE, now)?;
    Ok(Content { not_after, not_before, role: Role::Intermediate(Constraints::only(permits)), serial, subject })
}

/// A certificate for a server or a client, by a CA with `terms`.
pub fn leaf(terms: &Terms, wanted: &Wanted, serial: Serial, now: Moment) -> Result<Content, Refusal> {
    check(terms, wanted)?;
    let (not_before, not_after) = terms.time(wanted.life, now)?;
    let role = Role::Leaf { identifiers: wanted.identifiers.clone(), purpose: wanted.purpose };
    let subject = Subject { common_name: common_name(&wanted.identifiers), organization: None };
    Ok(Content { not_after, not_before, role, serial, subject })
}

fn check(terms: &Terms, wanted: &Wanted) -> Result<(), Refusal> {
    let days = wanted.life.as_secs().div_ceil(DAY.as_secs());
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Refusal::Life(days));
    }
    if terms.further.is_some_and(|further| further < 0) {
        return Err(Refusal::Path);
    }
    if terms.purposes.as_ref().is_some_and(|purposes| !purposes.contains(&wanted.purpose)) {
        return Err(Refusal::Purpose(wanted.purpose));
    }
    match wanted.identifiers.len() {
        0 => return Err(Refusal::NoNames),
        many if many > MAX_NAMES => return Err(Refusal::NotSoMany(many)),
        _ => {}
    }
    let outside = terms.outside(&wanted.identifiers);
    if outside.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Names { names: list(&outside, ", "), permitted: list(&terms.constraints, ", but only what is also in ") })
    }
}

/// Only a host name: OpenSSL holds a common name that looks like one against the name constraints, and an address does look like one.
fn common_name(identifiers: &Identifiers) -> Option<String> {
    let names = identifiers.iter().filter_map(|identifier| match identifier {
        Identifier::Dns(name) => Some(name.as_str()),
        Identifier::Ip(_) => None,
    });
    names.filter(|name| name.len() <= MAX_COMMON_NAME).min_by_key(|name| name.starts_with('*')).map(str::to_owned)
}

fn list(items: &[impl fmt::Display], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// How long a leaf lives, where nobody says: a third of it is time to renew.
pub const LEAF_LIFE: Duration = Duration::from_secs(30 * DAY.as_secs());
/// For clients whose clock is behind.
const BACKDATED: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const INTERMEDIATE_LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());
/// So much sooner than its issuer a certificate ends.
const MARGIN: Duration = DAY;
/// RFC 5280, ub-common-name.
const MAX_COMMON_NAME: usize = 64;
/// What browsers and Apple's clients took from public CAs for long; more is a mistake.
const MAX_DAYS: u64 = 397;
const MAX_NAMES: usize = 100;
const ROOT_LIFE: Duration = Duration::from_secs(3652 * DAY.as_secs());
/// Less than this is of no use to anybody.
const SHORTEST: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests;
