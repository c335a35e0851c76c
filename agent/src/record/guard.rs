//! Whose the record is. Root writes what it says over any file: so nobody else may be able to write it, or to put another in its place.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::RecordError;
use crate::host::Root;

/// Refuses a folder that somebody else owns or may write, it or one above it. A tree that is no running machine is its builder's.
pub(super) fn check(root: &Root, folder: &Path) -> Result<(), RecordError> {
    let us = rustix::process::geteuid().as_raw();
    if !root.is_machine() {
        return Ok(());
    }
    for (depth, one) in folder.ancestors().enumerate() {
        let Ok(meta) = fs::symlink_metadata(root.on_disk(one)) else { continue }; // It is made by us.
        let mode = meta.mode();
        // In a sticky folder, such as /tmp, nobody takes away what another has made.
        let is_open = mode & 0o022 != 0 && (depth == 0 || mode & 0o1000 == 0);
        if is_open || (meta.uid() != 0 && meta.uid() != us) {
            let why = if is_open {
                format!("others may write in it (mode {:o})", mode & 0o7777)
            } else {
                format!("it belongs to user {}", meta.uid())
            };
            return Err(RecordError::Open { folder: one.to_owned(), why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_record_that_somebody_else_could_write_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("chandler/agent");
        fs::create_dir_all(&state).expect("made");
        let parent = state.parent().expect("it has one");
        let told = || check(&Root::machine(), &state).err().map(|error| error.to_string());
        assert_eq!(told(), None);
        fs::set_permissions(parent, fs::Permissions::from_mode(0o777)).expect("ours");
        assert!(told().is_some_and(|text| text.contains("others may write in it (mode 777)")));
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("ours");
        if rustix::process::geteuid().is_root() {
            chown(parent, Some(4711), None).expect("root gives away what it has");
            assert!(told().is_some_and(|text| text.contains("it belongs to user 4711")));
            assert!(check(&Root::below(folder.path()).expect("a tree"), Path::new("/chandler/agent")).is_ok(), "a tree is its builder's");
        }
    }
}
