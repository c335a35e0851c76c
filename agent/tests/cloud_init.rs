//! `chandler cloud-init` by the real program: what goes into files, what is said beside it, and exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn cloud_init(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chandler"));
    command.arg("cloud-init").args(arguments).env_clear().env("HOME", "/nowhere").output().expect("the program starts")
}

/// Puts the block into the file, or takes it out of it.
fn onto(path: &Path, more: &[&str]) -> Output {
    let path = path.to_str().expect("a plain path");
    cloud_init(&[&["vm-service", "--onto", path, "-o", path], more].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const MIRROR: [&str; 2] = ["--mirror", "https://mirror.example"];

#[test]
fn the_customizations_file_that_others_wrote_is_given_back_to_the_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("customizations");
    let theirs = "# ours since 2019\nexport JAVA_OPTS='-Xmx2g'\n\texport TZ=UTC  \n";
    fs::write(&path, theirs).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its owner's");
    for _ in 0..2 {
        let output = onto(&path, &MIRROR);
        assert!(output.status.success(), "{}", said(&output));
        let text = fs::read_to_string(&path).expect("there");
        assert!(text.starts_with(theirs) && text.matches("# BEGIN chandler").count() == 1 && text.contains("https://mirror.example"));
    }
    let output = onto(&path, &["--remove"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(&path).expect("there"), theirs);
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "nothing is left beside it");
}

#[test]
fn a_file_that_is_no_whole_shell_script_is_refused_with_its_line_and_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("customizations");
    let broken = "export A=1\nexport B='never closed\n";
    fs::write(&path, broken).expect("written");
    for more in [&MIRROR[..], &["--remove"]] {
        let output = onto(&path, more);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("customizations: ") && said(&output).contains("line 2"), "{}", said(&output));
        assert_eq!(fs::read_to_string(&path).expect("there"), broken);
    }
}

#[test]
fn what_cannot_be_done_says_why_on_standard_error_and_gives_no_document() {
    for (arguments, code, told) in [
        (&["user-data"][..], 2, "mirror"),
        (&["user-data", "--mirror", "mirror.example"], 2, "scheme"),
        (&["user-data", "--mirror", "https://m\".evil"], 2, "mirror"),
        (&["vm-service", "--mirror", "https://m.example", "--server-version", "2.18.3"], 2, "2.19"),
        (&["vm-service", "--remove"], 2, "--onto"),
        (&["firewall", "nftables", "--mirror", "https://m.example"], 2, "--client"),
        (&["lint", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    ] {
        let output = cloud_init(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(told), "{arguments:?}: {}", said(&output));
    }
}
