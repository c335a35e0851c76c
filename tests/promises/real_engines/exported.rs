//! Engines on machines that do not trust the mirror's certificate until the files of `chandler ca export` are there.
//!
//! The mirror is not on loopback: Docker takes any certificate from there.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use tempfile::TempDir;
use tests::engine::{Answer, Containerd, Dockerd, Machine, MachineConfig, Network, Podman, Release};
use tests::hub::Hub;
use tests::program::Program;

use super::secure::ca;

#[tokio::test(flavor = "multi_thread")]
async fn docker_trusts_the_mirror_when_the_exported_files_are_there_with_no_reload() {
    for release in [Release::V20, Release::V29] {
        let Some(docker) = Dockerd::start(release, machine()).await else { return };
        trusts(docker.machine(), async |image| docker.pull(image).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_trusts_the_mirror_when_the_exported_files_are_there() {
    let Some(containerd) = Containerd::start(machine()).await else { return };
    trusts(containerd.machine(), async |image| containerd.pull(image).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_trusts_the_mirror_when_the_exported_files_are_there() {
    let Some(podman) = Podman::start(machine()).await else { return };
    trusts(podman.machine(), async |image| podman.pull(image).await).await;
}

fn machine() -> MachineConfig {
    MachineConfig { network: Network::Own, ..MachineConfig::default() }
}

async fn trusts(machine: &Machine, pull: impl AsyncFn(&str) -> Answer) {
    let hub = Hub::start();
    hub.image("library/plain").tag("1").push();
    let (mirror, folder) = serve(&hub, machine.outside());
    let image = format!("{}/library/plain:1", mirror.host());
    let refused = pull(&image).await.expect_failure();
    assert!(refused.contains("x509") || refused.contains("certificate"), "{refused}");
    ca(folder.path(), &format!("export {} --out trust", mirror.host()));
    copy(&folder.path().join("trust/etc"), "/etc", machine);
    pull(&image).await.expect_success();
}

/// A mirror at `address` with a certificate of a CA in the folder.
fn serve(hub: &Hub, address: IpAddr) -> (Program, TempDir) {
    let folder = TempDir::with_prefix("chandler-ca-").expect("a folder");
    ca(folder.path(), &format!("init --permit {address}"));
    ca(folder.path(), &format!("issue {address} --output ."));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!("tls: {{certificate: \"{}\", key: \"{}\"}}", file("fullchain.pem"), file("privkey.pem"));
    (Program::of_hub(&hub.url()).listeners(&format!("[{{address: \"{address}:0\", {tls}}}]")).start(), folder)
}

/// `cp -r`, onto the machine.
fn copy(from: &Path, to: &str, machine: &Machine) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = format!("{to}/{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            copy(&path, &target, machine);
        } else {
            machine.write(&target, fs::read(&path).expect("a file"));
        }
    }
}
