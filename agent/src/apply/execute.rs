//! Runs steps, one after another, each only if it is still needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{ApplyError, Editor, Engines, Reported, Undoing, base};
use crate::engines::{Change, Engine, Plan, Rebuild, Reload, Step};
use crate::host::{Found, HostError, Place, Put, Root, steps};
use crate::record::{Held, Intention, RecordError, Standing};

/// Changes a machine, as a plan says and no further.
pub struct Executor<'a> {
    pub(super) root: Root,
    pub(super) record: &'a mut Held,
    pub(super) engines: &'a mut dyn Engines,
    pub(super) editor: &'a dyn Editor,
    /// What daemons worked by before they were told, in this run.
    pub(super) told: BTreeMap<Engine, Vec<(Reload, Reported)>>,
    /// The files that were never changed before this run.
    fresh: BTreeSet<PathBuf>,
}

/// What became of a plan.
#[derive(Debug)]
pub struct Report {
    /// One for each of its steps.
    pub steps: Vec<Outcome>,
    /// What was done is done, and the record does not say so yet: the next run writes it down.
    pub record: Option<RecordError>,
}

/// What became of a step.
#[derive(Debug)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was so already, and nothing was touched.
    AlreadySo,
    /// It was not.
    Failed(ApplyError),
    /// It was done, and then taken back because a later step of the same engine failed.
    PutBack,
    /// A step of the same engine before it failed.
    NotTried,
}

impl<'a> Executor<'a> {
    /// With the record of the tree that is changed.
    pub fn new(record: &'a mut Held, engines: &'a mut dyn Engines, editor: &'a dyn Editor) -> Self {
        Self { root: record.root().clone(), record, engines, editor, told: BTreeMap::new(), fresh: BTreeSet::new() }
    }

    /// Runs a plan. An engine that fails stops no other.
    pub fn apply(&mut self, plan: &Plan) -> Report {
        let steps = self.run(plan);
        Report { steps, record: self.record.tidy().err() }
    }

    /// Runs what [`undo_plan`](super::undo_plan) made, and strikes from the record the files of all engines that went through.
    pub fn undo(&mut self, undoing: &Undoing) -> Report {
        let steps = self.run(&undoing.plan);
        let mut over = undoing.ends.iter().filter(|end| !has_failed(end.engine, &undoing.plan, &steps));
        let struck = over.try_for_each(|end| self.record.forget(&end.path));
        Report { steps, record: struck.and_then(|()| self.record.tidy()).err() }
    }

    fn run(&mut self, plan: &Plan) -> Vec<Outcome> {
        self.told.clear();
        self.fresh.clear();
        let mut outcomes = Vec::new();
        for (at, step) in plan.steps.iter().enumerate() {
            if has_failed(step.engine(), plan, &outcomes) {
                outcomes.push(Outcome::NotTried);
                continue;
            }
            let outcome = self.step(step).unwrap_or_else(|error| Outcome::Failed(self.put_back(&plan.steps[..=at], &mut outcomes, error)));
            outcomes.push(outcome);
        }
        outcomes
    }

    fn step(&mut self, step: &Step) -> Result<Outcome, ApplyError> {
        let done = match step {
            Step::Write(change) => self.write(change)?,
            Step::Reload(reload) => self.reload(reload)?,
            Step::Rebuild(rebuild) => self.rebuild(rebuild)?,
        };
        Ok(if done { Outcome::Done } else { Outcome::AlreadySo })
    }

    /// Whether it had to be written.
    pub(super) fn write(&mut self, change: &Change) -> Result<bool, ApplyError> {
        let place = self.root.resolve(&change.path)?;
        let found = self.root.read_at(place.clone())?;
        let now = found.as_ref().map(|found| found.bytes.as_slice());
        if now == change.after.as_deref() {
            return Ok(false);
        }
        if now != change.before.as_deref() {
            return Err(HostError::Changed(change.path.clone()).into());
        }
        let standing = self.record.standing(&change.path, &place.real, now);
        if standing == Standing::Unknown {
            self.fresh.insert(change.path.clone());
        }
        let edited = standing == Standing::Edited;
        let cleaned = if edited { Some(self.cleaned(change, &place, now)?) } else { None };
        let cleaned = cleaned.as_ref().map(Option::as_deref);
        self.record.intend(&Intention { change, place: &place, now: found.as_ref(), cleaned })?;
        let written = self.replace(change, &place, found.as_ref());
        if written.is_ok() && edited {
            self.record.settle(&change.path)?;
        }
        if written.is_err() {
            // Where nothing was changed, nothing is left of the intention. If that fails too, an entry says what is so.
            let _ = self.forget_fresh(&change.path);
        }
        written.map(|()| true)
    }

