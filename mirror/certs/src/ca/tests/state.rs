//! The CA's files: after crashes, in wrong hands, and damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

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

#[test]
fn all_that_a_ca_keeps_is_for_our_eyes_only() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let issued = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    ca.revoke_serial(&issued.content.serial, Cause::Unspecified, fixture.now).expect("ours");
    assert_eq!(walk(&fixture.folder()).len(), 8, "keys and two of them, ca.json, issued.jsonl, revoked.json, crl.pem, lock");
    for path in walk(&fixture.folder()) {
        let mode = path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
    let out = fixture.root.path().join("out");
    let pair = output::write_pair(&out, &issued).expect("written");
    assert_eq!(pair.map(|path| path.metadata().expect("there").permissions().mode() & 0o777), [0o644, 0o600]);
    assert!(!format!("{ca:?}{issued:?}").contains("PRIVATE"));
}

#[test]
fn a_second_ca_is_not_made_over_the_first_and_a_damaged_one_is_not_passed_over() {
    let fixture = Fixture::new();
    assert!(matches!(Ca::open(&fixture.folder()), Err(CaError::Missing(_))));
    assert!(!fixture.folder().exists(), "to look is not to make");
    drop(fixture.found(&founding(&["ci.test"])));
    let again = || Ca::found(&fixture.folder(), &founding(&["ci.test"]), fixture.now);
    assert!(matches!(again(), Err(CaError::Exists(_))));
    let document = fixture.folder().join("ca.json");
    let whole = fs::read_to_string(&document).expect("there");
    for damaged in [whole[..whole.len() / 2].to_owned(), String::new(), whole.replace("\"version\": 1", "\"version\": 2")] {
        fs::write(&document, &damaged).expect("ours");
        assert!(matches!(again(), Err(CaError::Store(StoreError::Damaged { .. }))));
        assert!(matches!(Ca::open(&fixture.folder()), Err(CaError::Store(StoreError::Damaged { .. }))));
        assert_eq!(fs::read_to_string(&document).expect("it stays where it is"), damaged);
    }
}

#[test]
fn one_process_works_on_it_at_a_time() {
    let fixture = Fixture::new();
    let ca = fixture.found(&founding(&["ci.test"]));
    assert!(matches!(Ca::open(&fixture.folder()), Err(CaError::Store(StoreError::Locked(_)))));
    drop(ca);
    fixture.open();
}

/// Each write of a rotation that is its last: keys without the document that names them, the document without the list.
#[test]
fn a_crash_leaves_the_ca_as_it_was_or_as_it_was_to_be() {
    let fixture = Fixture::new();
    let ca = fixture.found(&founding(&["ci.test"]));
    let roots = trust(&ca.anchors(fixture.now).expect("read"));
    let before = ca.issuer().expect("one");
    ca.folder.save_key(&SecretKey::for_ca(CaKey::P256).expect("a key")).expect("written");
    fs::write(fixture.folder().join("ca.json.new"), "{\"vers").expect("ours");
    drop(ca);
    let mut ca = fixture.open();
    assert_eq!(ca.issuer().expect("one"), before);
    ca.rotate(None, None, fixture.now).expect("what a crash left does not stand in the way");
    fs::remove_file(ca.signed_list()).expect("there");
    drop(ca);
    let mut ca = fixture.open();
    assert_ne!(ca.issuer().expect("one"), before);
    let issued = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    assert_eq!(connect(&issued, &roots, "a.ci.test"), Ok(()));
    ca.revoke_serial(&issued.content.serial, Cause::Unspecified, fixture.now).expect("the list is made again");
    assert!(ca.signed_list().exists());
}

#[test]
fn half_a_line_in_the_list_of_what_was_issued_hides_no_other() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let issue = |ca: &Ca| ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let first = issue(&ca);
    let list = fixture.folder().join("issued.jsonl");
    let mut text = fs::read_to_string(&list).expect("there");
    text.push_str("{\"at\": \"2026-");
    fs::write(&list, text).expect("ours");
    let second = issue(&ca);
    for issued in [first, second] {
        assert!(ca.revoke_serial(&issued.content.serial, Cause::Unspecified, fixture.now).expect("it is found").is_new);
    }
}

#[test]
fn a_root_key_that_is_kept_elsewhere_is_asked_for_and_checked() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let path = ca.root_key().expect("it is here");
    let kept = SecretKey::parse(&fs::read_to_string(&path).expect("there")).expect("a key");
    fs::remove_file(&path).expect("taken away");
    assert!(matches!(ca.rotate(None, None, fixture.now), Err(CaError::KeyAway { path: asked, .. }) if asked == path));
    let wrong = SecretKey::for_ca(CaKey::P256).expect("a key");
    assert!(matches!(ca.rotate(None, Some(&wrong), fixture.now), Err(CaError::WrongKey(_))));
    ca.rotate(None, Some(&kept), fixture.now).expect("it is the one");
    assert!(!path.exists() && ca.root_key().is_none(), "and not kept");
    assert!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).is_ok(), "issuing needs no root");
}
