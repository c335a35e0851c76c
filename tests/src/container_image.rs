//! The product's own container image, made as its users make it: a static build, and the program's `image` command.
//!
//! The build is unoptimised and lives in the cache folder of `tests/setup`, where a fresh clone finds it again: minutes the first time, a
//! second from then on. `cargo image` is the same with `--release`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Weak};

use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::engine::Answer;
use crate::tools;

/// The image's archive, gone when nobody uses it any more. The image's name is `chandler`.
#[derive(Debug)]
pub struct Archive {
    folder: TempDir,
}

impl Archive {
    /// Makes it, unless another test has it already.
    pub async fn get() -> Arc<Self> {
        static MADE: Mutex<Weak<Archive>> = Mutex::const_new(Weak::new());
        let mut made = MADE.lock().await;
        if let Some(archive) = made.upgrade() {
            return archive;
        }
        let archive = Arc::new(Self { folder: TempDir::with_prefix("chandler-image-").expect("a folder can be made") });
        let mut command = Command::new(build().await);
        Answer::of(command.args(["image", "--tag", "chandler", "--output"]).arg(archive.file())).await.expect_success();
        *made = Arc::downgrade(&archive);
        archive
    }

    /// Where it is.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("chandler.tar")
    }
}

/// The program, linked statically: what goes into an image.
pub async fn build() -> PathBuf {
    let folder = tools::folder().with_file_name("static");
    forget_others(&folder).await;
    let mut command = cargo();
    command.args(["build", "--locked", "--package", "agent", "--target", "host-tuple", "--message-format", "json-render-diagnostics"]);
    command.arg("--target-dir").arg(folder);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Nobody debugs it, and engines take long over a big image.
    command.envs([("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_STRIP", "symbols")]);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().await.expect("cargo starts");
    assert!(status.success(), "the static build failed\n{}", String::from_utf8_lossy(&stderr));
    let messages = stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    let program = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    program.filter(|program| program.ends_with(Path::new("debug/chandler"))).expect("cargo says where the program is")
}

/// Cargo takes another clone's crates for this one's, as long as they are newer than the files here: what it made of them goes, and only dependencies are shared.
async fn forget_others(folder: &Path) {
    let owner = folder.join("of-workspace");
    if std::fs::read_to_string(&owner).is_ok_and(|of| of == WORKSPACE) {
        return;
    }
    let mut command = cargo();
    command.args(["clean", "--locked", "--target", "host-tuple"]);
    command.args(["agent", "certs", "cloud-init", "mirror"].map(|package| format!("--package={package}")));
    Answer::of(command.arg("--target-dir").arg(folder)).await.expect_success();
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(owner, WORKSPACE)).expect("the cache can be written");
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(WORKSPACE);
    command
}

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
