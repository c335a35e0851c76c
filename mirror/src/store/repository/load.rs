//! Reads a repository's folder. It never fails: what cannot be read is not known.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use tracing::warn;

use super::super::disk::Disk;
use super::super::layout::{BLOBS, MANIFESTS, STATE, TAGS, parse_file_name};
use super::super::records::{self, BlobRecord, ManifestRecord, TagRecord};
use super::known::Known;

pub(super) fn load(disk: &Disk, folder: &Path) -> Known {
    let mut known = Known::nothing();
    each(disk, &folder.join(MANIFESTS), parse_file_name, |digest, record: ManifestRecord| {
        // Its name is what the record is looked for by.
        let fits = digest == record.digest;
        if fits {
            known.link(record, true);
        }
        fits
    });
    each(disk, &folder.join(BLOBS), parse_file_name, |digest, record: BlobRecord| {
        known.blobs.insert(digest, (record.size, true));
        true
    });
    each(
        disk,
        &folder.join(TAGS),
        |name| name.parse().ok(),
        |tag, record: TagRecord| {
            known.tags.insert(tag, (record, true));
            true
        },
    );
    if let Some(state) = one(disk, &folder.join(STATE)) {
        known.state = (state, true);
    }
    known
}

/// Reads every record in `folder`; one that `take` does not want is as bad as one that cannot be read. A name that is no record's is not ours, and stays.
fn each<N, T: DeserializeOwned>(disk: &Disk, folder: &Path, parse: impl Fn(&str) -> Option<N>, mut take: impl FnMut(N, T) -> bool) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return warn!(path = %folder.display(), error = %error, "cannot read records"),
    };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().and_then(&parse) else { continue };
        let path = entry.path();
        if one(disk, &path).is_some_and(|record| !take(name, record)) {
            discard(disk, &path);
        }
    }
}

fn one<T: DeserializeOwned>(disk: &Disk, path: &Path) -> Option<T> {
    match fs::read(path) {
        Ok(bytes) => records::read(&bytes).or_else(|| {
            discard(disk, path);
            None
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            warn!(path = %path.display(), error = %error, "cannot read a record");
            None
        }
    }
}

fn discard(disk: &Disk, path: &Path) {
    warn!(path = %path.display(), "a record cannot be understood: removed, the upstream will be asked again");
    disk.tree.remove(disk, path);
}
