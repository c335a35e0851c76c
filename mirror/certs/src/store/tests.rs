use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;

use super::*;
use crate::{KeyKind, Wish};

fn wish() -> Wish {
    let identifiers = ["mirror.test".parse().expect("a name")].into();
    Wish { directories: vec!["https://ca.test/directory".into()], identifiers, how: String::new(), key: KeyKind::P256, profile: None }
}

fn bundle() -> (Bundle, Facts) {
    let made = rcgen::generate_simple_self_signed(["mirror.test".to_owned()]).expect("made");
    let bundle = Bundle::join(&made.signing_key.serialize_pem(), &made.cert.pem()).expect("a pair");
    let facts = bundle.facts("https://ca.test/directory", &wish());
    (bundle, facts)
}

fn folder() -> (tempfile::TempDir, CertFolder) {
    let root = tempfile::tempdir().expect("a folder");
    let folder = Store::new(root.path()).certificate(&"mirror.test".parse().expect("a name"));
    (root, folder)
}

#[test]
fn what_root_writes_in_a_service_users_folder_is_the_users() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("certs");
    fs::create_dir(&home).expect("made");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("ours");
    let me = fs::metadata(&home).expect("made").uid();
    let user = if me == 0 { 4711 } else { me }; // Only root can give anything away.
    chown(&home, Some(user), Some(user)).or_else(|error| if me == 0 { Err(error) } else { Ok(()) }).expect("given");
    let store = Store::new(&home);
    let certificate = store.certificate(&"mirror".parse().expect("a name"));
    assert!(!certificate.is_attended().expect("read"));
    assert_eq!(walk(&home), Vec::<PathBuf>::new(), "a question makes nothing");
    certificate.ask("2026-06-01T00:00:00Z".parse().expect("a moment"), true).expect("asked");
    let list = home.join("issued.jsonl");
    files::append(&list, &1).expect("written");
    chown(&list, Some(me), Some(me)).expect("ours");
    if me == 0 {
        let told = files::check_writable(&list, user).expect_err("what root made is not the user's");
        assert!(Error::source(&told).expect("a cause").to_string().contains("chown"), "{told}");
    }
    files::append(&list, &2).expect("what was not given before is given now");
    files::check_writable(&list, user).expect("the user may write it");
    let made = walk(&home);
    assert!(made.len() >= 5, "{made:?}");
    for path in made {
        assert_eq!(fs::metadata(&path).expect("made").uid(), user, "{}", path.display());
    }
}

#[test]
fn what_is_put_into_somebodys_folder_is_theirs_alone_whoever_may_look_into_it() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let me = fs::metadata(folder.path()).expect("made").uid();
    let user = if me == 0 { 4711 } else { me }; // Only root can give anything away.
    chown(folder.path(), Some(user), Some(user)).or_else(|error| if me == 0 { Err(error) } else { Ok(()) }).expect("given");
    let key = folder.path().join("key.pem");
    for text in ["a key", "another key"] {
        put(&key, text.as_bytes()).expect("written");
        let file = fs::metadata(&key).expect("there");
        assert_eq!((file.uid(), file.mode() & 0o777, fs::read_to_string(&key).expect("there").as_str()), (user, 0o600, text));
    }
}

#[test]
fn the_last_one_stored_is_in_use_and_three_are_kept_to_go_back_to() {
    let (_root, folder) = folder();
    assert!(folder.current().expect("read").is_none());
    let stored: Vec<_> = (0..5).map(|_| bundle()).map(|(bundle, facts)| folder.publish(&bundle, &facts).expect("stored")).collect();
    let current = folder.current().expect("read").expect("one");
    assert_eq!((current.generation, current.bundle.serial()), (5, stored[4].bundle.serial()));
    assert_eq!(folder.generations().expect("listed"), [3, 4, 5]);
    folder.point_to(4).expect("rolled back");
    assert_eq!(folder.current().expect("read").expect("one").generation, 4);
}

#[test]
fn keys_are_for_our_eyes_only() {
    let (root, folder) = folder();
    let (bundle, facts) = bundle();
    folder.publish(&bundle, &facts).expect("stored");
    for entry in walk(root.path()) {
        let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, if entry.is_dir() { 0o700 } else { 0o600 }, "{}", entry.display());
    }
}

