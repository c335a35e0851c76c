//! Canaries: images that only this mirror can answer, and receipts of who pulled them.
//!
//! `chandler-canary/NONCE:latest` is made up from the nonce alone: a list of manifests for every common platform, each with its config, and one
//! tiny layer. No upstream and no store is involved. Who can name the nonce (128 random bits) may ask for its receipts: that is the proof that
//! a machine's engine really uses this mirror.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Memory;
use serde::Serialize;
use serde_json::json;

use crate::oci::{Algorithm, Digest, MediaType, RepoName};

/// The first component of every canary's repository.
pub const CANARY: &str = "chandler-canary";

/// 128 random bits in 32 lower-case hex digits, chosen by whoever wants a proof.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Nonce(Arc<str>);

impl FromStr for Nonce {
    type Err = NotANonce;

    fn from_str(text: &str) -> Result<Self, NotANonce> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && is_hex { Ok(Self(text.into())) } else { Err(NotANonce) }
    }
}

impl std::fmt::Display for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no nonce.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a canary's nonce is 32 lower-case hex digits")]
pub struct NotANonce;

/// Who pulled a canary, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Receipt {
    /// Whose request it was.
    pub client: IpAddr,
    /// Seconds since 1970.
    pub time: u64,
    /// What the client calls itself.
    pub user_agent: String,
    /// `manifest`, `config` or `layer`: an engine that has all three pulled the whole image.
    pub what: &'static str,
}

/// The canaries of one mirror.
#[derive(Debug)]
pub struct Canaries {
    images: Memory<Nonce, Arc<CanaryImage>>,
    /// By the bytes that they take: somebody who makes up nonces all day drives out the oldest ones and fills no memory.
    receipts: Memory<Nonce, Arc<[Receipt]>>,
}

impl Default for Canaries {
    fn default() -> Self {
        let receipts = Memory::builder().weigher(weight).max_capacity(MEMORY).eviction_policy(EvictionPolicy::lru()).time_to_live(KEPT);
        Self { images: Memory::builder().max_capacity(IMAGES).build(), receipts: receipts.build() }
    }
}

impl Canaries {
    /// The nonce that `repo` names, if it is a canary's.
    pub fn nonce(repo: &RepoName) -> Option<Result<Nonce, NotANonce>> {
        // The Hub's naming makes `library/chandler-canary` of a name without a nonce: that is nobody's either.
        let name = repo.as_str().strip_prefix("library/").unwrap_or(repo.as_str()).strip_prefix(CANARY)?;
        if !name.is_empty() && !name.starts_with('/') {
            return None; // `chandler-canary-tests` is somebody's own.
        }
        Some(name.strip_prefix('/').ok_or(NotANonce).and_then(str::parse))
    }

    /// The image of `nonce`.
    pub fn image(&self, nonce: &Nonce) -> Arc<CanaryImage> {
        self.images.get_with(nonce.clone(), || Arc::new(CanaryImage::make(nonce)))
    }

    /// Writes a receipt.
    pub fn sign(&self, nonce: &Nonce, client: IpAddr, user_agent: &str, what: &'static str) {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let receipt = Receipt { client: client.to_canonical(), time, user_agent: user_agent.chars().take(256).collect(), what };
        // Put in anew each time, since what is kept is weighed only then.
        self.receipts.entry_by_ref(nonce).and_compute_with(|signed| match signed {
            Some(signed) if signed.value().len() >= RECEIPTS => Op::Nop,
            Some(signed) => Op::Put(signed.value().iter().cloned().chain([receipt]).collect()),
            None => Op::Put([receipt].into()),
        });
    }

    /// Who pulled `nonce`, until an hour after the last one did.
    pub fn receipts(&self, nonce: &Nonce) -> Arc<[Receipt]> {
        self.receipts.get(nonce).unwrap_or_default()
    }
}

/// Bytes that the receipts of a nonce take.
fn weight(_: &Nonce, receipts: &Arc<[Receipt]>) -> u32 {
    let bytes: usize = receipts.iter().map(|receipt| size_of::<Receipt>() + receipt.user_agent.len()).sum();
    u32::try_from(ENTRY + bytes).unwrap_or(u32::MAX)
}

/// All objects of one canary.
#[derive(Debug)]
pub struct CanaryImage {
    objects: HashMap<Digest, CanaryObject>,
    root: Digest,
}

/// One object of a canary.
#[derive(Clone, Debug)]
pub struct CanaryObject {
    /// Its content.
    pub bytes: Bytes,
    /// Its media type.
    pub media_type: MediaType,
    /// What a receipt calls it.
    pub what: &'static str,
}

impl CanaryImage {
    /// The list of manifests, which every tag of the canary points at.
    pub fn root(&self) -> &Digest {
        &self.root
    }

    /// An object by its digest.
    pub fn get(&self, digest: &Digest) -> Option<&CanaryObject> {
        self.objects.get(digest)
    }

    fn make(nonce: &Nonce) -> Self {
        let mut image = Self { objects: HashMap::new(), root: Digest::of(Algorithm::Sha256, b"") };
        let tar = tar_of(nonce);
        let diff_id = Digest::of(Algorithm::Sha256, &tar);
        let layer = image.add(gzip_of(&tar), LAYER, "layer");
        let manifests: Vec<_> = PLATFORMS.iter().map(|platform| image.add_platform(platform, &diff_id, &layer)).collect();
        let list = json!({ "schemaVersion": 2, "mediaType": MediaType::DOCKER_LIST, "manifests": manifests });
        image.root = image.add(list.to_string().into_bytes(), MediaType::DOCKER_LIST, "manifest").0;
        image
    }

