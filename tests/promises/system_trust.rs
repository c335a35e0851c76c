//! "`chandler ca trust` has the whole system trust the mirror's CA": the store's own tool makes the bundle that `curl` and others read, and `chandler undo` takes the CA out again.
//!
//! Debian's tool is the real one, on a machine that systemd runs; Red Hat's is a stand-in that does what the real one is known to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::program::program_path;
use tests::systemd::SystemdMachine;
use tests::tools;

#[test]
fn curl_knows_the_mirror_from_ca_trust_on_until_undo() {
    let Some(machine) = SystemdMachine::boot() else { return };
    let trust = format!("/opt/chandler ca trust --mirror {MIRROR} --ca {}", mirror(&machine));
    let before = store(&machine);
    assert_eq!(machine.run(CURL).code, Some(UNKNOWN_CA));

    let shown = machine.run(&format!("{trust} --check"));
    assert!(shown.code == Some(3) && shown.text.contains("+++ /usr/local/share/ca-certificates/chandler-"), "{shown:?}");
    assert!(shown.text.contains("run /usr/sbin/update-ca-certificates, which makes /etc/ssl/certs/ca-certificates.crt"), "{shown:?}");
    assert_eq!(store(&machine), before, "a look changes nothing");
    let said = machine.done(&format!("{trust} --yes"));
    assert!(said.contains("/etc/ssl/certs/ca-certificates.crt is made anew"), "{said}");
    machine.done(CURL);
    machine.done("! git ls-remote https://127.0.0.1:6443/x 2>&1 | grep --ignore-case certificate");
    let after = store(&machine);
    assert_eq!(machine.done(&format!("{trust} --json --check 2>/dev/null | grep '\"changed\": false'")).trim(), "\"changed\": false,");
    machine.done(&format!("{trust} --yes"));
    assert_eq!(store(&machine), after, "a second run does nothing");

    machine.done("/opt/chandler undo --yes");
    assert_eq!(machine.run(CURL).code, Some(UNKNOWN_CA));
    assert_eq!(store(&machine), before);
    machine.done("test ! -e /var/lib/chandler/agent/record.json");
}

#[test]
fn it_is_done_with_the_engines_on_request_and_undone_with_them() {
    let Some(machine) = SystemdMachine::boot() else { return };
    let print = mirror(&machine);
    let before = store(&machine);
    machine.done("mkdir -p /etc/chandler");
    machine.done(&format!("printf 'mirrors: [{MIRROR}]\\nca: {print}\\nengines: [docker]\\n' >/etc/chandler/agent.yaml"));
    machine.done("/opt/chandler apply --yes");
    assert_eq!(machine.run(CURL).code, Some(UNKNOWN_CA), "nobody asked for it");
    machine.done("/opt/chandler apply --yes --system-trust");
    machine.done(CURL);
    // What was asked for once stays, until somebody takes it out.
    machine.done("/opt/chandler apply --yes");
    machine.done(CURL);
    machine.done("echo 'system_trust: true' >>/etc/chandler/agent.yaml && /opt/chandler plan --check");
    machine.done("/opt/chandler undo --yes --engine docker");
    machine.done(CURL);
    machine.done("/opt/chandler undo --yes");
    assert_eq!((machine.run(CURL).code, store(&machine)), (Some(UNKNOWN_CA), before));
}

/// As some guides have it: the tool would make the bundle without it.
#[test]
fn a_bundle_into_which_somebody_wrote_by_hand_is_not_touched() {
    let Some(machine) = SystemdMachine::boot() else { return };
    let print = mirror(&machine);
    machine.done(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /srv/key -subj /CN=theirs -out /srv/theirs.pem 2>&1",
    );
    machine.done("cat /srv/theirs.pem >>/etc/ssl/certs/ca-certificates.crt");
    let before = store(&machine);
    let trust = format!("/opt/chandler ca trust --yes --mirror {MIRROR} --ca {print}");
    let said = machine.run(&trust);
    assert!(said.code == Some(1) && said.text.contains("in no file of the store (1)"), "{said:?}");
    assert_eq!(store(&machine), before);
    machine.done("mkdir -p /usr/local/share/ca-certificates && cp /srv/theirs.pem /usr/local/share/ca-certificates/theirs.crt");
    machine.done(&format!("{trust} && {CURL}"));
}

