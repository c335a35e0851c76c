//! A check that somebody waits for: a stored file is hashed as fast as the disk gives it. A damaged one goes to quarantine, and so does one
//! that the disk does not give.

use std::io;
use std::os::unix::fs::FileExt;

use tokio_util::sync::CancellationToken;

use super::blob::Stored;
use crate::oci::Hasher;

impl Stored {
    /// Hashes the file, unless that was done since the start; whether it is right is noted. Blocking, until `cancel` at the latest.
    pub fn check(&self, cancel: &CancellationToken) {
        if self.is_verified() {
            return;
        }
        match self.hash(cancel) {
            Ok(Some(true)) => self.mark_verified(),
            Ok(Some(false)) => self.quarantine(),
            Ok(None) => {}
            Err(error) => self.failed(&error),
        }
    }

    /// Whether the bytes are what their name says; nothing where the check was ended.
    fn hash(&self, cancel: &CancellationToken) -> io::Result<Option<bool>> {
        let mut hasher = Hasher::new(self.digest().algorithm());
        let (mut bytes, mut offset) = (vec![0; CHUNK], 0);
        while !cancel.is_cancelled() {
            match self.file().read_at(&mut bytes, offset) {
                Ok(0) => return Ok(Some(hasher.finish() == *self.digest())),
                Ok(read) => {
                    hasher.update(&bytes[..read]);
                    offset += read as u64;
                    self.count_checked(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Read at once.
const CHUNK: usize = 256 << 10;
