//! "'The mirror is used' is proved by a pull that only the mirror can answer, never assumed": whatever is wrong with a mirror, Docker goes to the Hub and says nothing. `chandler verify` and
//! `chandler doctor` name it.

use std::net::{IpAddr, TcpListener};

use tempfile::TempDir;
use tests::engine::{Dockerd, MachineConfig, Network, Release};
use tests::hub::{Auth, Host, Hub};
use tests::program::Program;

use super::behind::chandler;
use super::secure::ca;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_refuses_this_machine_is_named_and_pulls_go_on() {
    let Some(site) = Site::start().await else { return };
    let mirror = Program::of_hub(&site.near.url()).listeners(&site.listener("")).config("access: 10.255.0.0/16").start();
    site.is_named(&[mirror.url()], "refuses this machine (403)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_whose_ca_this_machine_does_not_know_is_named_and_pulls_go_on() {
    let Some(site) = Site::start().await else { return };
    let mirror = site.secure(&site.address.to_string());
    site.is_named(&[mirror.url()], "does not know the CA of its certificate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_with_another_name_in_its_certificate_is_named_and_pulls_go_on() {
    let Some(site) = Site::start().await else { return };
    let mirror = site.secure("mirror.ci.test");
    let roots = site.files.path().join("trust/ca.pem").display().to_string();
    site.is_named(&[mirror.url(), "--ca", &roots], &format!("its certificate is for other names than {}", site.address)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_hangs_is_named_and_pulls_go_on() {
    let Some(site) = Site::start().await else { return };
    let silent = TcpListener::bind((site.address, 0)).expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    site.is_named(&[&url], "does not answer within").await;
}

/// Docker 20.10 on a network of its own, beyond which there are mirrors, and a Hub that it can reach.
struct Site {
    address: IpAddr,
    docker: Dockerd,
    files: TempDir,
    near: Hub,
    _truth: Hub,
}

impl Site {
    async fn start() -> Option<Self> {
        let truth = Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports");
        truth.set(|settings| (settings.auth, settings.redirects) = (Auth::Open, false));
        truth.image("library/plain").tag("1").push();
        let roots = vec![truth.ca_pem().expect("it speaks TLS").to_owned()];
        let hub = Some(truth.address(Host::Registry));
        let config = MachineConfig { network: Network::Own, roots, hub, ..MachineConfig::default() };
        let docker = Dockerd::start(Release::V20, config).await?;
        let address = docker.machine().outside();
        let files = TempDir::with_prefix("chandler-ca-").expect("a folder");
        Some(Self { address, docker, files, near: Hub::start(), _truth: truth })
    }

    fn listener(&self, tls: &str) -> String {
        format!("[{{address: \"{}:0\"{tls}}}]", self.address)
    }

    /// A mirror with a certificate of a private CA for this name.
    fn secure(&self, name: &str) -> Program {
        let folder = self.files.path();
        ca(folder, &format!("init --permit {},ci.test", self.address));
        ca(folder, &format!("issue {name} --output ."));
        ca(folder, &format!("export {name} --out trust"));
        let file = |name: &str| folder.join(name).display().to_string();
        let tls = format!(", tls: {{certificate: \"{}\", key: \"{}\"}}", file("fullchain.pem"), file("privkey.pem"));
        Program::of_hub(&self.near.url()).listeners(&self.listener(&tls)).config("access: open").start()
    }

    async fn is_named(&self, mirror: &[&str], what: &str) {
        let with = |verb| [&[verb, "--mirror"], mirror].concat();
        chandler(&self.docker, &with("apply")).await.expect_success();
        for verb in ["verify", "doctor"] {
            let said = chandler(&self.docker, &with(verb)).await.expect_failure();
            assert!(said.contains("the mirror is not used") && said.contains(what) && said.contains("mend: "), "{verb}: {said}");
        }
        self.docker.pull("library/plain:1").await.expect_success();
        chandler(&self.docker, &["undo"]).await.expect_success();
    }
}
