//! What a manifest says about itself: its media type, and the blobs and manifests it names with their sizes.
//!
//! The bytes themselves are never changed or written anew: a manifest's digest is over its exact bytes.
//!
//! What a manifest names is a proof that its repository holds it, because a registry takes no manifest whose content it does not have. So only that is
//! read as named which a registry has looked at: not what a client fetches from elsewhere, not what the document's kind has no
//! place for, and not what two readers of the document could read as two things. Of all that the upstream is asked.

mod fields;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::fields::{Ambiguous, Fields};

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

    /// Content that clients fetch from elsewhere, and that a registry need not have.
    fn is_foreign(&self) -> bool {
        self.0.contains(".foreign.") || self.0.contains("nondistributable")
    }

    /// A manifest of any of the kinds that clients ask for.
    pub fn is_manifest(&self) -> bool {
        self.is_index() || matches!(self.as_str(), Self::DOCKER_MANIFEST | Self::OCI_MANIFEST)
    }

    /// A manifest by its name, be it of a kind that is not known.
    fn names_manifest(&self) -> bool {
        self.is_manifest() || self.0.contains("manifest")
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
    /// Config and layers, or manifests, in their order; each digest once. Only what the registry has looked at.
    pub children: Vec<Child>,
    /// `mediaType` of the document, else the `Content-Type` it came with.
    pub media_type: MediaType,
}

impl ManifestFacts {
    /// Reads `bytes`, which came with `content_type`.
    ///
    /// A document of a kind that is not known (schema 1, an artifact of tomorrow) is a manifest without children. A page of HTML is an error:
    /// captive portals and broken proxies answer 200 to everything. So is JSON that nothing calls a manifest: it may be the answer of another service,
    /// which an upstream's redirect led to and which is nobody's to read.
    pub fn parse(bytes: &[u8], content_type: &MediaType) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Size(bytes.len()));
        }
        let fields = Fields::read(bytes).map_err(ManifestError::Json)?;
        let document = Document::read(&fields).map_err(ManifestError::Json)?;
        let media_type = document.as_ref().map_or_else(|Ambiguous| content_type.clone(), |document| document.media_type(content_type));
        if !media_type.as_str().starts_with("application/") {
            return Err(ManifestError::MediaType(media_type));
        }
        let is_named = media_type.names_manifest() || content_type.names_manifest();
        if !is_named && !matches!(fields.get("schemaVersion"), Ok(Some(_))) {
            return Err(ManifestError::Nameless);
        }
        let children = document.map_or_else(|Ambiguous| Vec::new(), |document| document.children(&media_type, content_type));
        Ok(Self { children, media_type })
    }
}

/// Why bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a JSON object with descriptors.
    #[error("not a manifest")]
    Json(#[source] serde_json::Error),
    /// Something else was sent under a manifest's address.
    #[error("`{}` is not the media type of a manifest", .0.as_str().escape_debug())]
    MediaType(MediaType),
    /// JSON of something else.
    #[error("JSON with neither a `schemaVersion` nor the media type of a manifest")]
    Nameless,
    /// Too large for any client.
    #[error("a manifest of {0} bytes; clients take {MAX_MANIFEST_BYTES}")]
    Size(usize),
}

#[derive(Debug, Default)]
struct Document {
    /// One at most.
    config: Vec<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    media_type: Option<String>,
}

impl Document {
    /// An error is a document that is none; one that can be read in two ways has nothing to say.
    fn read(fields: &Fields<'_>) -> serde_json::Result<Result<Self, Ambiguous>> {
        let read = |name| fields.get(name);
        let (Ok(config), Ok(layers), Ok(manifests), Ok(media_type)) =
            (read("config"), read("layers"), read("manifests"), read("mediaType"))
        else {
            return Ok(Err(Ambiguous));
        };
        let config: Option<&RawValue> = optional(config)?;
        Ok(Ok(Self {
            config: config.map(Descriptor::read).transpose()?.into_iter().collect(),
            layers: descriptors(layers)?,
            manifests: descriptors(manifests)?,
            media_type: optional(media_type)?,
        }))
    }

