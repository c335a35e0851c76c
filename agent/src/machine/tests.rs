//! "Every change to a machine is shown before, applied atomically, and undone to the byte", for all engines at once, on trees that are no running machine; in `running`, Docker is one.

mod any_files;
mod running;
mod trusted;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::draft::{Draft, draft};
use super::look::Machine;
use crate::apply::{Engines, Executor, Fault, Reported, Undo, undo_plan};
use crate::cli::machine::{Back, MachineArgs, Noun, PlanArgs, UndoArgs, WishArgs};
use crate::engines::podman::Asker;
use crate::engines::{Daemon, Engine, Others, Reload, Weight, Wish};
use crate::host::Root;
use crate::record::{Held, Record, STATE};

/// A tree with some engines' files.
struct Tree {
    folder: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Tree {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir_all(folder.path().join("etc/containers")).expect("made");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        Self { folder, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime") }
    }

    fn root(&self) -> Root {
        Root::below(self.folder.path()).expect("it is a folder")
    }

    fn machine(&self, wish: &Wish) -> Machine {
        let asker = Asker { uid: rustix::process::geteuid().as_raw(), home: "/root".into() };
        self.runtime.block_on(Machine::look(&self.root(), &asker, wish, &Engine::ALL)).expect("it can be looked at")
    }

    fn draft(&self, wish: &Wish) -> Draft {
        let record = Record::read(&self.root(), Path::new(STATE)).expect("a record");
        draft(&self.machine(wish), &Engine::ALL, wish, &record).expect("a plan")
    }

    fn apply(&self, wish: &Wish) {
        let mut record = Held::open(&self.root(), Path::new(STATE)).expect("a record");
        let machine = self.machine(wish);
        let draft = draft(&machine, &Engine::ALL, wish, &record).expect("a plan");
        let mut nobody = Nobody;
        let mut executor = Executor::new(&mut record, &mut nobody, &machine);
        let (done, _, cleared) = draft.carry_out(&mut executor);
        assert!(done.is_success() && cleared.is_success(), "{done:?} {cleared:?}");
    }

    fn undo(&self) {
        let mut record = Held::open(&self.root(), Path::new(STATE)).expect("a record");
        let machine = self.machine(&wish(&[]));
        let undo = Undo { engines: Engine::ALL.to_vec(), keep_edits: false, clean: false };
        let undoing = undo_plan(&record, &machine, &undo).expect("a way back");
        let report = Executor::new(&mut record, &mut Nobody, &machine).undo(&undoing);
        assert!(report.is_success(), "{report:?}");
    }

    /// The same by their paths in the tree.
    fn below(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let inside = |path: PathBuf| path.strip_prefix(self.folder.path()).map(Path::to_owned).expect("it is in the tree");
        self.files().into_iter().map(|(path, bytes)| (inside(path), bytes)).collect()
    }

    /// Every file and folder but the agent's own.
    fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.folder.path().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("it can be listed") {
                let path = entry.expect("it can be listed").path();
                if path.starts_with(self.folder.path().join("var")) {
                    continue;
                }
                if path.is_dir() {
                    open.push(path.clone());
                    found.insert(path, None);
                } else {
                    let bytes = fs::read(&path).expect("it can be read");
                    found.insert(path, Some(bytes));
                }
            }
        }
        found
    }
}

/// No daemon runs in a tree.
struct Nobody;

impl Engines for Nobody {
    fn reported(&mut self, engine: Engine, _: &Daemon) -> Result<Reported, Fault> {
        panic!("nobody asks {engine} of a tree")
    }

    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        panic!("nobody reloads {} of a tree", reload.engine)
    }
}

fn wish(mirrors: &[&str]) -> Wish {
    let mirrors = mirrors.iter().map(|url| url.parse().expect("a mirror")).collect();
    let anchors = Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned());
    Wish { mirrors, anchors, client: None, registries: vec!["ghcr.io".into()], others: Others::Keep }
}

