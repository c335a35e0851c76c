//! Where a path leads: links followed one by one, as if the tree were the whole machine.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{HostError, Root};

/// Where a path leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The file itself, as the machine sees it; no part of it is a link.
    pub real: PathBuf,
    /// Whether the path's last name is a symbolic link.
    pub linked: bool,
}

/// Follows `path`. A link with an absolute target counts from the tree's root, and nothing leads above that.
pub(super) fn resolve(root: &Root, path: &Path) -> Result<Place, HostError> {
    let mut place = Place { real: PathBuf::from("/"), linked: false };
    let mut ahead = parts(path);
    let mut followed = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            place.real.pop();
            continue;
        }
        let next = place.real.join(part);
        match fs::read_link(root.on_disk(&next)) {
            Ok(target) => {
                followed += 1;
                if followed > MOST_LINKS {
                    return Err(HostError::Loop(path.to_owned()));
                }
                place.linked |= ahead.is_empty();
                if target.is_absolute() {
                    place.real = PathBuf::from("/");
                }
                ahead.extend(parts(&target));
            }
            // No link, or nothing at all: what is to be made there is no link either.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => place.real = next,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(HostError::NotAFolder { path: path.to_owned(), on_the_way: place.real });
            }
            Err(source) => return Err(HostError::io("look at", &next, source)),
        }
    }
    Ok(place)
}

/// The names of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<OsString> = named.map(|part| part.as_os_str().to_owned()).collect();
    parts.reverse();
    parts
}

/// What Linux follows.
pub(super) const MOST_LINKS: u32 = 40;