    /// The document's own word counts most: some registries and caches send `application/json`, `text/plain` or nothing.
    fn media_type(&self, content_type: &MediaType) -> MediaType {
        match (&self.media_type, content_type) {
            (Some(own), _) if !own.is_empty() => MediaType::new(own),
            (_, sent) if sent.names_manifest() => sent.clone(),
            _ if self.manifests.is_some() => MediaType::new(MediaType::OCI_INDEX),
            _ if !self.config.is_empty() && self.layers.is_some() => MediaType::new(MediaType::OCI_MANIFEST),
            (_, sent) => sent.clone(),
        }
    }

    /// What a registry that took this as a `media_type` has looked at.
    fn children(self, media_type: &MediaType, content_type: &MediaType) -> Vec<Child> {
        // It was pushed, and looked at, as what it is sent as.
        let is_two_things = content_type.is_manifest() && media_type.is_index() != content_type.is_index();
        let (kind, named) = match self {
            _ if is_two_things || !media_type.is_manifest() => return Vec::new(),
            Self { manifests, .. } if media_type.is_index() => (ChildKind::Manifest, manifests.unwrap_or_default()),
            Self { config, layers, .. } => (ChildKind::Blob, config.into_iter().chain(layers.into_iter().flatten()).collect()),
        };
        let mut seen = HashSet::new();
        let looked_at = named.into_iter().filter(|one| one.is_looked_at).map(|one| one.child(kind));
        looked_at.filter(|child| seen.insert(child.digest.clone())).collect()
    }
}

#[derive(Debug)]
struct Descriptor {
    digest: Digest,
    /// The registry has it, or would not have taken the manifest.
    is_looked_at: bool,
    media_type: MediaType,
    size: u64,
}

impl Descriptor {
    fn read(value: &RawValue) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Plain {
            digest: Digest,
            #[serde(default)]
            media_type: String,
            size: u64,
            #[serde(default)]
            urls: Option<Vec<String>>,
        }
        let fields = Fields::read(value.get().as_bytes())?;
        let is_ambiguous = ["digest", "mediaType", "size", "urls"].iter().any(|name| fields.get(name).is_err());
        let Plain { digest, media_type, size, urls } = serde_json::from_str(value.get())?;
        let media_type = MediaType::new(&media_type);
        let is_foreign = media_type.is_foreign() || urls.is_some_and(|urls| !urls.is_empty());
        Ok(Self { digest, is_looked_at: !is_foreign && !is_ambiguous, media_type, size })
    }

    fn child(self, kind: ChildKind) -> Child {
        Child { digest: self.digest, kind, media_type: self.media_type, size: self.size }
    }
}

fn descriptors(value: Option<&RawValue>) -> serde_json::Result<Option<Vec<Descriptor>>> {
    let values: Option<Vec<&RawValue>> = optional(value)?;
    values.map(|values| values.into_iter().map(Descriptor::read).collect()).transpose()
}

