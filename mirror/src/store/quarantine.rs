//! Damaged files: moved aside under their digest's name, the newest few kept for whoever wants to know, and the first to go when room is needed.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::disk::{Disk, allocated};
use super::layout;
use crate::oci::Digest;

/// The files in quarantine, oldest first.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    files: Mutex<VecDeque<Damaged>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Whoever read it when it was found.
    pub(super) readers: Option<(Digest, u16)>,
}

impl Quarantine {
    /// What an earlier run left; files of others are none of ours.
    pub(super) fn open(folder: &std::path::Path) -> std::io::Result<Self> {
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let file = file?;
            let metadata = file.metadata()?;
            if metadata.is_file() && file.file_name().to_str().is_some_and(layout::is_quarantine_name) {
                files.push((metadata.modified()?, Damaged { path: file.path(), bytes: allocated(&metadata), readers: None }));
            }
        }
        files.sort_by_key(|(found, _)| *found);
        Ok(Self { files: Mutex::new(files.into_iter().map(|(_, file)| file).collect()) })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files().iter().map(|file| file.bytes).sum()
    }

    pub(super) fn add(&self, file: Damaged) {
        self.files().push_back(file);
    }

    /// Removes the oldest until `keep` are left; the bytes that this freed.
    pub(super) fn trim(&self, disk: &Disk, keep: usize) -> u64 {
        let mut freed = 0;
        while let Some(file) = { self.pop_beyond(keep) } {
            freed += remove(disk, file);
        }
        freed
    }

    fn pop_beyond(&self, keep: usize) -> Option<Damaged> {
        let mut files = self.files();
        if files.len() > keep { files.pop_front() } else { None }
    }

    fn files(&self) -> std::sync::MutexGuard<'_, VecDeque<Damaged>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(disk: &Disk, file: Damaged) -> u64 {
    if let Err(error) = fs::remove_file(&file.path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %file.path.display(), error = %error, "a damaged file stays in quarantine");
        return 0; // It stays in the account as well.
    }
    disk.unlinked(file.readers, file.bytes)
}

/// So many damaged files are kept.
pub(super) const KEPT: usize = 8;
