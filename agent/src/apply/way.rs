//! The steps from what a file holds to what it is to hold, past what an engine must read in between. Pure.

use std::path::Path;

use super::{Detour, Editor};
use crate::engines::{Change, Engine, Reload, Step};

/// That of one file.
pub(super) struct Way<'a> {
    pub(super) editor: &'a dyn Editor,
    pub(super) engine: Engine,
    pub(super) path: &'a Path,
    pub(super) secret: bool,
    /// If it is made anew.
    pub(super) mode: u32,
    /// What we wrote there.
    pub(super) ours: Vec<&'a [u8]>,
}

impl Way<'_> {
    /// All of them; none where there is nothing to do.
    pub(super) fn steps(&self, now: Option<Vec<u8>>, target: Option<Vec<u8>>) -> Vec<Step> {
        let emptied = self.editor.emptied(self.engine, self.path, target.as_deref());
        if let Some((bytes, reload)) = emptied.and_then(|bytes| self.reload(Some(&bytes)).map(|reload| (bytes, reload))) {
            return self.past(now, bytes, reload, target).collect();
        }
        let reloads = self.editor.reloads(self.engine, self.path, target.as_deref());
        if !reloads.is_empty() {
            return self.write(now, target).into_iter().chain(reloads.into_iter().map(Step::Reload)).collect();
        }
        match self.editor.detour(self.engine, self.path, &self.ours, target.as_deref()) {
            Some(Detour { bytes, there, back }) => self.past(now, bytes, there, target).chain([Step::Reload(back)]).collect(),
            None => self.write(now, target).into_iter().collect(),
        }
    }

    /// An engine that keeps what it no longer finds reads something else before.
    fn past(&self, now: Option<Vec<u8>>, bytes: Vec<u8>, reload: Reload, target: Option<Vec<u8>>) -> impl Iterator<Item = Step> {
        let bytes = Some(bytes);
        let write = self.write(now, bytes.clone());
        write.into_iter().chain([Step::Reload(reload)]).chain(self.write(bytes, target))
    }

    fn reload(&self, bytes: Option<&[u8]>) -> Option<Reload> {
        self.editor.reload(self.engine, self.path, bytes)
    }

    fn write(&self, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> Option<Step> {
        let Self { engine, mode, secret, .. } = *self;
        (before != after).then(|| Step::Write(Change { engine, path: self.path.to_owned(), before, after, mode, secret }))
    }
}
