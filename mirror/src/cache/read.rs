//! Reading a file at an offset, without stopping the thread that serves everybody.
//!
//! While the bytes are in the page cache a read is a copy and is done in place; only when the disk must be asked does it leave for a blocking
//! thread. `preadv2` with `RWF_NOWAIT` tells the two apart.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::buffers::Lease;

/// Reads what is in memory; `None` where the disk (or a file system that cannot tell) must be asked.
pub(crate) fn read_cached(file: &File, lease: &mut Lease, offset: u64) -> io::Result<Option<usize>> {
    match preadv2(file, &mut [IoSliceMut::new(lease.space())], offset, ReadWriteFlags::NOWAIT) {
        Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
        Ok(read) => Ok(Some(read)),
        Err(error) => Err(error.into()),
    }
}

/// Reads up to a whole buffer on a blocking thread; fewer bytes only at the file's end.
pub(crate) async fn read_blocking(file: Arc<File>, mut lease: Lease, offset: u64) -> io::Result<(Lease, usize)> {
    let read = tokio::task::spawn_blocking(move || {
        let mut read = 0;
        while read < lease.space().len() {
            match file.read_at(&mut lease.space()[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((lease, read))
    });
    read.await.map_err(io::Error::other)?
}
