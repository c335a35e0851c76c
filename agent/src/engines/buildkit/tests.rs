//! Plans for machines in every state, and the look at trees that a test made.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::builders::Builder;
use super::look::{Daemon, Facts, look};
use super::plan::plan;
use crate::edit::buildkitd;
use crate::engines::files::Files;
use crate::engines::plan::{Change, Plan, Step};
use crate::engines::podman::Asker;
use crate::engines::{Others, Wish};
use crate::host::Root;

fn wish(mirrors: &[&str]) -> Wish {
    let mirrors = mirrors.iter().map(|url| url.parse().expect("a mirror")).collect();
    Wish { mirrors, anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

fn one() -> Wish {
    wish(&["http://127.0.0.1:5000"])
}

const CONFIG: &str = "/etc/buildkit/buildkitd.toml";

fn facts(pid: Option<u32>, files: &[(&str, &str)]) -> Facts {
    let daemon = Daemon { pid, address: None, config: CONFIG.into(), is_behind: false };
    Facts { daemons: vec![daemon], files: files.iter().copied().collect::<Files>(), ..Facts::default() }
}

fn changes(plan: &Plan) -> Vec<&Change> {
    plan.steps.iter().filter_map(|step| if let Step::Write(change) = step { Some(change) } else { None }).collect()
}

fn text(change: &Change) -> &str {
    std::str::from_utf8(change.after.as_deref().expect("it is written")).expect("text")
}

fn said(plan: &Plan) -> String {
    let lines = plan.findings.iter().map(|finding| format!("{:?}: {}\n  -> {}", finding.weight, finding.what, finding.mend));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_daemon_gets_the_mirror_in_its_file_and_its_restart_is_left_to_the_operator() {
    let first = plan(&facts(Some(7), &[]), &one(), &[]);
    let [change] = changes(&first)[..] else { panic!("one file: {first:?}") };
    assert_eq!(change.path, Path::new(CONFIG));
    assert_eq!(buildkitd::mirrors(text(change), "docker.io").expect("valid"), ["127.0.0.1:5000"]);
    assert!(text(change).contains("http = true"), "{}", text(change));
    insta::assert_snapshot!(said(&first), @r"
    Restart: /etc/buildkit/buildkitd.toml: buildkitd reads it when it starts: builds pull past the mirror until then
      -> when no build runs, restart it: `systemctl restart buildkit`, or however it was started
    ");

    let mut written = facts(Some(7), &[(CONFIG, text(change))]);
    assert_eq!(plan(&written, &one(), &[]), Plan::default());
    written.daemons[0].is_behind = true;
    assert_eq!(plan(&written, &one(), &[]).findings.len(), 1, "still due, though nothing is written");
    assert_eq!(plan(&facts(None, &[]), &one(), &[]).findings, [], "one that doesn't run reads it when it starts");
}

#[test]
fn a_plan_from_a_file_as_it_was_before_us_asks_for_no_restart_of_a_daemon_that_has_read_ours() {
    let first = plan(&facts(Some(7), &[]), &one(), &[]);
    let mut again = facts(Some(7), &[(CONFIG, text(changes(&first)[0]))]);
    again.files.remove(Path::new(CONFIG));
    let second = plan(&again, &one(), &[]);
    assert_eq!((second.steps, said(&Plan { findings: second.findings, ..Plan::default() })), (first.steps, String::new()));
    again.daemons[0].is_behind = true;
    assert_eq!(plan(&again, &one(), &[]).findings.len(), 1);
}

#[test]
fn mirrors_and_settings_of_others_stay_behind_ours_and_our_earlier_one_goes() {
    let theirs = "debug = true # for now\n\n[registry.\"docker.io\"]\n  mirrors = [\"theirs\"]\n";
    let first = plan(&facts(None, &[(CONFIG, theirs)]), &one(), &[]);
    let now = text(changes(&first)[0]);
    assert!(now.starts_with("debug = true # for now\n"), "{now}");
    assert_eq!(buildkitd::mirrors(now, "docker.io").expect("valid"), ["127.0.0.1:5000", "theirs"]);
    let moved = plan(&facts(None, &[(CONFIG, now)]), &wish(&["https://m.example"]), &one().mirrors);
    assert_eq!(buildkitd::mirrors(text(changes(&moved)[0]), "docker.io").expect("valid"), ["m.example", "theirs"]);
}

#[test]
fn certificates_lie_beside_the_file_that_names_them() {
    let wish = Wish { anchors: Some("anchors".into()), ..wish(&["https://m.example"]) };
    let plan = plan(&facts(None, &[]), &wish, &[]);
    let [anchors, config] = changes(&plan)[..] else { panic!("two files: {plan:?}") };
    assert_eq!(anchors.path, Path::new("/etc/buildkit/certs.d/m.example/chandler-ca.crt"));
    assert!(text(config).contains("/etc/buildkit/certs.d/m.example/chandler-ca.crt"), "{}", text(config));
}

#[test]
fn a_file_that_cannot_be_read_stops_it_and_is_named() {
    let plan = plan(&facts(Some(7), &[(CONFIG, "debug = true\n[registry\n")]), &one(), &[]);
    assert_eq!(plan.steps, []);
    assert!(said(&plan).starts_with("Blocks: /etc/buildkit/buildkitd.toml, line 2"), "{}", said(&plan));
}

fn builder(config: Option<&str>) -> Builder {
    Builder {
        name: "ci".into(),
        file: "/root/.docker/buildx/instances/ci".into(),
        driver: "docker-container".into(),
        config: config.map(str::to_owned),
        host_network: false,
    }
}

#[test]
fn a_builder_of_buildx_is_named_with_all_that_it_needs_until_it_has_the_mirror() {
    let past = plan(&Facts { builders: vec![builder(None)], ..Facts::default() }, &one(), &[]);
    insta::assert_snapshot!(said(&past), @r#"
    Warns: /root/.docker/buildx/instances/ci: the builder ci (docker-container) has a BuildKit of its own, which reads neither daemon.json nor /etc/buildkit: it builds past the mirror
      -> its owner creates it anew, which loses its cache: `docker buildx rm ci`, then `docker buildx create --name ci --driver docker-container --config FILE --driver-opt network=host`, where FILE says:
    [registry."docker.io"]
      mirrors = ["127.0.0.1:5000"]

    [registry."127.0.0.1:5000"]
      http = true
    "#);
    let config = buildkitd::put_behind(
        None,
        &["docker.io".into()],
        &[buildkitd::Mirror { url: one().mirrors[0].clone(), ca: Vec::new(), client: None }],
        &[],
        Others::Keep,
    );
    let has = builder(Some(&config.expect("it can be made")));
    // On its own network, 127.0.0.1 is the builder itself.
    assert_eq!(plan(&Facts { builders: vec![has.clone()], ..Facts::default() }, &one(), &[]).findings.len(), 1);
    let has = Builder { host_network: true, ..has };
    assert_eq!(plan(&Facts { builders: vec![has], ..Facts::default() }, &one(), &[]), Plan::default());
}

#[test]
fn what_buildx_keeps_of_a_builder_is_read() {
    let config = STANDARD.encode("debug = true\n");
    let text = format!(
        r#"{{"Name":"ci","Driver":"docker-container","Nodes":[{{"Name":"ci0","Endpoint":"unix:///var/run/docker.sock",
        "DriverOpts":{{"network":"host"}},"Files":{{"buildkitd.toml":"{config}"}}}}],"Dynamic":false}}"#
    );
    let file = Path::new("/root/.docker/buildx/instances/ci");
    let found = Builder::parse(file, text.as_bytes()).expect("a builder");
    assert_eq!(found, Builder { host_network: true, ..builder(Some("debug = true\n")) });
    for other in [r#"{"Name":"x","Driver":"docker"}"#, r#"{"Name":"x","Driver":"remote"}"#, "{}", "", "<"] {
        assert_eq!(Builder::parse(file, other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_look_finds_the_program_its_file_and_builders_of_root_and_users() {
    let folder = TempDir::new().expect("a folder can be made");
    let builder = r#"{"Name":"ci","Driver":"docker-container","Nodes":[{"DriverOpts":null,"Files":null}]}"#;
    for (path, text) in [
        ("usr/local/bin/buildkitd", ""),
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/home/ci:/bin/sh\n"),
        ("etc/buildkit/buildkitd.toml", "debug = true\n"),
        ("root/.docker/buildx/instances/ci", builder),
        ("home/ci/.docker/buildx/instances/ci", builder),
    ] {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
        fs::write(file, text).expect("it can be written");
    }
    let root = Root::below(folder.path()).expect("a tree");
    let facts = look(&root, &Asker { uid: 0, home: "/root".into() }, &one(), false).expect("it can be looked at");
    assert_eq!(facts.daemons, [Daemon { pid: None, address: None, config: CONFIG.into(), is_behind: false }]);
    assert_eq!(facts.files.get(Path::new(CONFIG)), Some(&b"debug = true\n"[..]));
    let files: Vec<PathBuf> = facts.builders.into_iter().map(|builder| builder.file).collect();
    assert_eq!(files, ["/home/ci/.docker/buildx/instances/ci", "/root/.docker/buildx/instances/ci"].map(PathBuf::from));
}
