mod findings;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::super::command_line::{Flag, Place};
use super::super::facts::{Answer, Owner, Report, Running};
use super::super::proxy::{Proxies, Said};
use super::*;
use crate::engines::ClientPair;
use crate::engines::Daemon;

#[test]
fn a_machine_with_nothing_gets_one_key_and_a_reload() {
    insta::assert_snapshot!(shown(&plan(&facts(None, V29), &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
}

#[test]
fn what_others_wrote_stays_and_their_mirrors_come_after_ours() {
    let text = "{\n    \"userns-remap\": \"default\",\n    \"registry-mirrors\": [\"https://theirs\"]\n}\n";
    insta::assert_snapshot!(shown(&plan(&facts(Some(text), V20), &wish(&["https://a", "https://b:5000"]), &[])), @r#"
    Restart: Docker speaks API 1.41: the BuildKit inside of it may keep the mirrors that it had when Docker started (that of 20.10 does); pulls and classic builds use the new ones at once
        for builds with BuildKit: restart Docker when the machine is drained, or update it to 28 or newer
    Warns: /etc/docker/daemon.json has other mirrors, which are asked after ours: https://theirs
        nothing, if they are wanted; `--mirrors replace` takes them out
    write /etc/docker/daemon.json 644
      {
          "userns-remap": "default",
          "registry-mirrors": ["https://a", "https://b:5000", "https://theirs"]
      }
    reload 7: ["https://a/", "https://b:5000/", "https://theirs/"] []
    "#);
}

#[test]
fn plain_http_over_a_network_is_told_to_an_old_engine_and_said_to_a_person() {
    insta::assert_snapshot!(shown(&plan(&facts(Some("{}"), V20), &wish(&["http://10.0.0.7:5000"]), &[])), @r#"
    Restart: Docker speaks API 1.41: the BuildKit inside of it may keep the mirrors that it had when Docker started (that of 20.10 does); pulls and classic builds use the new ones at once
        for builds with BuildKit: restart Docker when the machine is drained, or update it to 28 or newer
    Warns: http://10.0.0.7:5000 is plain http: whoever is on the way can answer for a tag with an image of their own; the BuildKit inside of Docker before 28 asks it only because insecure-registries names it
        give the mirror a certificate and write https://, or run a mirror on the machine itself at http://127.0.0.1
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://10.0.0.7:5000"],
        "insecure-registries": ["http://10.0.0.7:5000"]
      }
    reload 7: ["http://10.0.0.7:5000/"] ["10.0.0.7:5000"]
    "#);
    assert!(!shown(&plan(&facts(Some("{}"), V29), &wish(&["http://10.0.0.7:5000"]), &[])).contains("insecure-registries"));
}

#[test]
fn a_private_ca_and_a_client_certificate_are_put_where_an_old_engine_looks() {
    insta::assert_snapshot!(shown(&plan(&facts(None, V20), &trusting(&["https://mirror:5000"]), &[])), @r#"
    Restart: Docker speaks API 1.41: the BuildKit inside of it may keep the mirrors that it had when Docker started (that of 20.10 does); pulls and classic builds use the new ones at once
        for builds with BuildKit: restart Docker when the machine is drained, or update it to 28 or newer
    write /etc/docker/certs.d/mirror:5000/chandler-ca.crt 644
      -----BEGIN CERTIFICATE-----
      anchor
    write /etc/docker/certs.d/mirror:5000/chandler.key 600
      (secret)
    write /etc/docker/certs.d/mirror:5000/chandler.cert 644
      -----BEGIN CERTIFICATE-----
      chain
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["https://mirror:5000"]
      }
    reload 7: ["https://mirror:5000/"] []
    "#);
}

#[test]
fn newer_engines_are_told_of_them_in_hosts_toml_too() {
    let text = "{\"registry-mirrors\": [\"https://theirs/\", \"https://theirs/with/a/path\"]}";
    insta::assert_snapshot!(shown(&plan(&facts(Some(text), V29), &trusting(&["https://mirror:5000"]), &[])), @r#"
    Warns: /etc/docker/daemon.json has other mirrors, which are asked after ours: https://theirs/, https://theirs/with/a/path
        nothing, if they are wanted; `--mirrors replace` takes them out
    Warns: the mirror https://theirs/with/a/path in /etc/docker/daemon.json is not asked any more: Docker takes its mirrors from /etc/docker/certs.d/docker.io/hosts.toml
        add it there by hand, as [host."…"]
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/mirror:5000/chandler-ca.crt 644
      -----BEGIN CERTIFICATE-----
      anchor
    write /etc/docker/certs.d/mirror:5000/chandler.key 600
      (secret)
    write /etc/docker/certs.d/mirror:5000/chandler.cert 644
      -----BEGIN CERTIFICATE-----
      chain
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."https://mirror:5000"]
        capabilities = ["pull", "resolve"]
        ca = "/etc/docker/certs.d/mirror:5000/chandler-ca.crt"
        client = [["/etc/docker/certs.d/mirror:5000/chandler.cert", "/etc/docker/certs.d/mirror:5000/chandler.key"]]
        dial_timeout = "2s"
      
      [host."https://theirs"]
        capabilities = ["pull", "resolve"]
    write /etc/docker/daemon.json 644
      {"registry-mirrors": ["https://mirror:5000", "https://theirs/", "https://theirs/with/a/path"]}
    reload 7: ["https://mirror:5000/", "https://theirs/", "https://theirs/with/a/path/"] []
    "#);
}

#[test]
fn other_registries_are_told_of_where_the_engine_reads_it() {
    let wish = Wish { registries: vec!["ghcr.io".to_owned()], ..wish(&["http://127.0.0.1:5000"]) };
    insta::assert_snapshot!(shown(&plan(&facts(Some("{}"), V29), &wish, &[])), @r#"
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/certs.d/ghcr.io/hosts.toml 644
      server = "https://ghcr.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
    insta::assert_snapshot!(shown(&plan(&facts(Some("{}"), V20), &wish, &[])), @r#"
    Restart: Docker speaks API 1.41: the BuildKit inside of it may keep the mirrors that it had when Docker started (that of 20.10 does); pulls and classic builds use the new ones at once
        for builds with BuildKit: restart Docker when the machine is drained, or update it to 28 or newer
    Warns: Docker pulls ghcr.io past the mirrors: only Docker 28 and newer can (API 1.48; it has 1.41)
        name the mirror in the image (MIRROR/REGISTRY/IMAGE), or use an engine that can
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
}

#[test]
fn a_hosts_toml_of_the_hub_gets_our_mirrors_first() {
    let mut facts = facts(Some("{}"), V29);
    let theirs = "[host.\"https://theirs\"]\n  capabilities = [\"pull\"]\n";
    facts.trust.insert(PathBuf::from("/etc/docker/certs.d/docker.io/hosts.toml"), Contents(theirs.into()));
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Warns: /etc/docker/certs.d/docker.io/hosts.toml is there: Docker 28 and newer take their mirrors from it and do not look at registry-mirrors; it names https://theirs
        nothing: ours are put first in both
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
      
      [host."https://theirs"]
        capabilities = ["pull"]
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
}

#[test]
fn a_plan_that_was_carried_out_is_empty() {
    for (engine, wish) in [
        (V20, trusting(&["https://mirror:5000"])),
        (V29, trusting(&["https://mirror:5000"])),
        (V20, wish(&["http://10.0.0.7:5000", "http://127.0.0.1:5000"])),
        (V29, Wish { registries: vec!["ghcr.io".to_owned()], ..wish(&["http://10.0.0.7:5000"]) }),
    ] {
        let mut facts = facts(Some("{\"registry-mirrors\": [\"https://theirs\"]}"), engine);
        carry_out(&mut facts, &wish);
        let again = plan(&facts, &wish, &wish.mirrors);
        assert_eq!(again.steps, [], "{}", shown(&again));
    }
}

#[test]
fn other_mirrors_than_before_take_what_was_for_those_before_away() {
    let mut facts = facts(None, V29);
    let before = trusting(&["https://old:5000"]);
    carry_out(&mut facts, &before);
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &before.mirrors)), @r#"
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    reload 7: ["http://127.0.0.1:5000/"] []
    remove /etc/docker/certs.d/old:5000/chandler-ca.crt
    remove /etc/docker/certs.d/old:5000/chandler.cert
    remove /etc/docker/certs.d/old:5000/chandler.key
    "#);
}

#[test]
fn the_engine_is_reloaded_where_only_it_differs_from_its_file() {
    let mut facts = facts(None, V29);
    let wish = wish(&["http://127.0.0.1:5000"]);
    carry_out(&mut facts, &wish);
    answer(&mut facts).report.mirrors.clear();
    insta::assert_snapshot!(shown(&plan(&facts, &wish, &wish.mirrors)), @r#"
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
}

#[test]
fn a_mirror_that_others_gave_all_the_trust_for_needs_no_second_file() {
    let mut facts = facts(None, V29);
    let folder = PathBuf::from("/etc/docker/certs.d/mirror:5000");
    for (name, content) in [("ca.crt", ANCHOR), ("client.cert", CHAIN_PEM), ("client.key", KEY_PEM)] {
        facts.trust.insert(folder.join(name), Contents(content.into()));
    }
    let shown = shown(&plan(&facts, &trusting(&["https://mirror:5000"]), &[]));
    assert!(
        !shown.contains("chandler")
            && shown
                .contains("client = [[\"/etc/docker/certs.d/mirror:5000/client.cert\", \"/etc/docker/certs.d/mirror:5000/client.key\"]]"),
        "{shown}"
    );
    facts.trust.insert(folder.join("ca.crt"), Contents(b"another CA".into()));
    let changed: Vec<_> = written(&plan(&facts, &trusting(&["https://mirror:5000"]), &[]));
    assert!(changed.contains(&folder.join("chandler-ca.crt")) && !changed.contains(&folder.join("ca.crt")), "{changed:?}");
}

/// Release, API and whether images are in containerd's store.
type Kind = (&'static str, Api, bool);
const V20: Kind = ("20.10.24", Api(1, 41), false);
const V29: Kind = ("29.0.0", Api(1, 52), true);

const ANCHOR: &str = "-----BEGIN CERTIFICATE-----\nanchor\n";
const CHAIN_PEM: &str = "-----BEGIN CERTIFICATE-----\nchain\n";
const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----\nkey\n";

fn facts(daemon_json: Option<&str>, (version, api, has_containerd_store): Kind) -> Facts {
    let insecure = vec!["127.0.0.0/8".to_owned()];
    let report = Report { version: version.to_owned(), api, has_containerd_store, mirrors: Vec::new(), insecure, live_restore: false };
    let daemon = Daemon { pid: 7, socket: PathBuf::from("/run/docker.sock") };
    Facts {
        owner: Owner::Machine,
        is_ours_to_change: true,
        config_file: PathBuf::from("/etc/docker/daemon.json"),
        certs_d: PathBuf::from("/etc/docker/certs.d"),
        daemon_json: daemon_json.map(|text| Contents(text.into())),
        unread: None,
        trust: BTreeMap::new(),
        flags: Vec::new(),
        idle_flags: Vec::new(),
        proxies: Proxies::default(),
        running: Some(Running { pid: 7, answer: Ok(Answer { daemon, report }) }),
    }
}

fn answer(facts: &mut Facts) -> &mut Answer {
    facts.running.as_mut().expect("it runs").answer.as_mut().expect("it answers")
}

fn wish(mirrors: &[&str]) -> Wish {
    let mirrors = mirrors.iter().map(|mirror| mirror.parse().expect("a mirror")).collect();
    Wish { mirrors, anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
}

fn trusting(mirrors: &[&str]) -> Wish {
    let client = Some(ClientPair { chain: CHAIN_PEM.to_owned(), key: KEY_PEM.to_owned() });
    Wish { anchors: Some(ANCHOR.to_owned()), client, ..wish(mirrors) }
}

fn file(path: &str, line: usize) -> Place {
    Place::File(PathBuf::from(path), line)
}

/// The facts after the first plan for a wish was carried out.
fn carry_out(facts: &mut Facts, wish: &Wish) {
    for step in &plan(facts, wish, &[]).steps {
        match step {
            Step::Rebuild(_) => panic!("Docker has no such step"),
            Step::Reload(reload) => {
                let report = &mut answer(facts).report;
                report.mirrors.clone_from(&reload.mirrors);
                report.insecure.extend(reload.insecure.iter().cloned());
            }
            Step::Write(change) => {
                let known =
                    if change.path == facts.config_file { facts.daemon_json.clone() } else { facts.trust.get(&change.path).cloned() };
                assert_eq!(known.map(|contents| contents.0), change.before, "{}", change.path.display());
                match (&change.after, change.path == facts.config_file) {
                    (after, true) => facts.daemon_json = after.clone().map(Contents),
                    (Some(after), false) => drop(facts.trust.insert(change.path.clone(), Contents(after.clone()))),
                    (None, false) => drop(facts.trust.remove(&change.path)),
                }
            }
        }
    }
}

fn written(plan: &Plan) -> Vec<PathBuf> {
    plan.steps.iter().filter_map(|step| if let Step::Write(change) = step { Some(change.path.clone()) } else { None }).collect()
}

/// A whole plan for a person.
fn shown(plan: &Plan) -> String {
    let mut out = String::new();
    for finding in &plan.findings {
        let _ = writeln!(out, "{:?}: {}\n    {}", finding.weight, finding.what, finding.mend);
    }
    for step in &plan.steps {
        match step {
            Step::Rebuild(_) => panic!("Docker has no such step"),
            Step::Reload(reload) => _ = writeln!(out, "reload {}: {:?} {:?}", reload.daemon.pid, reload.mirrors, reload.insecure),
            Step::Write(Change { path, after: None, .. }) => _ = writeln!(out, "remove {}", path.display()),
            Step::Write(Change { path, after: Some(after), mode, secret, .. }) => {
                let text = if *secret { "(secret)".into() } else { String::from_utf8_lossy(after) };
                let _ = writeln!(out, "write {} {mode:o}\n  {}", path.display(), text.trim_end().replace('\n', "\n  "));
            }
        }
    }
    out
}
