//! What a machine boots from: the disk that `base.sh` makes once and keeps in the cache, and a seed for cloud-init.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools;

/// Of every machine; each has its own changes elsewhere.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) disk: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) kernel: PathBuf,
}

/// What cloud-init finds at a machine's first boot: its `NoCloud` documents.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Such as `instance-id: one`; another one makes it a new machine.
    pub meta_data: String,
    /// As a cloud would be given it.
    pub user_data: String,
}

impl Base {
    /// Makes it, or takes the one that there is: some minutes, or none.
    pub(super) fn get() -> Self {
        let folder = tools::cache().join("vm");
        // Mounts that debootstrap makes end with it.
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash"]).arg(SCRIPT).args([&folder, &tools::cache()]);
        let output = command.output().expect("unshare was found");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "there is no disk to boot from:\n{}", String::from_utf8_lossy(&said));
        Self { disk: folder.join("disk.raw"), initrd: folder.join("initrd.img"), kernel: folder.join("vmlinuz") }
    }
}

impl Seed {
    /// The user data of a machine that boots for the first time.
    pub fn of(user_data: impl Into<String>) -> Self {
        Self { meta_data: "instance-id: first\nlocal-hostname: machine\n".into(), user_data: user_data.into() }
    }

    /// As a disc with the label that cloud-init looks for.
    pub(super) fn disc(&self, folder: &Path, genisoimage: &Path) -> PathBuf {
        let documents = [("user-data", &self.user_data), ("meta-data", &self.meta_data)];
        let files = documents.map(|(name, text)| {
            let file = folder.join(name);
            std::fs::write(&file, text).expect("a folder of ours");
            file
        });
        let disc = folder.join("seed.iso");
        let mut command = Command::new(genisoimage);
        command.args(["-quiet", "-joliet", "-rock", "-volid", "cidata", "-output"]).arg(&disc).args(files);
        let output = command.output().expect("it was found");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        disc
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/vm/base.sh");
