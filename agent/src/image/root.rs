//! The image's files, in one layer: the program, the roots it trusts, and the folders it writes to.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use mirror::oci::{Algorithm, Digest, Hasher};

/// The packed files.
pub(super) struct Layer {
    /// The digest of the files before compression, by which a configuration names them.
    pub(super) diff_id: Digest,
    pub(super) gzip: Vec<u8>,
}

/// Packs `program` as `/chandler`, and `roots` where Linux programs look for them.
pub(super) fn pack(program: &[u8], roots: Option<&[u8]>) -> Layer {
    let mut tar = tar::Builder::new(Hashed::new());
    for (path, mode, content) in entries(program, roots) {
        super::append(&mut tar, path, mode, content).expect("writing to memory cannot fail");
    }
    tar.into_inner().and_then(Hashed::finish).expect("writing to memory cannot fail")
}

/// Sorted by path; a folder ends in a slash and has no content.
fn entries<'a>(program: &'a [u8], roots: Option<&'a [u8]>) -> Vec<(&'static str, u32, &'a [u8])> {
    let mut entries: Vec<(_, _, &[u8])> = vec![
        ("chandler", 0o755, program),
        ("etc/", 0o755, b""),
        ("etc/group", 0o644, b"root:x:0:\n"),
        ("etc/passwd", 0o644, b"root:x:0:0:root:/:/chandler\n"),
        ("etc/ssl/", 0o755, b""),
        ("etc/ssl/certs/", 0o755, b""),
        ("tmp/", 0o1777, b""),
        ("var/", 0o755, b""),
        ("var/lib/", 0o755, b""),
        ("var/lib/registry/", 0o755, b""),
    ];
    entries.extend(roots.map(|roots| ("etc/ssl/certs/ca-certificates.crt", 0o644, roots)));
    entries.sort_unstable_by_key(|(path, ..)| *path);
    entries
}

/// Compresses what is written, and hashes it before.
struct Hashed {
    gzip: GzEncoder<Vec<u8>>,
    hasher: Hasher,
}

impl Hashed {
    fn new() -> Self {
        Self { gzip: GzBuilder::new().mtime(0).write(Vec::new(), Compression::default()), hasher: Hasher::new(Algorithm::Sha256) }
    }

    fn finish(self) -> io::Result<Layer> {
        Ok(Layer { diff_id: self.hasher.finish(), gzip: self.gzip.finish()? })
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gzip.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
