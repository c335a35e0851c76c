//! "One on each machine in front of the site's": `chandler install mirror --local` and `chandler apply --local` put it between this machine's engines and the site's mirror, `chandler verify`
//! proves both steps of the way, and it is taken out again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::program::program_path;
use tests::systemd::SystemdMachine;
use tests::tools;

#[test]
fn docker_pulls_through_the_mirror_on_its_machine_and_that_one_through_the_sites() {
    let Some(machine) = SystemdMachine::boot() else { return };
    let Some([dockerd, docker, _, _]) = tools::require_all(["dockerd-20", "docker", "containerd", "runc"]) else { return };
    let unit = DOCKER.replace("DOCKERD", &dockerd.display().to_string()).replace("TOOLS", &tools::folder().display().to_string());
    machine.done(&format!("rm -rf /etc/docker && mkdir /etc/docker && cat >/etc/systemd/system/docker.service <<'END'\n{unit}END"));
    machine.done("systemctl daemon-reload && systemctl start docker");
    machine.done(&format!("cat >/srv/site.yaml <<'END'\n{SITE}END"));
    machine.done("/opt/chandler ca init --permit 127.0.0.1 --config /srv/site.yaml");
    machine.done("systemd-run --quiet --unit=site --service-type=notify /opt/chandler mirror --config /srv/site.yaml");
    let exported = machine.done("/opt/chandler ca export --out /srv/trust --config /srv/site.yaml");
    let print =
        exported.lines().find_map(|line| line.split_whitespace().next().filter(|word| word.starts_with("sha256:"))).expect("printed");

    let said = machine.run("/opt/chandler apply --local --yes");
    assert!(said.code == Some(2) && said.text.contains("chandler install mirror --local"), "{said:?}");
    let install = format!("/opt/chandler install mirror --local --mirror https://127.0.0.1:6443 --ca {print}");
    let said = machine.done(&install);
    assert!(said.contains("added /etc/chandler/mirror.yaml\n") && said.contains("started chandler-mirror.service\n"), "{said}");
    assert!(machine.done(&install).starts_with("nothing to do\n"));
    machine.done("/opt/chandler apply --local --yes");
    let mirrors = format!("{} info --format '{{{{json .RegistryConfig.Mirrors}}}}'", docker.display());
    assert_eq!(machine.done(&mirrors).trim(), "[\"http://127.0.0.1:5000/\"]");
    let proof = machine.done("/opt/chandler verify --local");
    assert!(proof.contains("good  Docker pulls through http://127.0.0.1:5000\n"), "{proof}");
    assert!(proof.contains("good  the mirror at http://127.0.0.1:5000 pulls through https://127.0.0.1:6443\n"), "{proof}");
    let examined = machine.done("/opt/chandler doctor --local");
    assert!(
        examined.contains("good  https://127.0.0.1:6443 serves this machine") && !examined.contains("runs on this very machine"),
        "{examined}"
    );
    machine.done("/opt/chandler install agent --local && /opt/chandler plan --check");

    // Another registry: a mirror that runs is told, and drops nothing.
    let pid = machine.done("systemctl show --property=MainPID --value chandler-mirror");
    let said = machine.done(&format!("{install} --registry ghcr.io"));
    assert!(said.contains("renewed /etc/chandler/mirror.yaml\nchandler-mirror.service has read it again\n"), "{said}");
    assert_eq!(machine.done("systemctl show --property=MainPID --value chandler-mirror"), pid);
    machine.done("/opt/chandler verify");

    machine.done("systemctl stop site");
    for verb in ["verify", "doctor"] {
        let said = machine.run(&format!("/opt/chandler {verb}"));
        assert!(said.code == Some(1) && said.text.contains("good  Docker pulls through http://127.0.0.1:5000\n"), "{said:?}");
        assert!(
            said.text.contains("gets nothing from https://127.0.0.1:6443") && said.text.contains("nobody listens at 127.0.0.1:6443"),
            "{said:?}"
        );
    }

    let said = machine.done("/opt/chandler uninstall mirror --purge --yes");
    assert!(said.contains("/etc/docker/daemon.json is gone") && said.contains("removed /etc/chandler/mirror.yaml"), "{said}");
    assert_eq!(machine.done(&mirrors).trim(), "[]");
    machine.done("/opt/chandler uninstall agent --purge --yes && test ! -e /etc/chandler && test ! -e /var/lib/chandler");
    machine.done("systemctl stop docker");
}

/// A service machine, whose mirror is everybody's.
#[test]
fn a_machine_behind_a_mirror_of_its_own_that_serves_others_is_told_of_unless_it_is_on_purpose() {
    let Some(machine) = SystemdMachine::boot() else { return };
    machine.done("mkdir /etc/chandler && printf 'listeners: \":5000\"\\naccess: open\\n' >/etc/chandler/mirror.yaml");
    machine.done("/opt/chandler install mirror && mkdir -p /etc/docker");
    let said = machine.run("/opt/chandler doctor --engine docker --mirror http://127.0.0.1:5000").text;
    assert!(
        said.contains("http://127.0.0.1:5000 runs on this very machine and serves others") && said.contains("--local says so"),
        "{said}"
    );
    let said = machine.run("/opt/chandler doctor --engine docker --local").text;
    assert!(!said.contains("runs on this very machine"), "{said}");
}

