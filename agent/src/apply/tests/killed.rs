//! The same as in `crash`, with processes of their own that SIGKILL ends: that nothing cleans up as it unwinds is seen, and not only said.

use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, getpid, kill_process};

use super::fake::{Machine, Shape};
use crate::host::steps::crash_at;

/// `apply` or `undo`, the moment, the machine's folder: what a child is told.
const ORDER: &str = "CHANDLER_TEST_KILLED";

fn kill_myself() {
    kill_process(getpid(), Signal::KILL).expect("it is ours");
}

/// Does nothing unless `killed` started it.
#[test]
fn a_child_that_is_killed_at_a_moment() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (verb, rest) = order.split_once(' ').expect("an order");
    let (at, folder) = rest.split_once(' ').expect("an order");
    let machine = Machine::at(Path::new(folder));
    crash_at(at.parse().expect("a number"), kill_myself, || match verb {
        "apply" => machine.apply("ours"),
        _ => machine.undo(&Machine::all()),
    });
}

/// Whether the process got to its end before that moment.
fn killed(machine: &Machine, verb: &str, at: usize) -> bool {
    let mut child = Command::new(std::env::current_exe().expect("a path"));
    child.args(["--exact", "apply::tests::killed::a_child_that_is_killed_at_a_moment"]);
    let ended = child.env(ORDER, format!("{verb} {at} {}", machine.folder().display())).output().expect("it runs");
    let by_signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
    assert!(ended.status.success() || by_signal == Some(9), "{}", String::from_utf8_lossy(&ended.stdout));
    by_signal.is_some()
}

#[test]
fn a_killed_apply_and_a_killed_undo_lose_nothing() {
    let original = Machine::new(Shape::Link).files();
    let whole = Machine::new(Shape::Link);
    assert!(whole.apply("ours").is_success());
    let (mut at, mut going) = (0, [true, true]);
    while going != [false, false] {
        let machine = Machine::new(Shape::Link);
        if going[0] {
            going[0] = killed(&machine, "apply", at);
        }
        assert!(machine.apply("ours").is_success(), "apply, killed at {at}");
        assert_eq!((machine.files(), machine.reported()), (whole.files(), whole.reported()), "apply, killed at {at}");
        if going[1] {
            going[1] = killed(&machine, "undo", at);
        }
        assert!(machine.undo(&Machine::all()).is_success(), "undo, killed at {at}");
        assert_eq!((machine.files(), machine.state().len()), (original.clone(), 0), "undo, killed at {at}");
        at += 1;
    }
    assert!(at > 15, "{at}");
}
