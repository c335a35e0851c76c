//! Real engines, each on a [`Machine`] of its own: a mount and process namespace with a private `/etc`, `/run` and view of the network in
//! which Docker Hub's names lead to a [catcher](bypass) of ours.
//!
//! So several engines run at once and beside the machine's own, and whatever goes past the mirror is seen. Dropping an engine ends its
//! processes, and fails the test if anything went to the Hub's names, or if a process or a mount is left.
//!
//! Each `start` answers `None` after [saying](crate::tools) which program is missing:
//!
//! ```no_run
//! # async fn test() {
//! use tests::engine::{Dockerd, MachineConfig, Release};
//!
//! let config = MachineConfig::behind("http://127.0.0.1:5000");
//! let Some(docker) = Dockerd::start(Release::V29, config).await else { return };
//! docker.pull("alpine:3.20").await.expect_success();
//! # }
//! ```

use std::process::{ExitStatus, Output};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

pub use self::buildkit::BuildKit;
pub use self::containerd::Containerd;
pub use self::crane::Crane;
pub use self::docker::{Builder, Dockerd, Release};
pub use self::inside::{Running, User};
pub use self::machine::{Machine, MachineConfig, Network};
pub use self::podman::Podman;
pub use self::tree::Tree;

mod buildkit;
pub mod bypass;
mod containerd;
mod crane;
mod docker;
mod inside;
mod machine;
mod podman;
mod tree;
mod veth;

/// What a client program said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Answer {
    /// Runs the command to its end. A client that neither ends nor fails is a hang: it panics after five minutes.
    pub async fn of(command: &mut Command) -> Self {
        let name = format!("{:?}", command.as_std());
        let output = timeout(LONGEST_COMMAND, command.kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{name} still runs after {LONGEST_COMMAND:?}"));
        let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { command: name, status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Whether it ended with 0.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// The standard output of a program that must succeed; panics with all it said otherwise.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.is_success(), "{} failed, {}\n{}{}", self.command, self.status, self.stdout, self.stderr);
        self.stdout
    }

    /// All that a program said that must fail; panics if it succeeds.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(!self.is_success(), "{} succeeded where it must fail\n{}{}", self.command, self.stdout, self.stderr);
        self.stdout + &self.stderr
    }
}

const LONGEST_COMMAND: Duration = Duration::from_mins(5);
