//! The program as it is released: linked by zig against an old glibc, which `.ci/release` does with `--release`.
//!
//! Here it is unoptimised and lives in the cache folder of `tests/setup`, where a fresh clone finds it again: minutes the first time, seconds from then on.

use std::env;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::tools;

/// The program that [`crate::program::program_path`] was told of, or one that is built now; `None` after saying what is missing for that.
pub async fn build() -> Option<PathBuf> {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    if env::var_os("CHANDLER_TEST_PROGRAM").is_some() {
        return Some(crate::program::program_path());
    }
    tools::require_all(["cargo-zigbuild", "zig"])?;
    Some(BUILT.get_or_init(build_now).await.clone())
}

async fn build_now() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let folder = tools::folder().with_file_name("released");
    let mut command = Command::new(tools::folder().join("cargo-zigbuild"));
    command.args(["zigbuild", "--quiet", "--locked", "--package", "agent", "--bin", "chandler"]);
    command.args(["--target", &format!("{target}.{OLDEST_GLIBC}"), "--config", "profile.dev.package.'*'.opt-level=0"]);
    command.arg("--target-dir").arg(&folder).current_dir(WORKSPACE).stdin(Stdio::null());
    let path = env::join_paths([tools::folder()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())));
    command.env("PATH", path.expect("they were joined before"));
    // Nobody debugs it.
    command
        .envs([("CARGO_INCREMENTAL", "0"), ("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_STRIP", "symbols")])
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let Output { status, stderr, .. } = command.output().await.expect("it was found");
    assert!(status.success(), "the build for old distributions failed\n{}", String::from_utf8_lossy(&stderr));
    folder.join(target).join("debug/chandler")
}

/// Of `CentOS` 7; Ubuntu has had a newer one since 14.04.
pub const OLDEST_GLIBC: &str = "2.17";
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
