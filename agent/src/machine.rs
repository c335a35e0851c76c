//! `chandler plan`, `apply`, `undo`, `verify` and `doctor`: a machine's engines are put behind the mirror, taken out again, and looked at.
//!
//! Here files, engines and the record of what is ours come together: `look` is what the machine has, `draft` what is to be done (pure, but for reading the files of the record), the
//! executor in [`crate::apply`] does it. `shown` is how all of it is told, `proof` is a pull that only the mirror can answer.

mod daemons;
mod doctor;
mod draft;
mod editor;
mod look;
mod proof;
mod shown;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use serde_json::json;
use tokio::runtime::Runtime;

use self::daemons::Daemons;
use self::doctor::Examination;
use self::draft::Draft;
use self::look::{LookFailure, Machine};
use crate::apply::{ApplyError, Executor, Outcome, Report, Undo, Undoing, undo_plan};
use crate::cli::machine::{ApplyArgs, Back, EngineChoice, MachineArgs, PlanArgs, Task, UndoArgs, VerifyArgs};
use crate::engines::canary::Nonce;
use crate::engines::{Engine, Others, Plan, Weight, Wish};
use crate::host::{HostError, Root};
use crate::reach;
use crate::record::{Held, Record, RecordError};
use crate::report::Said;
use crate::settings::{Read, Settings, SettingsError};

/// Why a machine is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineFailure {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("not everything was done:\n{0}")]
    Blocked(String),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Look(#[from] LookFailure),
    #[error("no container engine was found on this machine")]
    NoEngine,
    #[error("it was not agreed to, and nothing was changed")]
    NotAgreed,
    #[error("{said}")]
    Partly {
        said: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{0}")]
    Unproved(String),
    #[error(transparent)]
    Proof(#[from] proof::ProofError),
}

impl MachineFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Blocked(_) => Some("each line says what is in the way, and how it is mended; what is not blocked was done"),
            Self::Host(error) | Self::Apply(ApplyError::Host(error)) => error.hint(),
            Self::Look(error) => error.hint(),
            Self::NoEngine => {
                Some("--engine docker writes its files all the same, for an engine that comes later; --root DIR names another tree")
            }
            Self::NotAgreed => Some("--yes agrees beforehand"),
            Self::Settings(error) => error.hint(),
            _ => None,
        }
    }

    /// It is a matter of what was written, and nothing was tried.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Settings(
                SettingsError::NoMirror
                    | SettingsError::Value { .. }
                    | SettingsError::Wrong { .. }
                    | SettingsError::Hub
                    | SettingsError::Registry(_)
            )
        )
    }
}

/// What is printed, and whether there was anything to do.
pub(crate) struct Answer {
    pub(crate) said: Said,
    /// For `--check`.
    pub(crate) has_changes: bool,
}

/// Does it.
pub(crate) fn run(task: &Task) -> Result<Answer, MachineFailure> {
    match task {
        Task::Apply(args) => apply(args),
        Task::Doctor(args) => doctor(args),
        Task::Plan(args) => plan(args),
        Task::Undo(args) => undo(args),
        Task::Verify(args) => verify(args),
    }
}

/// `chandler plan`.
fn plan(args: &PlanArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine)?;
    let wish = site.settings.wish(&args.wish)?;
    let (_, _, draft) = site.draft(&wish)?;
    let whole = draft.whole();
    let data = if args.machine.json { format!("{:#}\n", shown::json(&whole)) } else { shown::plan(&whole) };
    let notes = if draft.is_empty() && !draft.blocked() { vec![UP_TO_DATE.to_owned()] } else { Vec::new() };
    if draft.blocked() && args.check {
        return Err(MachineFailure::Blocked(data));
    }
    Ok(Answer { said: Said { data, notes }, has_changes: args.check && !draft.is_empty() })
}

/// `chandler apply`.
fn apply(args: &ApplyArgs) -> Result<Answer, MachineFailure> {
    if args.plan.check {
        return plan(&args.plan);
    }
    let site = Site::find(&args.plan.machine)?;
    let wish = site.settings.wish(&args.plan.wish)?;
    let mut record = Held::open(&site.root, &site.state)?;
    let machine = site.look(&wish)?;
    let mut draft = draft::draft(&machine, &site.engines(&machine)?, &wish, &record)?;
    if args.no_reload {
        draft.plan.steps.retain(|step| step.change().is_some());
    }
    let whole = draft.whole();
    if !draft.is_empty() {
        agree(&shown::plan(&whole), args.yes)?;
    }
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let mut executor = Executor::new(&mut record, &mut daemons, &machine);
    let (done, rest) = (executor.apply(&draft.plan), executor.undo(&draft.rest));
    finish(&[(&draft.plan, done), (&draft.rest.plan, rest)], args.plan.machine.json, &whole)
}

