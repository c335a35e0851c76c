//! Proof that buildkitd pulls through the mirror: it builds on an image that only the mirror can answer, and forgets it. Effects.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::look::Daemon;
use crate::engines::canary::Nonce;
use crate::engines::files::found;
use crate::engines::program::{self, ProgramError, Proof, Timed};
use crate::host::Root;

/// Builds by `buildctl`, if that is there and the daemon runs. `folder` is empty and the caller's to remove.
pub async fn prove(daemon: &Daemon, folder: &Path, nonce: &Nonce, patience: Duration) -> Proof {
    match client(daemon) {
        Ok(buildctl) => build(buildctl, folder, nonce, patience).await.into(),
        Err(why) => Proof::Untried(why.to_owned()),
    }
}

/// `buildctl` for a daemon that runs; or why there is none.
pub fn client(daemon: &Daemon) -> Result<impl Fn() -> Command + use<>, &'static str> {
    if daemon.pid.is_none() {
        return Err("buildkitd does not run");
    }
    let buildctl = found(&Root::machine(), &["buildctl"]).into_iter().next().ok_or("buildctl is not there to build with")?;
    let address = daemon.address.clone();
    Ok(move || {
        let mut command = Command::new(&buildctl);
        command.args(address.iter().flat_map(|address| ["--addr", address]));
        command
    })
}

/// Builds `FROM` the canary in `folder`, which is empty and the caller's to remove, and takes what was pulled out of the cache, whatever came of it.
///
/// `buildctl` makes a command line's beginning, with the daemon's address if it is not the usual one.
pub async fn build(buildctl: impl Fn() -> Command, folder: &Path, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    build_on(buildctl, folder, &nonce.repository(), nonce, patience).await.pulled
}

/// The same `FROM` another repository, whose name has the nonce in it, and how long the build took.
pub async fn build_on(buildctl: impl Fn() -> Command, folder: &Path, repository: &str, nonce: &Nonce, patience: Duration) -> Timed {
    let name = format!("{repository}:{}", Nonce::tag());
    let written = std::fs::write(folder.join("Dockerfile"), format!("FROM {name}\n"));
    if let Err(source) = written {
        return Timed { pulled: Err(ProgramError::Start { program: "buildctl".to_owned(), source }), took: Duration::ZERO };
    }
    let folder_at = |what: &str| format!("{what}={}", folder.display());
    // Without an output BuildKit looks at the manifest, and leaves the layer where it is.
    let output = format!("type=tar,dest={}", folder.join("out.tar").display());
    let mut build = buildctl();
    build.args(["build", "--progress", "plain", "--no-cache", "--frontend", "dockerfile.v0", "--local", &folder_at("context")]);
    build.args(["--local", &folder_at("dockerfile"), "--output", &output]);
    let timed = Timed::run(build, patience).await;
    let mut prune = buildctl();
    prune.args(["prune", "--all", "--filter", &format!("description~={nonce}")]);
    let pruned = program::run(prune, REMOVAL).await;
    if let (Ok(()), Err(error)) = (&timed.pulled, pruned) {
        program::left_behind(nonce, &error);
    }
    timed
}

/// However short a build's time is.
const REMOVAL: Duration = Duration::from_secs(60);
