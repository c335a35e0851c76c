//! Plans for machines in every state, and the look at trees that a test made.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::kubernetes::Distribution;
use super::look::{Daemon, Facts, look};
use super::plan::plan;
use super::settings::Settings;
use crate::edit::hosts;
use crate::engines::files::Files;
use crate::engines::plan::{Change, Plan, Step, Weight};
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

/// A containerd that reads `hosts.toml` files in these folders, and these files.
fn facts(config_path: &[&str], files: &[(&str, &str)]) -> Facts {
    let settings = Settings { version: 2, config_path: config_path.iter().map(|path| (*path).to_owned()).collect(), ..Settings::default() };
    let daemon =
        Daemon { pid: Some(7), config: "/etc/containerd/config.toml".into(), is_written: true, is_behind: false, settings: Ok(settings) };
    let files: Files = files.iter().copied().collect();
    Facts { daemon: Some(daemon), files, ..Facts::default() }
}

fn changes(plan: &Plan) -> Vec<&Change> {
    plan.steps.iter().filter_map(|step| if let Step::Write(change) = step { Some(change) } else { None }).collect()
}

fn text(change: &Change) -> &str {
    std::str::from_utf8(change.after.as_deref().expect("it is written")).expect("text")
}

#[track_caller]
fn written(plan: &Plan) -> (&Path, &str) {
    let changes = changes(plan);
    let [change] = changes[..] else { panic!("one file is written: {changes:?}") };
    (&change.path, text(change))
}

fn said(plan: &Plan) -> String {
    let lines = plan.findings.iter().map(|finding| format!("{:?}: {}\n  -> {}", finding.weight, finding.what, finding.mend));
    lines.collect::<Vec<_>>().join("\n")
}

/// The files as they are after the plan.
fn after(facts: &Facts, plan: &Plan) -> Facts {
    let mut after = facts.clone();
    for change in changes(plan) {
        after.files.insert(&change.path, change.after.clone().expect("nothing is removed"));
    }
    after
}

#[test]
fn a_daemon_with_a_folder_of_hosts_gets_a_file_there_and_nothing_is_restarted() {
    let facts = facts(&["/srv/hosts", "/etc/docker/certs.d"], &[]);
    let plan_ = plan(&facts, &one(), &[]);
    let (path, text) = written(&plan_);
    assert_eq!(path, Path::new("/srv/hosts/docker.io/hosts.toml"));
    assert_eq!(hosts::hosts(text).expect("valid"), ["http://127.0.0.1:5000"]);
    assert!(text.contains("server = \"https://registry-1.docker.io\""), "{text}");
    assert_eq!(said(&plan_), "");
    assert_eq!(plan(&after(&facts, &plan_), &one(), &[]), Plan::default());
}

