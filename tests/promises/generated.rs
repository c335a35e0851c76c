//! "Everything that is generated is right for whom it is made": each document is read by that system's own parser or validator, where one can be had here, and its values arrive there as they were given.
//!
//! `firewall` lets real packets try: a client reaches the mirror, a stranger does not, and no port that is published to a container is a way around.

mod firewall;
mod images;
mod runners;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::engine::Answer;
use tests::program::program_path;
use tests::tools;
use tokio::process::Command;

/// Documents in a folder of their own.
struct Made {
    folder: TempDir,
}

impl Made {
    /// By `chandler cloud-init ARGUMENTS`, for a mirror with a private CA; `alone`: as this file.
    async fn by(arguments: &str, alone: Option<&str>) -> Self {
        let folder = TempDir::with_prefix("chandler-generated-").expect("a folder");
        let ca = folder.path().join("mirror-ca.pem");
        fs::write(&ca, private_ca()).expect("written");
        let output = alone.map_or_else(|| folder.path().to_owned(), |name| folder.path().join(name));
        let mut command = Command::new(program_path());
        command
            .args(["cloud-init"])
            .args(arguments.replace("CA.pem", &ca.display().to_string()).split_whitespace())
            .arg("--output")
            .arg(output);
        Answer::of(command.env_clear()).await.expect_success();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name} was not made: {error}"))
    }
}

/// A CA's certificate, made anew.
fn private_ca() -> String {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("signed").pem()
}

/// What a program that must like a document says.
async fn run(program: &Path, arguments: &[&str]) -> String {
    Answer::of(Command::new(program).args(arguments)).await.expect_success()
}

/// The value that Python reads: a file's format is a module of its own.
async fn read_by_python(format: &str, file: &Path) -> Option<serde_json::Value> {
    let python = tools::require("python3")?;
    let script = format!("import json, sys, {format}\nprint(json.dumps({format}.load(open(sys.argv[1], 'rb'))))");
    let said = run(&python, &["-c", &script, &file.display().to_string()]).await;
    Some(serde_json::from_str(&said).expect("JSON"))
}
