//! What is in the way of a plan, or has to be known before it, and is named.

use super::*;

#[test]
fn a_flag_beside_the_key_blocks_and_is_named_where_it_can_be_changed() {
    let flag = |name: &str, place| Flag { name: name.into(), value: "http://old".into(), place };
    let mut facts = facts(None, V29);
    facts.flags =
        vec![flag("registry-mirror", Place::Process(7)), flag("registry-mirror", file("/etc/systemd/system/docker.service.d/10.conf", 3))];
    facts.idle_flags = vec![flag("registry-mirror", file("/etc/default/docker", 9))];
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &[])), @r"
    Blocks: /etc/systemd/system/docker.service.d/10.conf:3: dockerd is started with --registry-mirror=http://old; with registry-mirrors in /etc/docker/daemon.json as well it neither starts nor reloads
        take the flag out there; that takes effect when Docker is started again, which ends containers without live-restore: drain the machine first
    Warns: /etc/default/docker:9: --registry-mirror=http://old has no effect: docker.service does not read this file
        take it out, so that nobody relies on it
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    ");
    facts.flags.truncate(1);
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &[])), @r"
    Blocks: the command line of dockerd, process 7: dockerd is started with --registry-mirror=http://old; with registry-mirrors in /etc/docker/daemon.json as well it neither starts nor reloads
        take the flag out there; that takes effect when Docker is started again, which ends containers without live-restore: drain the machine first
    Warns: /etc/default/docker:9: --registry-mirror=http://old has no effect: docker.service does not read this file
        take it out, so that nobody relies on it
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    ");
}

#[test]
fn the_other_flag_blocks_only_where_its_key_would_be_written() {
    for (engine, mirror, blocks) in [(V20, "http://10.0.0.7", true), (V29, "http://10.0.0.7", false), (V20, "https://10.0.0.7", false)] {
        let mut facts = facts(None, engine);
        facts.flags = vec![Flag { name: "insecure-registry".into(), value: "old".into(), place: Place::Process(7) }];
        assert_eq!(plan(&facts, &wish(&[mirror]), &[]).steps.is_empty(), blocks, "{mirror}");
    }
}

#[test]
fn a_file_that_cannot_be_understood_is_not_changed() {
    for text in ["{\"debug\": true,}", "[]", "{\"registry-mirrors\": \"http://x\"}"] {
        assert_eq!(plan(&facts(Some(text), V29), &wish(&["http://127.0.0.1:5000"]), &[]).steps, [], "{text}");
    }
    insta::assert_snapshot!(shown(&plan(&facts(Some("{\n  \"debug\": true,\n}\n"), V29), &wish(&["http://127.0.0.1:5000"]), &[])), @r"
    Blocks: /etc/docker/daemon.json:3:1: a comma before the closing `}`: JSON allows none there; take the comma away
        mend the file, or take it away; chandler changes no file that it does not understand
    ");
}

#[test]
fn misspelt_keys_and_an_empty_file_are_named() {
    insta::assert_snapshot!(shown(&plan(&facts(Some("{\"registry-mirror\": [\"http://x\"]}"), V29), &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Warns: /etc/docker/daemon.json:1:2: `registry-mirror` is no key of dockerd, which ignores it; registry-mirrors is one
        rename it to registry-mirrors, or take it out
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {"registry-mirror": ["http://x"], "registry-mirrors": ["http://127.0.0.1:5000"]}
    reload 7: ["http://127.0.0.1:5000/"] []
    "#);
    insta::assert_snapshot!(shown(&plan(&facts(Some("{\"registry_mirrors\": [\"http://x\"]}"), V29), &wish(&["http://127.0.0.1:5000"]), &[])), @r"
    Blocks: /etc/docker/daemon.json:1:2: `registry_mirrors` is no key of dockerd, which refuses it; registry-mirrors is one
        rename it to registry-mirrors, or take it out
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    ");
    insta::assert_snapshot!(shown(&plan(&facts(Some("\n"), V29), &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Warns: /etc/docker/daemon.json is empty: dockerd before 23.0 does not start with it
        nothing: chandler writes it anew; an undo makes it empty again
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
fn an_engine_that_does_not_run_or_cannot_be_asked_gets_its_files_and_no_reload() {
    let mut facts = facts(None, V29);
    facts.running = Some(Running { pid: 7, answer: Err("it listens on no Unix socket, only on tcp://0.0.0.0:2375".into()) });
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Restart: Docker (process 7) cannot be asked: it listens on no Unix socket, only on tcp://0.0.0.0:2375
        the files are written, and `kill -HUP 7` has it read them, unseen by chandler
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    "#);
    facts.running = None;
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["http://127.0.0.1:5000"]), &[])), @r#"
    Warns: Docker does not run: nothing is reloaded, it reads its files when it starts
        `chandler verify` once it runs
    write /etc/docker/certs.d/docker.io/hosts.toml 644
      server = "https://registry-1.docker.io"
      
      [host."http://127.0.0.1:5000"]
        capabilities = ["pull", "resolve"]
        dial_timeout = "2s"
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["http://127.0.0.1:5000"]
      }
    "#);
}

#[test]
fn a_proxy_that_would_be_asked_for_the_mirror_is_named() {
    let mut facts = facts(None, V29);
    facts.proxies = Proxies {
        https: Some(Said::new("http://u:p@proxy:3128", "/etc/systemd/system/docker.service.d/proxy.conf:2")),
        ..Proxies::default()
    };
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["https://mirror"]), &[])), @r#"
    Warns: Docker asks https://mirror through the proxy http://proxy:3128 (/etc/systemd/system/docker.service.d/proxy.conf:2): NO_PROXY does not name it
        add mirror to NO_PROXY beside it; that takes effect when Docker is started again: drain the machine first
    Warns: Docker: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, use the new mirrors at once
        let builds on such images rest so long, or restart Docker when the machine is drained
    write /etc/docker/daemon.json 644
      {
        "registry-mirrors": ["https://mirror"]
      }
    reload 7: ["https://mirror/"] []
    "#);
}

#[test]
fn somebody_elses_engine_is_left_alone() {
    let mut facts = facts(None, V29);
    facts.is_ours_to_change = false;
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["https://mirror"]), &[])), @r"
    Blocks: Docker is not changed: its files are /etc/docker/daemon.json
        run chandler as root
    ");
    facts.owner = Owner::User { uid: 1000, name: "ci".to_owned() };
    facts.config_file = PathBuf::from("/home/ci/.config/docker/daemon.json");
    insta::assert_snapshot!(shown(&plan(&facts, &wish(&["https://mirror"]), &[])), @r"
    Warns: ci's rootless Docker is not changed: its files are /home/ci/.config/docker/daemon.json
        run chandler as ci for it
    ");
}

