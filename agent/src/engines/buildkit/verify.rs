//! Proof that buildkitd pulls through the mirror: it builds on an image that only the mirror can answer, and forgets it. Effects.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::look::Daemon;
use crate::engines::canary::Nonce;
use crate::engines::files::found;
use crate::engines::program::{self, ProgramError, Proof};
use crate::host::Root;

/// Builds by `buildctl`, if that is there and the daemon runs. `folder` is empty and the caller's to remove.
pub async fn prove(daemon: &Daemon, folder: &Path, nonce: &Nonce, patience: Duration) -> Proof {
    if daemon.pid.is_none() {
        return Proof::Untried("buildkitd does not run".to_owned());
    }
    let Some(buildctl) = found(&Root::machine(), &["buildctl"]).into_iter().next() else {
        return Proof::Untried("buildctl is not there to build with".to_owned());
    };
    let buildctl = || {
        let mut command = Command::new(&buildctl);
        command.args(daemon.address.iter().flat_map(|address| ["--addr", address]));
        command
    };
    build(buildctl, folder, nonce, patience).await.into()
}

/// Builds `FROM` the canary in `folder`, which is empty and the caller's to remove, and takes what was pulled out of the cache, whatever came of it.
///
/// `buildctl` makes a command line's beginning, with the daemon's address if it is not the usual one.
pub async fn build(buildctl: impl Fn() -> Command, folder: &Path, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    let name = format!("{}:{}", nonce.repository(), Nonce::tag());
    let written = std::fs::write(folder.join("Dockerfile"), format!("FROM {name}\n"));
    written.map_err(|source| ProgramError::Start { program: "buildctl".to_owned(), source })?;
    let folder_at = |what: &str| format!("{what}={}", folder.display());
    // Without an output BuildKit looks at the manifest, and leaves the layer where it is.
    let output = format!("type=tar,dest={}", folder.join("out.tar").display());
    let mut build = buildctl();
    build.args(["build", "--progress", "plain", "--no-cache", "--frontend", "dockerfile.v0", "--local", &folder_at("context")]);
    build.args(["--local", &folder_at("dockerfile"), "--output", &output]);
    let built = program::run(build, patience).await;
    let mut prune = buildctl();
    prune.args(["prune", "--all", "--filter", &format!("description~={nonce}")]);
    let pruned = program::run(prune, patience).await;
    if let (Ok(_), Err(error)) = (&built, pruned) {
        program::left_behind(nonce, &error);
    }
    built.map(drop)
}
