use super::super::tests::{config, digest_of, folder, layer, manifest, opened, repository, tag, try_repository};
use super::super::{RepositoryState, Visibility};
use super::*;
use crate::oci::Child;

/// Learned and saved in one call.
impl Repository {
    pub(in crate::store) fn link_manifest(&self, record: &ManifestRecord) -> Result<(), StoreError> {
        self.learn_manifest(record);
        self.save()
    }

    pub(in crate::store) fn link_blob(&self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        self.learn_blob(digest, size);
        self.save()
    }

    pub(in crate::store) fn set_tag(&self, tag: &Tag, record: &TagRecord) -> Result<(), StoreError> {
        self.learn_tag(tag, record);
        self.save()
    }

    pub(in crate::store) fn set_state(&self, state: RepositoryState) -> Result<(), StoreError> {
        self.learn_state(|_| state);
        self.save()
    }
}

#[test]
fn a_repository_holds_what_its_manifests_name_and_what_was_proved() {
    let folder = folder();
    let (base, top, proved) = (digest_of(b"base"), digest_of(b"top"), digest_of(b"proved"));
    let one = manifest(b"one", vec![layer(&base, 4)]);
    let two = manifest(b"two", vec![layer(&base, 4), layer(&top, 3)]);
    {
        let store = opened(&config(folder.path()));
        let repository = repository(&store, "a/b");
        repository.link_manifest(&one).expect("room");
        repository.link_manifest(&two).expect("room");
        repository.link_blob(&proved, 6).expect("room");
    }
    let store = opened(&config(folder.path()));
    let repository_b = repository(&store, "a/b");
    assert_eq!(repository_b.held(&one.digest).map(|held| (held.kind, held.size)), Some((ChildKind::Manifest, 3)));
    assert_eq!(repository_b.held(&top).map(|held| (held.kind, held.size)), Some((ChildKind::Blob, 3)));
    assert_eq!(repository_b.held(&proved).map(|held| held.media_type.to_string()).as_deref(), Some(MediaType::OCTET_STREAM));
    assert_eq!(
        repository(&store, "a").held(&top),
        None,
        "a digest is served for a repository only after that repository is known to hold it"
    );

    repository_b.unlink(&two.digest);
    assert_eq!((repository_b.held(&two.digest), repository_b.held(&top)), (None, None));
    assert!(repository_b.held(&base).is_some(), "another manifest names it");
    repository_b.unlink(&proved);
    drop((repository_b, store));
    let store = opened(&config(folder.path()));
    let repository = repository(&store, "a/b");
    assert_eq!((repository.held(&two.digest), repository.held(&proved)), (None, None));
    assert_eq!(repository.record(&one.digest), Some(one));
}

#[test]
fn tags_and_state_outlive_the_process() {
    let folder = folder();
    let gone_since = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000));
    let record = |bytes: &[u8]| TagRecord { digest: digest_of(bytes), gone_since: None };
    let state = RepositoryState { visibility: Some(Visibility::Private), closed: true };
    {
        let store = opened(&config(folder.path()));
        let repository = repository(&store, "library/alpine");
        assert_eq!(repository.state(), RepositoryState::default());
        repository.set_state(state).expect("room");
        for name in ["latest", "_x", "3.19", "old"] {
            repository.set_tag(&tag(name), &record(name.as_bytes())).expect("room");
        }
        repository.set_tag(&tag("latest"), &TagRecord { gone_since, ..record(b"newer") }).expect("room");
        repository.remove_tag(&tag("old"));
    }
    let store = opened(&config(folder.path()));
    let repository = repository(&store, "library/alpine");
    assert_eq!(repository.tags(), ["3.19", "_x", "latest"].map(tag));
    assert_eq!(repository.tag(&tag("latest")), Some(TagRecord { gone_since, ..record(b"newer") }));
    assert_eq!((repository.tag(&tag("old")), repository.state()), (None, state));
}

#[test]
fn a_record_that_cannot_be_understood_is_removed_and_the_others_hold() {
    let folder = folder();
    let (good, other) = (manifest(b"good", vec![]), manifest(b"other", vec![]));
    {
        let store = opened(&config(folder.path()));
        let repository = repository(&store, "a");
        repository.link_manifest(&good).expect("room");
        repository.link_manifest(&other).expect("room");
        repository.set_tag(&tag("t"), &TagRecord { digest: good.digest.clone(), gone_since: None }).expect("room");
    }
    let records = folder.path().join("repos/hub/a");
    let path = |digest: &Digest| records.join("_manifests").join(file_name(digest));
    std::fs::copy(path(&good.digest), path(&other.digest)).expect("a record under another's name");
    std::fs::write(records.join("_tags/t"), "{\"version\":1,").expect("cut short");
    let store = opened(&config(folder.path()));
    let repository = repository(&store, "a");
    assert!(repository.held(&good.digest).is_some());
    assert_eq!((repository.held(&other.digest), repository.tags()), (None, vec![]));
    assert!(!path(&other.digest).exists() && !records.join("_tags/t").exists());
}

#[test]
fn a_state_that_cannot_be_understood_is_closed_and_its_copy_is_kept() {
    for damaged in ["", "{\"version\":1,", "{\"version\":2}"] {
        let folder = folder();
        let records = folder.path().join("repos/hub/a");
        std::fs::create_dir_all(&records).expect("ours");
        std::fs::write(records.join("_state"), damaged).expect("ours");
        for _ in ["as it was found", "as it was written anew"] {
            assert!(repository(&opened(&config(folder.path())), "a").state().closed, "{damaged:?}");
        }
        assert_eq!(std::fs::read_to_string(records.join("_state.damaged")).expect("a copy"), damaged);
        let store = opened(&config(folder.path()));
        repository(&store, "a").set_state(RepositoryState::default()).expect("room");
        drop(store);
        assert!(!repository(&opened(&config(folder.path())), "a").state().closed, "its upstream answered for it");
    }
}

