//! The record in the hands of who changes the machine: each change is written down before it is made.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::{Entry, Original, Record, RecordError, digest, form, guard};
use crate::engines::Change;
use crate::host::{Found, Place, Put, Root};

/// A record that nobody else changes meanwhile.
#[derive(Debug)]
pub struct Held {
    record: Record,
    /// Whether there is a `record.json`.
    written: bool,
    _lock: Lock,
}

/// A change that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Intention<'a> {
    /// It.
    pub change: &'a Change,
    /// Where its path leads.
    pub place: &'a Place,
    /// What is there.
    pub now: Option<&'a Found>,
    /// Where somebody edited the file since we changed it: that edit without what is ours (`Some(None)`: nothing is left). It is the original from now on. `None`: the
    /// original stays as it is.
    pub cleaned: Option<Option<&'a [u8]>>,
}

impl Held {
    /// Takes the lock, reads the record, and removes what a killed process left. The folder is made.
    pub fn open(root: &Root, folder: &Path) -> Result<Self, RecordError> {
        let folder = root.resolve(folder)?.real;
        guard::check(root, &folder)?;
        root.make_private_folder(&folder)?;
        let lock = Lock::take(root, &folder)?;
        let record = Record::read(root, &folder)?;
        let written = root.read(&folder.join(form::FILE))?.is_some();
        let mut held = Self { record, written, _lock: lock };
        held.sweep_files()?;
        held.tidy()?;
        Ok(held)
    }

    /// Writes down what is about to be done, with the bytes that would bring it back and those that are to come. After this, and not before, the file may be changed.
    pub fn intend(&mut self, intention: &Intention<'_>) -> Result<(), RecordError> {
        if !self.written {
            self.save()?; // Contents never lie there without it.
        }
        let Intention { change, place, now, cleaned } = *intention;
        let known = self.entries.iter().position(|entry| entry.path == change.path);
        let before = match cleaned {
            Some(bytes) => Some(self.original_of(bytes, now, known)?),
            None if known.is_none() => Some(self.original_of(now.map(|found| found.bytes.as_slice()), now, None)?),
            None => None,
        };
        let ours = change.after.as_deref().map(|bytes| self.keep(bytes)).transpose()?;
        let missing = if ours.is_some() { self.root.missing_folders(&place.real) } else { Vec::new() };
        let at = known.unwrap_or_else(|| {
            self.record.entries.push(Entry::new(change));
            self.record.entries.len() - 1
        });
        let entry = &mut self.record.entries[at];
        if let Some(original) = before {
            entry.original = original;
            entry.real.clone_from(&place.real);
            entry.earlier.append(&mut entry.ours);
        }
        entry.secret |= change.secret;
        entry.ours.retain(|content| *content != ours);
        entry.ours.push(ours);
        for contents in [&mut entry.ours, &mut entry.earlier] {
            let old = contents.len().saturating_sub(MOST_OURS);
            contents.drain(..old);
        }
        entry.folders.retain(|folder| !missing.contains(folder));
        entry.folders.extend(missing);
        self.save()
    }

    /// After an edit became the original, and the file was written: what we wrote before that edit no longer says what is ours. Somebody may bring back a line of it.
    pub fn settle(&mut self, path: &Path) -> Result<(), RecordError> {
        let Some(entry) = self.record.entries.iter_mut().find(|entry| entry.path == path) else { return Ok(()) };
        entry.earlier.clear();
        self.save()
    }

    /// A file that reads as it did before us is no longer ours: the folders that were made for it go, if nothing is in them, and then its entry.
    pub fn forget(&mut self, path: &Path) -> Result<(), RecordError> {
        let Some(at) = self.entries.iter().position(|entry| entry.path == path) else { return Ok(()) };
        let stay = self.root.remove_folders(&self.entries[at].folders)?;
        self.record.entries.remove(at);
        for folder in stay {
            // Another file of ours is in it, with which it goes.
            if let Some(heir) = self.record.entries.iter_mut().find(|entry| entry.real.starts_with(&folder)) {
                heir.folders.retain(|other| *other != folder);
                heir.folders.push(folder);
                heir.folders.sort_unstable();
            }
        }
        self.save()
    }

