//! The files that count at one place, in the order in which Podman reads them, and which entry wins. Pure.
//!
//! Seen with Podman 4.3: of two files the later one's entry counts, of two entries in one file the first; a user's `registries.conf` hides all of the machine's files; a main
//! file in the old form does not keep drop-ins from counting, while a drop-in in that form stops every command.

use std::path::Path;

use super::drop_in;
use super::look::{Facts, Place};
use crate::edit::registries::{self, File, Registry};
use crate::edit::{Misread, utf8};

/// All files of others; ours are not among them.
#[derive(Debug)]
pub struct Reading<'a> {
    files: Vec<(&'a Path, File)>,
}

/// A file that stops every command.
#[derive(Debug)]
pub struct BrokenFile<'a> {
    /// Which one.
    pub path: &'a Path,
    /// Where, and why.
    pub misread: Misread,
}

impl<'a> Reading<'a> {
    /// Reads what counts at the place: its main file and drop-ins; of a user without a main file, the machine's before his own.
    pub fn of(facts: &'a Facts, place: &'a Place) -> Result<Self, BrokenFile<'a>> {
        let below = place.below.as_deref().filter(|_| facts.files.get(&place.main).is_none());
        let all = below.into_iter().chain([place]).flat_map(|place| files_of(facts, place));
        let read = all.map(|(path, bytes)| {
            let is_main = path == place.main || below.is_some_and(|below| path == below.main);
            file(bytes, is_main).map(|read| (path, read)).map_err(|misread| BrokenFile { path, misread })
        });
        Ok(Self { files: read.collect::<Result<_, _>>()? })
    }

    /// The entry that wins, and its file: the last file that has one, and the first one in it.
    pub fn winner(&self, registry: &str) -> Option<(&'a Path, &Registry)> {
        self.files.iter().rev().find_map(|(path, file)| Some((*path, entry(file, registry)?)))
    }

    /// Entries for a part of the registry, which win over the registry's own.
    pub fn within<'r>(&'r self, registry: &'r str) -> impl Iterator<Item = (&'a Path, &'r Registry)> {
        let is_part = move |entry: &&Registry| entry.prefix.strip_prefix(registry).is_some_and(|rest| rest.starts_with('/'));
        self.files.iter().flat_map(move |(path, file)| file.registries.iter().filter(is_part).map(move |entry| (*path, entry)))
    }

    /// Names of drop-ins with an entry for one of the registries: ours has to be read after them. From version 6 on, Podman reads those of all folders by their names.
    pub fn rivals(&self, registries: &[String]) -> Vec<&'a str> {
        let has_entry = |file: &File| registries.iter().any(|name| entry(file, name).is_some());
        let rivals = self.files.iter().filter(|(path, file)| is_drop_in(path) && has_entry(file));
        rivals.filter_map(|(path, _)| path.file_name()?.to_str()).collect()
    }

    /// The names that others have taken.
    pub fn names(&self) -> Vec<&'a str> {
        self.files.iter().filter(|(path, _)| is_drop_in(path)).filter_map(|(path, _)| path.file_name()?.to_str()).collect()
    }

    /// The main file, if it is of the first version.
    pub fn first_version(&self) -> Option<(&'a Path, usize)> {
        self.files.iter().find_map(|(path, file)| Some((*path, file.v1?.0)))
    }
}

/// A file as Podman takes it. A drop-in may not be of the first version.
pub fn file(bytes: &[u8], is_main: bool) -> Result<File, Misread> {
    let file = registries::read(utf8(bytes)?)?;
    match file.v1.filter(|_| !is_main) {
        None => Ok(file),
        Some((line, column)) => {
            let what = "the old form ([registries.…]), which Podman refuses in a drop-in".to_owned();
            Err(Misread { line, column, what })
        }
    }
}

/// The first entry for a prefix: of several in one file, the others do not count.
pub fn entry<'f>(file: &'f File, prefix: &str) -> Option<&'f Registry> {
    file.registries.iter().find(|entry| entry.prefix == prefix)
}

fn is_drop_in(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.as_os_str().as_encoded_bytes().ends_with(b".conf.d"))
}

/// Main file, then drop-ins by name.
fn files_of<'a>(facts: &'a Facts, place: &'a Place) -> impl Iterator<Item = (&'a Path, &'a [u8])> {
    let main = facts.files.get(&place.main).map(|bytes| (place.main.as_path(), bytes));
    main.into_iter().chain(drop_ins(facts, place).filter(|(_, bytes)| !drop_in::is_ours(bytes)))
}

/// All drop-ins of the place, ours too. Files by other names, and files in folders below, are not read.
pub fn drop_ins<'a>(facts: &'a Facts, place: &'a Place) -> impl Iterator<Item = (&'a Path, &'a [u8])> {
    let files = place.more.iter().chain([&place.folder]).flat_map(|folder| facts.files.in_folder(folder));
    files.filter(|(path, _)| path.as_os_str().as_encoded_bytes().ends_with(b".conf"))
}
