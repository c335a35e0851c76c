//! `chandler plan`, `apply`, `undo`, `verify` and `doctor`: a machine's engines are put behind the mirror, taken out again, and looked at.
//!
//! Here files, engines and the record of what is ours come together: `look` is what the machine has, `draft` what is to be done (pure, but for reading the files of the record), the
//! executor in [`crate::apply`] does it. `shown` is how all of it is told, `proof` is a pull that only the mirror can answer, `verify` is that command, with `failover` and `timing` for who asks
//! how long engines take.

mod answer;
mod chain;
mod daemons;
mod doctor;
mod draft;
mod editor;
mod failover;
mod kept_out;
mod look;
mod proof;
mod shown;
mod size;
mod timing;
mod verify;
mod way_out;

use std::io;
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
use crate::cli::machine::{ApplyArgs, DoctorArgs, EngineChoice, MachineArgs, PlanArgs, Task, UndoArgs, WishArgs};
use crate::engines::canary::Nonce;
use crate::engines::{Engine, MirrorUrl, Others, Step, Wish};
use crate::host::{HostError, Root};
use crate::local::LocalMirror;
use crate::reach;
use crate::record::{Held, Record, RecordError};
use crate::settings::{Read, Settings, SettingsError};
use crate::terminal::{self, Progress};

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
    #[error("no mirror serves this machine, and nothing was changed")]
    NoMirror,
    #[error("images of {0} are not pulled through the mirror")]
    NotMirrored(String),
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
    #[error("the mirror on this machine is used, and does not reach the site's")]
    Unchained,
    #[error("it is not proved that the mirror is used")]
    Unproved,
    #[error("the mirror is used, and an engine does not turn away in time from one that is of no use")]
    Slow,
    #[error("a mirror that is of no use can't be stood in for")]
    StandIn(#[source] io::Error),
    #[error("the mirror is used, and what was to be timed was not")]
    Untimed,
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
            Self::NoMirror => Some(
                "the lines above say why; without --require-mirror the engines are put behind it all the same, and use it once it serves",
            ),
            Self::NotAgreed => Some("--yes agrees beforehand"),
            Self::NotMirrored(_) => Some("--registry names registries beside Docker Hub, also for `chandler apply`"),
            Self::Slow => Some("the lines that say `slow` tell which; --failover=SECONDS says what is in time"),
            Self::Partly => Some("the lines that say `failed` tell why; run it again when that is mended"),
            Self::Record(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            Self::Unchained => Some("it serves what it has, and engines get the rest from the Hub, but for private images"),
            _ => None,
        }
    }

    /// It is a matter of what was written, and nothing was tried.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Settings(error) if error.is_usage()) || matches!(self, Self::NotMirrored(_))
    }
}

/// Does it.
pub(crate) fn run(task: &Task) -> Result<Answer, MachineFailure> {
    match task {
        Task::Apply(args) => apply(args),
        Task::Doctor(args) => doctor(args),
        Task::Plan(args) => plan(args),
        Task::Undo(args) => undo(args),
        Task::Verify(args) => verify::verify(args),
    }
}

/// `chandler plan`.
fn plan(args: &PlanArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine, &args.wish)?;
    let wish = site.wish(&args.wish)?;
    let (_, mut draft) = site.draft(&wish)?;
    if site.root.is_machine() {
        draft.plan.findings.extend(site.seen(&wish).iter().filter_map(doctor::trouble));
    }
    let answer = answer::of_plan(&draft.whole(), args.machine.json, args.check);
    Ok(if draft.is_empty() && !draft.blocked() { answer.noting(up_to_date(&args.wish)) } else { answer })
}