#[test]
fn a_damaged_one_is_passed_over_by_readers_and_put_aside_by_whoever_works_on_it() {
    let (root, folder) = folder();
    for _ in 0..2 {
        let (bundle, facts) = bundle();
        folder.publish(&bundle, &facts).expect("stored");
    }
    let newest = root.path().join("certs/mirror.test/gen-000002.pem");
    let whole = fs::read_to_string(&newest).expect("there");
    fs::write(&newest, &whole[..whole.len() / 2]).expect("damaged");
    assert_eq!(folder.current().expect("read").expect("one").generation, 1);
    let lock = folder.lock().expect("free");
    assert!(matches!(folder.tidy(), Err(StoreError::Locked(_))), "somebody else is at it");
    drop(lock);
    assert!(newest.exists(), "who reads only moves nothing");
    folder.tidy().expect("free");
    assert_eq!(folder.current().expect("read").expect("one").generation, 1);
    assert!(!newest.exists() && walk(root.path()).iter().any(|path| path.to_string_lossy().contains("gen-000002.pem.bad-")));
}

#[test]
fn garbage_in_any_document_is_an_error_until_it_is_put_aside() {
    let (root, folder) = folder();
    let (bundle, facts) = bundle();
    folder.publish(&bundle, &facts).expect("stored");
    for (file, text) in [("state.json", "{\"history\": {}}}"), ("pending.json", ""), ("current", "\u{0}\u{0}"), ("trial/pending.json", "[")]
    {
        let path = root.path().join("certs/mirror.test").join(file);
        files::write_text(&path, text).expect("written");
        let aside = || walk(root.path()).iter().any(|found| found.to_string_lossy().contains(&format!("{file}.bad-")));
        assert!(!aside() && folder.damage().expect("listed").len() == 1, "{file}");
        assert_eq!(folder.current().expect("read").expect("one").generation, 1, "there is one to serve all the time");
        folder.tidy().expect("free");
        assert!(aside() && !path.exists() && folder.damage().expect("listed").is_empty(), "{file}");
    }
    assert_eq!(folder.state().expect("read"), State::default());
    assert_eq!((folder.pending().expect("read"), folder.rehearsal().pending().expect("read")), (None, None));
}

/// `kill -9` after each of the writes that make a new one.
#[test]
fn a_crash_anywhere_in_storing_leaves_the_old_one_or_the_new_one() {
    let (root, folder) = folder();
    let ((old, old_facts), (new, new_facts)) = (bundle(), bundle());
    folder.publish(&old, &old_facts).expect("stored");
    let file = |name: &str| root.path().join("certs/mirror.test").join(name);
    let serial = || folder.current().expect("read").expect("one").bundle.serial().to_owned();
    let described = serde_json::to_string(&new_facts).expect("JSON");
    for (file_name, text) in [
        ("gen-000002.json.new", &described[..described.len() / 2]),
        ("gen-000002.json", &described),
        ("gen-000002.pem.new", &new.pem()[..new.pem().len() / 2]),
        ("gen-000002.pem", new.pem()),
        ("current.new", "{\"gener"),
    ] {
        fs::write(file(file_name), text).expect("written");
        assert_eq!(serial(), old.serial(), "after {file_name}");
    }
    fs::write(file("current"), "{\"generation\": 2}").expect("written");
    assert_eq!(serial(), new.serial());
    folder.publish(&bundle().0, &old_facts).expect("what was left is in nobody's way");
    assert_eq!(folder.current().expect("read").expect("one").generation, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_bytes_in_any_file_make_a_reader_panic_or_end_the_work(
        bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..64), "[{}\\[\\]\",:a-z0-9]{0,64}".prop_map(String::into_bytes)],
        cut in 0..400_usize,
    ) {
        let (root, folder) = folder();
        let (held, facts) = bundle();
        folder.publish(&held, &facts).expect("stored");
        let whole = |file: &str| fs::read(root.path().join("certs/mirror.test").join(file)).unwrap_or_default();
        let damaged = |whole: Vec<u8>| [&whole[..cut.min(whole.len())], &bytes].concat();
        for file in ["state.json", "pending.json", "current", "gen-000001.json", "gen-000001.pem"] {
            fs::write(root.path().join("certs/mirror.test").join(file), damaged(whole(file))).expect("written");
        }
        let account = Store::new(root.path()).account("https://ca.test/directory");
        let saved = Saved { credentials: serde_json::json!({ "id": "https://ca.test/account/1" }), directory: String::new() };
        account.save(&saved).expect("saved");
        let account_file = walk(root.path()).into_iter().find(|path| path.ends_with("account.json")).expect("it was saved");
        fs::write(&account_file, damaged(fs::read(&account_file).expect("there"))).expect("written");
        prop_assert!(folder.current().is_ok(), "who serves reads past it");
        folder.tidy().expect("free");
        let lock = account.lock().expect("free");
        prop_assert!(folder.state().is_ok() && folder.pending().is_ok() && account.load_or_put_aside(&lock).is_ok());
        prop_assert!(folder.publish(&held, &facts).is_ok(), "and a new one can be stored");
        prop_assert!(folder.current().expect("read").is_some_and(|current| current.bundle.serial() == held.serial()));
    }
}

