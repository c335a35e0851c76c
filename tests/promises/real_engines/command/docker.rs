//! Docker 29's `BuildKit`, by `docker build`: the one inside of the daemon, and builders in containers, which have another.

use std::fs;

use tempfile::TempDir;
use tests::engine::{Answer, Builder, Dockerd, MachineConfig, Release};

use super::{Operator, SLEEPS, assert_runs_on, assert_says, direct, mark};
use crate::real_engines::Site;

#[tokio::test(flavor = "multi_thread")]
async fn docker_29_builds_on_a_private_image_behind_the_mirror_and_past_it_again_while_its_container_runs() {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(Release::V29, MachineConfig::default()).await else { return };
    let machine = docker.machine();
    let Some(()) = machine.install_tools(["docker"]).await else { return };
    mark(machine, "/etc/docker/daemon.json");
    let container = start_container(&docker, &site).await;
    let runs = machine.running("dockerd-29");
    let operator = Operator::of(machine, &site);

    let shown = operator.plans(&["+++ /etc/docker/daemon.json", "reload Docker (process"]).await;
    assert!(!shown.contains("containerd"), "the containerd that dockerd started is Docker's: {shown}");
    build(&docker, Builder::BuildKit, "library/plain:1").await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "it asks the Hub itself");
    operator.applies(&["Docker was reloaded", "BuildKit remembers where it asked for a base image"]).await;
    build(&docker, Builder::BuildKit, "library/plain:1").await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "as it said");
    for builder in [Builder::BuildKit, Builder::Classic] {
        build(&docker, builder, SECRET).await.expect_success();
    }
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    operator.proves("Docker").await;
    operator.is_well().await;
    assert_eq!(operator.has_nothing_left_to_do().await, "");

    operator.undoes(&["Docker was reloaded, and reports none", "BuildKit remembers where it asked for a base image"]).await;
    docker.docker(["builder", "prune", "--all", "--force"]).await.expect_success();
    assert_eq!(machine.take_bypasses(), [""; 0]);
    build(&docker, Builder::BuildKit, SECRET).await.expect_success();
    assert_eq!(machine.take_bypasses(), [""; 0], "as it said");
    for (builder, image) in [(Builder::BuildKit, "library/deep:1"), (Builder::Classic, SECRET)] {
        build(&docker, builder, image).await.expect_failure();
        assert!(!machine.take_bypasses().is_empty(), "{builder:?} asks the Hub itself again");
    }
    assert_runs_on(machine, "dockerd-29", &runs);
    let state = docker.docker(["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
    docker.docker(["rm", "--force", &container]).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_in_a_container_is_listed_with_what_it_needs_and_no_more_once_its_owner_made_it_so() {
    let Some(site) = Site::start() else { return };
    let Some(docker) = Dockerd::start(Release::V29, MachineConfig::default()).await else { return };
    let machine = docker.machine();
    let Some(()) = machine.install_tools(["docker"]).await else { return };
    // Root's home is the one that `docker` keeps its builders in.
    let home = machine.folder().display().to_string();
    machine.write("/etc/passwd", format!("root:x:0:0:root:{home}:/bin/sh\n"));
    docker.docker(["buildx", "create", "--name", "ci", "--driver", "docker-container"]).await.expect_success();
    let operator = Operator::of(machine, &site);
    let said = operator.on_mirror("apply").await.expect_success();
    let host = site.tap.host();
    assert_says(&said, &["warning: BuildKit:", "the builder ci (docker-container)", "docker buildx rm ci", "--driver-opt network=host"]);
    let told = said.lines().skip_while(|line| !line.ends_with("where FILE says:")).skip(1).map(|line| line.trim_start_matches("  "));
    let file = told.take_while(|line| line.starts_with('[') || line.contains('=') || line.is_empty()).collect::<Vec<_>>().join("\n");
    assert_says(&file, &["[registry.\"docker.io\"]", &host, "http = true"]);

    // As it says.
    let config = machine.folder().join("buildkitd.toml");
    fs::write(&config, &file).expect("written");
    docker.docker(["buildx", "rm", "ci"]).await.expect_success();
    let words = ["buildx", "create", "--name", "ci", "--driver", "docker-container", "--driver-opt", "network=host", "--config"];
    docker.docker(words.into_iter().chain([config.to_str().expect("text")])).await.expect_success();
    assert_eq!(operator.has_nothing_left_to_do().await, "");
    operator.proves("Docker").await;
    operator.is_well().await;
    operator.undoes(&["Docker was reloaded, and reports none"]).await;
}

async fn start_container(docker: &Dockerd, site: &Site) -> String {
    let image = direct(site, "library/plain:1");
    docker.pull(&image).await.expect_success();
    let words = ["run", "--detach", "--network", "none", "--entrypoint", SLEEPS[0], &image];
    docker.docker(words.into_iter().chain(SLEEPS[1..].iter().copied())).await.expect_success().trim().to_owned()
}

/// By somebody without a login.
async fn build(docker: &Dockerd, builder: Builder, image: &str) -> Answer {
    let context = TempDir::new().expect("a folder can be made");
    fs::write(context.path().join("Dockerfile"), format!("FROM {image}\nLABEL built=yes\n")).expect("it can be written");
    let built = docker.build(builder, context.path(), "built:1").await;
    docker.rmi("built:1").await;
    docker.rmi(image).await;
    built
}

const SECRET: &str = "acme/secret:1";
