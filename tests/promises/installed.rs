//! "`chandler` installs itself; every line that it prints is something that it did, a second run does nothing, and what you edited stays."
//!
//! On a machine that systemd runs.

use tests::systemd::SystemdMachine;

const PID: &str = "systemctl show --property=MainPID --value chandler-mirror";

#[test]
fn the_mirror_runs_as_a_service_of_its_own_user_and_is_restarted_only_when_somebody_says_so() {
    let Some(machine) = SystemdMachine::boot() else { return };
    let said = machine.done("/opt/chandler install mirror");
    assert!(said.contains("made the user chandler") && said.contains("started chandler-mirror.service\n"), "{said}");
    let pid = machine.done(PID);
    let status = machine.done(&format!("cat /proc/{}/status", pid.trim()));
    let has = |name: &str, value: &str| status.lines().any(|line| line.split_whitespace().take(2).eq([name, value]));
    assert!(has("CapEff:", "0000000000000000") && has("NoNewPrivs:", "1") && has("Seccomp:", "2") && !has("Uid:", "0"), "{status}");
    assert_eq!(
        machine.done("stat -c '%U %a' /var/lib/chandler /var/lib/chandler/cache /var/lib/chandler/certs"),
        "root 755\nchandler 700\nchandler 700\n"
    );
    assert!(machine.done("/opt/chandler install mirror").starts_with("nothing to do\n"));
    machine.done("systemctl reload chandler-mirror");

    // Ports below 1024: the unit changes, and the one that runs stays until it is said.
    machine.done("printf 'listeners: [\":443\"]\\naccess: open\\n' >/etc/chandler/mirror.yaml");
    let said = machine.done("/opt/chandler install mirror");
    assert!(said.contains("renewed /etc/systemd/system/chandler-mirror.service\n") && said.contains("--restart"), "{said}");
    assert_eq!(machine.done(PID), pid);
    assert!(machine.done("/opt/chandler install mirror --restart").contains("restarted chandler-mirror.service\n"));
    machine.done("curl --fail --silent --max-time 20 http://127.0.0.1:443/v2/");
    let said = machine.done("/opt/chandler install mirror --socket --restart");
    assert!(said.contains("restarted chandler-mirror.service\n"), "{said}");
    machine.done(
        "curl --fail --silent --max-time 20 http://127.0.0.1:443/v2/ && systemctl is-active chandler-mirror.socket chandler-mirror.service",
    );
    assert!(machine.done("/opt/chandler install mirror").starts_with("nothing to do\n"), "it goes on with sockets");

    machine.done("/opt/chandler uninstall mirror");
    assert_eq!(
        machine.done("systemctl list-units --all --no-legend 'chandler*'; find /etc/systemd/system /usr/local -name '*chandler*'"),
        ""
    );
    machine.done("test -d /var/lib/chandler/cache && test -f /etc/chandler/mirror.yaml");
    machine.done("/opt/chandler uninstall mirror --purge --yes && test ! -e /var/lib/chandler && test ! -e /etc/chandler");
}

#[test]
fn a_port_that_somebody_holds_is_told_with_who_that_is_and_nothing_is_changed() {
    let Some(machine) = SystemdMachine::boot() else { return };
    machine.done("mkdir /etc/chandler && printf 'listeners: [\":443\"]\\naccess: open\\n' >/etc/chandler/mirror.yaml");
    // Another mirror, of somebody who started it by hand, on a CI service's port.
    machine.done("systemd-run --quiet --unit=theirs --service-type=notify /opt/chandler mirror --listen 127.0.0.1:443 --store /srv/theirs");
    let said = machine.run("/opt/chandler install mirror");
    assert!(said.code == Some(1) && said.text.contains("[::]:443: another chandler (process "), "{said:?}");
    machine.done("test ! -e /usr/local/bin/chandler && test ! -e /etc/systemd/system/chandler-mirror.service");
}

#[test]
fn docker_starts_also_where_the_agent_fails() {
    let Some(machine) = SystemdMachine::boot() else { return };
    machine.done("printf '[Service]\\nExecStart=/bin/sleep 1000\\n' >/etc/systemd/system/docker.service");
    machine.done("/opt/chandler install agent");
    // Nobody said which mirror, so that there is nothing that the agent could do.
    machine.done("systemctl start docker && systemctl is-active docker");
    let shown = machine.done("systemctl show --property=ExecStartPre docker");
    assert!(shown.contains("/usr/local/bin/chandler apply engines") && shown.contains("ignore_errors=yes"), "{shown}");
    machine.done("/opt/chandler uninstall agent && systemctl is-active docker");
    assert_eq!(machine.done("systemctl show --property=ExecStartPre docker"), "");
}

