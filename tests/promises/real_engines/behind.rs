//! "Every change to a machine is shown before, applied atomically, verified by what the engine *does*, and undone to the byte." "No running job is disturbed." "'The mirror is used' is proved by a pull that
//! only the mirror can answer, never assumed."
//!
//! Docker, looked at, planned for, reloaded and verified by the library's parts, on its own machine; what a person types comes with the command line.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::engine::{Answer, Builder, Dockerd, MachineConfig, Network, Release};
use tests::hub::{Auth, Host, Hub};
use tests::program::{Program, program_path};

use super::secure::ca;
use super::{ACCOUNT, Site, stock};

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_is_put_behind_the_mirror_and_back_while_a_container_runs() {
    is_put_behind_and_back(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_is_put_behind_the_mirror_and_back_while_a_container_runs() {
    is_put_behind_and_back(Release::V29).await;
}

async fn is_put_behind_and_back(release: Release) {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(release, MachineConfig::default()).await else { return };
    let direct = format!("{}/library/plain:1", site.tap.host());
    docker.pull(&direct).await.expect_success();
    let started = ["run", "--detach", "--interactive", "--network", "none", "--entrypoint", "/bin/sh", &direct, "-c", "read line"];
    let container = docker.docker(started).await.expect_success().trim().to_owned();
    let (pid, before) = (pid(&docker), daemon_json(&docker));
    let mirror = format!("http://{}", site.tap.host());

    let shown = agent(&docker, &["plan", &mirror]).await.expect_success();
    assert_eq!(daemon_json(&docker), before, "a plan changes nothing");
    assert!(shown.contains("write /etc/docker/daemon.json") && shown.contains("reload"), "{shown}");
    agent(&docker, &["apply", &mirror]).await.expect_success();
    docker.pull("acme/secret:1").await.expect_success();
    let proof = agent(&docker, &["verify", &mirror]).await.expect_success();
    assert!(proof.contains("Served("), "{proof}");
    let images = docker.docker(["images", "--no-trunc"]).await.expect_success();
    assert!(!images.contains("canary"), "{images}");
    let again = agent(&docker, &["apply", &mirror]).await.expect_success();
    assert!(!again.contains("write") && !again.contains("reload"), "a second apply does nothing: {again}");

    // The way back: the empty list that the engine needs, then what was there.
    let folder = docker.machine().folder();
    fs::write(folder.join("original"), &before).expect("it can be written");
    let back = agent(&docker, &["set", &folder.join("original").display().to_string()]).await.expect_success();
    assert!(back.contains("shows []"), "{back}");
    let hosts = docker.machine().inside("/etc/docker/certs.d/docker.io/hosts.toml");
    assert_eq!(fs::remove_file(hosts).is_ok(), release == Release::V29, "only the newer one is told of its mirrors there");
    assert_eq!(daemon_json(&docker), before);
    let proof = agent(&docker, &["verify", &mirror]).await.expect_success();
    assert!(proof.contains("Failed"), "there is no mirror any more: {proof}");
    docker.machine().take_bypasses();

    assert_eq!(self::pid(&docker), pid, "dockerd is the same process");
    let state = docker.docker(["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
    docker.docker(["rm", "--force", &container]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_that_keeps_its_old_file_is_not_believed_and_says_what_it_has() {
    let said = refuses(Release::V20).await;
    assert!(
        said.is_none_or(|said| said.contains("did not say that it did")
            && said.contains("no mirrors")
            && said.contains("its log says why"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_that_would_refuse_its_file_is_not_even_told() {
    let said = refuses(Release::V29).await;
    assert!(said.is_none_or(|said| said.contains("dockerd refuses /etc/docker/daemon.json") && said.contains("no-such-key")));
}

/// What is said of a file that is well formed and that dockerd does not take.
async fn refuses(release: Release) -> Option<String> {
    let docker = Dockerd::start(release, MachineConfig::default()).await?;
    let file = docker.machine().folder().join("odd");
    fs::write(&file, "{\"no-such-key\": 1, \"registry-mirrors\": [\"http://127.0.0.1:9\"]}").expect("it can be written");
    Some(agent(&docker, &["set", &file.display().to_string()]).await.expect_failure())
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_is_admitted_to_a_mirror_with_a_private_ca() {
    is_admitted(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_is_admitted_to_a_mirror_with_a_private_ca() {
    is_admitted(Release::V29).await;
}

/// Over a network, where Docker asks whose certificate a mirror has, and shows its own.
async fn is_admitted(release: Release) {
    let hub = Hub::start();
    hub.image("library/plain").tag("1").push();
    let Some(docker) = Dockerd::start(release, MachineConfig { network: Network::Own, ..MachineConfig::default() }).await else { return };
    let address = docker.machine().outside();
    let folder = TempDir::with_prefix("chandler-ca-").expect("a folder");
    ca(folder.path(), &format!("init --permit {address},ci.test"));
    ca(folder.path(), &format!("issue {address} --output ."));
    ca(folder.path(), "issue runner-1.ci.test --client --output client");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!("tls: {{certificate: \"{}\", key: \"{}\"}}", file("fullchain.pem"), file("privkey.pem"));
    let access =
        format!("access: [{{clients: [\"runner-*.ci.test\"]}}]\nclients: {{ca: [private]}}\nacme: {{path: \"{}\"}}", file("state"));
    let mirror = Program::of_hub(&hub.url()).listeners(&format!("[{{address: \"{address}:0\", {tls}}}]")).config(&access).start();
    ca(folder.path(), &format!("export {} --out trust", mirror.host()));
    let anchors = file(&format!("trust/etc/docker/certs.d/{}/ca.crt", mirror.host()));
    let (chain, key) = (file("client/fullchain.pem"), file("client/privkey.pem"));
    let with = |verb| [verb, "--ca", &anchors, "--client", &chain, &key, mirror.url()].map(str::to_owned);

    let wish = with("apply");
    agent(&docker, &wish.each_ref().map(String::as_str)).await.expect_success();
    docker.pull("library/plain:1").await.expect_success();
    let wish = with("verify");
    let proof = agent(&docker, &wish.each_ref().map(String::as_str)).await.expect_success();
    assert!(proof.contains("Served("), "{proof}");
    let wish = with("apply");
    let again = agent(&docker, &wish.each_ref().map(String::as_str)).await.expect_success();
    assert!(!again.contains("write") && !again.contains("reload"), "{again}");
    let key = docker.machine().inside(&format!("/etc/docker/certs.d/{}/chandler.key", mirror.host()));
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(key).expect("it is there").permissions()) & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_pulls_and_builds_over_plain_http_from_another_machine() {
    uses_plain_http(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_pulls_and_builds_over_plain_http_from_another_machine() {
    uses_plain_http(Release::V29).await;
}

async fn uses_plain_http(release: Release) {
    let hub = Hub::start();
    if stock(&hub).is_none() {
        return;
    }
    let Some(docker) = Dockerd::start(release, MachineConfig { network: Network::Own, ..MachineConfig::default() }).await else { return };
    let listener = format!("[{{address: \"{}:0\"}}]", docker.machine().outside());
    let mirror = Program::of_hub(&hub.url()).account(ACCOUNT, "secret").listeners(&listener).config("access: open").start();
    let shown = agent(&docker, &["apply", mirror.url()]).await.expect_success();
    assert!(shown.contains("is plain http"), "{shown}");
    let proof = agent(&docker, &["verify", mirror.url()]).await.expect_success();
    assert!(proof.contains("Served("), "{proof}");
    let context = TempDir::new().expect("a folder can be made");
    // The BuildKit inside of the older one keeps the mirrors of its start.
    assert_eq!(shown.contains("BuildKit inside of it"), release == Release::V20, "{shown}");
    let builders = [Builder::Classic, Builder::BuildKit];
    for builder in builders.into_iter().take(if release == Release::V20 { 1 } else { 2 }) {
        fs::write(context.path().join("Dockerfile"), "FROM acme/secret:1\nLABEL built=yes\n").expect("it can be written");
        docker.build(builder, context.path(), "built:1").await.expect_success();
        docker.rmi("built:1").await.expect_success();
        docker.rmi("acme/secret:1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_gone_proves_nothing_though_pulls_go_on() {
    let (near, truth) = (Hub::start(), Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports"));
    truth.set(|settings| (settings.auth, settings.redirects) = (Auth::Open, false));
    truth.image("library/plain").tag("1").push();
    let roots = vec![truth.ca_pem().expect("it speaks TLS").to_owned()];
    let config = MachineConfig { roots, hub: Some(truth.address(Host::Registry)), ..MachineConfig::default() };
    let Some(docker) = Dockerd::start(Release::V29, config).await else { return };
    let mut mirror = Program::of_hub(&near.url()).start();
    let url = mirror.url().to_owned();
    agent(&docker, &["apply", &url]).await.expect_success();
    mirror.stop();
    let proof = agent(&docker, &["verify", &url]).await.expect_success();
    assert!(proof.contains("Failed") && proof.contains("refused"), "{proof}");
    docker.pull("library/plain:1").await.expect_success();
}

/// By `registry-mirrors` alone it would not: there one client serves the mirror, which on loopback may have any certificate, and the Hub.
#[tokio::test(flavor = "multi_thread")]
async fn docker_29_behind_a_mirror_on_loopback_still_asks_whose_certificate_the_hub_has() {
    let (near, stranger) = (Hub::start(), Hub::builder().tls().name("registry-1.docker.io").start().expect("loopback has free ports"));
    stranger.set(|settings| (settings.auth, settings.redirects) = (Auth::Open, false));
    stranger.image("library/plain").tag("1").push();
    let config = MachineConfig { hub: Some(stranger.address(Host::Registry)), ..MachineConfig::default() };
    let Some(docker) = Dockerd::start(Release::V29, config).await else { return };
    let mirror = Program::of_hub(&near.url()).start();
    agent(&docker, &["apply", mirror.url()]).await.expect_success();
    docker.pull("library/plain:1").await.expect_failure();
    assert!(docker.machine().log().contains("registry-1.docker.io/v2/library/plain/manifests/1\\\": tls: failed to verify certificate"));
    assert!(stranger.count().all().is_empty(), "{}", stranger.count().summary());
}

/// Runs the library's parts on the engine's machine.
async fn agent(docker: &Dockerd, arguments: &[&str]) -> Answer {
    let program = program_path().with_file_name("docker-engine");
    let mut command = docker.machine().command(&program);
    command.args(arguments);
    Answer::of(&mut command).await
}

fn pid(docker: &Dockerd) -> String {
    fs::read_to_string(docker.machine().folder().join("pid")).expect("dockerd writes it")
}

fn daemon_json(docker: &Dockerd) -> Vec<u8> {
    let path: PathBuf = docker.machine().inside("/etc/docker/daemon.json");
    fs::read(Path::new(&path)).expect("the harness writes it")
}
