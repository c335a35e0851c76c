//! Engines of a user who is not root: Podman by the machine's files and by the user's own, and rootless Docker, which is its user's alone to change.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tests::engine::{Answer, Machine, MachineConfig, Podman, User};
use tests::program::program_path;
use tests::tools;
use tokio::time::{sleep, timeout};

use super::{Operator, SLEEPS, assert_runs_on, assert_says, direct};
use crate::real_engines::Site;

#[tokio::test(flavor = "multi_thread")]
async fn what_root_puts_behind_the_mirror_is_behind_it_for_a_users_rootless_podman_too() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let machine = podman.machine();
    let Some(()) = furnish(machine, &["podman", "conmon", "runc"]).await else { return };
    let (root, ci) = (Operator::of(machine, &site), Operator::login(machine, &site, CI));
    root.applies(&["50-chandler-mirror.conf is made"]).await;
    by_user(machine, "podman", &["pull", SECRET]).await.expect_success();
    ci.proves("Podman").await;
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    root.undoes(&["50-chandler-mirror.conf is gone"]).await;
    by_user(machine, "podman", &["rmi", "--force", SECRET]).await.expect_success();
    by_user(machine, "podman", &["pull", SECRET]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "it asks the Hub itself again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_registries_of_their_own_puts_their_rootless_podman_behind_the_mirror_and_takes_it_out_while_its_container_runs() {
    let Some(site) = Site::start() else { return };
    let Some(podman) = Podman::start(MachineConfig::default()).await else { return };
    let machine = podman.machine();
    let Some(()) = furnish(machine, &["podman", "conmon", "runc"]).await else { return };
    give(machine, ".config/containers/registries.conf", "unqualified-search-registries = [\"docker.io\"]\n");
    let container = start_container(machine, &site).await;
    start_service(machine).await;
    let runs = machine.running("podman");
    let root = Operator::of(machine, &site);
    let told = ["warning: Podman: /home/ci/.config/containers/registries.conf", "run `chandler apply --engine podman` as ci too"];
    root.applies(&[told[0], told[1], "`podman system service` of user 4321"]).await;
    by_user(machine, "podman", &["pull", SECRET]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "as it said");

    let ci = Operator::login(machine, &site, CI);
    ci.plans(&["+++ /home/ci/.config/containers/registries.conf.d/50-chandler-mirror.conf", "reload Podman"]).await;
    ci.applies(&["/home/ci/.config/containers/registries.conf.d/50-chandler-mirror.conf is made", "Podman was reloaded"]).await;
    by_user(machine, "podman", &["pull", SECRET]).await.expect_success();
    by_user(machine, "podman", &["rmi", "--force", SECRET]).await.expect_success();
    by_service(machine, &["pull", SECRET]).await.expect_success();
    ci.proves("Podman").await;
    ci.is_well().await;
    ci.has_nothing_left_to_do().await;
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    ci.undoes(&["50-chandler-mirror.conf is gone", "Podman was reloaded, and reports none"]).await;
    root.undoes(&["50-chandler-mirror.conf is gone"]).await;

    by_user(machine, "podman", &["rmi", "--force", SECRET]).await.expect_success();
    by_user(machine, "podman", &["pull", SECRET]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "it asks the Hub itself again");
    by_service(machine, &["pull", SECRET]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "and so does its service");
    assert_runs_on(machine, "podman", &runs);
    let state = by_user(machine, "podman", &["inspect", "--format", "{{.State.Running}}", &container]).await.expect_success();
    assert_eq!(state.trim(), "true", "the container still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rootless_docker_is_left_alone_by_root_and_put_behind_the_mirror_and_taken_out_by_its_user() {
    let Some(site) = Site::start() else { return };
    let Some([dockerd, _, _]) = tools::require_all(["dockerd-20", "docker", "rootlesskit"]) else { return };
    let Some(machine) = Machine::start(&MachineConfig::default()).await else { return };
    machine.install([("dockerd", dockerd)]).await;
    let Some(()) = furnish(&machine, &[]).await else { return };
    start_rootless(&machine, tools::cache().join("debian/docker-20/usr/share/docker.io/contrib/dockerd-rootless.sh")).await;
    let runs = machine.running("dockerd");
    let root = Operator::of(&machine, &site);
    let said = root.chandler(&["plan", "--engine", "docker", "--mirror", &root.mirror]).await.expect_success();
    assert_says(&said, &["ci's rootless Docker is not changed"]);

    let ci = Operator::login(&machine, &site, CI);
    ci.plans(&["+++ /home/ci/.config/docker/daemon.json", "reload Docker"]).await;
    ci.applies(&["/home/ci/.config/docker/daemon.json is made", "Docker was reloaded"]).await;
    by_user(&machine, "docker", &["pull", "acme/secret:1"]).await.expect_success();
    ci.proves("ci's rootless Docker").await;
    ci.is_well().await;
    ci.has_nothing_left_to_do().await;
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    ci.undoes(&["Docker was reloaded, and reports none", "pending restart: Docker: ci's rootless Docker speaks API 1.41"]).await;
    by_user(&machine, "docker", &["rmi", "--force", "acme/secret:1"]).await.expect_success();
    by_user(&machine, "docker", &["pull", "acme/secret:1"]).await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "it asks the Hub itself again");
    assert_runs_on(&machine, "dockerd", &runs);
}

