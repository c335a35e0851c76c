//! Whose the stored content is.

use super::*;

fn upstream(name: &str) -> UpstreamName {
    name.parse().expect("a name")
}

/// Who of `a`, `b` and `c` is known to have sent `digest`.
fn senders(store: &Store, digest: &Digest) -> String {
    ["a", "b", "c"].into_iter().filter(|name| store.has_sent(&upstream(name), digest)).collect()
}

fn send(store: &Store, name: &str, bytes: &[u8]) -> Digest {
    store.sent(&upstream(name), &digest_of(bytes));
    put(store, bytes).expect("room")
}

#[test]
fn content_is_of_those_who_sent_it_after_a_start_too_and_of_the_first_upstream_nothing_is_written() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    store.claim(&upstream("a")).expect("room");
    let digests = [send(&store, "a", b"one"), send(&store, "b", b"two"), send(&store, "a", b"three")];
    send(&store, "b", b"three");
    let expected = ["a", "b", "ab"];
    assert_eq!(digests.each_ref().map(|digest| senders(&store, digest)), expected);
    assert_eq!(store.figures().allocated, du(folder.path()));
    drop(store);
    let written: Vec<_> = files(&folder.path().join("repos"));
    assert_eq!(written.len(), 1 + 1 + 2, "who is first, one record of the second, and two of what both sent: {written:?}");
    let store = opened(&config(folder.path()));
    store.claim(&upstream("b")).expect("it is settled");
    assert_eq!(digests.each_ref().map(|digest| senders(&store, digest)), expected);
    send(&store, "a", b"two");
    assert_eq!((senders(&store, &digests[1]), store.figures().allocated), ("ab".to_owned(), du(folder.path())));
}

#[test]
fn content_never_has_its_name_before_the_record_of_who_sent_it() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    store.claim(&upstream("a")).expect("room");
    let records = folder.path().join("repos/b");
    fs::create_dir_all(&records).expect("ours");
    fs::write(records.join("_sent"), "in the way").expect("ours");
    store.sent(&upstream("b"), &digest_of(b"x"));
    put(&store, b"x").expect_err("it would be the first one's after a crash");
    assert!(store.blob(&digest_of(b"x")).is_none());
    fs::remove_file(records.join("_sent")).expect("ours");
    put(&store, b"x").expect("room");
    drop(store);
    assert_eq!(senders(&opened(&config(folder.path())), &digest_of(b"x")), "b");
}

#[test]
fn what_one_upstream_is_just_storing_stays_its_own_when_another_sends_it_too() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    store.claim(&upstream("a")).expect("room");
    for (one, other) in [("a", "b"), ("b", "a")] {
        let digest = digest_of(one.as_bytes());
        store.sent(&upstream(one), &digest);
        store.sent(&upstream(other), &digest);
        put(&store, one.as_bytes()).expect("room");
        store.stored_from(&upstream(one), &digest).expect("room");
        assert_eq!(senders(&store, &digest), "ab");
    }
    drop(store);
    let store = opened(&config(folder.path()));
    assert_eq!(["a", "b"].map(|one| senders(&store, &digest_of(one.as_bytes()))), ["ab", "ab"]);
}

#[test]
fn an_older_store_is_its_only_upstreams_or_else_everybodys_as_it_was() {
    for (filled, expected) in [(vec!["c"], "c"), (vec!["a", "c"], "abc")] {
        let folder = folder();
        let digest = {
            let store = opened(&config(folder.path()));
            for name in filled {
                let repository = store.repository(&upstream(name), &"x/y".parse().expect("a name")).expect("nothing yet");
                repository.learn_blob(&digest_of(b"old"), 3);
                repository.save().expect("room");
            }
            put(&store, b"old").expect("room")
        };
        let store = opened(&config(folder.path()));
        store.claim(&upstream("a")).expect("room");
        assert_eq!(senders(&store, &digest), expected);
        assert_eq!(senders(&store, &send(&store, "b", b"new")), "b");
        store.sent(&upstream("b"), &digest);
        assert_eq!(senders(&store, &digest), if expected == "c" { "bc" } else { "abc" });
    }
}

#[test]
fn records_of_content_that_is_gone_go_when_they_are_old_and_not_while_it_may_come_back() {
    let folder = folder();
    let old = disk::now() + 90 * 24 * 3600;
    let digest = {
        let store = opened(&config(folder.path()));
        store.claim(&upstream("a")).expect("room");
        let digest = send(&store, "b", b"x");
        assert!(store.disk.evict(&digest).is_some());
        store.cleanup().run(old, &CancellationToken::new());
        assert_eq!(senders(&store, &digest), "b", "this process has heard of it");
        digest
    };
    let store = opened(&config(folder.path()));
    store.cleanup().run(disk::now(), &CancellationToken::new());
    assert_eq!(senders(&store, &digest), "b", "young");
    store.cleanup().run(old, &CancellationToken::new());
    assert_eq!((senders(&store, &digest), store.figures().allocated), ("a".to_owned(), du(folder.path())));
    assert!(!folder.path().join("repos/b").exists());
}

#[test]
fn whose_the_content_is_outlives_a_start_without_room() {
    let folder = folder();
    let full = StoreConfig { min_free: Limit::Percent(99), ..config(folder.path()) }; // As on a disk that others have filled.
    let store = open(&full);
    store.claim(&upstream("a")).expect("one block is always written");
    scan(&store);
    assert_eq!(store.figures().allocated, du(folder.path()));
    drop(store);
    let store = opened(&config(folder.path()));
    send(&store, "b", b"two");
    let of_nobody_else = digest_of(b"without a record");
    assert_eq!(senders(&store, &of_nobody_else), "a", "it is not everybody's");
}