    /// A file that this run was the first to change, and that reads as it did before, leaves no entry. An older entry stays: the engine may still work by what was
    /// written then.
    pub(super) fn forget_fresh(&mut self, path: &Path) -> Result<(), ApplyError> {
        if !self.fresh.contains(path) {
            return Ok(());
        }
        let place = self.root.resolve(path)?;
        let found = self.root.read_at(place.clone())?;
        let now = found.as_ref().map(|found| found.bytes.as_slice());
        if self.record.standing(path, &place.real, now) == Standing::Original {
            self.record.forget(path)?;
        }
        Ok(())
    }

    fn replace(&self, change: &Change, place: &Place, found: Option<&Found>) -> Result<(), ApplyError> {
        let before = found.map(|found| found.bytes.as_slice());
        let Some(after) = &change.after else { return Ok(self.root.take_away(place, before)?) };
        let entry = self.record.entry(&change.path);
        let nature = entry.and_then(|entry| entry.original.nature());
        Ok(self.root.put(place, &Put { before, after, nature, mode: change.mode })?)
    }

    /// What somebody made of a file, without what is ours: what `undo` is to bring back from now on.
    fn cleaned(&self, change: &Change, place: &Place, now: Option<&[u8]>) -> Result<Option<Vec<u8>>, ApplyError> {
        let cleaned = base(self.record, self.editor, &change.path, &place.real, now);
        cleaned.map_err(|why| ApplyError::Edited { path: change.path.clone(), why })
    }

    /// Whether it had to be told.
    fn reload(&mut self, reload: &Reload) -> Result<bool, ApplyError> {
        let engine = reload.engine;
        let earlier =
            self.engines.reported(engine, &reload.daemon).map_err(|source| ApplyError::Engine { engine, doing: "ask", source })?;
        if earlier.shows(reload) {
            return Ok(false);
        }
        let told = self.told.entry(engine).or_default();
        if !told.iter().any(|(other, _)| other.daemon == reload.daemon) {
            told.push((reload.clone(), earlier));
        }
        self.tell(reload)?;
        Ok(true)
    }

    /// It says nothing of what it works by: where it is planned, it is run.
    pub(super) fn rebuild(&mut self, rebuild: &Rebuild) -> Result<bool, ApplyError> {
        steps::before("run the system's tool");
        let run = self.engines.rebuild(&self.root, rebuild);
        run.map_err(|source| ApplyError::Engine { engine: Engine::System, doing: "rebuild", source })?;
        Ok(true)
    }

    pub(super) fn tell(&mut self, reload: &Reload) -> Result<(), ApplyError> {
        let engine = reload.engine;
        steps::before("reload an engine");
        let reported = self.engines.reload(reload).map_err(|source| ApplyError::Engine { engine, doing: "reload", source })?;
        if reported.shows(reload) {
            return Ok(());
        }
        if reported.mirrors != reload.mirrors {
            return Err(ApplyError::NotTaken { engine, wanted: reload.mirrors.clone(), reported: reported.mirrors });
        }
        let missing = reload.insecure.iter().filter(|registry| !reported.insecure.contains(registry)).cloned().collect();
        Err(ApplyError::NotInsecure { engine, missing })
    }
}

/// Whether a step of an engine failed.
fn has_failed(engine: Engine, plan: &Plan, outcomes: &[Outcome]) -> bool {
    plan.steps.iter().zip(outcomes).any(|(step, outcome)| step.engine() == engine && matches!(outcome, Outcome::Failed(_)))
}

impl Report {
    /// The engines that are not as they were to be, by the plan that was run.
    pub fn failed(&self, plan: &Plan) -> Vec<Engine> {
        let failed = plan.steps.iter().zip(&self.steps).filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        failed.map(|(step, _)| step.engine()).collect()
    }

    /// Whether all is as it was planned.
    pub fn is_success(&self) -> bool {
        self.record.is_none() && self.steps.iter().all(|outcome| matches!(outcome, Outcome::Done | Outcome::AlreadySo))
    }
}