/// A user, and what rootless engines need.
async fn furnish(machine: &Machine, programs: &[&str]) -> Option<()> {
    machine.install_tools(["newuidmap", "newgidmap"]).await?;
    for program in programs {
        machine.install_tools([*program]).await?;
    }
    machine.add_user(CI, &[program_path().parent().expect("it is in a folder")]).await;
    // The kernel's own file system of layers wants more of a folder in memory than every kernel has.
    give(machine, ".config/containers/storage.conf", "[storage]\ndriver = \"vfs\"\n");
    Some(())
}

/// A file of the user's.
fn give(machine: &Machine, path: &str, text: &str) {
    let file = CI.home().join(path);
    machine.write(file.to_str().expect("text"), text);
    for folder in file.ancestors().take_while(|folder| *folder != CI.home()) {
        let inside = machine.inside(folder.to_str().expect("text"));
        std::os::unix::fs::chown(inside, Some(CI.id), Some(CI.id)).expect("root gives files away");
    }
}

async fn by_user(machine: &Machine, program: &str, words: &[&str]) -> Answer {
    let program = tools::find(program).expect("it was required");
    let mut command = machine.command_of(CI, &program);
    command.env("DOCKER_HOST", format!("unix://{}", CI.runtime().join("docker.sock").display()));
    Answer::of(command.args(words)).await
}

async fn start_container(machine: &Machine, site: &Site) -> String {
    let image = direct(site, "library/plain:1");
    by_user(machine, "podman", &["pull", "--tls-verify=false", &image]).await.expect_success();
    let words = ["run", "--detach", "--network", "none", "--entrypoint", SLEEPS[0], &image, SLEEPS[1], SLEEPS[2]];
    by_user(machine, "podman", &words).await.expect_success().trim().to_owned()
}

/// Where its package has it listen for a user.
async fn start_service(machine: &Machine) {
    let mut command = machine.command_of(CI, &tools::find("podman").expect("it was required"));
    command.args(["system", "service", "--time=0"]).stderr(Stdio::null()).spawn().expect("it starts");
    let answers = async {
        while !by_service(machine, &["version"]).await.is_success() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONGEST, answers).await.expect("it answers within a minute");
}

async fn by_service(machine: &Machine, words: &[&str]) -> Answer {
    let url = format!("unix://{}", CI.runtime().join("podman/podman.sock").display());
    by_user(machine, "podman", &[&["--remote", "--url", &url], words].concat()).await
}

/// As the user's own service manager does, by the script of its package.
async fn start_rootless(machine: &Machine, script: PathBuf) {
    let log = std::fs::File::create(machine.folder().join("log")).expect("a file in a folder of ours");
    let mut command = machine.command_of(CI, &script);
    command.env("DOCKERD_ROOTLESS_ROOTLESSKIT_NET", "host").env("DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER", "none");
    command.args(["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]);
    let mut child = command.stdout(Stdio::from(log.try_clone().expect("shared"))).stderr(log).spawn().expect("it starts");
    let answers = async {
        while !by_user(machine, "docker", &["version"]).await.is_success() {
            assert!(child.try_wait().expect("it can be asked").is_none(), "rootless Docker ended:\n{}", machine.log());
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONGEST, answers).await.unwrap_or_else(|_| panic!("rootless Docker does not answer:\n{}", machine.log()));
}

const CI: User = User { name: "ci", id: 4321 };
const SECRET: &str = "docker.io/acme/secret:1";
const LONGEST: Duration = Duration::from_mins(1);