#[test]
fn another_mirror_takes_the_first_ones_place_and_leaves_nothing_of_it() {
    let tree = Tree::with(&[("etc/docker/daemon.json", "{\n\t\"debug\": true,\n\t\"registry-mirrors\": [\"http://theirs\"]\n}\n")]);
    let before = tree.files();
    tree.apply(&wish(&["https://one.example:5000"]));
    tree.apply(&wish(&["https://two.example:5000"]));
    for (path, bytes) in tree.files() {
        let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        assert!(!text.contains("one.example") && !path.to_string_lossy().contains("one.example"), "{}: {text}", path.display());
    }
    let daemon = fs::read_to_string(tree.folder.path().join("etc/docker/daemon.json")).expect("it is there");
    let places = ["two.example", "http://theirs"].map(|url| daemon.find(url).expect("both are named"));
    assert!(places[0] < places[1] && daemon.contains("\t\"debug\": true"), "{daemon}");
    tree.undo();
    assert_eq!(tree.files(), before);
}

#[test]
fn an_engine_with_a_file_that_cannot_be_read_is_left_alone_and_the_others_are_not() {
    let tree = Tree::with(&[("etc/docker/daemon.json", "{\"debug\": true,}\n")]);
    let draft = tree.draft(&wish(&["http://mirror.example:5000"]));
    let blocked: Vec<_> = draft.plan.findings.iter().filter(|finding| finding.weight == Weight::Blocks).collect();
    assert!(blocked.len() == 1 && blocked[0].what.contains("/etc/docker/daemon.json:1:16"), "{blocked:?}");
    assert!(draft.plan.steps.iter().all(|step| step.engine() != Engine::Docker));
    assert!(draft.plan.steps.iter().any(|step| step.engine() == Engine::Podman));
}

