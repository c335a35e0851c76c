//! "One upstream download per blob, however many clients ask at once, and whichever of them leave": real engines at once, on a layer of 64 MiB.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tests::engine::{Containerd, Crane, Dockerd, MachineConfig, Podman, Release};
use tests::hub::{Hub, Kind, MIB, on};
use tests::program::Program;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::{assert_one_download_a_blob, assert_only_the_mirror_asked};

#[tokio::test(flavor = "multi_thread")]
async fn all_engines_at_once_take_a_big_layer_from_one_download() {
    let hub = Hub::start();
    let image = hub.image("library/big").layers([64 * MIB]).tag("1").push();
    let mirror = Program::of_hub(&hub.url()).start();
    let machine = || MachineConfig::behind(mirror.url());
    let Some(v20) = Dockerd::start(Release::V20, machine()).await else { return };
    let Some(v29) = Dockerd::start(Release::V29, machine()).await else { return };
    let Some(containerd) = Containerd::start(machine()).await else { return };
    let Some(podman) = Podman::start(machine()).await else { return };
    let Some(skopeo) = Podman::start(machine()).await else { return };
    let Some(crane) = Crane::find() else { return };
    let clients = [
        Client::Docker(v20),
        Client::Docker(v29),
        Client::Containerd(containerd),
        Client::Podman(podman),
        Client::Skopeo(skopeo),
        Client::Crane(crane, mirror.host().to_owned()),
    ];

    let gate = hub.hold_at(MIB as u64, on(Kind::Cdn).digest(&image.layers[0].digest));
    let pull = async |client: &Client| {
        client.pull("library/big:1").await.expect_success();
        client.assert_has("library/big:1", image.digest.as_str()).await;
    };
    let [first, second, third, fourth, fifth, sixth] = &clients;
    let release = async {
        // The download is under way and stands still; who comes meanwhile joins it.
        hub.wait_for(|counts| counts.bytes(on(Kind::Cdn).digest(&image.layers[0].digest)) == MIB as u64).await;
        wait_until(|| agents_that_asked(&mirror.log()) == clients.len()).await;
        gate.release();
    };
    tokio::join!(pull(first), pull(second), pull(third), pull(fourth), pull(fifth), pull(sixth), release);
    assert_one_download_a_blob(&hub, &[image]);
    assert_only_the_mirror_asked(&hub);
}

/// How many clients of different names were told what the tag is.
fn agents_that_asked(log: &str) -> usize {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked = lines.filter(|line| line["reference"] == "1" && line["status"] == 200);
    asked.map(|line| line["user_agent"].to_string()).collect::<BTreeSet<_>>().len()
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("every engine asks the mirror within a minute");
}

const PATIENCE: Duration = Duration::from_mins(1);
