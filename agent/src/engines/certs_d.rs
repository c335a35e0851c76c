//! `certs.d/HOST:PORT/{chandler-ca.crt,chandler.cert,chandler.key}`: how Podman, containerd and `BuildKit` know a registry's certificate, and show their own.
//!
//! Podman reads every `*.crt`, and every `*.cert` with the `*.key` of the same name; for the others the files are named in full. So ours stand beside those that somebody else put there, by
//! names of our own, and overwrite none. They are read at every pull, so that nothing has to be reloaded.

use std::path::{Path, PathBuf};

use super::MirrorUrl;
use super::files::Files;
use super::plan::Step;
use super::{Engine, Wish};

/// The three files for one mirror.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertsD {
    /// The certificates that are trusted.
    pub anchors: PathBuf,
    /// The client's own chain.
    pub chain: PathBuf,
    /// And its key.
    pub key: PathBuf,
}

impl CertsD {
    /// Below `folder`, such as `/etc/containers/certs.d`.
    pub fn of(folder: &Path, mirror: &MirrorUrl) -> Self {
        let folder = folder.join(mirror.authority());
        let [anchors, chain, key] = NAMES.map(|name| folder.join(name));
        Self { anchors, chain, key }
    }
}

/// Whether a file is one of the three.
pub fn is_ours(path: &Path) -> bool {
    NAMES.iter().any(|name| path.ends_with(name))
}

/// Paths whose contents [`writes`] wants to know.
pub fn paths(folder: &Path, wish: &Wish) -> Vec<PathBuf> {
    let secure = wish.mirrors.iter().filter(|mirror| mirror.is_secure());
    secure.map(|mirror| CertsD::of(folder, mirror)).flat_map(|files| [files.anchors, files.chain, files.key]).collect()
}

/// What is written for the mirrors that speak HTTPS. The key comes before the chain: a chain without its key breaks every pull from that host.
pub fn writes(engine: Engine, folder: &Path, files: &Files, wish: &Wish) -> Vec<Step> {
    let secure = wish.mirrors.iter().filter(|mirror| mirror.is_secure()).map(|mirror| CertsD::of(folder, mirror));
    secure.flat_map(|paths| of_one(engine, &paths, files, wish)).collect()
}

fn of_one(engine: Engine, paths: &CertsD, files: &Files, wish: &Wish) -> Vec<Step> {
    let text = |text: &String| Some(text.clone().into_bytes());
    let anchors = wish.anchors.as_ref().and_then(|pem| files.write(engine, &paths.anchors, text(pem), 0o644));
    let pair = wish.client.as_ref().map(|pair| {
        let key = files.write(engine, &paths.key, text(&pair.key), 0o600);
        [key, files.write(engine, &paths.chain, text(&pair.chain), 0o644)]
    });
    anchors.into_iter().chain(pair.into_iter().flatten().flatten()).collect()
}

/// Anchors, chain and key; the same names as in Docker's folders.
const NAMES: [&str; 3] = ["chandler-ca.crt", "chandler.cert", "chandler.key"];
