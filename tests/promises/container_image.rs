//! The container image: real engines load it, and what people write for the `registry` image starts it, with only the image's name changed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tests::client::Client;
use tests::container_image::Archive;
use tests::engine::{Containerd, Dockerd, MachineConfig, Network, Podman, Release};
use tests::hub::{Hub, Kind, MIB, noise, on};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn podman_skopeo_and_containerd_take_the_image_too() {
    let archive = Archive::get().await;
    let file = archive.file().display().to_string();
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let loaded = podman.podman(["load", "--input", &file]).await.expect_success();
    assert!(loaded.contains("docker.io/library/chandler:latest"), "{loaded}");
    assert!(podman.run(["chandler", "--version"]).await.expect_success().starts_with("chandler "));
    for (number, transport) in ["oci-archive", "docker-archive"].into_iter().enumerate() {
        let copy = format!("dir:{}", podman.machine().folder().join(number.to_string()).display());
        podman.skopeo(["copy", &format!("{transport}:{file}"), &copy]).await.expect_success();
    }
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    containerd.ctr(["images", "import", &file]).await.expect_success();
    containerd.image_digest("docker.io/library/chandler:latest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_line_puts_private_images_behind_docker_20() {
    the_classic_line_puts_private_images_behind(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_line_puts_private_images_behind_docker_29() {
    the_classic_line_puts_private_images_behind(Release::V29).await;
}

async fn the_classic_line_puts_private_images_behind(release: Release) {
    let Some(site) = Site::start(release).await else { return };
    site.docker_run(&format!(
        "-d -p 80:5000 --restart=always --name=through-cache -e REGISTRY_PROXY_REMOTEURL={} \
         -e REGISTRY_PROXY_USERNAME=ci -e REGISTRY_PROXY_PASSWORD=s3cret chandler",
        site.hub.url()
    ))
    .await;
    let mirror = format!("http://{}", site.docker.machine().address());
    wait_until_it_serves(&mirror, None).await;
    // Its program is linked for the image alone: on other machines it may crash.
    assert_eq!(Client::new(&mirror).get("/chandler/bin/linux-amd64").await.status, 404);
    let Some(client) = Dockerd::start(release, MachineConfig::behind(&mirror)).await else { return };
    client.pull("acme/app:1").await.expect_success();
    assert_eq!(site.hub.count().of(on(Kind::Cdn)), site.blobs);

    // What was stored outlives the container's process, in the volume that the image declares.
    site.docker.docker(["restart", "through-cache"]).await.expect_success();
    wait_until_it_serves(&mirror, None).await;
    client.rmi("acme/app:1").await.expect_success();
    client.pull("acme/app:1").await.expect_success();
    assert_eq!(site.hub.count().of(on(Kind::Cdn)), site.blobs, "a blob was fetched again");
    let volumes = site.inspect("{{range .Mounts}}{{.Type}} {{.Destination}}{{end}}").await;
    assert_eq!(volumes, "volume /var/lib/registry");

    // SIGTERM, and SIGKILL ten seconds later, which the exit code would tell: even a download that stands still ends before.
    site.hub.forget();
    let stuck = site.hub.put_blob("library/busybox", noise(9, MIB));
    let _gate = site.hub.hold_at(100_000, on(Kind::Cdn));
    let pull = tokio::spawn({
        let blob = format!("/v2/library/busybox/blobs/{stuck}");
        async move { Client::new(&mirror).get(&blob).await }
    });
    site.hub.wait_for(|counts| counts.bytes(on(Kind::Cdn)) == 100_000).await;
    site.docker.docker(["stop", "through-cache"]).await.expect_success();
    assert_eq!(site.inspect("{{.State.Status}} {{.State.ExitCode}}").await, "exited 0");
    assert!(pull.await.expect("no panic").body.is_err(), "it was cut, and the client knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_line_with_a_certificate_serves_https() {
    for release in [Release::V20, Release::V29] {
        let Some(site) = Site::start(release).await else { return };
        let folder = site.docker.machine().folder().join("tls");
        let host = site.docker.machine().address().to_string();
        let ca = write_pair(&folder, &host, "fullchain.pem", "privkey.pem");
        // The Hub by names: one from a DNS server, one from /etc/hosts. A static program resolves both.
        let names = answer_dns(site.docker.machine().outside()).await;
        let port = site.hub.address(tests::hub::Host::Registry).port();
        site.docker_run(&format!(
            "-d -p 443:5000 --restart=always --name=through-cache -v {}:/data/tls --dns {} -e REGISTRY_PROXY_REMOTEURL=http://{NAMED}:{port} \
             -e REGISTRY_PROXY_USERNAME=ci -e REGISTRY_PROXY_PASSWORD=s3cret -e REGISTRY_HTTP_TLS_CERTIFICATE=/data/tls/fullchain.pem \
             -e REGISTRY_HTTP_TLS_KEY=/data/tls/privkey.pem chandler",
            folder.display(),
            names.address,
        ))
        .await;
        let mirror = format!("https://{host}");
        wait_until_it_serves(&mirror, Some(&ca)).await;
        let config = MachineConfig { certs_d: vec![(host.clone(), ca)], ..MachineConfig::behind(&mirror) };
        let Some(client) = Dockerd::start(release, config).await else { return };
        client.pull("acme/app:1").await.expect_success();
        assert_eq!(site.hub.count().of(on(Kind::Cdn)), site.blobs);
    }
}

/// The files of a widely read Japanese article, with `registry:2.1` replaced, and the Hub.
#[tokio::test(flavor = "multi_thread")]
async fn a_compose_service_with_its_folder_and_config_file_starts_the_mirror() {
    for release in [Release::V20, Release::V29] {
        let Some(site) = Site::start(release).await else { return };
        let folder = site.docker.machine().folder().join("docker-registry");
        let host = site.docker.machine().address().to_string();
        let ca = write_pair(&folder.join("certs"), &host, "proxy.altus5.local.pem", "proxy.altus5.local-key.pem");
        fs::create_dir(folder.join("data")).expect("a folder of ours can be made");
        let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("a file of ours can be written");
        let port = site.hub.address(tests::hub::Host::Registry).port();
        write("data/config.yml", CONFIG_YML.replace("https://registry-1.docker.io", &format!("http://{NAMED}:{port}")));
        let compose = COMPOSE_YML.replace("registry:2.1", "chandler").replace("ADDRESS", &site.docker.machine().outside().to_string());
        write("docker-compose.yml", compose);
        site.docker.compose_up(&folder.join("docker-compose.yml")).await.expect_success();
        let mirror = format!("https://{host}:5000");
        wait_until_it_serves(&mirror, Some(&ca)).await;
        let config = MachineConfig { certs_d: vec![(format!("{host}:5000"), ca)], ..MachineConfig::behind(&mirror) };
        let Some(client) = Dockerd::start(release, config).await else { return };
        client.pull("busybox:1").await.expect_success();
        assert!(folder.join("data/blobs/sha256").is_dir(), "the content is in the service's folder");
    }
}

/// A machine whose engine has loaded the image, and a Hub that its containers reach.
struct Site {
    docker: Dockerd,
    hub: Hub,
    /// Of the private image `acme/app:1`.
    blobs: u64,
}

impl Site {
    async fn start(release: Release) -> Option<Self> {
        let docker = Dockerd::start(release, MachineConfig { network: Network::Own, ..MachineConfig::default() }).await?;
        let hub = Hub::builder().listen(SocketAddr::new(docker.machine().outside(), 0)).start().expect("the cable's end has free ports");
        hub.image("library/busybox").tag("1").push();
        hub.private("acme/app");
        hub.add_account("ci", "s3cret");
        hub.allow("ci", "acme/app");
        let image = hub.image("acme/app").tag("1").layers([5000, 300_000]).push();
        let archive = Archive::get().await;
        let loaded = docker.load(&archive.file()).await.expect_success();
        assert!(loaded.contains("chandler:latest"), "{loaded}");
        Some(Self { docker, hub, blobs: image.blobs().count() as u64 })
    }

    async fn docker_run(&self, arguments: &str) {
        self.docker.docker(["run"].into_iter().chain(arguments.split_whitespace())).await.expect_success();
    }

    async fn inspect(&self, format: &str) -> String {
        self.docker.docker(["inspect", "--format", format, "through-cache"]).await.expect_success().trim().to_owned()
    }
}

/// Writes a chain and its key, and returns the CA.
fn write_pair(folder: &Path, host: &str, chain: &str, key: &str) -> String {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key can be made")).expect("a certificate can be made");
    let pair = KeyPair::generate().expect("a key can be made");
    let leaf = CertificateParams::new(vec![host.to_owned()]).expect("an address").signed_by(&pair, &ca).expect("a certificate can be made");
    fs::create_dir_all(folder).expect("a folder of ours can be made");
    fs::write(folder.join(chain), leaf.pem() + &ca.pem()).expect("a file of ours can be written");
    fs::write(folder.join(key), pair.serialize_pem()).expect("a file of ours can be written");
    ca.pem()
}

/// Asks as people do, with a plain GET of `/v2/`.
async fn wait_until_it_serves(mirror: &str, ca: Option<&str>) {
    // A provider may be there already: tests share a process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trusted = ca.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).expect("PEM"));
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only(trusted).build().expect("a client");
    let served = timeout(Duration::from_mins(1), async {
        while !client.get(format!("{mirror}/v2/")).send().await.is_ok_and(|answer| answer.status() == 200) {
            sleep(Duration::from_millis(20)).await;
        }
    });
    served.await.unwrap_or_else(|_| panic!("{mirror} does not serve within a minute"));
}

/// A DNS server for [`NAMED`], as long as it is kept.
struct Names {
    address: IpAddr,
    _task: tokio::task::JoinSet<()>,
}

/// Says that [`NAMED`] is at `address`, and that nothing else is anywhere.
async fn answer_dns(address: IpAddr) -> Names {
    let IpAddr::V4(v4) = address else { panic!("cables have IPv4 addresses") };
    let socket = UdpSocket::bind((address, 53)).await.expect("nobody else is at the end of a cable");
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query).await {
            let reply = reply(&query[..length], v4);
            // A client that left asks again, or not.
            let _ = socket.send_to(&reply, client).await;
        }
    });
    Names { address, _task: task }
}

/// A reply to a query of one question (RFC 1035, 4.1): its question again, and one answer of type A.
fn reply(query: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
    let (question, kind) = (&query[12..name_end + 4], &query[name_end..name_end + 2]);
    let asked: Vec<u8> = NAMED.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect();
    let known = query[12..name_end] == asked;
    let answers = u8::from(known && kind == [0, 1]);
    let mut reply = [&query[..2], &[0x85, if known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

/// A name of the test Hub.
const NAMED: &str = "hub.example.test";

const COMPOSE_YML: &str = "\
version: '2'
services:
  registry:
    restart: always
    image: registry:2.1
    ports:
      - 5000:5000
    volumes:
      - ./data:/var/lib/registry
      - ./data/config.yml:/etc/docker/registry/config.yml
      - ./certs:/certs
    extra_hosts: ['hub.example.test:ADDRESS']
";
const CONFIG_YML: &str = "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  tls:
    certificate: /certs/proxy.altus5.local.pem
    key: /certs/proxy.altus5.local-key.pem
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
proxy:
  remoteurl: https://registry-1.docker.io
";
