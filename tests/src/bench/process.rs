//! Processes that the benchmark starts: each in a process group of its own, ended with everything it started when it is dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Outcome;

/// A running program with its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`; what it says goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Outcome<Self> {
        let out = File::create(log)?;
        let err = out.try_clone()?;
        let command = command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Waits until something accepts connections at `address`.
    pub async fn wait_for(&mut self, address: SocketAddr) -> Outcome<()> {
        self.wait_until(|| TcpStream::connect(address).is_ok()).await
    }

    /// Waits until `is_ready`, at most a minute, and not beyond the program's end.
    pub async fn wait_until(&mut self, mut is_ready: impl FnMut() -> bool) -> Outcome<()> {
        let began = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", self.name).into());
            }
            if began.elapsed() > START {
                return Err(format!("{} is not ready after {START:?}", self.name).into());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Memory of the whole group that is nobody else's, in bytes: anonymous and shared pages. Mapped files are the page cache's.
    pub fn memory(&self) -> u64 {
        members(self.child.id()).iter().map(|pid| own_memory(*pid)).sum()
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Process {
    /// Asked first: an engine has children and mounts to put away.
    #[expect(clippy::disallowed_methods, reason = "a drop cannot await, and nothing else runs at the end of a row")]
    fn drop(&mut self) {
        let Some(group) = self.group() else { return };
        let _ = kill_process_group(group, Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < END && (matches!(self.child.try_wait(), Ok(None)) || !members(self.child.id()).is_empty()) {
            sleep(POLL);
        }
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that was free a moment ago: not every program tells which one it got.
pub fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The living processes of a group.
fn members(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| is_member(*pid, group)).collect()
}

/// `/proc/PID/stat` is `PID (NAME) STATE PARENT GROUP …`, and the name may hold spaces and parentheses.
fn is_member(pid: u32, group: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields.first() != Some(&"Z") && fields.get(2).and_then(|field| field.parse().ok()) == Some(group)
}

fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssShmem:")) * 1024
}

const POLL: Duration = Duration::from_millis(5);
const START: Duration = Duration::from_mins(1);
const END: Duration = Duration::from_secs(10);
