//! `chandler plan`, `apply`, `undo`, `verify` and `doctor`: a machine's engines are put behind the mirror, taken out again, and looked at.
//!
//! Here files, engines and the record of what is ours come together: `look` is what the machine has, `draft` what is to be done (pure, but for reading the files of the record), the
//! executor in [`crate::apply`] does it. `shown` is how all of it is told, `proof` is a pull that only the mirror can answer.

mod answer;
mod daemons;
mod doctor;
mod draft;
mod editor;
mod kept_out;
mod look;
mod proof;
mod shown;
mod way_out;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use tokio::runtime::Runtime;

pub(crate) use self::answer::{Answer, Verdict};
pub(crate) use self::look::Machine;

use self::daemons::Daemons;
use self::doctor::Examination;
use self::draft::Draft;
use self::look::LookFailure;
use self::proof::Proof;
use self::way_out::WayOut;
use crate::apply::{ApplyError, Executor};
use crate::cli::machine::{ApplyArgs, DoctorArgs, EngineChoice, MachineArgs, PlanArgs, Task, UndoArgs, VerifyArgs, WishArgs};
use crate::engines::canary::Nonce;
use crate::engines::{Engine, Finding, Others, Wish};
use crate::host::{HostError, Root};
use crate::reach;
use crate::record::{Held, Record, RecordError};
use crate::report::plain;
use crate::settings::{Read, Settings, SettingsError};

/// Why a machine is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineFailure {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("something is in the way")]
    Blocked,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Look(#[from] LookFailure),
    #[error("no container engine was found on this machine")]
    NoEngine,
    #[error("it was not agreed to, and nothing was changed")]
    NotAgreed,
    #[error("{0}")]
    Left(String),
    #[error("not everything was done")]
    Partly,
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("the mirror is not used")]
    Disproved,
    #[error("this machine is not kept out")]
    LetIn,
    #[error("it is not proved that the mirror is used")]
    Unproved,
    #[error("the mirror is used, and something is not right")]
    Unwell,
    #[error(transparent)]
    Proof(#[from] proof::ProofError),
}

impl MachineFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Apply(error) => error.hint(),
            Self::Blocked => Some("the lines that say `blocked` tell what, and how it is mended; for other engines it makes no difference"),
            Self::Host(error) => error.hint(),
            Self::Look(error) => error.hint(),
            Self::NoEngine => {
                Some("--engine docker writes its files all the same, for an engine that comes later; --root DIR names another tree")
            }
            Self::NotAgreed => Some("--yes agrees beforehand"),
            Self::Partly => Some("the lines that say `failed` tell why; run it again when that is mended"),
            Self::Record(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            _ => None,
        }
    }

    /// It is a matter of what was written, and nothing was tried.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Settings(error) if error.is_usage())
    }
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
    let (_, draft) = site.draft(&site.wish(&args.wish)?)?;
    let answer = answer::of_plan(&draft.whole(), args.machine.json, args.check);
    Ok(if draft.is_empty() && !draft.blocked() { answer.noting(UP_TO_DATE) } else { answer })
}

/// `chandler apply`.
fn apply(args: &ApplyArgs) -> Result<Answer, MachineFailure> {
    if args.plan.check {
        return plan(&args.plan);
    }
    let site = Site::find(&args.plan.machine)?;
    let wish = site.wish(&args.plan.wish)?;
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
    let (done, rest, cleared) = draft.carry_out(&mut executor);
    let mut answer = answer::of_work(&[(&draft.plan, done), (&rest.plan, cleared)], &whole, args.plan.machine.json);
    if site.root.is_machine() && !args.no_reload {
        // Engines would say nothing of it.
        let seen = site.runtime.block_on(reach::look(&wish, &nonce()));
        answer.said.notes.extend(seen.iter().filter_map(reach::Seen::trouble).map(|(what, mend)| plain(&format!("{what}; {mend}"))));
    }
    Ok(if draft.is_empty() && !draft.blocked() { answer.noting(UP_TO_DATE) } else { answer })
}

/// `chandler undo`.
fn undo(args: &UndoArgs) -> Result<Answer, MachineFailure> {
    let way = WayOut::of(args)?;
    if args.check {
        let undoing = way.plan(&way.read()?, &way.look()?)?;
        return Ok(answer::of_plan(&undoing.plan, args.machine.json, true));
    }
    let mut record = way.hold()?;
    let machine = way.look()?;
    let undoing = way.plan(&record, &machine)?;
    if !undoing.plan.steps.is_empty() {
        agree(&shown::plan(&undoing.plan), args.yes)?;
    }
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let report = Executor::new(&mut record, &mut daemons, &machine).undo(&undoing);
    let answer = answer::of_work(&[(&undoing.plan, report)], &undoing.plan, args.machine.json);
    let note = way_out::note(&record, !undoing.plan.steps.is_empty());
    Ok(if let Some(note) = note { answer.noting(&note) } else { answer })
}

