//! Applies, edits of others, crashes and undos in any order: no edit is ever lost, and no half file is ever left.

use proptest::prelude::*;

use super::fake::{CA, DAEMON, Machine, Shape};
use crate::apply::Undo;
use crate::host::steps::crash_at;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// By an engine that takes it, or does not.
    Apply {
        mirror: u8,
        refused: bool,
        crash: Option<u8>,
    },
    Undo {
        keep_edits: bool,
        clean: bool,
        crash: Option<u8>,
    },
    /// A line more, at the end or the beginning.
    Edit {
        at_the_end: bool,
    },
    /// A line more in the other file.
    EditCa,
    /// The file anew, with nothing of ours.
    Replace,
    Remove,
    /// The engine is started again, and reads its file.
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let crash = || prop::option::of(0_u8..60);
    let deed = prop_oneof![
        4 => (0_u8..3, prop::bool::weighted(0.2), crash()).prop_map(|(mirror, refused, crash)| Deed::Apply { mirror, refused, crash }),
        4 => (any::<bool>(), prop::bool::weighted(0.2), crash())
            .prop_map(|(keep_edits, clean, crash)| Deed::Undo { keep_edits, clean, crash }),
        2 => any::<bool>().prop_map(|at_the_end| Deed::Edit { at_the_end }),
        1 => Just(Deed::EditCa),
        1 => Just(Deed::Replace),
        1 => Just(Deed::Remove),
        1 => Just(Deed::Restart),
    ];
    prop::collection::vec(deed, 1..12)
}

/// The lines of both files that are not ours.
fn foreign(machine: &Machine) -> Vec<String> {
    let text = machine.text(DAEMON).unwrap_or_default() + "\n" + &machine.text(CA).unwrap_or_default();
    let ours = |line: &str| line.is_empty() || line.starts_with("mirror ours") || line == "mirror -" || line.starts_with("the CA of ours");
    text.lines().filter(|line| !ours(line)).map(str::to_owned).collect()
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
        Deed::Apply { mirror, refused, crash } => {
            let mirror = format!("ours-{mirror}");
            let mut engines = machine.engines();
            engines.refuses = refused.then(|| mirror.clone());
            if let Some(report) = with_crash(crash, || machine.apply_with(&mirror, &mut engines))
                && !refused
            {
                assert!(report.is_success(), "{report:?}");
                assert_eq!(machine.reported(), machine.file_mirrors());
                assert_eq!(machine.reported().first(), Some(&mirror));
            }
        }
        Deed::Undo { keep_edits, clean, crash } => {
            let undo = Undo { keep_edits, clean, ..Machine::all() };
            if let Some(report) = with_crash(crash, || machine.undo(&undo)) {
                assert!(report.is_success(), "{report:?}");
            }
        }
        Deed::EditCa => machine.edit_file(CA, |text| format!("{text}edit {number}\n")),
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
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn no_edit_is_ever_lost_and_no_half_file_is_ever_left(shape in prop::sample::select(Shape::ALL.to_vec()), deeds in deeds()) {
        let machine = Machine::new(shape);
        let (original, mut touched, mut cleaned) = (machine.files(), false, false);
        // One that takes every mirror out and is broken off may be followed by one that brings the originals back.
        let seen = |cleaned: bool| foreign(&machine).into_iter().filter(|line| !cleaned || !line.starts_with("mirror ")).collect::<Vec<_>>();
        for (number, deed) in deeds.into_iter().enumerate() {
            cleaned |= matches!(deed, Deed::Undo { clean: true, .. });
            let before = seen(cleaned);
            act(&machine, number, deed);
            match deed {
                Deed::Apply { .. } | Deed::Undo { .. } => prop_assert_eq!(seen(cleaned), before, "{:?}", deed),
                Deed::Restart => {}
                _ => touched = true,
            }
        }
        let edited = seen(cleaned);
        // Whatever happened, one word takes the machine out.
        let report = machine.undo(&Undo { keep_edits: true, ..Machine::all() });
        prop_assert!(report.is_success(), "{:?}", report);
        prop_assert_eq!(seen(cleaned), edited);
        prop_assert_eq!(machine.state(), Vec::<String>::new());
        prop_assert!(!machine.text(CA).unwrap_or_default().contains("ours"));
        prop_assert!(!machine.file_mirrors().iter().chain(&machine.reported()).any(|mirror| mirror.starts_with("ours")));
        let files = machine.files();
        prop_assert!(!files.keys().any(|path| path.to_string_lossy().contains("chandler-new")), "{:?}", files);
        if !touched && !cleaned {
            prop_assert_eq!(files, original);
        }
    }
}
