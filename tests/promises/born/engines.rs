//! Real engines that start on a machine as its first boot left it: they pull a private image through a running mirror, and nobody logs in.

use cloud_init::user_data::user_data;
use cloud_init::{Means, Provision};
use tests::client::Client;
use tests::engine::{Answer, Containerd, Dockerd, Machine, MachineConfig, Podman, Release};
use tests::hub::Hub;
use tests::newborn::Newborn;
use tests::program::Program;

use super::{docker, file, nonce, order, valid, wish};

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_starts_behind_the_mirror() {
    docker_starts_behind_the_mirror(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_starts_behind_the_mirror() {
    docker_starts_behind_the_mirror(Release::V29).await;
}

async fn docker_starts_behind_the_mirror(release: Release) {
    let (_hub, mirror) = site();
    let Some(machine) = born(&docker(mirror.url()), &mirror).await else { return };
    let Some(docker) = Dockerd::start_on(machine, release).await else { return };
    docker.pull(PRIVATE).await.expect_success();
    let nonce = nonce();
    docker.pull(&canary(&nonce)).await.expect_success();
    was_seen(&mirror, &nonce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_starts_behind_the_mirror() {
    let (_hub, mirror) = site();
    let drop_in = format!(
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        mirror.host()
    );
    let Some(machine) = born(&alone("/etc/containers/registries.conf.d/000-chandler.conf", &drop_in), &mirror).await else { return };
    let Some(podman) = Podman::start_on(machine, &MachineConfig::default()) else { return };
    pulls(async |image| podman.pull(image).await, &mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_starts_behind_the_mirror() {
    let (_hub, mirror) = site();
    let hosts =
        format!("server = \"https://registry-1.docker.io\"\n\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n", mirror.url());
    let Some(machine) = born(&alone("/etc/containerd/certs.d/docker.io/hosts.toml", &hosts), &mirror).await else { return };
    let Some(containerd) = Containerd::start_on(machine).await else { return };
    pulls(async |image| containerd.pull(image).await, &mirror).await;
}

pub(super) async fn pulls(pull: impl AsyncFn(&str) -> Answer, mirror: &Program) {
    pull(&format!("docker.io/{PRIVATE}")).await.expect_success();
    let nonce = nonce();
    pull(&format!("docker.io/{}", canary(&nonce))).await.expect_success();
    was_seen(mirror, &nonce).await;
}

/// A Hub with a private image, and a mirror whose account may read it.
pub(super) fn site() -> (Hub, Program) {
    let hub = Hub::start();
    hub.add_account("ci", "secret");
    hub.private("acme/secret");
    hub.allow("ci", "acme/secret");
    hub.image("acme/secret").seed(9).layers([20_000]).tag("1").push();
    let mirror = Program::of_hub(&hub.url()).account("ci", "secret").start();
    (hub, mirror)
}

/// A machine after its first boot.
async fn born(provision: &Provision, mirror: &Program) -> Option<Machine> {
    let newborn = Newborn::conceive(&MachineConfig::default()).await?;
    let document = user_data(&order(provision, &wish(mirror.url()))).expect("made");
    valid(&newborn, &document).await;
    newborn.boot(document.as_bytes()).await.assert_clean();
    Some(newborn.into_machine())
}

pub(super) fn alone(path: &str, text: &str) -> Provision {
    Provision { files: vec![file(path, 0o644, text)], docker: None, means: Means::Script }
}

fn canary(nonce: &str) -> String {
    format!("chandler-canary/{nonce}:latest")
}

/// The mirror knows who pulled it.
async fn was_seen(mirror: &Program, nonce: &str) {
    let receipt = Client::new(mirror.url()).get(&format!("/chandler/receipt/{nonce}")).await.whole();
    let receipt = String::from_utf8_lossy(&receipt).into_owned();
    assert!(receipt.contains("layer"), "{receipt}");
}

const PRIVATE: &str = "acme/secret:1";
