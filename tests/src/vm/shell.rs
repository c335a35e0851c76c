//! The shell on a machine, at the other end of a virtio port: lines in, what they say and their exit codes out.
//!
//! Whenever it starts it says which boot this is. Between its answers a new greeting means that the machine has booted again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::systemd::Said;

/// One end.
#[derive(Debug)]
pub(super) struct Shell {
    asked: u64,
    boot: String,
    stream: BufReader<UnixStream>,
}

impl Shell {
    /// Over the port's socket. Whoever is on the machine is not there yet.
    pub(super) fn over(stream: UnixStream) -> Self {
        Self { asked: 0, boot: String::new(), stream: BufReader::new(stream) }
    }

    /// Waits for the greeting of a boot that is not the one before.
    pub(super) fn wait_for_boot(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self.line(until)?;
            if let Some(boot) = line.trim().strip_prefix(GREETING)
                && boot != self.boot
            {
                boot.clone_into(&mut self.boot);
                return Ok(());
            }
        }
    }

    /// Waits for the end of the machine.
    pub(super) fn wait_for_end(&mut self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !self.line(until)?.is_empty() {}
        Ok(())
    }

    /// Runs lines of shell to their end.
    pub(super) fn run(&mut self, lines: &str) -> Result<Said, String> {
        self.asked += 1;
        let mark = format!("said-{}", self.asked);
        // Nothing of the lines can be taken for the shell's own, and what they start cannot read the next.
        self.tell(&format!(
            "printf %s {} | base64 -d >/run/test-line; sh /run/test-line </dev/null 2>&1; printf '\\n%s %d\\n' {mark} $?",
            BASE64_STANDARD.encode(lines)
        ));
        let (until, mut text) = (Instant::now() + PATIENCE, String::new());
        loop {
            let line = self.line(until)?;
            if line.is_empty() || line.starts_with(GREETING) {
                return Err(format!("the machine ended, or booted again, while it ran `{lines}`"));
            }
            if let Some(code) = line.strip_prefix(&mark) {
                text.pop(); // The line's end that the mark brought.
                return Ok(Said { code: code.trim().parse().ok(), text });
            }
            text.push_str(&line);
        }
    }

    /// Sends a line, and waits for nothing.
    pub(super) fn tell(&mut self, line: &str) {
        // One that is gone is seen by who waits for its answer.
        let _ = self.stream.get_mut().write_all(format!("{line}\n").as_bytes());
    }

    /// With its end; without any text when the machine has ended.
    fn line(&mut self, until: Instant) -> Result<String, String> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(left)).expect("it is longer than nothing");
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(|error| format!("the machine says nothing: {error}"))?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

const GREETING: &str = "test-shell ";
/// A machine whose processor is a program boots in a minute, and beside other work in several.
const PATIENCE: Duration = Duration::from_mins(10);
