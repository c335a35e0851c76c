//! A mirror on the node itself: the engine asks it over plain HTTP on loopback, and it asks the site's mirror, over HTTPS with a private CA, which asks the Hub. No job has a login.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tests::engine::{Dockerd, MachineConfig, Release};
use tests::hub::{Auth, Host, Hub};
use tests::program::program_path;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::behind::chandler;
use super::secure::mirror_of;
use super::stock;

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_pulls_through_two_mirrors_and_goes_on_without_the_sites() {
    goes_through_both(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_pulls_through_two_mirrors_and_goes_on_without_the_sites() {
    goes_through_both(Release::V29).await;
}

async fn goes_through_both(release: Release) {
    let (near, truth) = (Hub::start(), Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports"));
    if stock(&near).is_none() {
        return;
    }
    truth.set(|settings| (settings.auth, settings.redirects) = (Auth::Open, false));
    truth.image("library/elsewhere").tag("1").push();
    let roots = vec![truth.ca_pem().expect("it speaks TLS").to_owned()];
    let config = MachineConfig { roots, hub: Some(truth.address(Host::Registry)), ..MachineConfig::default() };
    let Some(docker) = Dockerd::start(release, config).await else { return };
    let before = fs::read(docker.machine().inside("/etc/docker/daemon.json")).expect("the harness writes it");
    let (mut site, exported) = mirror_of(&near);
    let local = local(&docker, site.url(), &exported).await;

    chandler(&docker, &["apply", "--local"]).await.expect_success();
    docker.pull("acme/secret:1").await.expect_success();
    let proof = chandler(&docker, &["verify", "--local"]).await.expect_success();
    assert!(proof.contains(&format!("good  Docker pulls through {local}\n")), "{proof}");
    assert!(proof.contains(&format!("good  the mirror at {local} pulls through {}\n", site.url())), "{proof}");

    let gone = site.url().to_owned();
    assert!(site.stop().success());
    docker.rmi("acme/secret:1").await.expect_success();
    docker.pull("acme/secret:1").await.expect_success();
    docker.pull("library/elsewhere:1").await.expect_success();
    let said = chandler(&docker, &["verify", "--local"]).await.expect_failure();
    assert!(said.contains(&format!("good  Docker pulls through {local}\n")), "{said}");
    assert!(said.contains(&format!("gets nothing from {gone}")) && said.contains("nobody listens at"), "{said}");

    chandler(&docker, &["undo"]).await.expect_success();
    assert_eq!(fs::read(docker.machine().inside("/etc/docker/daemon.json")).expect("it is there"), before);
}

/// A mirror on the engine's machine, by the configuration that is installed for it.
async fn local(docker: &Dockerd, site: &str, ca: &str) -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound").port();
    let tree = TempDir::with_prefix("chandler-tree-").expect("a folder");
    for folder in ["etc/systemd/system", "etc/sysusers.d", "usr/local/bin", "var/lib"] {
        fs::create_dir_all(tree.path().join(folder)).expect("made");
    }
    fs::write(tree.path().join("etc/passwd"), "chandler:x:998:998::/var/lib/chandler:/usr/sbin/nologin\n").expect("written");
    let pem = tree.path().join("site.pem");
    fs::write(&pem, ca).expect("written");
    let mut install = Command::new(program_path());
    install.args(["install", "mirror", "--local", "--mirror", site, "--listen", &format!("127.0.0.1:{port}"), "--ca"]).arg(pem);
    let said = install.arg("--root").arg(tree.path()).output().expect("it starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    for file in ["/etc/chandler/mirror.yaml", "/etc/chandler/site-ca.pem"] {
        docker.machine().write(file, fs::read(tree.path().join(&file[1..])).expect("it was put there"));
    }
    let mut mirror = docker.machine().command(&program_path());
    mirror.arg("mirror").arg("--store").arg(docker.machine().folder().join("mirror"));
    mirror.env("CHANDLER_ADMIN_ADDRESS", "127.0.0.1:0").env("CHANDLER_STORE_MIN_FREE", "1MiB");
    let log = fs::File::create(docker.machine().folder().join("mirror.log")).expect("a file");
    // It ends with the machine.
    mirror.stdout(log.try_clone().expect("shared")).stderr(log).spawn().expect("it starts");
    let until = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < until, "{}", fs::read_to_string(docker.machine().folder().join("mirror.log")).unwrap_or_default());
        sleep(Duration::from_millis(20)).await;
    }
    format!("http://127.0.0.1:{port}")
}
