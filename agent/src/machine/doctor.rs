//! `chandler doctor`: all that keeps a machine's engines from pulling through the mirror, each with what to do. Engines show none of it: they fall back to the Hub.
//!
//! It looks from the mirror to the engine: whether the mirror serves this machine, whether files are as they are to be, whether engines work by them, whether a pull comes through.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::draft::Draft;
use super::proof::Proof;
use super::shown;
use crate::engines::{Change, Finding, Reload, Step, Weight};
use crate::reach::{self, Seen};
use crate::trust::TrustError;

/// All looks.
pub(super) struct Examination {
    pub(super) draft: Draft,
    pub(super) proofs: Vec<Proof>,
    pub(super) seen: Vec<Seen>,
    /// Why the mirror's CA is not known.
    pub(super) untrusted: Option<TrustError>,
}

impl Examination {
    /// What is wrong, in the order in which it is to be mended.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mirrors = self.seen.iter().filter_map(trouble);
        let whole = self.draft.whole();
        let steps: Vec<Finding> = whole.steps.iter().map(undone).collect();
        let untrusted = self.untrusted.iter().map(|error| Finding {
            engine: None,
            weight: Weight::Warns,
            what: ::mirror::chain(error),
            mend: error.hint().unwrap_or("look at what --ca names").to_owned(),
        });
        untrusted.chain(mirrors).chain(whole.findings).chain(steps).collect()
    }

    /// Whether a machine is as it is to be: warnings of a plan are no illness.
    pub(super) fn is_well(&self) -> bool {
        let mirrors = self.seen.iter().all(|seen| seen.trouble().is_none());
        self.untrusted.is_none() && mirrors && self.draft.is_empty() && !self.draft.blocked() && super::proof::hold(&self.proofs)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for seen in self.seen.iter().filter(|seen| seen.trouble().is_none()) {
            let _ = writeln!(out, "good  {} serves this machine", seen.mirror);
        }
        out.push_str(&super::proof::text(&self.proofs));
        out.push_str(&shown::findings(&self.findings()));
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let mirrors =
            self.seen.iter().map(|seen| json!({ "mirror": seen.mirror.to_string(), "serves": seen.verdict == reach::Verdict::Serves }));
        json!({
            "well": self.is_well(),
            "mirrors": mirrors.collect::<Value>(),
            "engines": super::proof::json(&self.proofs),
            "findings": self.findings().iter().map(shown::finding).collect::<Value>(),
        })
    }
}

/// What keeps a mirror from serving this machine.
pub(super) fn trouble(seen: &Seen) -> Option<Finding> {
    seen.trouble().map(|(what, mend)| Finding { engine: None, weight: Weight::Warns, what, mend })
}

/// A step that a plan still has.
fn undone(step: &Step) -> Finding {
    let what = match step {
        Step::Write(Change { path, .. }) => format!("{} is not as it is to be", path.display()),
        Step::Reload(Reload { mirrors, .. }) => {
            format!("it works by another configuration than its files': its mirrors are to be {}", mirrors.join(", "))
        }
        Step::Rebuild(rebuild) => format!("{} does not hold the mirror's CA", rebuild.bundle.display()),
    };
    let mend = "`chandler plan` shows what is to be changed, `chandler apply` changes it".to_owned();
    Finding { engine: Some(step.engine()), weight: Weight::Warns, what, mend }
}
