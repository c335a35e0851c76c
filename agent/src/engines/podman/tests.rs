//! Plans for machines in every state, and the look at trees that a test made.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::look::{Asker, Facts, Place, Service, look};
use super::plan::plan;
use crate::edit::registries;
use crate::engines::files::Files;
use crate::engines::plan::{Change, Daemon, Plan, Reload, Step, Weight};
use crate::engines::{ClientPair, Others, Wish};
use crate::host::Root;

const DROP_IN: &str = "/etc/containers/registries.conf.d/50-chandler-mirror.conf";

fn wish(mirrors: &[&str]) -> Wish {
    let mirrors = mirrors.iter().map(|url| url.parse().expect("a mirror")).collect();
    Wish { mirrors, anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

fn one() -> Wish {
    wish(&["http://127.0.0.1:5000"])
}

/// A machine as root sees it, with these files.
fn facts(files: &[(&str, &str)]) -> Facts {
    Facts {
        programs: vec!["/usr/bin/podman".into()],
        system: Some(Place::system()),
        own: Some(Place::of_home(Path::new("/root"))),
        certs_d: "/etc/containers/certs.d".into(),
        files: files.iter().copied().collect(),
        ..Facts::default()
    }
}

fn changes(plan: &Plan) -> Vec<&Change> {
    plan.steps.iter().filter_map(|step| if let Step::Write(change) = step { Some(change) } else { None }).collect()
}

fn text(change: &Change) -> &str {
    std::str::from_utf8(change.after.as_deref().expect("it is written")).expect("text")
}

/// The only file that is written, by its path and its text.
#[track_caller]
fn written(plan: &Plan) -> (&Path, &str) {
    let changes = changes(plan);
    let [change] = changes[..] else { panic!("one file is written: {changes:?}") };
    (&change.path, text(change))
}

/// The mirrors of Docker Hub that a text names.
fn mirrors(text: &str) -> Vec<String> {
    let entries = registries::entries(text).expect("valid");
    let hub = entries.into_iter().find(|entry| entry.prefix == "docker.io").expect("it is there");
    hub.mirrors.into_iter().map(|mirror| mirror.location).collect()
}

/// The files as they are after the plan.
fn after(facts: &Facts, plan: &Plan) -> Facts {
    let gone = |path: &Path| changes(plan).iter().any(|change| change.path == path && change.after.is_none());
    let mut files: Files = facts.files.iter().filter(|(path, _)| !gone(path)).collect();
    for change in changes(plan) {
        if let Some(bytes) = &change.after {
            files.insert(&change.path, bytes.clone());
        }
    }
    Facts { files, ..facts.clone() }
}

/// Weights and texts of all findings.
fn said(plan: &Plan) -> String {
    let lines = plan.findings.iter().map(|finding| format!("{:?}: {}\n  -> {}", finding.weight, finding.what, finding.mend));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_bare_machine_gets_one_file_of_ours_and_nothing_to_know() {
    let plan = plan(&facts(&[]), &one());
    let (path, text) = written(&plan);
    assert_eq!(path, Path::new(DROP_IN));
    assert_eq!(mirrors(text).len(), 1, "{text}");
    assert!(text.contains("insecure = true"), "plain HTTP has to be allowed: {text}");
    assert_eq!(said(&plan), "");
}

#[test]
fn a_machine_without_these_programs_is_left_alone() {
    assert_eq!(plan(&Facts { programs: Vec::new(), ..facts(&[]) }, &one()), Plan::default());
}

#[test]
fn what_others_say_of_the_hub_is_taken_over_behind_ours() {
    let main = "/etc/containers/registries.conf";
    let facts = facts(&[(main, "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"theirs:5000\"\n")]);
    let kept = plan(&facts, &one());
    let (path, text) = written(&kept);
    assert_eq!(path, Path::new(DROP_IN));
    assert_eq!(mirrors(text)[1..], ["theirs:5000"]);
    insta::assert_snapshot!(said(&kept), @r"
    Warns: /etc/containers/registries.conf:1: docker.io has an entry there already, and of several the last one counts: 50-chandler-mirror.conf is read after it and takes it over; its mirrors (1) come behind ours
      -> apply again whenever that entry changes: until then the change counts for nothing
    ");
    let alone = plan(&facts, &Wish { others: Others::Replace, ..one() });
    assert_eq!(mirrors(written(&alone).1).len(), 1);
}

#[test]
fn ours_is_read_after_whatever_file_has_an_entry_for_the_hub() {
    let theirs = "[[registry]]\nlocation = \"docker.io\"\n";
    for (name, ours) in [("10-corp.conf", "50"), ("60-corp.conf", "99"), ("corp.conf", "zz"), ("zzz.conf", "zzzz")] {
        let facts = facts(&[(&format!("/etc/containers/registries.conf.d/{name}"), theirs)]);
        let plan = plan(&facts, &one());
        let expected = format!("/etc/containers/registries.conf.d/{ours}-chandler-mirror.conf");
        assert_eq!(written(&plan).0, Path::new(&expected), "{name}");
    }
}

#[test]
fn a_file_of_another_folder_that_newer_podmans_read_by_its_name_counts_too() {
    let theirs = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"theirs\"\n";
    let plan = plan(&facts(&[("/usr/share/containers/registries.conf.d/70-distribution.conf", theirs)]), &one());
    let (path, text) = written(&plan);
    assert_eq!(path, Path::new("/etc/containers/registries.conf.d/99-chandler-mirror.conf"));
    assert_eq!(mirrors(text)[1..], ["theirs"]);
}

#[test]
fn a_main_file_in_the_old_form_is_no_hindrance_but_is_named() {
    let plan = plan(&facts(&[("/etc/containers/registries.conf", "[registries.search]\nregistries = [\"docker.io\"]\n")]), &one());
    written(&plan);
    insta::assert_snapshot!(said(&plan), @r"
    Warns: /etc/containers/registries.conf:1: the old form ([registries.…]), which Podman reads up to version 5 only
      -> write it in the new form: unqualified-search-registries = […] and [[registry]]
    ");
}

#[test]
fn a_file_of_ours_whose_name_no_longer_does_goes_when_its_successor_is_there() {
    let first = after(&facts(&[]), &plan(&facts(&[]), &one()));
    let mut files = first.files.clone();
    files.insert("/etc/containers/registries.conf.d/60-corp.conf", "[[registry]]\nlocation = \"docker.io\"\n");
    let plan = plan(&Facts { files, ..first }, &one());
    let [new, old] = changes(&plan)[..] else { panic!("two files change: {plan:?}") };
    assert_eq!(new.path, Path::new("/etc/containers/registries.conf.d/99-chandler-mirror.conf"));
    assert_eq!((old.path.as_path(), &old.after), (Path::new(DROP_IN), &None));
}

#[test]
fn a_foreign_file_by_our_name_is_nobodys_to_overwrite() {
    let facts = facts(&[(DROP_IN, "unqualified-search-registries = [\"docker.io\"]\n")]);
    assert_eq!(written(&plan(&facts, &one())).0, Path::new("/etc/containers/registries.conf.d/99-chandler-mirror.conf"));
}

#[test]
fn one_broken_file_stops_everything_and_is_named_with_its_line() {
    for (name, text, place) in [
        ("corp.conf", "[[registry]\n", ":1:"),
        ("corp.conf", "a = 1\n[[registry]]\nlocation = \"http://m:5000\"\n", ":3:"),
        ("corp.conf", "\n[registries.search]\nregistries = [\"docker.io\"]\n", ":2:"),
    ] {
        let path = format!("/etc/containers/registries.conf.d/{name}");
        let plan = plan(&facts(&[(&path, text)]), &one());
        assert!(plan.steps.is_empty(), "{text}");
        let [finding] = &plan.findings[..] else { panic!("one finding: {plan:?}") };
        assert_eq!(finding.weight, Weight::Blocks);
        assert!(finding.what.starts_with(&format!("{path}{place}")), "{}", finding.what);
    }
}

#[test]
fn files_that_podman_does_not_read_break_nothing() {
    let plan =
        plan(&facts(&[("/etc/containers/registries.conf.d/README", "[[[["), ("/etc/containers/registries.conf.d/a.conf~", "[")]), &one());
    assert_eq!(said(&plan), "");
    written(&plan);
}

#[test]
fn images_that_another_entry_takes_past_the_mirror_are_named() {
    let text = "[[registry]]\nprefix = \"docker.io/acme\"\nlocation = \"registry.acme.example\"\n";
    let plan = plan(&facts(&[("/etc/containers/registries.conf.d/acme.conf", text)]), &one());
    insta::assert_snapshot!(said(&plan), @r"
    Warns: /etc/containers/registries.conf.d/acme.conf:1: docker.io/acme has an entry of its own, which counts before that for docker.io: these images go past the mirror
      -> take that entry out, if these images are to come through the mirror too
    ");
    assert_eq!(written(&plan).0, Path::new(DROP_IN));
}

#[test]
fn other_registries_are_named_in_the_mirrors_path_where_they_can_be() {
    let wish = Wish { registries: vec!["ghcr.io".into(), "registry.corp:5000".into()], ..one() };
    let plan = plan(&facts(&[]), &wish);
    let text = written(&plan).1;
    assert!(text.contains("\"127.0.0.1:5000/ghcr.io\"") && !text.contains("registry.corp"), "{text}");
    insta::assert_snapshot!(said(&plan), @r"
    Warns: Podman can't pull registry.corp:5000 through a mirror: in a mirror's path, such a name is no part of an image's
      -> nothing: images of registry.corp:5000 come from there, as before
    ");
}

#[test]
fn a_mirror_that_podman_cannot_name_stops_it() {
    let plan = plan(&facts(&[]), &wish(&["http://[fd00::7]:5000"]));
    assert_eq!((plan.steps.len(), plan.findings[0].weight), (0, Weight::Blocks), "{}", said(&plan));
}

#[test]
fn certificates_are_written_for_mirrors_that_speak_https_the_key_first_and_for_root_alone() {
    let client = Some(ClientPair { chain: "chain".into(), key: "key".into() });
    let wish = Wish { anchors: Some("anchors".into()), client, ..wish(&["https://m.example", "http://127.0.0.1:5000"]) };
    let plan = plan(&facts(&[]), &wish);
    let files: Vec<_> = changes(&plan).iter().map(|change| (change.path.display().to_string(), change.mode, change.secret)).collect();
    let folder = "/etc/containers/certs.d/m.example";
    let expected = [
        (format!("{folder}/chandler-ca.crt"), 0o644, false),
        (format!("{folder}/chandler.key"), 0o600, true),
        (format!("{folder}/chandler.cert"), 0o644, false),
    ];
    assert_eq!(files[..3], expected);
    assert_eq!(files.len(), 4, "and the drop-in");
}

#[test]
fn a_user_whose_own_file_hides_the_machines_is_named_and_roots_own_is_written_too() {
    let own = "unqualified-search-registries = [\"docker.io\"]\n";
    let mut facts = facts(&[("/home/ci/.config/containers/registries.conf", own), ("/root/.config/containers/registries.conf", own)]);
    facts.others = vec![("ci".into(), Place::of_home(Path::new("/home/ci"))), ("dev".into(), Place::of_home(Path::new("/home/dev")))];
    let plan = plan(&facts, &one());
    let paths: Vec<_> = changes(&plan).iter().map(|change| change.path.clone()).collect();
    assert_eq!(paths, [PathBuf::from(DROP_IN), "/root/.config/containers/registries.conf.d/50-chandler-mirror.conf".into()]);
    insta::assert_snapshot!(said(&plan), @r"
    Warns: /home/ci/.config/containers/registries.conf: Podman before version 6 then reads none of the machine's files for ci, who pulls past the mirror
      -> run `chandler apply --engine podman` as ci too
    ");
}

#[test]
fn a_user_writes_in_the_own_home_only_and_takes_over_what_the_machine_says() {
    let theirs = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"theirs\"\n";
    let home = Path::new("/home/ci");
    let facts = Facts {
        system: None,
        own: Some(Place::of_home(home)),
        certs_d: home.join(".config/containers/certs.d"),
        ..facts(&[("/etc/containers/registries.conf.d/99-theirs.conf", theirs)])
    };
    let plan = plan(&facts, &one());
    let (path, text) = written(&plan);
    assert_eq!(path, home.join(".config/containers/registries.conf.d/zz-chandler-mirror.conf"));
    assert_eq!(mirrors(text)[1..], ["theirs"]);
}

#[test]
fn another_registries_conf_that_the_environment_chooses_is_named() {
    let chosen = vec![(PathBuf::from("/etc/environment"), 3, "CONTAINERS_REGISTRIES_CONF".to_owned())];
    let plan = plan(&Facts { chosen, ..facts(&[]) }, &one());
    insta::assert_snapshot!(said(&plan), @r"
    Warns: /etc/environment:3: CONTAINERS_REGISTRIES_CONF chooses another registries.conf: Podman and Buildah of version 6 and its time then read no drop-in, and go past the mirror
      -> take that line out, and say what that file says in /etc/containers/registries.conf.d
    ");
}

fn service(reported: Option<&[&str]>) -> Service {
    let daemon = Daemon { pid: 7, socket: "/run/podman/podman.sock".into() };
    Service { name: "podman", daemon, reported: reported.map(|mirrors| mirrors.iter().map(|mirror| (*mirror).to_owned()).collect()) }
}

fn reloads(plan: &Plan) -> Vec<&Reload> {
    plan.steps.iter().filter_map(|step| if let Step::Reload(reload) = step { Some(reload) } else { None }).collect()
}

#[test]
fn what_runs_on_is_told_unless_it_has_our_mirrors_already() {
    let bare = Facts { services: vec![service(Some(&[]))], ..facts(&[]) };
    let first = plan(&bare, &one());
    assert!(matches!(first.steps.last(), Some(Step::Reload(_))), "after the files: {first:?}");
    let wanted = reloads(&first)[0].mirrors.clone();
    assert_eq!(wanted, mirrors(text(changes(&first)[0])));

    // A crash before the reload: the files are right, and it is told none the less.
    let crashed = after(&bare, &first);
    assert_eq!(reloads(&plan(&crashed, &one())).len(), 1);
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let done = Facts { services: vec![service(Some(&wanted))], ..crashed.clone() };
    assert_eq!(plan(&done, &one()).steps, []);

    // One that doesn't say what it has is told when there is news.
    let silent = Facts { services: vec![service(None)], ..bare };
    assert_eq!(reloads(&plan(&silent, &one())).len(), 1);
    let silent = Facts { services: vec![service(None)], ..crashed };
    assert_eq!(plan(&silent, &one()).steps, []);
}

#[test]
fn when_our_file_goes_what_runs_on_is_told_and_has_what_others_say() {
    let theirs = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"theirs\"\n";
    let bare = facts(&[("/etc/containers/registries.conf", theirs)]);
    let applied = after(&bare, &plan(&bare, &one()));
    for (reported, told) in [(Some(&["127.0.0.1:5000/docker.io", "theirs"][..]), true), (Some(&["theirs"]), false), (None, true)] {
        let facts = Facts { services: vec![service(reported)], ..applied.clone() };
        let reloads = super::plan::reloads(&facts, Path::new(DROP_IN), None);
        assert_eq!(reloads.len(), usize::from(told), "{reported:?}");
        assert!(reloads.iter().all(|reload| reload.mirrors == ["theirs"]));
    }
    let crio = Service { name: "crio", daemon: Daemon { pid: 8, socket: "/run/crio/crio.sock".into() }, reported: None };
    let facts = Facts { services: vec![service(None), crio], ..applied };
    let told: Vec<u32> = super::plan::reloads(&facts, Path::new(DROP_IN), None).iter().map(|reload| reload.daemon.pid).collect();
    assert_eq!(told, [7, 8], "each that runs on");
}

#[test]
fn a_service_of_roots_goes_by_roots_own_files_where_there_are_some_and_a_users_is_named() {
    let own = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"roots\"\n";
    let facts = Facts {
        services: vec![service(Some(&["roots"]))],
        foreign: vec![(77, 1000)],
        ..facts(&[("/root/.config/containers/registries.conf", own)])
    };
    let plan = plan(&facts, &one());
    assert_eq!(reloads(&plan)[0].mirrors[1..], ["roots"]);
    assert!(said(&plan).contains("`kill -HUP 77`"), "{}", said(&plan));
}

fn foreign() -> impl Strategy<Value = String> {
    let mirror = ("[a-z]{1,8}(:[1-9][0-9]{1,3})?(/[a-z]{1,5})?", any::<bool>());
    let registry = ("(docker\\.io|docker\\.io/acme|ghcr\\.io|quay\\.io)", prop::collection::vec(mirror, 0..3), any::<bool>());
    prop::collection::vec(registry, 0..3).prop_map(|registries| {
        let mut text = String::new();
        for (location, mirrors, by_digest) in registries {
            let _ = writeln!(text, "[[registry]]\nlocation = \"{location}\"\nmirror-by-digest-only = {by_digest}");
            for (location, insecure) in mirrors {
                let _ = writeln!(text, "[[registry.mirror]]\nlocation = \"{location}\"\ninsecure = {insecure}");
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn whatever_others_wrote_ours_come_first_theirs_stay_and_a_second_apply_does_nothing(
        main in foreign(),
        drop_ins in prop::collection::btree_map("[0-9a-z]{1,4}", foreign(), 0..4),
    ) {
        let mut files: Files = [("/etc/containers/registries.conf", main)].into_iter().collect();
        for (name, text) in drop_ins {
            files.insert(format!("/etc/containers/registries.conf.d/{name}.conf"), text);
        }
        let facts = Facts { files, ..facts(&[]) };
        let wish = wish(&["http://127.0.0.1:5000", "https://m.example"]);
        let first = plan(&facts, &wish);
        let ours = mirrors(text(changes(&first)[0]));
        prop_assert!(ours[0].starts_with("127.0.0.1:5000") && ours[1].starts_with("m.example"));
        prop_assert!(changes(&first).iter().all(|change| change.before.is_none()), "nobody's file is touched");
        let second = plan(&after(&facts, &first), &wish);
        prop_assert!(second.steps.is_empty(), "{:?}", second);
    }
}

/// A tree with these files.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    for (path, text) in files {
        let file = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
        fs::write(file, text).expect("it can be written");
    }
    folder
}

async fn seen(folder: &TempDir, uid: u32, home: &str) -> Facts {
    let root = Root::below(folder.path()).expect("a tree");
    look(&root, &Asker { uid, home: home.into() }, &wish(&["https://m.example"]), false).await.expect("it can be looked at")
}

#[tokio::test]
async fn a_look_finds_programs_files_users_and_settings() {
    let tree = tree(&[
        ("/usr/bin/podman", ""),
        ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/home/ci:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n"),
        ("/etc/containers/registries.conf", "main"),
        ("/etc/containers/registries.conf.d/a.conf", "a"),
        ("/etc/containers/registries.conf.d/below/b.conf", "b"),
        ("/etc/containers/certs.d/m.example/chandler-ca.crt", "ca"),
        ("/home/ci/.config/containers/registries.conf", "ci"),
        ("/etc/environment", "PATH=/bin\n# CONTAINERS_REGISTRIES_CONF=/a\nCONTAINERS_REGISTRIES_CONF=/b\n"),
        ("/etc/profile.d/x.sh", "export REGISTRIES_CONFIG_PATH=/c\n"),
    ]);
    let facts = seen(&tree, 0, "/root").await;
    assert_eq!(facts.programs, [Path::new("/usr/bin/podman")]);
    let files: Vec<_> = facts.files.iter().map(|(path, bytes)| format!("{} {}", path.display(), String::from_utf8_lossy(bytes))).collect();
    assert_eq!(
        files,
        [
            "/etc/containers/certs.d/m.example/chandler-ca.crt ca",
            "/etc/containers/registries.conf main",
            "/etc/containers/registries.conf.d/a.conf a",
            "/home/ci/.config/containers/registries.conf ci",
        ]
    );
    assert_eq!(facts.others.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>(), ["ci"]);
    let chosen: Vec<_> = facts.chosen.iter().map(|(file, line, name)| format!("{}:{line}:{name}", file.display())).collect();
    assert_eq!(chosen, ["/etc/environment:3:CONTAINERS_REGISTRIES_CONF", "/etc/profile.d/x.sh:1:REGISTRIES_CONFIG_PATH"]);
    assert_eq!(facts.services, []);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stops_its_own_engine_and_another_users_stops_none() {
    let passwd = ("/etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/home/ci:/bin/sh\n");
    let podman = ("/usr/bin/podman", "");
    let theirs = ("/home/ci/.config/containers/registries.conf/x", "");
    let theirs_too = ("/home/ci/.config/containers/registries.conf.d/a.conf", "unqualified-search-registries = []\n");
    let seen_ = seen(&tree(&[passwd, podman, theirs, theirs_too]), 0, "/root").await;
    let of_theirs = plan(&seen_, &one());
    assert!(
        !of_theirs.steps.is_empty() && said(&of_theirs).contains("Warns: /home/ci/.config/containers/registries.conf is a folder"),
        "{}",
        said(&of_theirs)
    );
    let of_ours = plan(&seen(&tree(&[podman, ("/etc/containers/registries.conf/x", "")]), 0, "/root").await, &one());
    assert!(
        of_ours.steps.is_empty() && said(&of_ours).starts_with("Blocks: /etc/containers/registries.conf is a folder"),
        "{}",
        said(&of_ours)
    );
}

#[tokio::test]
async fn a_look_at_a_tree_with_nothing_in_it_finds_nothing_and_a_user_looks_at_the_own_home() {
    let empty = tree(&[]);
    assert!(!seen(&empty, 0, "/root").await.is_there());
    let facts = seen(&empty, 1000, "/home/ci").await;
    assert_eq!((facts.system, facts.certs_d), (None, PathBuf::from("/home/ci/.config/containers/certs.d")));
}