    /// Removes contents that no entry names, and an empty record. What stays behind if this fails is removed by the next who opens it.
    pub fn tidy(&mut self) -> Result<(), RecordError> {
        let folder = self.record.folder.join(form::CONTENTS);
        let needed: Vec<PathBuf> =
            self.entries.iter().flat_map(Entry::needs).map(|digest| form::content_path(&self.folder, digest)).collect();
        for name in self.root.list(&folder)?.unwrap_or_default() {
            let text = name.to_string_lossy();
            let path = folder.join(&name);
            if (form::is_content(&text) || text.ends_with(".chandler-new")) && !needed.contains(&path) {
                self.root.discard(&path)?;
            }
        }
        self.root.sweep(&self.record.folder.join(form::FILE))?;
        if self.entries.is_empty() && self.written {
            self.root.remove_folders(&[folder])?;
            self.root.discard(&self.record.folder.join(form::FILE))?;
            self.written = false;
            self.record.contents.clear();
        }
        Ok(())
    }

    /// What a killed process left beside files.
    fn sweep_files(&self) -> Result<(), RecordError> {
        for entry in &self.entries {
            let (Some(folder), Some(name)) = (entry.real.parent(), entry.real.file_name()) else { continue };
            // Where a folder is something else by now, nothing of ours is in it.
            if let Ok(folder) = self.root.resolve(folder) {
                self.root.sweep(&folder.real.join(name))?;
            }
        }
        Ok(())
    }

    /// An original with these bytes: what it was beside them is that of the file that is there, or of the one that was.
    fn original_of(&mut self, bytes: Option<&[u8]>, now: Option<&Found>, known: Option<usize>) -> Result<Original, RecordError> {
        let nature = now.map(|found| &found.nature).or_else(|| self.entries[known?].original.nature()).cloned();
        match (bytes, nature) {
            (Some(bytes), Some(nature)) => Ok(Original::File { digest: self.keep(bytes)?, nature }),
            _ => Ok(Original::Absent),
        }
    }

    /// Bytes that an entry is going to name.
    fn keep(&mut self, bytes: &[u8]) -> Result<::mirror::oci::Digest, RecordError> {
        let digest = digest(bytes);
        let folder = self.record.folder.join(form::CONTENTS);
        if self.record.contents.contains_key(&digest) && self.entries.iter().flat_map(Entry::needs).any(|needed| *needed == digest) {
            return Ok(digest);
        }
        self.root.make_private_folder(&folder)?;
        self.write(&form::content_path(&self.record.folder, &digest), bytes)?;
        self.record.contents.insert(digest.clone(), bytes.to_owned());
        Ok(digest)
    }

    fn save(&mut self) -> Result<(), RecordError> {
        let path = self.record.folder.join(form::FILE);
        let text = form::text(&self.entries).map_err(|error| RecordError::damaged(&path, &error))?;
        self.write(&path, text.as_bytes())?;
        self.written = true;
        Ok(())
    }

    /// A file of our own, for our eyes only.
    fn write(&self, real: &Path, bytes: &[u8]) -> Result<(), RecordError> {
        let place = Place { real: real.to_owned(), linked: false };
        let before = self.root.read_at(place.clone())?.map(|found| found.bytes);
        Ok(self.root.put(&place, &Put { before: before.as_deref(), after: bytes, nature: None, mode: 0o600 })?)
    }
}

impl Deref for Held {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Entry {
    /// Before anything is known of it.
    fn new(change: &Change) -> Self {
        Self {
            path: change.path.clone(),
            real: change.path.clone(),
            engine: change.engine,
            secret: change.secret,
            original: Original::Absent,
            ours: Vec::new(),
            earlier: Vec::new(),
            folders: Vec::new(),
        }
    }
}

/// Contents of ours that are known again in one file. What is older counts as somebody's.
const MOST_OURS: usize = 16;
