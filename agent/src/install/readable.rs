//! Which of the files that a configuration names the mirror's own user could not read, told before it is started as that user: keys that certbot keeps for root, above all.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use mirror::config::{ClientCa, Config, DnsWriterConfig, PasswordSource};

use super::InstallError;
use super::account::Account;
use crate::host::Root;

/// A file, and what keeps the user from it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Barred {
    pub(crate) path: PathBuf,
    pub(crate) by: Bar,
}

/// What keeps it away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Bar {
    /// The unit hides what is below.
    Hidden(&'static str),
    /// Somebody else's folder or file.
    Mode { place: PathBuf, mode: u32, owner: u32 },
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.by {
            Bar::Hidden(folder) => write!(f, "{path}: the service sees nothing of {folder}"),
            Bar::Mode { place, mode, owner } if *place == self.path => write!(f, "{path}: it is user {owner}'s, with mode {mode:04o}"),
            Bar::Mode { place, mode, owner } => write!(f, "{path}: {} is user {owner}'s, with mode {mode:04o}", place.display()),
        }
    }
}

/// The files that `config` names; those in `read` were read to make it of.
pub(crate) fn named(config: &Config, read: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = read.to_vec();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()?.files()) {
        files.extend([tls.certificate.clone(), tls.key.clone()]);
    }
    for upstream in &config.upstreams {
        files.extend(upstream.ca.clone());
        if let Some(PasswordSource::File(path)) = upstream.account.as_ref().map(|account| &account.password) {
            files.push(path.clone());
        }
    }
    files.extend(config.clients.iter().filter_map(|ca| if let ClientCa::File(path) = ca { Some(path.clone()) } else { None }));
    files.extend(config.acme.ca.clone());
    if let Some(DnsWriterConfig::Hook(hook)) = config.acme.dns.as_ref().map(|dns| &dns.writer) {
        files.extend([Some(hook.hook.clone()), hook.cleanup.clone()].into_iter().flatten());
    }
    files.sort_unstable();
    files.dedup();
    files
}

/// Those of `files` that are there and that `account` could not read; a user that is to be made yet is nobody in particular.
pub(crate) fn barred(root: &Root, files: &[PathBuf], account: Option<&Account>) -> Result<Vec<Barred>, InstallError> {
    let mut found = Vec::new();
    for path in files {
        let by = match hidden(path) {
            Some(folder) => Some(Bar::Hidden(folder)),
            None => closed(root, path, account)?,
        };
        found.extend(by.map(|by| Barred { path: path.clone(), by }));
    }
    Ok(found)
}

fn hidden(path: &Path) -> Option<&'static str> {
    ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].into_iter().find(|folder| path.starts_with(folder))
}

/// The first thing on the way that is closed; each link's folder is on the way too.
fn closed(root: &Root, path: &Path, account: Option<&Account>) -> Result<Option<Bar>, InstallError> {
    let mut way: Vec<(PathBuf, u32)> = Vec::new();
    for part in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
        let real = root.resolve(part)?.real;
        let folders = real.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().map(|folder| (folder.to_owned(), PASS));
        way.extend(folders);
        way.push((real, if part == path { READ } else { PASS }));
    }
    for (real, wanted) in way {
        let Ok(meta) = fs::symlink_metadata(root.on_disk(&real)) else { return Ok(None) }; // What is missing, others tell.
        let mode = meta.mode() & 0o7777;
        if !may(mode, meta.uid(), meta.gid(), account, wanted) && !has_list(root, &real) {
            let place = if wanted == READ { path.to_owned() } else { real };
            return Ok(Some(Bar::Mode { place, mode, owner: meta.uid() }));
        }
    }
    Ok(None)
}

/// Pure: as the kernel decides.
fn may(mode: u32, owner: u32, group: u32, account: Option<&Account>, wanted: u32) -> bool {
    let shift = match account {
        Some(account) if account.user == owner => 6,
        Some(account) if account.groups.contains(&group) => 3,
        _ => 0,
    };
    mode >> shift & wanted == wanted
}

/// An access list may say what the mode does not.
fn has_list(root: &Root, real: &Path) -> bool {
    rustix::fs::getxattr(root.on_disk(real), "system.posix_acl_access", &mut [0_u8; 0]).is_ok_and(|size| size > 0)
}

const READ: u32 = 0o4;
const PASS: u32 = 0o1;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let root = Root::below(folder.path()).expect("it is there");
        (folder, root)
    }

    fn told(root: &Root, path: &str, account: Option<&Account>) -> Vec<String> {
        barred(root, &[path.into()], account).expect("looked at").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn certbots_folders_are_closed_and_that_is_said_of_the_folder_through_which_the_link_goes() {
        let (folder, root) = tree();
        let at = |path: &str| folder.path().join(path);
        for path in ["etc/letsencrypt/live/m", "etc/letsencrypt/archive/m"] {
            fs::create_dir_all(at(path)).expect("made");
        }
        fs::write(at("etc/letsencrypt/archive/m/privkey1.pem"), "key").expect("written");
        symlink("../../archive/m/privkey1.pem", at("etc/letsencrypt/live/m/privkey.pem")).expect("linked");
        let key = "/etc/letsencrypt/live/m/privkey.pem";
        let owner = fs::metadata(folder.path()).expect("there").uid();
        fs::set_permissions(at("etc/letsencrypt/live"), fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(told(&root, key, None), [format!("{key}: /etc/letsencrypt/live is user {owner}'s, with mode 0700")]);
        assert_eq!(told(&root, key, Some(&Account { user: owner, groups: vec![] })), Vec::<String>::new());
        fs::set_permissions(at("etc/letsencrypt/live"), fs::Permissions::from_mode(0o755)).expect("ours");
        fs::set_permissions(at("etc/letsencrypt/archive"), fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(told(&root, key, None), [format!("{key}: /etc/letsencrypt/archive is user {owner}'s, with mode 0700")]);
        fs::set_permissions(at("etc/letsencrypt/archive"), fs::Permissions::from_mode(0o755)).expect("ours");
        fs::set_permissions(at("etc/letsencrypt/archive/m/privkey1.pem"), fs::Permissions::from_mode(0o600)).expect("ours");
        assert_eq!(told(&root, key, None), [format!("{key}: it is user {owner}'s, with mode 0600")]);
    }

    #[test]
    fn what_the_unit_hides_is_told_and_what_is_missing_is_not() {
        let (_folder, root) = tree();
        assert_eq!(told(&root, "/root/key.pem", None), ["/root/key.pem: the service sees nothing of /root"]);
        assert_eq!(told(&root, "/nowhere/key.pem", None), Vec::<String>::new());
    }

    #[test]
    fn a_group_that_it_is_in_may_read() {
        let account = Account { user: 998, groups: vec![997, 110] };
        for (mode, owner, group, readable) in [
            (0o640, 0, 110, true),
            (0o640, 0, 0, false),
            (0o604, 0, 0, true),
            (0o600, 998, 0, true),
            (0o040, 998, 110, false),
            (0o044, 0, 110, true),
        ] {
            assert_eq!(may(mode, owner, group, Some(&account), READ), readable, "{mode:o} {owner} {group}");
        }
        assert!(!may(0o640, 0, 110, None, READ) && may(0o644, 0, 0, None, READ));
    }
}
