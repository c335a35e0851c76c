//! The plan that takes a machine out again, by the record.
//!
//! Of an engine, the files that name mirrors are brought back first ([`Layer`](super::Layer)), so that it has let go of a mirror before what it trusts the mirror by goes. Where
//! somebody edited a file of an engine, nothing of that engine is touched, unless it is said what becomes of the edit ([`Undo`]).
//!
//! Files that are not in the record may name mirrors as well, even the one that was wished for: then `apply` had nothing to write. They stay, and it is said; to a clean machine they are
//! changed too.

use std::path::{Path, PathBuf};

use super::way::Way;
use super::{ApplyError, Editor, backwards, base};
use crate::engines::{Engine, Finding, Plan, Step, Weight};
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

impl Undoing {
    /// What is left of it where nothing may be done for some engines.
    #[must_use]
    pub fn without(&self, engines: &[Engine]) -> Self {
        let mut left = self.clone();
        left.plan.steps.retain(|step| !engines.contains(&step.engine()));
        left.ends.retain(|end| !engines.contains(&end.engine));
        left
    }
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
    let known = record.engines();
    let others = undo.engines.iter().copied().filter(|engine| !known.contains(engine));
    for engine in known.iter().copied().filter(|engine| undo.engines.contains(engine)).chain(others) {
        let mut part = Undoing::default();
        for (path, bytes) in editor.files(engine) {
            let is_known = record.entry(&path).is_some() || undoing.ends.iter().any(|end| end.path == path);
            if !is_known {
                Foreign { editor, engine, path: &path }.plan(undo.clean, bytes, &mut part);
            }
        }
        for entry in backwards(record.entries().iter().filter(|entry| entry.engine == engine)) {
            One { record, editor, undo, entry }.plan(&mut part)?;
        }
        let has_changed = part.plan.steps.iter().any(|step| step.change().is_some());
        let entries = record.entries().iter().filter(|entry| entry.engine == engine);
        let ours: Vec<&[u8]> = entries.flat_map(|entry| record.ours(entry)).collect();
        part.plan.steps.extend(editor.rebuild(engine, has_changed, &ours).map(Step::Rebuild));
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
                let steps = self.way().steps(now, target);
                if steps.iter().any(|step| step.change().is_some()) {
                    undoing.plan.findings.extend(self.editor.restart(entry.engine, &entry.path));
                }
                undoing.plan.steps.extend(steps);
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

    fn way(&self) -> Way<'_> {
        let Self { editor, record, entry, .. } = *self;
        let Entry { engine, ref path, secret, ref original, .. } = *entry;
        let mode = original.nature().map_or(if secret { 0o600 } else { 0o644 }, |nature| nature.mode);
        Way { editor, engine, path, secret, mode, ours: record.ours(entry) }
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

/// A file that is not in the record.
struct Foreign<'a> {
    editor: &'a dyn Editor,
    engine: Engine,
    path: &'a Path,
}

impl Foreign<'_> {
    fn plan(&self, clean: bool, now: Vec<u8>, undoing: &mut Undoing) {
        let Self { editor, engine, path } = *self;
        let named = editor.mirrors(engine, path, &now);
        if named.is_empty() {
            return;
        }
        let left = if clean { editor.without_mirrors(engine, path, &now) } else { Ok(Some(now.clone())) };
        match left {
            Ok(left) => {
                let stays = left.as_deref().map(|bytes| editor.mirrors(engine, path, bytes)).unwrap_or_default();
                undoing.plan.findings.extend((!stays.is_empty()).then(|| self.stays(&stays, clean)));
                if left.as_ref() != Some(&now) {
                    // Passwords may be in it.
                    let secret = String::from_utf8_lossy(&now).contains("auth");
                    let way = Way { editor, engine, path, secret, mode: 0o644, ours: Vec::new() };
                    undoing.plan.findings.extend(editor.restart(engine, path));
                    undoing.plan.steps.extend(way.steps(Some(now), left));
                    undoing.ends.push(End { engine, path: path.to_owned() });
                }
            }
            Err(why) => {
                let what = format!("{} cannot be understood, so that no mirror can be taken out of it: {why}", path.display());
                undoing.plan.findings.push(self.finding(Weight::Blocks, what, "mend the file, and run this again"));
            }
        }
    }

    fn stays(&self, named: &[String], clean: bool) -> Finding {
        let what =
            format!("{} names {}, which chandler did not write: {} stays on that", self.path.display(), named.join(", "), self.engine);
        let mend = if clean {
            "take it out there by hand: chandler does not change this file"
        } else {
            "`chandler undo --to clean` takes every mirror out"
        };
        self.finding(Weight::Warns, what, mend)
    }

    fn finding(&self, weight: Weight, what: String, mend: &str) -> Finding {
        Finding { engine: Some(self.engine), weight, what, mend: mend.to_owned() }
    }
}
