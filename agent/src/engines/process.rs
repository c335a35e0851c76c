//! Daemons of this machine, found in `/proc`, and signals that reach the right one. Effects.
//!
//! A daemon counts as this machine's if it shares our mount namespace, or our root folder and our process namespace: one that its unit gave mounts of its own
//! (`MountFlags=slave` did for dockerd) is this machine's, one in a container or in a sandbox is not.
//!
//! A process id may be another process a moment later. So a signal goes through a [`Handle`], which is opened first and then asked whether it is the daemon.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use rustix::time::ClockId;

/// A process, as it was when it was looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Whose it is.
    pub uid: u32,
    /// Its command line, the program first.
    pub arguments: Vec<String>,
    /// Its environment at its start; empty where we may not see it.
    pub environment: Vec<(String, String)>,
}

/// Why a daemon is not told anything.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// It has ended, and perhaps another process has its id.
    #[error("process {pid} is no {program} any more")]
    Gone {
        /// What was the daemon's.
        pid: u32,
        /// The daemon's program.
        program: String,
    },
    /// The kernel refuses.
    #[error("process {pid} cannot be sent a signal")]
    Refused {
        /// The daemon's.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The processes of this machine that run `program`, oldest id first.
pub fn running(program: &str) -> io::Result<Vec<Process>> {
    let own = Path::new("/proc/self");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // What ends while we look is not there.
        if runs(&entry.path(), program) && shares(own, &entry.path()) {
            found.extend(process(&entry.path(), pid));
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// The file that a process runs: the one it was started from, also when a package put another in its place.
pub fn executable(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// When a process started, by the clock of files' times; a little late, so that what was written just before counts as what it was started with.
pub fn started(pid: u32) -> Option<SystemTime> {
    let ticks: u64 = stat(pid)?.get(START)?.parse().ok()?;
    let up = rustix::time::clock_gettime(ClockId::Boottime);
    let up = Duration::new(up.tv_sec.try_into().ok()?, up.tv_nsec.try_into().ok()?);
    SystemTime::now().checked_sub(up.checked_sub(Duration::from_millis(ticks * TICK))?)?.checked_add(LATE)
}

/// Whether a process of this program started this one.
pub fn is_child_of(pid: u32, program: &str) -> bool {
    let parent = stat(pid).and_then(|fields| fields.get(PARENT)?.parse::<u32>().ok());
    parent.is_some_and(|parent| runs(Path::new(&format!("/proc/{parent}")), program))
}

/// What the kernel says of a process behind its name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A process that stays the same one for as long as this is held.
#[derive(Debug)]
pub struct Handle {
    pid: Pid,
    /// Kernels before 5.3 have none.
    descriptor: Option<OwnedFd>,
}

impl Handle {
    /// Of the process, if it runs the program.
    pub fn open(pid: u32, program: &str) -> Result<Self, SignalError> {
        let gone = || SignalError::Gone { pid, program: program.to_owned() };
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let descriptor = match pidfd_open(id, PidfdFlags::empty()) {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::NOSYS | Errno::PERM) => None,
            Err(_) => return Err(gone()),
        };
        // From here on the id is this process's: what is asked now, is asked of it.
        if runs(Path::new(&format!("/proc/{pid}")), program) { Ok(Self { pid: id, descriptor }) } else { Err(gone()) }
    }

    /// SIGHUP: daemons read their configuration again.
    pub fn hang_up(&self) -> Result<(), SignalError> {
        let sent = match &self.descriptor {
            Some(descriptor) => pidfd_send_signal(descriptor, Signal::HUP),
            None => kill_process(self.pid, Signal::HUP),
        };
        sent.map_err(|error| SignalError::Refused { pid: self.pid.as_raw_nonzero().get().unsigned_abs(), source: error.into() })
    }
}

/// Whether the process at this folder of `/proc` runs the program: `dockerd`, or `dockerd-29` where several are installed.
fn runs(folder: &Path, program: &str) -> bool {
    let file = fs::read_link(folder.join("exe")).ok().and_then(|path| path.file_name().map(OsStr::to_owned));
    match file {
        Some(file) => is_named(&file.to_string_lossy(), program),
        // Not root: the name that the kernel shows to everybody, of which it keeps fifteen letters.
        None => fs::read_to_string(folder.join("comm")).is_ok_and(|name| is_named(name.trim_end(), program)),
    }
}

fn is_named(file: &str, program: &str) -> bool {
    // So the kernel calls a file that an update has replaced.
    let file = file.strip_suffix(" (deleted)").unwrap_or(file);
    let rest = file.strip_prefix(program).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn shares(own: &Path, other: &Path) -> bool {
    let namespace = |folder: &Path, kind: &str| fs::read_link(folder.join("ns").join(kind)).ok();
    let same = |kind| namespace(own, kind).is_some_and(|own| namespace(other, kind) == Some(own));
    let root = |folder: &Path| fs::metadata(folder.join("root/.")).ok().map(|root| (root.dev(), root.ino()));
    same("mnt") || (same("pid") && root(own).is_some_and(|own| root(other) == Some(own))) || namespace(other, "mnt").is_none()
}

fn process(folder: &Path, pid: u32) -> Option<Process> {
    let arguments = strings(&fs::read(folder.join("cmdline")).ok()?);
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())?;
    let environment = fs::read(folder.join("environ")).map(|bytes| strings(&bytes)).unwrap_or_default();
    let pairs = environment.iter().filter_map(|text| text.split_once('='));
    // A process that has ended, and waits for its parent, has no command line.
    (!arguments.is_empty()).then(|| Process {
        pid,
        uid,
        arguments,
        environment: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

fn strings(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

const PARENT: usize = 1;
const START: usize = 19;
/// Milliseconds: Linux tells times of processes in hundredths of a second, whatever its own clock does.
const TICK: u64 = 10;
/// Both clocks are told in steps.
const LATE: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_older_than_what_is_written_after_it_and_younger_than_what_was_before() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let written = |name: &str| {
            let file = folder.path().join(name);
            fs::write(&file, "").and_then(|()| fs::metadata(&file)?.modified()).expect("written")
        };
        let before = written("before");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        let started = started(child.id()).expect("it runs");
        assert!(is_child_of(child.id(), &own_name()) && !is_child_of(child.id(), "dockerd"));
        while SystemTime::now() < started {
            std::thread::yield_now();
        }
        // The clock of files has steps too.
        let mut after = written("after");
        while after <= started {
            after = written("after");
        }
        let asked_later = super::started(child.id()).expect("it runs");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        let difference = asked_later.duration_since(started).unwrap_or_else(|error| error.duration());
        assert!(before < started && difference < LATE, "{before:?} {started:?} {asked_later:?}");
    }

    fn own_name() -> String {
        let own = fs::read_link("/proc/self/exe").expect("proc is mounted");
        own.file_name().expect("a file").to_string_lossy().into_owned()
    }

    #[test]
    fn a_daemon_is_known_by_its_files_name() {
        for (file, is) in [
            ("dockerd", true),
            ("dockerd (deleted)", true),
            ("dockerd-29", true),
            ("dockerd-20.10", true),
            ("dockerd-rootless.sh", false),
            ("dockerd-rootles", false),
            ("docker", false),
            ("docker-proxy", false),
        ] {
            assert_eq!(is_named(file, "dockerd"), is, "{file}");
        }
    }

    #[test]
    fn what_proc_separates_by_zeros_is_read_as_it_is() {
        assert_eq!(strings(b"dockerd\0-H\0fd://\0"), ["dockerd", "-H", "fd://"]);
        assert_eq!(strings(b"dockerd\0--label\0\0x\0"), ["dockerd", "--label", "", "x"]);
        assert!(strings(b"").is_empty());
    }

    #[test]
    fn a_running_program_is_found_with_its_owner_and_its_command_line() {
        let own = fs::read_link("/proc/self/exe").expect("proc is mounted");
        let name = own.file_name().expect("a file").to_string_lossy().into_owned();
        let found = running(&name).expect("proc can be read");
        let us = found.iter().find(|process| process.pid == std::process::id()).expect("we run");
        assert_eq!(us.uid, rustix::process::getuid().as_raw());
        assert_eq!(us.arguments, std::env::args().collect::<Vec<_>>());
        assert!(running("no-such-program").expect("proc can be read").is_empty());
    }

    #[test]
    fn a_process_that_runs_something_else_gets_no_signal() {
        let error = Handle::open(std::process::id(), "dockerd").expect_err("we are none");
        assert!(matches!(error, SignalError::Gone { pid, .. } if pid == std::process::id()), "{error}");
    }
}
