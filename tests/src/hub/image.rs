//! Images made up for tests: deterministic, and true enough that engines pull, unpack and run them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::content::Manifest;
use super::digest::Algorithm;
use super::filler::{self, File};
use super::{Digest, Hub};

/// A descriptor as manifests hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// What was pushed.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    /// Its repository.
    pub repository: String,
    /// The manifest's (or index's) address.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes, as served.
    pub manifest: Bytes,
    /// `os/architecture`, for an index; empty for what is no image.
    pub platform: String,
    /// The configuration; `None` for an index.
    pub config: Option<Descriptor>,
    /// The layers, base first; empty for an index.
    pub layers: Vec<Descriptor>,
}

impl ImageInfo {
    /// All blobs of it: the configuration and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }
}

/// An image to be pushed.
#[must_use = "an image is not there before `push`"]
pub struct ImageBuilder<'a> {
    hub: &'a Hub,
    repository: String,
    tags: Vec<String>,
    layers: Vec<usize>,
    files: Vec<File>,
    docker: bool,
    algorithm: Algorithm,
    platform: String,
    seed: u64,
    entrypoint: Vec<String>,
    padding: usize,
}

impl<'a> ImageBuilder<'a> {
    pub(super) fn new(hub: &'a Hub, repository: &str) -> Self {
        Self {
            hub,
            repository: repository.to_owned(),
            tags: Vec::new(),
            layers: vec![4096],
            files: Vec::new(),
            docker: false,
            algorithm: Algorithm::Sha256,
            platform: "linux/amd64".to_owned(),
            seed: 1,
            entrypoint: Vec::new(),
            padding: 0,
        }
    }

    /// Tags it, too.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// One layer of about each size in bytes (compressed); 4 KiB is the least.
    pub fn layers(mut self, sizes: impl IntoIterator<Item = usize>) -> Self {
        self.layers = sizes.into_iter().collect();
        self
    }

    /// A file in the last layer, for instance a static program.
    pub fn with_file(mut self, path: &str, mode: u32, bytes: impl Into<Bytes>) -> Self {
        self.files.push(File { path: path.to_owned(), mode, bytes: bytes.into() });
        self
    }

    /// What a container of it runs.
    pub fn entrypoint<'s>(mut self, words: impl IntoIterator<Item = &'s str>) -> Self {
        self.entrypoint = words.into_iter().map(str::to_owned).collect();
        self
    }

    /// Docker media types in place of OCI's.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// OCI media types, the default.
    pub fn oci(mut self) -> Self {
        self.docker = false;
        self
    }

    /// Everything addressed by sha512.
    pub fn sha512(mut self) -> Self {
        self.algorithm = Algorithm::Sha512;
        self
    }

    /// `os/architecture`; `linux/amd64` else.
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.platform);
        self
    }

    /// Images of different seeds share no bytes; of the same, all.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The manifest grows by so many bytes of annotation: clients take up to 4,393,216.
    pub fn padded_by(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Makes it and puts it into the Hub.
    pub fn push(self) -> ImageInfo {
        let (manifest_type, config_type, layer_type) = if self.docker { DOCKER_TYPES } else { OCI_TYPES };
        let (layers, diff_ids) = self.push_layers(layer_type);
        let config = self.push_blob(config_type, self.config(&diff_ids).to_string().into());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config.to_json(),
            "layers": layers.iter().map(Descriptor::to_json).collect::<Vec<_>>(),
        });
        if self.padding > 0 {
            manifest["annotations"] = json!({"test.padding": "x".repeat(self.padding)});
        }
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::of(self.algorithm, &bytes);
        put(self.hub, &self.repository, &self.tags, manifest_type, &digest, &bytes);
        ImageInfo {
            repository: self.repository,
            digest,
            media_type: manifest_type.to_owned(),
            manifest: bytes,
            platform: self.platform,
            config: Some(config),
            layers,
        }
    }

    fn push_layers(&self, media_type: &str) -> (Vec<Descriptor>, Vec<String>) {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (number, size) in self.layers.iter().enumerate() {
            let files: &[File] = if number + 1 == self.layers.len() { &self.files } else { &[] };
            let layer = filler::layer(self.seed * 1000 + number as u64, *size, files);
            diff_ids.push(Digest::sha256(&layer.tar).to_string());
            layers.push(self.push_blob(media_type, layer.compressed));
        }
        (layers, diff_ids)
    }

    fn config(&self, diff_ids: &[String]) -> Value {
        let (os, architecture) = self.platform.split_once('/').unwrap_or(("linux", self.platform.as_str()));
        let created = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(self.seed)).to_string();
        let history: Vec<Value> = diff_ids.iter().map(|_| json!({"created": created, "created_by": "test hub"})).collect();
        let mut config = json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]});
        if !self.entrypoint.is_empty() {
            config["Entrypoint"] = json!(self.entrypoint);
        }
        json!({
            "created": created, "os": os, "architecture": architecture, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        })
    }

    fn push_blob(&self, media_type: &str, bytes: Bytes) -> Descriptor {
        let descriptor =
            Descriptor { media_type: media_type.to_owned(), digest: Digest::of(self.algorithm, &bytes), size: bytes.len() as u64 };
        self.hub.shared().state().world.repository(&self.repository).blobs.insert(descriptor.digest.clone(), bytes);
        descriptor
    }
}

