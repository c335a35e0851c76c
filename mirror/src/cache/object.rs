//! A small object in memory, a manifest or a config, with the header values that every answer about it carries.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::oci::{Digest, MediaType};

/// Bytes, or only their description where a HEAD needs no more.
#[derive(Debug)]
pub struct Object {
    /// The content; `None` where only the upstream's HEAD is known.
    pub bytes: Option<Bytes>,
    /// `Content-Length`.
    pub content_length: HeaderValue,
    /// `Content-Type`.
    pub content_type: HeaderValue,
    /// Its name.
    pub digest: Digest,
    /// The finished headers of its plain answers.
    pub finished: Finished,
    /// `Docker-Content-Digest`.
    pub digest_header: HeaderValue,
    /// `ETag`: the digest in quotes.
    pub etag: HeaderValue,
    /// Bytes.
    pub size: u64,
    /// How far it is on its way to the store.
    kept: AtomicU8,
}

/// Headers of an object's plain answers, made once by whoever answers. The same bytes may be asked for as either.
#[derive(Debug, Default)]
pub struct Finished {
    /// Under `/blobs/`.
    pub blob: OnceLock<HeaderMap>,
    /// Under `/manifests/`.
    pub manifest: OnceLock<HeaderMap>,
}

impl Object {
    /// With its content.
    pub(crate) fn new(digest: &Digest, media_type: &MediaType, bytes: Bytes) -> Self {
        let size = bytes.len() as u64;
        Self { bytes: Some(bytes), ..Self::described(digest, media_type, size) }
    }

    /// Without.
    pub(crate) fn described(digest: &Digest, media_type: &MediaType, size: u64) -> Self {
        let text = digest.to_string();
        let value = |text: &str| HeaderValue::from_str(text).expect("a digest is plain ASCII");
        Self {
            bytes: None,
            content_length: HeaderValue::from(size),
            content_type: HeaderValue::from_str(media_type.as_str()).unwrap_or(HeaderValue::from_static(MediaType::OCTET_STREAM)),
            digest: digest.clone(),
            finished: Finished::default(),
            digest_header: value(&text),
            etag: value(&format!("\"{text}\"")),
            size,
            kept: AtomicU8::new(UNKEPT),
        }
    }

    /// The store has it, or had it: only room or age can have taken it away.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed) == KEPT
    }

    /// Says whether the store has it now.
    pub(crate) fn set_kept(&self, kept: bool) {
        self.kept.store(if kept { KEPT } else { UNKEPT }, Ordering::Relaxed);
    }

    /// The caller is to bring it to the store, and then to say how that ended; `false`: it is there, or somebody else is at it.
    pub(crate) fn claim(&self) -> bool {
        self.kept.compare_exchange(UNKEPT, CLAIMED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// It was kept as a manifest, and not as the blob that the same bytes may be.
    pub(crate) fn is_manifest(&self) -> bool {
        self.content_type != MediaType::OCTET_STREAM
    }

    /// What it costs to keep.
    pub(crate) fn weight(&self) -> u32 {
        u32::try_from(self.size).unwrap_or(u32::MAX).saturating_add(OVERHEAD)
    }
}

/// In memory only.
const UNKEPT: u8 = 0;
/// In a queue to be written.
const CLAIMED: u8 = 1;
/// Written.
const KEPT: u8 = 2;
/// Headers, digest and bookkeeping of one object in memory.
const OVERHEAD: u32 = 2048;