/// `CircleCI` Server 4.x writes `daemon.json` anew whenever a machine of its starts, and restarts Docker.
#[test]
fn docker_is_behind_the_mirror_after_each_reboot_also_where_a_script_writes_its_file_anew_at_each_and_out_of_it_for_good_after_the_uninstall()
 {
    let Some(mut machine) = SystemdMachine::boot_with_docker() else { return };
    unit(&machine, "hub", "ExecStart=/opt/test-hub --listen 127.0.0.1:5555");
    machine.done(&format!("cat >/srv/startup.sh <<'END'\n{THEIR_SCRIPT}END"));
    unit(&machine, "nomad-startup", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /srv/startup.sh");
    machine.done("systemctl enable --now docker hub");
    machine.done(
        "mkdir /etc/chandler && printf 'upstreams: [{name: docker.io, url: \"http://127.0.0.1:5555\"}]\n' >/etc/chandler/mirror.yaml",
    );
    machine.done("/opt/chandler install mirror && /opt/chandler install agent");
    machine.done("printf 'mirrors: [http://127.0.0.1:5000]\nengines: [docker]\n' >/etc/chandler/agent.yaml");
    // The file that there is at first is put behind the mirror, and then somebody else's is.
    machine.done("printf '%s' '{\"debug\":false}' >/etc/docker/daemon.json && chandler apply --yes");
    assert!(mirrors(&machine).contains(MIRROR), "{}", machine.done("cat /etc/docker/daemon.json"));
    machine.done("systemctl enable --now nomad-startup && test \"$(cat /etc/docker/daemon.json.orig)\" != ''");
    assert!(mirrors(&machine).contains(MIRROR), "{}", machine.done("cat /etc/docker/daemon.json"));
    assert!(machine.done("cat /etc/docker/daemon.json").contains(r#""default-address-pools":[{"base":"10.99.0.0/16","size":24}]"#));
    machine.done("docker pull library/hello");

    for boot in 1..=2 {
        machine.reboot();
        machine.done("systemctl is-active docker chandler-mirror chandler-agent nomad-startup");
        assert!(
            mirrors(&machine).contains(MIRROR),
            "{boot}: {}",
            machine.done("cat /etc/docker/daemon.json; journalctl --no-pager -u docker")
        );
        assert!(machine.done("chandler verify").contains("good  Docker pulls through"));
        // Nobody but the mirror has it, from before.
        machine.done("systemctl stop hub && docker rmi library/hello && docker pull library/hello && systemctl start hub");
    }

    let pid = machine.done("systemctl show --property=MainPID --value docker");
    machine.done("/opt/chandler uninstall agent");
    assert_eq!(machine.done("cat /etc/docker/daemon.json"), THEIRS);
    assert_eq!(mirrors(&machine), "[]");
    assert_eq!(machine.done("systemctl show --property=MainPID --value docker"), pid, "it is the same process");
    machine.reboot();
    machine.done("systemctl is-active docker chandler-mirror nomad-startup");
    assert_eq!((mirrors(&machine).as_str(), machine.done("cat /etc/docker/daemon.json").as_str()), ("[]", THEIRS));
}

/// Which the running Docker has.
fn mirrors(machine: &SystemdMachine) -> String {
    machine.done("docker info --format '{{json .RegistryConfig.Mirrors}}'").trim().to_owned()
}

/// A service of somebody else's.
fn unit(machine: &SystemdMachine, name: &str, lines: &str) {
    let text = format!("[Unit]\nAfter=docker.service\n[Service]\n{lines}\n[Install]\nWantedBy=multi-user.target\n");
    machine.done(&format!("cat >/etc/systemd/system/{name}.service <<'END'\n{text}END\nsystemctl daemon-reload"));
}

const MIRROR: &str = "http://127.0.0.1:5000";
/// As it comes from there, but for a user namespace.
const THEIRS: &str = r#"{"default-address-pools":[{"base":"10.99.0.0/16","size":24}]}"#;
/// What theirs does at a start of the machine.
const THEIR_SCRIPT: &str = r#"
set -e
cp /etc/docker/daemon.json /etc/docker/daemon.json.orig
printf '%s' '{"default-address-pools":[{"base":"10.99.0.0/16","size":24}]}' >/etc/docker/daemon.json
systemctl restart docker
"#;
