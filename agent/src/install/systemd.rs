//! The service manager of a machine that runs: told of new units, and asked to start, stop and restart them. Of a tree, or where systemd does not run, nothing is asked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use super::InstallError;
use crate::host::Root;

/// systemd, as process 1 of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Systemd(());

impl Systemd {
    /// Where it runs, and the tree is its own.
    pub(crate) fn of(root: &Root) -> Option<Self> {
        (root.is_machine() && Path::new("/run/systemd/system").is_dir()).then_some(Self(()))
    }

    /// Units are read again. It restarts nothing.
    pub(crate) fn read_again(self) -> Result<(), InstallError> {
        self.ask(&["daemon-reload"])
    }

    /// Starts a unit, and waits until it is ready.
    pub(crate) fn start(self, unit: &str) -> Result<(), InstallError> {
        self.ask(&["start", unit])
    }

    /// Ends and starts it.
    pub(crate) fn restart(self, unit: &str) -> Result<(), InstallError> {
        self.ask(&["restart", unit])
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(self, unit: &str) -> Result<(), InstallError> {
        self.ask(&["reload", unit])
    }

    /// Ends it gently.
    pub(crate) fn stop(self, unit: &str) -> Result<(), InstallError> {
        self.ask(&["stop", unit])
    }

    /// Whether it runs.
    pub(crate) fn is_active(self, unit: &str) -> bool {
        self.run(&["is-active", "--quiet", unit]).is_ok_and(|output| output.status.success())
    }

    /// Whether one of `files` was written after it was started.
    pub(crate) fn is_behind(self, unit: &str, files: &[PathBuf]) -> bool {
        let shown = self.run(&["show", "--property=ExecMainStartTimestampMonotonic", "--value", unit]);
        let since = shown.ok().and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok()).map(Duration::from_micros);
        let started = since.and_then(|since| booted()?.checked_add(since));
        let written = |file: &PathBuf| fs::metadata(file).and_then(|meta| meta.modified()).ok();
        started.is_some_and(|started| files.iter().filter_map(written).any(|written| written > started))
    }

    fn ask(self, arguments: &[&str]) -> Result<(), InstallError> {
        let failed = |said: String| InstallError::Systemd { what: arguments.join(" "), said };
        let output = self.run(arguments).map_err(|error| failed(error.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
    }

    #[expect(clippy::unused_self, reason = "who has no systemd has nobody to ask")]
    fn run(self, arguments: &[&str]) -> io::Result<Output> {
        Command::new("systemctl").args(arguments).stdin(Stdio::null()).output()
    }
}

/// When the kernel began to count, to some hundredths of a second.
fn booted() -> Option<SystemTime> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let seconds = uptime.split_whitespace().next()?.parse().ok()?;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(seconds).ok()?)
}
