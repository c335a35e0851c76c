//! The plan that takes a machine out again, by the record.
//!
//! Files are brought back the last first, so that an engine has let go of a mirror before what it trusts the mirror by goes. Where somebody edited a file of an
//! engine, nothing of that engine is touched, unless it is said what becomes of the edit ([`Undo`]).

use std::path::{Path, PathBuf};

use super::{ApplyError, Editor, base};
use crate::engines::{Change, Engine, Finding, Plan, Reload, Step, Weight};
use crate::record::{Entry, Record, Standing};

/// How far back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Undo {
    /// For whom.
    pub engines: Vec<Engine>,
    /// Edits of others stay, and what is ours is taken out of them; else an edited file blocks its engine.
    pub keep_edits: bool,
    /// To a machine without any mirror, also those that were there before us; else to the originals.
    pub clean: bool,
}

/// What is done, and what is over then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Undoing {
    /// Steps and findings.
    pub plan: Plan,
    /// The files that are no longer ours when all steps of their engine are done.
    pub ends: Vec<End>,
}

/// A file that will be struck from the record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// For whom it was changed.
    pub engine: Engine,
    /// As it was planned.
    pub path: PathBuf,
}

/// What undoes all that the record holds of these engines.
pub fn undo_plan(record: &Record, editor: &dyn Editor, undo: &Undo) -> Result<Undoing, ApplyError> {
    let mut undoing = Undoing::default();
    for engine in record.engines().into_iter().filter(|engine| undo.engines.contains(engine)) {
        let mut part = Undoing::default();
        for entry in record.entries().iter().rev().filter(|entry| entry.engine == engine) {
            One { record, editor, undo, entry }.plan(&mut part)?;
        }
        if part.plan.findings.iter().any(|finding| finding.weight == Weight::Blocks) {
            part.plan.steps.clear();
            part.ends.clear();
        }
        undoing.plan.extend(part.plan);
        undoing.ends.extend(part.ends);
    }
    Ok(undoing)
}

/// One file of the record.
struct One<'a> {
    record: &'a Record,
    editor: &'a dyn Editor,
    undo: &'a Undo,
    entry: &'a Entry,
}

impl One<'_> {
    fn plan(&self, undoing: &mut Undoing) -> Result<(), ApplyError> {
        let entry = self.entry;
        let place = self.record.root().resolve(&entry.path)?;
        let real = place.real.clone();
        let now = self.record.root().read_at(place)?.map(|found| found.bytes);
        let edited = self.record.standing(&entry.path, &real, now.as_deref()) == Standing::Edited;
        if edited && !self.undo.keep_edits && !self.undo.clean {
            undoing.plan.findings.push(self.edited(&real, now.is_some()));
            return Ok(());
        }
        match self.target(&real, now.as_deref()) {
            Ok(target) => {
                undoing.plan.findings.extend(self.stays(target.as_deref()));
                undoing.plan.steps.extend(self.steps(now, target));
                undoing.ends.push(End { engine: entry.engine, path: entry.path.clone() });
            }
            Err(why) => undoing.plan.findings.push(self.unreadable(&why)),
        }
        Ok(())
    }

    /// What the file is to hold at the end.
    fn target(&self, real: &Path, now: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        let Entry { engine, ref path, .. } = *self.entry;
        match base(self.record, self.editor, path, real, now)? {
            Some(base) if self.undo.clean => self.editor.without_mirrors(engine, path, &base),
            base => Ok(base),
        }
    }

    /// To there from `now`, past an emptied file for an engine that keeps what it no longer finds.
    fn steps(&self, now: Option<Vec<u8>>, target: Option<Vec<u8>>) -> Vec<Step> {
        let entry = self.entry;
        let emptied = self.editor.emptied(entry.engine, &entry.path, target.as_deref());
        let passing = emptied.and_then(|bytes| self.reload(Some(&bytes)).map(|reload| (bytes, reload)));
        let Some((bytes, reload)) = passing else {
            let reloads = self.editor.reloads(entry.engine, &entry.path, target.as_deref());
            return self.write(now, target).into_iter().chain(reloads.into_iter().map(Step::Reload)).collect();
        };
        let bytes = Some(bytes);
        let write = self.write(now, bytes.clone());
        write.into_iter().chain([Step::Reload(reload)]).chain(self.write(bytes, target)).collect()
    }

    fn reload(&self, bytes: Option<&[u8]>) -> Option<Reload> {
        self.editor.reload(self.entry.engine, &self.entry.path, bytes)
    }

    fn write(&self, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> Option<Step> {
        let Entry { engine, ref path, secret, ref original, .. } = *self.entry;
        let mode = original.nature().map_or(if secret { 0o600 } else { 0o644 }, |nature| nature.mode);
        (before != after).then(|| Step::Write(Change { engine, path: path.clone(), before, after, mode, secret }))
    }

    fn edited(&self, real: &Path, there: bool) -> Finding {
        let path = self.entry.path.display();
        let what = match (self.entry.real == real, there) {
            (true, true) => format!("{path} was edited since chandler changed it, and is left as it is"),
            (true, false) => format!("{path} was removed since chandler changed it, and is not brought back"),
            (false, _) => format!("{path} leads to {} now, and to {} when chandler changed it", real.display(), self.entry.real.display()),
        };
        let mend = "`chandler undo --keep-edits` takes out only what chandler put there, `chandler undo --to clean` every mirror";
        self.finding(Weight::Blocks, what, mend)
    }

    fn unreadable(&self, why: &str) -> Finding {
        let what = format!("{} cannot be understood, so that nothing can be taken out of it: {why}", self.entry.path.display());
        self.finding(Weight::Blocks, what, "mend the file, or bring back what chandler wrote, and run this again")
    }

    /// The mirrors that a machine stays on.
    fn stays(&self, target: Option<&[u8]>) -> Option<Finding> {
        let mirrors = self.editor.mirrors(self.entry.engine, &self.entry.path, target?);
        let named = mirrors.join(", ");
        let what = format!("{} named {named} before chandler changed it: {} stays on that", self.entry.path.display(), self.entry.engine);
        (!mirrors.is_empty()).then(|| self.finding(Weight::Warns, what, "`chandler undo --to clean` takes every mirror out"))
    }

    fn finding(&self, weight: Weight, what: String, mend: &str) -> Finding {
        Finding { engine: Some(self.entry.engine), weight, what, mend: mend.to_owned() }
    }
}
