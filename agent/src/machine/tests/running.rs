//! A dockerd that runs and keeps what its file no longer says: what apply and undo are to it, one after another, and when it does not take them.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{Tree, json_text, wish};
use crate::apply::{Engines, Executor, Fault, Reported, Undo, Undoing, undo_plan};
use crate::edit::daemon;
use crate::engines::ClientPair;
use crate::engines::docker::facts::{Answer, Api, Facts, Owner, Report, Running};
use crate::engines::{Daemon, Engine, Reload, Step, Weight, Wish};
use crate::machine::draft::draft;
use crate::machine::look::Machine;
use crate::record::{Held, Record, STATE};

/// A tree with one.
struct Site {
    tree: Tree,
    dockerd: Dockerd,
}

struct Dockerd {
    file: std::path::PathBuf,
    api: Api,
    shown: Reported,
    /// A part of the mirror that it never takes.
    refuses: Option<&'static str>,
}

impl Site {
    fn with(files: &[(&str, &str)], api: Api) -> Self {
        let tree = Tree::with(files);
        let file = tree.folder.path().join("etc/docker/daemon.json");
        let mut dockerd = Dockerd { file, api, shown: Reported::default(), refuses: None };
        dockerd.read();
        Self { tree, dockerd }
    }

    fn machine(&self, wish: &Wish) -> Machine {
        let mut machine = self.tree.machine(wish);
        let Reported { mirrors, insecure } = self.dockerd.shown.clone();
        let report =
            Report { version: "any".into(), api: self.dockerd.api, has_containerd_store: false, mirrors, insecure, live_restore: false };
        machine.docker[0].running = Some(Running { pid: 7, answer: Ok(Answer { daemon: process(), report }) });
        machine
    }

    /// Whether the engines took it.
    fn apply(&mut self, wish: &Wish) -> bool {
        let machine = self.machine(wish);
        self.apply_to(&machine, wish)
    }

    fn apply_to(&mut self, machine: &Machine, wish: &Wish) -> bool {
        let mut record = self.held();
        let draft = draft(machine, &Engine::ALL, wish, &record).expect("a plan");
        assert!(!draft.blocked(), "{draft:?}");
        let (done, _, cleared) = draft.carry_out(&mut Executor::new(&mut record, &mut self.dockerd, machine));
        assert!(cleared.is_success(), "{cleared:?}");
        done.is_success()
    }

    fn undoing(&self, machine: &Machine, clean: bool) -> Undoing {
        let record = Record::read(&self.tree.root(), Path::new(STATE)).expect("a record");
        undo_plan(&record, machine, &Undo { engines: Engine::ALL.to_vec(), keep_edits: false, clean }).expect("a way back")
    }

    fn undo(&mut self, clean: bool) {
        let machine = self.machine(&wish(&[]));
        let undoing = self.undoing(&machine, clean);
        let report = Executor::new(&mut self.held(), &mut self.dockerd, &machine).undo(&undoing);
        assert!(report.is_success(), "{report:?}");
    }

    fn held(&self) -> Held {
        Held::open(&self.tree.root(), Path::new(STATE)).expect("a record")
    }

    /// Docker's files.
    fn files(&self) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
        let all = self.tree.files().into_iter();
        all.filter(|(path, _)| path.starts_with(self.tree.folder.path().join("etc/docker"))).collect()
    }
}

impl Dockerd {
    fn read(&mut self) {
        let text = fs::read_to_string(&self.file).unwrap_or_else(|_| "{}".to_owned());
        if self.refuses.is_some_and(|refused| text.contains(refused)) {
            return;
        }
        if daemon::says_mirrors(&text).expect("valid") {
            self.shown.mirrors = named(&text);
        }
        if text.contains(daemon::INSECURE) {
            let insecure = daemon::insecure(&text).expect("valid");
            self.shown.insecure = insecure.iter().map(|entry| entry.trim_start_matches("http://").to_owned()).collect();
        }
    }
}

