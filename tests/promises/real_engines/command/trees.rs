//! `chandler --root DIR`: a tree that is no running machine, for engines that are not to be had here, k3s, RKE2 and CRI-O, and those that are, before they first start.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::engine::Tree;
use tests::program::program_path;

#[test]
fn a_tree_with_k3s_gets_its_registries_file_and_is_as_it_was_after_undo() {
    for name in ["k3s", "rke2"] {
        let config = format!("etc/rancher/{name}/config.yaml");
        let tree = Made::with(&[(config.as_str(), "write-kubeconfig-mode: \"0600\"\n", 0o600)]);
        let registries = format!("/etc/rancher/{name}/registries.yaml");
        tree.is_put_behind(&[&registries], &|text: &str| {
            assert!(text.contains("docker.io") && text.contains("ghcr.io") && text.contains("- \"http://mirror.internal:5000\""), "{text}");
        });
        assert_eq!(tree.mode(&registries), 0o600, "as its installer makes it");
        tree.is_taken_out();
    }
}

#[test]
fn what_an_operator_wrote_in_a_registries_file_stays_where_it_is() {
    let theirs = "# ours, by hand\nmirrors:\n  docker.io:\n    endpoint:\n      - \"https://corp.example\"   # keep\nconfigs:\n  \"corp.example\":\n    auth:\n      username: ci\n      password: secret-word\n";
    let tree = Made::with(&[("etc/rancher/k3s/registries.yaml", theirs, 0o640)]);
    let shown = tree.chandler(&["plan"]);
    assert!(!said(&shown).contains("secret-word"), "{}", said(&shown));
    tree.is_put_behind(&["/etc/rancher/k3s/registries.yaml"], &|text: &str| {
        let (ours, corp) = (text.find("http://mirror.internal:5000"), text.find("https://corp.example"));
        assert!(ours.is_some() && ours < corp && text.contains("# keep") && text.contains("secret-word"), "{text}");
    });
    assert_eq!(tree.mode("/etc/rancher/k3s/registries.yaml"), 0o640);
    tree.is_taken_out();
}

#[test]
fn a_tree_with_cri_o_gets_the_drop_in_that_it_reads_as_podman_does() {
    let tree = Made::with(&[("usr/bin/crio", "", 0o755), ("etc/crio/crio.conf", "[crio.image]\n", 0o644)]);
    tree.is_put_behind(&["/etc/containers/registries.conf.d/50-chandler-mirror.conf"], &|text: &str| {
        assert!(text.contains("location = \"mirror.internal:5000/docker.io\"") && text.contains("prefix = \"ghcr.io\""), "{text}");
    });
    tree.is_taken_out();
}

#[test]
fn a_tree_with_every_engine_gets_a_file_for_each_and_loses_all_of_them() {
    let programs = ["dockerd", "podman", "containerd", "buildkitd", "k3s"].map(|name| format!("usr/bin/{name}"));
    let mut files: Vec<(&str, &str, u32)> = programs.iter().map(|path| (path.as_str(), "", 0o755)).collect();
    let config = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n";
    files.extend([("etc/containerd/config.toml", config, 0o644), ("etc/rancher/k3s/config.yaml", "", 0o600)]);
    let tree = Made::with(&files);
    let written = [
        "/etc/docker/daemon.json",
        "/etc/containers/registries.conf.d/50-chandler-mirror.conf",
        "/etc/containerd/certs.d/docker.io/hosts.toml",
        "/etc/rancher/k3s/registries.yaml",
        "/etc/buildkit/buildkitd.toml",
    ];
    tree.is_put_behind(&written, &|text: &str| assert!(text.contains("mirror.internal:5000"), "{text}"));
    tree.is_taken_out();
}

struct Made {
    folder: TempDir,
    before: Tree,
}

impl Made {
    fn with(files: &[(&str, &str, u32)]) -> Self {
        let folder = TempDir::with_prefix("chandler-tree-").expect("a folder");
        for (path, text, mode) in files {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().expect("below the tree")).expect("made");
            fs::write(&file, text).expect("written");
            fs::set_permissions(&file, fs::Permissions::from_mode(*mode)).expect("ours");
        }
        let before = Tree::of(&folder.path().join("etc"));
        Self { folder, before }
    }

    fn is_put_behind(&self, files: &[&str], holds: &dyn Fn(&str)) {
        let before = self.files();
        let shown = succeeded(&self.chandler(&["plan"]));
        before.assert_untouched(&self.files());
        assert_eq!(self.chandler(&["plan", "--check"]).status.code(), Some(3));
        let applied = succeeded(&self.chandler(&["apply"]));
        for file in files {
            assert!(shown.contains(file) && applied.contains(file), "{shown}\n{applied}");
            holds(&fs::read_to_string(self.at(file)).unwrap_or_else(|error| panic!("{file}: {error}")));
        }
        assert!(!applied.contains("pending restart"), "nothing runs in a tree: {applied}");
        let after = self.files();
        let again = self.chandler(&["apply"]);
        assert!(said(&again).contains("everything is as it should be already"), "{}", said(&again));
        after.assert_untouched(&self.files());
        assert_eq!(self.chandler(&["plan", "--check"]).status.code(), Some(0));
    }

    fn is_taken_out(&self) {
        succeeded(&self.run(&["undo"]));
        self.before.assert_same(&self.files());
        assert!(!self.at("/var/lib/chandler/agent/record.json").exists());
    }

    fn files(&self) -> Tree {
        Tree::of(&self.folder.path().join("etc"))
    }

    fn chandler(&self, words: &[&str]) -> Output {
        self.run(&[words, &["--mirror", "http://mirror.internal:5000", "--registry", "ghcr.io"]].concat())
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program_path());
        command.args(words).arg("--root").arg(self.folder.path()).env_clear();
        command.output().expect("it starts")
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).expect("it is there").permissions().mode() & 0o7777
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(Path::new(path).strip_prefix("/").expect("in full"))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}
