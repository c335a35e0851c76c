//! What is put into a machine's tree, piece by piece, and taken out of it again. A piece that is there already is left; one that somebody edited stays, and is named.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::InstallError;
use super::sealed::{is_untouched, seal};
use crate::host::{HostError, Nature, Place, Put, Root};

/// A file or link of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
}

/// What it is.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Content {
    /// Where nothing is. Afterwards it is the operator's; this group may read it, and others not.
    Template { text: String, group: Option<u32> },
    /// Sealed, and in the place of a template that nobody wrote anything into.
    Configuration { text: String, template: String },
    /// As `systemctl enable` makes it.
    Link(PathBuf),
    /// Whatever was there before.
    Program(Vec<u8>),
    /// As long as it is as we wrote it.
    Sealed(String),
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Done {
    /// Nothing was there.
    Added,
    /// Somebody made it what it is, and it stays.
    Foreign,
    /// An older one of ours was there.
    Renewed,
    /// It was so already.
    Same,
}

/// What became of a piece that was to go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gone {
    /// It was not there.
    Absent,
    /// It is somebody else's by now, and stays.
    Foreign,
    /// It was there.
    Removed,
}

impl Piece {
    /// A file with a sum.
    pub(crate) fn sealed(path: impl Into<PathBuf>, body: &str) -> Self {
        Self { path: path.into(), content: Content::Sealed(seal(body)) }
    }

    /// A link to a unit, from where `target` collects what it wants.
    pub(crate) fn wanted(unit: &str, target: &str) -> Self {
        Self { path: Path::new(UNITS).join(format!("{target}.wants")).join(unit), content: Content::Link(Path::new(UNITS).join(unit)) }
    }

    /// What [`put`](Self::put) would make of it now.
    pub(crate) fn would(&self, root: &Root) -> Result<Done, InstallError> {
        Ok(match &self.content {
            Content::Link(target) => match fs::read_link(at(root, &self.path)?.1) {
                Ok(found) if leads_to(&found, target) => Done::Same,
                Ok(_) => Done::Added,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Done::Added,
                Err(_) => Done::Foreign, // A file or folder.
            },
            Content::Template { .. } => match root.read(&self.path)? {
                Some(_) => Done::Foreign,
                None => Done::Added,
            },
            Content::Program(bytes) => replaced(root.read(&self.path)?.map(|found| found.bytes), bytes, |_| true),
            Content::Configuration { text, template } => {
                let may_go = |bytes: &[u8]| is_untouched(bytes) || bytes == template.as_bytes();
                replaced(root.read(&self.path)?.map(|found| found.bytes), text.as_bytes(), may_go)
            }
            Content::Sealed(text) => replaced(root.read(&self.path)?.map(|found| found.bytes), text.as_bytes(), is_untouched),
        })
    }

    /// Puts it in place.
    pub(crate) fn put(&self, root: &Root) -> Result<Done, InstallError> {
        match &self.content {
            Content::Configuration { text, template } => {
                replace(root, &self.path, text.as_bytes(), 0o644, |bytes| is_untouched(bytes) || bytes == template.as_bytes())
            }
            Content::Link(target) => link(root, &self.path, target),
            Content::Template { text, group } => {
                let place = root.resolve(&self.path)?;
                if root.read_at(place.clone())?.is_some() {
                    return Ok(Done::Foreign);
                }
                let nature = group.map(|group| Nature { mode: 0o640, owner: 0, group, attributes: BTreeMap::new() });
                root.put(&place, &Put { before: None, after: text.as_bytes(), nature: nature.as_ref(), mode: 0o644 })?;
                Ok(Done::Added)
            }
            Content::Program(bytes) => replace(root, &self.path, bytes, 0o755, |_| true),
            Content::Sealed(text) => replace(root, &self.path, text.as_bytes(), 0o644, is_untouched),
        }
    }

    /// Takes it out, if it is as we put it there.
    pub(crate) fn take_away(&self, root: &Root) -> Result<Gone, InstallError> {
        match &self.content {
            Content::Link(target) => unlink(root, &self.path, target),
            Content::Template { text, .. } => remove(root, &self.path, |bytes| bytes == text.as_bytes()),
            Content::Program(ours) => remove(root, &self.path, |bytes| bytes == ours),
            Content::Configuration { .. } | Content::Sealed(_) => remove(root, &self.path, is_untouched),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Configuration { .. } => "Configuration",
            Self::Link(_) => "Link",
            Self::Program(_) => "Program",
            Self::Sealed(_) => "Sealed",
            Self::Template { .. } => "Template",
        })
    }
}

