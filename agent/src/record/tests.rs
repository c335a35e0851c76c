use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::engines::Change;
use crate::host::{Found, Place};

const FOLDER: &str = STATE;
const DAEMON: &str = "/etc/docker/daemon.json";

struct Machine {
    _folder: tempfile::TempDir,
    root: Root,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::below(folder.path()).expect("there");
        Self { _folder: folder, root }
    }

    fn open(&self) -> Result<Held, RecordError> {
        Held::open(&self.root, Path::new(FOLDER))
    }

    fn read(&self) -> Result<Record, RecordError> {
        Record::read(&self.root, Path::new(FOLDER))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.root.on_disk(Path::new(FOLDER)).join(name)
    }

    fn intend(&self, held: &mut Held, path: &str, now: Option<&Found>, after: &[u8]) {
        let before = now.map(|found| found.bytes.clone());
        let change =
            Change { engine: Engine::Docker, path: path.into(), before, after: Some(after.to_owned()), mode: 0o644, secret: false };
        let place = self.root.resolve(Path::new(path)).expect("resolved");
        held.intend(&Intention { change: &change, place: &place, now, cleaned: None }).expect("written down");
    }

    /// With one entry, whose file is as it was.
    fn with_entry() -> Self {
        let machine = Self::new();
        machine.intend(&mut machine.open().expect("free"), DAEMON, Some(&found(b"original")), b"ours");
        machine
    }
}

fn found(bytes: &[u8]) -> Found {
    let nature = Nature { mode: 0o640, owner: 1, group: 2, attributes: BTreeMap::from([("user.note".to_owned(), vec![0, 255])]) };
    Found { bytes: bytes.to_owned(), nature, place: Place { real: DAEMON.into(), linked: false } }
}

#[test]
fn what_is_about_to_be_done_is_known_to_the_next_process() {
    let machine = Machine::with_entry();
    let record = machine.read().expect("read");
    let entry = record.entry(Path::new(DAEMON)).expect("known");
    assert_eq!((record.original(entry), record.ours(entry)), (Some(b"original".as_slice()), vec![b"ours".as_slice()]));
    assert_eq!(entry.original.nature(), Some(&found(b"").nature));
    assert_eq!(entry.folders, ["/etc", "/etc/docker"].map(PathBuf::from));
    for (now, standing) in [
        (Some(b"original".as_slice()), Standing::Original),
        (Some(b"ours"), Standing::Ours),
        (Some(b"theirs"), Standing::Edited),
        (None, Standing::Edited),
    ] {
        assert_eq!(record.standing(Path::new(DAEMON), Path::new(DAEMON), now), standing);
        assert_eq!(record.standing(Path::new(DAEMON), Path::new("/elsewhere"), now), Standing::Edited);
        assert_eq!(record.standing(Path::new("/other"), Path::new("/other"), now), Standing::Unknown);
    }
}

#[test]
fn once_an_edit_is_the_original_what_was_written_before_it_is_somebodys() {
    let machine = Machine::with_entry();
    let mut held = machine.open().expect("free");
    let edit = found(b"edit, ours");
    let change =
        Change { engine: Engine::Docker, path: DAEMON.into(), before: None, after: Some(b"new".to_vec()), mode: 0o644, secret: false };
    let intention = Intention { change: &change, place: &edit.place, now: Some(&edit), cleaned: Some(Some(b"edit")) };
    held.intend(&intention).expect("written down");
    let standing = |record: &Record, now: &[u8]| record.standing(Path::new(DAEMON), Path::new(DAEMON), Some(now));
    let known = |record: &Record| [b"edit".as_slice(), b"new", b"ours", b"original"].map(|now| standing(record, now));
    let expected = [Standing::Original, Standing::Ours, Standing::Edited, Standing::Edited];
    assert_eq!(known(&machine.read().expect("read")), expected);
    let entry = held.entry(Path::new(DAEMON)).expect("known");
    assert_eq!(held.ours(entry), [b"ours".as_slice(), b"new"], "by which it is told what of the edit is ours");
    held.settle(Path::new(DAEMON)).expect("written");
    let record = machine.read().expect("read");
    assert_eq!((known(&record), record.ours(&record.entries()[0])), (expected, vec![b"new".as_slice()]));
}

