//! `tests/vm`: the agent's promises on a whole machine that boots again, as a report for a person.
//!
//! A step that fails panics with what the machine said; the report names it, and the machine is gone.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use tests::hub::Hub;
use tests::program::Program;
use tests::tools;
use tests::vm::{HOST, Vm};

fn main() -> ExitCode {
    let began = Instant::now();
    panic::set_hook(Box::new(|_| ())); // What it says is told below its step.
    let trial = step("a machine with Docker boots", Trial::begin).flatten();
    let held = trial.and_then(|mut trial| {
        STEPS.iter().try_for_each(|(name, act)| step(name, || act(&mut trial)))?;
        step("the machine and the mirror end in order", || trial.end())
    });
    say(&format!("{} after {} s\n", if held.is_some() { "everything held" } else { "FAILED" }, began.elapsed().as_secs()));
    if held.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a step comes to, with a line for a person; nothing when it fails, and then what was wrong below the line.
fn step<T>(name: &str, act: impl FnOnce() -> T) -> Option<T> {
    let began = Instant::now();
    if io::stdout().is_terminal() {
        say(&format!("      {name}\r"));
    }
    // What it holds is dropped, and not used again, after a failure.
    let done = catch_unwind(AssertUnwindSafe(act));
    say(&format!("{}  {name} ({} s)\n", if done.is_ok() { "  ok" } else { "FAIL" }, began.elapsed().as_secs()));
    done.map_err(|wrong| say(&format!("{}\n", wrong.downcast_ref::<String>().map_or("it panicked", |text| text)))).ok()
}

/// Nothing is left to do when nobody reads it.
fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// The machine, and what it pulls through.
struct Trial {
    hub: Hub,
    mirror: Program,
    vm: Vm,
    /// The mirror as the machine knows it.
    url: String,
    /// The processes that nothing may disturb.
    alive: String,
}

/// What a person is told of it, and what it does.
type Step = (&'static str, fn(&mut Trial));

const STEPS: [Step; 9] = [
    ("a container runs, from before", Trial::start_container),
    ("chandler comes from the mirror", Trial::fetch_program),
    ("plan tells the change, and makes none", Trial::plan),
    ("apply puts Docker behind the mirror, without disturbing anything", Trial::apply),
    ("an image comes through the mirror, and runs", Trial::pull),
    ("undo gives the file back to the byte, and disturbs nothing either", Trial::undo),
    ("installed, it stays through a reboot at which a script writes daemon.json anew", Trial::survive),
    ("uninstalled, it leaves the file as the script wrote it", Trial::uninstall),
    ("and nothing comes back at the next reboot", Trial::stay_out),
];

impl Trial {
    fn begin() -> Option<Self> {
        let shell = std::fs::read(tools::require("busybox")?).expect("busybox can be read");
        let hub = Hub::start();
        hub.image("library/app").with_file("/bin/sh", 0o755, shell).entrypoint(["/bin/sh", "-c", "echo it runs"]).tag("1").push();
        let mirror = Program::of_hub(&hub.url()).start();
        let url = mirror.url().replace("127.0.0.1", HOST);
        let mut vm = Vm::boot(None)?;
        vm.until("docker info");
        Some(Self { hub, mirror, vm, url, alive: String::new() })
    }

    fn start_container(&mut self) {
        self.vm.done(
            "tar -C /bin -c busybox | docker import - before && docker run -d --name before --restart=always before /busybox sleep 1000000",
        );
        self.vm.done(&format!(
            "printf '%s' '{ORIGINAL}' >/etc/docker/daemon.json && chmod 0600 /etc/docker/daemon.json && systemctl reload docker"
        ));
        self.alive = self.alive();
    }

    fn fetch_program(&mut self) {
        let page = format!("{}/chandler/bin/linux-amd64", self.url);
        self.vm.done(&format!("cd /tmp && curl -fsSO {page} -fsSO {page}.sha256 && sha256sum -c linux-amd64.sha256 && install linux-amd64 /usr/local/bin/chandler"));
        assert!(self.vm.done("chandler --version").starts_with("chandler "));
    }

    fn plan(&mut self) {
        let said = self.vm.run(&format!("chandler plan --check --mirror {}", self.url));
        assert!(said.code == Some(3) && said.text.contains(&self.url), "{said:?}");
        assert_eq!(self.vm.done("cat /etc/docker/daemon.json"), ORIGINAL);
    }

    fn apply(&mut self) {
        let apply = format!("chandler apply --yes --mirror {}", self.url);
        self.vm.done(&apply);
        assert!(self.mirrors().contains(&self.url), "{}", self.vm.done("cat /etc/docker/daemon.json"));
        self.assert_proved();
        let written = self.vm.done(FILE);
        self.vm.done(&apply);
        assert_eq!(self.vm.done(FILE), written, "the second did something");
        assert_eq!(self.alive(), self.alive);
    }

    fn pull(&mut self) {
        assert!(self.vm.done("docker run --rm app:1").contains("it runs"));
        let counts = self.hub.count();
        let others: Vec<_> = counts.all().iter().filter(|seen| !seen.header("user-agent").starts_with("chandler/")).collect();
        assert!(others.is_empty() && !counts.all().is_empty(), "{others:?}");
    }

    fn undo(&mut self) {
        self.vm.done("chandler undo --yes");
        assert_eq!(self.vm.done("cat /etc/docker/daemon.json; stat -c ' %a %U' /etc/docker/daemon.json"), format!("{ORIGINAL} 600 root\n"));
        assert_eq!(self.mirrors(), "[]");
        assert_eq!(self.alive(), self.alive);
    }

    fn survive(&mut self) {
        self.vm.done("chandler install agent");
        self.vm.done(&format!("printf 'mirrors: [%s]\\n' {} >/etc/chandler/agent.yaml", self.url));
        self.vm.done(&format!("cat >/usr/local/sbin/their-startup <<'END'\n{THEIR_SCRIPT}END\nchmod +x /usr/local/sbin/their-startup"));
        self.vm.done(&format!("cat >/etc/systemd/system/their-startup.service <<'END'\n{THEIR_UNIT}END\nsystemctl enable their-startup"));
        self.vm.reboot();
        self.vm.done("systemctl is-active docker chandler-agent their-startup");
        assert!(self.vm.done("cat /etc/docker/daemon.json").contains("10.99.0.0/16"));
        assert!(self.mirrors().contains(&self.url), "{}", self.vm.done("cat /etc/docker/daemon.json"));
        self.assert_proved();
        self.vm.done("docker rmi app:1 && docker pull app:1");
        self.alive = self.alive();
    }

    fn uninstall(&mut self) {
        self.vm.done("chandler uninstall agent");
        assert_eq!((self.vm.done("cat /etc/docker/daemon.json").as_str(), self.mirrors().as_str()), (THEIRS, "[]"));
        assert_eq!(self.alive(), self.alive);
    }

    fn stay_out(&mut self) {
        self.vm.reboot();
        self.vm.done("systemctl is-active docker their-startup");
        assert_eq!((self.vm.done("cat /etc/docker/daemon.json").as_str(), self.mirrors().as_str()), (THEIRS, "[]"));
        assert_eq!(self.vm.done("find /etc/systemd /usr/local -name '*chandler*'"), "");
    }

    fn end(self) {
        self.vm.power_off();
        drop(self.mirror);
    }

    /// The daemon's and the container's processes.
    fn alive(&mut self) -> String {
        self.vm.until("docker inspect --format '{{.State.Running}}' before | grep true");
        self.vm.done("pidof dockerd && docker inspect --format '{{.State.Pid}}' before")
    }

    /// Those that the running Docker has.
    fn mirrors(&mut self) -> String {
        self.vm.done("docker info --format '{{json .RegistryConfig.Mirrors}}'").trim().to_owned()
    }

    /// By a pull that only the mirror can answer.
    fn assert_proved(&mut self) {
        let said = self.vm.done(&format!("chandler verify --mirror {}", self.url));
        assert!(said.contains("good  Docker pulls through"), "{said}");
    }
}

const FILE: &str = "stat -c '%i %y' /etc/docker/daemon.json; cat /etc/docker/daemon.json";
/// As people write it.
const ORIGINAL: &str = "{ \"log-opts\": {\"max-size\":\"10m\"},\n\t\"debug\" : false }";
const THEIRS: &str = r#"{"default-address-pools":[{"base":"10.99.0.0/16","size":24}]}"#;
/// As `CircleCI` Server 4's does at a machine's start.
const THEIR_SCRIPT: &str = r#"#!/bin/sh
set -e
cp /etc/docker/daemon.json /etc/docker/daemon.json.orig
printf '%s' '{"default-address-pools":[{"base":"10.99.0.0/16","size":24}]}' >/etc/docker/daemon.json
service docker restart
"#;
const THEIR_UNIT: &str = "\
[Unit]
After=docker.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/their-startup
[Install]
WantedBy=multi-user.target
";
