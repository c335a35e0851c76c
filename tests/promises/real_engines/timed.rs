//! "`chandler verify --failover` times how long engines are held up by a mirror that is dead or hangs; `--time IMAGE` times a pull, a removal and another pull. No configuration is changed for it, nothing that
//! runs notices, and no image that was there is removed."
//!
//! By the real program on each engine's own machine. How long an engine waits is its own affair: only whether it goes on in time is looked at, where that is known.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::engine::{Answer, BuildKit, Containerd, Dockerd, Machine, MachineConfig, Podman, Release};
use tests::program::program_path;
use tests::tools;

use super::Site;
use super::client::Client;
use super::fall_over::machine_of;
use super::secure::mirror_of;

#[tokio::test(flavor = "multi_thread")]
async fn how_docker_20_turns_away_from_a_dead_mirror_is_timed_while_a_container_runs() {
    let Some(docker) = Dockerd::start(Release::V20, MachineConfig::default()).await else { return };
    // It waits 15 s for a registry's first answer.
    docker_turns_away(docker, "30", [true, true, true].map(Some)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_docker_29_turns_away_from_a_dead_mirror_is_timed_while_a_container_runs() {
    let Some(docker) = Dockerd::start(Release::V29, MachineConfig::default()).await else { return };
    // It waits 30 s for an answer, and dials as its hosts.toml says: that does not show with another registry.
    docker_turns_away(docker, "10", [Some(true), None, Some(false)]).await;
}

async fn docker_turns_away(docker: Dockerd, limit: &str, went_on: [Option<bool>; 3]) {
    let Some(site) = Site::start() else { return };
    let direct = format!("{}/library/plain:1", site.tap.host());
    docker.pull(&direct).await.expect_success();
    let started = ["run", "--detach", "--interactive", "--network", "none", "--entrypoint", "/bin/sh", &direct, "-c", "read line"];
    let container = docker.docker(started).await.expect_success().trim().to_owned();
    let subject = Subject { engine: "docker", machine: docker.machine(), mirror: format!("http://{}", site.tap.host()) };
    subject.falls_over(limit, "wait", went_on).await;
    let state = docker.docker(["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
    docker.docker(["rm", "--force", &container]).await.expect_success();
    let images = docker.docker(["images", "--all"]).await.expect_success();
    assert!(!images.contains("canary"), "{images}");
}

#[tokio::test(flavor = "multi_thread")]
async fn podmans_fall_over_is_timed_by_a_configuration_for_one_pull() {
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let Some(site) = Site::start() else { return };
    let subject = Subject { engine: "podman", machine: podman.machine(), mirror: format!("http://{}", site.tap.host()) };
    // It waits without end for an answer, and half a minute for a connection.
    subject.falls_over("10", "pull", [true, false, false].map(Some)).await;
    let left = podman.podman(["images", "--all", "--format", "{{.Names}}"]).await.expect_success();
    assert!(!left.contains("canary"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn containerds_fall_over_is_timed_by_a_configuration_for_one_pull() {
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    let Some(site) = Site::start() else { return };
    let subject = Subject { engine: "containerd", machine: containerd.machine(), mirror: format!("http://{}", site.tap.host()) };
    // It dials as its hosts.toml says, and waits half a minute for an answer.
    subject.falls_over("20", "pull", [true, true, false].map(Some)).await;
    let left = containerd.ctr(["namespaces", "list", "--quiet"]).await.expect_success();
    assert!(!left.contains("canary"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_mirrors_the_fall_over_to_each_is_timed_also_over_https() {
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    let Some(site) = Site::start() else { return };
    let (secure, anchors) = mirror_of(&site.hub);
    let ca = containerd.machine().folder().join("ca.pem");
    fs::write(&ca, anchors).expect("it can be written");
    let subject = Subject { engine: "containerd", machine: containerd.machine(), mirror: format!("http://{}", site.tap.host()) };
    let both = ["--mirror", secure.url(), "--ca", ca.to_str().expect("a plain path")];
    subject.has_tools().await;
    subject.run(&[&["apply"], &both[..]].concat()).await.expect_success();
    let told = json(&subject.run(&[&["verify", "--json", "--failover=5"], &both[..]].concat()).await);
    for (index, mirror) in [secure.url(), &subject.mirror].into_iter().enumerate() {
        let trial = &told["failover"][index];
        assert_eq!((&trial["mirror"], &trial["faults"][0]["went_on"]), (&mirror.into(), &true.into()), "{told}");
        assert_eq!(trial["faults"][2]["went_on"], false, "it waits longer for one that hangs: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_buildkit_turns_away_from_a_dead_mirror_is_timed() {
    let Some(site) = Site::start() else { return };
    let mirror = format!("http://{}", site.tap.host());
    let Some(buildkit) = BuildKit::start(MachineConfig::behind(&mirror)).await else { return };
    // Where it listens without being told.
    let mut link = buildkit.machine().command(Path::new("ln"));
    fs::create_dir_all(buildkit.machine().inside("/run/buildkit")).expect("it can be made");
    link.arg("-sf").arg(buildkit.machine().folder().join("buildkitd.sock")).arg("/run/buildkit/buildkitd.sock");
    Answer::of(&mut link).await.expect_success();
    let subject = Subject { engine: "buildkit", machine: buildkit.machine(), mirror };
    // It waits without end for an answer, and half a minute for a connection.
    subject.falls_over("10", "wait", [true, false, false].map(Some)).await;
    let left = buildkit.buildctl(["du", "--verbose"]).await.expect_success();
    assert!(!left.contains("canary"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_20_pulls_an_image_twice_and_has_it_no_more() {
    let Some(docker) = Dockerd::start(Release::V20, MachineConfig::default()).await else { return };
    pulls_twice("docker", &Client::Docker(docker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_pulls_an_image_twice_and_has_it_no_more() {
    let Some(docker) = Dockerd::start(Release::V29, MachineConfig::default()).await else { return };
    pulls_twice("docker", &Client::Docker(docker)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_an_image_twice_and_has_it_no_more() {
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    pulls_twice("podman", &Client::Podman(podman)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_pulls_an_image_twice_and_has_it_no_more() {
    let Some(containerd) = Containerd::start(MachineConfig::default()).await else { return };
    pulls_twice("containerd", &Client::Containerd(containerd)).await;
}

async fn pulls_twice(engine: &'static str, client: &Client) {
    let Some(site) = Site::start() else { return };
    let subject = Subject { engine, machine: machine_of(client), mirror: format!("http://{}", site.tap.host()) };
    subject.is_put_behind().await;
    let time = async || {
        let answer = subject.run(&["verify", "--json", "--time", "acme/secret:1"]).await;
        let told = json(&answer)["time"].clone();
        (answer.status.code(), told["engines"][0].clone(), told)
    };
    // A private one, by the mirror's account: no login is on this machine.
    let (code, one, told) = time().await;
    let image = site.images.iter().find(|image| image.repository == "acme/secret").expect("it is in stock");
    let bytes: u64 = image.blobs().map(|blob| blob.size).sum();
    assert_eq!((code, &told["image"], &told["bytes"]), (Some(0), &"docker.io/acme/secret:1".into(), &bytes.into()), "{told}");
    let pulls = one["pulls"].as_array().unwrap_or_else(|| panic!("no pulls: {told}"));
    assert!(pulls.len() == 2 && pulls.iter().all(|pull| pull["seconds"].is_f64() && pull["bytes"] == bytes), "{told}");
    assert_eq!(one["left_behind"], Value::Null);

    client.pull("acme/secret:1").await.expect_success();
    let (code, one, told) = time().await;
    let said = one["said"].as_str().unwrap_or_default();
    assert!(code == Some(1) && said.contains("is on this machine already") && one["pulls"].is_null(), "{told}");
    client.assert_has("acme/secret:1", image.digest.as_str()).await;
    site.assert_only_the_mirror_asked();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_serve_is_told_before_anything_is_changed() {
    let Some(docker) = Dockerd::start(Release::V29, MachineConfig::default()).await else { return };
    let Some(mut site) = Site::start() else { return };
    let subject = Subject { engine: "docker", machine: docker.machine(), mirror: site.mirror.url().to_owned() };
    assert!(site.mirror.stop().success());
    let before = subject.files();
    let warns = |answer: &Answer| answer.stdout.contains("warning: nobody listens at") && answer.stdout.contains("+++ /etc/docker/");
    let plan = subject.run(&["plan"]).await;
    assert!(plan.is_success() && warns(&plan), "{plan:?}");
    let refused = subject.run(&["apply", "--require-mirror"]).await;
    assert!(refused.status.code() == Some(1) && warns(&refused) && refused.stderr.contains("nothing was changed"), "{refused:?}");
    assert_eq!(subject.files(), before);

    // It may come later: until then engines go past it.
    let applied = subject.run(&["apply", "--json"]).await;
    let told = json(&applied);
    assert!(applied.is_success() && told["plan"]["findings"].to_string().contains("nobody listens at"), "{told}");
    assert!(!applied.stderr.contains('\r'), "nobody looks at a pipe: {applied:?}");
    assert_ne!(subject.files(), before);
    let undo = Answer::of(subject.machine.command(&program_path()).args(["undo", "--engine", "docker"])).await;
    undo.expect_success();
    assert_eq!(subject.files(), before);
}

/// An engine's machine, and the mirror that it is to use.
struct Subject<'a> {
    engine: &'static str,
    machine: &'a Machine,
    mirror: String,
}

impl Subject<'_> {
    /// The real program, on that machine.
    async fn run(&self, words: &[&str]) -> Answer {
        let mut command = self.machine.command(&program_path());
        Answer::of(command.args(words).args(["--engine", self.engine, "--mirror", &self.mirror])).await
    }

    /// Programs are found where any machine has them.
    async fn has_tools(&self) {
        let mut mount = self.machine.command(Path::new("mount"));
        Answer::of(mount.arg("--bind").arg(tools::folder()).arg("/usr/local/bin")).await.expect_success();
    }

    async fn is_put_behind(&self) {
        self.has_tools().await;
        self.run(&["apply"]).await.expect_success();
    }

    /// It refuses, it loses packets, it hangs; `None`: that cannot be seen.
    async fn falls_over(&self, limit: &str, measured: &str, went_on: [Option<bool>; 3]) {
        self.is_put_behind().await;
        let before = self.files();
        let answer = self.run(&["verify", "--json", &format!("--failover={limit}")]).await;
        let told = json(&answer);
        let trial = &told["failover"][0];
        assert_eq!((&told["proved"], &trial["measured"]), (&true.into(), &measured.into()), "{told}");
        for (index, (fault, went_on)) in ["refuses", "loses", "hangs"].into_iter().zip(went_on).enumerate() {
            let seen = &trial["faults"][index];
            assert_eq!((&seen["fault"], &seen["went_on"]), (&fault.into(), &Value::from(went_on)), "{told}");
        }
        let is_in_time = !went_on.contains(&Some(false));
        assert_eq!(answer.status.code(), Some(i32::from(!is_in_time)), "{answer:?}");
        assert!(!answer.stderr.contains('\r'), "nobody looks at a pipe: {answer:?}");
        assert_eq!(self.files(), before);
    }

    /// All that engines are configured by.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open: Vec<PathBuf> = ["docker", "containers", "containerd"].map(|name| self.machine.inside(&format!("/etc/{name}"))).into();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.expect("it can be listed").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let bytes = fs::read(&path).expect("it can be read");
                    found.insert(path, bytes);
                }
            }
        }
        found
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