impl Descriptor {
    pub(super) fn to_json(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.size})
    }
}

/// An index to be pushed.
#[must_use = "an index is not there before `push`"]
pub struct IndexBuilder<'a> {
    hub: &'a Hub,
    repository: String,
    tags: Vec<String>,
    docker: bool,
    children: Vec<Value>,
}

impl<'a> IndexBuilder<'a> {
    pub(super) fn new(hub: &'a Hub, repository: &str) -> Self {
        Self { hub, repository: repository.to_owned(), tags: Vec::new(), docker: false, children: Vec::new() }
    }

    /// Tags it, too.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self
    }

    /// A Docker manifest list in place of an OCI index.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// A child: an image of its platform, or another index.
    pub fn image(mut self, image: &ImageInfo) -> Self {
        let mut child = image.descriptor().to_json();
        if let Some((os, architecture)) = image.platform.split_once('/') {
            child["platform"] = json!({"os": os, "architecture": architecture});
        }
        self.children.push(child);
        self
    }

    /// The attestation manifest that `BuildKit` adds for `image`.
    pub fn attestation(mut self, image: &ImageInfo) -> Self {
        let attestation = attestation(self.hub, &self.repository, image);
        let mut child = attestation.descriptor().to_json();
        child["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        child["annotations"] =
            json!({"vnd.docker.reference.digest": image.digest.as_str(), "vnd.docker.reference.type": "attestation-manifest"});
        self.children.push(child);
        self
    }

    /// Puts it into the Hub.
    pub fn push(self) -> ImageInfo {
        let media_type = if self.docker { DOCKER_LIST } else { OCI_INDEX };
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": self.children});
        push_manifest(self.hub, &self.repository, &self.tags, media_type, &index)
    }
}

impl ImageInfo {
    /// Its descriptor.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { media_type: self.media_type.clone(), digest: self.digest.clone(), size: self.manifest.len() as u64 }
    }
}

fn attestation(hub: &Hub, repository: &str, image: &ImageInfo) -> ImageInfo {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": repository, "digest": {"sha256": image.digest.hex()}}], "predicate": {"builder": {"id": "test hub"}},
    });
    let layer = blob(hub, repository, "application/vnd.in-toto+json", statement.to_string().into());
    let diff_ids = [layer.digest.as_str()];
    let config = json!({"os": "unknown", "architecture": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = blob(hub, repository, OCI_TYPES.1, config.to_string().into());
    let mut described = layer.to_json();
    described["annotations"] = json!({"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"});
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_TYPES.0, "config": config.to_json(), "layers": [described]});
    let pushed = push_manifest(hub, repository, &[], OCI_TYPES.0, &manifest);
    ImageInfo { config: Some(config), layers: vec![layer], ..pushed }
}

/// An artifact about `subject`: a signature, a list of parts.
pub(super) fn artifact(hub: &Hub, repository: &str, subject: &ImageInfo, artifact_type: &str, payload: &[u8]) -> ImageInfo {
    let config = blob(hub, repository, "application/vnd.oci.empty.v1+json", Bytes::from_static(b"{}"));
    let layer = blob(hub, repository, "application/octet-stream", Bytes::copy_from_slice(payload));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_TYPES.0, "artifactType": artifact_type, "config": config.to_json(),
        "layers": [layer.to_json()], "subject": subject.descriptor().to_json(),
    });
    let pushed = push_manifest(hub, repository, &[], OCI_TYPES.0, &manifest);
    ImageInfo { config: Some(config), layers: vec![layer], ..pushed }
}

fn blob(hub: &Hub, repository: &str, media_type: &str, bytes: Bytes) -> Descriptor {
    let size = bytes.len() as u64;
    Descriptor { media_type: media_type.to_owned(), digest: hub.put_blob(repository, bytes), size }
}

fn push_manifest(hub: &Hub, repository: &str, tags: &[String], media_type: &str, manifest: &Value) -> ImageInfo {
    let bytes = Bytes::from(manifest.to_string());
    let digest = Digest::sha256(&bytes);
    put(hub, repository, tags, media_type, &digest, &bytes);
    ImageInfo {
        repository: repository.to_owned(),
        digest,
        media_type: media_type.to_owned(),
        manifest: bytes,
        platform: String::new(),
        config: None,
        layers: Vec::new(),
    }
}

pub(super) fn put(hub: &Hub, repository: &str, tags: &[String], media_type: &str, digest: &Digest, bytes: &Bytes) {
    let mut state = hub.shared().state();
    let repository = state.world.repository(repository);
    repository.manifests.insert(digest.clone(), Manifest { media_type: media_type.to_owned(), bytes: bytes.clone() });
    repository.tags.extend(tags.iter().map(|tag| (tag.clone(), digest.clone())));
}

/// The OCI index's media type.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The Docker manifest list's media type.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_TYPES: (&str, &str, &str) = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
);
const DOCKER_TYPES: (&str, &str, &str) = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
);
