//! `fake` is an engine and its files, simple enough to be right; `crash` breaks off at each moment, `killed` does so with SIGKILL, `sequences` does anything in any
//! order.

mod crash;
mod failing;
mod fake;
mod killed;
mod sequences;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;
use crate::engines::{Change, Engine, Plan, Step, Weight};
use crate::record::Record;

use self::fake::{CA, DAEMON, Machine, Shape};

#[test]
fn a_second_apply_does_nothing_at_all() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    let (files, state) = (machine.files(), machine.state());
    let again = machine.apply("ours");
    assert!(again.steps.iter().all(|outcome| matches!(outcome, Outcome::AlreadySo)), "{again:?}");
    assert_eq!((machine.files(), machine.state(), machine.reloads()), (files, state, 1));
}

#[test]
fn undo_brings_back_bytes_mode_owner_attributes_and_links_and_leaves_no_record() {
    for shape in Shape::ALL {
        let machine = Machine::new(shape);
        let before = machine.files();
        assert!(machine.apply("ours").is_success());
        assert_eq!(machine.reported(), machine.file_mirrors(), "{shape:?}");
        assert!(machine.reported().starts_with(&["ours".to_owned()]));
        assert!(machine.undo(&Machine::all()).is_success());
        assert_eq!(machine.files(), before, "{shape:?}");
        assert_eq!(machine.state(), Vec::<String>::new());
        assert!(!machine.reported().contains(&"ours".to_owned()), "an engine keeps what it no longer finds: {:?}", machine.reported());
    }
}

#[test]
fn another_wish_takes_the_first_ones_place_and_undo_still_knows_the_original() {
    let machine = Machine::new(Shape::File);
    let before = machine.files();
    assert!(machine.apply("ours").is_success() && machine.apply("ours-2").is_success());
    assert_eq!(machine.reported(), ["ours-2", "theirs"]);
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!((machine.files(), machine.reported()), (before, vec!["theirs".to_owned()]));
}

#[test]
fn undo_leaves_an_edited_file_alone_and_offers_the_smaller_change() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    machine.edit(|text| format!("{text}edit 1\n"));
    let before = machine.files();
    let undoing = machine.undo_plan(&Machine::all());
    assert!(undoing.plan.steps.is_empty() && undoing.ends.is_empty());
    let finding = undoing.plan.findings.first().expect("one");
    assert_eq!((finding.weight, finding.engine), (Weight::Blocks, Some(Engine::Docker)));
    assert_eq!(finding.what, "/etc/docker/daemon.json was edited since chandler changed it, and is left as it is");
    machine.undo(&Machine::all());
    assert_eq!(machine.files(), before);
    assert!(machine.undo(&Undo { keep_edits: true, ..Machine::all() }).is_success());
    assert_eq!(machine.text(DAEMON).as_deref(), Some("key 1\nmirror theirs\nedit 1\n"));
    assert_eq!((machine.text(CA), machine.state()), (None, Vec::new()));
}

#[test]
fn an_edit_that_is_applied_over_becomes_the_original() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    machine.edit(|text| format!("edit 1\n{text}"));
    assert!(machine.apply("ours-2").is_success());
    assert_eq!(machine.text(DAEMON).as_deref(), Some("mirror ours-2\nedit 1\nkey 1\nmirror theirs\n"));
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!(machine.text(DAEMON).as_deref(), Some("edit 1\nkey 1\nmirror theirs\n"));
}

#[test]
fn a_line_that_was_there_before_an_edit_and_comes_back_after_it_is_somebodys() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    machine.edit(|_| "edit 1\n".to_owned());
    assert!(machine.apply("ours").is_success());
    machine.edit(|text| text + "key 1\n");
    assert!(machine.undo(&Undo { keep_edits: true, ..Machine::all() }).is_success());
    assert_eq!(machine.text(DAEMON).as_deref(), Some("edit 1\nkey 1\n"));
}

#[test]
fn undo_says_that_a_machine_stays_on_a_mirror_that_was_there_before_and_takes_it_out_on_request() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    let undoing = machine.undo_plan(&Machine::all());
    let finding = undoing.plan.findings.first().expect("one");
    assert_eq!(finding.what, "/etc/docker/daemon.json named theirs before chandler changed it: Docker stays on that");
    assert_eq!(finding.weight, Weight::Warns);
    assert!(machine.undo(&Undo { clean: true, ..Machine::all() }).is_success());
    assert_eq!((machine.text(DAEMON).as_deref(), machine.reported().len()), (Some("key 1\n"), 0));
    assert_eq!(machine.state(), Vec::<String>::new());
}

