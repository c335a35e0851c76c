//! The harness itself: every engine starts, pulls through a mirror, is seen when it goes past it, and leaves nothing behind.
//!
//! The mirror is played by the plain registry of the `distribution` project, filled by crane.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{CertifiedKey, KeyPair};
use tempfile::TempDir;
use tests::engine::{Builder, Containerd, Crane, Dockerd, Machine, MachineConfig, Network, Podman, Release};
use tests::tools;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn docker_20_pulls_runs_and_builds_behind_a_mirror() {
    docker_pulls_runs_and_builds_behind_a_mirror(Release::V20).await;
}

#[tokio::test]
async fn docker_29_pulls_runs_and_builds_behind_a_mirror() {
    docker_pulls_runs_and_builds_behind_a_mirror(Release::V29).await;
}

async fn docker_pulls_runs_and_builds_behind_a_mirror(release: Release) {
    let Some(source) = Source::start().await else { return };
    let Some(docker) = Dockerd::start(release, MachineConfig::behind(source.url())).await else { return };

    docker.pull("tiny:1").await.expect_success();
    assert_eq!(docker.image_digest("tiny:1").await, source.digest);
    assert_eq!(docker.run(["tiny:1"]).await.expect_success(), "hello\n");

    let context = source.folder.path().join("context");
    fs::create_dir(&context).expect("a folder of ours can be made");
    fs::write(context.join("Dockerfile"), "FROM tiny:1\nRUN echo built >/result\nCMD [\"cat\", \"/result\"]\n").expect("it can be written");
    for (builder, tag) in [(Builder::Classic, "classic:1"), (Builder::BuildKit, "buildkit:1")] {
        docker.build(builder, &context, tag).await.expect_success();
        assert_eq!(docker.run([tag]).await.expect_success(), "built\n");
    }

    let file = source.folder.path().join("tiny.tar");
    source.crane.pull(&source.reference(), &file).await.expect_success();
    docker.rmi("tiny:1").await.expect_success();
    docker.load(&file).await.expect_success();

    assert_eq!(docker.machine().take_bypasses(), [""; 0]);
}

#[tokio::test]
async fn docker_takes_a_new_mirror_when_it_reloads() {
    for release in [Release::V20, Release::V29] {
        let Some(source) = Source::start().await else { return };
        let Some(docker) = Dockerd::start(release, MachineConfig::default()).await else { return };
        docker.machine().write("/etc/docker/daemon.json", format!("{{\"registry-mirrors\": [\"{}\"]}}", source.url()));
        docker.reload().await;
        docker.pull("tiny:1").await.expect_success();
    }
}

#[tokio::test]
async fn docker_with_a_bridge_publishes_ports_reaches_our_loopback_and_composes() {
    for release in [Release::V20, Release::V29] {
        let Some(source) = Source::start().await else { return };
        let config = MachineConfig { network: Network::Own, ..MachineConfig::default() };
        let Some(mut docker) = Dockerd::start(release, config).await else { return };
        let mirror = docker.machine_mut().reach(source.address).await;
        let daemon = format!("{{\"registry-mirrors\": [\"http://{mirror}\"], \"insecure-registries\": [\"{mirror}\"]}}");
        docker.machine().write("/etc/docker/daemon.json", daemon);
        docker.reload().await;

        docker.pull("tiny:1").await.expect_success();
        let url = format!("http://{mirror}/v2/");
        assert_eq!(docker.run(["tiny:1", "wget", "-q", "-O-", &url]).await.expect_success(), "{}");

        docker.run(["--detach", "--publish", "80:80", "tiny:1", "httpd", "-f", "-h", "/greeting"]).await.expect_success();
        let page = format!("http://{}/hello", docker.machine().address());
        let greeting = wait_for(async || text_of(&page).await).await;
        assert_eq!(greeting, "hello from a container\n");

        let file = source.folder.path().join("compose.yaml");
        let service = "services:\n  page:\n    image: tiny:1\n    command: httpd -f -h /greeting\n    ports: ['81:80']\n";
        fs::write(&file, service).expect("a file of ours can be written");
        docker.compose_up(&file).await.expect_success();
        let page = format!("http://{}:81/hello", docker.machine().address());
        assert_eq!(wait_for(async || text_of(&page).await).await, "hello from a container\n");
    }
}

