//! Last uses on their way to the files: a hit notes them here, and a task sets the files' times.
//!
//! To set a time is a write, and a disk that hangs would hold up whoever makes it. A use that is lost makes a blob a little older than it is: nothing to
//! fail for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::disk::{Disk, locked};
use super::index::Seconds;
use crate::oci::{ChildKind, Digest};

/// What is used, and since when no file knows.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<Digest, (ChildKind, Seconds)>>);

impl Disk {
    /// Notes a use of `digest`; its file is to learn of it at most once a minute.
    pub(super) fn touch(&self, digest: &Digest, now: Seconds) {
        if let Some((kind, true)) = self.index.touch(digest, now) {
            locked(&self.uses.0).insert(digest.clone(), (kind, now));
        }
    }

    /// Sets the times of what was used since the last call; blocking.
    pub(super) fn save_uses(&self) {
        for (digest, (kind, used)) in std::mem::take(&mut *locked(&self.uses.0)) {
            let path: PathBuf = self.layout.content(kind, &digest);
            let _ = rustix::fs::utimensat(CWD, path, &used_at(used), AtFlags::SYMLINK_NOFOLLOW);
        }
    }
}

fn used_at(now: Seconds) -> Timestamps {
    let time = Timespec { tv_sec: i64::from(now), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