/// A field that is not there is as one that is null.
fn optional<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> serde_json::Result<Option<T>> {
    value.map_or(Ok(None), |value| serde_json::from_str(value.get()))
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

    /// What `document`, sent as `content_type`, is a proof of.
    fn proofs(document: &str, content_type: &str) -> Vec<String> {
        let facts = ManifestFacts::parse(document.as_bytes(), &MediaType::new(content_type)).expect("a manifest");
        facts.children.into_iter().map(|child| child.digest.to_string()).collect()
    }

    #[test]
    fn what_clients_fetch_from_elsewhere_is_no_proof() {
        let (own, other) = (digest("own"), digest("other"));
        let foreign = [
            r#""mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip""#,
            r#""mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip""#,
            r#""mediaType":"Application/vnd.oci.image.layer.NonDistributable.v1.tar""#,
            r#""mediaType":"application/vnd.oci.image.layer.v1.tar","urls":["https://example.com/layer"]"#,
        ];
        for foreign in foreign {
            let text = format!(
                r#"{{"layers":[{{"digest":"{own}","size":1,"mediaType":"x","urls":[]}},{{"digest":"{other}","size":1,{foreign}}}]}}"#
            );
            assert_eq!(proofs(&text, MediaType::OCI_MANIFEST), [own.to_string()], "{foreign}");
        }
    }

    #[test]
    fn what_the_kind_of_a_document_has_no_place_for_is_no_proof() {
        let (own, other) = (digest("own"), digest("other"));
        let (own_one, other_one) = (format!(r#"{{"digest":"{own}","size":1}}"#), format!(r#"{{"digest":"{other}","size":1}}"#));
        let both = format!(r#""manifests":[{own_one}],"config":{other_one},"layers":[{other_one}]"#);
        assert_eq!(proofs(&format!("{{{both}}}"), MediaType::OCI_INDEX), [own.to_string()]);
        assert_eq!(proofs(&format!(r#"{{"mediaType":"{}",{both}}}"#, MediaType::DOCKER_LIST), "application/json"), [own.to_string()]);
        assert_eq!(proofs(&format!("{{{both}}}"), MediaType::OCI_MANIFEST), [other.to_string()]);
        assert_eq!(proofs(&format!("{{{both}}}"), "application/vnd.acme.manifest+json"), [""; 0]);
        let in_disguise = format!(r#"{{"mediaType":"{}",{both}}}"#, MediaType::OCI_MANIFEST);
        assert_eq!(proofs(&in_disguise, MediaType::OCI_INDEX), [""; 0], "pushed as an index, and read as an image");
    }

    #[test]
    fn what_another_reader_could_read_as_something_else_is_no_proof() {
        let (own, other) = (digest("own"), digest("other"));
        let (own_one, other_one) = (format!(r#"{{"digest":"{own}","size":1}}"#), format!(r#"{{"digest":"{other}","size":1}}"#));
        for twin in ["layers", "Layers", "LAYERS", "layer\u{017f}"] {
            let text = format!(r#"{{"layers":[{other_one}],"{twin}":[{own_one}]}}"#);
            assert_eq!(proofs(&text, MediaType::OCI_MANIFEST), [""; 0], "{twin}");
        }
        for twin in [format!(r#""Digest":"{own}""#), r#""URLs":["https://example.com"]"#.to_owned(), r#""MediaType":"x""#.to_owned()] {
            let text = format!(r#"{{"layers":[{own_one},{{"digest":"{other}","size":1,{twin}}}]}}"#);
            assert_eq!(proofs(&text, MediaType::OCI_MANIFEST), [own.to_string()], "{twin}");
        }
    }

    #[test]
    fn a_portals_page_is_no_manifest() {
        let html = MediaType::new("text/html");
        assert!(matches!(ManifestFacts::parse(b"<html>", &html), Err(ManifestError::Json(_))));
        assert!(matches!(ManifestFacts::parse(b"{}", &html), Err(ManifestError::MediaType(_))));
        assert!(matches!(ManifestFacts::parse(&vec![b' '; MAX_MANIFEST_BYTES + 1], &html), Err(ManifestError::Size(_))));
    }

    #[test]
    fn json_that_nothing_calls_a_manifest_is_none() {
        let parse = |text: &str, content_type: &str| ManifestFacts::parse(text.as_bytes(), &MediaType::new(content_type));
        for text in [r#"{"internal":"secret"}"#, r#"{"layers":[]}"#, "{}", r#"{"mediaType":"application/vnd.acme.status+json"}"#] {
            for sent in ["application/json", "application/vnd.acme.status+json", "application/octet-stream"] {
                assert!(matches!(parse(text, sent), Err(ManifestError::Nameless)), "{text} as {sent}");
            }
        }
        for (text, sent) in [
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json"),
            (r#"{"schemaVersion":2,"layers":[]}"#, "application/octet-stream"),
            (r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json"}"#, "application/json"),
            ("{}", MediaType::OCI_INDEX),
            ("{}", "application/vnd.acme.manifest+json"),
        ] {
            assert!(parse(text, sent).is_ok(), "{text} as {sent}");
        }
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