#[test]
fn without_a_folder_of_hosts_the_lines_that_a_restart_would_need_are_said() {
    let plan = plan(&facts(&[], &[]), &one(), &[]);
    assert_eq!(written(&plan).0, Path::new("/etc/containerd/certs.d/docker.io/hosts.toml"));
    insta::assert_snapshot!(said(&plan), @r#"
    Restart: /etc/containerd/config.toml: it says no `config_path`, so that Kubernetes and crictl pull past the mirror; ctr and nerdctl find /etc/containerd/certs.d themselves
      -> add these lines there, then `systemctl restart containerd` (containers run on):
    [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
    "#);
}

#[test]
fn a_file_that_is_not_there_yet_needs_its_version_too() {
    let mut facts = facts(&[], &[]);
    facts.daemon.as_mut().expect("it is there").is_written = false;
    assert!(said(&plan(&facts, &one(), &[])).contains("\nversion = 2\n[plugins."));
}

#[test]
fn a_daemon_that_started_before_its_file_changed_is_not_taken_to_work_by_it() {
    let mut behind = facts(&["/srv/hosts"], &[]);
    behind.daemon.as_mut().expect("it is there").is_behind = true;
    insta::assert_snapshot!(said(&plan(&behind, &one(), &[])), @r"
    Restart: /etc/containerd/config.toml: it was changed since containerd started, which reads it then: if its `config_path` is new, Kubernetes and crictl pull past the mirror until it is started again
      -> `systemctl restart containerd` (containers run on)
    ");
    behind.daemon.as_mut().expect("it is there").settings = Ok(Settings { without_cri: true, ..Settings::default() });
    assert_eq!(said(&plan(&behind, &one(), &[])), "");
}

#[test]
fn a_daemon_whose_plugin_for_kubernetes_is_off_needs_no_restart() {
    let mut facts = facts(&[], &[]);
    facts.daemon.as_mut().expect("it is there").settings = Ok(Settings { without_cri: true, ..Settings::default() });
    assert_eq!(said(&plan(&facts, &one(), &[])), "");
}

#[test]
fn mirrors_in_the_old_form_stop_it_and_are_named_with_their_line() {
    let mut facts = facts(&[], &[]);
    facts.daemon.as_mut().expect("it is there").settings = Ok(Settings { old_mirrors: Some(12), ..Settings::default() });
    let plan = plan(&facts, &one(), &[]);
    assert_eq!(plan.steps, []);
    insta::assert_snapshot!(said(&plan), @r#"
    Blocks: /etc/containerd/config.toml:12: mirrors in the old form (`registry.mirrors`), which is all that counts for Kubernetes and crictl, and excludes `config_path`
      -> move them to /etc/containerd/certs.d/REGISTRY/hosts.toml, set `config_path = "/etc/containerd/certs.d"`, restart containerd, then apply again
    "#);
}

#[test]
fn hosts_of_others_stay_behind_ours_and_our_earlier_ones_go() {
    let theirs = "server = \"https://registry-1.docker.io\"\n\n# the old one\n[host.\"https://theirs\"]\n  capabilities = [\"pull\"]\n";
    let facts = facts(&["/c"], &[("/c/docker.io/hosts.toml", theirs)]);
    let first = plan(&facts, &one(), &[]);
    assert_eq!(hosts::hosts(written(&first).1).expect("valid"), ["http://127.0.0.1:5000", "https://theirs"]);
    assert!(written(&first).1.contains("# the old one"));
    let moved = plan(&after(&facts, &first), &wish(&["https://m.example"]), &one().mirrors);
    assert_eq!(hosts::hosts(written(&moved).1).expect("valid"), ["https://m.example", "https://theirs"]);
}

#[test]
fn a_folder_that_knows_the_registry_already_is_the_one_that_counts() {
    let facts = facts(&["/a", "/b"], &[("/b/docker.io/hosts.toml", "server = \"https://x\"\n")]);
    assert_eq!(written(&plan(&facts, &one(), &[])).0, Path::new("/b/docker.io/hosts.toml"));
}

#[test]
fn what_counts_for_every_registry_is_copied_where_ours_would_hide_it() {
    let facts = facts(&["/c"], &[("/c/_default/hosts.toml", "[host.\"https://theirs\"]\n")]);
    let plan = plan(&facts, &one(), &[]);
    let (path, text) = written(&plan);
    assert_eq!(path, Path::new("/c/docker.io/hosts.toml"));
    assert_eq!(hosts::hosts(text).expect("valid"), ["http://127.0.0.1:5000", "https://theirs"]);
    insta::assert_snapshot!(said(&plan), @r"
    Warns: /c/_default/hosts.toml: it counts for docker.io too as long as that has no file of its own; what it says is copied to /c/docker.io/hosts.toml
      -> keep both alike when one changes; a certificate that it names without a folder has to be named in full
    ");
}

#[test]
fn a_file_of_ours_that_is_supposed_to_be_gone_leaves_no_folder_that_hides_what_counts_for_all() {
    let bare = facts(&["/c"], &[("/c/_default/hosts.toml", "[host.\"https://theirs\"]\n")]);
    let first = plan(&bare, &one(), &[]);
    let mut again = after(&bare, &first);
    again.files.remove(Path::new("/c/docker.io/hosts.toml"));
    assert_eq!(plan(&again, &one(), &[]), first);
    again.folders.push("/c/docker.io".into());
    assert_eq!(
        hosts::hosts(written(&plan(&again, &one(), &[])).1).expect("valid"),
        ["http://127.0.0.1:5000"],
        "somebody's certificates are there"
    );
}

#[test]
fn a_file_that_is_dockers_is_read_and_not_written() {
    let theirs = "server = \"https://registry-1.docker.io\"\n[host.\"https://theirs\"]\n";
    let path = "/etc/docker/certs.d/docker.io/hosts.toml";
    let config = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];
    let own = Path::new("/etc/containerd/certs.d/docker.io/hosts.toml");
    let beside = plan(&facts(&config, &[(path, theirs)]), &one(), &[]);
    assert_eq!((written(&beside).0, hosts::hosts(written(&beside).1).expect("valid").len()), (own, 2));
    // One that names our mirror first is chandler's, for Docker.
    let dockers = plan(&facts(&config, &[(path, written(&beside).1)]), &one(), &[]);
    assert_eq!((written(&dockers).0, hosts::hosts(written(&dockers).1).expect("valid").len()), (own, 1));
}

#[test]
fn other_registries_have_a_file_each_named_as_containerd_looks_for_it() {
    let wish = Wish { registries: vec!["ghcr.io".into(), "registry.corp:5000".into()], ..one() };
    let plan = plan(&facts(&["/c"], &[]), &wish, &[]);
    let paths: Vec<_> = changes(&plan).iter().map(|change| change.path.clone()).collect();
    assert_eq!(paths, ["/c/docker.io/hosts.toml", "/c/ghcr.io/hosts.toml", "/c/registry.corp_5000_/hosts.toml"].map(PathBuf::from));
}

#[test]
fn a_registry_that_is_mirrored_no_longer_keeps_nothing_of_ours() {
    let both = Wish { registries: vec!["ghcr.io".into()], ..one() };
    let facts = facts(&["/c"], &[]);
    let before = after(&facts, &plan(&facts, &both, &[]));
    let plan = plan(&before, &one(), &one().mirrors);
    let (path, text) = written(&plan);
    assert_eq!(path, Path::new("/c/ghcr.io/hosts.toml"));
    assert_eq!(hosts::hosts(text).expect("valid"), [""; 0]);
}

#[test]
fn only_a_mirror_that_speaks_https_has_a_certificate() {
    let wish = Wish { anchors: Some("anchors".into()), ..wish(&["https://m.example", "http://127.0.0.1:5000"]) };
    let plan = plan(&facts(&["/c"], &[]), &wish, &[]);
    let changes = changes(&plan);
    assert_eq!(changes[0].path, Path::new("/c/m.example/chandler-ca.crt"));
    assert_eq!(text(changes[1]).matches("/c/m.example/chandler-ca.crt").count(), 1, "{}", text(changes[1]));
}

#[test]
fn a_file_that_cannot_be_read_stops_it_and_is_named() {
    let plan = plan(&facts(&["/c"], &[("/c/docker.io/hosts.toml", "[host\n")]), &one(), &[]);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.findings[0].weight, Weight::Blocks);
    assert!(plan.findings[0].what.starts_with("/c/docker.io/hosts.toml, line 1"), "{}", said(&plan));
}

fn k3s(runs: bool, files: &[(&str, &str)]) -> Facts {
    let distribution = Distribution { name: "k3s", unit: "k3s-agent".into(), runs };
    Facts { distributions: vec![distribution], files: files.iter().copied().collect(), ..Facts::default() }
}

#[test]
fn k3s_is_told_by_its_file_and_its_restart_is_left_to_the_operator() {
    let first = plan(&k3s(true, &[]), &one(), &[]);
    let (path, text) = written(&first);
    assert_eq!(path, Path::new("/etc/rancher/k3s/registries.yaml"));
    assert!(text.contains("http://127.0.0.1:5000"), "{text}");
    insta::assert_snapshot!(said(&first), @r"
    Restart: /etc/rancher/k3s/registries.yaml: k3s reads it when it starts: pods are pulled past the mirror until then
      -> drain the node if jobs mind, then `systemctl restart k3s-agent`
    ");
    let written = ("/etc/rancher/k3s/registries.yaml", text);
    assert_eq!(plan(&k3s(false, &[]), &one(), &[]).findings, [], "one that doesn't run reads it when it starts");
    assert_eq!(plan(&k3s(true, &[written]), &one(), &[]).findings.len(), 1, "still due, though nothing is written");

    let made = "server = \"https://index.docker.io/v2\"\n[host.\"http://127.0.0.1:5000/v2\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
    let made = ("/var/lib/rancher/k3s/agent/etc/containerd/certs.d/docker.io/hosts.toml", made);
    assert_eq!(plan(&k3s(true, &[written, made]), &one(), &[]), Plan::default());
    let mut as_before_us = k3s(true, &[written, made]);
    as_before_us.files.remove(Path::new("/etc/rancher/k3s/registries.yaml"));
    let again = plan(&as_before_us, &one(), &[]);
    assert_eq!((again.steps, again.findings), (first.steps.clone(), vec![]), "it has read what is planned anew");
}

#[test]
fn a_file_with_a_login_is_shown_to_nobody() {
    let path = "/etc/rancher/k3s/registries.yaml";
    for (now, secret) in [("configs:\n  r.corp:\n    auth: {username: u, password: p}\n", true), ("mirrors: {}\n", false)] {
        let plan = plan(&k3s(false, &[(path, now)]), &one(), &[]);
        let [change] = changes(&plan)[..] else { panic!("one file: {plan:?}") };
        assert_eq!((change.secret, change.mode), (secret, 0o600), "{now}");
    }
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    for (path, text) in files {
        let file = folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
        fs::write(file, text).expect("it can be written");
    }
    folder
}

async fn seen(files: &[(&str, &str)]) -> Facts {
    let tree = tree(files);
    let root = Root::below(tree.path()).expect("a tree");
    look(&root, &Asker { uid: 0, home: "/root".into() }, &one(), false).await.expect("it can be looked at")
}

#[tokio::test]
async fn a_look_follows_the_daemons_file_and_what_that_imports() {
    let facts = seen(&[
        ("/usr/bin/containerd", ""),
        ("/etc/containerd/config.toml", "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n"),
        ("/etc/containerd/conf.d/hosts.toml", "[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/srv/hosts'\n"),
        ("/srv/hosts/docker.io/hosts.toml", "server = \"https://x\"\n"),
        ("/srv/hosts/quay.io/theirs.crt", "PEM"),
    ])
    .await;
    let daemon = facts.daemon.as_ref().expect("it is there");
    assert_eq!(daemon.folders(), [Path::new("/srv/hosts")]);
    assert_eq!(facts.folders, [Path::new("/srv/hosts/quay.io")], "one that has more than a file of hosts");
    assert!(facts.files.get(Path::new("/srv/hosts/docker.io/hosts.toml")).is_some());
}

#[tokio::test]
async fn a_containerd_that_is_there_for_docker_alone_is_left_alone() {
    let dockers = ("/etc/containerd/config.toml", "disabled_plugins = [\"cri\"]\n");
    let both = [("/usr/bin/containerd", ""), ("/usr/bin/dockerd", ""), dockers];
    assert_eq!(seen(&both).await.daemon, None);
    assert!(seen(&[both[0], both[1], both[2], ("/usr/local/bin/nerdctl", "")]).await.daemon.is_some());
    assert!(seen(&[both[0], dockers]).await.daemon.is_some());
}

#[tokio::test]
async fn a_look_finds_k3s_and_rke2_and_the_service_that_each_is() {
    let wanted = "/etc/systemd/system/multi-user.target.wants/rke2-agent.service";
    for (file, name, unit) in [
        ("/etc/systemd/system/k3s.service", "k3s", "k3s"),
        ("/etc/systemd/system/k3s-agent.service", "k3s", "k3s-agent"),
        ("/usr/local/lib/systemd/system/rke2-server.service", "rke2", "rke2-server"),
        (wanted, "rke2", "rke2-agent"),
    ] {
        let facts = seen(&[(file, ""), (&format!("/etc/rancher/{name}/config.yaml"), "")]).await;
        let found: Vec<_> = facts.distributions.iter().map(|found| (found.name, found.unit.as_str(), found.runs)).collect();
        assert_eq!(found, [(name, unit, false)]);
    }
    assert_eq!(seen(&[]).await, Facts::default());
}