#[test]
fn undo_needs_nothing_of_what_the_agent_is_told() {
    let tree = Tree::with(&[("etc/chandler/agent.yaml", "engines: [nonsense\n")]);
    let machine = MachineArgs { noun: Noun::default(), root: tree.folder.path().to_owned(), config: None, engine: None, json: false };
    let args = UndoArgs { machine, to: Back::Original, keep_edits: false, check: false, yes: true };
    let answer = super::undo(&args).expect("nothing is in the way");
    assert_eq!(
        (answer.said.data.as_str(), answer.said.notes),
        ("", vec!["nothing of chandler's is left on this machine's engines".to_owned()])
    );
    let asked = super::plan(&PlanArgs { machine: args.machine, wish: WishArgs::default(), check: false }).err();
    assert!(asked.is_some_and(|error| error.to_string().contains("agent.yaml")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn apply_then_undo_is_the_identity_and_apply_twice_is_apply_once(daemon in json_text(), containerd in any::<bool>(), secure in any::<bool>(), registries in any::<bool>()) {
        let mut files = vec![("etc/docker/daemon.json", daemon.as_str())];
        if containerd {
            files.push(("etc/containerd/certs.d/docker.io/hosts.toml", HOSTS));
            files.push(("etc/buildkit/buildkitd.toml", BUILDKITD));
        }
        if registries {
            files.push(("etc/containers/registries.conf.d/10-theirs.conf", REGISTRIES));
        }
        let tree = Tree::with(&files);
        let before = tree.files();
        let wish = wish(&[if secure { "https://mirror.example:5000" } else { "http://mirror.example:5000" }, "http://127.0.0.1:5000"]);
        tree.apply(&wish);
        let applied = tree.files();
        prop_assert_ne!(&applied, &before);
        let again = tree.draft(&wish);
        prop_assert!(again.is_empty(), "a second apply finds nothing to do: {:?}", again);
        tree.apply(&wish);
        prop_assert_eq!(&tree.files(), &applied);
        tree.undo();
        prop_assert_eq!(&tree.files(), &before);
    }

    #[test]
    fn several_applies_are_the_last_one_and_undo_is_the_way_back(daemon in json_text(), others in any::<bool>(), applies in prop::collection::vec((0_usize..4, any::<bool>()), 2..5)) {
        let mut files = vec![("etc/docker/daemon.json", daemon.as_str())];
        if others {
            files.extend([("etc/containerd/certs.d/docker.io/hosts.toml", HOSTS), ("etc/buildkit/buildkitd.toml", BUILDKITD)]);
            files.push(("etc/containers/registries.conf.d/10-theirs.conf", REGISTRIES));
        }
        let (tree, once) = (Tree::with(&files), Tree::with(&files));
        let before = tree.files();
        let wishes: Vec<Wish> = applies.iter().map(|(mirror, registries)| {
            let mirrors = ["http://one.example:5000", "https://one.example:5000", "https://two.example", "http://127.0.0.1:5000"];
            let wish = wish(&[mirrors[*mirror]]);
            if *registries { wish } else { Wish { registries: Vec::new(), ..wish } }
        }).collect();
        for wish in &wishes {
            tree.apply(wish);
        }
        once.apply(wishes.last().expect("two at least"));
        prop_assert_eq!(tree.below(), once.below());
        tree.undo();
        prop_assert_eq!(&tree.files(), &before);
    }

    #[test]
    fn what_dockerd_would_not_read_is_never_changed(text in broken()) {
        let tree = Tree::with(&[("etc/docker/daemon.json", &text)]);
        let before = fs::read(tree.folder.path().join("etc/docker/daemon.json")).expect("it is there");
        let wish = wish(&["http://mirror.example:5000"]);
        let draft = tree.draft(&wish);
        prop_assert!(draft.blocked());
        tree.apply(&wish);
        prop_assert_eq!(fs::read(tree.folder.path().join("etc/docker/daemon.json")).expect("it is there"), before);
    }
}

/// A configuration as somebody may have it, in one of many layouts.
fn json_text() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from), "[ -~äß\"\\\\]{0,12}".prop_map(Value::from)];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z-]{1,10}", inner), 0..4).prop_map(|pairs| Value::from(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    });
    let mirrors = prop::option::of(prop::collection::vec("https?://[a-z]{1,8}(:[1-9][0-9]{2,3})?/?", 0..3));
    let key = "x-[a-z-]{1,10}"; // None that looks like one of ours.
    let all = (prop::collection::vec((key, value), 0..4), mirrors, 0_usize..4, prop_oneof![Just(""), Just("\n"), Just("\r\n")]);
    all.prop_map(|(pairs, mirrors, layout, end)| {
        let mut object: Map<String, Value> = pairs.into_iter().collect();
        object.extend(mirrors.map(|mirrors| ("registry-mirrors".to_owned(), Value::from(mirrors))));
        let value = Value::from(object);
        let text = match layout {
            0 => value.to_string(),
            1 => format!("{value:#}"),
            2 => format!("{value:#}").replace("  ", "\t"),
            _ => format!("{value:#}").replace('\n', "\r\n"),
        };
        text + end
    })
}

/// Valid ones, cut or with something behind.
fn broken() -> impl Strategy<Value = String> {
    (json_text(), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(text, at, cut)| {
        let text = text.trim_end().to_owned();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).filter(|at| *at > 0).collect();
        if cut { text[..places[at.index(places.len())]].to_owned() } else { text + "}" }
    })
}

const HOSTS: &str =
    "# theirs\nserver = \"https://registry-1.docker.io\"\n\n[host.\"https://theirs.example\"]\n  capabilities = [\"pull\"] # only that\n";
const BUILDKITD: &str = "debug = true\n\n[registry.\"docker.io\"]\n  mirrors = [\"theirs.example\"]\n";
const REGISTRIES: &str = "unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = \"theirs.example\"\n";
