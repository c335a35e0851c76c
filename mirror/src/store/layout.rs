//! Every path and every file name of the store, and the way back from a name to what it names.
//!
//! Pure: nothing here touches a disk. A name that does not read back exactly as written is somebody else's file, and nobody touches those.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::UpstreamName;
use crate::oci::{Algorithm, ChildKind, Digest, RepoName};

/// The store's folder, as a place that knows where everything in it belongs.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Held with `flock` by the one process that uses the store.
    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("chandler.lock")
    }

    /// Says that this is a store, and of which version.
    pub(super) fn marker(&self) -> PathBuf {
        self.root.join("chandler.json")
    }

    /// Files that are being written, before they get their name.
    pub(super) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Damaged files, for whoever wants to know what the disk did.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// What is known of repositories.
    pub(super) fn repos(&self) -> PathBuf {
        self.root.join("repos")
    }

    /// The folder of all content of one kind and algorithm.
    pub(super) fn algorithm(&self, kind: ChildKind, algorithm: Algorithm) -> PathBuf {
        let mut path = self.root.join(kind_folder(kind));
        path.push(algorithm.as_str());
        path
    }

    /// The folder of the content whose hash starts with the byte `shard`.
    pub(super) fn shard(&self, kind: ChildKind, algorithm: Algorithm, shard: u8) -> PathBuf {
        let mut path = self.algorithm(kind, algorithm);
        path.push(hex::encode([shard]));
        path
    }

    /// The file of `digest`.
    pub(super) fn content(&self, kind: ChildKind, digest: &Digest) -> PathBuf {
        let mut path = self.shard(kind, digest.algorithm(), shard_of(digest));
        path.push(digest.hex());
        path
    }

    /// In the folder of the upstream whose all content is that has no record of who sent it.
    pub(super) fn first(&self, upstream: &UpstreamName) -> PathBuf {
        self.repos().join(upstream.as_str()).join("_first")
    }

    /// One file a digest that the upstream sent, where it is not the first one's alone. Repositories lie beside it, and none is named like this.
    pub(super) fn sent(&self, upstream: &UpstreamName) -> PathBuf {
        self.repos().join(upstream.as_str()).join("_sent")
    }

    /// The folder of one repository. Others nest in it (`a` and `a/b` are both repositories), so its own entries start with an underscore,
    /// which no component of a name does.
    pub(super) fn repository(&self, upstream: &UpstreamName, name: &RepoName) -> PathBuf {
        let mut path = self.repos();
        path.push(upstream.as_str());
        path.push(name.as_str());
        path
    }
}

/// The shard that holds `digest`: its hash's first byte.
pub(super) fn shard_of(digest: &Digest) -> u8 {
    digest.as_bytes()[0]
}

/// A digest as a file name: `sha256-…`, as a colon means something else on other systems.
pub(super) fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

/// The digest whose [`file_name`] this is.
pub(super) fn parse_file_name(name: &str) -> Option<Digest> {
    let (algorithm, hash) = name.split_once('-')?;
    format!("{algorithm}:{hash}").parse().ok()
}

/// The digest of a content file `name` in a shard's folder.
pub(super) fn parse_content(algorithm: Algorithm, shard: u8, name: &[u8]) -> Option<Digest> {
    // `hex` reads capitals too: they would be a second spelling of the same digest.
    if name.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let digest = match algorithm {
        Algorithm::Sha256 => {
            let mut hash = [0; 32];
            hex::decode_to_slice(name, &mut hash).ok()?;
            Digest::Sha256(hash)
        }
        Algorithm::Sha512 => {
            let mut hash = Box::new([0; 64]);
            hex::decode_to_slice(name, &mut hash[..]).ok()?;
            Digest::Sha512(hash)
        }
    };
    (shard_of(&digest) == shard).then_some(digest)
}

/// A damaged file's name: whose it was, and which of several.
pub(super) fn quarantine_name(digest: &Digest, temporary: &str) -> String {
    format!("{}.{temporary}", file_name(digest))
}

/// Whether a file in the quarantine folder is ours.
pub(super) fn is_quarantine_name(name: &str) -> bool {
    name.split_once('.').is_some_and(|(digest, rest)| parse_file_name(digest).is_some() && is_temporary(rest))
}

