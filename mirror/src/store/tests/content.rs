//! Blobs and manifests: written, read, damaged, gone.

use super::*;

#[test]
fn what_was_published_is_read_back_by_this_store_and_the_next() {
    let folder = folder();
    let bytes = content(1, 100_000);
    let digest = {
        let store = opened(&config(folder.path()));
        let digest = put(&store, &bytes).expect("room");
        let stored = store.blob(&digest).expect("stored");
        assert_eq!((read(&stored), stored.is_verified()), (bytes.clone(), true));
        digest
    };
    let store = open(&config(folder.path()));
    let stored = store.blob(&digest).expect("a hit before the scan");
    assert_eq!((read(&stored), stored.is_verified()), (bytes, false));
    stored.mark_verified();
    assert!(store.blob(&digest).expect("stored").is_verified());
    assert!(store.blob(&digest_of(b"never stored")).is_none());
}

#[test]
fn a_spool_that_is_dropped_leaves_neither_file_nor_bytes() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let before = store.figures().allocated;
    let digest = digest_of(b"whatever");
    let mut spool = store.spool(&digest, Some(1 << 20)).expect("room");
    spool.append(&content(1, 5000)).expect("room");
    assert!(store.figures().allocated >= before + (1 << 20), "its room is taken from the start");
    let reader = spool.file();
    drop(spool);
    assert!(store.blob(&digest).is_none());
    assert!(files(&folder.path().join("spool")).is_empty());
    assert!(store.figures().allocated >= before + (1 << 20), "a reader still has it open");
    let mut bytes = vec![0; 5000];
    reader.read_exact_at(&mut bytes, 0).expect("what was written");
    assert_eq!(bytes, content(1, 5000));
    drop(reader);
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_blob_may_be_shorter_or_longer_than_was_said() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    for (seed, said, length) in [(1, Some(100_000), 10), (2, Some(10), 300_000), (3, None, 9_000_000), (4, Some(0), 1), (5, None, 0)] {
        let bytes = content(seed, length);
        let digest = digest_of(&bytes);
        let mut spool = store.spool(&digest, said).expect("room");
        for part in bytes.chunks(70_000) {
            spool.append(part).expect("room");
        }
        assert_eq!(spool.written(), length as u64);
        spool.publish(ChildKind::Blob).expect("published");
        assert_eq!(read(&store.blob(&digest).expect("stored")), bytes);
        assert_eq!(store.figures().allocated, du(folder.path()), "a blob of {length} bytes");
    }
}

#[test]
fn manifests_are_whole_or_not_there() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let (bytes, digest) = (b"{\"schemaVersion\":2}", digest_of(b"{\"schemaVersion\":2}"));
    store.put_manifest(&digest, bytes).expect("room");
    store.put_manifest(&digest, bytes).expect("again");
    assert_eq!(store.manifest(&digest).as_deref(), Some(&bytes[..]));
    assert_eq!((store.figures().manifests, store.figures().blobs), (1, 0));

    let path = store.disk.layout.content(ChildKind::Manifest, &digest);
    fs::write(&path, b"{\"schemaVersion\":3}").expect("damage");
    assert!(store.manifest(&digest).is_none(), "A damaged stored file is found, quarantined and fetched again");
    assert!(!path.exists());
    assert_eq!((store.figures().quarantined, files(&folder.path().join("quarantine")).len()), (1, 1));
    store.put_manifest(&digest, bytes).expect("fetched again");
    assert_eq!(store.manifest(&digest).as_deref(), Some(&bytes[..]));
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_manifest_that_was_cut_short_is_found() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let bytes = content(3, 3000);
    let digest = digest_of(&bytes);
    store.put_manifest(&digest, &bytes).expect("room");
    fs::OpenOptions::new()
        .write(true)
        .open(store.disk.layout.content(ChildKind::Manifest, &digest))
        .and_then(|file| file.set_len(1000))
        .expect("damage");
    assert!(store.manifest(&digest).is_none());
    assert_eq!(store.figures().quarantined, 1);
}

