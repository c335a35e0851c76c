//! One worker a certificate on this machine. The kernel frees the lock with the process, so none is ever stale.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{StoreError, files};

/// Held until it is dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes it at once, or says that somebody else has it. Several can share it, which keeps out whoever wants it alone.
    pub(crate) fn take(path: &Path, shared: bool) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("lock", path, source);
        files::folder_of(path).map_err(failed)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
        files::give_like_its_folder(&file, path).map_err(failed)?;
        let taken = if shared { file.try_lock_shared() } else { file.try_lock() };
        match taken {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Lock {
    /// Takes it alone, and waits `patience` at most for whoever has it. The kernel has no such wait that ends: it is looked again and again.
    #[expect(clippy::disallowed_methods, reason = "whoever waits has a thread of its own, a command line or a blocking one")]
    pub(crate) fn take_within(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        let began = Instant::now();
        loop {
            match Self::take(path, false) {
                Err(StoreError::Locked(_)) if began.elapsed() < patience => std::thread::sleep(LOOK),
                taken => return taken,
            }
        }
    }

    /// Whether somebody has it. Nothing is made for this question.
    pub(crate) fn is_held(path: &Path) -> Result<bool, StoreError> {
        let failed = |source| StoreError::io("look at", path, source);
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(failed)?,
        };
        match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Drop for Lock {
    /// By word, not by closing the file: a program that is just being started by another thread has its descriptor too, and would keep the lock.
    fn drop(&mut self) {
        let _ = self.0.unlock(); // Else it ends with the last descriptor.
    }
}

/// Between two looks at a lock that somebody has.
const LOOK: Duration = Duration::from_millis(10);
