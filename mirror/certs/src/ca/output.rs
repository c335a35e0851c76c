//! What leaves a CA: a server's two files, the files that machines are to have. Each is whole or not there; a key is 0600 from its first byte.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::export::File;
use super::issuing::Issued;
use crate::store::{StoreError, files};

/// Writes `privkey.pem` and `fullchain.pem` into `folder`, and says where they are. The mirror takes the pair when both are there.
pub fn write_pair(folder: &Path, issued: &Issued) -> Result<[PathBuf; 2], StoreError> {
    let [key, chain] = ["privkey.pem", "fullchain.pem"].map(|name| folder.join(name));
    if let Some(made) = &issued.key {
        files::write_text(&target(&key)?, made.pem())?;
    }
    write_text(&chain, &issued.chain)?;
    Ok([chain, key])
}

/// Puts a certificate and its key, each with its text, in the places of those that are there: both are on the disk before either has its name, the certificate first.
pub fn replace_pair(chain: (&Path, &str), key: (&Path, &str)) -> Result<(), StoreError> {
    let next = |path: &Path| path.with_added_extension("next"); // No name that engines look for.
    let [chain_path, key_path] = [target(chain.0)?, target(key.0)?];
    files::write_public(&next(&chain_path), chain.1)?;
    files::write_text(&next(&key_path), key.1)?;
    for path in [&chain_path, &key_path] {
        fs::rename(next(path), path).map_err(|source| StoreError::Io { doing: "write", path: path.clone(), source })?;
    }
    files::sync_folder_of(&chain_path)?;
    files::sync_folder_of(&key_path)
}

/// Writes a text that everybody may read.
pub fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    files::write_public(&target(path)?, text)
}

/// Writes a text for nobody else's eyes.
pub fn write_secret(path: &Path, text: &str) -> Result<(), StoreError> {
    files::write_text(&target(path)?, text)
}

/// The same, in a folder that all may enter where it is made for this: what else is put there is for everybody.
pub fn write_secret_among_others(path: &Path, text: &str) -> Result<(), StoreError> {
    files::public_folder_of(path).map_err(|source| StoreError::Io { doing: "make the folder of", path: path.to_owned(), source })?;
    write_secret(path, text)
}

/// Removes what is of no more use.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    files::remove(path)
}

/// Writes all files below `folder`.
pub fn write_files(folder: &Path, files: &[File]) -> Result<(), StoreError> {
    files.iter().try_for_each(|file| write_text(&folder.join(&file.path), &file.text))
}

/// A link stays one, and what it leads to is replaced; a device is not replaced by a file.
fn target(path: &Path) -> Result<PathBuf, StoreError> {
    let unusable = |source| StoreError::Io { doing: "write", path: path.to_owned(), source };
    match fs::canonicalize(path) {
        Ok(real) if real.is_file() => Ok(real),
        Ok(_) => Err(unusable(io::Error::new(io::ErrorKind::InvalidInput, "there is something that is not a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(unusable(error)),
    }
}
