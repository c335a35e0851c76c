//! Plans and what came of them, for people and for programs. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::apply::{Outcome, Report};
use crate::edit::diff;
use crate::engines::{Change, Engine, Finding, Plan, Reload, Step, Weight};
use crate::report::plain;

/// A plan: each file's change as a unified diff, then the reloads, then what a person must know.
pub(super) fn plan(plan: &Plan) -> String {
    let mut out = String::new();
    for change in plan.steps.iter().filter_map(Step::change) {
        out.push_str(&diff(change));
    }
    for step in &plan.steps {
        let _ = match step {
            Step::Reload(reload) => writeln!(out, "{}", told(reload)),
            Step::Rebuild(rebuild) => writeln!(out, "run {rebuild}, which makes {} of all files of the store", rebuild.bundle.display()),
            Step::Write(_) => Ok(()),
        };
    }
    out.push_str(&findings(&plan.findings));
    out
}

/// What a person must know, each with its mend.
pub(super) fn findings(findings: &[Finding]) -> String {
    let mut out = String::new();
    for Finding { engine, mend, weight, what } in findings {
        let whom = engine.map(|engine| format!("{engine}: ")).unwrap_or_default();
        let _ = writeln!(out, "{}: {whom}{what}\n  mend: {}", word(*weight), mend.replace('\n', "\n  "));
    }
    plain(&out)
}

/// What was done, step by step.
pub(super) fn report(plan: &Plan, report: &Report) -> String {
    let mut out = String::new();
    for (step, outcome) in plan.steps.iter().zip(&report.steps) {
        let what = match step {
            Step::Write(Change { after: None, path, .. }) => format!("{} is gone", path.display()),
            Step::Write(Change { before: None, path, .. }) => format!("{} is made", path.display()),
            Step::Write(Change { path, .. }) => format!("{} is changed", path.display()),
            Step::Reload(reload) => format!("{} was reloaded, and reports {}", reload.engine, mirrors(reload)),
            Step::Rebuild(rebuild) => format!("{} is made anew ({rebuild})", rebuild.bundle.display()),
        };
        let _ = match outcome {
            Outcome::Done => writeln!(out, "{what}"),
            Outcome::AlreadySo => Ok(()),
            Outcome::Failed(error) => {
                let mend = error.hint().map(|hint| format!("\n  mend: {hint}")).unwrap_or_default();
                writeln!(out, "failed: {}: {}{mend}", subject(step), plain(&::mirror::chain(error)))
            }
            Outcome::PutBack => writeln!(out, "put back: {}", subject(step)),
            Outcome::NotTried => writeln!(out, "not tried: {}", subject(step)),
        };
    }
    if let Some(error) = &report.record {
        let _ = writeln!(out, "failed: the record of what is chandler's: {}", plain(&::mirror::chain(error)));
    }
    out
}

/// For programs.
pub(super) fn json(plan: &Plan) -> Value {
    let changes = plan.steps.iter().filter_map(Step::change);
    let reloads = plan.steps.iter().filter_map(|step| match step {
        Step::Reload(reload) => Some(reload),
        Step::Write(_) | Step::Rebuild(_) => None,
    });
    let rebuilds = plan.steps.iter().filter_map(|step| match step {
        Step::Rebuild(rebuild) => Some(json!({ "tool": rebuild.to_string(), "bundle": rebuild.bundle })),
        Step::Write(_) | Step::Reload(_) => None,
    });
    json!({
        "changed": !plan.steps.is_empty(),
        "changes": changes.map(|change| json!({ "engine": change.engine.word(), "path": change.path, "diff": diff(change) })).collect::<Value>(),
        "reloads": reloads
            .map(|reload| json!({ "engine": reload.engine.word(), "pid": reload.daemon.pid, "mirrors": reload.mirrors }))
            .collect::<Value>(),
        "rebuilds": rebuilds.collect::<Value>(),
        "findings": plan.findings.iter().map(finding).collect::<Value>(),
    })
}

/// The outcomes, one for each step.
pub(super) fn outcomes(plan: &Plan, report: &Report) -> Vec<Value> {
    let one = |(step, outcome): (&Step, &Outcome)| {
        let (word, error) = match outcome {
            Outcome::Done => ("done", None),
            Outcome::AlreadySo => ("already so", None),
            Outcome::Failed(error) => ("failed", Some(::mirror::chain(error))),
            Outcome::PutBack => ("put back", None),
            Outcome::NotTried => ("not tried", None),
        };
        json!({ "step": subject(step), "outcome": word, "error": error })
    };
    plan.steps.iter().zip(&report.steps).map(one).collect()
}

pub(super) fn finding(finding: &Finding) -> Value {
    json!({
        "engine": finding.engine.map(Engine::word),
        "weight": word(finding.weight),
        "what": finding.what,
        "mend": finding.mend,
    })
}

fn diff(change: &Change) -> String {
    diff::unified(&change.path.display().to_string(), change.before.as_deref(), change.after.as_deref(), change.secret)
}

fn subject(step: &Step) -> String {
    match step {
        Step::Write(change) => change.path.display().to_string(),
        Step::Reload(reload) => format!("reload of {}", reload.engine),
        Step::Rebuild(rebuild) => rebuild.tool.display().to_string(),
    }
}

fn told(reload: &Reload) -> String {
    format!(
        "reload {} (process {}) by a signal: nothing that runs is disturbed; its mirrors are then {}",
        reload.engine,
        reload.daemon.pid,
        mirrors(reload)
    )
}

fn mirrors(reload: &Reload) -> String {
    if reload.mirrors.is_empty() { "none".to_owned() } else { reload.mirrors.join(", ") }
}

fn word(weight: Weight) -> &'static str {
    match weight {
        Weight::Blocks => "blocked",
        Weight::Restart => "pending restart",
        Weight::Warns => "warning",
    }
}
