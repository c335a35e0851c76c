//! containerd 2.4 as Kubernetes uses it: by its own `config.toml`, whose `config_path` says where `hosts.toml` files are, or does not.

use std::path::PathBuf;

use tests::engine::{Answer, Containerd, Machine};

use super::{Operator, SLEEPS, assert_runs_on, assert_says, direct, mark};
use crate::real_engines::Site;

#[tokio::test(flavor = "multi_thread")]
async fn containerd_is_put_behind_the_mirror_by_one_command_and_taken_out_by_one_while_its_container_runs() {
    let Some(site) = Site::start() else { return };
    let Some(containerd) = Containerd::start_with_cri(CONFIG_PATH).await else { return };
    let machine = containerd.machine();
    let Some(()) = install(machine).await else { return };
    machine.write(HOSTS, "# somebody's\nserver = \"https://registry-1.docker.io\"\n");
    mark(machine, HOSTS);
    start_container(&containerd, &site).await;
    let runs = machine.running("containerd");
    let operator = Operator::of(machine, &site);

    operator.plans(&[&format!("+++ {HOSTS}")]).await;
    operator.applies(&[&format!("{HOSTS} is changed")]).await;
    by_cri(&containerd, "pull").await.expect_success();
    containerd.pull(SECRET).await.expect_success();
    site.assert_only_the_mirror_asked();
    assert_eq!(machine.take_bypasses(), [""; 0], "nothing went past the mirror");
    operator.proves("containerd").await;
    operator.is_well().await;
    assert!(!containerd.ctr(["--namespace", "k8s.io", "images", "list"]).await.expect_success().contains("canary"));
    assert_eq!(operator.has_nothing_left_to_do().await, "", "nothing waits for a restart");

    operator.undoes(&[&format!("{HOSTS} is changed")]).await;
    by_cri(&containerd, "rmi").await.expect_success();
    assert_eq!(machine.take_bypasses(), [""; 0]);
    by_cri(&containerd, "pull").await.expect_failure();
    assert!(!machine.take_bypasses().is_empty(), "it asks the Hub itself again");
    operator.disproves("containerd").await;
    machine.take_bypasses();

    assert_runs_on(machine, "containerd", &runs);
    assert_container_runs(&containerd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containerd_that_looks_at_no_hosts_file_is_told_as_pending_restart_and_restarted_by_nobody_but_the_operator() {
    let Some(site) = Site::start() else { return };
    let Some(mut containerd) = Containerd::start_with_cri("").await else { return };
    let Some(()) = install(containerd.machine()).await else { return };
    start_container(&containerd, &site).await;
    let runs = containerd.machine().running("containerd");
    let operator = Operator::of(containerd.machine(), &site);
    let pending = ["pending restart: containerd: /etc/containerd/config.toml: it says no `config_path`", CONFIG_PATH];
    operator.plans(&[&format!("+++ {HOSTS}"), pending[0]]).await;
    let said = operator.on_mirror("apply").await.expect_success();
    assert_says(&said, &[&format!("{HOSTS} is made"), pending[0], "systemctl restart containerd"]);
    // What it tells to write is what is written, below.
    assert_says(&said, &[&format!("  {}", CONFIG_PATH.trim_end().replace('\n', "\n  "))]);
    by_cri(&containerd, "pull").await.expect_failure();
    assert!(!containerd.machine().take_bypasses().is_empty(), "as it said");
    operator.disproves("containerd").await;
    containerd.machine().take_bypasses();
    assert_says(&operator.has_nothing_left_to_do().await, &[pending[0]]);
    assert_runs_on(containerd.machine(), "containerd", &runs);
    operator.undoes(&[&format!("{HOSTS} is gone")]).await;

    // The operator writes the lines, and has not restarted it yet.
    let config = containerd.machine().inside("/etc/containerd/config.toml");
    let text = std::fs::read_to_string(&config).expect("it is there");
    containerd.machine().write("/etc/containerd/config.toml", text + CONFIG_PATH);
    let operator = Operator::of(containerd.machine(), &site);
    let pending = "pending restart: containerd: /etc/containerd/config.toml: it was changed since containerd started";
    operator.applies(&[pending]).await;
    by_cri(&containerd, "pull").await.expect_failure();
    assert!(!containerd.machine().take_bypasses().is_empty(), "as it said");
    assert_says(&operator.has_nothing_left_to_do().await, &[pending]);
    assert_runs_on(containerd.machine(), "containerd", &runs);
    let Operator { before, .. } = operator;

    containerd.restart().await;
    let operator = Operator { before, ..Operator::of(containerd.machine(), &site) };
    assert_eq!(operator.has_nothing_left_to_do().await, "");
    by_cri(&containerd, "pull").await.expect_success();
    operator.proves("containerd").await;
    operator.is_well().await;
    assert_eq!(containerd.machine().take_bypasses(), [""; 0]);
    site.assert_only_the_mirror_asked();
    operator.undoes(&[&format!("{HOSTS} is gone")]).await;
    assert_container_runs(&containerd).await;
}

/// With `crictl` as far as it is to be had.
async fn install(machine: &Machine) -> Option<()> {
    machine.install([("crictl", crictl())]).await;
    machine.install_tools(["containerd", "ctr", "containerd-shim-runc-v2", "runc"]).await
}

/// As Kubernetes pulls: containerd itself looks for the mirror.
async fn by_cri(containerd: &Containerd, verb: &str) -> Answer {
    let socket = format!("unix://{}", containerd.socket().display());
    let mut command = containerd.machine().command(&crictl());
    command.args(["--runtime-endpoint", &socket, "--image-endpoint", &socket, verb, SECRET]);
    Answer::of(&mut command).await
}

fn crictl() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_crictl-under-test"))
}

async fn start_container(containerd: &Containerd, site: &Site) {
    let image = direct(site, "library/plain:1");
    containerd.ctr(["images", "pull", "--plain-http", &image]).await.expect_success();
    let group = format!("{}/job", containerd.machine().cgroup());
    let words = ["run", "--detach", "--null-io", "--cgroup", &group, &image, "job"];
    containerd.ctr(words.into_iter().chain(SLEEPS)).await.expect_success();
}

async fn assert_container_runs(containerd: &Containerd) {
    let tasks = containerd.ctr(["tasks", "list"]).await.expect_success();
    assert!(tasks.lines().any(|line| line.starts_with("job ") && line.ends_with("RUNNING")), "{tasks}");
    containerd.ctr(["tasks", "kill", "--signal", "KILL", "job"]).await.expect_success();
}

const SECRET: &str = "docker.io/acme/secret:1";
const HOSTS: &str = "/etc/containerd/certs.d/docker.io/hosts.toml";
/// The lines of `config.toml` of the third version.
const CONFIG_PATH: &str = "[plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