impl Engines for Dockerd {
    fn reported(&mut self, _: Engine, _: &Daemon) -> Result<Reported, Fault> {
        Ok(self.shown.clone())
    }

    /// Like the real one, which is sent no signal if it shows what is wanted.
    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        if !self.shown.shows(reload) {
            self.read();
        }
        Ok(self.shown.clone())
    }
}

fn named(text: &str) -> Vec<String> {
    daemon::mirrors(text).expect("valid").iter().map(|url| format!("{}/", url.trim_end_matches('/'))).collect()
}

fn process() -> Daemon {
    Daemon { pid: 7, socket: "/run/docker.sock".into() }
}

fn place(steps: &[Step], name: &str) -> usize {
    let named = |step: &Step| step.change().is_some_and(|change| change.path.to_string_lossy().ends_with(name));
    steps.iter().position(named).unwrap_or_else(|| panic!("{name} is among {steps:?}"))
}

const OLD: Api = Api(1, 41);
const NEW: Api = Api(1, 52);

#[test]
fn an_engine_that_does_not_take_another_mirror_keeps_all_that_the_first_one_needs() {
    let mut site = Site::with(&[], NEW);
    let before = site.tree.files();
    assert!(site.apply(&wish(&["https://one.example:5000"])));
    let (files, shown) = (site.files(), site.dockerd.shown.clone());
    site.dockerd.refuses = Some("two.example");
    assert!(!site.apply(&wish(&["https://two.example:5000"])));
    assert_eq!((site.files(), &site.dockerd.shown), (files, &shown));
    site.dockerd.refuses = None;
    assert!(site.apply(&wish(&["https://two.example:5000"])));
    assert!(site.files().iter().all(|(path, _)| !path.to_string_lossy().contains("one.example")));
    site.undo(false);
    assert_eq!(site.tree.files(), before);
}

#[test]
fn a_file_that_goes_back_to_what_it_was_is_written_before_its_engine_is_told() {
    let original = "{\"registry-mirrors\": [\"https://two.example:5000\"]}\n";
    let mut site = Site::with(&[("etc/docker/daemon.json", original)], NEW);
    assert!(site.apply(&wish(&["https://one.example:5000"])));
    assert_eq!(site.dockerd.shown.mirrors, ["https://one.example:5000/", "https://two.example:5000/"]);
    assert!(site.apply(&wish(&["https://two.example:5000"])));
    assert_eq!(site.dockerd.shown.mirrors, ["https://two.example:5000/"]);
    assert_eq!(fs::read_to_string(&site.dockerd.file).expect("it is there"), original);
    let again =
        draft(&site.machine(&wish(&["https://two.example:5000"])), &Engine::ALL, &wish(&["https://two.example:5000"]), &site.held());
    assert!(again.expect("a plan").is_empty());
}

#[test]
fn a_docker_that_is_anothers_keeps_nothing_from_ones_own() {
    let mut site = Site::with(&[], NEW);
    let before = site.tree.files();
    let with_another = |mut machine: Machine| {
        let own = Facts {
            owner: Owner::User { uid: 1000, name: "alice".into() },
            config_file: "/home/alice/.config/docker/daemon.json".into(),
            certs_d: "/home/alice/.config/docker/certs.d".into(),
            daemon_json: None,
            running: None,
            ..machine.docker[0].clone()
        };
        machine.docker[0].is_ours_to_change = false;
        machine.docker.push(own);
        machine
    };
    for mirror in ["https://one.example:5000", "https://two.example:5000"] {
        let wish = wish(&[mirror]);
        let mut machine = with_another(site.machine(&wish));
        let text = fs::read(site.tree.folder.path().join("home/alice/.config/docker/daemon.json")).ok();
        machine.docker[1].daemon_json = text.map(crate::engines::docker::facts::Contents);
        assert!(site.apply_to(&machine, &wish));
    }
    let text = fs::read_to_string(site.tree.folder.path().join("home/alice/.config/docker/daemon.json")).expect("it is there");
    assert!(text.contains("two.example") && !text.contains("one.example") && !site.dockerd.file.exists(), "{text}");
    site.undo(false);
    assert!(site.tree.files().into_iter().filter(|(path, _)| !path.ends_with("home")).eq(before));
}

