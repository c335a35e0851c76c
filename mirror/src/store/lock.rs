//! The lock on the store's folder: one process, and one store in it.
//!
//! `flock` belongs to the open file, so a second store in the same process is refused as well, and the kernel frees it at any death.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::{FlockOperation, OFlags};

use super::error::OpenError;
use super::layout::Layout;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// The folder in which it was taken: device and number.
    root: (u64, u64),
}

impl Lock {
    /// Takes the lock at once or says who has it.
    pub(super) fn take(layout: &Layout) -> Result<Self, OpenError> {
        let path = layout.lock();
        let failed = |doing, source| OpenError::Io { doing, path: path.clone(), source };
        // Not truncated before the lock is ours: it holds the other's process id.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32) // What a link leads to would be emptied.
            .open(&path)
            .map_err(|error| failed("open the lock file", error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse { path: layout.root().to_owned(), pid: holder(&mut file) });
            }
            Err(error) => return Err(failed("lock", error.into())),
        }
        sign(&mut file).map_err(|error| failed("write our process id to", error))?;
        let root = identity(layout).map_err(|error| failed("look at the folder of", error))?;
        Ok(Self { file, root })
    }

    /// Whether the file that others find is the one that is held: a folder that was made anew has none, or somebody else's.
    pub(super) fn is_in_place(&self, layout: &Layout) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match fs::symlink_metadata(layout.lock()) {
            Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the folder is still the one in which it was taken, whatever became of the file.
    pub(super) fn is_of(&self, layout: &Layout) -> io::Result<bool> {
        Ok(identity(layout)? == self.root)
    }
}

impl Drop for Lock {
    /// Closing is not enough: a process that is being started elsewhere in this one has a copy of the descriptor until it runs its own program.
    fn drop(&mut self) {
        // An error leaves it to the close.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn identity(layout: &Layout) -> io::Result<(u64, u64)> {
    let root = fs::metadata(layout.root())?;
    Ok((root.dev(), root.ino()))
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
