//! A step of an engine failed: what this run did to its files is taken back, and the engine told.

use std::collections::BTreeSet;

use super::{ApplyError, Executor, Outcome, Reported};
use crate::engines::{Change, Rebuild, Reload, Step};

impl Executor<'_> {
    /// Puts back what `steps` did for the engine of the last, which failed with `error`, and says how the machine stands now.
    pub(super) fn put_back(&mut self, steps: &[Step], outcomes: &mut [Outcome], error: ApplyError) -> ApplyError {
        let Some(failed) = steps.last() else { return error };
        let engine = failed.engine();
        let mut back = Vec::new();
        for (step, outcome) in steps.iter().zip(outcomes) {
            if step.engine() == engine && matches!(outcome, Outcome::Done) {
                *outcome = Outcome::PutBack;
                back.extend(step.change());
            }
        }
        back.extend(failed.change().filter(|change| self.is_done(change)));
        let told = self.told.remove(&engine).unwrap_or_default();
        if back.is_empty() && told.is_empty() {
            return error;
        }
        let (source, reloaded) = (Box::new(error), !told.is_empty());
        let restored = self.restore(&back, &told);
        let again = if let Step::Rebuild(rebuild) = failed { self.rebuild_again(rebuild) } else { Ok(()) };
        match restored.and(again) {
            Ok(()) => ApplyError::PutBack { engine, reloaded, source },
            Err(then) => ApplyError::Stranded { engine, then: ::mirror::chain(&then), source },
        }
    }

    /// Of the files that are back.
    fn rebuild_again(&mut self, rebuild: &Rebuild) -> Result<(), ApplyError> {
        let Rebuild { renews, holds, .. } = rebuild.clone();
        self.rebuild(&Rebuild { arguments: renews, lacks: holds, holds: BTreeSet::new(), ..rebuild.clone() }).map(drop)
    }

    /// Whether a change that failed was made all the same: the disk may fail behind the rename.
    fn is_done(&self, change: &Change) -> bool {
        self.root.read(&change.path).is_ok_and(|found| found.map(|found| found.bytes) == change.after)
    }

    /// The files, the last first; then the daemons. What fails keeps nothing else from being put back; the first failure is told.
    fn restore(&mut self, changes: &[&Change], told: &[(Reload, Reported)]) -> Result<(), ApplyError> {
        let mut restored = Ok(());
        let mut emptied = false;
        for change in changes.iter().rev() {
            let mut held = change.after.clone();
            if !emptied && let Some(bytes) = self.passing(change, told) {
                emptied = true;
                let bytes = Some(bytes);
                match self.turn(change, held.as_deref(), bytes.as_deref()) {
                    Ok(()) => held = bytes,
                    failed => restored = restored.and(failed),
                }
                restored = restored.and(self.tell_all(told));
            }
            restored = restored.and(self.turn(change, held.as_deref(), change.before.as_deref()));
        }
        if !emptied {
            restored = restored.and(self.tell_all(told));
        }
        changes.iter().rev().fold(restored, |restored, change| restored.and(self.forget_fresh(&change.path)))
    }

    /// What a file must hold in between, for a daemon that works by something else than before this run, and keeps what it no longer finds.
    fn passing(&mut self, change: &Change, told: &[(Reload, Reported)]) -> Option<Vec<u8>> {
        let bytes = self.editor.emptied(change.engine, &change.path, change.before.as_deref())?;
        let stuck =
            told.iter().any(|(reload, earlier)| self.engines.reported(reload.engine, &reload.daemon).is_ok_and(|now| now != *earlier));
        stuck.then_some(bytes)
    }

    fn turn(&mut self, change: &Change, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<(), ApplyError> {
        self.write(&Change { before: from.map(<[u8]>::to_owned), after: to.map(<[u8]>::to_owned), ..change.clone() }).map(drop)
    }

    /// Has them work by what they worked by before.
    fn tell_all(&mut self, told: &[(Reload, Reported)]) -> Result<(), ApplyError> {
        for (reload, earlier) in told {
            let Reported { mirrors, insecure } = earlier.clone();
            self.tell(&Reload { mirrors, insecure, ..reload.clone() })?;
        }
        Ok(())
    }
}
