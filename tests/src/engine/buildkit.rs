//! `BuildKit` by itself: the daemon with mirrors in `buildkitd.toml`, and `buildctl`. CI systems build with it where no Docker daemon runs.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Answer, Machine, MachineConfig};
use crate::tools;

/// A running buildkitd on a machine of its own.
#[derive(Debug)]
pub struct BuildKit {
    machine: Machine,
    program: PathBuf,
    client: PathBuf,
}

impl BuildKit {
    /// Starts buildkitd with `/etc/buildkit/buildkitd.toml`, or `None` after saying what is missing.
    pub async fn start(config: MachineConfig) -> Option<Self> {
        Self::start_after(config, |_| {}).await
    }

    /// The same, after something was done to the machine's files: buildkitd reads them at its start only.
    pub async fn start_after(config: MachineConfig, change: impl FnOnce(&Machine)) -> Option<Self> {
        let [program, client, _] = tools::require_all(["buildkitd", "buildctl", "runc"])?;
        let machine = Machine::start(&config).await?;
        machine.write("/etc/buildkit/buildkitd.toml", daemon_config(&machine, &config));
        change(&machine);
        let mut buildkit = Self { machine, program, client };
        buildkit.run().await;
        Some(buildkit)
    }

    /// Ends it and starts it anew, as an operator does.
    pub async fn restart(&mut self) {
        self.machine.end_daemon("buildkitd").await;
        self.run().await;
    }

    async fn run(&mut self) {
        let Self { machine, program, client } = self;
        machine.start_daemon(machine.command(program));
        machine.wait_for_daemon(async |machine| Answer::of(client_on(machine, client).args(["debug", "workers"])).await.is_success()).await;
    }

    /// Builds the folder's `Dockerfile` from scratch and writes the files of what was built into `into`, which it makes.
    pub async fn build(&self, context: &Path, into: &Path) -> Answer {
        let local = |name: &str| format!("{name}={}", context.display());
        let output = format!("type=local,dest={}", into.display());
        let words = ["build", "--progress", "plain", "--no-cache", "--frontend", "dockerfile.v0"];
        let folders = ["--local", &local("context"), "--local", &local("dockerfile"), "--output", &output];
        self.buildctl(words.into_iter().chain(folders)).await
    }

    /// Forgets all that was pulled and built.
    pub async fn prune(&self) -> Answer {
        self.buildctl(["prune", "--all"]).await
    }

    /// Any `buildctl` command.
    pub async fn buildctl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        Answer::of(client_on(&self.machine, &self.client).args(arguments)).await
    }

    /// The machine below, for files in its `/etc` and for what it connected to.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The beginning of a `buildctl` command.
    pub fn client(&self) -> Command {
        client_on(&self.machine, &self.client)
    }
}

fn client_on(machine: &Machine, client: &Path) -> Command {
    let mut command = machine.command(client);
    command.arg("--addr").arg(format!("unix://{}", machine.folder().join("buildkitd.sock").display()));
    command
}

/// `buildkitd.toml` as an operator writes it: mirrors of Docker Hub in order, and for each what its scheme and its certificate need.
fn daemon_config(machine: &Machine, config: &MachineConfig) -> String {
    let hosts: Vec<&str> = config.mirrors.iter().map(|mirror| host_of(mirror)).collect();
    let mut text = format!(
        "root = \"{}\"\n[grpc]\naddress = [\"unix://{}\"]\n[worker.containerd]\nenabled = false\n[worker.oci]\nenabled = true\n\
         networkMode = \"host\"\ndefaultCgroupParent = \"{}\"\n[registry.\"docker.io\"]\nmirrors = {hosts:?}\n",
        machine.store().join("buildkit").display(),
        machine.folder().join("buildkitd.sock").display(),
        machine.cgroup(),
    );
    for (mirror, host) in config.mirrors.iter().zip(hosts) {
        writeln!(text, "[registry.\"{host}\"]\nhttp = {}", mirror.starts_with("http:")).expect("a string takes text");
        if config.insecure.iter().any(|known| known == host) {
            text.push_str("insecure = true\n");
        }
        if config.certs_d.iter().any(|(known, _)| known == host) {
            writeln!(text, "ca = [\"/etc/containers/certs.d/{host}/ca.crt\"]").expect("a string takes text");
        }
    }
    text
}

fn host_of(mirror: &str) -> &str {
    mirror.split_once("://").map_or(mirror, |(_, rest)| rest).trim_end_matches('/')
}
