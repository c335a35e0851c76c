//! Proof that containerd pulls through the mirror: it pulls an image that only the mirror can answer, and removes it. Effects.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::look::{Daemon, Facts};
use crate::engines::canary::Nonce;
use crate::engines::files::found;
use crate::engines::program::{self, ProgramError, Proof, Timed};
use crate::host::Root;

/// Pulls as Kubernetes does; where containerd's plugin for that is off, by `ctr`. One proof for each daemon, with what it is of.
pub async fn prove(
    facts: &Facts,
    nonces: impl Fn() -> std::io::Result<Nonce>,
    patience: Duration,
) -> std::io::Result<Vec<(String, Nonce, Proof)>> {
    let mut proofs = Vec::new();
    if let Some(daemon) = &facts.daemon {
        let nonce = nonces()?;
        let proof = of_daemon(daemon, &nonce, patience).await;
        proofs.push(("containerd".to_owned(), nonce, proof));
    }
    for distribution in facts.distributions.iter().filter(|distribution| distribution.runs) {
        let nonce = nonces()?;
        let proof = match distribution.crictl() {
            Some(crictl) => pull_by_cri(crictl, &nonce, patience).await.into(),
            None => Proof::Untried(format!("crictl of {} is not there to pull with", distribution.name)),
        };
        proofs.push((distribution.name.to_owned(), nonce, proof));
    }
    Ok(proofs)
}

async fn of_daemon(daemon: &Daemon, nonce: &Nonce, patience: Duration) -> Proof {
    let Ok(settings) = &daemon.settings else { return Proof::Untried(format!("{} can't be read", daemon.config.display())) };
    let socket = settings.address.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
    let program = |name: &str| found(&Root::machine(), &[name]).into_iter().next();
    if daemon.pid.is_none() {
        return Proof::Untried("containerd does not run".to_owned());
    }
    if !settings.without_cri {
        let Some(crictl) = program("crictl") else { return Proof::Untried(WITHOUT_CRICTL.to_owned()) };
        let crictl = || {
            let mut command = Command::new(&crictl);
            command.arg("--runtime-endpoint").arg(format!("unix://{}", socket.display()));
            command.arg("--image-endpoint").arg(format!("unix://{}", socket.display()));
            command
        };
        return pull_by_cri(crictl, nonce, patience).await.into();
    }
    match client(daemon) {
        Ok(ctr) => pull(ctr, &daemon.folders()[0], nonce, patience).await.into(),
        Err(why) => Proof::Untried(why.to_owned()),
    }
}

/// `ctr` for a daemon that runs; or why there is none.
pub fn client(daemon: &Daemon) -> Result<impl Fn() -> Command + use<>, &'static str> {
    let ctr = found(&Root::machine(), &["ctr"]).into_iter().next().ok_or("ctr is not there to pull with")?;
    let socket = daemon.settings.as_ref().ok().and_then(|settings| settings.address.clone()).unwrap_or_else(|| PathBuf::from(SOCKET));
    if daemon.pid.is_none() {
        return Err("containerd does not run");
    }
    Ok(move || {
        let mut command = Command::new(&ctr);
        command.arg("--address").arg(&socket);
        command
    })
}

/// Pulls the canary by `ctr`, in a namespace of its own that is removed with all in it, whatever came of it.
///
/// `ctr` makes a command line's beginning, with the daemon's address if it is not the usual one; `hosts` is where its `hosts.toml` files are.
pub async fn pull(ctr: impl Fn() -> Command, hosts: &Path, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    timed(ctr, hosts, nonce, patience).await.pulled
}

/// The same, and how long the pull took.
pub async fn timed(ctr: impl Fn() -> Command, hosts: &Path, nonce: &Nonce, patience: Duration) -> Timed {
    let name = format!("{}:{}", nonce.repository(), Nonce::tag());
    // Two proofs at once must not remove each other's.
    let namespace = format!("chandler-canary-{nonce}");
    let with = |words: &[&str]| {
        let mut command = ctr();
        command.args(["--namespace", &namespace]).args(words);
        command
    };
    let run = async |words: &[&str]| program::run(with(words), REMOVAL).await;
    let folder = hosts.display().to_string();
    let timed = Timed::run(with(&["images", "pull", "--hosts-dir", &folder, &name]), patience).await;
    // Content that nothing names any more goes with the image, and with the lease of a pull that was cut.
    let leases = run(&["leases", "list", "--quiet"]).await.unwrap_or_default();
    for lease in leases.split_whitespace() {
        let _ = run(&["leases", "delete", "--sync", lease]).await;
    }
    let _ = run(&["images", "remove", "--sync", &name]).await;
    let removed = run(&["namespaces", "remove", &namespace]).await;
    if let (Ok(()), Err(error)) = (&timed.pulled, removed) {
        program::left_behind(nonce, &error);
    }
    timed
}

/// The same by `crictl`, as Kubernetes pulls: by the daemon's own `config_path`.
pub async fn pull_by_cri(crictl: impl Fn() -> Command, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    let name = format!("{}:{}", nonce.repository(), Nonce::tag());
    let run = async |words: &[&str]| {
        let mut command = crictl();
        command.args(words);
        program::run(command, patience).await
    };
    let pulled = run(&["pull", &name]).await;
    let removed = run(&["rmi", &name]).await;
    if let (Ok(_), Err(error)) = (&pulled, removed) {
        program::left_behind(nonce, &error);
    }
    pulled.map(drop)
}

/// `ctr` is told where files are, and the daemon by its own configuration.
const WITHOUT_CRICTL: &str =
    "crictl is not there to pull with as Kubernetes does, and a pull by ctr says nothing of what the daemon itself is configured for";
/// However short a pull's time is.
const REMOVAL: Duration = Duration::from_secs(60);
const SOCKET: &str = "/run/containerd/containerd.sock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::containerd::settings::Settings;

    #[tokio::test]
    async fn ctr_is_no_proof_for_a_daemon_that_kubernetes_pulls_by() {
        if !found(&Root::machine(), &["crictl"]).is_empty() {
            return; // Then it is asked, and says what it says.
        }
        let settings = Settings { address: Some("/nowhere/containerd.sock".into()), ..Settings::default() };
        let daemon = Daemon {
            pid: Some(7),
            config: "/etc/containerd/config.toml".into(),
            is_written: true,
            is_behind: false,
            settings: Ok(settings),
        };
        let proof = of_daemon(&daemon, &Nonce::new().expect("the system has chance"), Duration::from_mins(1)).await;
        assert!(matches!(&proof, Proof::Untried(why) if why.starts_with("crictl is not there")), "{proof:?}");
    }
}
