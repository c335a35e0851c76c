//! What is to be done on a machine that chandler may have changed before.
//!
//! Each engine is planned as if chandler had never been here: every file of ours is first taken for what it would be without us. So a second apply finds nothing to do, another
//! mirror takes the first one's place, and what is no longer needed goes back to what it was.
//!
//! A file that a reload has read goes back before that reload; all else, certificates above all, only when the engine works by the new plan, and in the order of an undo. If it fails and is put
//! back, that stays: it is what the engine works by.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::look::{Machine, blocked};
use crate::apply::{ApplyError, Editor, End, Executor, Layer, Report, Undoing, backwards, base, layer};
use crate::engines::{Change, Daemon, Engine, Plan, Step, Weight, Wish, docker};
use crate::record::{Entry, Record};

/// Two plans, run one after the other.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// What the wish needs.
    pub(crate) plan: Plan,
    /// Files of ours that it no longer needs.
    pub(crate) rest: Undoing,
}

impl Draft {
    /// Whether anything would be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.plan.steps.is_empty() && self.rest.plan.steps.is_empty()
    }

    /// Both, as a person reads them.
    pub(crate) fn whole(&self) -> Plan {
        let mut whole = self.plan.clone();
        whole.extend(self.rest.plan.clone());
        whole
    }

    /// Does it. What is no longer needed is taken from no engine that failed; what was to be taken, after that.
    pub(crate) fn carry_out(&self, executor: &mut Executor<'_>) -> (Report, Undoing, Report) {
        let done = executor.apply(&self.plan);
        let rest = self.rest.without(&done.failed(&self.plan));
        let cleared = executor.undo(&rest);
        (done, rest, cleared)
    }

    /// Engines that are left as they are until somebody mends something.
    pub(crate) fn blocked(&self) -> bool {
        self.plan.findings.iter().any(|finding| finding.weight == Weight::Blocks)
    }
}

/// Makes it for these engines.
pub(crate) fn draft(machine: &Machine, engines: &[Engine], wish: &Wish, record: &Record) -> Result<Draft, ApplyError> {
    let mut draft = Draft::default();
    for engine in engines {
        for part in parts(machine, *engine) {
            let (plan, rest) = One { engine: *engine, machine: &part, whole: machine, record }.draft(wish)?;
            draft.plan.extend(plan);
            draft.rest.plan.extend(rest.plan);
            draft.rest.ends.extend(rest.ends);
        }
    }
    Ok(draft)
}

/// The machine once for each Docker, since what is in the way of one is not in the way of another.
fn parts(machine: &Machine, engine: Engine) -> Vec<Machine> {
    if engine != Engine::Docker || machine.docker.is_empty() {
        return vec![machine.clone()];
    }
    machine.docker.iter().map(|facts| Machine { docker: vec![facts.clone()], ..machine.clone() }).collect()
}

struct One<'a> {
    engine: Engine,
    machine: &'a Machine,
    /// With all Dockers.
    whole: &'a Machine,
    record: &'a Record,
}

