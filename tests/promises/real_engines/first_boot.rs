//! "What others wrote in a file stays: keys, order, comments, modes, owners, links, and their mirrors (ours goes before them)", and "engines are reloaded, never restarted", also on a machine that is born without chandler:
//! the program that cloud-init runs there, against real dockerds.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use cloud_init::{DockerKeys, first_boot};
use serde_json::{Value, json};
use tests::engine::{Answer, Dockerd, Machine, MachineConfig, Release};
use tests::tools;

use super::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_first_boot_puts_a_running_docker_20_behind_the_mirror() {
    puts_behind(Release::V20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_boot_puts_a_running_docker_29_behind_the_mirror() {
    puts_behind(Release::V29).await;
}

async fn puts_behind(release: Release) {
    let Some(site) = Site::start() else { return };
    let config =
        MachineConfig { mirrors: vec![OTHER.to_owned()], insecure: vec!["other.example:5000".to_owned()], ..MachineConfig::default() };
    let Some(docker) = Dockerd::start(release, config).await else { return };
    let Some(boot) = Boot::on(docker.machine(), &format!("http://{}", site.tap.host())) else { return };
    for name in ["docker.sock", "pid"] {
        let link = docker.machine().inside("/run").join(if name == "pid" { "docker.pid" } else { name });
        symlink(docker.machine().folder().join(name), link).expect("a link on a private machine can be made");
    }
    let file = docker.machine().inside(FILE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a file of ours has a mode");
    let (before, pid) = (json_of(&file), pid_of(&docker));

    boot.run().await.expect_success();
    let after = json_of(&file);
    let ours = format!("http://{}", site.tap.host());
    assert_eq!(after["registry-mirrors"], json!([ours, OTHER]));
    assert_eq!(after["insecure-registries"], json!(["other.example:5000", INSECURE]));
    assert_eq!(after["cgroup-parent"], before["cgroup-parent"]);
    let keys = |value: &Value| value.as_object().map(|keys| keys.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&after), keys(&before), "keys stay in their order");
    assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o7777, 0o640);
    assert_eq!(mirrors_of(&docker).await, json!([format!("{ours}/"), format!("{OTHER}/")]));
    assert_eq!(pid_of(&docker), pid, "it was not restarted");
    docker.pull("acme/secret:1").await.expect_success();
    site.assert_only_the_mirror_asked();

    let state = |docker: &Dockerd| {
        let file = fs::metadata(&file).expect("it is there");
        (file.ino(), file.mtime_nsec(), docker.machine().log().matches(RELOADED).count())
    };
    let once = state(&docker);
    boot.run().await.expect_success();
    assert_eq!(state(&docker), once, "a second run changes and signals nothing");

    let bad = "{\n  \"registry-mirrors\": [],\n}\n";
    docker.machine().write(FILE, bad);
    let said = boot.run().await.expect_failure();
    assert!(
        said.contains("/etc/docker/daemon.json, line 2, column 25") || said.contains("/etc/docker/daemon.json, line 3, column 1"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&file).expect("it is there"), bad);
    assert_eq!(state(&docker).2, once.2, "a file that it cannot read is not for dockerd either");

    // dockerd says of a key that it does not know only in its log.
    docker.machine().write(FILE, "{\"no-such-key\": 1}");
    let said = boot.run().await.expect_failure();
    assert!(said.contains("was told to read /etc/docker/daemon.json again, and shows the mirrors"), "{said}");
}

#[tokio::test]
async fn a_first_boot_before_docker_writes_the_file_and_asks_nobody() {
    let Some(machine) = Machine::start(&MachineConfig::default()).await else { return };
    // Nobody listens there: it is not asked.
    let Some(boot) = Boot::on(&machine, OTHER) else { return };
    boot.run().await.expect_success();
    let file = machine.inside(FILE);
    assert_eq!(json_of(&file), json!({ "registry-mirrors": [OTHER], "insecure-registries": [INSECURE] }));
    assert_eq!(fs::metadata(&file).expect("it is there").mode() & 0o7777, 0o644);

    machine.write(FILE, " \n");
    boot.run().await.expect_success();
    assert_eq!(json_of(&file)["registry-mirrors"], json!([OTHER]));
}

#[tokio::test]
async fn a_first_boot_follows_a_link_and_keeps_the_targets_owner() {
    let Some(machine) = Machine::start(&MachineConfig::default()).await else { return };
    let Some(boot) = Boot::on(&machine, OTHER) else { return };
    machine.write("/etc/ours/docker.json", "{\"debug\": true}");
    let target = machine.inside("/etc/ours/docker.json");
    std::os::unix::fs::chown(&target, Some(7), Some(8)).expect("root gives files away");
    symlink("../ours/docker.json", machine.inside(FILE)).expect("a link on a private machine can be made");
    boot.run().await.expect_success();
    assert!(fs::symlink_metadata(machine.inside(FILE)).expect("it is there").is_symlink());
    let target = machine.inside("/etc/ours/docker.json");
    let owner = fs::metadata(&target).expect("it is there");
    assert_eq!((owner.uid(), owner.gid()), (7, 8));
    assert_eq!(json_of(&target)["debug"], json!(true));
    let left: Vec<_> = fs::read_dir(machine.inside("/etc/ours")).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_first_boot_does_not_say_twice_what_a_flag_says_for_dockerd_would_not_start() {
    let Some(machine) = Machine::start(&MachineConfig::default()).await else { return };
    let Some(boot) = Boot::on(&machine, OTHER) else { return };
    let unit = "/etc/systemd/system/docker.service.d/mirror.conf";
    machine.write(unit, "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --registry-mirror=http://10.0.0.7\n");
    let said = boot.run().await.expect_failure();
    assert!(said.contains(unit) && said.contains("--registry-mirror"), "{said}");
    assert!(!machine.inside(FILE).exists());
}

/// The program on a machine.
struct Boot<'a> {
    machine: &'a Machine,
}

impl<'a> Boot<'a> {
    fn on(machine: &'a Machine, mirror: &str) -> Option<Self> {
        tools::require("python3")?;
        let keys = DockerKeys { mirrors: vec![mirror.to_owned()], insecure: vec![INSECURE.to_owned()] };
        // An engine that takes nothing is waited for shorter than on a machine that boots.
        let program = first_boot::script(&keys).replace("\nSECONDS = 10\n", "\nSECONDS = 3\n");
        machine.write("/run/chandler-first-boot", program);
        Some(Self { machine })
    }

    async fn run(&self) -> Answer {
        Answer::of(self.machine.command(Path::new("python3")).arg("/run/chandler-first-boot")).await
    }
}

fn json_of(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("it is there")).expect("it is JSON")
}

fn pid_of(docker: &Dockerd) -> String {
    fs::read_to_string(docker.machine().folder().join("pid")).expect("it has a pid")
}

async fn mirrors_of(docker: &Dockerd) -> Value {
    let said = docker.docker(["info", "--format", "{{json .RegistryConfig.Mirrors}}"]).await.expect_success();
    serde_json::from_str(&said).expect("it is JSON")
}

const FILE: &str = "/etc/docker/daemon.json";
const OTHER: &str = "http://127.0.0.1:9";
/// As the agent writes it: dockerd shows it without the scheme.
const INSECURE: &str = "http://mirror.example:5000";
const RELOADED: &str = "Reloaded configuration";
