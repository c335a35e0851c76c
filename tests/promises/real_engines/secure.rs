//! Engines behind a mirror that speaks HTTPS with a CA of the operator's.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tests::engine::{BuildKit, Containerd, Crane, Dockerd, MachineConfig, Podman, Release};
use tests::hub::Hub;
use tests::program::Program;

use super::buildkit::copies_from;
use super::client::Client;
use super::{ACCOUNT, assert_one_download_a_blob, assert_only_the_mirror_asked, stock};

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_pulls_over_https_with_the_mirrors_ca() {
    let hub = Hub::start();
    let Some(images) = stock(&hub) else { return };
    let program = Program::of_hub(&hub.url()).account(ACCOUNT, "secret");
    let ca = Ca::new();
    let (chain, key) = ca.issue("127.0.0.1");
    let write = |name: &str, text: String| {
        let file = program.folder().join(name);
        fs::write(&file, text).expect("the test's folder can be written");
        file.display().to_string()
    };
    let tls = format!("tls: {{certificate: \"{}\", key: \"{}\"}}", write("chain.pem", chain), write("key.pem", key));
    let mirror = program.listeners(&format!("[{{address: \"127.0.0.1:0\", {tls}}}]")).start();
    assert!(mirror.url().starts_with("https://"), "{}", mirror.url());

    let config = || MachineConfig { certs_d: vec![(mirror.host().to_owned(), ca.pem())], ..MachineConfig::behind(mirror.url()) };
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
    takes_some(&Client::Crane(crane.trusting(&ca.pem()), mirror.host().to_owned())).await;

    assert_only_the_mirror_asked(&hub);
    let taken = images.iter().filter(|image| TAKEN.contains(&image.repository.as_str()));
    assert_one_download_a_blob(&hub, taken);
}

async fn takes_some(client: &Client) {
    for repository in TAKEN {
        client.pull(&format!("{repository}:1")).await.expect_success();
    }
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("a CA can be made"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = CertificateParams::new(vec![name.to_owned()]).expect("a name").signed_by(&key, &self.0);
        (certificate.expect("a certificate can be made").pem(), key.serialize_pem())
    }
}

const TAKEN: [&str; 3] = ["library/plain", "library/docker", "acme/secret"];
