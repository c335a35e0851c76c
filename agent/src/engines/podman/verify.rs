//! Proof that Podman pulls through the mirror: it pulls an image that only the mirror can answer, and removes it. Effects.

use std::time::Duration;

use tokio::process::Command;

use super::look::Facts;
use crate::engines::canary::Nonce;
use crate::engines::program::{self, ProgramError, Proof};

/// Pulls by the first of the machine's programs that keeps images. Skopeo keeps none, and CRI-O is asked by `crictl`: where there is no other, nothing is tried.
pub async fn prove(facts: &Facts, nonce: &Nonce, patience: Duration) -> Proof {
    let named = |name: &str| facts.programs.iter().find(|path| path.ends_with(name));
    match named("podman").or_else(|| named("buildah")) {
        Some(program) => pull(|| Command::new(program), nonce, patience).await.into(),
        None => Proof::Untried("neither podman nor buildah is there to pull with".to_owned()),
    }
}

/// Pulls the canary and removes it, whatever came of it. `podman` makes a command line's beginning; Buildah takes the same words.
///
/// That it came from the mirror is for the mirror to say.
pub async fn pull(podman: impl Fn() -> Command, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    let name = format!("{}:{}", nonce.repository(), Nonce::tag());
    let with = |words: &[&str]| {
        let mut command = podman();
        command.args(words);
        command
    };
    let pulled = program::run(with(&["pull", "--quiet", &name]), patience).await;
    // One that was never there is no failure of ours.
    let removed = program::run(with(&["rmi", "--force", &name]), patience).await;
    if let (Ok(_), Err(error)) = (&pulled, removed) {
        program::left_behind(nonce, &error);
    }
    pulled.map(drop)
}
