//! Whole files: written beside, synced, renamed; read, or put aside when nobody can understand them.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::Moment;

/// A document; `None` where there is none, or none that can be understood.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            put_aside(path, &error);
            Ok(None)
        }
    }
}

/// A text; `None` where there is none.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                put_aside(path, &error);
                Ok(None)
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// Writes a document whole and durably.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from);
    let written = text.and_then(|text| replace(path, text.as_bytes()));
    written.map_err(|source| StoreError::Io { doing: "write", path: path.to_owned(), source })
}

/// Writes a text whole and durably.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    replace(path, text.as_bytes()).map_err(|source| StoreError::Io { doing: "write", path: path.to_owned(), source })
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io { doing: "remove", path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Gives a file that nobody understands another name, for a person to look at.
pub(super) fn put_aside(path: &Path, why: &dyn fmt::Display) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".bad-{}", Moment::from(SystemTime::now()).unix()));
    let moved = fs::rename(path, PathBuf::from(&aside));
    tracing::error!(
        path = %path.display(), reason = %why, moved = moved.is_ok(),
        "a file of a certificate cannot be understood; it is put aside as {}", Path::new(&aside).display(),
    );
}

/// The folder of `path`, made where it is missing, for our eyes only.
pub(super) fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(folder)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new"); // One writer at a time holds the lock; what a crash left is overwritten.
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside); // Else its mode would stay, whatever that is.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}
