//! containerd with `ctr`, and mirrors in `hosts.toml`.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Answer, Machine, MachineConfig};
use crate::tools;

/// A running containerd on a machine of its own.
#[derive(Debug)]
pub struct Containerd {
    machine: Machine,
    program: PathBuf,
    ctr: PathBuf,
}

impl Containerd {
    /// Starts containerd with `/etc/containerd/certs.d/docker.io/hosts.toml`, or `None` after saying what is missing.
    pub async fn start(config: MachineConfig) -> Option<Self> {
        Self::start_after(&config, |machine| {
            machine.write(&format!("{HOSTS}/docker.io/hosts.toml"), hosts(&config));
            machine.write(CONFIG, daemon_config(machine, WITHOUT_CRI));
        })
        .await
    }

    /// Starts containerd on a machine that somebody else has furnished, by whatever `hosts.toml` is there.
    pub async fn start_on(machine: Machine) -> Option<Self> {
        machine.write(CONFIG, daemon_config(&machine, WITHOUT_CRI));
        Self::run_on(machine).await
    }

    /// With the plugin by which Kubernetes pulls, whose settings of registries are these lines of `config.toml`, and no `hosts.toml`.
    pub async fn start_with_cri(settings: &str) -> Option<Self> {
        Self::start_after(&MachineConfig::default(), |machine| {
            let folder = machine.store().join("opt");
            let opt = format!("[plugins.'io.containerd.internal.v1.opt']\npath = '{}'\n", folder.display());
            machine.write(CONFIG, daemon_config(machine, "") + &opt + settings);
        })
        .await
    }

    async fn start_after(config: &MachineConfig, write: impl FnOnce(&Machine)) -> Option<Self> {
        let machine = Machine::start(config).await?;
        write(&machine);
        Self::run_on(machine).await
    }

    async fn run_on(machine: Machine) -> Option<Self> {
        let [program, ctr, _] = tools::require_all(["containerd", "ctr", "containerd-shim-runc-v2"])?;
        let mut containerd = Self { machine, program, ctr };
        containerd.run().await;
        Some(containerd)
    }

    /// Ends it and starts it anew, as an operator does; containers run on.
    pub async fn restart(&mut self) {
        self.machine.end_daemon("containerd").await;
        self.run().await;
    }

    async fn run(&mut self) {
        let Self { machine, program, ctr } = self;
        let mut daemon = machine.command(program);
        daemon.args(["--config", CONFIG]);
        machine.start_daemon(daemon);
        machine.wait_for_daemon(async |machine| Answer::of(client_on(machine, ctr).arg("version")).await.is_success()).await;
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket(&self.machine)
    }

    /// `ctr images pull IMAGE` for this machine's platform; name it in full: `docker.io/library/alpine:3.20`.
    pub async fn pull(&self, image: &str) -> Answer {
        self.ctr(["images", "pull", "--hosts-dir", HOSTS, image]).await
    }

    /// Removes the image, and waits until its content is gone too.
    pub async fn rmi(&self, image: &str) -> Answer {
        self.ctr(["images", "remove", "--sync", image]).await
    }

    /// The digest under which the registry has the image, `sha256:…`.
    pub async fn image_digest(&self, image: &str) -> String {
        let list = self.ctr(["images", "list", &format!("name=={image}")]).await.expect_success();
        let digest = list.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("{image} is not among the images: {list}")).to_owned()
    }

    /// Any `ctr` command.
    pub async fn ctr<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        Answer::of(client_on(&self.machine, &self.ctr).args(arguments)).await
    }

    /// The machine below, for files in its `/etc` and for what it connected to.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The beginning of a `ctr` command.
    pub fn client(&self) -> Command {
        client_on(&self.machine, &self.ctr)
    }
}

fn client_on(machine: &Machine, ctr: &Path) -> Command {
    let mut command = machine.command(ctr);
    command.arg("--address").arg(socket(machine));
    command
}

fn socket(machine: &Machine) -> PathBuf {
    machine.folder().join("containerd.sock")
}

fn daemon_config(machine: &Machine, top: &str) -> String {
    let (folder, store) = (machine.folder().display().to_string(), machine.store().display().to_string());
    format!(
        "version = 3\nroot = \"{store}/root\"\nstate = \"{store}/state\"\n{top}\
         [grpc]\naddress = \"{folder}/containerd.sock\"\n[ttrpc]\naddress = \"{folder}/containerd.sock.ttrpc\"\n"
    )
}

/// `hosts.toml` for Docker Hub: each mirror in order, then the Hub.
fn hosts(config: &MachineConfig) -> String {
    let mut text = "server = \"https://registry-1.docker.io\"\n".to_owned();
    for mirror in &config.mirrors {
        let host = mirror.split_once("://").map_or(mirror.as_str(), |(_, rest)| rest).trim_end_matches('/');
        writeln!(text, "[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]").expect("a string takes text");
        if config.insecure.iter().any(|known| known == host) {
            text.push_str("skip_verify = true\n");
        }
        if config.certs_d.iter().any(|(known, _)| known == host) {
            writeln!(text, "ca = \"/etc/containers/certs.d/{host}/ca.crt\"").expect("a string takes text");
        }
    }
    text
}

const CONFIG: &str = "/etc/containerd/config.toml";
const HOSTS: &str = "/etc/containerd/certs.d";
const WITHOUT_CRI: &str =
    "disabled_plugins = [\"io.containerd.cri.v1.runtime\", \"io.containerd.cri.v1.images\", \"io.containerd.grpc.v1.cri\"]\n";