/// Whether something is at a path, be it a link that leads nowhere.
pub(crate) fn is_there(root: &Root, path: &Path) -> Result<bool, InstallError> {
    Ok(at(root, path)?.1.symlink_metadata().is_ok())
}

/// Removes folders of ours that nothing is in.
pub(crate) fn tidy(root: &Root, folders: &[&str]) -> Result<(), InstallError> {
    for folder in folders {
        let place = root.resolve(Path::new(folder))?;
        if root.is_folder(&place.real)? {
            root.remove_folders(&[place.real])?;
        }
    }
    Ok(())
}

fn replace(root: &Root, path: &Path, after: &[u8], mode: u32, may_go: impl Fn(&[u8]) -> bool) -> Result<Done, InstallError> {
    let place = root.resolve(path)?;
    let found = root.read_at(place.clone())?;
    let before = found.as_ref().map(|found| found.bytes.as_slice());
    let done = replaced(before, after, may_go);
    if matches!(done, Done::Added | Done::Renewed) {
        root.put(&place, &Put { before, after, nature: None, mode })?;
    }
    Ok(done)
}

fn replaced(before: Option<impl AsRef<[u8]>>, after: &[u8], may_go: impl Fn(&[u8]) -> bool) -> Done {
    match before {
        None => Done::Added,
        Some(bytes) if bytes.as_ref() == after => Done::Same,
        Some(bytes) if may_go(bytes.as_ref()) => Done::Renewed,
        Some(_) => Done::Foreign,
    }
}

fn remove(root: &Root, path: &Path, is_ours: impl Fn(&[u8]) -> bool) -> Result<Gone, InstallError> {
    let place = root.resolve(path)?;
    let Some(found) = root.read_at(place.clone())? else { return Ok(Gone::Absent) };
    if !is_ours(&found.bytes) {
        return Ok(Gone::Foreign);
    }
    root.take_away(&place, Some(&found.bytes))?;
    Ok(Gone::Removed)
}

/// A path whose last name is not followed, where it is a link itself.
fn at(root: &Root, path: &Path) -> Result<(Place, PathBuf), InstallError> {
    let mut place = root.resolve(path.parent().unwrap_or(Path::new("/")))?;
    place.real.push(path.file_name().unwrap_or_default());
    let disk = root.on_disk(&place.real);
    Ok((place, disk))
}

