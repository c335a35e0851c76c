//! Registries other than Docker Hub: mirrored by name, and never answered for when they are not.

use std::net::{IpAddr, Ipv4Addr};

use tests::engine::bypass::Catcher;
use tests::engine::{Answer, Containerd, Dockerd, Machine, MachineConfig, Podman, Release};
use tests::hub::{Hub, ImageInfo, any};
use tests::program::Program;
use tests::tools;

use super::{assert_one_download_a_blob, assert_only_the_mirror_asked};

#[tokio::test(flavor = "multi_thread")]
async fn another_registry_is_pulled_through_the_mirror_by_its_name() {
    let Some(sea) = Sea::start(1).await else { return };
    if let Some(docker) = sea.docker().await {
        docker.pull("ghcr.io/acme/tool:1").await.expect_success();
        assert_eq!(docker.image_digest("ghcr.io/acme/tool:1").await, sea.image.digest.as_str());
    }
    if let Some(containerd) = sea.containerd().await {
        containerd.pull("ghcr.io/acme/tool:1").await.expect_success();
        assert_eq!(containerd.image_digest("ghcr.io/acme/tool:1").await, sea.image.digest.as_str());
    }
    if let Some(podman) = sea.podman().await {
        podman.pull("ghcr.io/acme/tool:1").await.expect_success();
        assert_eq!(podman.image_digest("ghcr.io/acme/tool:1").await, sea.image.digest.as_str());
    }
    assert_eq!(sea.catcher.take(), [""; 0], "an engine went past the mirror");
    assert_only_the_mirror_asked(&sea.ghcr);
    assert_one_download_a_blob(&sea.ghcr, [&sea.image]);
    assert_eq!(asked_for_the_tool(&sea.hub), 0, "{}", sea.hub.count().summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_mirrored_is_never_answered_with_the_hubs_content() {
    let Some(sea) = Sea::start(2).await else { return };
    sea.hub.image("acme/tool").seed(7).tag("1").push();
    let mut pulls: Vec<Answer> = Vec::new();
    if let Some(docker) = sea.docker().await {
        pulls.push(docker.pull("quay.io/acme/tool:1").await);
    }
    if let Some(containerd) = sea.containerd().await {
        pulls.push(containerd.pull("quay.io/acme/tool:1").await);
    }
    for pull in pulls {
        pull.expect_failure();
    }
    // They were refused at the mirror, and went on to the registry itself.
    let seen = sea.catcher.take();
    assert!(seen.iter().any(|name| name == "quay.io"), "{seen:?}");
    assert_eq!(asked_for_the_tool(&sea.hub) + asked_for_the_tool(&sea.ghcr), 0, "nobody was asked for it");
}

fn asked_for_the_tool(hub: &Hub) -> u64 {
    hub.count().of(any().repo("acme/tool"))
}

/// A mirror of two registries, and an address where connections to the second one's name, and to a third's, are caught.
struct Sea {
    catcher: Catcher,
    caught_at: IpAddr,
    ghcr: Hub,
    hub: Hub,
    image: ImageInfo,
    mirror: Program,
}

impl Sea {
    async fn start(number: u8) -> Option<Self> {
        if !tools::require_root() {
            return None;
        }
        let (hub, ghcr) = (Hub::start(), Hub::start());
        let image = ghcr.image("acme/tool").layers([5000, 90_000]).tag("1").push();
        let upstream = format!("{{name: ghcr.io, url: \"{}\"}}", ghcr.url());
        let mirror = Program::of_hub(&hub.url()).upstream(&upstream).start();
        let [_, _, third, fourth] = std::process::id().to_be_bytes();
        let caught_at = Ipv4Addr::new(127, 77 + number, third, fourth.clamp(1, 254)).into();
        let catcher = Catcher::bind(caught_at, None).await.expect("nobody else listens on this address");
        Some(Self { catcher, caught_at, ghcr, hub, image, mirror })
    }

    async fn docker(&self) -> Option<Dockerd> {
        let docker = Dockerd::start(Release::V29, self.machine()).await?;
        self.write_hosts(docker.machine(), "/etc/docker/certs.d");
        Some(docker)
    }

    async fn containerd(&self) -> Option<Containerd> {
        let containerd = Containerd::start(self.machine()).await?;
        self.write_hosts(containerd.machine(), "/etc/containerd/certs.d");
        Some(containerd)
    }

    async fn podman(&self) -> Option<Podman> {
        let podman = Podman::start(self.machine()).await?;
        let mirror = self.mirror.host();
        let lines =
            format!("[[registry]]\nlocation = \"ghcr.io\"\n[[registry.mirror]]\nlocation = \"{mirror}/ghcr.io\"\ninsecure = true\n");
        podman.machine().write("/etc/containers/registries.conf.d/ghcr.conf", lines);
        Some(podman)
    }

    fn machine(&self) -> MachineConfig {
        let hosts = REGISTRIES.map(|name| (name.to_owned(), self.caught_at)).to_vec();
        MachineConfig { hosts, ..MachineConfig::behind(self.mirror.url()) }
    }

    fn write_hosts(&self, machine: &Machine, folder: &str) {
        for name in REGISTRIES {
            let mirror = self.mirror.url();
            let lines =
                format!("server = \"https://{name}\"\n[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\", \"referrers\"]\n");
            machine.write(&format!("{folder}/{name}/hosts.toml"), lines);
        }
    }
}

const REGISTRIES: [&str; 2] = ["ghcr.io", "quay.io"];
