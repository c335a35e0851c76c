//! The system user that the mirror runs as: found in the tree's own files, or made by the programs of the machine that make users.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::InstallError;
use super::units::{STATE, USER};
use crate::host::Root;

/// A user of the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) user: u32,
    /// Its own first.
    pub(crate) groups: Vec<u32>,
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Made {
    /// By this program.
    By(&'static str),
    /// The tree cannot be worked on; its first boot makes it.
    AtBoot,
    /// It was there.
    Known,
}

/// The account, if the tree has it.
pub(crate) fn find(root: &Root) -> Result<Option<Account>, InstallError> {
    let text = |path: &str| {
        Ok::<_, InstallError>(
            root.read(Path::new(path))?.map(|found| String::from_utf8_lossy(&found.bytes).into_owned()).unwrap_or_default(),
        )
    };
    if let Some(account) = parse(&text("/etc/passwd")?, &text("/etc/group")?) {
        return Ok(Some(account));
    }
    // A directory service may know it.
    Ok(if root.is_machine() { asked().and_then(|passwd| parse(&passwd, "")) } else { None })
}

/// Pure.
fn parse(passwd: &str, group: &str) -> Option<Account> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&USER))?;
    let (user, own) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_in = fields.get(3)?.split(',').any(|member| member.trim() == USER);
        is_in.then(|| fields.get(2)?.parse().ok())?
    };
    Some(Account { user, groups: std::iter::once(own).chain(group.lines().filter_map(member)).collect() })
}

fn asked() -> Option<String> {
    let output = Command::new("getent").args(["passwd", USER]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes it, if it is missing. `file` names the one for systemd-sysusers, which is in place already.
pub(crate) fn make(root: &Root, file: &str) -> Result<Made, InstallError> {
    if find(root)?.is_some() {
        return Ok(Made::Known);
    }
    for (program, arguments) in [sysusers(root, file), useradd(root)] {
        let run = Command::new(program).args(&arguments).stdin(Stdio::null()).output();
        match run {
            Ok(output) if output.status.success() && find(root)?.is_some() => return Ok(Made::By(program)),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(InstallError::User { program, said: if said.is_empty() { output.status.to_string() } else { said } });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(InstallError::User { program, said: error.to_string() }),
        }
    }
    if root.is_machine() { Err(InstallError::NoUsers) } else { Ok(Made::AtBoot) }
}

/// By the file's name: a path would be looked for outside of the tree.
fn sysusers(root: &Root, file: &str) -> (&'static str, Vec<String>) {
    let at = (!root.is_machine()).then(|| format!("--root={}", disk(root).display()));
    ("systemd-sysusers", at.into_iter().chain([file.to_owned()]).collect())
}

fn useradd(root: &Root) -> (&'static str, Vec<String>) {
    let fixed = ["--system", "--user-group", "--no-create-home", "--home-dir", STATE, "--shell", "/usr/sbin/nologin"];
    let at = if root.is_machine() { Vec::new() } else { vec!["--prefix".to_owned(), disk(root).display().to_string()] };
    ("useradd", fixed.iter().map(ToString::to_string).chain(at).chain([USER.to_owned()]).collect())
}

fn disk(root: &Root) -> PathBuf {
    root.on_disk(Path::new("/"))
}

/// Whether [`own`] has anything to do.
pub(crate) fn is_missing(root: &Root, folder: &Path) -> Result<bool, InstallError> {
    Ok(!root.is_folder(&root.resolve(folder)?.real)?)
}

/// Gives a folder to it, and makes it where it is missing.
pub(crate) fn own(root: &Root, folder: &Path, account: Option<&Account>) -> Result<bool, InstallError> {
    let place = root.resolve(folder)?;
    if root.is_folder(&place.real)? {
        return Ok(false);
    }
    root.make_private_folder(&place.real)?;
    if let Some(account) = account {
        let given = std::os::unix::fs::chown(root.on_disk(&place.real), Some(account.user), account.groups.first().copied());
        given.map_err(|source| crate::host::HostError::io("give away", folder, source))?;
    }
    Ok(true)
}

/// The folder of the state, where root made it for itself alone.
pub(crate) fn closed_way(root: &Root, account: Option<&Account>) -> Result<Option<PathBuf>, InstallError> {
    use std::os::unix::fs::MetadataExt as _;
    let place = root.resolve(Path::new(STATE))?;
    let meta = fs::metadata(root.on_disk(&place.real)).ok();
    let is_closed = meta.is_some_and(|meta| meta.mode() & 0o001 == 0 && account.is_none_or(|account| account.user != meta.uid()));
    Ok(is_closed.then_some(place.real))
}

/// It is opened for passing through. Says which.
pub(crate) fn open_way(root: &Root, account: Option<&Account>) -> Result<Option<PathBuf>, InstallError> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let Some(closed) = closed_way(root, account)? else { return Ok(None) };
    let disk = root.on_disk(&closed);
    let opened = fs::metadata(&disk).and_then(|meta| fs::set_permissions(&disk, fs::Permissions::from_mode(meta.mode() & 0o7777 | 0o111)));
    opened.map_err(|source| crate::host::HostError::io("open", &closed, source))?;
    Ok(Some(closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_with_all_its_groups() {
        let passwd = "root:x:0:0::/root:/bin/sh\nchandler:x:998:997:a mirror:/var/lib/chandler:/usr/sbin/nologin\n";
        let group = "root:x:0:\nchandler:x:997:\nssl-cert:x:110:postgres,chandler\nadm:x:4:chandlery\n";
        assert_eq!(parse(passwd, group), Some(Account { user: 998, groups: vec![997, 110] }));
        assert_eq!(parse("chandler:x:998\n", ""), None);
        assert_eq!(parse("", group), None);
    }

    #[test]
    fn a_tree_gets_its_user_once() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("etc/sysusers.d")).expect("made");
        let file = "chandler.conf";
        fs::write(folder.path().join("etc/sysusers.d/chandler.conf"), super::super::units::sysusers()).expect("written");
        let root = Root::below(folder.path()).expect("it is there");
        if !rustix::process::geteuid().is_root() {
            return; // Users are root's to make.
        }
        let made = make(&root, file).expect("made");
        assert!(matches!(made, Made::By(_) | Made::AtBoot), "{made:?}");
        if let Made::By(_) = made {
            assert_eq!(make(&root, file).expect("looked at"), Made::Known);
            assert!(find(&root).expect("read").is_some_and(|account| account.user > 0 && account.user < 1000));
        }
    }
}
