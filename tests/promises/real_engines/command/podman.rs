//! Podman, Buildah and Skopeo, by a drop-in of `registries.conf`; and what runs on meanwhile: a container, and Podman's own service.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tests::engine::{Answer, MachineConfig, Podman};
use tokio::time::{sleep, timeout};

use super::{Operator, SLEEPS, assert_runs_on, direct, mark};
use crate::real_engines::Site;

#[tokio::test(flavor = "multi_thread")]
async fn podman_is_put_behind_the_mirror_by_one_command_and_taken_out_by_one_while_its_container_and_its_service_run() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let machine = podman.machine();
    let Some(()) = machine.install_tools(["podman", "buildah", "skopeo", "conmon", "runc"]).await else { return };
    mark(machine, "/etc/containers/registries.conf");
    let container = start_container(&podman, &site).await;
    let mut service = start_service(&podman).await;
    let runs = machine.running("podman");
    let operator = Operator::of(machine, &site);

    operator.plans(&["+++ /etc/containers/registries.conf.d/50-chandler-mirror.conf", "reload Podman (process"]).await;
    operator.applies(&["50-chandler-mirror.conf is made", "Podman was reloaded, and reports"]).await;
    podman.pull(SECRET).await.expect_success();
    podman.buildah(["pull", SECRET]).await.expect_success();
    let copy = format!("dir:{}", machine.folder().join("copy").display());
    podman.skopeo(["copy", &format!("docker://{SECRET}"), &copy]).await.expect_success();
    podman.rmi(SECRET).await.expect_success();
    by_service(&podman, &["pull", SECRET]).await.expect_success();
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    operator.proves("Podman").await;
    operator.is_well().await;
    let left = podman.podman(["images", "--all", "--format", "{{.Names}}"]).await.expect_success();
    assert!(left.contains("acme/secret") && !left.contains("canary"), "{left}");
    assert_eq!(operator.has_nothing_left_to_do().await.matches("blocked").count(), 0);

    operator.undoes(&["50-chandler-mirror.conf is gone", "Podman was reloaded, and reports none"]).await;
    podman.rmi(SECRET).await.expect_success();
    assert_eq!(machine.take_bypasses(), [""; 0]);
    podman.pull(SECRET).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "podman asks the Hub itself again");
    by_service(&podman, &["pull", SECRET]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "and so does its service");
    operator.disproves("Podman").await;
    machine.take_bypasses();

    assert_runs_on(machine, "podman", &runs);
    assert!(service.try_wait().expect("it can be asked").is_none(), "the service runs on");
    let state = podman.podman(["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
    podman.podman(["rm", "--force", "--time", "0", &container]).await.expect_success();
}

async fn start_container(podman: &Podman, site: &Site) -> String {
    let image = direct(site, "library/plain:1");
    podman.podman(["pull", "--tls-verify=false", &image]).await.expect_success();
    let parent = podman.machine().cgroup();
    let words = ["run", "--detach", "--network", "none", "--cgroup-parent", &parent, "--entrypoint", SLEEPS[0], &image];
    podman.podman(words.into_iter().chain(SLEEPS[1..].iter().copied())).await.expect_success().trim().to_owned()
}

/// Where its package has it listen.
async fn start_service(podman: &Podman) -> tokio::process::Child {
    let mut command = podman.command();
    command.args(["system", "service", "--time=0", &format!("unix://{SOCKET}")]);
    std::fs::create_dir_all(podman.machine().inside("/run/podman")).expect("a folder can be made");
    let service = command.stderr(Stdio::null()).spawn().expect("it starts");
    let answers = async {
        while !by_service(podman, &["version"]).await.is_success() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONGEST, answers).await.expect("it answers within a minute");
    service
}

/// The same podman as a client of its service.
async fn by_service(podman: &Podman, words: &[&str]) -> Answer {
    let url = format!("unix://{}", Path::new(SOCKET).display());
    podman.podman(["--remote", "--url", &url].iter().chain(words)).await
}

const SECRET: &str = "docker.io/acme/secret:1";
const SOCKET: &str = "/run/podman/podman.sock";
const LONGEST: Duration = Duration::from_mins(1);