/// A disk that is ill must not make us order certificates.
#[test]
fn what_cannot_be_read_is_not_taken_for_missing() {
    let (root, folder) = folder();
    let (bundle, facts) = bundle();
    folder.publish(&bundle, &facts).expect("stored");
    let file = root.path().join("certs/mirror.test/gen-000001.pem");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("a folder in its place cannot be read as a file, even by root");
    assert!(matches!(folder.current(), Err(StoreError::Io { doing: "read", .. })));
}

#[test]
fn one_process_works_on_a_certificate_at_a_time() {
    let (_root, folder) = folder();
    let lock = folder.lock().expect("free");
    assert!(matches!(folder.lock(), Err(StoreError::Locked(_))));
    drop(lock);
    folder.lock().expect("free again");
}

#[test]
fn names_become_safe_names_of_folders() {
    for (identifier, folder) in [("*.ci.test", "_.ci.test"), ("::1", "0--1"), ("10.0.0.7", "10.0.0.7")] {
        let name = CertName::from(&identifier.parse::<crate::Identifier>().expect("an identifier"));
        assert_eq!(name.as_str(), folder);
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
    }
    for text in ["", ".", "..", "a/b", "-x", "ä"] {
        assert!(text.parse::<CertName>().is_err(), "{text}");
    }
}

fn pending(order: Option<&str>) -> Pending {
    Pending {
        account: "https://ca.test/account/1".into(),
        csr: String::new(),
        directory: "https://ca.test/directory".into(),
        identifiers: wish().identifiers,
        key: "SECRET".into(),
        kind: KeyKind::P256,
        order: order.map(str::to_owned),
        profile: None,
        proofs: Proofs {
            alpn: [("10.0.0.7".parse().expect("an address"), "ab".to_owned())].into(),
            http: [("token".to_owned(), "token.print".to_owned())].into(),
        },
        records: Vec::new(),
        replaces: None,
    }
}

#[test]
fn any_process_answers_for_an_order_that_is_under_way_and_for_none_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::new(folder.path());
    let certificate = store.certificate(&"mirror".parse().expect("a name"));
    let proofs = || store.proofs().expect("read").0;
    assert_eq!(proofs(), Proofs::default(), "there is no order");
    certificate.save_pending(&pending(None)).expect("saved");
    assert_eq!(proofs(), Proofs::default(), "it is not placed yet");
    let placed = pending(Some("https://ca.test/order/1"));
    certificate.save_pending(&placed).expect("saved");
    assert_eq!(proofs(), placed.proofs);
    certificate.clear_pending().expect("removed");
    certificate.rehearsal().save_pending(&placed).expect("saved");
    assert_eq!(proofs(), placed.proofs, "a trial is looked at as well");
    let other = store.certificate(&"a.name.of.before".parse().expect("a name"));
    files::write_text(&other.folder.join(PENDING), "{").expect("written");
    let (found, unread) = store.proofs().expect("read");
    assert_eq!((found, unread.len()), (placed.proofs.clone(), 1), "a damaged one hides no other");
    certificate.rehearsal().clear_pending().expect("removed");
    assert_eq!(proofs(), Proofs::default(), "it is over");
}

#[test]
fn no_debug_shows_a_key() {
    let pending = pending(None);
    let saved = Saved { credentials: serde_json::json!({ "key_pkcs8": "SECRET" }), directory: String::new() };
    assert!(!format!("{pending:?}{saved:?}").contains("SECRET"));
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
