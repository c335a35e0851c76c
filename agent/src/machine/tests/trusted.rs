//! The system's store: a file of ours, the tool that makes a bundle of all files, and what a killed run leaves of the two.

use certs::ca::{Authority, Ca, CaKey, Founding, Permit};
use certs::{Clock as _, SystemClock};

use super::*;
use crate::engines::{Rebuild, Step};
use crate::host::steps::{crash_at, crash_points};

/// A tree with Debian's store, and a CA of somebody's in it.
struct Store {
    tree: Tree,
    wish: Wish,
}

/// As the real one: all files, one after another.
struct Tool {
    fails: bool,
}

impl Engines for Tool {
    fn reported(&mut self, engine: Engine, _: &Daemon) -> Result<Reported, Fault> {
        panic!("nobody asks {engine} of a tree")
    }

    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        panic!("nobody reloads {} of a tree", reload.engine)
    }

    fn rebuild(&mut self, root: &Root, rebuild: &Rebuild) -> Result<(), Fault> {
        if self.fails && !rebuild.holds.is_empty() {
            return Err("no room".into());
        }
        let mut bundle = Vec::new();
        for name in root.list(Path::new(FOLDER))?.unwrap_or_default() {
            bundle.extend(root.read(&Path::new(FOLDER).join(name))?.expect("listed").bytes);
        }
        fs::write(root.on_disk(&rebuild.bundle), bundle)?;
        Ok(())
    }
}

impl Store {
    fn new() -> Self {
        let tree = Tree::with(&[
            ("usr/sbin/update-ca-certificates", ""),
            ("usr/local/share/ca-certificates/theirs.crt", THEIRS),
            ("etc/ssl/certs/ca-certificates.crt", THEIRS),
        ]);
        Self { tree, wish: Wish { anchors: Some(ca()), ..wish(&[]) } }
    }

    fn machine(&self) -> Machine {
        let asker = Asker { uid: 0, home: "/root".into() };
        let root = self.tree.root();
        let look = Machine::look(&root, &asker, &self.wish, &[Engine::System]);
        self.tree.runtime.block_on(look).expect("it can be looked at")
    }

    fn draft(&self) -> Draft {
        let record = Record::read(&self.tree.root(), Path::new(STATE)).expect("a record");
        draft(&self.machine(), &[Engine::System], &self.wish, &record).expect("a plan")
    }

    fn apply(&self, fails: bool) -> bool {
        let mut record = Held::open(&self.tree.root(), Path::new(STATE)).expect("a record");
        let machine = self.machine();
        let draft = draft(&machine, &[Engine::System], &self.wish, &record).expect("a plan");
        let mut tool = Tool { fails };
        let (done, _, cleared) = draft.carry_out(&mut Executor::new(&mut record, &mut tool, &machine));
        done.is_success() && cleared.is_success()
    }

    fn undo(&self) {
        let mut record = Held::open(&self.tree.root(), Path::new(STATE)).expect("a record");
        let machine = self.machine();
        let undo = Undo { engines: Engine::RECORDED.to_vec(), keep_edits: false, clean: false };
        let undoing = undo_plan(&record, &machine, &undo).expect("a way back");
        let report = Executor::new(&mut record, &mut Tool { fails: false }, &machine).undo(&undoing);
        assert!(report.is_success(), "{report:?}");
    }

    fn bundle(&self) -> String {
        fs::read_to_string(self.tree.folder.path().join("etc/ssl/certs/ca-certificates.crt")).expect("it is there")
    }

    fn is_trusted(&self) -> bool {
        self.bundle().contains(self.wish.anchors.as_deref().expect("one is wished for").trim())
    }
}

fn ca() -> String {
    let folder = TempDir::new().expect("a folder");
    let permits = ["mirror.test".parse::<Permit>().expect("a name")].into_iter().collect();
    let founding = Founding { key: CaKey::P256, name: "site".to_owned(), organization: None, permits };
    let now = SystemClock.now();
    let ca = Ca::found(&folder.path().join("ca"), &founding, now).expect("founded");
    ca.anchors(now).expect("it has a root").iter().map(Authority::pem).collect()
}

#[test]
fn killed_at_any_step_it_is_completed_by_the_next_run_and_undone_to_the_byte() {
    let points = crash_points(|| Store::new().apply(false)).1.len();
    for at in 0..points {
        let store = Store::new();
        let before = store.tree.files();
        assert_eq!(crash_at(at, || {}, || store.apply(false)), None, "{at}");
        assert!(store.apply(false) && store.is_trusted(), "{at}");
        assert!(store.draft().is_empty(), "{at}: a third run does nothing");
        store.undo();
        assert_eq!(store.tree.files(), before, "{at}");
    }
}

#[test]
fn undo_that_is_killed_at_any_step_is_completed_by_the_next() {
    let store = Store::new();
    store.apply(false);
    let points = crash_points(|| store.undo()).1.len();
    for at in 0..points {
        let store = Store::new();
        let before = store.tree.files();
        store.apply(false);
        let ended = crash_at(at, || {}, || store.undo());
        assert_eq!(ended, None, "{at}");
        store.undo();
        assert_eq!(store.tree.files(), before, "{at}");
    }
}

#[test]
fn where_the_tool_fails_nothing_is_left_and_nothing_is_trusted() {
    let store = Store::new();
    let before = store.tree.files();
    assert!(!store.apply(true));
    assert_eq!(store.tree.files(), before);
    assert!(store.draft().plan.steps.iter().any(|step| matches!(step, Step::Rebuild(_))), "it is still to be done");
}

#[test]
fn another_ca_takes_the_first_ones_place() {
    let mut store = Store::new();
    let before = store.tree.files();
    store.apply(false);
    let first = store.wish.anchors.replace(ca()).expect("there was one");
    assert!(store.apply(false) && store.is_trusted() && !store.bundle().contains(first.trim()), "{}", store.bundle());
    store.undo();
    assert_eq!(store.tree.files(), before);
}

const FOLDER: &str = "/usr/local/share/ca-certificates";
const THEIRS: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