/// Names for files that are being written: unique in this process and, by process and start time, among all that ever used the folder.
#[derive(Debug)]
pub(super) struct Temporaries {
    prefix: String,
    next: AtomicU64,
}

impl Temporaries {
    /// `process` is ours, `start` any number that differs between two starts with the same process id.
    pub(super) fn new(process: u32, start: u64) -> Self {
        Self { prefix: format!("{TEMPORARY}{process:x}-{start:x}-"), next: AtomicU64::new(0) }
    }

    /// A name that was never given before.
    pub(super) fn next(&self) -> String {
        format!("{}{:x}{PARTIAL}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether a name is one that [`Temporaries`] of any process gave.
pub(super) fn is_temporary(name: &str) -> bool {
    let Some(numbers) = name.strip_prefix(TEMPORARY).and_then(|rest| rest.strip_suffix(PARTIAL)) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    numbers.split('-').count() == 3 && numbers.split('-').all(is_number)
}

/// Both kinds, manifests first: where a crash left a digest in both, the manifest's place wins, as it is evicted later.
pub(super) const KINDS: [ChildKind; 2] = [ChildKind::Manifest, ChildKind::Blob];
/// All algorithms.
pub(super) const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];
/// In a repository's folder: one file a tag.
pub(super) const TAGS: &str = "_tags";
/// In a repository's folder: one file a manifest that it holds.
pub(super) const MANIFESTS: &str = "_manifests";
/// In a repository's folder: one file a blob that the upstream itself said it holds.
pub(super) const BLOBS: &str = "_blobs";
/// In a repository's folder: whether it is private, and whether it is closed.
pub(super) const STATE: &str = "_state";
/// In a repository's folder: a state that could not be understood, for whoever wants to know.
pub(super) const DAMAGED_STATE: &str = "_state.damaged";

fn kind_folder(kind: ChildKind) -> &'static str {
    match kind {
        ChildKind::Blob => "blobs",
        ChildKind::Manifest => "manifests",
    }
}

const TEMPORARY: &str = "chandler-";
const PARTIAL: &str = ".part";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nested_repository_never_lies_in_anothers_records() {
        let layout = Layout::new(Path::new("/s"));
        let upstream: UpstreamName = "hub".parse().expect("a name");
        let outer = layout.repository(&upstream, &"a".parse().expect("a name"));
        let inner = layout.repository(&upstream, &"a/b".parse().expect("a name"));
        assert_eq!(inner, outer.join("b"));
        for own in [TAGS, MANIFESTS, BLOBS, STATE] {
            assert!(own.parse::<RepoName>().is_err(), "{own} could be a repository");
        }
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in ["chandler-", "chandler-1-2.part", "chandler-1-2-3", "chandler-1-2-g.part", "x.part", "chandler-1-2-3-4.part", ""] {
            assert!(!is_temporary(name), "{name}");
        }
        assert!(!is_quarantine_name("sha256-00.chandler-1-2-3.part"));
        assert!(parse_content(Algorithm::Sha256, 0xAB, &b"AB".repeat(32)).is_none());
        assert!(parse_content(Algorithm::Sha256, 0xAC, &b"ab".repeat(32)).is_none());
        assert!(parse_content(Algorithm::Sha256, 0xAB, &b"ab".repeat(32)).is_some());
    }

    proptest! {
        #[test]
        fn every_digest_reads_back_from_its_names(content: Vec<u8>, long: bool, process: u32, start: u64) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &content);
            prop_assert_eq!(parse_file_name(&file_name(&digest)), Some(digest.clone()));
            prop_assert_eq!(parse_content(algorithm, shard_of(&digest), digest.hex().as_bytes()), Some(digest.clone()));
            let temporaries = Temporaries::new(process, start);
            let (one, two) = (temporaries.next(), temporaries.next());
            prop_assert!(one != two && is_temporary(&one));
            prop_assert!(is_quarantine_name(&quarantine_name(&digest, &two)));
        }

        #[test]
        fn no_name_makes_a_parser_panic(name: String, shard: u8) {
            let _ = (parse_file_name(&name), is_temporary(&name), is_quarantine_name(&name));
            let _ = parse_content(Algorithm::Sha512, shard, name.as_bytes());
        }
    }
}