/// `chandler verify`.
fn verify(args: &VerifyArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine)?;
    let wish = site.wish(&args.wish)?;
    let machine = site.look(&wish)?;
    let engines = site.engines(&machine)?;
    let proofs = site.proofs(&machine, &engines, &wish)?;
    if proof::hold(&proofs) {
        return Ok(Answer::of(args.machine.json, || proof::text(&proofs), || proof::json(&proofs)));
    }
    let seen = site.runtime.block_on(reach::look(&wish, &nonce()));
    let troubles: Vec<Finding> = seen.iter().filter_map(doctor::trouble).collect();
    let text = || proof::text(&proofs) + &shown::findings(&troubles);
    Ok(Answer::of(args.machine.json, text, || proof::json(&proofs)).failing(proof::failure(&proofs)))
}

/// `chandler doctor`. What would end another command is a finding here.
fn doctor(DoctorArgs { verify: args, kept_out }: &DoctorArgs) -> Result<Answer, MachineFailure> {
    if *kept_out {
        return kept_out::examine(args);
    }
    let site = Site::find(&args.machine)?;
    let (wish, untrusted) = match site.wish(&args.wish) {
        Err(MachineFailure::Settings(SettingsError::Trust(error))) => (site.settings.wish_without_ca(&args.wish)?, Some(error)),
        wish => (wish?, None),
    };
    let (machine, draft) = site.draft(&wish)?;
    let engines = site.engines(&machine)?;
    let seen = site.runtime.block_on(reach::look(&wish, &nonce()));
    let proofs = site.proofs(&machine, &engines, &wish)?;
    let examination = Examination { draft, proofs, seen, untrusted };
    let answer = Answer::of(args.machine.json, || examination.text(), || examination.json());
    Ok(if examination.is_well() { answer } else { answer.failing(proof::failure(&examination.proofs)) })
}

/// For a look at canaries that leads to no pull.
fn nonce() -> String {
    Nonce::new().map_or_else(|_| "0".repeat(32), |nonce| nonce.to_string())
}

/// Takes all engines of a tree out, as `chandler undo` does, and says what was done.
pub(crate) fn undo_engines(root: &Root) -> Result<String, MachineFailure> {
    let way = WayOut::of_tree(root);
    if way.read()?.entries().is_empty() {
        return Ok(String::new());
    }
    let mut record = way.hold()?;
    let machine = way.look()?;
    let undoing = way.plan(&record, &machine)?;
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let report = Executor::new(&mut record, &mut daemons, &machine).undo(&undoing);
    let Answer { said, verdict } = answer::of_work(&[(&undoing.plan, report)], &undoing.plan, false);
    match verdict {
        Verdict::Failed(_) => Err(MachineFailure::Left(said.data.trim_end().to_owned())),
        Verdict::Done | Verdict::HasChanges => Ok(said.data),
    }
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
        let settings = Settings::read(args.config.as_deref(), &root)?;
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

    /// What is wanted. A CA that was put on this machine before is not asked for again.
    fn wish(&self, flags: &WishArgs) -> Result<Wish, MachineFailure> {
        let record = Record::read(&self.root, &self.state)?;
        let ours = record.entries().iter().flat_map(|entry| record.ours(entry));
        let known: Vec<&str> = ours.filter_map(|bytes| str::from_utf8(bytes).ok()).filter(|text| text.contains(CERTIFICATE)).collect();
        Ok(self.settings.wish(flags, &known)?)
    }

    fn draft(&self, wish: &Wish) -> Result<(Machine, Draft), MachineFailure> {
        let record = Record::read(&self.root, &self.state)?;
        let machine = self.look(wish)?;
        let draft = draft::draft(&machine, &self.engines(&machine)?, wish, &record)?;
        Ok((machine, draft))
    }

    /// What runs here has read no other tree's files.
    fn proofs(&self, machine: &Machine, engines: &[Engine], wish: &Wish) -> Result<Vec<Proof>, MachineFailure> {
        if !self.root.is_machine() {
            return Ok(engines.iter().map(|engine| Proof::untried(*engine, "a tree is no running machine")).collect());
        }
        Ok(self.runtime.block_on(proof::of(machine, engines, wish))?)
    }
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

/// How certificates are known in PEM.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const UP_TO_DATE: &str = "everything is as it should be already; `chandler verify` proves it by a pull";

#[cfg(test)]
mod tests;