#[test]
fn a_mirror_that_a_file_names_twice_is_reported_once_and_nothing_is_waited_for() {
    let text = r#"{"registry-mirrors": ["http://m:5000", "http://m:5000/", "http://n"]}"#;
    let mut facts = facts(Some(text), V20);
    let reload = reload_for(&facts, text, &[]).expect("it can be read").expect("it has none yet");
    assert_eq!(reload.mirrors, ["http://m:5000/", "http://n/"]);
    answer(&mut facts).report.mirrors = reload.mirrors;
    assert_eq!(reload_for(&facts, text, &[]).expect("it can be read"), None);
}

#[test]
fn an_engine_of_another_user_is_told_nothing_though_it_calls_our_file_its_own() {
    let text = r#"{"registry-mirrors": ["http://m:5000"]}"#;
    let facts = Facts { is_ours_to_change: false, ..facts(Some(text), V20) };
    assert_eq!(reload_for(&facts, text, &[]).expect("it can be read"), None);
}

#[test]
fn a_proxys_password_is_shown_to_nobody() {
    let plan = plan(&facts(Some(r#"{"proxies": {"https-proxy": "http://user:pw@proxy:3128"}}"#), V20), &wish(&["http://m:5000"]), &[]);
    let change = plan.steps.iter().find_map(Step::change).expect("the file is changed");
    assert!(change.secret && change.path.ends_with("daemon.json"), "{change:?}");
}

#[test]
fn a_file_that_cannot_be_read_stops_its_own_engine_and_is_named() {
    let facts = Facts { unread: Some("/etc/docker/daemon.json is a folder".to_owned()), ..facts(None, V29) };
    let blocked = plan(&facts, &wish(&["http://m:5000"]), &[]);
    assert!(blocked.steps.is_empty() && blocked.findings[0].weight == Weight::Blocks, "{blocked:?}");
    let theirs = plan(
        &Facts { is_ours_to_change: false, owner: Owner::User { uid: 7, name: "ci".into() }, ..facts },
        &wish(&["http://m:5000"]),
        &[],
    );
    assert!(theirs.findings.iter().all(|finding| finding.weight != Weight::Blocks), "{theirs:?}");
}