#[test]
fn a_file_of_no_bytes_is_damaged_unless_nothing_is_its_content() {
    let folder = folder();
    let hollow = digest_of(b"something");
    {
        let store = opened(&config(folder.path()));
        let empty = put(&store, b"").expect("room");
        assert_eq!(store.blob(&empty).expect("nothing is stored").size(), 0);
        put(&store, b"something").expect("room");
        fs::write(store.disk.layout.content(ChildKind::Blob, &hollow), b"").expect("damage");
        assert!(store.blob(&hollow).is_none());
        put(&store, b"something").expect("fetched again");
        fs::write(store.disk.layout.content(ChildKind::Blob, &hollow), b"").expect("damage");
    }
    let store = opened(&config(folder.path()));
    assert_eq!((store.figures().quarantined, store.figures().blobs), (1, 1), "the scan finds it too");
    assert!(store.blob(&hollow).is_none());
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_reader_keeps_what_is_quarantined_or_replaced_under_it() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let bytes = content(7, 50_000);
    let digest = put(&store, &bytes).expect("room");
    let first = store.blob(&digest).expect("stored");
    store.disk.quarantine(&digest, "a test");
    assert!(store.blob(&digest).is_none());
    put(&store, &bytes).expect("fetched again");
    let second = store.blob(&digest).expect("stored");
    put(&store, &bytes).expect("fetched by two at once");
    let with_old_files = store.figures().allocated;
    assert_eq!((read(&first), read(&second)), (bytes.clone(), bytes));
    drop((first, second));
    assert!(store.figures().allocated < with_old_files, "the replaced file's bytes are free at its last close");
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn what_somebody_removed_by_hand_is_a_miss_and_leaves_the_account() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let digest = put(&store, &content(1, 9000)).expect("room");
    fs::remove_file(store.disk.layout.content(ChildKind::Blob, &digest)).expect("there");
    assert!(store.blob(&digest).is_none());
    assert_eq!((store.figures().blobs, store.figures().allocated), (0, du(folder.path())));
}

#[test]
fn only_the_newest_damaged_files_are_kept() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    for seed in 0..12 {
        store.disk.quarantine(&put(&store, &content(seed, 100)).expect("room"), "a test");
    }
    assert_eq!(files(&folder.path().join("quarantine")).len(), quarantine::KEPT);
    assert_eq!(store.figures().allocated, du(folder.path()));
    drop(store);
    let store = opened(&config(folder.path()));
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_use_is_remembered_by_the_file() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let digest = put(&store, b"x").expect("room");
    let path = store.disk.layout.content(ChildKind::Blob, &digest);
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    fs::File::open(&path).and_then(|file| file.set_modified(long_ago)).expect("ours");
    drop(store);
    let store = opened(&config(folder.path()));
    store.blob(&digest).expect("stored").touch();
    store.disk.save_uses(); // As the clean-up does in the background.
    let age = fs::metadata(&path).expect("there").modified().expect("a time").elapsed().expect("past");
    assert!(age < Duration::from_mins(1), "{age:?}");
}

#[test]
fn a_manifest_fetched_as_a_blob_is_stored_once() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let digest = put(&store, b"{}").expect("room");
    store.put_manifest(&digest, b"{}").expect("room");
    put(&store, b"{}").expect("room");
    assert_eq!((store.figures().manifests, store.figures().blobs), (1, 0));
    assert!(store.blob(&digest).is_some() && store.manifest(&digest).is_some());
    assert_eq!(files(&folder.path().join("blobs")), Vec::<std::path::PathBuf>::new());
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn a_crash_between_two_names_of_a_manifest_leaves_one() {
    let folder = folder();
    let digest = digest_of(b"{}");
    {
        let store = opened(&config(folder.path()));
        store.put_manifest(&digest, b"{}").expect("room");
        let blob = store.disk.layout.content(ChildKind::Blob, &digest);
        fs::create_dir_all(blob.parent().expect("a folder")).expect("a folder");
        fs::copy(store.disk.layout.content(ChildKind::Manifest, &digest), blob).expect("a copy");
    }
    let store = opened(&config(folder.path()));
    assert_eq!((store.figures().manifests, store.figures().blobs), (1, 0));
    assert!(files(&folder.path().join("blobs")).is_empty());
    assert_eq!(store.figures().allocated, du(folder.path()));
}

#[test]
fn of_two_spools_of_one_digest_the_first_that_is_published_is_the_blob() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let bytes = content(1, 100_000);
    let digest = digest_of(&bytes);
    let spools = [(); 2].map(|()| store.spool(&digest, Some(100_000)).expect("room"));
    let [first, second] = spools.map(|mut spool| {
        spool.append(&bytes).expect("room");
        spool
    });
    let reader = second.file();
    let first = first.publish(ChildKind::Blob).expect("room");
    let second = second.publish(ChildKind::Blob).expect("it is there");
    let inode = |stored: &Stored| stored.file().metadata().expect("open").ino();
    assert_eq!(inode(&first), inode(&second));
    let mut read_on = vec![0; bytes.len()];
    reader.read_exact_at(&mut read_on, 0).expect("whoever reads the other keeps it");
    assert!(read_on == bytes && read(&second) == bytes);
    drop((first, second, reader));
    assert_eq!((store.figures().blobs, store.figures().allocated), (1, du(folder.path())));
}
