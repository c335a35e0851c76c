//! What the upstream holds, as files in the layout of a registry: blobs of four sizes that no compression shortens, a manifest as long as real
//! ones are, and an image that an engine can pull.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Outcome;

/// The only repository there is.
pub const REPO: &str = "library/bench";
/// The tag of the manifest that is read over and over.
pub const TAG: &str = "latest";
/// The tag of the image that engines pull.
pub const IMAGE: &str = "image";
/// What all manifests here are.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// One thing that can be asked for.
#[derive(Clone, Debug)]
pub struct Object {
    /// All of it.
    pub bytes: Bytes,
    /// `sha256:…`.
    pub digest: String,
    /// From the server's root: `/v2/…`.
    pub path: String,
}

/// Everything, in memory and on disk.
#[derive(Debug)]
pub struct Content {
    /// 256 MiB.
    pub big: Object,
    /// 16 MiB.
    pub herd: Object,
    /// The manifest, by digest and by tag.
    pub manifest: Object,
    /// 8 MiB.
    pub mid: Object,
    /// The document root of the hub.
    pub root: PathBuf,
    /// 16 KiB.
    pub small: Object,
    /// Digests of the manifests behind the tags.
    pub tags: Vec<(&'static str, String)>,
}

impl Content {
    /// Writes everything below `folder`.
    pub fn make(folder: &Path) -> Outcome<Self> {
        let root = folder.join("content");
        let place = root.join("v2").join(REPO);
        fs::create_dir_all(place.join("blobs"))?;
        fs::create_dir_all(place.join("manifests"))?;
        let [big, herd, mid, small, config] = [256 << 20, 16 << 20, 8 << 20, 16 << 10, 1500].map(|size| Object::blob(noise(size)));
        for blob in [&big, &herd, &mid, &small, &config] {
            blob.store(&root)?;
        }
        let layers: Vec<Value> = [&big, &herd, &mid, &small].iter().map(|blob| descriptor(LAYER, blob)).collect();
        let manifest = manifest(&config, &layers, 2000)?;
        manifest.store(&root)?;
        let image = image(folder, &root)?;
        let tags = vec![(TAG, manifest.digest.clone()), (IMAGE, image.digest.clone())];
        for (tag, bytes) in [(TAG, &manifest.bytes), (IMAGE, &image.bytes)] {
            fs::write(place.join("manifests").join(tag), bytes)?;
        }
        Ok(Self { big, herd, manifest, mid, root, small, tags })
    }

    /// The manifest's address by tag.
    pub fn tag_path() -> String {
        format!("/v2/{REPO}/manifests/{TAG}")
    }
}

impl Object {
    fn blob(bytes: Vec<u8>) -> Self {
        Self::new("blobs", bytes)
    }

    fn new(kind: &str, bytes: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex::encode(digest(&SHA256, &bytes)));
        Self { path: format!("/v2/{REPO}/{kind}/{digest}"), bytes: bytes.into(), digest }
    }

    fn store(&self, root: &Path) -> Outcome<()> {
        Ok(fs::write(root.join(&self.path[1..]), &self.bytes)?)
    }
}

/// An image of three layers, each half noise, half text, as what people build is.
fn image(folder: &Path, root: &Path) -> Outcome<Object> {
    let (mut layers, mut diffs) = (Vec::new(), Vec::new());
    for number in 0..3 {
        let name = format!("layer{number}");
        let text = hex::encode(noise(12 << 20));
        fs::write(folder.join(&name), text)?;
        let tar = output(Command::new("tar").arg("-C").arg(folder).args(["-cf", "-", &name]))?;
        diffs.push(format!("sha256:{}", hex::encode(digest(&SHA256, &tar))));
        fs::write(folder.join("layer.tar"), tar)?;
        let layer = Object::blob(output(Command::new("gzip").args(["-1", "-n", "-c"]).arg(folder.join("layer.tar")))?);
        layer.store(root)?;
        layers.push(descriptor(LAYER, &layer));
        fs::remove_file(folder.join(&name))?;
    }
    fs::remove_file(folder.join("layer.tar"))?;
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": diffs } });
    let config = Object::blob(config.to_string().into_bytes());
    config.store(root)?;
    let manifest = manifest(&config, &layers, 0)?;
    manifest.store(root)?;
    Ok(manifest)
}

fn manifest(config: &Object, layers: &[Value], padding: usize) -> Outcome<Object> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
        "annotations": { "org.opencontainers.image.description": "x".repeat(padding) },
    });
    Ok(Object::new("manifests", serde_json::to_vec_pretty(&manifest)?))
}

fn descriptor(media_type: &str, object: &Object) -> Value {
    json!({ "mediaType": media_type, "digest": object.digest, "size": object.bytes.len() })
}

fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{command:?}: {}", output.status).into()) }
}

/// Bytes without a pattern, the same ones at each run for each size (xorshift64).
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ size as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