    /// Config and manifest for one platform: containerd takes no image whose config names another.
    fn add_platform(&mut self, (architecture, variant): &(&str, &str), diff_id: &Digest, layer: &(Digest, usize)) -> serde_json::Value {
        let mut platform = json!({ "architecture": architecture, "os": "linux" });
        if !variant.is_empty() {
            platform["variant"] = json!(variant);
        }
        let mut config = json!({
            "config": {},
            "created": "1970-01-01T00:00:00Z",
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "chandler" }],
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        for (key, value) in platform.as_object().expect("made above") {
            config[key] = value.clone();
        }
        let config = self.add(config.to_string().into_bytes(), CONFIG, "config");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::DOCKER_MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config.0, "size": config.1 },
            "layers": [{ "mediaType": LAYER, "digest": layer.0, "size": layer.1 }],
        });
        let (digest, size) = self.add(manifest.to_string().into_bytes(), MediaType::DOCKER_MANIFEST, "manifest");
        json!({ "mediaType": MediaType::DOCKER_MANIFEST, "digest": digest, "size": size, "platform": platform })
    }

    fn add(&mut self, bytes: Vec<u8>, media_type: &str, what: &'static str) -> (Digest, usize) {
        let (digest, size) = (Digest::of(Algorithm::Sha256, &bytes), bytes.len());
        let object = CanaryObject { bytes: bytes.into(), media_type: MediaType::new(media_type), what };
        self.objects.insert(digest.clone(), object);
        (digest, size)
    }
}

/// One small file, so that no engine mistakes the layer for an empty one.
fn tar_of(nonce: &Nonce) -> Vec<u8> {
    let content = format!("{nonce}\n");
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, CANARY, content.as_bytes()).expect("writing to memory cannot fail");
    archive.into_inner().expect("writing to memory cannot fail")
}

fn gzip_of(tar: &[u8]) -> Vec<u8> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(tar).expect("writing to memory cannot fail");
    gzip.finish().expect("writing to memory cannot fail")
}

const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// What machines that run CI are made of.
const PLATFORMS: [(&str, &str); 8] =
    [("amd64", ""), ("arm64", "v8"), ("arm", "v7"), ("arm", "v6"), ("386", ""), ("ppc64le", ""), ("riscv64", ""), ("s390x", "")];
/// Images in memory: a bound against somebody who makes up nonces all day.
const IMAGES: u64 = 64;
/// Bytes that all receipts may take: those of some 20 000 pulls.
const MEMORY: u64 = 8 << 20;
/// Bytes that a nonce takes beside its receipts.
const ENTRY: usize = 256;
/// Receipts kept a nonce: a fleet of two hundred machines proves itself by one, with four or five of each.
const RECEIPTS: usize = 1024;
/// How long receipts are kept after the last one of their nonce.
const KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::ManifestFacts;

    fn nonce() -> Nonce {
        "00112233445566778899aabbccddeeff".parse().expect("a nonce")
    }

    #[test]
    fn a_canary_is_a_whole_image_for_each_platform_and_always_the_same() {
        let canaries = Canaries::default();
        let (image, again) = (canaries.image(&nonce()), CanaryImage::make(&nonce()));
        assert_eq!(image.root(), again.root());
        let list = image.get(image.root()).expect("the root");
        let facts = ManifestFacts::parse(&list.bytes, &list.media_type).expect("a list");
        assert_eq!(facts.children.len(), PLATFORMS.len());
        for child in facts.children {
            let manifest = image.get(&child.digest).expect("a manifest");
            assert_eq!(manifest.bytes.len() as u64, child.size);
            for blob in ManifestFacts::parse(&manifest.bytes, &manifest.media_type).expect("a manifest").children {
                assert_eq!(image.get(&blob.digest).expect("a blob").bytes.len() as u64, blob.size);
            }
        }
    }

    #[test]
    fn receipts_are_of_their_nonce_only_and_bounded() {
        let canaries = Canaries::default();
        for _ in 0..RECEIPTS + 100 {
            canaries.sign(&nonce(), "::ffff:10.0.0.1".parse().expect("an address"), &"x".repeat(9999), "layer");
        }
        let receipts = canaries.receipts(&nonce());
        assert_eq!((receipts.len(), receipts[0].user_agent.len(), receipts[0].client.to_string()), (RECEIPTS, 256, "10.0.0.1".into()));
        assert!(canaries.receipts(&"f".repeat(32).parse().expect("a nonce")).is_empty());
    }

    #[test]
    fn somebody_who_makes_up_nonces_all_day_takes_a_few_megabytes_and_hides_no_newer_receipt() {
        let canaries = Canaries::default();
        let (client, agent) = ("10.0.0.1".parse().expect("an address"), "x".repeat(256));
        for number in 0..2000_u128 {
            let nonce: Nonce = format!("{number:032x}").parse().expect("a nonce");
            (0..64).for_each(|_| canaries.sign(&nonce, client, &agent, "manifest"));
        }
        canaries.sign(&nonce(), client, &agent, "layer");
        assert_eq!(canaries.receipts(&nonce()).len(), 1);
        canaries.receipts.run_pending_tasks();
        let kept: usize = canaries.receipts.iter().map(|(_, receipts)| receipts.len()).sum();
        assert!((1000..30_000).contains(&kept), "{kept} receipts of some 330 bytes");
    }

    #[test]
    fn only_a_nonce_is_a_nonce() {
        let of = |repo: &str| Canaries::nonce(&repo.parse().expect("a name"));
        assert!(matches!(of("chandler-canary/00112233445566778899aabbccddeeff"), Some(Ok(_))));
        for repo in ["chandler-canary", "chandler-canary/x", "chandler-canary/00112233445566778899aabbccddeeff/x"] {
            assert_eq!(of(repo), Some(Err(NotANonce)), "{repo}");
        }
        assert_eq!(of("library/chandler"), None);
    }
}