impl One<'_> {
    fn draft(&self, wish: &Wish) -> Result<(Plan, Undoing), ApplyError> {
        let mut supposed = self.machine.clone();
        for entry in self.entries() {
            match self.base(entry)? {
                Ok(base) => supposed.suppose_file(self.engine, &entry.path, base),
                Err(why) => return Ok((self.unreadable(&entry.path, &why), Undoing::default())),
            }
        }
        let mut plan = supposed.plan(self.engine, wish);
        self.weigh(&mut plan);
        if plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
            return Ok((plan, Undoing::default()));
        }
        let wanted: BTreeSet<PathBuf> = plan.steps.iter().filter_map(Step::change).map(|change| change.path.clone()).collect();
        let mut rest = self.rest(&wanted)?;
        // What the system's tool makes is made of all files.
        let is_read = |step: &Step| self.engine == Engine::System || step.change().is_some_and(|change| layer(&change.path) == Layer::Kept);
        let (read, later) = rest.plan.steps.into_iter().partition(is_read);
        rest.plan.steps = later;
        plan.steps = self.needed(plan.steps, read)?;
        Ok((plan, rest))
    }

    /// Another's Docker is in nobody's way where one of our own is there.
    fn weigh(&self, plan: &mut Plan) {
        let is_anothers = self.engine == Engine::Docker && self.machine.docker.iter().all(|facts| !facts.is_ours_to_change);
        if is_anothers && self.whole.docker.iter().any(|facts| facts.is_ours_to_change) {
            plan.findings.iter_mut().for_each(|finding| finding.weight = finding.weight.max(Weight::Warns));
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.record
            .entries()
            .iter()
            .filter(|entry| entry.engine == self.engine && (self.engine != Engine::Docker || self.is_of_this(&entry.path)))
    }

    /// Whose file it is, of several Dockers; one of none of them, which was elsewhere then, goes with the first that is ours.
    fn is_of_this(&self, path: &Path) -> bool {
        let has = |facts: &docker::Facts| facts.config_file == path || path.starts_with(&facts.certs_d);
        if self.whole.docker.iter().any(has) {
            return self.machine.docker.iter().any(has);
        }
        let first = self.whole.docker.iter().find(|facts| facts.is_ours_to_change);
        first.is_none_or(|first| self.machine.docker.iter().any(|facts| facts.config_file == first.config_file))
    }

    /// What is not so yet, from what the files hold now; `read` goes before the first reload.
    fn needed(&self, steps: Vec<Step>, read: Vec<Step>) -> Result<Vec<Step>, ApplyError> {
        let mut needed = Vec::new();
        for step in steps {
            match step {
                Step::Write(change) => {
                    let before = if self.is_ours(&change.path) { self.now(&change.path)? } else { change.before.clone() };
                    if before != change.after {
                        needed.push(Step::Write(Change { before, ..change }));
                    }
                }
                told => needed.push(told),
            }
        }
        let at = needed.iter().position(|step| step.change().is_none()).unwrap_or(needed.len());
        needed.splice(at..at, read);
        let writes = needed.iter().any(|step| step.change().is_some());
        // One that does not say what it works by is told when a file changes, and not each time.
        needed.retain(|step| match step {
            Step::Reload(reload) => writes || !self.keeps_silent(&reload.daemon),
            Step::Rebuild(rebuild) => writes || !rebuild.holds.is_subset(&self.machine.system.bundle),
            Step::Write(_) => true,
        });
        Ok(needed)
    }

    /// Of a file that is not in the record, the plan knows what it holds.
    fn is_ours(&self, path: &Path) -> bool {
        self.record.entry(path).is_some()
    }

    fn keeps_silent(&self, daemon: &Daemon) -> bool {
        self.machine.podman.services.iter().any(|service| service.daemon == *daemon && service.reported.is_none())
    }

    /// Files of ours that the plan does not name go back to what they were.
    fn rest(&self, wanted: &BTreeSet<PathBuf>) -> Result<Undoing, ApplyError> {
        let mut rest = Undoing::default();
        for entry in backwards(self.entries().filter(|entry| !wanted.contains(&entry.path))) {
            let Ok(after) = self.base(entry)? else { continue };
            let before = self.now(&entry.path)?;
            let mode = entry.original.nature().map_or(0o644, |nature| nature.mode);
            let change = Change { engine: self.engine, path: entry.path.clone(), before, after, mode, secret: entry.secret };
            rest.plan.steps.extend((change.before != change.after).then_some(Step::Write(change)));
            rest.ends.push(End { engine: self.engine, path: entry.path.clone() });
        }
        Ok(rest)
    }

    fn base(&self, entry: &Entry) -> Result<Result<Option<Vec<u8>>, String>, ApplyError> {
        let place = self.record.root().resolve(&entry.path)?;
        let real = place.real.clone();
        let now = self.record.root().read_at(place)?.map(|found| found.bytes);
        Ok(base(self.record, self.machine as &dyn Editor, &entry.path, &real, now.as_deref()))
    }

    fn now(&self, path: &Path) -> Result<Option<Vec<u8>>, ApplyError> {
        Ok(self.record.root().read(path)?.map(|found| found.bytes))
    }

    fn unreadable(&self, path: &Path, why: &str) -> Plan {
        let what = format!("{} was edited since chandler changed it, and cannot be understood: {why}", path.display());
        Plan { steps: Vec::new(), findings: vec![blocked(self.engine, what, "mend the file, and run this again")] }
    }
}
