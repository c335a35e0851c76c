//! One process at a time changes a machine's engines. The kernel frees the lock with the process, so none is ever stale, and no file is left by it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::RecordError;
use crate::host::Root;

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes it at once, or says who has it.
    pub(super) fn take(root: &Root, folder: &Path) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Lock { folder: folder.to_owned(), source };
        let file = File::open(root.on_disk(folder)).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(RecordError::Held { folder: folder.to_owned(), by: holder(&file) }),
            Err(errno) => Err(failed(errno.into())),
        }
    }
}

impl Drop for Lock {
    /// By word, not by closing the file: a program that is just being started by another thread has its descriptor too, and would keep the lock.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock); // Else it ends with the last descriptor.
    }
}

/// Who has the lock, as far as the kernel shows it to us.
fn holder(file: &File) -> String {
    let inode = file.metadata().map(|meta| meta.ino()).unwrap_or_default();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let Some(pid) = locks.lines().find_map(|line| pid_of(line, inode)) else { return "another process".to_owned() };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { format!("process {pid}") } else { format!("process {pid} ({})", words.join(" ")) }
}

/// Of a line such as `2: FLOCK  ADVISORY  WRITE 4711 fe:00:131090 0 EOF`. A process in another namespace is 0 there.
fn pid_of(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "FLOCK")?;
    let (mode, pid, place) = (words.get(at + 2)?, words.get(at + 3)?, words.get(at + 4)?);
    let same = *mode == "WRITE" && place.rsplit(':').next()?.parse() == Ok(inode);
    pid.parse().ok().filter(|pid| same && *pid != 0)
}