/// `chandler undo`.
fn undo(args: &UndoArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine)?;
    let machine = site.look(&nothing())?;
    if args.check {
        let undoing = site.undoing(args, &machine, &Record::read(&site.root, &site.state)?)?;
        let data = if args.machine.json { format!("{:#}\n", shown::json(&undoing.plan)) } else { shown::plan(&undoing.plan) };
        return Ok(Answer { said: Said { data, notes: Vec::new() }, has_changes: !undoing.plan.steps.is_empty() });
    }
    let mut record = Held::open(&site.root, &site.state)?;
    let undoing = site.undoing(args, &machine, &record)?;
    if !undoing.plan.steps.is_empty() {
        agree(&shown::plan(&undoing.plan), args.yes)?;
    }
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let report = Executor::new(&mut record, &mut daemons, &machine).undo(&undoing);
    let mut answer = finish(&[(&undoing.plan, report)], args.machine.json, &undoing.plan)?;
    if undoing.plan.steps.is_empty() {
        answer.said.notes.push("nothing of chandler's is left on this machine's engines".to_owned());
    }
    Ok(answer)
}

/// `chandler verify`.
fn verify(args: &VerifyArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine)?;
    let wish = site.settings.wish(&args.wish)?;
    let machine = site.look(&wish)?;
    let engines = site.engines(&machine)?;
    let proofs = site.runtime.block_on(proof::of(&machine, &engines, &wish))?;
    let data = if args.machine.json { format!("{:#}\n", proof::json(&proofs)) } else { proof::text(&proofs) };
    if proof::hold(&proofs) {
        Ok(Answer { said: Said { data, notes: Vec::new() }, has_changes: false })
    } else {
        let seen = site.runtime.block_on(reach::look(&wish, &nonce()));
        let troubles = seen.iter().filter_map(reach::Seen::trouble).map(|(what, mend)| format!("\n{what}\n  mend: {mend}"));
        Err(MachineFailure::Unproved(format!("the mirror is not used\n{}{}", data.trim_end(), troubles.collect::<String>())))
    }
}

/// `chandler doctor`.
fn doctor(args: &VerifyArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine)?;
    let wish = site.settings.wish(&args.wish)?;
    let (machine, _, draft) = site.draft(&wish)?;
    let engines = site.engines(&machine)?;
    let seen = site.runtime.block_on(reach::look(&wish, &nonce()));
    let proofs = site.runtime.block_on(proof::of(&machine, &engines, &wish))?;
    let examination = Examination { draft, proofs, seen };
    let data = if args.machine.json { format!("{:#}\n", examination.json()) } else { examination.text() };
    if examination.is_well() {
        return Ok(Answer { said: Said { data, notes: Vec::new() }, has_changes: false });
    }
    let head = if examination.is_used() { "the mirror is used, and something is not right" } else { "the mirror is not used" };
    Err(MachineFailure::Unproved(format!("{head}\n{}", data.trim_end())))
}

/// For a look at canaries that leads to no pull.
fn nonce() -> String {
    Nonce::new().map_or_else(|_| "0".repeat(32), |nonce| nonce.to_string())
}

