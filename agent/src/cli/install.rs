//! What may be written behind `chandler install` and `chandler uninstall`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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

#[derive(Args, Debug)]
pub(crate) struct InstallAgentArgs {
    /// The configuration that it goes by [default: /etc/chandler/agent.yaml, made with comments alone where it is missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tree: TreeArgs,
    /// Change nothing: say what would be done, and end with 3 if that is anything
    #[arg(long)]
    pub(crate) check: bool,
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