#[tokio::test]
async fn podman_skopeo_and_buildah_pull_behind_a_mirror() {
    let Some(source) = Source::start().await else { return };
    let Some(podman) = Podman::start(MachineConfig::behind(source.url())).await else { return };

    podman.pull("docker.io/library/tiny:1").await.expect_success();
    assert_eq!(podman.image_digest("docker.io/library/tiny:1").await, source.digest);
    assert_eq!(podman.run(["docker.io/library/tiny:1"]).await.expect_success(), "hello\n");
    podman.rmi("docker.io/library/tiny:1").await.expect_success();

    let inspected = podman.skopeo(["inspect", "--no-tags", "docker://docker.io/library/tiny:1"]).await.expect_success();
    assert!(inspected.contains(&source.digest), "{inspected}");
    let copy = format!("dir:{}", podman.machine().folder().join("copy").display());
    podman.skopeo(["copy", "docker://docker.io/library/tiny:1", &copy]).await.expect_success();
    podman.buildah(["pull", "docker.io/library/tiny:1"]).await.expect_success();
}

#[tokio::test]
async fn containerd_pulls_behind_a_mirror() {
    let Some(source) = Source::start().await else { return };
    let Some(containerd) = Containerd::start(MachineConfig::behind(source.url())).await else { return };

    containerd.pull("docker.io/library/tiny:1").await.expect_success();
    assert_eq!(containerd.image_digest("docker.io/library/tiny:1").await, source.digest);
    containerd.rmi("docker.io/library/tiny:1").await.expect_success();
    containerd.pull("docker.io/library/tiny:1").await.expect_success();
}

#[tokio::test]
async fn crane_reads_and_validates_an_image() {
    let Some(source) = Source::start().await else { return };
    assert_eq!(source.crane.digest(&source.reference()).await.expect_success().trim(), source.digest);
    assert!(source.crane.manifest(&source.reference()).await.expect_success().contains("sha256:"));
    source.crane.validate(&source.reference()).await.expect_success();
}

#[tokio::test]
async fn every_engine_trusts_a_mirror_by_its_certificate_in_certs_d() {
    let Some(source) = Source::start_with_tls().await else { return };
    for release in [Release::V20, Release::V29] {
        let Some(docker) = Dockerd::start(release, source.config()).await else { return };
        docker.pull("tiny:1").await.expect_success();
    }
    let Some(podman) = Podman::start(source.config()).await else { return };
    podman.pull("docker.io/library/tiny:1").await.expect_success();
    let Some(containerd) = Containerd::start(source.config()).await else { return };
    containerd.pull("docker.io/library/tiny:1").await.expect_success();
}

#[tokio::test]
async fn an_engine_without_a_mirror_reaches_the_hub_of_a_test_and_is_counted() {
    let Some(source) = Source::start_with_tls().await else { return };
    let config = || MachineConfig { roots: vec![source.certificate()], hub: Some(source.address), ..MachineConfig::default() };
    for release in [Release::V20, Release::V29] {
        let Some(docker) = Dockerd::start(release, config()).await else { return };
        docker.pull("tiny:1").await.expect_success();
        assert_asked_the_hub(docker.machine());
    }
    let Some(podman) = Podman::start(config()).await else { return };
    podman.pull("docker.io/library/tiny:1").await.expect_success();
    assert_asked_the_hub(podman.machine());
    let Some(containerd) = Containerd::start(config()).await else { return };
    containerd.pull("docker.io/library/tiny:1").await.expect_success();
    assert_asked_the_hub(containerd.machine());
}

#[tokio::test]
async fn an_engine_that_goes_past_a_mirror_is_seen() {
    let nobody = || MachineConfig::behind(format!("http://{}", free_address()));
    let Some(docker) = Dockerd::start(Release::V20, nobody()).await else { return };
    docker.pull("tiny:1").await.expect_failure();
    assert_asked_the_hub(docker.machine());
    let Some(docker) = Dockerd::start(Release::V29, nobody()).await else { return };
    docker.pull("tiny:1").await.expect_failure();
    assert_asked_the_hub(docker.machine());
    let Some(podman) = Podman::start(nobody()).await else { return };
    podman.pull("docker.io/library/tiny:1").await.expect_failure();
    assert_asked_the_hub(podman.machine());
    let Some(containerd) = Containerd::start(nobody()).await else { return };
    containerd.pull("docker.io/library/tiny:1").await.expect_failure();
    assert_asked_the_hub(containerd.machine());
}

