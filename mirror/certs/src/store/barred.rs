//! What keeps this process's user out of a file, in words that say how to let it in.
//!
//! What a person makes as root before the service's folder is there belongs to root, and the system says no more than "permission denied".

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The same error; where it is for want of a permission, with whose the folder is and what mends it.
pub(super) fn explained(path: &Path, source: io::Error) -> io::Error {
    let user = rustix::process::geteuid();
    if source.raw_os_error().is_none() || source.kind() != io::ErrorKind::PermissionDenied || user.is_root() {
        return source;
    }
    match mend(path, user.as_raw()) {
        Some(mend) => io::Error::new(source.kind(), format!("{source}: {mend}")),
        None => source,
    }
}

/// The topmost that is closed to `user` and belongs to somebody else; or the first that is missing where `user` may make nothing.
fn mend(path: &Path, user: u32) -> Option<String> {
    let seen: Vec<_> = path.ancestors().filter_map(|one| Some((one, fs::metadata(one).ok()?))).collect();
    let closed = seen.iter().rfind(|(_, meta)| meta.mode() & OTHERS == 0 && meta.uid() != user);
    if let Some((folder, meta)) = closed {
        let (folder, owner) = (folder.display(), meta.uid());
        return Some(format!("{folder} belongs to user {owner}, and this runs as user {user}; `chown -R {user} {folder}` mends it"));
    }
    let missing = path.parent()?.ancestors().take_while(|one| !one.exists()).last()?;
    Some(format!("user {user} cannot make {0}; `install -d -m 0700 -o {user} {0}` does", missing.display()))
}

const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn who_is_kept_out_is_told_whose_the_folder_is_and_how_to_give_it() {
        let root = tempfile::tempdir().expect("a folder");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        set(root.path(), 0o755);
        let [ours, deeper] = ["state", "state/certs"].map(|name| root.path().join(name));
        let (us, other) = (rustix::process::geteuid().as_raw(), 1_000_000);
        let told = mend(&deeper.join("a.test/current"), other).expect("the folder is missing");
        assert!(told.ends_with(&format!("`install -d -m 0700 -o {other} {}` does", ours.display())), "{told}");
        fs::create_dir_all(&deeper).expect("room");
        set(&ours, 0o700);
        set(&deeper, 0o700);
        let told = mend(&deeper.join("a.test/current"), other).expect("it is closed");
        let all = ours.display();
        assert_eq!(told, format!("{all} belongs to user {us}, and this runs as user {other}; `chown -R {other} {all}` mends it"));
        set(&ours, 0o755);
        let told = mend(&deeper.join("a.test/current"), other).expect("it is closed");
        assert!(told.ends_with(&format!("`chown -R {other} {}` mends it", deeper.display())), "no more than is needed: {told}");
    }
}