#[test]
fn a_tree_gets_the_configuration_once_and_has_none_of_it_afterwards() {
    let tree = Tree::new();
    let install = ["install", "mirror", "--local", "--mirror", "http://mirror.internal:5000", "--registry", "ghcr.io"];
    let said = tree.done(&install);
    assert!(said.contains("added /etc/chandler/mirror.yaml"), "{said}");
    let written = tree.read("etc/chandler/mirror.yaml");
    assert!(written.contains("url: \"http://mirror.internal:5000/docker.io\"") && written.contains("name: ghcr.io"), "{written}");
    assert!(tree.done(&install).starts_with("nothing to do\n"));
    let planned = tree.done(&["plan", "--local", "--engine", "podman,docker"]);
    assert!(planned.contains("http://127.0.0.1:5000") && planned.contains("ghcr.io"), "{planned}");
    let said = tree.done(&["install", "mirror", "--local", "--mirror", "http://other.internal:5000", "--listen", "127.0.0.1:5010"]);
    assert!(said.contains("renewed /etc/chandler/mirror.yaml"), "{said}");
    tree.done(&["apply", "--local", "--yes", "--engine", "docker"]);
    assert!(tree.read("etc/docker/daemon.json").contains("http://127.0.0.1:5010"));
    let said = tree.done(&["uninstall", "mirror"]);
    assert!(said.contains("/etc/docker/daemon.json is gone") && said.contains("removed /etc/chandler/mirror.yaml"), "{said}");
    assert!(!tree.at("etc/chandler").exists());
}

#[test]
fn a_configuration_of_somebodys_own_stays_and_what_it_lacks_is_said() {
    let tree = Tree::new();
    let install = ["install", "mirror", "--local", "--mirror", "http://mirror.internal:5000"];
    tree.write("etc/chandler/mirror.yaml", "tag_window: 5s\n");
    let said = tree.run(&install);
    assert_eq!(said.status.code(), Some(1));
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(told.contains("nothing was installed") && told.contains("url: \"http://mirror.internal:5000/docker.io\""), "{told}");
    assert!(tree.read("etc/chandler/mirror.yaml") == "tag_window: 5s\n" && !tree.at("usr/local/bin/chandler").exists());
    // Nothing is missing in one that asks the site's mirror already.
    tree.write("etc/chandler/mirror.yaml", "tag_window: 5s\nupstreams: ['docker.io=http://mirror.internal:5000']\n");
    tree.done(&install);
    assert!(tree.read("etc/chandler/mirror.yaml").starts_with("tag_window: 5s\n"));
}

#[test]
fn the_agent_is_told_of_the_mirror_where_nobody_told_it_yet() {
    let tree = Tree::new();
    let print = format!("sha256:{}", "ab".repeat(32));
    let install = ["install", "agent", "--mirror", "https://mirror.internal:5000", "--ca", &print, "--system-trust"];
    tree.done(&install);
    let written = tree.read("etc/chandler/agent.yaml");
    for line in ["mirrors: [\"https://mirror.internal:5000\"]", &format!("ca: {print}"), "system_trust: true"] {
        assert!(written.lines().any(|other| other == line), "{line}: {written}");
    }
    assert!(tree.done(&install).starts_with("nothing to do\n"));
    tree.write("etc/chandler/agent.yaml", "mirrors: [http://theirs]\n");
    tree.done(&install);
    assert_eq!(tree.read("etc/chandler/agent.yaml"), "mirrors: [http://theirs]\n");
}

/// What a system has before anything of ours.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(TempDir::with_prefix("chandler-tree-").expect("a folder"));
        for folder in ["etc/systemd/system/multi-user.target.wants", "etc/sysusers.d", "usr/local/bin", "var/lib"] {
            fs::create_dir_all(tree.at(folder)).expect("made");
        }
        tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nchandler:x:998:998::/var/lib/chandler:/usr/sbin/nologin\n");
        tree.write("etc/group", "root:x:0:\nchandler:x:998:\n");
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program_path());
        command.args(arguments).arg("--root").arg(self.0.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.output().expect("the program starts")
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert!(said.status.success(), "{arguments:?}: {}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).expect("text")
    }
}

const SITE: &str = "\
listeners: [{address: '127.0.0.1:6443', tls: {private: ['127.0.0.1']}}]
store: {path: /srv/site}
acme: {path: /srv/certs}
admin: off
";
const DOCKER: &str = "\
[Service]
Type=notify
Environment=PATH=TOOLS:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=DOCKERD --bridge=none --iptables=false --ip6tables=false --storage-driver=vfs
ExecReload=/bin/kill -s HUP $MAINPID
";