fn assert_asked_the_hub(machine: &Machine) {
    let seen = machine.take_bypasses();
    assert!(seen.iter().any(|name| name == "registry-1.docker.io"), "{seen:?}");
}

/// A registry with one image, `library/tiny:1`: a busybox that says hello.
struct Source {
    address: SocketAddr,
    digest: String,
    certificate: Option<String>,
    crane: Crane,
    folder: TempDir,
    registry: Child,
}

impl Source {
    /// Over plain HTTP.
    async fn start() -> Option<Self> {
        Self::start_with(None).await
    }

    /// Over TLS, with a certificate of its own for `127.0.0.1` and the Hub's name.
    async fn start_with_tls() -> Option<Self> {
        let names = vec!["127.0.0.1".to_owned(), "registry-1.docker.io".to_owned()];
        Self::start_with(Some(rcgen::generate_simple_self_signed(names).expect("a key can be made"))).await
    }

    async fn start_with(pair: Option<CertifiedKey<KeyPair>>) -> Option<Self> {
        let [program, busybox] = tools::require_all(["registry-3", "busybox"])?;
        let folder = TempDir::new().expect("a folder can be made");
        let certificate = pair.as_ref().map(|pair| pair.cert.pem());
        let crane = Crane::find()?;
        let crane = certificate.iter().fold(crane, |crane, pem| crane.trusting(pem));
        let address = free_address();
        let registry = serve(&program, folder.path(), address, pair);
        let mut source = Self { address, digest: String::new(), certificate, crane, folder, registry };
        wait_for(async || TcpStream::connect(address).await.ok()).await;
        let layer = layer(&busybox, source.folder.path());
        let pushed = source.crane.append(&source.reference(), &[&layer], &["/bin/sh", "-c", "echo hello"]).await.expect_success();
        pushed.trim().rsplit_once('@').expect("crane says the digest").1.clone_into(&mut source.digest);
        Some(source)
    }

    fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    fn certificate(&self) -> String {
        self.certificate.clone().expect("it was started with TLS")
    }

    /// A machine with this mirror, and its certificate where engines look for a registry's own.
    fn config(&self) -> MachineConfig {
        MachineConfig { certs_d: vec![(self.address.to_string(), self.certificate())], ..MachineConfig::behind(self.url()) }
    }

    fn reference(&self) -> String {
        format!("{}/library/tiny:1", self.address)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

fn serve(program: &Path, folder: &Path, address: SocketAddr, pair: Option<CertifiedKey<KeyPair>>) -> Child {
    let write = |name: &str, text: String| {
        let file = folder.join(name);
        fs::write(&file, text).expect("a file of ours can be written");
        file.display().to_string()
    };
    let tls = pair.map(|pair| {
        let certificate = write("certificate.pem", pair.cert.pem());
        let key = write("key.pem", pair.signing_key.serialize_pem());
        format!(", tls: {{certificate: {certificate}, key: {key}}}")
    });
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"{}}}\n",
        folder.join("store").display(),
        tls.unwrap_or_default()
    );
    let log = fs::File::create(folder.join("log")).expect("a file of ours can be made");
    let mut command = Command::new(program);
    command.arg("serve").arg(write("config.yml", config)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the registry starts")
}

/// A layer with busybox and its names, as a tar file.
fn layer(busybox: &Path, folder: &Path) -> std::path::PathBuf {
    let script = r#"
        mkdir -p "$1/root/bin" "$1/root/greeting"
        cp "$0" "$1/root/bin/busybox"
        for name in sh cat echo wget httpd; do ln -s busybox "$1/root/bin/$name"; done
        echo hello from a container >"$1/root/greeting/hello"
        tar -C "$1/root" -cf "$1/layer.tar" .
    "#;
    let made = Command::new("sh").args(["-euc", script]).arg(busybox).arg(folder).status().expect("sh starts");
    assert!(made.success(), "the layer can be made");
    folder.join("layer.tar")
}

/// An address of ours on which nobody listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("a listener has an address")
}

async fn text_of(url: &str) -> Option<String> {
    // A provider may be there already: tests share a process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    client.get(url).send().await.ok()?.error_for_status().ok()?.text().await.ok()
}

/// Asks until there is an answer.
async fn wait_for<T>(mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = timeout(Duration::from_mins(1), async {
        loop {
            if let Some(answer) = question().await {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    answer.await.expect("an answer within a minute")
}
