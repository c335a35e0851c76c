//! How many bytes an image has as it is transferred: what its manifest says, as a mirror gives it. Effects, but for the sums.

use reqwest::header::ACCEPT;
use serde::Deserialize;

use super::timing::architecture;
use crate::engines::image::Image;
use crate::engines::{MirrorUrl, Wish};
use crate::reach;

/// For this machine's platform: the manifest's config and layers. `None` where no mirror says it.
pub(super) async fn of(image: &Image, wish: &Wish) -> Option<u64> {
    let client = reach::client(wish.anchors.as_deref(), wish.client.as_ref()).ok()?;
    for mirror in &wish.mirrors {
        let Some(top) = manifest(&client, mirror, image, &image.reference).await else { continue };
        let one = match top.child(architecture()) {
            Some(digest) => manifest(&client, mirror, image, &digest).await,
            None => Some(top),
        };
        if let Some(size) = one.and_then(|one| one.size()) {
            return Some(size);
        }
    }
    None
}

async fn manifest(client: &reqwest::Client, mirror: &MirrorUrl, image: &Image, reference: &str) -> Option<Manifest> {
    let url = format!("{mirror}/v2/{}/manifests/{reference}?ns={}", image.repository, image.registry);
    let mut answer = client.get(url).header(ACCEPT, KINDS.join(", ")).send().await.ok()?.error_for_status().ok()?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.ok()? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MOST {
            return None;
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// Of an image, or a list of them by platform.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    config: Option<Part>,
    layers: Vec<Part>,
    manifests: Vec<Child>,
}

#[derive(Debug, Deserialize)]
struct Part {
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Child {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Manifest {
    /// The image for a platform, of a list.
    fn child(&self, architecture: &str) -> Option<String> {
        let fits = |child: &&Child| child.platform.as_ref().is_some_and(|one| one.os == "linux" && one.architecture == architecture);
        self.manifests.iter().find(fits).map(|child| child.digest.clone())
    }

    fn size(&self) -> Option<u64> {
        let config = self.config.as_ref()?;
        Some(self.layers.iter().chain([config]).map(|part| part.size).sum())
    }
}

const KINDS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// No engine takes a larger one.
const MOST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Manifest {
        serde_json::from_str(text).expect("a manifest")
    }

    #[test]
    fn an_images_size_is_that_of_its_config_and_its_layers() {
        assert_eq!(read(r#"{"config": {"size": 7, "digest": "x"}, "layers": [{"size": 100}, {"size": 20}]}"#).size(), Some(127));
        let list = read(
            r#"{"manifests": [{"digest": "a", "platform": {"os": "linux", "architecture": "arm64"}}, {"digest": "b", "platform": {"os": "linux", "architecture": "amd64"}}, {"digest": "c"}]}"#,
        );
        assert_eq!((list.child("amd64"), list.child("386"), list.size()), (Some("b".to_owned()), None, None));
    }
}
