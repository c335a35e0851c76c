//! Applies, edits of others, crashes and undos in any order: no edit is ever lost, and no half file is ever left.

use proptest::prelude::*;

use super::fake::{CA, DAEMON, Machine, Shape};
use crate::apply::Undo;
use crate::host::steps::crash_at;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Apply {
        mirror: u8,
        crash: Option<u8>,
    },
    Undo {
        keep_edits: bool,
        crash: Option<u8>,
    },
    /// A line more, at the end or the beginning.
    Edit {
        at_the_end: bool,
    },
    /// The file anew, with nothing of ours.
    Replace,
    Remove,
    /// The engine is started again, and reads its file.
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let crash = || prop::option::of(0_u8..60);
    let deed = prop_oneof![
        4 => (0_u8..3, crash()).prop_map(|(mirror, crash)| Deed::Apply { mirror, crash }),
        4 => (any::<bool>(), crash()).prop_map(|(keep_edits, crash)| Deed::Undo { keep_edits, crash }),
        2 => any::<bool>().prop_map(|at_the_end| Deed::Edit { at_the_end }),
        1 => Just(Deed::Replace),
        1 => Just(Deed::Remove),
        1 => Just(Deed::Restart),
    ];
    prop::collection::vec(deed, 1..12)
}

/// The lines of the file that are not ours.
fn foreign(machine: &Machine) -> Vec<String> {
    let text = machine.text(DAEMON).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("mirror ours") && *line != "mirror -").map(str::to_owned).collect()
}

fn with_crash<T>(crash: Option<u8>, work: impl FnOnce() -> T) -> Option<T> {
    match crash {
        Some(at) => crash_at(usize::from(at), || {}, work),
        None => Some(work()),
    }
}

/// What the machine is like after a deed, but for what is ours.
fn act(machine: &Machine, number: usize, deed: Deed) {
    match deed {
        Deed::Apply { mirror, crash } => {
            if let Some(report) = with_crash(crash, || machine.apply(&format!("ours-{mirror}"))) {
                assert!(report.is_success(), "{report:?}");
                assert_eq!(machine.reported(), machine.file_mirrors());
                assert_eq!(machine.reported().first(), Some(&format!("ours-{mirror}")));
            }
        }
        Deed::Undo { keep_edits, crash } => {
            let undo = Undo { keep_edits, ..Machine::all() };
            if let Some(report) = with_crash(crash, || machine.undo(&undo)) {
                assert!(report.is_success(), "{report:?}");
            }
        }
        Deed::Edit { at_the_end: true } => machine.edit(|text| {
            let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{end}edit {number}\n")
        }),
        Deed::Edit { at_the_end: false } => machine.edit(|text| format!("edit {number}\n{text}")),
        Deed::Replace => machine.edit(|_| format!("edit {number}\n")),
        Deed::Remove => machine.remove(),
        Deed::Restart => machine.engines().restart(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn no_edit_is_ever_lost_and_no_half_file_is_ever_left(shape in prop::sample::select(Shape::ALL.to_vec()), deeds in deeds()) {
        let machine = Machine::new(shape);
        let (original, mut touched) = (machine.files(), false);
        for (number, deed) in deeds.into_iter().enumerate() {
            let before = foreign(&machine);
            act(&machine, number, deed);
            if matches!(deed, Deed::Apply { .. } | Deed::Undo { .. }) {
                prop_assert_eq!(foreign(&machine), before, "{:?}", deed);
            } else {
                touched |= !matches!(deed, Deed::Restart);
            }
        }
        let edited = foreign(&machine);
        // Whatever happened, one word takes the machine out.
        let report = machine.undo(&Undo { keep_edits: true, ..Machine::all() });
        prop_assert!(report.is_success(), "{:?}", report);
        prop_assert_eq!(foreign(&machine), edited);
        prop_assert_eq!(machine.state(), Vec::<String>::new());
        prop_assert!(machine.text(CA).is_none() && !machine.file_mirrors().iter().any(|mirror| mirror.starts_with("ours")));
        let files = machine.files();
        prop_assert!(!files.keys().any(|path| path.to_string_lossy().contains("chandler-new")), "{:?}", files);
        if !touched {
            prop_assert_eq!(files, original);
        }
    }
}