#[test]
fn red_hats_store_takes_the_ca_in_a_tree_that_is_no_running_machine_and_gives_it_back() {
    if !tools::require_root() {
        return;
    }
    let Some(busybox) = tools::require("busybox") else { return };
    let tree = TempDir::with_prefix("chandler-tree-").expect("a folder");
    let at = |path: &str| tree.path().join(path);
    for folder in ["bin", "usr/bin", "etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem"] {
        fs::create_dir_all(at(folder)).expect("made");
    }
    fs::copy(busybox, at("bin/sh")).expect("copied");
    fs::write(at("usr/bin/update-ca-trust"), TOOL).expect("written");
    fs::set_permissions(at("usr/bin/update-ca-trust"), fs::Permissions::from_mode(0o755)).expect("ours");
    ca(tree.path(), &["init", "--permit", "mirror.internal"]);
    ca(tree.path(), &["export", "--out", "trust"]);
    let anchors = at("trust/ca.pem").display().to_string();
    let bundle = || fs::read_to_string(at("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")).unwrap_or_default();

    let said = chandler(tree.path(), &["ca", "trust", "--ca", &anchors, "--yes"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(bundle().contains(fs::read_to_string(&anchors).expect("exported").trim()), "{}", bundle());
    assert_eq!(fs::read_to_string(at("called")).expect("the tool was run"), "extract\n");
    assert!(chandler(tree.path(), &["ca", "trust", "--ca", &anchors, "--check"]).status.success());
    assert!(chandler(tree.path(), &["undo", "--yes"]).status.success());
    assert_eq!((bundle().as_str(), fs::read_to_string(at("called")).expect("run").as_str()), ("", "extract\nextract\n"));
    assert_eq!(fs::read_dir(at("etc/pki/ca-trust/source/anchors")).expect("a folder").count(), 0);

    // One that fails leaves nothing behind.
    fs::write(at("usr/bin/update-ca-trust"), "#!/bin/sh\necho no room >&2\nexit 1\n").expect("written");
    let said = chandler(tree.path(), &["ca", "trust", "--ca", &anchors, "--yes"]);
    assert!(!said.status.success() && String::from_utf8_lossy(&said.stdout).contains("no room"), "{said:?}");
    assert_eq!(fs::read_dir(at("etc/pki/ca-trust/source/anchors")).expect("a folder").count(), 0);
}

fn chandler(tree: &Path, arguments: &[&str]) -> Output {
    Command::new(program_path())
        .args(arguments)
        .arg("--root")
        .arg(tree)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .output()
        .expect("it starts")
}

fn ca(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(program_path());
    command.arg("ca").args(arguments).args(["--state", "state"]).current_dir(folder).env_clear();
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A mirror with a private CA; what its CA is known by.
fn mirror(machine: &SystemdMachine) -> String {
    // What the real machine's operator put below /usr/local is not on this one.
    machine.done("update-ca-certificates --fresh");
    machine.done(&format!("cat >/srv/site.yaml <<'END'\n{SITE}END"));
    machine.done("/opt/chandler ca init --permit 127.0.0.1 --config /srv/site.yaml");
    machine.done("systemd-run --quiet --unit=site --service-type=notify /opt/chandler mirror --config /srv/site.yaml");
    let exported = machine.done("/opt/chandler ca export --out /srv/trust --config /srv/site.yaml");
    let print = exported.lines().find_map(|line| line.split_whitespace().next().filter(|word| word.starts_with("sha256:")));
    print.expect("it is printed").to_owned()
}

/// All that the tool makes, and all that it is made of.
fn store(machine: &SystemdMachine) -> String {
    machine.done("find /etc/ssl /usr/local/share /etc/ca-certificates ! -type d -printf '%p %l %m %s\\n' 2>/dev/null | sort; sha256sum /etc/ssl/certs/ca-certificates.crt")
}

/// curl's exit code.
const UNKNOWN_CA: i32 = 60;
const CURL: &str = "curl --silent --show-error --fail --max-time 20 https://127.0.0.1:6443/v2/";
const MIRROR: &str = "https://127.0.0.1:6443";
const SITE: &str = "\
listeners: [{address: '127.0.0.1:6443', tls: {private: ['127.0.0.1']}}]
store: {path: /srv/site}
acme: {path: /srv/certs}
admin: off
";
/// As Red Hat's: the bundle is made of all anchors.
const TOOL: &str = r#"#!/bin/sh
echo "$@" >>/called
cd /etc/pki/ca-trust/source/anchors || exit 1
: >/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
for file in *.pem; do
  [ -e "$file" ] || continue
  while read -r line; do echo "$line"; done <"$file" >>/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem
done
"#;
