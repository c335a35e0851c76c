//! crane, a strict client without a daemon: it asks the registry that the reference names, so a mirror is addressed itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use super::Answer;
use crate::tools;

/// crane with a home of its own, so that no account of the real machine is used.
#[derive(Debug)]
pub struct Crane {
    program: PathBuf,
    home: TempDir,
    roots: Option<PathBuf>,
}

impl Crane {
    /// Or `None` after saying what is missing.
    pub fn find() -> Option<Self> {
        let program = tools::require("crane")?;
        let home = TempDir::with_prefix("chandler-crane-").expect("a folder for crane can be made");
        Some(Self { program, home, roots: None })
    }

    /// Trusts these certificates, and only these.
    #[must_use]
    pub fn trusting(mut self, pem: &str) -> Self {
        let file = self.home.path().join("roots.pem");
        std::fs::write(&file, pem).expect("a file in a folder of ours can be written");
        self.roots = Some(file);
        self
    }

    /// The digest of the reference `HOST:PORT/library/alpine:3.20`, by a HEAD.
    pub async fn digest(&self, reference: &str) -> Answer {
        self.crane(["digest", reference]).await
    }

    /// The manifest's bytes.
    pub async fn manifest(&self, reference: &str) -> Answer {
        self.crane(["manifest", reference]).await
    }

    /// Downloads every layer of every platform and checks all digests, sizes and diff ids.
    pub async fn validate(&self, reference: &str) -> Answer {
        self.crane(["validate", "--remote", reference]).await
    }

    /// Writes the image as a tar file that `docker load` takes.
    pub async fn pull(&self, reference: &str, file: &Path) -> Answer {
        self.crane(["pull".as_ref(), reference.as_ref(), file.as_os_str()]).await
    }

    /// Takes an index with all that it names, attestations too, and checks every digest.
    pub async fn pull_index(&self, reference: &str) -> Answer {
        let layout = self.home.path().join("layout");
        self.crane(["pull".as_ref(), "--format".as_ref(), "oci".as_ref(), reference.as_ref(), layout.as_os_str()]).await
    }

    /// Pushes an image of this machine's platform with the given tar files as layers and an optional command.
    pub async fn append(&self, reference: &str, layers: &[&Path], command: &[&str]) -> Answer {
        let files = layers.iter().flat_map(|file| ["--new_layer".as_ref(), file.as_os_str()]);
        let pushed = self.crane(["append", "--new_tag", reference].map(OsStr::new).into_iter().chain(files)).await;
        if !pushed.is_success() {
            return pushed;
        }
        let words = command.join(",");
        let command = if words.is_empty() { vec![] } else { vec!["--cmd", &words] };
        // An empty base has no architecture, and no engine takes that.
        let platform = format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
        self.crane(["mutate", "--set-platform", &platform, "--tag", reference, reference].into_iter().chain(command)).await
    }

    /// Any other command.
    pub async fn crane<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Answer {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.home.path()).env("DOCKER_CONFIG", self.home.path());
        if let Some(roots) = &self.roots {
            command.env("SSL_CERT_FILE", roots).env("SSL_CERT_DIR", "/nowhere");
        }
        Answer::of(command.args(arguments).stdin(Stdio::null())).await
    }
}
