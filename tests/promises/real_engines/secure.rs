//! Engines behind a mirror that speaks HTTPS with a certificate of `chandler ca`, on machines that have what it exports.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::engine::{BuildKit, Containerd, Crane, Dockerd, MachineConfig, Podman, Release};
use tests::hub::Hub;
use tests::program::{Program, program_path};

use super::buildkit::copies_from;
use super::client::Client;
use super::{ACCOUNT, assert_one_download_a_blob, assert_only_the_mirror_asked, stock};

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_pulls_over_https_with_the_mirrors_ca() {
    let hub = Hub::start();
    let Some(images) = stock(&hub) else { return };
    let (mirror, exported) = mirror_of(&hub);
    let config = || MachineConfig { certs_d: vec![(mirror.host().to_owned(), exported.clone())], ..MachineConfig::behind(mirror.url()) };
    for release in [Release::V20, Release::V29] {
        let Some(docker) = Dockerd::start(release, config()).await else { return };
        takes_some(&Client::Docker(docker)).await;
    }
    let Some(containerd) = Containerd::start(config()).await else { return };
    takes_some(&Client::Containerd(containerd)).await;
    let Some(podman) = Podman::start(config()).await else { return };
    let podman = Client::Podman(podman);
    takes_some(&podman).await;
    let Client::Podman(machine) = podman else { return };
    takes_some(&Client::Skopeo(machine)).await;
    let Some(buildkit) = BuildKit::start(config()).await else { return };
    for repository in TAKEN {
        copies_from(&buildkit, &format!("{repository}:1")).await;
    }
    let Some(crane) = Crane::find() else { return };
    takes_some(&Client::Crane(crane.trusting(&exported), mirror.host().to_owned())).await;

    assert_only_the_mirror_asked(&hub);
    let taken = images.iter().filter(|image| TAKEN.contains(&image.repository.as_str()));
    assert_one_download_a_blob(&hub, taken);
}

/// A mirror with a certificate of the private CA, and what machines know it by.
pub(super) fn mirror_of(hub: &Hub) -> (Program, String) {
    let program = Program::of_hub(&hub.url()).account(ACCOUNT, "secret");
    let folder = program.folder().to_owned();
    ca(&folder, "init --permit 127.0.0.1");
    ca(&folder, "issue 127.0.0.1 --output .");
    let file = |name: &str| folder.join(name).display().to_string();
    let tls = format!("tls: {{certificate: \"{}\", key: \"{}\"}}", file("fullchain.pem"), file("privkey.pem"));
    let mirror = program.listeners(&format!("[{{address: \"127.0.0.1:0\", {tls}}}]")).start();
    assert!(mirror.url().starts_with("https://"), "{}", mirror.url());
    ca(&folder, &format!("export {} --out trust", mirror.host()));
    let exported = fs::read_to_string(folder.join(format!("trust/etc/docker/certs.d/{}/ca.crt", mirror.host()))).expect("exported");
    (mirror, exported)
}

async fn takes_some(client: &Client) {
    for repository in TAKEN {
        client.pull(&format!("{repository}:1")).await.expect_success();
    }
}

pub(super) fn ca(folder: &Path, arguments: &str) {
    let mut command = Command::new(program_path());
    command.arg("ca").args(arguments.split(' ')).args(["--state", "state"]).current_dir(folder).env_clear();
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

const TAKEN: [&str; 3] = ["library/plain", "library/docker", "acme/secret"];
