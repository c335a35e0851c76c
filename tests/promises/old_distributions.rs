//! "One file for old and new distributions: it runs wherever there is glibc 2.17, and its Debian package says so."

use std::path::Path;

use tempfile::TempDir;
use tests::client::Client;
use tests::engine::Answer;
use tests::program::Process;
use tests::released::{self, OLDEST_GLIBC};
use tests::tools;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn the_released_program_needs_no_library_that_an_old_distribution_lacks() {
    let (Some([objdump]), Some(program)) = (tools::require_all(["objdump"]), released::build().await) else { return };
    let headers = Answer::of(Command::new(&objdump).arg("--private-headers").arg(&program)).await.expect_success();
    let needed: Vec<&str> = headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim).collect();
    assert!(!needed.is_empty() && needed.iter().all(|library| IN_EVERY_GLIBC.contains(library)), "{needed:?}");
    let newest = newest_glibc(&objdump, &program).await;
    assert!(newest <= version(OLDEST_GLIBC), "it asks for glibc {newest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_released_program_runs_and_a_mirror_that_it_is_gives_it_to_other_machines() {
    let Some(program) = released::build().await else { return };
    let version = Answer::of(Command::new(&program).arg("--version")).await.expect_success();
    assert!(version.starts_with("chandler "), "{version}");
    Answer::of(Command::new(&program).args(["mirror", "--check", "--listen", "127.0.0.1:0"])).await.expect_success();

    let folder = TempDir::with_prefix("chandler-released-").expect("a folder");
    let mut command = std::process::Command::new(&program);
    command.args(["mirror", "--listen", "127.0.0.1:0", "--store"]).arg(folder.path()).env_clear().env("CHANDLER_STORE_MIN_FREE", "1MiB");
    let mut mirror = Process::spawn(&mut command);
    let name = if cfg!(target_arch = "x86_64") { "linux-amd64" } else { "linux-arm64" };
    let given = Client::new(&mirror.url()).get(&format!("/chandler/bin/{name}")).await.whole();
    assert!(given == std::fs::read(&program).expect("there"), "{} bytes", given.len());
    mirror.signal("TERM");
    assert!(mirror.wait().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_package_depends_on_the_c_library_that_it_needs_and_on_no_newer_one() {
    let (Some([objdump, dpkg_deb]), Some(program)) = (tools::require_all(["objdump", "dpkg-deb"]), released::build().await) else { return };
    let folder = TempDir::with_prefix("chandler-released-").expect("a folder");
    let package = folder.path().join("chandler.deb");
    Answer::of(Command::new(&program).args(["debian", "--output"]).arg(&package)).await.expect_success();
    let depends = Answer::of(Command::new(&dpkg_deb).arg("--field").arg(&package).arg("Depends")).await.expect_success();
    let newest: Vec<String> = newest_glibc(&objdump, &program).await.iter().map(u32::to_string).collect();
    assert_eq!(depends.trim(), format!("libc6 (>= {}), passwd", newest.join(".")));
}

/// As binutils read it: the newest version that any symbol is of.
async fn newest_glibc(objdump: &Path, program: &Path) -> Vec<u32> {
    let symbols = Answer::of(Command::new(objdump).arg("--dynamic-syms").arg(program)).await.expect_success();
    let versions = symbols.split(['(', ')', ' ', '\n']).filter_map(|word| word.strip_prefix("GLIBC_"));
    versions.map(version).max().expect("it has a symbol of glibc")
}

fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|number| number.parse().unwrap_or(u32::MAX)).collect()
}

const IN_EVERY_GLIBC: [&str; 7] =
    ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"];
