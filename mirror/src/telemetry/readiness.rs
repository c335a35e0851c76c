//! What keeps the mirror from serving, or from serving well: conditions by name, each with its reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// All conditions; clones share them. No condition is the good state, so a name that nobody set does not keep anybody waiting.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<Name, (Kind, String)>>>);

type Name = Cow<'static, str>;

/// How bad a condition is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Clients should go elsewhere: `/readyz` is 503.
    Blocking,
    /// Clients are served, and somebody should look.
    Warning,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Condition {
    /// How bad it is.
    pub kind: Kind,
    /// What it is called, such as `store` or `account docker.io`.
    pub name: Name,
    /// What happened, and what to do.
    pub reason: String,
}

/// A look at all conditions.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// What is not as it should be, the worst first.
    pub conditions: Vec<Condition>,
    /// Nothing blocks.
    pub ready: bool,
}

impl Readiness {
    /// Until [`Readiness::clear`], `/readyz` is 503 with this reason.
    pub fn block(&self, name: impl Into<Name>, reason: impl Into<String>) {
        self.set(name, Kind::Blocking, reason);
    }

    /// Until [`Readiness::clear`], `/readyz` shows this reason.
    pub fn warn(&self, name: impl Into<Name>, reason: impl Into<String>) {
        self.set(name, Kind::Warning, reason);
    }

    /// The condition is over.
    pub fn clear(&self, name: &str) {
        self.conditions().remove(name);
    }

    /// How it is now.
    pub fn report(&self) -> Report {
        let one = |(name, (kind, reason)): (&Name, &(Kind, String))| Condition { kind: *kind, name: name.clone(), reason: reason.clone() };
        let mut conditions: Vec<_> = self.conditions().iter().map(one).collect();
        conditions.sort_by_key(|condition| condition.kind);
        Report { ready: conditions.iter().all(|condition| condition.kind != Kind::Blocking), conditions }
    }

    /// Until [`Readiness::clear`], `/readyz` shows this reason; where it is a blocking one, as 503.
    pub fn set(&self, name: impl Into<Name>, kind: Kind, reason: impl Into<String>) {
        self.conditions().insert(name.into(), (kind, reason.into()));
    }

    fn conditions(&self) -> MutexGuard<'_, BTreeMap<Name, (Kind, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::from(if self.ready { "ready\n" } else { "not ready\n" });
        for Condition { kind, name, reason } in &self.conditions {
            let kind = if *kind == Kind::Blocking { "blocking" } else { "warning" };
            text.extend([kind, ": ", name, ": ", reason, "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_blocking_condition_makes_it_not_ready() {
        let readiness = Readiness::default();
        assert!(readiness.report().ready);
        readiness.warn("account docker.io", "the Hub refuses the account");
        assert!(readiness.report().ready);
        readiness.block("store", "cannot write: no space");
        insta::assert_snapshot!(readiness.report().text(), @r"
        not ready
        blocking: store: cannot write: no space
        warning: account docker.io: the Hub refuses the account
        ");
        readiness.clear("store");
        assert!(readiness.report().ready);
    }
}
