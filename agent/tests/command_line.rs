//! The real program: what it prints, where, and its exit codes.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
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
      FILE:2:19: store.max_size: "big" is not a size: write a whole number with a unit, such as 512MiB or 20GiB, or off
      CHANDLER_LOG_LEVEL: log.level: "loud" is not a level: write error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug
    hint: `chandler mirror --print-default-config` shows every key; `chandler mirror --check` tries a change
    "#);
}

#[test]
fn a_missing_file_is_named_with_its_cause() {
    let output = chandler(&["mirror", "--config", "/nowhere/mirror.yaml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: cannot read the configuration /nowhere/mirror.yaml, which --config names
      caused by: No such file or directory (os error 2)
    hint: `chandler mirror --print-default-config` prints a file to start from
    ");
}

#[test]
fn what_is_no_text_is_told_and_never_passed_over() {
    let folder = chandler(&["mirror", "--config", "/tmp"], &[]);
    assert_eq!(folder.status.code(), Some(2));
    insta::assert_snapshot!(text(&folder.stderr), @r"
    error: cannot read the configuration /tmp, which --config names
      caused by: Is a directory (os error 21)
    hint: it is a folder; a container engine makes one where the file to mount is missing: remove it, and mount the file
    ");

    let bytes = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    std::fs::write(bytes.path(), b"tag_window: 1s\nlog: {level: \xff}\n").expect("room for a file");
    let path = bytes.path().to_str().expect("a plain path");
    let output = chandler(&["mirror", "--check"], &[("CHANDLER_CONFIG", path)]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr).replace(path, "FILE"), @r"
    error: the configuration FILE is not UTF-8 text: line 2 holds other bytes
    hint: save it as UTF-8
    ");

    // It may guard something; without it the mirror would be open.
    let access = OsStr::from_bytes(b"10.0.0.0/8\xff");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chandler"));
    let output = command.args(["mirror", "--check"]).env_clear().env("CHANDLER_ACCESS", access).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: the variable CHANDLER_ACCESS is not UTF-8 text
    hint: set it to text, or unset it
    ");
}

#[test]
fn a_check_looks_at_the_files_that_are_named() {
    let pem = file("-----BEGIN NOTHING-----\n");
    let empty = file("\n");
    let [pem, empty] = [&pem, &empty].map(|file| file.path().to_str().expect("a plain path"));
    let config = file(&format!(
        "listeners: [{{address: '127.0.0.1:0', tls: {{certificate: {pem}, key: /nowhere/key}}}}]
upstreams:
- ca: /nowhere/ca
  account: {{user: ci, password_file: {empty}}}
- {{name: b, url: 'https://b', account: {{user: ci, password_file: /tmp}}}}
log: {{level: 'info,mirror[x=debug'}}
"
    ));
    let path = config.path().to_str().expect("a plain path");
    let filter = chandler(&["mirror", "--config", path, "--check"], &[]);
    assert_eq!(filter.status.code(), Some(2));
    insta::assert_snapshot!(text(&filter.stderr).replace(path, "FILE"), @r#"
    error: log.level "info,mirror[x=debug" is no filter
      caused by: invalid filter directive
    hint: log.level is error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug
    "#);
    let output = chandler(&["mirror", "--config", path, "--check"], &[("CHANDLER_LOG_LEVEL", "info")]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    insta::assert_snapshot!(text(&output.stderr).replace(path, "FILE").replace(pem, "PEM").replace(empty, "EMPTY"), @r"
    error: the configuration has 4 problems
      FILE:1:43: listeners.0.tls: certificate 1 in PEM cannot be read: missing section end marker: [78, 79, 84, 72, 73, 78, 71]
      FILE:3:7: upstreams.0.ca: the CA bundle /nowhere/ca cannot be read: I/O error: No such file or directory (os error 2)
      FILE:4:38: upstreams.0.account.password_file: the first line of EMPTY is empty; it must be the password
      FILE:5:66: upstreams.1.account.password_file: cannot read /tmp: Is a directory (os error 21)
    hint: `chandler mirror --print-default-config` shows every key; `chandler mirror --check` tries a change
    ");
}

#[test]
fn a_start_that_fails_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let in_the_way = file("");
    let store = in_the_way.path().to_str().expect("a plain path");
    let start = |variables: &[(&str, &str)]| {
        let free = [("CHANDLER_LISTENERS", "127.0.0.1:0"), ("CHANDLER_ADMIN", "127.0.0.1:0"), ("CHANDLER_STORE_PATH", store)];
        let output = chandler(&["mirror"], &[&free, variables].concat());
        assert_eq!(output.status.code(), Some(1), "{variables:?}");
        text(&output.stderr).replace(&address, "ADDRESS").replace(store, "STORE")
    };
    insta::assert_snapshot!(start(&[("CHANDLER_LISTENERS", &address)]), @r"
    error: cannot listen on ADDRESS
      caused by: Address already in use (os error 98)
    hint: another program listens there (`ss -ltnp` names it): stop it; or choose another address (listeners, --listen, CHANDLER_LISTENERS)
    ");
    insta::assert_snapshot!(start(&[("CHANDLER_ADMIN", &address)]), @r"
    error: cannot serve metrics and readiness
      caused by: cannot listen on ADDRESS
      caused by: Address already in use (os error 98)
    hint: another program listens there (`ss -ltnp` names it): stop it; or move it with admin.address (CHANDLER_ADMIN_ADDRESS), or leave it out (admin: off)
    ");
    insta::assert_snapshot!(start(&[]), @r"
    error: cannot create `STORE`
      caused by: File exists (os error 17)
    hint: a file is in the way: move it, or choose another folder for the store
    ");
    let tls = [("CHANDLER_LISTENERS_0_TLS_CERTIFICATE", "/nowhere/c"), ("CHANDLER_LISTENERS_0_TLS_KEY", "/nowhere/k")];
    insta::assert_snapshot!(start(&tls), @r"
    error: cannot serve HTTPS on 127.0.0.1:0
      caused by: cannot read /nowhere/c
      caused by: No such file or directory (os error 2)
    hint: the user that chandler runs as must be able to read it; in a container mount the whole folder, with what its links lead to
    ");
}

#[test]
fn two_configurations_at_once_are_refused() {
    let output = chandler(&["mirror", "--config", "/x"], &[("REGISTRY_PROXY_REMOTEURL", "https://registry-1.docker.io")]);
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: two configurations at once: --config names one of chandler's own, and REGISTRY_… variables are set
    hint: leave one of them out; `chandler mirror` alone runs by chandler's own, and CHANDLER_… variables and flags work beside either
    ");
    let output = chandler(&["serve"], &[("CHANDLER_CONFIG", "/x")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("CHANDLER_CONFIG names one of chandler's own, and `serve`"), "{}", text(&output.stderr));
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

/// `chandler ca …` with its state in `folder`.
fn ca(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let state = folder.to_str().expect("a plain path");
    chandler(&[&["ca", "--state", state], arguments].concat(), &[])
}

#[test]
fn a_ca_that_is_not_there_or_there_already_is_told_with_the_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |output: Output| text(&output.stderr).replace(folder.path().to_str().expect("a plain path"), "DIR");
    let missing = ca(folder.path(), &["issue", "a.test", "-o", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    insta::assert_snapshot!(told(missing), @r"
    error: there is no CA in DIR/ca
    hint: `chandler ca init --state DIR --permit NAME` makes one there; --config FILE or --state DIR names another folder
    ");
    let made = ca(folder.path(), &["init", "--permit", "ci.test,10.0.0.0/8"]);
    assert_eq!((made.status.code(), text(&made.stdout).lines().count()), (Some(0), 2), "{}", text(&made.stderr));
    let again = ca(folder.path(), &["init", "--permit", "ci.test"]);
    assert_eq!(again.status.code(), Some(1));
    insta::assert_snapshot!(told(again), @r"
    error: there is a CA in DIR/ca already
    hint: `chandler ca rotate` makes the next one; --config FILE or --state DIR names another folder
    ");
    let outside = ca(folder.path(), &["issue", "a.test", "-o", "/nowhere"]);
    assert_eq!(outside.status.code(), Some(1));
    insta::assert_snapshot!(told(outside), @r"
    error: the CA may not issue for a.test; it may for ci.test, 10.0.0.0/8
    hint: `chandler ca rotate --permit NAME,..` makes an intermediate that may issue for all names given there
    ");
    let nobodys = ca(folder.path(), &["token", "a.test"]);
    assert_eq!((nobodys.status.code(), text(&nobodys.stdout)), (Some(1), String::new()), "a token that would open nothing is not made");
    let unknown = ca(folder.path(), &["token", "--cancel", "0123456789abcdef"]);
    assert_eq!(unknown.status.code(), Some(1));
    insta::assert_snapshot!(told(unknown), @r"
    error: no token is called 0123456789abcdef
    hint: `chandler ca token --list` shows those that are out
    ");
    let neither = ca(folder.path(), &["revoke", "no-such-file"]);
    assert_eq!(neither.status.code(), Some(2));
    insta::assert_snapshot!(told(neither), @r"
    error: no-such-file is neither a file nor a serial number
      caused by: `no-such-file` is no serial number: write 1 to 20 bytes in hexadecimal, with or without colons
    hint: `openssl x509 -noout -serial -in FILE` prints a certificate's serial number
    ");
}

#[test]
fn wrong_names_for_a_ca_are_usage_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["init"][..],
        &["init", "--permit", "*.ci.test"],
        &["init", "--permit", "10.0.0.0/40"],
        &["init", "--permit", "ci.test", "--organization", "\n"],
        &["init", "--permit", "ci.test", "-o", "request.pem"],
        &["issue", "under_score.test", "-o", "out"],
        &["issue", "ci.test"],
        &["export", "https://mirror.test", "--out", "out"],
        &["import", "ca.pem", "--permit", "ci.test"],
        &["token"],
        &["token", "under_score.test"],
        &["token", "ci.test", "--valid", "8days"],
        &["token", "ci.test", "--list"],
        &["token", "--cancel", "../ca"],
        &["request", "--mirror", "http://mirror.test", "--token", "token", "--out", "out"],
        &["request", "--mirror", "mirror.test:5000", "--token", "token", "--out", "out"],
    ] {
        let output = ca(folder.path(), arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{arguments:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing was made");
}

#[test]
fn a_token_is_data_and_what_is_said_of_it_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(ca(folder.path(), &["init", "--permit", "ci.test"]).status.success());
    let made = ca(folder.path(), &["token", "a.ci.test", "--valid", "2h"]);
    let token = text(&made.stdout);
    assert!(made.status.success() && token.starts_with("chandler1.") && token.lines().count() == 1, "{}", text(&made.stderr));
    let [id, secret] = [1, 2].map(|part| token.split('.').nth(part).expect("four parts"));
    let notes = text(&made.stderr);
    assert!(notes.contains(id) && notes.contains("a.ci.test") && !notes.contains(secret), "{notes}");
    let listed = ca(folder.path(), &["token", "--list"]);
    assert!(text(&listed.stdout).starts_with(id) && !text(&listed.stdout).contains(secret), "{}", text(&listed.stdout));
    let file = folder.path().join("typo");
    std::fs::write(&file, format!("Bearer {token}")).expect("room for a file");
    let file = file.to_str().expect("a plain path");
    let wrong = ca(folder.path(), &["request", "--mirror", "https://mirror.test", "--token", file, "--out", "/nowhere"]);
    assert_eq!(wrong.status.code(), Some(2));
    insta::assert_snapshot!(text(&wrong.stderr).replace(file, "FILE"), @r"
    error: FILE holds no token
      caused by: this is no token: it is one word, as `chandler ca token NAME` prints it, that begins with `chandler1.`
    hint: `chandler ca token NAME -o FILE` beside the mirror makes one
    ");
    let word = token.trim();
    let bearer = format!("Bearer {word}");
    let [mirror, cut] = ["https://mirror.test", &word[..word.len() - 1]];
    for (token, more) in [(word, &[][..]), (cut, &[]), (&bearer, &[]), ("file", &[word]), ("file", &["--key-type", word])] {
        let wrong = ca(folder.path(), &[&["request", "--mirror", mirror, "--out", "/nowhere", "--token", token][..], more].concat());
        let told = text(&wrong.stderr);
        assert!(wrong.status.code() == Some(2) && !told.contains(secret), "{told}");
        assert!(token == "file" || told.contains("--token -"), "{told}");
    }
    let wrong = ca(folder.path(), &["token", "--cancel", word]);
    assert!(wrong.status.code() == Some(2) && !text(&wrong.stderr).contains(secret), "{}", text(&wrong.stderr));
    assert_eq!(text(&ca(folder.path(), &["token", "--cancel", id]).stdout), format!("{id} is taken back\n"));
    assert_eq!(
        text(&ca(folder.path(), &["token", "--list"]).stderr),
        "note: no token is out, and none was used whose certificate still holds\n"
    );
}

#[test]
fn a_key_is_never_printed_and_no_device_is_replaced_by_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("tls");
    let out = out.to_str().expect("a plain path");
    let mut said = Vec::new();
    for arguments in [&["init", "--permit", "ci.test"][..], &["issue", "ci.test", "-o", out], &["rotate"], &["rotate", "--root"]] {
        let output = ca(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        said.extend([output.stdout, output.stderr].concat());
    }
    assert!(!text(&said).contains("PRIVATE"), "{}", text(&said));
    let device = ca(&folder.path().join("other"), &["init", "--request", "--permit", "ci.test", "-o", "/dev/null"]);
    assert_eq!(device.status.code(), Some(1), "{}", text(&device.stderr));
    assert!(text(&device.stderr).contains("not a file"), "{}", text(&device.stderr));
}

#[test]
fn a_password_in_the_url_of_a_ca_is_not_repeated() {
    for arguments in [&["cert", "renew", "--dry-run"][..], &["acme", "profiles"]] {
        let output = chandler(&[arguments, &["--directory", "https://user:geheim77@ca.test/dir"]].concat(), &[]);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains("https://…@ca.test/dir") && !told.contains("geheim77"), "{told}");
    }
}

#[test]
fn the_private_ca_is_made_where_the_mirror_of_this_configuration_looks_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let [configured, named] = ["configured", "named"].map(|name| folder.path().join(name).to_str().expect("a plain path").to_owned());
    // What the mirror's unit has in its environment is not there: nothing is pulled.
    let upstreams = "upstreams: [{account: {user: a, password_env: HUBPW}}]";
    let file = file(&format!("acme: {{path: {configured}}}\n{upstreams}\nlisteners: [{{tls: {{private: [ci.test]}}}}]\n"));
    let config = file.path().to_str().expect("a plain path");
    let missing = chandler(&["ca", "--config", config, "token", "--list"], &[]);
    let told = text(&missing.stderr);
    assert!(told.contains(&format!("`chandler ca init --state {configured} --permit NAME` makes one there")), "{told}");
    for arguments in [&["--config", config][..], &["--config", config, "--state", &named]] {
        let made = chandler(&[&["ca"], arguments, &["init", "--permit", "ci.test"]].concat(), &[]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    assert!([configured, named].iter().all(|folder| std::path::Path::new(folder).join("ca").is_dir()), "each in its own place");
    let listed = chandler(&["ca", "token", "--list"], &[("CHANDLER_CONFIG", config)]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let standing = chandler(&["cert", "status"], &[("CHANDLER_CONFIG", config)]);
    assert!(standing.status.success(), "{}", text(&standing.stderr));
    let mirror = chandler(&["mirror", "--check"], &[("CHANDLER_CONFIG", config)]);
    assert!(text(&mirror.stderr).contains("HUBPW is not set"), "the mirror does need it: {}", text(&mirror.stderr));
}

/// What `chandler mirror --check` says of this configuration, with its exit code.
fn checked(text_of: &str) -> (Option<i32>, String) {
    let file = file(text_of);
    let path = file.path().to_str().expect("a plain path");
    let output = chandler(&["mirror", "--check", "--config", path], &[]);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_tls_section_that_says_nothing_is_no_plain_http() {
    for text_of in ["listeners: [{address: ':5443', tls: {}}]", "listeners:\n  - address: :5443\n    tls:\n      # acme: [mirror.test]\n"] {
        let (code, told) = checked(text_of);
        assert!(code == Some(2) && told.contains("listeners.0.tls is empty") && told.contains("write names under acme"), "{told}");
    }
}

#[test]
fn the_check_says_whether_the_private_ca_will_issue() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().to_str().expect("a plain path");
    let of = |names: &str| checked(&format!("acme: {{path: {state}}}\nlisteners: [{{tls: {{private: [{names}]}}}}]\n"));
    let (code, told) = of("a.ci.test");
    assert!(code == Some(2) && told.contains(&format!("`chandler ca init --state {state} --permit")), "{told}");
    assert!(ca(folder.path(), &["init", "--permit", "ci.test"]).status.success());
    assert_eq!(of("a.ci.test"), (Some(0), String::new()));
    let (code, told) = of("a.ci.test, 10.20.0.7");
    assert!(code == Some(2) && told.contains("may not issue for 10.20.0.7") && told.contains("`chandler ca rotate --permit"), "{told}");
}

#[test]
fn the_check_reads_the_folder_of_certificates_and_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let of = || checked(&format!("acme: {{path: {}}}\nlisteners: [{{tls: {{acme: [a.test]}}}}]\n", state.display()));
    assert_eq!(of().0, Some(0));
    assert!(!state.exists(), "it would be root's");
    std::fs::create_dir_all(state.join("certs/a.test/current")).expect("room"); // Nobody can read this one, not even root.
    let (code, told) = of();
    assert!(code == Some(2) && told.contains("acme.path: cannot read") && told.contains("Is a directory"), "{told}");
}

#[test]
fn a_disk_without_room_for_a_certificate_is_said_to_be_full_before_one_is_due() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let file = file(&format!("acme: {{path: {}}}\nlisteners: [{{tls: {{private: [a.test]}}}}]\n", state.display()));
    let config = file.path().to_str().expect("a plain path");
    let script = r#"trap "" XFSZ; ulimit -f 4; exec "$0" cert check --config "$1""#;
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_chandler"), config]).output().expect("it starts");
    let told = text(&output.stderr);
    assert!(told.contains(&format!("bad   {} can be written: cannot write", state.display())) && told.contains("too large"), "{told}");
    assert_eq!(std::fs::read_dir(&state).expect("it was made").count(), 0, "nothing of the trial stays");
}

#[test]
fn a_certificate_alone_is_imported_with_the_key_that_lies_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let [state, from, to] = ["state", "from", "to"].map(|name| folder.path().join(name).to_str().expect("a plain path").to_owned());
    assert!(ca(state.as_ref(), &["init", "--permit", "ci.test"]).status.success());
    assert!(ca(state.as_ref(), &["issue", "a.ci.test", "-o", &from]).status.success());
    let files = file(&format!("listeners: [{{tls: {{certificate: {to}/c.pem, key: {to}/k.pem}}}}]\n"));
    let config = files.path().to_str().expect("a plain path");
    let done = chandler(&["cert", "import", "--config", config, "--cert", &format!("{from}/fullchain.pem")], &[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let read = |path: String| std::fs::read(path).expect("it is there");
    assert_eq!(read(format!("{to}/k.pem")), read(format!("{from}/privkey.pem")));
}
