//! Runs an engine's client program, for so long and no longer. Effects.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::timeout;

use super::canary::Nonce;
use crate::report;

/// Why a program did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there, or may not be run.
    #[error("{program} can't be started")]
    Start {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It was ended.
    #[error("{program} was not done after {} s", patience.as_secs())]
    Late {
        /// Its name.
        program: String,
        /// How long it had.
        patience: Duration,
    },
    /// It said so.
    #[error("{program} failed: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// The end of what it said.
        said: String,
    },
}

/// What came of a pull that shall prove something.
#[derive(Debug)]
pub enum Proof {
    /// The engine has the image: now the mirror says whether it gave it.
    Pulled,
    /// It could not have it.
    Failed(ProgramError),
    /// Nothing on the machine can be asked to pull; why.
    Untried(String),
}

/// What came of a pull, and how long that took; what was done before and after it, such as removing the image, is not in it.
#[derive(Debug)]
pub struct Timed {
    /// Whether the engine has the image.
    pub pulled: Result<(), ProgramError>,
    /// By this machine's clock.
    pub took: Duration,
}

impl Timed {
    /// Of a program that pulls.
    pub async fn run(command: Command, patience: Duration) -> Self {
        let began = Instant::now();
        let pulled = run(command, patience).await.map(drop);
        Self { pulled, took: began.elapsed() }
    }
}

impl From<Result<(), ProgramError>> for Proof {
    fn from(pulled: Result<(), ProgramError>) -> Self {
        pulled.map_or_else(Self::Failed, |()| Self::Pulled)
    }
}

/// Says of a canary that was not removed: the engine did pull or did not, and that is another matter.
pub fn left_behind(nonce: &Nonce, error: &impl std::error::Error) {
    report::notes(&[still_there(nonce, error)]);
}

fn still_there(nonce: &Nonce, error: &impl std::error::Error) -> String {
    format!("{} could not be removed again: {}", nonce.repository(), mirror::chain(error))
}

/// Runs it to its end, and returns its standard output. A program that takes longer is killed.
pub async fn run(mut command: Command, patience: Duration) -> Result<String, ProgramError> {
    let program = command.as_std().get_program().to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(patience, command.output()).await {
        Err(_) => Err(ProgramError::Late { program, patience }),
        Ok(Err(source)) => Err(ProgramError::Start { program, source }),
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => {
            let said = if output.stderr.is_empty() { output.stdout } else { output.stderr };
            Err(ProgramError::Failed { program, said: end_of(&String::from_utf8_lossy(&said)) })
        }
    }
}

/// The last lines, which say why.
fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("; ")
}

const LINES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_program_says_what_it_has_to_say_or_why_it_failed() {
        assert_eq!(run(shell("echo yes"), Duration::from_mins(1)).await.expect("it ends well"), "yes\n");
        let error = run(shell("echo a >&2; echo; exit 3"), Duration::from_mins(1)).await.expect_err("it fails");
        insta::assert_snapshot!(error, @"sh failed: a");
        let error = run(Command::new("/no/such/program"), Duration::from_mins(1)).await.expect_err("it is not there");
        insta::assert_snapshot!(error, @"program can't be started");
    }

    #[test]
    fn what_is_left_of_a_canary_is_a_note_with_its_name_and_why() {
        let nonce = Nonce::new().expect("the system has chance");
        let error = ProgramError::Failed { program: "podman".into(), said: "image is in use".into() };
        let note = still_there(&nonce, &error);
        assert!(note.contains(&nonce.repository()) && note.ends_with("podman failed: image is in use"), "{note}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let error = run(shell("exec sleep 600"), Duration::from_millis(10)).await.expect_err("it hangs");
        assert!(matches!(error, ProgramError::Late { .. }), "{error}");
    }
}