#[test]
fn records_that_cannot_be_read_for_a_moment_are_missing_to_nobody_after_it() {
    let folder = folder();
    let good = manifest(b"good", vec![]);
    let state = RepositoryState { closed: true, ..RepositoryState::default() };
    {
        let store = opened(&config(folder.path()));
        let repository = repository(&store, "a");
        repository.link_manifest(&good).expect("room");
        repository.link_blob(&digest_of(b"blob"), 4).expect("room");
        repository.set_tag(&tag("t"), &TagRecord { digest: good.digest.clone(), gone_since: None }).expect("room");
        repository.set_state(state).expect("room");
    }
    let records = folder.path().join("repos/hub/a");
    let manifest = format!("_manifests/{}", file_name(&good.digest));
    for part in ["_manifests", "_blobs", "_tags", "_state", "_tags/t", &manifest] {
        let store = opened(&config(folder.path()));
        let (path, aside) = (records.join(part), folder.path().join("aside"));
        std::fs::rename(&path, &aside).expect("ours");
        std::os::unix::fs::symlink(&path, &path).expect("a link to itself, which even root cannot read");
        let error = try_repository(&store, "a").expect_err("who knows whether it is closed");
        assert!(matches!(&*error, StoreError::Io { doing: "read", path: named, .. } if *named == path), "{error:?}");
        store.cleanup().run(u32::MAX, &tokio_util::sync::CancellationToken::new());
        std::fs::remove_file(&path).expect("ours");
        std::fs::rename(&aside, &path).expect("ours");
        let repository = repository(&store, "a");
        assert_eq!(
            (repository.record(&good.digest).as_ref(), repository.tags().len(), repository.state()),
            (Some(&good), 1, state),
            "{part}"
        );
        assert!(repository.held(&digest_of(b"blob")).is_some(), "{part}");
    }
}

#[test]
fn what_is_learned_is_known_at_once_and_written_when_it_is_saved() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let (record, proved) = (manifest(b"one", vec![layer(&digest_of(b"layer"), 5)]), digest_of(b"proved"));
    let first = repository(&store, "a");
    assert!(!first.is_behind());
    first.learn_manifest(&record);
    first.learn_blob(&proved, 6);
    first.learn_tag(&tag("t"), &TagRecord { digest: record.digest.clone(), gone_since: None });
    first.learn_state(|state| RepositoryState { closed: true, ..state });
    assert!(first.is_behind() && first.held(&proved).is_some() && first.held(&digest_of(b"layer")).is_some() && first.state().closed);
    assert!(!folder.path().join("repos").join("hub").exists(), "nothing is written yet");

    first.save().expect("room");
    assert!(!first.is_behind());
    first.learn_manifest(&record);
    first.learn_blob(&proved, 6);
    assert!(!first.is_behind(), "what is told again is no news");
    first.learn_state(|_| RepositoryState::default());
    assert!(first.is_behind(), "what is as before the first save is news to the disk");
    first.save().expect("room");
    drop((first, store));
    let store = opened(&config(folder.path()));
    let first = repository(&store, "a");
    assert_eq!((first.record(&record.digest), first.tags().len(), first.state().closed), (Some(record), 1, false));
    assert_eq!(first.held(&proved).map(|held| held.size), Some(6));
}

#[test]
fn two_users_of_a_repository_know_the_same() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let first = repository(&store, "a");
    for index in 0..2 * MOST_RECENT {
        let _ = repository(&store, &format!("other/{index}"));
    }
    store.repositories.recent.run_pending_tasks();
    let second = repository(&store, "a");
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn reading_an_index_is_a_use_of_its_images_layers_once_a_minute() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    let (image, deep) = (manifest(b"image", vec![layer(&digest_of(b"layer"), 5)]), digest_of(b"layer"));
    let child = |digest: &Digest| Child { kind: ChildKind::Manifest, ..layer(digest, 5) };
    // An index that names itself cannot be made, but a record can.
    let index = manifest(b"index", vec![child(&image.digest), child(&digest_of(b"index")), child(&digest_of(b"another platform"))]);
    let repository = repository(&store, "a");
    repository.link_manifest(&image).expect("room");
    repository.link_manifest(&index).expect("room");
    let use_at = |now| repository.read().use_at(&index.digest, now);
    assert_eq!(use_at(1000).into_iter().collect::<HashSet<_>>(), HashSet::from([index.digest.clone(), image.digest, deep]));
    assert_eq!(use_at(1059), []);
    assert_eq!(use_at(1060).len(), 3);
}

#[test]
fn the_catalog_is_sorted_and_paged() {
    let folder = folder();
    let store = opened(&config(folder.path()));
    for name in ["a", "a/b", "a-b", "z/empty"] {
        let repository = repository(&store, name);
        repository.set_tag(&tag("t"), &TagRecord { digest: digest_of(b"x"), gone_since: None }).expect("room");
    }
    repository(&store, "z/empty").remove_tag(&tag("t"));
    assert_eq!(store.catalog(None, 10), ["hub/a", "hub/a-b", "hub/a/b"]);
    assert_eq!(store.catalog(Some("hub/a"), 1), ["hub/a-b"]);
    assert_eq!(store.catalog(Some("hub/a/b"), 10), Vec::<String>::new());
}