#[test]
fn a_link_that_leads_elsewhere_by_now_is_an_edit() {
    let machine = Machine::new(Shape::Link);
    assert!(machine.apply("ours").is_success());
    let link = machine.root.on_disk(Path::new(DAEMON));
    let bytes = fs::read(&link).or_else(|_| fs::read(machine.root.on_disk(Path::new("/srv/daemon.json")))).expect("there");
    fs::remove_file(&link).expect("removed");
    fs::write(&link, bytes).expect("a file in the link's place, which reads the same");
    let finding = machine.undo_plan(&Machine::all()).plan.findings.remove(0);
    assert_eq!(
        finding.what,
        "/etc/docker/daemon.json leads to /etc/docker/daemon.json now, and to /srv/daemon.json when chandler changed it"
    );
}

#[test]
fn only_the_engines_that_were_asked_for_are_undone() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    let before = machine.files();
    assert_eq!(machine.undo_plan(&Undo { engines: vec![Engine::Podman], ..Machine::all() }), Undoing::default());
    machine.undo(&Undo { engines: vec![Engine::Podman], ..Machine::all() });
    assert_eq!(machine.files(), before);
}

#[test]
fn a_file_that_was_removed_comes_back_as_all_that_it_was() {
    let machine = Machine::new(Shape::File);
    let before = machine.files();
    let mut held = machine.open();
    let bytes = machine.text(DAEMON).map(String::into_bytes);
    let change = Change { engine: Engine::Docker, path: DAEMON.into(), before: bytes, after: None, mode: 0o644, secret: false };
    let plan = Plan { steps: vec![Step::Write(change)], findings: Vec::new() };
    let (mut engines, editor) = (machine.engines(), machine.editor());
    assert!(Executor::new(&mut held, &mut engines, &editor).apply(&plan).is_success());
    drop(held);
    assert_eq!(machine.text(DAEMON), None);
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!((machine.files(), machine.state().len()), (before, 0));
}

#[test]
fn a_mode_that_somebody_set_since_stays() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    let disk = machine.root.on_disk(Path::new(DAEMON));
    fs::set_permissions(&disk, fs::Permissions::from_mode(0o600)).expect("set");
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!(fs::metadata(&disk).expect("there").mode() & 0o777, 0o600);
    assert_eq!(machine.text(DAEMON).as_deref(), Some("key 1\nmirror theirs\n"));
}

#[test]
fn an_edit_that_cannot_be_understood_blocks_its_engine_and_nothing_is_touched() {
    let machine = Machine::new(Shape::File);
    assert!(machine.apply("ours").is_success());
    machine.edit(|text| text + fake::NONSENSE);
    let (before, state) = (machine.files(), machine.state());
    let undo = Undo { keep_edits: true, ..Machine::all() };
    let finding = machine.undo_plan(&undo).plan.findings.remove(0);
    assert_eq!(finding.what, "/etc/docker/daemon.json cannot be understood, so that nothing can be taken out of it: line 4 is nonsense");
    assert!(machine.undo(&undo).is_success(), "there is nothing to do");
    let mut held = machine.open();
    let before_edit = machine.text(DAEMON).map(String::into_bytes);
    let after = Some(b"whatever".to_vec());
    let change = Change { engine: Engine::Docker, path: DAEMON.into(), before: before_edit, after, mode: 0o644, secret: false };
    let plan = Plan { steps: vec![Step::Write(change)], findings: Vec::new() };
    let (mut engines, editor) = (machine.engines(), machine.editor());
    let report = Executor::new(&mut held, &mut engines, &editor).apply(&plan);
    drop(held);
    assert!(matches!(report.steps.as_slice(), [Outcome::Failed(ApplyError::Edited { .. })]), "{report:?}");
    assert_eq!((machine.files(), machine.state()), (before, state));
}

#[test]
fn an_unbooted_tree_is_undone_with_no_engine() {
    let machine = Machine::new(Shape::Absent).unbooted();
    let before = machine.files();
    assert!(machine.apply("ours").is_success());
    assert_eq!(machine.reloads(), 0);
    let undoing = machine.undo_plan(&Machine::all());
    assert_eq!(undoing.plan.steps.len(), 2, "no emptied file in between: {:?}", undoing.plan);
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!(machine.files(), before);
}

#[test]
fn a_plan_with_no_steps_leaves_no_trace() {
    let machine = Machine::new(Shape::File);
    let mut held = machine.open();
    let (mut engines, editor) = (machine.engines(), machine.editor());
    assert!(Executor::new(&mut held, &mut engines, &editor).apply(&Plan::default()).is_success());
    drop(held);
    assert_eq!(machine.state(), Vec::<String>::new());
    assert!(Record::read(&machine.root, Path::new(crate::record::STATE)).expect("read").entries().is_empty());
}
