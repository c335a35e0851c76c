//! Real engines, unmodified, pull public and private images through the real program: Docker 20.10 and 29, Podman, Skopeo, Buildah, containerd,
//! `BuildKit` and crane. None has a login.
//!
//! Each engine takes every image of a [`Site`] by tag and by digest, and once more while the Hub is down. That nothing goes past the mirror is
//! asserted on both sides: an engine that connects to a name of the Hub fails its test when it is dropped, and [`Site::assert_only_the_mirror_asked`]
//! finds a request at the test Hub that is not the mirror's. `client` gives all engines the same verbs.

mod behind;
mod big;
mod buildkit;
mod builds;
mod certified;
mod client;
mod command;
mod diagnosed;
mod exported;
mod fall_over;
mod first_boot;
mod foreign;
mod local;
mod put_behind;
mod secure;
mod spellings;
mod timed;

use std::time::Duration;

use serde_json::Value;
use tests::client::Client as PlainClient;
use tests::engine::{Containerd, Crane, Dockerd, MachineConfig, Podman, Release};
use tests::hub::{Hub, ImageInfo, Kind, on};
use tests::program::Program;
use tests::tap::Tap;
use tests::tools;

use client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_pulls_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(Release::V20, site.machine()).await else { return };
    pulls_everything(&Client::Docker(docker), &site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_pulls_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(Release::V29, site.machine()).await else { return };
    pulls_everything(&Client::Docker(docker), &site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_pulls_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(containerd) = Containerd::start(site.machine()).await else { return };
    pulls_everything(&Client::Containerd(containerd), &site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(site.machine()).await else { return };
    pulls_everything(&Client::Podman(podman), &site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(site.machine()).await else { return };
    pulls_everything(&Client::Skopeo(podman), &site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crane_validates_every_kind_of_image_and_again_while_the_hub_is_down() {
    let Some(site) = Site::start() else { return };
    let Some(crane) = Crane::find() else { return };
    pulls_everything(&Client::Crane(crane, site.tap.host()), &site).await;
}

async fn pulls_everything(client: &Client, site: &Site) {
    for image in &site.images {
        for reference in [":1".to_owned(), format!("@{}", image.digest)] {
            let name = format!("{}{reference}", image.repository);
            client.pull(&name).await.expect_success();
            client.assert_has(&name, image.digest.as_str()).await;
        }
    }
    client.assert_says_hello("library/plain:1").await;
    site.assert_only_the_mirror_asked();
    assert_one_download_a_blob(&site.hub, &site.images);

    // "What is stored is served whatever the upstream does: down, 429, 5xx, hanging."
    for image in &site.images {
        client.remove(&format!("{}:1", image.repository)).await;
        client.remove(&format!("{}@{}", image.repository, image.digest)).await;
    }
    site.hub.forget();
    site.hub.down();
    for image in &site.images {
        client.pull(&format!("{}:1", image.repository)).await.expect_success();
    }
    client.assert_says_hello("library/plain:1").await;
    assert_eq!(site.hub.count().gets(Kind::Cdn), 0);

    // "'The mirror is used' is proved by a pull that only the mirror can answer, never assumed."
    let nonce = site.nonce();
    client.pull(&format!("chandler-canary/{nonce}:latest")).await.expect_success();
    let receipt = site.receipt(&nonce).await;
    for what in ["manifest", "config", "layer"] {
        assert!(receipt.contains(what), "no {what} on the receipt: {receipt}");
    }
    assert!(receipt.contains("127.0.0.1"), "{receipt}");
    site.tap.assert_all_proper();
}

/// A mirror with an account, in front of a Hub with one image of every kind. What it answers is looked at on its way.
struct Site {
    hub: Hub,
    images: Vec<ImageInfo>,
    mirror: Program,
    tap: Tap,
}

impl Site {
    /// Or `None` after saying what is missing.
    fn start() -> Option<Self> {
        let hub = Hub::start();
        let images = stock(&hub)?;
        let mirror = Program::of_hub(&hub.url()).account(ACCOUNT, "secret").start();
        let tap = Tap::before(mirror.host());
        Some(Self { hub, images, mirror, tap })
    }

    /// A machine behind the mirror.
    fn machine(&self) -> MachineConfig {
        MachineConfig::behind(format!("http://{}", self.tap.host()))
    }

    /// Nothing went past it, and all that it answered it may answer.
    fn assert_only_the_mirror_asked(&self) {
        assert_only_the_mirror_asked(&self.hub);
        self.tap.assert_all_proper();
    }

    fn assert_one_download_of(&self, repositories: &[&str]) {
        let taken = self.images.iter().filter(|image| repositories.contains(&image.repository.as_str()));
        assert_one_download_a_blob(&self.hub, taken);
    }

    /// 32 hex digits that nobody else asked for.
    fn nonce(&self) -> String {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since: Duration| since.as_nanos());
        format!("{:032x}", time ^ (u128::from(self.mirror.pid()) << 96))
    }

    /// Who pulled the canary, as the mirror says it.
    async fn receipt(&self, nonce: &str) -> String {
        let receipt = PlainClient::new(self.mirror.url()).get(&format!("/chandler/receipt/{nonce}")).await.whole();
        serde_json::from_slice::<Value>(&receipt).expect("a receipt is JSON").to_string()
    }
}

/// One image of every kind, tagged `1`; `acme/secret` is private and the [`ACCOUNT`] may read it.
fn stock(hub: &Hub) -> Option<Vec<ImageInfo>> {
    let shell = std::fs::read(tools::require("busybox")?).expect("busybox can be read");
    let runnable = |repository: &str| {
        let image = hub.image(repository).layers([20_000, 3_000_000]).with_file("/bin/sh", 0o755, shell.clone());
        image.entrypoint(["/bin/sh", "-c", "echo hello"])
    };
    let child = |repository: &str, seed, platform: &str| hub.image(repository).seed(seed).platform(platform);

    let plain = runnable("library/plain").tag("1").push();
    let docker = hub.image("library/docker").seed(2).layers([5000, 70_000]).docker().tag("1").push();
    let deep = hub.image("library/deep").seed(3).layers([4096; 60]).tag("1").push();
    let parts = [("linux/amd64", 4), ("linux/arm64", 5)].map(|(platform, seed)| child("library/multi", seed, platform).push());
    let multi = hub.index("library/multi").image(&parts[0]).image(&parts[1]).tag("1").push();
    let parts = [("linux/amd64", 6), ("linux/arm64", 7)].map(|(platform, seed)| child("library/list", seed, platform).docker().push());
    let list = hub.index("library/list").docker().image(&parts[0]).image(&parts[1]).tag("1").push();
    let part = child("library/attested", 8, "linux/amd64").push();
    let attested = hub.index("library/attested").image(&part).attestation(&part).tag("1").push();
    hub.artifact(&part, "application/vnd.example.signature", b"signed");
    hub.artifact(&attested, "application/vnd.example.signature", b"signed, all of it");

    hub.add_account(ACCOUNT, "secret");
    hub.private("acme/secret");
    hub.allow(ACCOUNT, "acme/secret");
    let private = runnable("acme/secret").seed(9).tag("1").push();
    Some(vec![plain, docker, deep, multi, list, attested, private])
}

/// Nobody but the mirror asked this Hub anything.
fn assert_only_the_mirror_asked(hub: &Hub) {
    let counts = hub.count();
    let others: Vec<_> = counts.all().iter().filter(|seen| !seen.header("user-agent").starts_with("chandler/")).collect();
    assert!(others.is_empty() && !counts.all().is_empty(), "{others:?}\n{}", counts.summary());
}

/// "One upstream download per blob, however many clients ask at once, and whichever of them leave."
fn assert_one_download_a_blob<'a>(hub: &Hub, images: impl IntoIterator<Item = &'a ImageInfo>) {
    let counts = hub.count();
    for image in images {
        for blob in image.blobs() {
            let gets = counts.of(on(Kind::Cdn).method("GET").digest(&blob.digest));
            assert_eq!(gets, 1, "{} of {}\n{}", blob.digest, image.repository, counts.summary());
        }
    }
    for seen in counts.list(on(Kind::Cdn).method("GET")) {
        let blob = seen.reference.as_deref().unwrap_or_default();
        assert_eq!(counts.of(on(Kind::Cdn).method("GET").reference(blob)), 1, "{blob}\n{}", counts.summary());
    }
}

const ACCOUNT: &str = "ci";