/// `chandler apply`. Whether the mirror serves is said before anything is changed, and no reason not to: it may come later, and until then engines go past it.
fn apply(args: &ApplyArgs) -> Result<Answer, MachineFailure> {
    if args.plan.check {
        return plan(&args.plan);
    }
    let site = Site::find(&args.plan.machine, &args.plan.wish)?;
    let wish = site.wish(&args.plan.wish)?;
    let mut record = Held::open(&site.root, &site.state)?;
    let machine = site.look(&wish)?;
    let mut draft = draft::draft(&machine, &site.engines(&machine)?, &wish, &record)?;
    if args.no_reload {
        draft.plan.steps.retain(|step| !matches!(step, Step::Reload(_)));
    }
    if args.require_mirror || (site.root.is_machine() && !args.no_reload) {
        let seen = site.seen(&wish);
        draft.plan.findings.extend(seen.iter().filter_map(doctor::trouble));
        if args.require_mirror && !seen.iter().any(reach::Seen::serves) {
            let refused = answer::of_plan(&draft.whole(), args.plan.machine.json, false);
            return Ok(refused.failing(MachineFailure::NoMirror));
        }
    }
    let whole = draft.whole();
    if !draft.is_empty() {
        agree(&shown::plan(&whole), args.yes)?;
    }
    let mut progress = Progress::new();
    progress.say("writes files, and has engines read them");
    let mut daemons = Daemons::new().map_err(MachineFailure::Runtime)?;
    let mut executor = Executor::new(&mut record, &mut daemons, &machine);
    let (done, rest, cleared) = draft.carry_out(&mut executor);
    drop(progress);
    let answer = answer::of_work(&[(&draft.plan, done), (&rest.plan, cleared)], &whole, args.plan.machine.json);
    Ok(if draft.is_empty() && !draft.blocked() { answer.noting(up_to_date(&args.plan.wish)) } else { answer })
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

/// `chandler doctor`. What would end another command is a finding here.
fn doctor(args: &DoctorArgs) -> Result<Answer, MachineFailure> {
    if args.kept_out {
        return kept_out::examine(args);
    }
    let site = Site::find(&args.machine, &args.wish)?;
    let (wish, untrusted) = match site.wish(&args.wish) {
        Err(MachineFailure::Settings(SettingsError::Trust(error))) => (site.settings.wish_without_ca(&args.wish)?, Some(error)),
        wish => (wish?, None),
    };
    let (machine, mut draft) = site.draft(&wish)?;
    if site.local.is_none() {
        draft.plan.findings.extend(chain::own(&site.root, &wish.mirrors));
    }
    let engines = site.engines(&machine)?;
    let seen = site.seen(&wish);
    let proofs = site.proofs(&machine, &engines, &wish, &mut Progress::new())?;
    let examination = Examination { draft, proofs, seen, untrusted };
    let answer = Answer::of(args.machine.json, || examination.text(), || examination.json());
    Ok(if examination.is_well() { answer } else { answer.failing(proof::failure(&examination.proofs)) })
}

/// Where nothing is to be done.
fn up_to_date(flags: &WishArgs) -> &'static str {
    if flags.trust_alone {
        "this system trusts the CA already"
    } else {
        "everything is as it should be already; `chandler verify` proves it by a pull"
    }
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

/// Whether a file of this tree's engines that is ours names a mirror.
pub(crate) fn is_behind(root: &Root, mirror: &MirrorUrl) -> Result<bool, MachineFailure> {
    let record = WayOut::of_tree(root).read()?;
    let name = mirror.authority();
    Ok(record.entries().iter().filter_map(|entry| record.ours(entry).pop()).any(|bytes| String::from_utf8_lossy(bytes).contains(&name)))
}

/// No mirror at all.
fn nothing() -> Wish {
    Wish { mirrors: Vec::new(), anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

/// The machine that is meant, and what its agent was told.
struct Site {
    choice: EngineChoice,
    /// The one on this machine, where engines are to be behind that.
    local: Option<LocalMirror>,
    root: Root,
    runtime: Runtime,
    settings: Read,
    state: PathBuf,
    /// The system's store is to have the CA.
    system: bool,
}

impl Site {
    fn find(args: &MachineArgs, flags: &WishArgs) -> Result<Self, MachineFailure> {
        let root = look::root(&args.root)?;
        let mut settings = Settings::read(args.config.as_deref(), &root)?;
        let local = settings.find_local(flags, &root)?.cloned();
        let choice = settings.engines(args.engine.as_ref())?;
        let state = look::state(&look::asker(&root));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MachineFailure::Runtime)?;
        let system = settings.system_trust(flags) || matches!(&choice, EngineChoice::Only(engines) if engines.contains(&Engine::System));
        Ok(Self { choice, local, root, runtime, settings, state, system })
    }

    fn look(&self, wish: &Wish) -> Result<Machine, MachineFailure> {
        let named = if let EngineChoice::Only(engines) = &self.choice { engines.as_slice() } else { &[] };
        let supposed: Vec<Engine> = named.iter().copied().chain(self.system.then_some(Engine::System)).collect();
        Ok(self.runtime.block_on(Machine::look(&self.root, &look::asker(&self.root), wish, &supposed))?)
    }

    /// Those that are there, and meant; before them the system's store, where it is.
    fn engines(&self, machine: &Machine) -> Result<Vec<Engine>, MachineFailure> {
        let engines: Vec<Engine> = machine.engines().into_iter().filter(|engine| self.choice.takes(*engine)).collect();
        let is_alone = matches!(&self.choice, EngineChoice::Only(named) if *named == [Engine::System]);
        if engines.is_empty() && !is_alone {
            return Err(MachineFailure::NoEngine);
        }
        Ok(self.system.then_some(Engine::System).into_iter().chain(engines).collect())
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
    fn proofs(&self, machine: &Machine, engines: &[Engine], wish: &Wish, progress: &mut Progress) -> Result<Vec<Proof>, MachineFailure> {
        if !self.root.is_machine() {
            return Ok(engines.iter().map(|engine| Proof::untried(*engine, "a tree is no running machine")).collect());
        }
        let mut proofs = self.runtime.block_on(proof::of(machine, engines, wish, progress))?;
        if let Some(local) = &self.local {
            proofs.extend(self.runtime.block_on(chain::proof(local))?);
        }
        Ok(proofs)
    }

    /// How the mirrors look from here, and those behind the one that is on this machine: engines would say nothing of it.
    fn seen(&self, wish: &Wish) -> Vec<reach::Seen> {
        let mut progress = Progress::new();
        progress.say("looks whether the mirror serves this machine");
        let mut seen = self.runtime.block_on(reach::look(wish, &nonce()));
        if let Some(local) = &self.local {
            seen.extend(self.runtime.block_on(chain::look(&self.root, local, &nonce())));
        }
        seen
    }
}

/// Asks whoever sits at the terminal; a script has said what it wants by calling.
fn agree(plan: &str, yes: bool) -> Result<(), MachineFailure> {
    let is_agreed = yes || !terminal::can_ask() || terminal::says_yes(&format!("{plan}\nDo this?"));
    if is_agreed { Ok(()) } else { Err(MachineFailure::NotAgreed) }
}

/// How certificates are known in PEM.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests;
