//! "It answers so that every client falls over to the next endpoint at once when the mirror cannot help: it never challenges, never answers 429,
//! never passes an upstream's challenge, redirect or credentials on, and always sends headers or an error within 10 s."
//!
//! The mirror stands before a Hub that lacks an image, cannot send its layers, answers 5xx or is gone; at last the mirror itself is stopped. The
//! engines know the true Hub besides, and every pull works. At once: no engine asks the mirror for one thing as often as engines that retry do.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::engine::{Containerd, Dockerd, Machine, MachineConfig, Podman, Release};
use tests::hub::{Fault, Host, Hub, Kind, on};
use tests::program::Program;

use super::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_goes_to_the_hub_at_once_when_the_mirror_cannot_help() {
    let mut sea = Sea::start();
    let Some(docker) = Dockerd::start(Release::V20, sea.machine()).await else { return };
    falls_over(&Client::Docker(docker), &mut sea, Blobs::FallOver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_goes_to_the_hub_at_once_when_the_mirror_cannot_help() {
    let mut sea = Sea::start();
    let Some(docker) = Dockerd::start(Release::V29, sea.machine()).await else { return };
    falls_over(&Client::Docker(docker), &mut sea, Blobs::FallOver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_goes_to_the_hub_at_once_when_the_mirror_cannot_help() {
    let mut sea = Sea::start();
    let Some(containerd) = Containerd::start(sea.machine()).await else { return };
    falls_over(&Client::Containerd(containerd), &mut sea, Blobs::FallOver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_goes_to_the_hub_at_once_when_the_mirror_cannot_help() {
    let mut sea = Sea::start();
    let Some(podman) = Podman::start(sea.machine()).await else { return };
    falls_over(&Client::Podman(podman), &mut sea, Blobs::AsManifest).await;
}

/// Where an engine gets blobs from.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Blobs {
    /// From whoever gave the manifest, and from nobody else.
    AsManifest,
    /// From the next one when one fails.
    FallOver,
}

async fn falls_over(client: &Client, sea: &mut Sea, blobs: Blobs) {
    sea.both_have("library/bare");
    sea.near.faults().set(Fault::Status(500), on(Kind::Blob).repo("library/bare"));
    sea.true_hub_has("library/unknown");
    sea.pulls_from_the_true_hub(client, "library/unknown", Kind::Manifest).await;
    if blobs == Blobs::FallOver {
        sea.pulls_from_the_true_hub(client, "library/bare", Kind::Blob).await;
    }

    sea.both_have("library/sick");
    sea.near.faults().set(Fault::Status(503), on(Kind::Manifest).repo("library/sick"));
    sea.pulls_from_the_true_hub(client, "library/sick", Kind::Manifest).await;

    sea.both_have("library/limited");
    sea.near.faults().set(Fault::PullLimit, on(Kind::Manifest).repo("library/limited"));
    sea.pulls_from_the_true_hub(client, "library/limited", Kind::Manifest).await;

    sea.both_have("library/gone");
    sea.near.down();
    sea.pulls_from_the_true_hub(client, "library/gone", Kind::Manifest).await;
    assert_asked_each_thing_once_or_twice(&sea.mirror.log());

    sea.true_hub_has("library/stopped");
    assert!(sea.mirror.stop().success());
    sea.pulls_from_the_true_hub(client, "library/stopped", Kind::Manifest).await;
}

/// The Hub that the mirror sees, and the true one that engines find under its names.
struct Sea {
    mirror: Program,
    near: Hub,
    seed: u64,
    truth: Hub,
}

impl Sea {
    fn start() -> Self {
        let near = Hub::start();
        let truth = Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports");
        // Under the Hub's names engines find its registry alone: tokens come from the address itself, blobs without a redirect.
        let realm = format!("{}/token", truth.url_of(Host::Token));
        truth.set(|settings| (settings.realm, settings.redirects) = (Some(realm), false));
        let mirror = Program::of_hub(&near.url()).start();
        Self { mirror, near, seed: 100, truth }
    }

    fn machine(&self) -> MachineConfig {
        let roots = vec![self.truth.ca_pem().expect("it speaks TLS").to_owned()];
        MachineConfig { roots, hub: Some(self.truth.address(Host::Registry)), ..MachineConfig::behind(self.mirror.url()) }
    }

    fn both_have(&mut self, repository: &str) {
        self.true_hub_has(repository);
        self.near.image(repository).seed(self.seed).tag("1").push();
    }

    fn true_hub_has(&mut self, repository: &str) {
        self.seed += 1;
        self.truth.image(repository).seed(self.seed).tag("1").push();
    }

    async fn pulls_from_the_true_hub(&self, client: &Client, repository: &str, what: Kind) {
        self.truth.forget();
        client.pull(&format!("{repository}:1")).await.expect_success();
        let counts = self.truth.count();
        let hub_was_asked = counts.list(what).iter().any(|seen| !seen.header("user-agent").starts_with("chandler/"));
        assert!(hub_was_asked, "{repository} did not come from the Hub\n{}", counts.summary());
        let names = machine_of(client).take_bypasses();
        assert!(names.iter().any(|name| name == "registry-1.docker.io"), "{names:?}");
    }
}

/// An engine that retries asks five times and more; Docker 20.10 asks twice for what it is refused.
pub(super) fn assert_asked_each_thing_once_or_twice(log: &str) {
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if line["method"].is_string() && line["status"].as_u64().is_some_and(|status| status >= 400) {
            assert_ne!(line["status"], 429, "{line}");
            assert_ne!(line["status"], 401, "{line}");
            *times.entry(format!("{} {}", line["method"], line["path"])).or_default() += 1;
        }
    }
    assert!(!times.is_empty(), "the mirror refused something:\n{log}");
    assert!(times.values().all(|count| *count <= 2), "{times:#?}");
}

pub(super) fn machine_of(client: &Client) -> &Machine {
    match client {
        Client::Containerd(containerd) => containerd.machine(),
        Client::Docker(docker) => docker.machine(),
        Client::Podman(podman) | Client::Skopeo(podman) => podman.machine(),
        Client::Crane(..) => unreachable!("crane knows one registry"),
    }
}
