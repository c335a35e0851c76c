//! Whole files: written beside, synced, renamed; read, or named as damaged; and put aside by whoever may.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::Moment;

/// A document; `None` where there is none. One that cannot be understood is an error, and stays where it is: only who holds the lock may move it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| StoreError::damaged(path, error))
}

/// Adds one document as a line, durably. Part of a line that a crash left before it stays a line of its own, which nobody understands.
pub(crate) fn append<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let text = serde_json::to_string(value).map_err(io::Error::from);
    let written = text.and_then(|text| {
        folder_of(path)?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        give_like_its_folder(&file, path)?; // Also what root made before, and did not give.
        let mut last = [b'\n'];
        if let Some(at) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        let before = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{before}{text}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| StoreError::io("write", path, source))
}

/// A text; `None` where there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|source| StoreError::io("read", path, source))?,
    };
    String::from_utf8(bytes).map(Some).map_err(|error| StoreError::damaged(path, error.utf8_error()))
}

/// Writes a document whole and durably.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from);
    let written = text.and_then(|text| replace(path, text.as_bytes(), OURS));
    written.map_err(|source| StoreError::io("write", path, source))
}

/// Writes a text whole and durably.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    replace(path, text.as_bytes(), OURS).map_err(|source| StoreError::io("write", path, source))
}

/// The same, for all to read, in folders for all to enter where they are made for it.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), StoreError> {
    replace(path, text.as_bytes(), PUBLIC).map_err(|source| StoreError::io("write", path, source))
}

/// The same in a folder of somebody else's, for whom it is: 0600, and the folder's owner's where we may give it away, whoever may look into that.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes, THEIRS).map_err(|source| StoreError::io("write", path, source))
}

/// Removes a file; one that is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// The same, and it does not come back with a power cut.
pub(crate) fn remove_durably(path: &Path) -> Result<(), StoreError> {
    remove(path)?;
    sync_folder_of(path)
}

/// What was named or removed beside `path` stays so in a power cut.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| StoreError::io("sync the folder of", path, source))
}

/// Gives a file another name in its folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let renamed = fs::rename(from, to).and_then(|()| to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()));
    renamed.map_err(|source| StoreError::io("rename", from, source))
}

/// Whether this process may write `path`, a file or a folder, and whether `owner` may, in whose name a service works while root, who may do all, asks. What is not there will be made.
pub(crate) fn check_writable(path: &Path, owner: u32) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("write", path, source);
    let file = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(failed)?,
    };
    let needed = if file.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    accessat(CWD, path, needed, AtFlags::EACCESS).map_err(|error| failed(error.into()))?;
    if rustix::process::geteuid().is_root() && owner != 0 && file.uid() != owner {
        let whose = format!("it belongs to user {}, and user {owner}, whose folder it is in, cannot: chown it", file.uid());
        return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, whose)));
    }
    Ok(())
}

/// Gives a file that nobody understands another name, for a person to look at. The caller holds the lock and has read it under that: else it could be
/// somebody's new and good one.
pub(crate) fn put_aside(path: &Path, why: &dyn fmt::Display) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".bad-{}", Moment::from(SystemTime::now()).unix()));
    let moved = fs::rename(path, PathBuf::from(&aside));
    tracing::error!(
        path = %path.display(), reason = %why, moved = moved.is_ok(),
        "a file of a certificate cannot be understood; it is put aside as {}", Path::new(&aside).display(),
    );
}

/// The folder of `path`, made where it is missing, for our eyes only.
pub(crate) fn folder_of(path: &Path) -> io::Result<&Path> {
    make_folder_of(path, OURS)
}

/// The same, for all to enter where it is made for this.
pub(crate) fn public_folder_of(path: &Path) -> io::Result<&Path> {
    make_folder_of(path, PUBLIC)
}

fn make_folder_of(path: &Path, modes: Modes) -> io::Result<&Path> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let missing: Vec<&Path> = folder.ancestors().take_while(|one| !one.as_os_str().is_empty() && !one.exists()).collect();
    DirBuilder::new().recursive(true).mode(modes.folder).create(folder)?;
    for made in missing.iter().rev() {
        let owner = fs::metadata(made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        give(&File::open(made)?, &owner)?;
    }
    Ok(folder)
}

/// A file that was made in a folder of our own belongs to the folder's owner.
pub(super) fn give_like_its_folder(file: &File, path: &Path) -> io::Result<()> {
    match path.parent().map(fs::metadata) {
        Some(Ok(folder)) if folder.mode() & OTHERS == 0 => give(file, &folder),
        _ => Ok(()),
    }
}

/// What a person makes as root in a folder of the service's user belongs to that user: the service could not read it else, and would never renew again.
/// Whoever is not root makes everything in their own name.
fn give(file: &File, owner: &fs::Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if made.uid() == 0 && owner.uid() != 0 { fchown(file, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}

fn replace(path: &Path, bytes: &[u8], modes: Modes) -> io::Result<()> {
    let folder = make_folder_of(path, modes)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new"); // One writer at a time holds the lock; what a crash left is overwritten.
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside); // Else its mode would stay, whatever that is.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(modes.file).open(&beside)?;
    if modes.for_the_folders_owner {
        give(&file, &fs::metadata(folder)?)?;
    } else {
        give_like_its_folder(&file, path)?;
    }
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Who may do what with a new file and the folders that are made for it.
#[derive(Clone, Copy)]
struct Modes {
    file: u32,
    folder: u32,
    for_the_folders_owner: bool,
}

/// What a folder of ours lets nobody else do.
const OTHERS: u32 = 0o077;
const OURS: Modes = Modes { file: 0o600, folder: 0o700, for_the_folders_owner: false };
const PUBLIC: Modes = Modes { file: 0o644, folder: 0o755, for_the_folders_owner: false };
const THEIRS: Modes = Modes { file: 0o600, folder: 0o700, for_the_folders_owner: true };
