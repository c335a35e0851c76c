//! Proof that Podman pulls through the mirror: it pulls an image that only the mirror can answer, and removes it. Effects.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::look::Facts;
use crate::engines::canary::Nonce;
use crate::engines::program::{self, ProgramError, Proof, Timed};

/// Pulls by the first of the machine's programs that keeps images. Skopeo keeps none, and CRI-O is asked by `crictl`: where there is no other, nothing is tried.
pub async fn prove(facts: &Facts, nonce: &Nonce, patience: Duration) -> Proof {
    match puller(facts) {
        Some(program) => pull(|| Command::new(program), nonce, patience).await.into(),
        None => Proof::Untried(NOBODY.to_owned()),
    }
}

/// The program that pulls.
pub fn puller(facts: &Facts) -> Option<&PathBuf> {
    let named = |name: &str| facts.programs.iter().find(|path| path.ends_with(name));
    named("podman").or_else(|| named("buildah"))
}

/// Pulls the canary and removes it, whatever came of it. `podman` makes a command line's beginning; Buildah takes the same words.
///
/// That it came from the mirror is for the mirror to say.
pub async fn pull(podman: impl Fn() -> Command, nonce: &Nonce, patience: Duration) -> Result<(), ProgramError> {
    timed(podman, nonce, patience).await.pulled
}

/// The same, and how long the pull took.
pub async fn timed(podman: impl Fn() -> Command, nonce: &Nonce, patience: Duration) -> Timed {
    let name = format!("{}:{}", nonce.repository(), Nonce::tag());
    let with = |words: &[&str]| {
        let mut command = podman();
        command.args(words);
        command
    };
    let timed = Timed::run(with(&["pull", "--quiet", &name]), patience).await;
    // One that was never there is no failure of ours.
    let removed = program::run(with(&["rmi", "--force", &name]), REMOVAL).await;
    if let (Ok(()), Err(error)) = (&timed.pulled, removed) {
        program::left_behind(nonce, &error);
    }
    timed
}

/// However short a pull's time is.
const REMOVAL: Duration = Duration::from_secs(60);
/// Why there is no pull.
pub const NOBODY: &str = "neither podman nor buildah is there to pull with";
