//! Docker: the daemon, and the command line that people use with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use super::{Answer, Machine, MachineConfig, Network};
use crate::tools;

/// Which Docker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// 20.10: the legacy graph driver store. Only names of the Hub go to mirrors, without `?ns=`.
    V20,
    /// 29: the containerd store, `?ns=docker.io`, `hosts.toml`.
    V29,
}

/// How an image is built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Builder {
    /// The builder inside of old daemons, still there in new ones.
    Classic,
    /// `BuildKit` as the daemon embeds it; through the buildx plugin on 29, as its packages do.
    BuildKit,
}

/// A running Docker daemon on a machine of its own.
#[derive(Debug)]
pub struct Dockerd {
    machine: Machine,
    release: Release,
    client: PathBuf,
}

impl Dockerd {
    /// Starts a daemon that uses the mirrors, or `None` after saying what is missing for it.
    pub async fn start(release: Release, config: MachineConfig) -> Option<Self> {
        let [program, client] = match release {
            Release::V20 => tools::require_all(["dockerd-20", "docker", "docker-compose"]).map(|[program, client, _]| [program, client])?,
            Release::V29 => {
                let [program, client, ..] =
                    tools::require_all(["dockerd-29", "docker", "containerd", "runc", "docker-proxy", "docker-buildx", "docker-compose"])?;
                [program, client]
            }
        };
        let mut machine = Machine::start(&config).await?;
        configure(&machine, &config);
        machine.start_daemon(daemon(&machine, &program, config.network));
        machine.wait_for_daemon(async |machine| Answer::of(client_on(machine, &client).arg("version")).await.is_success()).await;
        Some(Self { machine, release, client })
    }

    /// Starts a daemon on a machine that somebody else has furnished, by whatever `daemon.json` is there.
    pub async fn start_on(mut machine: Machine, release: Release) -> Option<Self> {
        let program = if release == Release::V20 { "dockerd-20" } else { "dockerd-29" };
        let [program, client] = tools::require_all([program, "docker"])?;
        machine.start_daemon(daemon(&machine, &program, Network::Host));
        machine.wait_for_daemon(async |machine| Answer::of(client_on(machine, &client).arg("version")).await.is_success()).await;
        Some(Self { machine, release, client })
    }

    /// `docker pull IMAGE`.
    pub async fn pull(&self, image: &str) -> Answer {
        self.docker(["pull", image]).await
    }

    /// `docker rmi --force IMAGE`.
    pub async fn rmi(&self, image: &str) -> Answer {
        self.docker(["rmi", "--force", image]).await
    }

    /// `docker run --rm ARGUMENTS`, without a network on a machine that has no bridge.
    pub async fn run<const N: usize>(&self, arguments: [&str; N]) -> Answer {
        let network: &[&str] = if self.has_bridge() { &[] } else { &["--network", "none"] };
        self.docker(["run", "--rm"].iter().chain(network).chain(&arguments)).await
    }

    /// Builds the folder's `Dockerfile` from scratch and names the image.
    pub async fn build(&self, builder: Builder, context: &Path, tag: &str) -> Answer {
        let network: &[&str] = if self.has_bridge() { &[] } else { &["--network", "host"] };
        let verb: &[&str] = match (self.release, builder) {
            (Release::V29, Builder::BuildKit) => &["buildx", "build", "--load", "--progress", "plain"],
            _ => &["build"],
        };
        let mut command = self.command();
        command.env("DOCKER_BUILDKIT", if builder == Builder::BuildKit { "1" } else { "0" });
        command.args(verb).args(network).args(["--no-cache", "--tag", tag]).arg(context);
        Answer::of(&mut command).await
    }

    /// `docker load --input FILE`.
    pub async fn load(&self, file: &Path) -> Answer {
        self.docker(["load".as_ref(), "--input".as_ref(), file.as_os_str()]).await
    }

    /// The digest under which the registry has the image, `sha256:…`.
    pub async fn image_digest(&self, image: &str) -> String {
        let digests =
            self.docker(["image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", image]).await.expect_success();
        let digest = digests.lines().find_map(|line| line.split_once('@'));
        digest.unwrap_or_else(|| panic!("{image} has no digest: {digests}")).1.to_owned()
    }

    /// `docker compose up --detach` for the file.
    pub async fn compose_up(&self, file: &Path) -> Answer {
        let arguments = ["compose".as_ref(), "--progress".as_ref(), "plain".as_ref(), "--file".as_ref(), file.as_os_str()];
        self.docker(arguments.into_iter().chain(["up", "--detach"].map(OsStr::new))).await
    }

    /// Any other `docker` command. Paths have to be absolute.
    pub async fn docker<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        let mut command = self.command();
        command.args(arguments);
        Answer::of(&mut command).await
    }

    /// The `docker` command line for this daemon, not yet started.
    pub fn command(&self) -> Command {
        client_on(&self.machine, &self.client)
    }

    /// Makes the daemon read its `daemon.json` again, as agents do, and waits until it has: mirrors are among what it then takes.
    pub async fn reload(&self) {
        let reloads = |log: String| log.matches("Reloaded configuration").count();
        let before = reloads(self.machine.log());
        let mut signal = self.machine.command("sh".as_ref());
        signal.args(["-c", "kill -HUP \"$(cat \"$1\")\"", "sh"]).arg(self.machine.folder().join("pid"));
        Answer::of(&mut signal).await.expect_success();
        let until = Instant::now() + LONGEST_RELOAD;
        while reloads(self.machine.log()) == before {
            assert!(Instant::now() < until, "{:?} does not reload", self.release);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The machine below, for files in its `/etc` and for what it connected to.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// As [`Dockerd::machine`], to [reach](Machine::reach) servers.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    fn has_bridge(&self) -> bool {
        !self.machine.address().is_loopback()
    }
}

/// `daemon.json` as an operator writes it, and the plugins where the command line looks for them.
fn configure(machine: &Machine, config: &MachineConfig) {
    let daemon = json!({
        "registry-mirrors": config.mirrors,
        "insecure-registries": config.insecure,
        "cgroup-parent": machine.cgroup(),
    });
    machine.write("/etc/docker/daemon.json", daemon.to_string());
    let folder = machine.folder().join(".docker/cli-plugins");
    fs::create_dir_all(&folder).expect("a folder of ours can be made");
    for plugin in PLUGINS {
        if let Some(program) = tools::find(plugin) {
            symlink(program, folder.join(plugin)).expect("a link in a folder of ours can be made");
        }
    }
}

fn client_on(machine: &Machine, client: &Path) -> Command {
    let mut command = machine.command(client);
    command.env("DOCKER_HOST", format!("unix://{}", machine.folder().join("docker.sock").display()));
    command
}

fn daemon(machine: &Machine, program: &Path, network: Network) -> Command {
    let folder = machine.folder();
    let mut command = machine.command(program);
    command.arg("--host").arg(format!("unix://{}", folder.join("docker.sock").display()));
    command.arg("--data-root").arg(machine.store().join("data"));
    command.arg("--exec-root").arg(machine.store().join("exec"));
    command.arg("--pidfile").arg(folder.join("pid"));
    if network == Network::Host {
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
    }
    command
}

const PLUGINS: [&str; 2] = ["docker-buildx", "docker-compose"];
const LONGEST_RELOAD: Duration = Duration::from_mins(1);
