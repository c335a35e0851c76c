//! Docker with a client certificate in `certs.d/<host:port>/client.{cert,key}` is admitted; without one it goes to the Hub at once. The older one's is issued by hand, the newer one's is got by a token.
//!
//! The mirror is not on loopback: there Docker takes any certificate of a server, and shows none of its own.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use tests::engine::{Dockerd, Machine, MachineConfig, Network, Release};
use tests::hub::{Auth, Host, Hub, Kind, on};
use tests::program::Program;

use super::fall_over::assert_asked_each_thing_once_or_twice;
use super::secure::ca;

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_is_admitted_by_its_certificate_and_without_one_goes_to_the_hub_at_once() {
    is_admitted_by_certificate(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_is_admitted_by_its_certificate_and_without_one_goes_to_the_hub_at_once() {
    is_admitted_by_certificate(Release::V29).await;
}

async fn is_admitted_by_certificate(release: Release) {
    let (near, truth) = (Hub::start(), Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports"));
    // All that engines find of it is what is behind its name.
    truth.set(|settings| (settings.auth, settings.redirects) = (Auth::Open, false));
    for (seed, name) in [(1, "library/early"), (2, "library/late")] {
        for hub in [&near, &truth] {
            hub.image(name).seed(seed).tag("1").push();
        }
    }
    let roots = vec![truth.ca_pem().expect("it speaks TLS").to_owned()];
    let config = MachineConfig { roots, hub: Some(truth.address(Host::Registry)), network: Network::Own, ..MachineConfig::default() };
    let Some(docker) = Dockerd::start(release, config).await else { return };
    let (mirror, folder) = serve(&near, docker.machine().outside());
    trust(docker.machine(), mirror.host(), folder.path());
    use_mirror(&docker, release, &mirror, "").await;

    docker.pull("docker.io/library/early:1").await.expect_success();
    assert!(!truth.count().list(on(Kind::Manifest)).is_empty(), "it came from the Hub: {}", truth.count().summary());
    assert!(docker.machine().take_bypasses().iter().any(|name| name == "registry-1.docker.io"));
    assert_asked_each_thing_once_or_twice(&mirror.log());
    assert!(near.count().list(on(Kind::Manifest)).is_empty(), "the mirror fetched for nobody");
    let direct = format!("{}/library/late:1", mirror.host());
    let refused = docker.pull(&direct).await.expect_failure();
    assert!(refused.contains("without a client certificate"), "Docker shows why: {refused}");

    let certs_d = format!("/etc/docker/certs.d/{}", mirror.host());
    for (file, name) in certify(release, &mirror, folder.path()) {
        let text = fs::read(folder.path().join("client").join(file)).expect("issued");
        docker.machine().write(&format!("{certs_d}/{name}"), text);
    }
    docker.pull(&direct).await.expect_success();
    docker.rmi(&direct).await.expect_success();
    use_mirror(&docker, release, &mirror, &format!("client = [[\"{certs_d}/client.cert\", \"{certs_d}/client.key\"]]")).await;
    truth.forget();
    docker.pull("docker.io/library/late:1").await.expect_success();
    assert!(truth.count().list(on(Kind::Manifest)).is_empty(), "it came from the mirror: {}", truth.count().summary());
    assert!(mirror.wait_for_log("\"client_certificate\"").contains("runner-1.ci.test"));
}

/// Behind the mirror for Docker Hub. Of a mirror in `registry-mirrors` the containerd store of Docker 29 takes certificates from `certs.d/docker.io`,
/// which the Hub would be shown too; its `hosts.toml` says it of the mirror alone.
async fn use_mirror(docker: &Dockerd, release: Release, mirror: &Program, client: &str) {
    if release == Release::V20 {
        docker.machine().write("/etc/docker/daemon.json", json!({ "registry-mirrors": [mirror.url()] }).to_string());
        return docker.reload().await;
    }
    let (host, url) = (mirror.host(), mirror.url());
    let hosts = format!(
        "server = \"https://registry-1.docker.io\"\n[host.\"{url}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"/etc/docker/certs.d/{host}/ca.crt\"\n{client}\n"
    );
    docker.machine().write("/etc/docker/certs.d/docker.io/hosts.toml", hosts);
}

/// A client's files in the folder `client`, and what they are called in Docker's: made by the operator, or got by the machine with a token.
fn certify(release: Release, mirror: &Program, folder: &Path) -> &'static [(&'static str, &'static str)] {
    if release == Release::V20 {
        ca(folder, "issue runner-1.ci.test --client --output client");
        return &[("fullchain.pem", "client.cert"), ("privkey.pem", "client.key")];
    }
    ca(folder, "token runner-1.ci.test --output token");
    ca(folder, &format!("request --mirror {} --token token --out client", mirror.url()));
    &[("ca.crt", "ca.crt"), ("client.cert", "client.cert"), ("client.key", "client.key")]
}

/// A mirror at `address` that knows clients by the private CA in the folder.
fn serve(hub: &Hub, address: IpAddr) -> (Program, TempDir) {
    let folder = TempDir::with_prefix("chandler-ca-").expect("a folder");
    ca(folder.path(), &format!("init --permit {address},ci.test"));
    ca(folder.path(), &format!("issue {address} --output ."));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!("tls: {{certificate: \"{}\", key: \"{}\"}}", file("fullchain.pem"), file("privkey.pem"));
    let config = format!(
        "access: [{{clients: [\"runner-*.ci.test\"]}}]\nclients: {{ca: [private], tokens: true}}\nacme: {{path: \"{}\"}}",
        file("state")
    );
    let listeners = format!("[{{address: \"{address}:0\", {tls}}}]");
    (Program::of_hub(&hub.url()).listeners(&listeners).config(&config).start(), folder)
}

fn trust(machine: &Machine, host: &str, folder: &Path) {
    ca(folder, &format!("export {host} --out trust"));
    let path = format!("etc/docker/certs.d/{host}/ca.crt");
    machine.write(&format!("/{path}"), fs::read(folder.join("trust").join(&path)).expect("exported"));
}
