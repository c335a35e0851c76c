//! Whole files put in place of others, and taken away; folders made on the way, and taken away again.
//!
//! The new file is written beside the old one, as `.NAME.chandler-new`, which no engine reads: what a killed process left under that name is known as ours
//! ([`Root::sweep`]).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, IFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{HostError, Nature, Place, Root, steps};

/// What a file is to hold, and what it is to be where it is made anew. One that is there keeps its mode, owner and attributes.
#[derive(Clone, Copy)]
pub struct Put<'a> {
    /// What it holds now, by the caller's belief: else nothing happens. `None`: it is not there.
    pub before: Option<&'a [u8]>,
    /// What it is to hold.
    pub after: &'a [u8],
    /// What it is to be, if it was there once.
    pub nature: Option<&'a Nature>,
    /// Its permissions, if it was not.
    pub mode: u32,
}

impl Root {
    /// Puts a file in its place, and what is missing of its folders.
    pub fn put(&self, place: &Place, put: &Put<'_>) -> Result<(), HostError> {
        for folder in self.missing_folders(&place.real) {
            self.make_folder(&folder, FOLDER)?;
        }
        let beside = self.on_disk(&beside(&place.real));
        remove_leftover(&beside).map_err(|source| self.refused("write", &place.real, source))?;
        let done = self.fill(&beside, place, put).and_then(|()| self.swap(&beside, place, put.before));
        if done.is_err() {
            let _ = fs::remove_file(&beside); // Else the next run does.
        }
        done
    }

    /// Removes a file that holds `before`; where there is none, none is removed.
    pub fn take_away(&self, place: &Place, before: Option<&[u8]>) -> Result<(), HostError> {
        self.check(place, before)?;
        if before.is_none() {
            return Ok(());
        }
        steps::before("remove a file");
        let disk = self.on_disk(&place.real);
        fs::remove_file(&disk).map_err(|source| self.refused("remove", &place.real, source))?;
        sync_folder_of(&disk).map_err(|source| HostError::io("sync the folder of", &place.real, source))
    }

    /// The folders that a file at `real` lacks, the outermost first.
    pub fn missing_folders(&self, real: &Path) -> Vec<PathBuf> {
        let missing = real.ancestors().skip(1).take_while(|folder| self.on_disk(folder).symlink_metadata().is_err());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        missing
    }

