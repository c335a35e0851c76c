//! The real program: what it prints, where, and its exit codes.

use std::process::{Command, Output};

/// Runs chandler with nothing in its environment but `variables`.
fn chandler(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chandler"))
        .args(arguments)
        .env_clear()
        .env("HOME", "/nowhere")
        .envs(variables.iter().copied())
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it prints text")
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    std::fs::write(file.path(), text).expect("room for a file");
    file
}

#[test]
fn a_right_configuration_is_said_to_be_right() {
    let file = file("tag_window: 5s\n");
    let path = file.path().to_str().expect("a plain path");
    let output = chandler(&["mirror", "--config", path, "--check"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "the configuration is valid\n".into()));
    let output = chandler(&["mirror", "--config", path, "--check", "--show"], &[("CHANDLER_LIMITS_DRAIN", "1m")]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(shown.contains(&format!("tag_window: 5s  # {path}:1:13")) && shown.contains("drain: 1m  # CHANDLER_LIMITS_DRAIN"), "{shown}");
}

#[test]
fn every_problem_is_on_standard_error_with_one_hint_and_exit_code_2() {
    let file = file("tag_windo: 5s\nstore: {max_size: big}\n");
    let path = file.path().to_str().expect("a plain path");
    let output = chandler(&["mirror", "--config", path], &[("CHANDLER_LOG_LEVEL", "loud")]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    insta::assert_snapshot!(text(&output.stderr).replace(path, "FILE"), @r#"
    error: the configuration has 3 problems
      FILE:1:1: unknown key `tag_windo`; did you mean `tag_window`?
      CHANDLER_LOG_LEVEL: log.level: "loud" is not a level: write error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug
      FILE:2:19: store.max_size: "big" is not a size: write a whole number with a unit, such as 512MiB or 20GiB, or off
    hint: `chandler mirror --print-default-config` shows every key; `chandler mirror --check` tries a change
    "#);
}

#[test]
fn a_missing_file_is_named_with_its_cause() {
    let output = chandler(&["mirror", "--config", "/nowhere/mirror.yaml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: cannot read the configuration /nowhere/mirror.yaml
      caused by: No such file or directory (os error 2)
    hint: `chandler mirror --print-default-config` prints a file to start from
    ");
}

#[test]
fn two_configurations_at_once_are_refused() {
    let output = chandler(&["mirror", "--config", "/x"], &[("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io")]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: two configurations at once: --config names one of chandler's own, and REGISTRY_… variables are set
    hint: unset one of them; CHANDLER_… variables and flags work beside either
    ");
}

#[test]
fn the_registry_images_variables_are_checked_as_it_reads_them() {
    let hub = ("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io");
    let output =
        chandler(&["mirror", "--check", "--show"], &[hub, ("REGISTRY_PROXY_USERNAME", "acme"), ("REGISTRY_PROXY_PASSWORD", "hunter2")]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("password: (secret)  # REGISTRY_PROXY_PASSWORD")
            || shown.contains("password: \"(secret)\"  # REGISTRY_PROXY_PASSWORD"),
        "{shown}"
    );
    let notes = text(&output.stderr);
    assert!(notes.starts_with("note: private images of acme at docker.io are open") && !notes.contains("hunter2"), "{notes}");
    for arguments in [&["serve", "/etc/distribution/config.yml"][..], &["serve"], &[]] {
        let output = chandler(arguments, &[hub, ("REGISTRY_AUTH", "htpasswd")]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("REGISTRY_AUTH: auth is not done here"), "{arguments:?}: {said}");
    }
}

#[test]
fn help_reference_default_file_and_completions_are_data() {
    for (arguments, part) in [
        (&[][..], "Usage: chandler"),
        (&["--help"], "Usage: chandler"),
        (&["mirror", "--print-default-config"], "#store:"),
        (&["mirror", "--config-reference"], "| `store.max_size` |"),
        (&["completions", "bash"], "_chandler"),
    ] {
        let output = chandler(arguments, &[]);
        assert!(output.status.success() && text(&output.stdout).contains(part), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
    assert_eq!(chandler(&["mirror", "--nonsense"], &[]).status.code(), Some(2));
    assert_eq!(chandler(&["nonsense"], &[]).status.code(), Some(2));
}

#[test]
fn an_image_of_a_program_that_needs_shared_libraries_is_refused_with_the_mend() {
    let output = chandler(&["image", "--binary", "/bin/sh"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let said = text(&output.stderr);
    assert!(said.starts_with("error: the program /bin/sh needs shared libraries (/") && said.contains("hint: "), "{said}");
    assert_eq!(chandler(&["image", "--binary", "/nowhere/chandler"], &[]).status.code(), Some(1));
    assert_eq!(chandler(&["image", "--tag", "Not A Name"], &[]).status.code(), Some(2));
}

#[test]
fn an_image_goes_to_a_file_or_to_standard_output_with_the_same_bytes() {
    let mut program = vec![0; 64];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[18] = 62; // x86-64
    let binary = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    std::fs::write(binary.path(), program).expect("room for a file");
    let archive = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    let [program, file] = [&binary, &archive].map(|file| file.path().to_str().expect("a plain path"));
    let printed = chandler(&["image", "--binary", program], &[]);
    let written = chandler(&["image", "--binary", program, "--output", file], &[]);
    assert!(printed.status.success() && written.status.success(), "{}", text(&written.stderr));
    assert_eq!(printed.stdout, std::fs::read(file).expect("it was written"));
    assert!(text(&written.stderr).contains("note: chandler:latest for linux/amd64, 1 MiB, sha256:"), "{}", text(&written.stderr));
    assert!(text(&written.stderr).contains(&format!("next: docker load --input {file}")), "{}", text(&written.stderr));
}
