//! The forms in which people write a mirror's address: with a slash at its end, and with the registry's name as a path (which Docker 20.10
//! does not take).

use tests::engine::{Containerd, Dockerd, MachineConfig, Podman, Release};

use super::Site;
use super::client::Client;

#[tokio::test(flavor = "multi_thread")]
async fn containerd_takes_the_mirror_with_a_slash_at_its_end_and_with_a_path() {
    let Some(site) = Site::start() else { return };
    for form in ["/", "/docker.io", "/docker.io/"] {
        let Some(containerd) = Containerd::start(behind(&site, form)).await else { return };
        takes_a_public_and_a_private_image(&Client::Containerd(containerd)).await;
    }
    site.assert_only_the_mirror_asked();
    site.assert_one_download_of(&TAKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_and_skopeo_take_the_mirror_with_the_registrys_name_as_its_path() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(behind(&site, "/docker.io")).await else { return };
    podman.buildah(["pull", "docker.io/library/plain:1"]).await.expect_success();
    podman.rmi("docker.io/library/plain:1").await.expect_success();
    let podman = Client::Podman(podman);
    takes_a_public_and_a_private_image(&podman).await;
    let Client::Podman(machine) = podman else { return };
    takes_a_public_and_a_private_image(&Client::Skopeo(machine)).await;
    site.assert_only_the_mirror_asked();
    site.assert_one_download_of(&TAKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_takes_the_mirror_with_a_slash_at_its_end_and_29_with_a_path() {
    let Some(site) = Site::start() else { return };
    for (release, form) in [(Release::V20, "/"), (Release::V29, "/"), (Release::V29, "/docker.io")] {
        let Some(docker) = Dockerd::start(release, behind(&site, form)).await else { return };
        takes_a_public_and_a_private_image(&Client::Docker(docker)).await;
    }
    site.assert_only_the_mirror_asked();
    site.assert_one_download_of(&TAKEN);
}

fn behind(site: &Site, form: &str) -> MachineConfig {
    MachineConfig::behind(format!("http://{}{form}", site.tap.host()))
}

async fn takes_a_public_and_a_private_image(client: &Client) {
    for repository in TAKEN {
        client.pull(&format!("{repository}:1")).await.expect_success();
    }
    client.assert_says_hello("acme/secret:1").await;
}

const TAKEN: [&str; 2] = ["library/plain", "acme/secret"];
