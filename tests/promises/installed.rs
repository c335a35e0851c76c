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