#[test]
fn backwards_what_names_a_mirror_goes_before_its_trust_and_a_chain_before_its_key() {
    let mut site = Site::with(&[], NEW);
    assert!(site.apply(&wish(&["http://one.example:5000"])));
    let pair = ClientPair { chain: "chain".into(), key: "key".into() };
    let secure = Wish { client: Some(pair), ..wish(&["https://one.example:5000"]) };
    assert!(site.apply(&secure));
    let trust = ["chandler.cert", "chandler.key", "chandler-ca.crt"].map(|name| format!("etc/docker/certs.d/one.example:5000/{name}"));
    let backwards = ["etc/docker/daemon.json", "docker/certs.d/docker.io/hosts.toml", &trust[0], &trust[1], &trust[2]];
    let undoing = site.undoing(&site.machine(&wish(&[])), false);
    assert!(backwards.map(|name| place(&undoing.plan.steps, name)).is_sorted(), "{undoing:?}");
    let reload = undoing.plan.steps.iter().position(|step| step.change().is_none()).expect("a reload");
    assert!(reload < place(&undoing.plan.steps, "docker/certs.d/docker.io/hosts.toml"));
    // Another mirror in its place, the same way.
    let other = wish(&["http://two.example:5000"]);
    let rest = draft(&site.machine(&other), &[Engine::Docker], &other, &site.held()).expect("a plan").rest;
    assert!(backwards[2..].iter().map(|name| place(&rest.plan.steps, name)).is_sorted(), "{rest:?}");
}

#[test]
fn an_insecure_registry_of_ours_is_let_go_of_where_the_mirror_itself_was_there_before() {
    let mut site = Site::with(&[("etc/docker/daemon.json", "{\"registry-mirrors\": [\"http://one.example:5000\"]}\n")], OLD);
    let before = site.tree.files();
    assert!(site.apply(&wish(&["http://one.example:5000"])));
    assert_eq!(site.dockerd.shown.insecure, ["one.example:5000"]);
    site.undo(false);
    assert_eq!(site.dockerd.shown, Reported { mirrors: vec!["http://one.example:5000/".into()], insecure: Vec::new() });
    assert_eq!(site.tree.files(), before);
}

#[test]
fn engines_that_keep_what_they_read_are_said_to_wait_for_a_restart() {
    let mut site = Site::with(&[("etc/rancher/k3s/config.yaml", "")], NEW);
    assert!(site.apply(&wish(&["http://one.example:5000"])));
    let mut machine = site.machine(&wish(&[]));
    machine.containerd.distributions.iter_mut().for_each(|one| one.runs = true);
    machine.buildkit.daemons.iter_mut().for_each(|daemon| daemon.pid = Some(8));
    machine.docker[0].running = Some(Running { pid: 7, answer: Err("nobody answers".into()) });
    let findings = site.undoing(&machine, false).plan.findings;
    let waiting: Vec<_> = findings.iter().filter(|finding| finding.weight == Weight::Restart).collect();
    for (engine, word) in
        [(Engine::Docker, "nobody answers"), (Engine::Containerd, "k3s reads it when it starts"), (Engine::BuildKit, "buildkitd reads it")]
    {
        assert!(waiting.iter().any(|finding| finding.engine == Some(engine) && finding.what.contains(word)), "{engine}: {findings:?}");
    }
    assert_eq!(waiting.len(), 3, "{waiting:?}");
    let nothing_runs = site.undoing(&site.machine(&wish(&[])), false).plan.findings;
    assert!(nothing_runs.iter().all(|finding| finding.weight != Weight::Restart), "{nothing_runs:?}");
}

