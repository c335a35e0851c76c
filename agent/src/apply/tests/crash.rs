//! "A journal survives kill -9 between any two steps: the next run completes or rolls back."

use super::fake::{Machine, Shape};
use crate::host::steps::{crash_at, crash_points};

/// Whether `apply` was broken off at its moment `at`.
fn broken_apply(machine: &Machine, at: usize) -> bool {
    crash_at(at, || {}, || machine.apply("ours")).is_none()
}

fn broken_undo(machine: &Machine, at: usize) -> bool {
    crash_at(at, || {}, || machine.undo(&Machine::all())).is_none()
}

#[test]
fn an_apply_that_is_broken_off_anywhere_is_completed_by_the_next() {
    for shape in Shape::ALL {
        let whole = Machine::new(shape);
        let original = whole.files();
        let (report, moments) = crash_points(|| whole.apply("ours"));
        assert!(report.is_success() && moments.len() > 15, "{moments:?}");
        for (at, moment) in moments.iter().enumerate() {
            let machine = Machine::new(shape);
            assert!(broken_apply(&machine, at), "{shape:?}: {moment}");
            assert!(machine.apply("ours").is_success(), "{shape:?}: {moment}");
            assert_eq!((machine.files(), machine.reported()), (whole.files(), whole.reported()), "{shape:?}: {moment}");
            assert!(machine.undo(&Machine::all()).is_success(), "{shape:?}: {moment}");
            assert_eq!((machine.files(), machine.state().len()), (original.clone(), 0), "{shape:?}: {moment}");
        }
    }
}

#[test]
fn an_apply_that_is_broken_off_anywhere_is_undone_to_the_byte() {
    for shape in Shape::ALL {
        let (original, theirs) = (Machine::new(shape).files(), Machine::new(shape).reported());
        for at in 0.. {
            let machine = Machine::new(shape);
            let broken = broken_apply(&machine, at);
            assert!(machine.undo(&Machine::all()).is_success(), "{shape:?}: {at}");
            assert_eq!((machine.files(), machine.state().len()), (original.clone(), 0), "{shape:?}: {at}");
            assert_eq!(machine.reported(), theirs, "{shape:?}: {at}");
            if !broken {
                break;
            }
        }
    }
}

#[test]
fn an_undo_that_is_broken_off_anywhere_is_completed_by_the_next() {
    for shape in Shape::ALL {
        let (original, theirs) = (Machine::new(shape).files(), Machine::new(shape).reported());
        for at in 0.. {
            let machine = Machine::new(shape);
            assert!(machine.apply("ours").is_success());
            let broken = broken_undo(&machine, at);
            assert!(machine.undo(&Machine::all()).is_success(), "{shape:?}: {at}");
            assert_eq!((machine.files(), machine.state().len()), (original.clone(), 0), "{shape:?}: {at}");
            assert_eq!(machine.reported(), theirs, "{shape:?}: {at}");
            if !broken {
                break;
            }
        }
    }
}

#[test]
fn an_undo_that_is_broken_off_anywhere_can_be_turned_into_an_apply() {
    for shape in Shape::ALL {
        let original = Machine::new(shape).files();
        let whole = Machine::new(shape);
        assert!(whole.apply("ours").is_success());
        for at in 0.. {
            let machine = Machine::new(shape);
            assert!(machine.apply("ours").is_success());
            let broken = broken_undo(&machine, at);
            assert!(machine.apply("ours").is_success(), "{shape:?}: {at}");
            assert_eq!((machine.files(), machine.reported()), (whole.files(), whole.reported()), "{shape:?}: {at}");
            assert!(machine.undo(&Machine::all()).is_success(), "{shape:?}: {at}");
            assert_eq!((machine.files(), machine.state().len()), (original.clone(), 0), "{shape:?}: {at}");
            if !broken {
                break;
            }
        }
    }
}