    /// Removes what is empty of `folders`, the last first, and says which stay because something is in them.
    pub fn remove_folders(&self, folders: &[PathBuf]) -> Result<Vec<PathBuf>, HostError> {
        let mut stay = Vec::new();
        for folder in folders.iter().rev() {
            let disk = self.on_disk(folder);
            steps::before("remove a folder");
            match fs::remove_dir(&disk) {
                Ok(()) => sync_folder_of(&disk).map_err(|source| HostError::io("sync the folder of", folder, source))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Something is in it, or mounted on it, or it is a folder no more.
                Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) => {
                    stay.insert(0, folder.clone());
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
                    stay.insert(0, folder.clone());
                }
                Err(source) => return Err(self.refused("remove", folder, source)),
            }
        }
        Ok(stay)
    }

    /// Removes what a killed process left beside the file at `real`.
    pub fn sweep(&self, real: &Path) -> Result<(), HostError> {
        let left = beside(real);
        remove_leftover(&self.on_disk(&left)).map_err(|source| self.refused("remove", &left, source))
    }

    /// A folder of our own, which nobody else looks into, with what is missing above it.
    pub(crate) fn make_private_folder(&self, real: &Path) -> Result<(), HostError> {
        for folder in self.missing_folders(real) {
            self.make_folder(&folder, FOLDER)?;
        }
        self.make_folder(real, PRIVATE_FOLDER)
    }

    /// Removes a file of our own, whatever it holds; one that is not there is removed already.
    pub(crate) fn discard(&self, real: &Path) -> Result<(), HostError> {
        let disk = self.on_disk(real);
        remove_leftover(&disk).and_then(|()| sync_folder_of(&disk)).map_err(|source| self.refused("remove", real, source))
    }

    fn make_folder(&self, real: &Path, mode: u32) -> Result<(), HostError> {
        let disk = self.on_disk(real);
        if disk.is_dir() {
            return Ok(());
        }
        steps::before("make a folder");
        make_folder(&disk, mode).map_err(|source| self.refused("make", real, source))
    }

    /// The whole new file, under its passing name.
    fn fill(&self, beside: &Path, place: &Place, put: &Put<'_>) -> Result<(), HostError> {
        let failed = |source: io::Error| self.refused("write", &place.real, source);
        steps::before("make the new file");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A key is for its owner's eyes from the first byte on.
        let opened = rustix::fs::open(beside, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(opened.map_err(|errno| failed(errno.into()))?);
        steps::before("fill the new file");
        file.write_all(put.after).map_err(failed)?;
        steps::before("give the new file its owner and mode");
        self.liken(&file, place, put)?;
        file.sync_all().map_err(failed)
    }

    /// As the file that it replaces, else as one that was there once, else as its folder's.
    fn liken(&self, file: &File, place: &Place, put: &Put<'_>) -> Result<(), HostError> {
        let found = self.read_at(place.clone())?;
        if let Some(nature) = found.as_ref().map(|found| &found.nature).or(put.nature) {
            let keep = |(what, source)| HostError::Keep { what, path: place.real.clone(), source };
            return nature.give(file).map_err(keep);
        }
        let given =
            give_like_folder(file, &self.on_disk(&place.real)).and_then(|()| file.set_permissions(Permissions::from_mode(put.mode)));
        given.map_err(|source| HostError::io("write", &place.real, source))
    }

    /// The new file takes the old one's place, if that still is what it was.
    fn swap(&self, beside: &Path, place: &Place, before: Option<&[u8]>) -> Result<(), HostError> {
        let disk = self.on_disk(&place.real);
        self.check(place, before)?;
        steps::before("rename the new file");
        let renamed = match before {
            Some(_) => rustix::fs::rename(beside, &disk),
            // Where nothing was, nothing may have come.
            None => match rustix::fs::renameat_with(CWD, beside, CWD, &disk, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(HostError::Changed(place.real.clone())),
                Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(beside, &disk), // The file system cannot tell.
                renamed => renamed,
            },
        };
        renamed.map_err(|errno| self.refused("replace", &place.real, errno.into()))?;
        sync_folder_of(&disk).map_err(|source| HostError::io("sync the folder of", &place.real, source))
    }

    /// Whether the file still holds `before`.
    fn check(&self, place: &Place, before: Option<&[u8]>) -> Result<(), HostError> {
        let now = self.read_at(place.clone())?;
        if now.as_ref().map(|found| found.bytes.as_slice()) == before { Ok(()) } else { Err(HostError::Changed(place.real.clone())) }
    }

    /// What a refusal to change a file means.
    fn refused(&self, doing: &'static str, real: &Path, source: io::Error) -> HostError {
        match source.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => HostError::Mounted(real.to_owned()),
            io::ErrorKind::PermissionDenied if self.is_held(real) => HostError::Immutable(real.to_owned()),
            io::ErrorKind::PermissionDenied if real.parent().is_some_and(|folder| self.is_held(folder)) => {
                HostError::Immutable(real.parent().expect("just seen").to_owned())
            }
            _ => HostError::io(doing, real, source),
        }
    }

    /// Whether `chattr` keeps even root from changing it.
    fn is_held(&self, real: &Path) -> bool {
        let opened = rustix::fs::open(self.on_disk(real), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let flags = opened.and_then(rustix::fs::ioctl_getflags);
        flags.is_ok_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND))
    }
}

/// The passing name of a file that is being written.
fn beside(real: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(real.file_name().unwrap_or_default());
    name.push(".chandler-new");
    real.with_file_name(name)
}

fn remove_leftover(beside: &Path) -> io::Result<()> {
    if beside.symlink_metadata().is_err() {
        return Ok(()); // Nothing there that could be in the way; what else is wrong, the next step tells.
    }
    steps::before("remove a leftover");
    fs::remove_file(beside)
}

/// For all whom `mode` names, whatever this process' umask is.
fn make_folder(disk: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(disk) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    let folder = File::open(disk)?;
    give_like_folder(&folder, disk)?;
    folder.set_permissions(Permissions::from_mode(mode | folder.metadata()?.mode() & SET_GROUP))?;
    sync_folder_of(disk)
}

/// What root makes in a user's folder is the user's: a rootless engine could not read its own settings else.
fn give_like_folder(file: &File, disk: &Path) -> io::Result<()> {
    let folder = fs::metadata(disk.parent().unwrap_or(Path::new("/")))?;
    let made = file.metadata()?;
    if made.uid() == 0 && folder.uid() != 0 { fchown(file, Some(folder.uid()), Some(folder.gid())) } else { Ok(()) }
}

fn sync_folder_of(disk: &Path) -> io::Result<()> {
    File::open(disk.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Engines of whoever runs them look into it.
const FOLDER: u32 = 0o755;
const PRIVATE_FOLDER: u32 = 0o700;
/// A folder hands it down to those in it.
const SET_GROUP: u32 = 0o2000;
