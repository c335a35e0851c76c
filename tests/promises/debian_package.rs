//! The Debian package: dpkg itself reads it, installs it into a tree, and takes it out again.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;
use tests::container_image;
use tests::engine::Answer;
use tests::released;
use tests::tools;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn dpkg_installs_the_package_keeps_the_configuration_at_a_removal_and_takes_all_at_a_purge() {
    let (Some([dpkg, dpkg_deb]), true) = (tools::require_all(["dpkg", "dpkg-deb"]), tools::require_giving()) else { return };
    let Some(program) = released::build().await else { return };
    let folder = TempDir::with_prefix("chandler-debian-").expect("a folder");
    let package = folder.path().join("chandler.deb");
    Answer::of(Command::new(&program).args(["debian", "--output"]).arg(&package)).await.expect_success();

    let about = Answer::of(Command::new(&dpkg_deb).arg("--info").arg(&package)).await.expect_success();
    assert!(about.contains("Package: chandler\n") && about.contains("postinst") && about.contains("conffiles"), "{about}");
    let listed = Answer::of(Command::new(&dpkg_deb).arg("--contents").arg(&package)).await.expect_success();
    assert!(listed.contains("usr/bin/chandler\n") && listed.lines().all(|line| line.contains(" root/root ")), "{listed}");

    let tree = folder.path().join("tree");
    fs::create_dir(&tree).expect("made");
    empty_system(&tree);
    let run = |action: &'static str, what: &Path| {
        let mut command = Command::new(&dpkg);
        // Its scripts run beside the tree, as image builders have them: there is no shell in it.
        command.arg("--root").arg(&tree).args(["--force-script-chrootless", "--force-depends", action]).arg(what);
        async move { Answer::of(&mut command).await.expect_success() }
    };
    run("--install", &package).await;
    let at = |path: &str| tree.join(path);
    let version = Answer::of(Command::new(at("usr/bin/chandler")).arg("--version")).await.expect_success();
    assert!(version.starts_with("chandler "), "{version}");
    let passwd = fs::read_to_string(at("etc/passwd")).expect("there");
    assert!(passwd.contains("\nchandler:"), "{passwd}");
    let configuration = fs::metadata(at("etc/chandler/mirror.yaml")).expect("a conffile");
    assert!(configuration.permissions().mode() & 0o777 == 0o640 && configuration.gid() != 0, "{configuration:?}");
    assert!(at("usr/lib/systemd/system/chandler-mirror.service").exists());
    assert!(!at("etc/systemd/system/multi-user.target.wants").exists(), "nothing is started by itself");

    fs::write(at("etc/chandler/mirror.yaml"), "tag_window: 5s\n").expect("written");
    fs::create_dir_all(at("var/lib/chandler/ca")).expect("made");
    run("--remove", Path::new("chandler")).await;
    assert!(!at("usr/bin/chandler").exists() && at("var/lib/chandler/ca").exists());
    assert_eq!(fs::read_to_string(at("etc/chandler/mirror.yaml")).expect("it stays"), "tag_window: 5s\n");
    assert!(at("etc/chandler/agent.yaml").exists(), "dpkg brings no removed one back");
    run("--purge", Path::new("chandler")).await;
    assert!(!at("etc/chandler").exists() && !at("var/lib/chandler").exists());
}

/// It would crash with the first name that it looks up on many a machine: glibc loads that machine's modules for names into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_static_program_is_refused_since_it_cannot_look_up_names_on_every_release() {
    let refused = Answer::of(Command::new(container_image::build().await).args(["debian", "--output", "/dev/null"])).await.expect_failure();
    assert!(refused.contains("linked statically") && refused.contains("/etc/nsswitch.conf"), "{refused}");
}

/// What dpkg and the users' files need.
fn empty_system(tree: &Path) {
    for folder in ["etc", "usr/bin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log"] {
        fs::create_dir_all(tree.join(folder)).expect("made");
    }
    for (file, text) in [("var/lib/dpkg/status", ""), ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")] {
        fs::write(tree.join(file), text).expect("written");
    }
}
