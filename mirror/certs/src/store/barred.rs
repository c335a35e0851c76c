//! What keeps this process's user out of a file of ours, in words that say how to let it in.
//!
//! What a person makes as root before the service's folder is there belongs to root, and the system says no more than "permission denied". Nobody is told
//! to give away more than the folder that is configured for us: what lies above it, as root's home does, is somebody else's affair.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The same error, of `path` at or below the folder that is `configured`; where it is for want of a permission, with whose the folder is and what mends it.
pub(super) fn explained(configured: &Path, path: &Path, source: io::Error) -> io::Error {
    let user = rustix::process::geteuid();
    if source.raw_os_error().is_none() || source.kind() != io::ErrorKind::PermissionDenied || user.is_root() {
        return source;
    }
    let look = |path: &Path| fs::metadata(path).ok().map(|meta| Seen { mode: meta.mode(), owner: meta.uid() });
    match mend(configured, path, user.as_raw(), look) {
        Some(mend) => io::Error::new(source.kind(), format!("{source}: {mend}")),
        None => source,
    }
}

/// What is seen of a file or folder.
struct Seen {
    mode: u32,
    owner: u32,
}

/// By the topmost that is closed to `user` and belongs to somebody else; or the first that is missing where `user` may make nothing.
fn mend(configured: &Path, path: &Path, user: u32, look: impl Fn(&Path) -> Option<Seen>) -> Option<String> {
    let is_closed = |seen: &Seen| seen.mode & OTHERS == 0 && seen.owner != user;
    let closed = path.ancestors().filter_map(|one| Some((one, look(one).filter(is_closed)?))).last();
    if let Some((folder, Seen { owner, .. })) = closed {
        let name = folder.display();
        return Some(if folder.starts_with(configured) {
            format!("{name} belongs to user {owner}, and this runs as user {user}; `chown -R {user} {name}` mends it")
        } else {
            format!(
                "user {user} may not enter {name}, which is user {owner}'s; a folder elsewhere is named by acme.path (--state of `chandler ca`)"
            )
        });
    }
    let missing = path.parent()?.ancestors().take_while(|one| look(one).is_none()).last()?;
    Some(format!("user {user} cannot make {0}; `install -d -m 0700 -o {user} {0}` does", missing.display()))
}

const OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/var/lib/chandler/certs/a.test/current";

    /// What user 7 is told of [`PATH`], where `/var/lib/chandler` is configured and these folders are there, with their modes and owners.
    fn told(folders: &[(&str, u32, u32)]) -> Option<String> {
        let look = |path: &Path| {
            let found = folders.iter().find(|(name, ..)| path == Path::new(name))?;
            Some(Seen { mode: found.1, owner: found.2 })
        };
        mend(Path::new("/var/lib/chandler"), Path::new(PATH), 7, look)
    }

    #[test]
    fn who_is_kept_out_is_told_whose_the_folder_is_and_how_to_give_it() {
        let above = [("/", 0o755, 0), ("/var", 0o755, 0), ("/var/lib", 0o755, 0)];
        let with = |own: &[(&'static str, u32, u32)]| told(&[&above[..], own].concat()).expect("a mend");
        assert!(with(&[]).ends_with("`install -d -m 0700 -o 7 /var/lib/chandler` does"), "{}", with(&[]));
        let own = with(&[("/var/lib/chandler", 0o700, 0), ("/var/lib/chandler/certs", 0o700, 0)]);
        assert_eq!(own, "/var/lib/chandler belongs to user 0, and this runs as user 7; `chown -R 7 /var/lib/chandler` mends it");
        let deeper = with(&[("/var/lib/chandler", 0o755, 0), ("/var/lib/chandler/certs", 0o700, 0)]);
        assert!(deeper.ends_with("`chown -R 7 /var/lib/chandler/certs` mends it"), "no more than is needed: {deeper}");
    }

    #[test]
    fn nobody_is_told_to_give_away_a_folder_above_ours() {
        let ours = ("/var/lib/chandler", 0o700, 7);
        for above in ["/", "/var", "/var/lib"] {
            let told = told(&[(above, 0o700, 0), ours]).expect("a mend");
            assert!(told.starts_with(&format!("user 7 may not enter {above}, which is user 0's;")) && !told.contains("chown"), "{told}");
        }
        assert_eq!(told(&[("/var/lib/chandler/certs/a.test", 0o755, 7), ours]), None, "it is for want of something else");
    }

    #[test]
    fn what_is_not_told_by_the_system_in_numbers_is_left_as_it_is() {
        let own = io::Error::new(io::ErrorKind::PermissionDenied, "in words of ours");
        assert_eq!(explained(Path::new("/a"), Path::new("/a/b"), own).to_string(), "in words of ours");
    }
}
