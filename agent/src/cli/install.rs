//! What may be written behind `chandler install` and `chandler uninstall`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::engines::MirrorUrl;
use crate::trust::CaChoice;

#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    #[command(subcommand)]
    pub(crate) what: Install,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Install {
    /// The mirror, as a service of its own user
    Mirror(InstallMirrorArgs),
    /// The agent, which puts the engines behind the mirror at each boot and before each start of Docker
    Agent(InstallAgentArgs),
}

#[derive(Args, Debug)]
pub(crate) struct InstallMirrorArgs {
    /// The configuration that it runs by [default: /etc/chandler/mirror.yaml, made with comments alone where it is missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) local: LocalArgs,
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Let systemd hold the listeners' sockets, so that a restart refuses no connection
    #[arg(long)]
    pub(crate) socket: bool,
    /// Restart a running mirror if its program or unit changed
    #[arg(long)]
    pub(crate) restart: bool,
    /// Change nothing: say what would be done, and end with 3 if that is anything
    #[arg(long)]
    pub(crate) check: bool,
}

/// A mirror for one machine.
#[derive(Args, Debug)]
pub(crate) struct LocalArgs {
    /// For this machine's engines alone, in front of the site's mirror: writes the configuration for that
    #[arg(long, requires = "mirror", conflicts_with = "config")]
    pub(crate) local: bool,
    /// With --local: the site's mirror, scheme, host and port (repeatable, in the order in which they are asked)
    #[arg(long, value_name = "URL", requires = "local")]
    pub(crate) mirror: Vec<MirrorUrl>,
    /// With --local: by what the site's mirror is known over HTTPS: a PEM file, or the SHA-256 of its CA, which is fetched from it [default: the system's roots]
    #[arg(long, value_name = "FILE|sha256:HEX", requires = "local")]
    pub(crate) ca: Option<CaChoice>,
    /// With --local: a registry beside Docker Hub that the site's mirror has, such as ghcr.io (repeatable)
    #[arg(long, value_name = "HOST", requires = "local")]
    pub(crate) registry: Vec<String>,
    /// With --local: where engines ask it
    #[arg(long, value_name = "ADDR", requires = "local", default_value = "127.0.0.1:5000", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
}

/// What only this machine reaches.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(address),
        _ => Err("write an address of loopback and a port, such as 127.0.0.1:5000: it is for this machine alone".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct InstallAgentArgs {
    /// The configuration that it goes by [default: /etc/chandler/agent.yaml, made with comments alone where it is missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: AgentSettingsArgs,
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Change nothing: say what would be done, and end with 3 if that is anything
    #[arg(long)]
    pub(crate) check: bool,
}

/// What is written into `agent.yaml` where there is none.
#[derive(Args, Debug)]
pub(crate) struct AgentSettingsArgs {
    /// The mirror, written into agent.yaml where there is none (repeatable, in the order in which they are asked)
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    pub(crate) mirror: Vec<MirrorUrl>,
    /// The same: the mirror that runs on this machine
    #[arg(long, conflicts_with_all = ["config", "mirror"])]
    pub(crate) local: bool,
    /// By what the mirror is known over HTTPS: a PEM file, or the SHA-256 of its CA
    #[arg(long, value_name = "FILE|sha256:HEX", requires = "mirror")]
    pub(crate) ca: Option<CaChoice>,
    /// The whole system is to trust the mirror's CA
    #[arg(long, requires = "ca")]
    pub(crate) system_trust: bool,
    /// A registry beside Docker Hub (repeatable)
    #[arg(long, value_name = "HOST")]
    pub(crate) registry: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct UninstallArgs {
    #[command(subcommand)]
    pub(crate) what: Uninstall,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Uninstall {
    /// The mirror's service; keys, certificates, cached images and configuration stay
    Mirror(UninstallWhatArgs),
    /// The agent, after the engines went back to what they were; its configuration stays
    Agent(UninstallWhatArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UninstallWhatArgs {
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Remove what it kept, too: keys, certificates, cached images, configuration
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TreeArgs {
    /// A tree that is no running machine: an image that is being built
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
