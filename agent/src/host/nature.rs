//! What a file is beside its bytes: mode, owner, extended attributes. Read of one file, and given to the one that takes its place.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Mode, owner, group, extended attributes: security labels, access lists, what users noted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nature {
    /// The permission bits.
    pub mode: u32,
    /// The user's number.
    pub owner: u32,
    /// The group's number.
    pub group: u32,
    /// Extended attributes by name, but those that the kernel makes of the content itself.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

impl Nature {
    /// Of an open file or folder.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { mode: meta.mode() & PERMISSIONS, owner: meta.uid(), group: meta.gid(), attributes: attributes(file)? })
    }

    /// Makes a new file what this says. What it is already is not touched: whoever is not root may own files, but give none away. The error says what could
    /// not be given.
    pub(super) fn give(&self, file: &File) -> Result<(), (String, io::Error)> {
        let has = Self::of(file).map_err(|error| ("mode".to_owned(), error))?;
        if (has.owner, has.group) != (self.owner, self.group) {
            fchown(file, Some(self.owner), Some(self.group)).map_err(|error| ("owner".to_owned(), error))?;
        }
        for (name, value) in self.attributes.iter().filter(|(name, value)| has.attributes.get(*name) != Some(value)) {
            let given = rustix::fs::fsetxattr(file, name.as_str(), value, XattrFlags::empty());
            given.map_err(|errno| (format!("attribute {name}"), errno.into()))?;
        }
        // What the folder hands down to all that is made in it, such as a default access list. A label is the system's own word, and stays.
        for name in has.attributes.keys().filter(|name| !self.attributes.contains_key(*name) && !name.starts_with("security.")) {
            let taken = rustix::fs::fremovexattr(file, name.as_str());
            taken.map_err(|errno| (format!("lack of the attribute {name}"), errno.into()))?;
        }
        // Last: an access list changes the group's bits.
        file.set_permissions(Permissions::from_mode(self.mode)).map_err(|error| ("mode".to_owned(), error))
    }
}

fn attributes(file: &File) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let names = match whole(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        names => names?,
    };
    let mut attributes = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = str::from_utf8(name).map_err(io::Error::other)?;
        if OF_THE_CONTENT.contains(&name) {
            continue;
        }
        match whole(|buffer| rustix::fs::fgetxattr(file, name, buffer)) {
            Err(Errno::NODATA) => {} // Gone since it was listed.
            value => drop(attributes.insert(name.to_owned(), value?)),
        }
    }
    Ok(attributes)
}

/// What the kernel fills a buffer with, however long that is.
fn whole(mut ask: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match ask(&mut buffer) {
            Err(Errno::RANGE) if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            filled => {
                buffer.truncate(filled?);
                return Ok(buffer);
            }
        }
    }
}

/// Set-user, set-group, sticky, and who may read, write and run.
pub(super) const PERMISSIONS: u32 = 0o7777;
/// Measurements and signatures of the old bytes, which would condemn the new ones; the kernel makes its own.
const OF_THE_CONTENT: [&str; 2] = ["security.evm", "security.ima"];
/// An attribute, or all their names, takes 64 KiB at most.
const MOST: usize = 1 << 17;
