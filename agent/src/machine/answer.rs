//! What a command says at its end: data for standard output, whatever came of it, and beside that whether it failed.

use serde_json::{Value, json};

use super::{MachineFailure, shown};
use crate::apply::{Outcome, Report};
use crate::engines::{Plan, Weight};
use crate::report::Said;

/// An end.
pub(crate) struct Answer {
    pub(crate) said: Said,
    pub(crate) verdict: Verdict,
}

/// For the exit code.
pub(crate) enum Verdict {
    Done,
    /// `--check` found changes to make.
    HasChanges,
    Failed(MachineFailure),
}

impl Answer {
    pub(super) fn new(data: String) -> Self {
        Self { said: Said { data, notes: Vec::new() }, verdict: Verdict::Done }
    }

    /// For people or for programs.
    pub(super) fn of(as_json: bool, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Self {
        Self::new(if as_json { format!("{:#}\n", json()) } else { text() })
    }

    pub(super) fn failing(mut self, failure: MachineFailure) -> Self {
        self.verdict = Verdict::Failed(failure);
        self
    }

    pub(super) fn noting(mut self, note: &str) -> Self {
        self.said.notes.push(note.to_owned());
        self
    }
}

/// A look at a plan.
pub(super) fn of_plan(plan: &Plan, as_json: bool, check: bool) -> Answer {
    let answer = Answer::of(as_json, || shown::plan(plan), || shown::json(plan));
    let is_blocked = plan.findings.iter().any(|finding| finding.weight == Weight::Blocks);
    match (check, is_blocked, plan.steps.is_empty()) {
        (true, true, _) => answer.failing(MachineFailure::Blocked),
        (true, false, false) => Answer { verdict: Verdict::HasChanges, ..answer },
        _ => answer,
    }
}

/// What came of plans that were run. Whatever failed or is blocked makes it a failure.
pub(super) fn of_work(parts: &[(&Plan, Report)], whole: &Plan, as_json: bool) -> Answer {
    let text = || {
        let done = parts.iter().map(|(plan, report)| shown::report(plan, report)).collect::<String>();
        done + &shown::findings(&whole.findings)
    };
    let steps = || parts.iter().flat_map(|(plan, report)| shown::outcomes(plan, report)).collect::<Value>();
    let answer = Answer::of(as_json, text, || json!({ "plan": shown::json(whole), "steps": steps() }));
    let has_failed = |report: &Report| report.record.is_some() || report.steps.iter().any(|one| matches!(one, Outcome::Failed(_)));
    if parts.iter().any(|(_, report)| has_failed(report)) {
        return answer.failing(MachineFailure::Partly);
    }
    if whole.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
        return answer.failing(MachineFailure::Blocked);
    }
    answer
}
