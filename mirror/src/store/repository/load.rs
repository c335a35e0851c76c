//! Reads a repository's folder: all of it, or an error. What the system does not give now may be given later, so nobody takes it for missing.
//!
//! A record that reads but is none is missing for good, and removed. Only the state is never: it may have said that the repository is closed, so what
//! cannot be understood counts as that, and a copy is kept for whoever wants to know.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::de::DeserializeOwned;
use tracing::warn;

use super::super::disk::Disk;
use super::super::error::StoreError;
use super::super::layout::{BLOBS, DAMAGED_STATE, MANIFESTS, STATE, TAGS, parse_file_name};
use super::super::records::{self, BlobRecord, ManifestRecord, RepositoryState, TagRecord};
use super::known::Known;

pub(super) fn load(disk: &Disk, folder: &Path) -> Result<Known, StoreError> {
    let mut known = Known::nothing();
    if let Some(state) = state(disk, folder)? {
        known.state = state;
    }
    each(disk, &folder.join(MANIFESTS), parse_file_name, |digest, record: ManifestRecord| {
        // Its name is what the record is looked for by.
        let fits = digest == record.digest;
        if fits {
            known.link(record, true);
        }
        fits
    })?;
    each(disk, &folder.join(BLOBS), parse_file_name, |digest, record: BlobRecord| {
        known.blobs.insert(digest, (record.size, true));
        true
    })?;
    each(
        disk,
        &folder.join(TAGS),
        |name| name.parse().ok(),
        |tag, record: TagRecord| {
            known.tags.insert(tag, (record, true));
            true
        },
    )?;
    Ok(known)
}

/// What is known of the repository as a whole, and whether the disk says so.
fn state(disk: &Disk, folder: &Path) -> Result<Option<(RepositoryState, bool)>, StoreError> {
    let path = folder.join(STATE);
    let Some(bytes) = unless_missing(fs::read(&path), &path)? else { return Ok(None) };
    if let Some(state) = records::read(&bytes) {
        return Ok(Some((state, true)));
    }
    warn!(path = %path.display(), "a repository's state cannot be understood: it counts as closed until its upstream answers for it; a copy is kept");
    let closed = RepositoryState { closed: true, ..RepositoryState::default() };
    // The copy first: until it is there the damaged file stays, and says the same at the next start.
    let kept = disk.tree.write_all(disk, &[(folder.join(DAMAGED_STATE), bytes)]).1;
    let written = kept.and_then(|()| disk.tree.write_all(disk, &[(path, records::write(&closed))]).1);
    Ok(Some((closed, written.is_ok())))
}

/// Reads every record in `folder`; one that `take` does not want is as bad as one that cannot be understood. A name that is no record's is not ours, and stays.
fn each<N, T: DeserializeOwned>(
    disk: &Disk,
    folder: &Path,
    parse: impl Fn(&str) -> Option<N>,
    mut take: impl FnMut(N, T) -> bool,
) -> Result<(), StoreError> {
    let Some(entries) = unless_missing(fs::read_dir(folder), folder)? else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(|source| unreadable(folder, source))?;
        let Some(name) = entry.file_name().to_str().and_then(&parse) else { continue };
        let path = entry.path();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => continue, // No record is a folder.
            read => unless_missing(read, &path)?,
        };
        let Some(bytes) = bytes else { continue };
        if !records::read(&bytes).is_some_and(|record| take(name, record)) {
            warn!(path = %path.display(), "a record cannot be understood: removed, the upstream will be asked again");
            disk.tree.remove(disk, &path);
        }
    }
    Ok(())
}

/// `None`: there is no such file, or no file system could have one of that name.
fn unless_missing<T>(read: io::Result<T>, path: &Path) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename) => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { doing: "read", path: path.to_owned(), source }
}