fn link(root: &Root, path: &Path, target: &Path) -> Result<Done, InstallError> {
    let (place, disk) = at(root, path)?;
    let failed = |doing: &'static str| move |source: io::Error| InstallError::Host(HostError::io(doing, path, source));
    match fs::read_link(&disk) {
        Ok(found) if leads_to(&found, target) => return Ok(Done::Same),
        Ok(_) => fs::remove_file(&disk).map_err(failed("replace the link"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Ok(Done::Foreign), // A file or folder.
    }
    fs::create_dir_all(disk.parent().unwrap_or(Path::new("/"))).map_err(failed("make the folder of"))?;
    symlink(target, &disk).map_err(failed("link"))?;
    debug_assert!(place.real.is_absolute());
    Ok(Done::Added)
}

fn unlink(root: &Root, path: &Path, target: &Path) -> Result<Gone, InstallError> {
    let (_, disk) = at(root, path)?;
    match fs::read_link(&disk) {
        Ok(found) if leads_to(&found, target) => {
            fs::remove_file(&disk).map_err(|source| HostError::io("remove", path, source))?;
            Ok(Gone::Removed)
        }
        Ok(_) => Ok(Gone::Foreign),
        Err(_) => Ok(Gone::Absent),
    }
}

/// For systemd it is the name that counts, wherever the unit itself is.
fn leads_to(found: &Path, target: &Path) -> bool {
    found.file_name() == target.file_name()
}

/// Where an operator's units are.
pub(crate) const UNITS: &str = "/etc/systemd/system";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn tree() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::below(folder.path()).expect("it is there");
        (folder, root)
    }

    #[test]
    fn a_unit_is_renewed_until_somebody_edits_it_and_then_stays() {
        let (folder, root) = tree();
        let unit = |body: &str| Piece::sealed("/etc/systemd/system/x.service", body);
        assert_eq!(unit("a\n").would(&root).expect("looked at"), Done::Added);
        assert_eq!(unit("a\n").put(&root).expect("put"), Done::Added);
        assert_eq!(unit("a\n").put(&root).expect("put"), Done::Same);
        assert_eq!(unit("b\n").would(&root).expect("looked at"), Done::Renewed);
        assert_eq!(unit("b\n").put(&root).expect("put"), Done::Renewed);
        let disk = folder.path().join("etc/systemd/system/x.service");
        let edited = fs::read_to_string(&disk).expect("there") + "Nice=5\n";
        fs::write(&disk, &edited).expect("written");
        assert_eq!(unit("c\n").put(&root).expect("put"), Done::Foreign);
        assert_eq!(unit("c\n").take_away(&root).expect("looked at"), Gone::Foreign);
        assert_eq!(fs::read_to_string(&disk).expect("there"), edited);
        fs::write(&disk, seal("of an older version\n")).expect("written");
        assert_eq!(unit("c\n").take_away(&root).expect("taken"), Gone::Removed);
        assert_eq!(unit("c\n").take_away(&root).expect("taken"), Gone::Absent);
    }

    #[test]
    fn a_configuration_that_is_there_is_never_touched() {
        let (folder, root) = tree();
        let template =
            Piece { path: "/etc/chandler/x.yaml".into(), content: Content::Template { text: "# nothing\n".into(), group: None } };
        assert_eq!(template.put(&root).expect("put"), Done::Added);
        assert_eq!(template.put(&root).expect("put"), Done::Foreign);
        assert_eq!(template.take_away(&root).expect("taken"), Gone::Removed, "nobody wrote anything into it");
        let disk = folder.path().join("etc/chandler/x.yaml");
        fs::write(&disk, "a: b\n").expect("written");
        assert_eq!((template.put(&root).expect("put"), template.take_away(&root).expect("looked at")), (Done::Foreign, Gone::Foreign));
        assert_eq!(fs::read(&disk).expect("there"), b"a: b\n");
    }

    #[test]
    fn a_program_takes_the_place_of_any_other_and_can_be_run() {
        let (folder, root) = tree();
        let program = |bytes: &[u8]| Piece { path: "/usr/local/bin/chandler".into(), content: Content::Program(bytes.into()) };
        assert_eq!((program(b"1").put(&root).expect("put"), program(b"2").put(&root).expect("put")), (Done::Added, Done::Renewed));
        let disk = folder.path().join("usr/local/bin/chandler");
        assert_eq!(fs::metadata(&disk).expect("there").permissions().mode() & 0o777, 0o755);
        assert_eq!(program(b"1").take_away(&root).expect("looked at"), Gone::Foreign, "it is another version");
        assert_eq!(program(b"2").take_away(&root).expect("taken"), Gone::Removed);
    }

    #[test]
    fn a_wish_is_a_link_and_that_of_systemctl_counts() {
        let (folder, root) = tree();
        let wish = Piece::wanted("x.service", "multi-user.target");
        assert_eq!(wish.would(&root).expect("looked at"), Done::Added);
        assert_eq!((wish.put(&root).expect("put"), wish.put(&root).expect("put")), (Done::Added, Done::Same));
        let disk = folder.path().join("etc/systemd/system/multi-user.target.wants/x.service");
        assert_eq!(fs::read_link(&disk).expect("a link"), Path::new("/etc/systemd/system/x.service"));
        fs::remove_file(&disk).expect("there");
        symlink("../x.service", &disk).expect("linked");
        assert_eq!(wish.put(&root).expect("put"), Done::Same);
        assert_eq!((wish.take_away(&root).expect("taken"), wish.take_away(&root).expect("taken")), (Gone::Removed, Gone::Absent));
        symlink("/lib/systemd/system/y.service", &disk).expect("linked");
        assert_eq!(wish.take_away(&root).expect("looked at"), Gone::Foreign);
    }
}
