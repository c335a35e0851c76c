//! What becomes of a machine when a step fails.

use std::fs;
use std::path::Path;

use super::fake::{CA, DAEMON, Machine, Shape};
use crate::apply::*;
use crate::engines::{Change, Engine, Step};
use crate::host::HostError;

#[test]
fn an_engine_that_does_not_take_its_mirrors_gets_its_files_back() {
    for shape in Shape::ALL {
        let machine = Machine::new(shape);
        let (before, theirs) = (machine.files(), machine.reported());
        let mut engines = machine.engines();
        engines.refuses = Some("ours".to_owned());
        let report = machine.apply_with("ours", &mut engines);
        let [Outcome::PutBack, Outcome::PutBack, Outcome::Failed(error)] = report.steps.as_slice() else { panic!("{report:?}") };
        assert_eq!(error.to_string(), "Docker is left as it was: its files are put back, and it was reloaded with them");
        let ApplyError::PutBack { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().starts_with("Docker was told to reload, and reports "), "{source}");
        assert_eq!((machine.files(), machine.reported(), machine.state().len()), (before, theirs, 0), "{shape:?}");
    }
}

#[test]
fn an_engine_that_took_half_of_it_lets_go_of_that_too() {
    let machine = Machine::new(Shape::Bare);
    let before = machine.files();
    let mut held = machine.open();
    let editor = machine.editor();
    let mut plan = machine.plan(&held, &editor, "ours");
    let Some(Step::Reload(reload)) = plan.steps.last_mut() else { panic!("{plan:?}") };
    reload.mirrors.push("another".to_owned()); // It will never report that.
    let report = Executor::new(&mut held, &mut machine.engines(), &editor).apply(&plan);
    drop(held);
    assert!(matches!(report.steps.last(), Some(Outcome::Failed(ApplyError::PutBack { reloaded: true, .. }))), "{report:?}");
    assert_eq!((machine.files(), machine.reported().len(), machine.state().len()), (before, 0, 0));
}

#[test]
fn an_engine_that_does_not_answer_is_not_told_and_its_files_are_put_back() {
    let machine = Machine::new(Shape::File);
    let before = machine.files();
    let mut engines = machine.engines();
    engines.deaf = true;
    let report = machine.apply_with("ours", &mut engines);
    let Some(Outcome::Failed(ApplyError::PutBack { reloaded: false, source, .. })) = report.steps.last() else { panic!("{report:?}") };
    assert_eq!(source.to_string(), "cannot ask Docker");
    assert_eq!((machine.files(), machine.reloads(), machine.state().len()), (before, 0, 0));
}

#[test]
fn a_file_that_somebody_changes_between_plan_and_apply_stops_its_engine() {
    let machine = Machine::new(Shape::File);
    let mut held = machine.open();
    let editor = machine.editor();
    let plan = machine.plan(&held, &editor, "ours");
    machine.edit(|text| format!("{text}edit 1\n"));
    let before = machine.files();
    let report = Executor::new(&mut held, &mut machine.engines(), &editor).apply(&plan);
    drop(held);
    let [Outcome::PutBack, Outcome::Failed(error), Outcome::NotTried] = report.steps.as_slice() else { panic!("{report:?}") };
    let ApplyError::PutBack { reloaded: false, source, .. } = error else { panic!("{error}") };
    assert!(matches!(&**source, ApplyError::Host(HostError::Changed(path)) if path == Path::new(DAEMON)), "{source}");
    assert_eq!((machine.files(), machine.state().len(), machine.text(CA)), (before, 0, None));
}

#[test]
fn an_undo_that_fails_leaves_the_engine_behind_the_mirror_and_the_record_whole() {
    let machine = Machine::new(Shape::Bare);
    assert!(machine.apply("ours").is_success());
    let (before, entries) = (machine.files(), machine.state());
    let mut engines = machine.engines();
    engines.deaf = true;
    assert!(!machine.undo_with(&Machine::all(), &mut engines).is_success());
    assert_eq!(machine.files(), before);
    assert_eq!(machine.state().first(), entries.first());
    assert!(machine.undo(&Machine::all()).is_success());
    assert_eq!((machine.text(DAEMON).as_deref(), machine.state().len()), (Some("key 1"), 0));
}

#[test]
fn a_folder_where_the_file_should_be_is_named_and_nothing_is_left() {
    let machine = Machine::new(Shape::File);
    let mut held = machine.open();
    let editor = machine.editor();
    let plan = machine.plan(&held, &editor, "ours");
    fs::create_dir_all(machine.root.on_disk(Path::new(CA))).expect("an engine makes such folders");
    let before = machine.files();
    let report = Executor::new(&mut held, &mut machine.engines(), &editor).apply(&plan);
    drop(held);
    let Some(Outcome::Failed(error)) = report.steps.first() else { panic!("{report:?}") };
    assert_eq!(error.to_string(), "/etc/docker/certs.d/mirror/ca.crt is a folder, where a file was expected");
    assert_eq!((machine.files(), machine.state().len()), (before, 0));
}

#[test]
fn a_write_that_fails_half_way_leaves_no_folder_and_no_entry() {
    let machine = Machine::new(Shape::File);
    let before = machine.files();
    let mut held = machine.open();
    let editor = machine.editor();
    let mut plan = machine.plan(&held, &editor, "ours");
    let Some(Step::Write(change)) = plan.steps.first_mut() else { panic!("{plan:?}") };
    change.path = Path::new("/etc/new/folder").join("x".repeat(250)); // Its passing name is too long.
    let report = Executor::new(&mut held, &mut machine.engines(), &editor).apply(&plan);
    drop(held);
    let [Outcome::Failed(ApplyError::Host(error)), Outcome::NotTried, Outcome::NotTried] = report.steps.as_slice() else {
        panic!("{report:?}")
    };
    assert!(error.to_string().starts_with("cannot write /etc/new/folder/xxx"), "{error}");
    assert_eq!((machine.files(), machine.state().len()), (before, 0));
}

#[test]
fn an_engine_that_fails_stops_no_other() {
    let machine = Machine::new(Shape::Bare);
    let mut held = machine.open();
    let editor = machine.editor();
    let mut plan = machine.plan(&held, &editor, "ours");
    let path = Path::new("/etc/containers/registries.conf.d/mirror.conf");
    let change = Change { engine: Engine::Podman, path: path.into(), before: None, after: Some(b"x".to_vec()), mode: 0o644, secret: false };
    plan.steps.insert(1, Step::Write(change));
    let mut engines = machine.engines();
    engines.refuses = Some("ours".to_owned());
    let report = Executor::new(&mut held, &mut engines, &editor).apply(&plan);
    drop(held);
    let right = matches!(report.steps.as_slice(), [Outcome::PutBack, Outcome::Done, Outcome::PutBack, Outcome::Failed(_)]);
    assert!(right, "{report:?}");
    assert_eq!((machine.text(DAEMON).as_deref(), machine.text(path.to_str().expect("text")).as_deref()), (Some("key 1"), Some("x")));
    assert!(machine.undo(&Undo { engines: vec![Engine::Podman], ..Machine::all() }).is_success());
    assert!(!machine.root.on_disk(Path::new("/etc/containers")).exists());
}
