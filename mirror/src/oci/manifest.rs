//! What a manifest says about itself: its media type, and the blobs and manifests it names with their sizes.
//!
//! The bytes themselves are never changed or written anew: a manifest's digest is over its exact bytes.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Digest, MAX_MANIFEST_BYTES};

/// A media type without parameters, in lower case as every registry writes it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// Docker's list of manifests, one a platform.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest of one image.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// What a blob is served as, whatever is in it.
    pub const OCTET_STREAM: &str = "application/octet-stream";
    /// OCI's index of manifests.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI's manifest of one image.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    /// From a `Content-Type` or a `mediaType`: parameters go, as clients do not understand them on manifests.
    pub fn new(text: &str) -> Self {
        Self(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().into())
    }

    /// As it goes into `Content-Type`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A list of manifests, rather than one image.
    pub fn is_index(&self) -> bool {
        matches!(self.as_str(), Self::DOCKER_LIST | Self::OCI_INDEX)
    }

    /// A manifest of any of the kinds that clients ask for.
    pub fn is_manifest(&self) -> bool {
        self.is_index() || matches!(self.as_str(), Self::DOCKER_MANIFEST | Self::OCI_MANIFEST)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a child is fetched under `/manifests/` or `/blobs/`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildKind {
    /// A config or a layer.
    Blob,
    /// Another manifest.
    Manifest,
}

/// Something that a manifest names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Child {
    /// Its content's digest.
    pub digest: Digest,
    /// Where it is asked for.
    pub kind: ChildKind,
    /// What the descriptor calls it.
    pub media_type: MediaType,
    /// Bytes.
    pub size: u64,
}

/// All that the mirror reads out of a manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManifestFacts {
    /// Config, layers and manifests, in their order; each digest once.
    pub children: Vec<Child>,
    /// `mediaType` of the document, else the `Content-Type` it came with.
    pub media_type: MediaType,
}

impl ManifestFacts {
    /// Reads `bytes`, which came with `content_type`.
    ///
    /// A document of a kind that is not known (schema 1, an artifact of tomorrow) is a manifest without children. A page of HTML is an error:
    /// captive portals and broken proxies answer 200 to everything.
    pub fn parse(bytes: &[u8], content_type: &MediaType) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Size(bytes.len()));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        let media_type = document.media_type(content_type);
        if !media_type.as_str().starts_with("application/") {
            return Err(ManifestError::MediaType(media_type));
        }
        Ok(Self { children: document.children(), media_type })
    }
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a JSON object with descriptors.
    #[error("not a manifest")]
    Json(#[source] serde_json::Error),
    /// Something else was sent under a manifest's address.
    #[error("`{0}` is not the media type of a manifest")]
    MediaType(MediaType),
    /// Too large for any client.
    #[error("a manifest of {0} bytes; clients take {MAX_MANIFEST_BYTES}")]
    Size(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    media_type: Option<String>,
}

impl Document {
    /// The document's own word counts most: some registries and caches send `application/json`, `text/plain` or nothing.
    fn media_type(&self, content_type: &MediaType) -> MediaType {
        match (&self.media_type, content_type) {
            (Some(own), _) if !own.is_empty() => MediaType::new(own),
            (_, sent) if sent.is_manifest() || sent.as_str().contains("manifest") => sent.clone(),
            _ if self.manifests.is_some() => MediaType::new(MediaType::OCI_INDEX),
            _ if self.config.is_some() && self.layers.is_some() => MediaType::new(MediaType::OCI_MANIFEST),
            (_, sent) => sent.clone(),
        }
    }

    fn children(self) -> Vec<Child> {
        let blobs = self.config.into_iter().chain(self.layers.into_iter().flatten()).map(|one| one.child(ChildKind::Blob));
        let manifests = self.manifests.into_iter().flatten().map(|one| one.child(ChildKind::Manifest));
        let mut seen = HashSet::new();
        blobs.chain(manifests).filter(|child| seen.insert(child.digest.clone())).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    #[serde(default)]
    media_type: String,
    size: u64,
}

impl Descriptor {
    fn child(self, kind: ChildKind) -> Child {
        Child { digest: self.digest, kind, media_type: MediaType::new(&self.media_type), size: self.size }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oci::Algorithm;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    #[test]
    fn an_image_names_its_config_and_each_layer_once() {
        let (config, layer) = (digest("config"), digest("layer"));
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"digest":"{config}","size":7,"mediaType":"x"}},
            "layers":[{{"digest":"{layer}","size":9,"mediaType":"y"}},{{"digest":"{layer}","size":9,"mediaType":"y"}}]}}"#,
            MediaType::DOCKER_MANIFEST
        );
        let facts = ManifestFacts::parse(body.as_bytes(), &MediaType::new("text/plain")).expect("a manifest");
        assert_eq!(facts.media_type.as_str(), MediaType::DOCKER_MANIFEST);
        let sizes: Vec<_> = facts.children.iter().map(|child| (child.digest.clone(), child.size, child.kind)).collect();
        assert_eq!(sizes, [(config, 7, ChildKind::Blob), (layer, 9, ChildKind::Blob)]);
    }

    #[test]
    fn an_index_without_a_media_type_of_its_own_is_known_by_its_shape() {
        let child = digest("child");
        let body =
            format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{child}","size":5,"mediaType":"{}"}}]}}"#, MediaType::OCI_MANIFEST);
        let facts = ManifestFacts::parse(body.as_bytes(), &MediaType::new("application/json; charset=utf-8")).expect("an index");
        assert!(facts.media_type.is_index());
        assert_eq!(facts.children[0].kind, ChildKind::Manifest);
    }

    #[test]
    fn a_portals_page_is_no_manifest() {
        let html = MediaType::new("text/html");
        assert!(matches!(ManifestFacts::parse(b"<html>", &html), Err(ManifestError::Json(_))));
        assert!(matches!(ManifestFacts::parse(b"{}", &html), Err(ManifestError::MediaType(_))));
        assert!(matches!(ManifestFacts::parse(&vec![b' '; MAX_MANIFEST_BYTES + 1], &html), Err(ManifestError::Size(_))));
    }

    #[test]
    fn a_descriptor_with_a_digest_that_is_none_makes_the_manifest_bad() {
        let body = br#"{"layers":[{"digest":"sha256:../../etc","size":1}]}"#;
        assert!(ManifestFacts::parse(body, &MediaType::new(MediaType::OCI_MANIFEST)).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = ManifestFacts::parse(&bytes, &MediaType::new(MediaType::OCI_MANIFEST));
        }
    }
}
