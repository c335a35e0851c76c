//! Finds the real programs that tests run against, as `tests/setup` provides them.
//!
//! A program is looked for in the cache folder of `tests/setup` first, then in `PATH`. A test that lacks one says so by name on the real
//! standard error (past the test program's capture, so that it is seen and `tests/run` counts it) and returns; with `CI=true` it fails.

use std::env;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

/// The program's path, or `None` after saying that this test is skipped and why. Panics instead with `CI=true`.
pub fn require(name: &str) -> Option<PathBuf> {
    find(name).or_else(|| {
        skip(format_args!("{name} is not there, tests/setup provides it"));
        None
    })
}

/// As [`require`], for several programs at once: all or none.
pub fn require_all<const N: usize>(names: [&str; N]) -> Option<[PathBuf; N]> {
    let found: Vec<PathBuf> = names.into_iter().map_while(require).collect();
    found.try_into().ok()
}

/// Whether this process may mount, as engines and small file systems need; otherwise says that this test is skipped, and panics with `CI=true`.
pub fn require_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it mounts file systems, which needs root");
    }
    root
}

/// Whether this process may give a file to another user; else as for root.
pub fn require_giving() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it gives files to another user, which needs root");
    }
    root
}

/// Whether this process may listen where name servers are looked for; else as for root.
pub fn require_low_ports() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it listens on port 53, which needs root");
    }
    root
}

/// Where the program is, if it is there at all.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Daemons live in folders that a plain user's PATH lacks.
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    [folder()].into_iter().chain(env::split_paths(&path)).chain(system).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The folder of the programs that `tests/setup` provides.
pub fn folder() -> PathBuf {
    cache().join("bin")
}

/// All that `tests/setup` keeps.
pub fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache"));
    cache.join("chandler-tests")
}

/// Says on the real standard error that this test is skipped, and why; panics instead with `CI=true`.
pub fn skip(why: impl Display) {
    assert!(env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {why}");
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    // In one write, since the test program writes to the same place meanwhile. A test that can't say it was skipped still is.
    let _ = std::io::stderr().write_all(format!("\nskipped: {test}: {why}\n").as_bytes());
}
