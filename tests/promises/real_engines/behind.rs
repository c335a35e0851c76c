//! "Every change to a machine is shown before, applied atomically, verified by what the engine *does*, and undone to the byte." "No running job is disturbed." "'The mirror is used' is proved by a pull that
//! only the mirror can answer, never assumed."
//!
//! Docker, put behind the mirror and taken out again by the real program on the engine's own machine.

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

    let shown = chandler(&docker, &["plan", "--mirror", &mirror]).await.expect_success();
    assert_eq!(daemon_json(&docker), before, "a plan changes nothing");
    assert!(shown.contains("+++ /etc/docker/daemon.json") && shown.contains("reload Docker"), "{shown}");
    assert_eq!(chandler(&docker, &["plan", "--check", "--mirror", &mirror]).await.status.code(), Some(3));
    chandler(&docker, &["apply", "--mirror", &mirror]).await.expect_success();
    docker.pull("acme/secret:1").await.expect_success();
    let proof = chandler(&docker, &["verify", "--mirror", &mirror]).await.expect_success();
    assert!(proof.contains("good  Docker pulls through"), "{proof}");
    let images = docker.docker(["images", "--no-trunc"]).await.expect_success();
    assert!(!images.contains("canary"), "{images}");
    assert_eq!(chandler(&docker, &["apply", "--mirror", &mirror]).await.expect_success(), "", "a second apply does nothing");
    assert_eq!(chandler(&docker, &["plan", "--check", "--mirror", &mirror]).await.status.code(), Some(0));
    chandler(&docker, &["doctor", "--mirror", &mirror]).await.expect_success();

    chandler(&docker, &["undo"]).await.expect_success();
    assert!(!docker.machine().inside("/etc/docker/certs.d/docker.io/hosts.toml").exists());
    assert_eq!(daemon_json(&docker), before);
    assert!(!docker.machine().inside("/var/lib/chandler/agent/record.json").exists(), "nothing of ours is left");
    let said = chandler(&docker, &["verify", "--mirror", &mirror]).await.expect_failure();
    assert!(said.contains("does not pull through the mirror"), "{said}");
    docker.machine().take_bypasses();

    assert_eq!(self::pid(&docker), pid, "dockerd is the same process");
    let state = docker.docker(["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
    docker.docker(["rm", "--force", &container]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_that_does_not_take_its_file_has_the_old_one_again() {
    is_put_back(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_that_does_not_take_its_file_has_the_old_one_again() {
    is_put_back(Release::V29).await;
}

/// A file that somebody left, well formed, with a key that dockerd refuses.
async fn is_put_back(release: Release) {
    let Some(docker) = Dockerd::start(release, MachineConfig::default()).await else { return };
    let odd = "{\"no-such-key\": 1}\n";
    docker.machine().write("/etc/docker/daemon.json", odd);
    let said = chandler(&docker, &["apply", "--mirror", "http://127.0.0.1:9"]).await.expect_failure();
    assert!(said.contains("Docker is left as it was"), "{said}");
    assert_eq!(daemon_json(&docker), odd.as_bytes());
    chandler(&docker, &["undo"]).await.expect_success();
    assert_eq!(daemon_json(&docker), odd.as_bytes());
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
    let run = async |verb: &str| {
        let wish = [verb, "--ca", &anchors, "--client-cert", &chain, "--client-key", &key, "--mirror", mirror.url()];
        chandler(&docker, &wish).await
    };
    run("apply").await.expect_success();
    docker.pull("library/plain:1").await.expect_success();
    let proof = run("verify").await.expect_success();
    assert!(proof.contains("good  Docker pulls through"), "{proof}");
    assert_eq!(run("apply").await.expect_success(), "");
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
    let shown = chandler(&docker, &["apply", "--mirror", mirror.url()]).await.expect_success();
    assert!(shown.contains("is plain http"), "{shown}");
    let proof = chandler(&docker, &["verify", "--mirror", mirror.url()]).await.expect_success();
    assert!(proof.contains("good  Docker pulls through"), "{proof}");
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
    chandler(&docker, &["apply", "--mirror", &url]).await.expect_success();
    mirror.stop();
    for verb in ["verify", "doctor"] {
        let said = chandler(&docker, &[verb, "--mirror", &url]).await.expect_failure();
        assert!(said.contains("the mirror is not used") && said.contains("nobody listens at"), "{said}");
    }
    let answer = chandler(&docker, &["doctor", "--json", "--mirror", &url]).await;
    let told: serde_json::Value = serde_json::from_str(&answer.stdout).expect("programs are told in JSON, also of what is wrong");
    assert_eq!((answer.status.code(), &told["well"], &told["engines"][0]["proved"]), (Some(1), &false.into(), &false.into()), "{told}");
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
    chandler(&docker, &["apply", "--mirror", mirror.url()]).await.expect_success();
    docker.pull("library/plain:1").await.expect_failure();
    assert!(docker.machine().log().contains("registry-1.docker.io/v2/library/plain/manifests/1\\\": tls: failed to verify certificate"));
    assert!(stranger.count().all().is_empty(), "{}", stranger.count().summary());
}

/// The real program on the engine's machine.
pub(super) async fn chandler(docker: &Dockerd, arguments: &[&str]) -> Answer {
    let mut command = docker.machine().command(&program_path());
    // What else is installed where the tests run has no configuration on this machine.
    command.args(arguments).args(["--engine", "docker"]);
    Answer::of(&mut command).await
}

fn pid(docker: &Dockerd) -> String {
    fs::read_to_string(docker.machine().folder().join("pid")).expect("dockerd writes it")
}

fn daemon_json(docker: &Dockerd) -> Vec<u8> {
    let path: PathBuf = docker.machine().inside("/etc/docker/daemon.json");
    fs::read(Path::new(&path)).expect("the harness writes it")
}
