//! All files below a folder, with everything that an undo has to bring back: bytes, links, modes, owners, extended attributes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    mode: u32,
    owner: (u32, u32),
    /// A file's bytes, a link's target.
    what: Vec<u8>,
    attributes: BTreeMap<String, Vec<u8>>,
    /// Which one it is, and when it was last written and last changed in any way: compared only where nothing may have been touched.
    touched: (u64, (i64, i64), (i64, i64)),
}

impl Tree {
    /// Of a folder, with itself; of one that is not there, nothing.
    pub fn of(folder: &Path) -> Self {
        let mut tree = Self::default();
        tree.take(folder, folder);
        tree
    }

    /// Nothing was so much as touched since.
    #[track_caller]
    pub fn assert_untouched(&self, later: &Self) {
        self.assert_like(later, |one, other| one == other);
    }

    /// All is there as it was, and nothing else. Who wrote it last does not matter.
    #[track_caller]
    pub fn assert_same(&self, later: &Self) {
        self.assert_like(later, |one, other| Entry { touched: other.touched, ..one.clone() } == *other);
    }

    #[track_caller]
    fn assert_like(&self, later: &Self, alike: impl Fn(&Entry, &Entry) -> bool) {
        let is_alike = |path: &PathBuf| matches!((self.0.get(path), later.0.get(path)), (Some(one), Some(other)) if alike(one, other));
        let paths = self.0.keys().chain(later.0.keys().filter(|path| !self.0.contains_key(*path)));
        let others: Vec<_> =
            paths.filter(|path| !is_alike(path)).map(|path| (path, told(self.0.get(path)), told(later.0.get(path)))).collect();
        assert!(others.is_empty(), "not as it was: {others:#?}");
    }

    fn take(&mut self, top: &Path, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        let what = match meta.file_type() {
            kind if kind.is_symlink() => fs::read_link(path).expect("it is a link").as_os_str().as_bytes().to_owned(),
            kind if kind.is_file() => fs::read(path).expect("root reads everything"),
            kind if kind.is_dir() => {
                for entry in fs::read_dir(path).expect("root lists everything") {
                    self.take(top, &entry.expect("it can be listed").path());
                }
                Vec::new()
            }
            _ => Vec::new(),
        };
        let entry = Entry {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            what,
            attributes: attributes(path),
            touched: (meta.ino(), (meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())),
        };
        self.0.insert(path.strip_prefix(top).expect("it is below").to_owned(), entry);
    }
}

fn told(entry: Option<&Entry>) -> String {
    entry.map_or_else(|| "is not there".to_owned(), |entry| format!("{entry:?}, as text {}", String::from_utf8_lossy(&entry.what)))
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; MOST];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Err(Errno::NOTSUP) => 0,
        length => length.expect("names of attributes are not that long"),
    };
    let named = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let named = named.map(|name| String::from_utf8_lossy(name).into_owned()).map(|name| {
        let mut value = vec![0; MOST];
        let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value).expect("it was listed");
        value.truncate(length);
        (name, value)
    });
    named.collect()
}

const MOST: usize = 1 << 16;
