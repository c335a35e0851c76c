//! Bytes for layers and blobs: deterministic from a seed, incompressible, and real tar.gz where an engine is to unpack them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A file for a layer.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) bytes: Bytes,
}

/// A layer: what is sent, and the plain tar that the image's configuration names.
pub(super) struct Layer {
    pub(super) compressed: Bytes,
    pub(super) tar: Vec<u8>,
}

/// `size` bytes that depend on nothing but `seed` and `size`; made once in a process and shared, so that a blob of 256 MiB costs its memory once.
pub fn noise(seed: u64, size: usize) -> Bytes {
    static MADE: OnceLock<Mutex<HashMap<(u64, usize), Bytes>>> = OnceLock::new();
    let made = MADE.get_or_init(Mutex::default);
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry((seed, size)).or_insert_with(|| Bytes::from(generate(seed, size))).clone()
}

/// A gzipped tar with `files`, about `size` bytes in all: what the files leave is filled up with noise in one more file.
pub(super) fn layer(seed: u64, size: usize, files: &[File]) -> Layer {
    let taken: usize = files.iter().map(|file| file.bytes.len() + 1024).sum();
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        append(&mut archive, &file.path, file.mode, &file.bytes);
    }
    let note = format!("layer of seed {seed}\n");
    append(&mut archive, &format!("layers/{seed}.txt"), 0o644, note.as_bytes());
    append(&mut archive, &format!("layers/{seed}.bin"), 0o644, &generate(seed, size.saturating_sub(taken + 3072)));
    let tar = archive.into_inner().expect("a Vec takes every write");
    let mut gzip = GzEncoder::new(Vec::with_capacity(tar.len()), Compression::fast());
    gzip.write_all(&tar).expect("a Vec takes every write");
    Layer { compressed: Bytes::from(gzip.finish().expect("a Vec takes every write")), tar }
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, path.trim_start_matches('/'), bytes).expect("a Vec takes every write, paths here fit a tar header");
}

fn generate(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ size as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&split_mix(&mut state).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Steele, Lea and Flood's `SplitMix64`: one multiplication chain a word, enough to defeat gzip.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
