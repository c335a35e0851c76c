//! Which store a system has, and what is in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::bodies;
use crate::engines::files::{self, Files};
use crate::host::Root;

/// How a family of systems keeps its store.
#[derive(Debug, Eq, PartialEq)]
pub struct Family {
    /// Where an operator's own CAs are.
    pub folder: &'static str,
    /// What their files end with.
    pub extension: &'static str,
    /// The tool's name.
    pub tool: &'static str,
    /// With which it takes what is new.
    pub adds: &'static [&'static str],
    /// With which it also lets go of what is gone.
    pub renews: &'static [&'static str],
    /// What it makes.
    pub bundle: &'static str,
    /// Where the system's own CAs are, where the bundle is made of these files and the operator's alone.
    sources: Option<&'static str>,
}

/// That of a system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// Of which kind.
    pub family: &'static Family,
    /// The tool, as the machine sees it.
    pub tool: PathBuf,
}

/// What one look found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// `None`: none that is known.
    pub store: Option<Store>,
    /// The operator's files.
    pub files: Files,
    /// The certificates in the bundle.
    pub bundle: BTreeSet<String>,
    /// Those of them that are in no file that the tool would make it of.
    pub astray: BTreeSet<String>,
}

/// Looks at it, if it is asked for; nothing is changed.
pub fn look(root: &Root, is_wanted: bool) -> Facts {
    let mut facts = Facts::default();
    let Some(store) = is_wanted.then(|| store(root)).flatten() else { return facts };
    let folder = Path::new(store.family.folder);
    facts.files.read_folder(root, folder);
    let bundle = root.read(Path::new(store.family.bundle)).ok().flatten();
    facts.bundle = bundle.map(|found| bodies(&found.bytes)).unwrap_or_default();
    if let Some(sources) = store.family.sources {
        let mut known: BTreeSet<String> = BTreeSet::new();
        collect(root, Path::new(sources), DEEPEST, &mut known);
        collect(root, folder, DEEPEST, &mut known);
        facts.astray = facts.bundle.difference(&known).cloned().collect();
    }
    facts.store = Some(store);
    facts
}

/// The first whose tool and folder are there.
fn store(root: &Root) -> Option<Store> {
    let is_there = |family: &Family| family.sources.is_some() || root.is_folder(Path::new(family.folder)).unwrap_or(false);
    FAMILIES.iter().filter(|family| is_there(family)).find_map(|family| {
        let tool = files::found(root, &[family.tool]).into_iter().next()?;
        Some(Store { family, tool })
    })
}

/// All certificates in files below a folder.
fn collect(root: &Root, folder: &Path, deep: usize, known: &mut BTreeSet<String>) {
    for name in root.list(folder).ok().flatten().unwrap_or_default() {
        let path = folder.join(name);
        if deep > 0 && root.is_folder(&path).unwrap_or(false) {
            collect(root, &path, deep - 1, known);
        } else if files::is_file(root, &path)
            && let Ok(Some(found)) = root.read(&path)
        {
            known.extend(bodies(&found.bytes));
        }
    }
}

/// Red Hat's, Arch's, SUSE's; Debian's last, which Alpine has as well: it needs no folder to be there.
static FAMILIES: [Family; 4] = [
    Family {
        folder: "/etc/pki/ca-trust/source/anchors",
        extension: "pem",
        tool: "update-ca-trust",
        adds: &["extract"],
        renews: &["extract"],
        bundle: "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        sources: None,
    },
    Family {
        folder: "/etc/ca-certificates/trust-source/anchors",
        extension: "crt",
        tool: "update-ca-trust",
        adds: &["extract"],
        renews: &["extract"],
        bundle: "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
        sources: None,
    },
    Family {
        folder: "/etc/pki/trust/anchors",
        extension: "pem",
        tool: "update-ca-certificates",
        adds: &[],
        renews: &[],
        bundle: "/var/lib/ca-certificates/ca-bundle.pem",
        sources: None,
    },
    Family {
        folder: "/usr/local/share/ca-certificates",
        extension: "crt",
        tool: "update-ca-certificates",
        adds: &[],
        // Else its links to a file that is gone stay.
        renews: &["--fresh"],
        bundle: "/etc/ssl/certs/ca-certificates.crt",
        sources: Some("/usr/share/ca-certificates"),
    },
];

/// Folders in each other.
const DEEPEST: usize = 4;