/// Takes all engines of a tree out, as `chandler undo` does, and says what was done.
pub(crate) fn undo_engines(root: &Root) -> Result<String, MachineFailure> {
    let state = look::state(&look::asker(root));
    if Record::read(root, &state)?.entries().is_empty() {
        return Ok(String::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MachineFailure::Runtime)?;
    let machine = runtime.block_on(Machine::look(root, &look::asker(root), &nothing(), &[]))?;
    let mut record = Held::open(root, &state)?;
    let undoing = undo_plan(&record, &machine, &Undo { engines: Engine::ALL.to_vec(), keep_edits: false, clean: false })?;
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let report = Executor::new(&mut record, &mut daemons, &machine).undo(&undoing);
    finish(&[(&undoing.plan, report)], false, &undoing.plan).map(|answer| answer.said.data)
}

/// No mirror at all.
fn nothing() -> Wish {
    Wish { mirrors: Vec::new(), anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

/// The machine that is meant, and what its agent was told.
struct Site {
    choice: EngineChoice,
    root: Root,
    runtime: Runtime,
    settings: Read,
    state: PathBuf,
}

impl Site {
    fn find(args: &MachineArgs) -> Result<Self, MachineFailure> {
        let root = look::root(&args.root)?;
        let settings = Settings::read(args.config.as_deref(), &args.root)?;
        let choice = settings.engines(args.engine.as_ref())?;
        let state = look::state(&look::asker(&root));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MachineFailure::Runtime)?;
        Ok(Self { choice, root, runtime, settings, state })
    }

    fn look(&self, wish: &Wish) -> Result<Machine, MachineFailure> {
        let supposed = if let EngineChoice::Only(engines) = &self.choice { engines.as_slice() } else { &[] };
        Ok(self.runtime.block_on(Machine::look(&self.root, &look::asker(&self.root), wish, supposed))?)
    }

    /// Those that are there, and meant.
    fn engines(&self, machine: &Machine) -> Result<Vec<Engine>, MachineFailure> {
        let engines: Vec<Engine> = machine.engines().into_iter().filter(|engine| self.choice.takes(*engine)).collect();
        if engines.is_empty() { Err(MachineFailure::NoEngine) } else { Ok(engines) }
    }

    fn draft(&self, wish: &Wish) -> Result<(Machine, Record, Draft), MachineFailure> {
        let record = Record::read(&self.root, &self.state)?;
        let machine = self.look(wish)?;
        let draft = draft::draft(&machine, &self.engines(&machine)?, wish, &record)?;
        Ok((machine, record, draft))
    }

    /// The way back.
    fn undoing(&self, args: &UndoArgs, machine: &Machine, record: &Record) -> Result<Undoing, MachineFailure> {
        let engines = Engine::ALL.into_iter().filter(|engine| self.choice.takes(*engine)).collect();
        let undo = Undo { engines, keep_edits: args.keep_edits, clean: args.to == Back::Clean };
        Ok(undo_plan(record, machine, &undo)?)
    }
}

/// What came of it. Whatever failed or is blocked makes it a failure, after what was done is told.
fn finish(parts: &[(&Plan, Report)], as_json: bool, whole: &Plan) -> Result<Answer, MachineFailure> {
    let mut data = String::new();
    if as_json {
        let steps: Vec<_> = parts.iter().map(|(plan, report)| shown::outcomes(plan, report)).collect();
        data = format!("{:#}\n", json!({ "plan": shown::json(whole), "steps": steps }));
    } else {
        for (plan, report) in parts {
            data.push_str(&shown::report(plan, report));
        }
    }
    let blocked: Vec<_> = whole.findings.iter().filter(|finding| finding.weight == Weight::Blocks).cloned().collect();
    let known: Vec<_> = whole.findings.iter().filter(|finding| finding.weight != Weight::Blocks).cloned().collect();
    if !as_json {
        data.push_str(&shown::findings(&known));
    }
    for (_, report) in parts {
        for outcome in &report.steps {
            if let Outcome::Failed(error) = outcome {
                return Err(MachineFailure::Partly {
                    said: format!("{data}not everything was done"),
                    source: ::mirror::chain(error).into(),
                });
            }
        }
        if let Some(error) = &report.record {
            return Err(MachineFailure::Partly { said: data, source: ::mirror::chain(error).into() });
        }
    }
    if !blocked.is_empty() {
        return Err(MachineFailure::Blocked(format!("{data}{}", shown::findings(&blocked).trim_end())));
    }
    let notes = if whole.steps.is_empty() { vec![UP_TO_DATE.to_owned()] } else { Vec::new() };
    Ok(Answer { said: Said { data, notes }, has_changes: false })
}

/// Asks whoever sits at the terminal; a script has said what it wants by calling.
fn agree(plan: &str, yes: bool) -> Result<(), MachineFailure> {
    if yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let mut line = String::new();
    let asked = write!(io::stderr().lock(), "{plan}\nDo this? [y/N] ").and_then(|()| io::stdin().lock().read_line(&mut line));
    if asked.is_ok() && matches!(line.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(MachineFailure::NotAgreed) }
}

const UP_TO_DATE: &str = "everything is as it should be already; `chandler verify` proves it by a pull";

#[cfg(test)]
mod tests;