#[test]
fn a_mirror_that_a_guide_wrote_before_is_named_and_goes_from_a_clean_machine() {
    let files = [
        ("etc/docker/daemon.json", "{\"debug\": true, \"registry-mirrors\": [\"http://one.example:5000\"]}\n"),
        ("etc/containers/registries.conf.d/10-theirs.conf", super::REGISTRIES),
        ("etc/buildkit/buildkitd.toml", super::BUILDKITD),
        ("etc/containerd/certs.d/docker.io/hosts.toml", super::HOSTS),
    ];
    let mut site = Site::with(&files, NEW);
    let docker = site.machine(&wish(&["http://one.example:5000"]));
    let plan = draft(&docker, &[Engine::Docker], &Wish { registries: Vec::new(), ..wish(&["http://one.example:5000"]) }, &site.held());
    assert!(plan.expect("a plan").is_empty(), "it is so already");
    let undoing = site.undoing(&site.machine(&wish(&[])), false);
    assert!(undoing.plan.steps.is_empty());
    for (path, _) in files {
        let says = |what: &str| what.starts_with(&format!("/{path} names "));
        assert!(undoing.plan.findings.iter().any(|finding| says(&finding.what)), "{path}: {undoing:?}");
    }
    site.undo(true);
    let left = site.tree.files();
    let text = |path: &str| String::from_utf8_lossy(left[&site.tree.folder.path().join(path)].as_deref().expect("a file")).into_owned();
    assert_eq!(text(files[0].0), "{\"debug\": true}\n");
    assert!(site.dockerd.shown.mirrors.is_empty());
    assert!(!text(files[2].0).contains("theirs.example") && !text(files[3].0).contains("[host.\"https://theirs.example\"]"));
    assert!(!text(files[1].0).contains("theirs.example") && text(files[1].0).starts_with("unqualified-search-registries"));
    assert!(site.held().entries().is_empty(), "nothing is to be brought back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_applied_and_whatever_failed_undo_is_the_way_back(
        daemon in prop::option::of(json_text()),
        is_old in any::<bool>(),
        applies in prop::collection::vec((0_usize..5, prop::bool::weighted(0.3), any::<bool>()), 1..5),
    ) {
        let files: Vec<_> = daemon.iter().map(|text| ("etc/docker/daemon.json", text.as_str())).collect();
        let mut site = Site::with(&files, if is_old { OLD } else { NEW });
        let (before, shown) = (site.tree.files(), site.dockerd.shown.clone());
        for (mirror, is_refused, has_client) in applies {
            let client = has_client.then(|| ClientPair { chain: "chain".into(), key: "key".into() });
            let wish = Wish { client, ..wish(&[MIRRORS[mirror].0]) };
            let (files, shown) = (site.files(), site.dockerd.shown.clone());
            site.dockerd.refuses = is_refused.then_some(MIRRORS[mirror].1);
            let is_taken = site.apply(&wish);
            if is_taken {
                let text = fs::read_to_string(&site.dockerd.file).expect("it is there");
                prop_assert_eq!(&site.dockerd.shown.mirrors, &named(&text));
            } else {
                prop_assert!(is_refused);
                prop_assert_eq!(site.files(), files);
                prop_assert_eq!(&site.dockerd.shown, &shown);
            }
        }
        site.dockerd.refuses = None;
        site.undo(false);
        prop_assert_eq!(site.tree.files(), before);
        prop_assert_eq!(&site.dockerd.shown, &shown);
        prop_assert!(site.held().entries().is_empty());
    }
}

/// Each with what of it no other text has.
const MIRRORS: [(&str, &str); 5] = [
    ("http://one.example:5000", "http://one.example"),
    ("https://one.example:5000", "https://one.example"),
    ("https://two.example:5001", "https://two.example"),
    ("http://two.example:5001", "http://two.example"),
    ("http://127.0.0.1:5000", "127.0.0.1"),
];
