//! Podman, Skopeo and Buildah: they share `/etc/containers`, have no daemon, and read `registries.conf` at each command.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Answer, Machine, MachineConfig};
use crate::tools;

/// A machine with the three programs and a storage of its own.
#[derive(Debug)]
pub struct Podman {
    machine: Machine,
    program: PathBuf,
    skopeo: PathBuf,
    buildah: PathBuf,
}

impl Podman {
    /// Makes a machine whose `registries.conf` names the mirrors, or `None` after saying what is missing.
    pub async fn start(config: MachineConfig) -> Option<Self> {
        let machine = Machine::start(&config).await?;
        Self::start_on(machine, &config)
    }

    /// The same on a machine that somebody else has furnished.
    pub fn start_on(machine: Machine, config: &MachineConfig) -> Option<Self> {
        let [podman, skopeo, buildah, conmon, runc] = tools::require_all(["podman", "skopeo", "buildah", "conmon", "runc"])?;
        machine.write("/etc/containers/policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        machine.write("/etc/containers/registries.conf", registries(config));
        machine.write("/etc/containers/containers.conf", engine(&conmon, &runc));
        let storage = machine.store();
        let storage = format!("[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/graph\"\nrunroot = \"{0}/run\"\n", storage.display());
        machine.write("/etc/containers/storage.conf", storage);
        Some(Self { machine, program: podman, skopeo, buildah })
    }

    /// `podman pull IMAGE`; name it with its registry: `docker.io/library/alpine:3.20`.
    pub async fn pull(&self, image: &str) -> Answer {
        self.podman(["pull", image]).await
    }

    /// `podman rmi --force IMAGE`.
    pub async fn rmi(&self, image: &str) -> Answer {
        self.podman(["rmi", "--force", image]).await
    }

    /// `podman run --rm ARGUMENTS`, without a network.
    pub async fn run<const N: usize>(&self, arguments: [&str; N]) -> Answer {
        let parent = self.machine.cgroup();
        self.podman(["run", "--rm", "--network", "none", "--cgroup-parent", &parent].iter().chain(&arguments)).await
    }

    /// The digest under which the registry has the image, `sha256:…`.
    pub async fn image_digest(&self, image: &str) -> String {
        let digest = self.podman(["image", "inspect", "--format", "{{.Digest}}", image]).await.expect_success();
        digest.trim().to_owned()
    }

    /// Any `podman` command.
    pub async fn podman<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        self.client(&self.program, arguments).await
    }

    /// Any `skopeo` command: `["copy", "docker://docker.io/library/alpine:3.20", "dir:/…"]`. `inspect` needs `--no-tags`: the list of tags
    /// never comes from a mirror.
    pub async fn skopeo<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        self.client(&self.skopeo, arguments).await
    }

    /// Any `buildah` command. It builds with `["build", "--isolation", "chroot", "--network", "host", …]`.
    pub async fn buildah<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        self.client(&self.buildah, arguments).await
    }

    /// The machine below, for files in its `/etc` and for what it connected to.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The beginning of a `podman` command.
    pub fn command(&self) -> Command {
        self.machine.command(&self.program)
    }

    async fn client<A: AsRef<OsStr>>(&self, program: &Path, arguments: impl IntoIterator<Item = A>) -> Answer {
        let mut command = self.machine.command(program);
        command.args(arguments);
        Answer::of(&mut command).await
    }
}

/// Without systemd, and with a runtime that takes every layout of control groups.
fn engine(conmon: &Path, runc: &Path) -> String {
    format!(
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nconmon_path = [\"{}\"]\nruntime = \"runc\"\n\
         [engine.runtimes]\nrunc = [\"{}\"]\n",
        conmon.display(),
        runc.display()
    )
}

/// `registries.conf` with each mirror of Docker Hub in order. A mirror is written without its scheme: `insecure` allows plain HTTP.
fn registries(config: &MachineConfig) -> String {
    let mut text = "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"docker.io\"\n".to_owned();
    for mirror in &config.mirrors {
        let (scheme, location) = mirror.split_once("://").unwrap_or(("https", mirror));
        let location = location.trim_end_matches('/');
        let insecure = scheme == "http" || config.insecure.iter().any(|host| host == location);
        writeln!(text, "[[registry.mirror]]\nlocation = \"{location}\"\ninsecure = {insecure}").expect("a string takes text");
    }
    for host in &config.insecure {
        writeln!(text, "[[registry]]\nlocation = \"{host}\"\ninsecure = true").expect("a string takes text");
    }
    text
}