#[test]
fn the_record_and_what_it_keeps_are_for_our_eyes_only() {
    let machine = Machine::with_entry();
    for (name, mode) in [("", 0o700), ("contents", 0o700), ("record.json", 0o600)] {
        assert_eq!(fs::metadata(machine.state(name)).expect("there").mode() & 0o777, mode, "{name}");
    }
    for entry in fs::read_dir(machine.state("contents")).expect("there") {
        assert_eq!(entry.expect("there").metadata().expect("there").mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(machine.root.on_disk(Path::new("/var/lib"))).expect("made").mode() & 0o777, 0o755, "others live there too");
    assert!(!format!("{:?}", machine.read().expect("read")).contains("original\""), "contents may be keys");
}

#[test]
fn when_the_last_file_is_forgotten_nothing_is_left() {
    let machine = Machine::with_entry();
    let mut held = machine.open().expect("free");
    held.forget(Path::new(DAEMON)).expect("forgotten");
    held.tidy().expect("tidied");
    assert_eq!(fs::read_dir(machine.state("")).expect("there").count(), 0);
    machine.intend(&mut held, DAEMON, None, b"again");
    assert_eq!(machine.read().expect("read").entries().len(), 1);
}

#[test]
fn who_only_looks_makes_nothing() {
    let machine = Machine::new();
    assert!(machine.read().expect("read").entries().is_empty());
    assert_eq!(fs::read_dir(machine.root.on_disk(Path::new("/"))).expect("there").count(), 0);
}

#[test]
fn a_second_process_is_told_who_is_at_it() {
    let machine = Machine::new();
    let held = machine.open().expect("free");
    let error = machine.open().expect_err("held");
    let RecordError::Held { by, .. } = &error else { panic!("{error}") };
    assert!(by.starts_with(&format!("process {} (", std::process::id())), "{by}");
    assert!(machine.read().is_ok(), "whoever only looks is not kept out");
    drop(held);
    machine.open().expect("free again");
}

#[test]
fn a_damaged_or_newer_record_is_refused_and_stays_as_it_is() {
    let whole = fs::read_to_string(Machine::with_entry().state("record.json")).expect("there");
    for (text, newer) in [
        (String::new(), false),
        ("{}".to_owned(), false),
        ("null".to_owned(), false),
        (whole.replace("\"version\": 1", "\"version\": \"1\""), false),
        (whole.replace("\"version\": 1", "\"version\": 0"), false),
        (whole.replace("\"version\": 1", "\"version\": 2, \"more\": []"), true),
        (whole.replace("\"docker\"", "\"dokcer\""), false),
        (whole.replace("\"original\": {", "\"origin\": {"), false),
        (whole.replace("\"0640\"", "\"0990\""), false),
        (whole.replace("sha256:", "sha256:00"), false),
    ] {
        let machine = Machine::with_entry();
        fs::write(machine.state("record.json"), &text).expect("written");
        for error in [machine.open().err(), machine.read().err()] {
            let error = error.unwrap_or_else(|| panic!("taken: {text}"));
            let right =
                if newer { matches!(error, RecordError::Newer { version: 2, .. }) } else { matches!(error, RecordError::Damaged { .. }) };
            assert!(right, "{error}");
        }
        assert_eq!(fs::read_to_string(machine.state("record.json")).expect("there"), text);
        assert_eq!(fs::read_dir(machine.state("contents")).expect("there").count(), 2);
    }
}

#[test]
fn a_record_whose_parts_are_gone_or_changed_is_damaged_and_not_empty() {
    for spoil in [
        (|machine| fs::remove_file(machine.state("record.json"))) as fn(&Machine) -> std::io::Result<()>,
        |machine| fs::remove_dir_all(machine.state("contents")),
        |machine| {
            let first = fs::read_dir(machine.state("contents"))?.next().expect("one")?.path();
            fs::write(first, "something else")
        },
    ] {
        let machine = Machine::with_entry();
        spoil(&machine).expect("spoilt");
        assert!(matches!(machine.open(), Err(RecordError::Damaged { .. })));
    }
}

#[test]
fn folders_go_with_the_last_file_that_is_in_them() {
    let machine = Machine::new();
    let mut held = machine.open().expect("free");
    for path in ["/etc/docker/certs.d/m/ca.crt", "/etc/docker/daemon.json"] {
        machine.intend(&mut held, path, None, b"ours");
        let disk = machine.root.on_disk(Path::new(path));
        fs::create_dir_all(disk.parent().expect("one")).expect("made");
        fs::write(disk, "ours").expect("written");
    }
    for (path, left) in [("/etc/docker/certs.d/m/ca.crt", "/etc/docker"), ("/etc/docker/daemon.json", "/")] {
        fs::remove_file(machine.root.on_disk(Path::new(path))).expect("removed");
        held.forget(Path::new(path)).expect("forgotten");
        let gone = ["/etc/docker/certs.d/m", "/etc/docker/certs.d", "/etc/docker", "/etc"].into_iter().find(|one| !gone(&machine, one));
        assert_eq!(gone.unwrap_or("/"), left);
    }
}

fn gone(machine: &Machine, path: &str) -> bool {
    !machine.root.on_disk(Path::new(path)).exists()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn no_part_of_a_record_and_no_garbage_is_taken_for_a_record(cut in 0_usize..2000, garbage in "[\\[\\]{}\",:a-z0-9]{0,24}") {
        let machine = Machine::with_entry();
        let path = machine.state("record.json");
        let whole = fs::read_to_string(&path).expect("there");
        let text = format!("{}{garbage}", &whole[..cut % (whole.trim_end().len() - 1)]);
        fs::write(&path, &text).expect("written");
        match machine.read() {
            // Garbage may happen to end it as it was, or as one with no entries.
            Ok(record) => {
                let form: serde_json::Value = serde_json::from_str(&text).expect("nothing but JSON is read");
                prop_assert_eq!(form["entries"].as_array().map(Vec::len), Some(record.entries().len()));
            }
            Err(error) => prop_assert!(matches!(error, RecordError::Damaged { .. } | RecordError::Newer { .. }), "{error}"),
        }
    }

    #[test]
    fn whatever_a_file_was_is_read_back(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        mode in 0_u32..0o10000, owner in any::<u32>(),
        attributes in prop::collection::btree_map("[a-z]{1,8}\\.[^\0]{1,8}", prop::collection::vec(any::<u8>(), 0..16), 0..4),
    ) {
        let machine = Machine::new();
        let before = Found { nature: Nature { mode, owner, group: owner, attributes }, ..found(&bytes) };
        machine.intend(&mut machine.open().expect("free"), DAEMON, Some(&before), b"ours");
        let record = machine.read().expect("read");
        let entry = record.entry(Path::new(DAEMON)).expect("known");
        prop_assert_eq!(record.original(entry), Some(bytes.as_slice()));
        prop_assert_eq!(entry.original.nature(), Some(&before.nature));
    }
}
