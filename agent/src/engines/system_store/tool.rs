//! The system's own tool is run, and what it made is looked at.

use std::path::Path;
use std::process::{Command, Stdio};

use super::bodies;
use crate::engines::plan::Rebuild;
use crate::host::{HostError, Root};

/// Why the bundle is not as it is to be.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It ended badly.
    #[error("`{tool}` failed: {said}")]
    Failed {
        /// Which, with its arguments.
        tool: String,
        /// In its words.
        said: String,
    },
    /// It cannot be started.
    #[error("`{tool}` cannot be started")]
    Start {
        /// Which, with its arguments.
        tool: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ran.
    #[error("`{tool}` ran, and {bundle} does not hold the CA")]
    Lacks {
        /// Which, with its arguments.
        tool: String,
        /// What it made.
        bundle: String,
    },
    /// The bundle.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Runs it; in another tree, by `chroot`.
pub fn run(root: &Root, rebuild: &Rebuild) -> Result<(), ToolError> {
    let ran = ran(root, rebuild);
    let found = root.read(&rebuild.bundle)?.map(|found| bodies(&found.bytes)).unwrap_or_default();
    match ran {
        Err(_) if !rebuild.lacks.is_empty() && rebuild.lacks.is_disjoint(&found) => Ok(()),
        Ok(()) if !rebuild.holds.is_subset(&found) => {
            Err(ToolError::Lacks { tool: rebuild.to_string(), bundle: rebuild.bundle.display().to_string() })
        }
        ran => ran,
    }
}

fn ran(root: &Root, rebuild: &Rebuild) -> Result<(), ToolError> {
    let tool = rebuild.to_string();
    let output = command(root, rebuild).output().map_err(|source| ToolError::Start { tool: tool.clone(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ToolError::Failed { tool, said: if said.is_empty() { output.status.to_string() } else { said } })
}

/// With nothing of this shell's, which may have folders of its own for temporary files and programs.
fn command(root: &Root, rebuild: &Rebuild) -> Command {
    let mut command = if root.is_machine() {
        Command::new(&rebuild.tool)
    } else {
        let mut command = Command::new("chroot");
        command.arg(root.on_disk(Path::new("/"))).arg(&rebuild.tool);
        command
    };
    command.args(rebuild.arguments).env_clear().env("PATH", PATH).env("HOME", "/root").stdin(Stdio::null());
    command
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
