//! A repository in memory. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::index::Seconds;
use super::super::layout::{BLOBS, MANIFESTS, STATE, TAGS, file_name};
use super::super::records::{self, BlobRecord, ManifestRecord, RepositoryState, TagRecord};
use super::Held;
use crate::oci::{ChildKind, Digest, MediaType, Tag};

/// Everything that is known. A flag beside a value says whether the disk knows it too.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) blobs: HashMap<Digest, (u64, bool)>,
    pub(super) manifests: HashMap<Digest, Linked>,
    pub(super) state: (RepositoryState, bool),
    pub(super) tags: BTreeMap<Tag, (TagRecord, bool)>,
    /// What linked manifests name, and how many of them do.
    children: HashMap<Digest, (Held, u32)>,
    /// A repository knows a handful of media types and thousands of descriptors.
    media_types: HashSet<MediaType>,
}

/// A manifest that is held.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) record: ManifestRecord,
    pub(super) saved: bool,
    used: AtomicU32,
}

/// Something that only memory knows, as it is to be written.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Blob(Digest, u64),
    Manifest(ManifestRecord),
    State(RepositoryState),
    Tag(Tag, TagRecord),
}

impl Fact {
    /// The folder of its kind; `None`: the repository's own.
    pub(super) fn folder(&self) -> Option<&'static str> {
        match self {
            Self::Blob(..) => Some(BLOBS),
            Self::Manifest(_) => Some(MANIFESTS),
            Self::State(_) => None,
            Self::Tag(..) => Some(TAGS),
        }
    }

    /// Where it is written, below the repository's folder.
    pub(super) fn path(&self) -> PathBuf {
        let name = match self {
            Self::Blob(digest, _) => file_name(digest),
            Self::Manifest(record) => file_name(&record.digest),
            Self::State(_) => STATE.to_owned(),
            Self::Tag(tag, _) => tag.to_string(),
        };
        self.folder().map(PathBuf::from).unwrap_or_default().join(name)
    }

    pub(super) fn document(&self) -> Vec<u8> {
        match self {
            Self::Blob(_, size) => records::write(&BlobRecord { size: *size }),
            Self::Manifest(record) => records::write(record),
            Self::State(state) => records::write(state),
            Self::Tag(_, record) => records::write(record),
        }
    }
}

impl Known {
    /// Nothing, as it is on an empty disk.
    pub(super) fn nothing() -> Self {
        Self {
            blobs: HashMap::new(),
            manifests: HashMap::new(),
            state: (RepositoryState::default(), true),
            tags: BTreeMap::new(),
            children: HashMap::new(),
            media_types: HashSet::new(),
        }
    }

    /// What the disk does not know, each kind together: what closes a repository first, and manifests before the tags that name them.
    pub(super) fn unsaved(&self) -> Vec<Fact> {
        let manifests = self.manifests.values().filter(|linked| !linked.saved).map(|linked| Fact::Manifest(linked.record.clone()));
        let blobs = self.blobs.iter().filter(|(_, (_, saved))| !saved).map(|(digest, (size, _))| Fact::Blob(digest.clone(), *size));
        let tags = self.tags.iter().filter(|(_, (_, saved))| !saved).map(|(tag, (record, _))| Fact::Tag(tag.clone(), record.clone()));
        let state = (!self.state.1).then_some(Fact::State(self.state.0));
        state.into_iter().chain(manifests).chain(blobs).chain(tags).collect()
    }

    /// The disk knows `fact` now; what was learned since it was written is still to come.
    pub(super) fn saved(&mut self, fact: &Fact) {
        match fact {
            Fact::Blob(digest, size) => {
                if let Some((_, saved)) = self.blobs.get_mut(digest).filter(|(known, _)| known == size) {
                    *saved = true;
                }
            }
            Fact::Manifest(record) => {
                if let Some(linked) = self.manifests.get_mut(&record.digest).filter(|linked| linked.record == *record) {
                    linked.saved = true;
                }
            }
            Fact::State(state) => self.state.1 |= self.state.0 == *state,
            Fact::Tag(tag, record) => {
                if let Some((_, saved)) = self.tags.get_mut(tag).filter(|(known, _)| known == record) {
                    *saved = true;
                }
            }
        }
    }

    pub(super) fn held(&self, digest: &Digest) -> Option<Held> {
        if let Some(Linked { record, .. }) = self.manifests.get(digest) {
            return Some(Held { kind: ChildKind::Manifest, media_type: record.media_type.clone(), size: record.size });
        }
        if let Some((held, _)) = self.children.get(digest) {
            return Some(held.clone());
        }
        let (size, _) = self.blobs.get(digest)?;
        Some(Held { kind: ChildKind::Blob, media_type: MediaType::new(MediaType::OCTET_STREAM), size: *size })
    }

    pub(super) fn link(&mut self, mut record: ManifestRecord, saved: bool) {
        self.drop_manifest(&record.digest);
        record.media_type = self.intern(&record.media_type);
        for index in 0..record.children.len() {
            let media_type = self.intern(&record.children[index].media_type);
            let child = &mut record.children[index];
            child.media_type = media_type;
            let held = Held { kind: child.kind, media_type: child.media_type.clone(), size: child.size };
            self.children.entry(child.digest.clone()).or_insert((held, 0)).1 += 1;
        }
        self.manifests.insert(record.digest.clone(), Linked { record, saved, used: AtomicU32::new(0) });
    }

    /// Whether there was a record of a manifest, and one of a blob.
    pub(super) fn unlink(&mut self, digest: &Digest) -> (bool, bool) {
        (self.drop_manifest(digest), self.blobs.remove(digest).is_some())
    }

    /// What a use of this manifest is a use of, itself first; nothing when it was used within the last minute.
    pub(super) fn use_at(&self, digest: &Digest, now: Seconds) -> Vec<Digest> {
        let due = |linked: &&Linked| now.saturating_sub(linked.used.load(Ordering::Relaxed)) >= USE_EVERY;
        let mut used = Vec::new();
        let mut ahead: Vec<&Digest> = vec![digest];
        while let Some(digest) = ahead.pop() {
            // The mark comes first: an index that names itself ends here.
            let Some(linked) = self.manifests.get(digest).filter(due) else { continue };
            linked.used.store(now, Ordering::Relaxed);
            used.push(digest.clone());
            for child in &linked.record.children {
                match child.kind {
                    ChildKind::Blob => used.push(child.digest.clone()),
                    ChildKind::Manifest => ahead.push(&child.digest),
                }
            }
        }
        used
    }

    fn drop_manifest(&mut self, digest: &Digest) -> bool {
        let Some(linked) = self.manifests.remove(digest) else { return false };
        for child in linked.record.children {
            if let Some((_, names)) = self.children.get_mut(&child.digest) {
                *names -= 1;
                if *names == 0 {
                    self.children.remove(&child.digest);
                }
            }
        }
        true
    }

    fn intern(&mut self, media_type: &MediaType) -> MediaType {
        if let Some(known) = self.media_types.get(media_type) {
            return known.clone();
        }
        self.media_types.insert(media_type.clone());
        media_type.clone()
    }
}

const USE_EVERY: Seconds = 60;
