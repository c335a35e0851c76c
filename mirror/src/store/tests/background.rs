//! The tasks: the scan beside hits, health, the slow check.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_finds_all_it_has_and_stops_when_told() {
    let folder = folder();
    let digests: Vec<Digest> = {
        let store = opened(&config(folder.path()));
        (0..40).map(|seed| put(&store, &content(seed, 100)).expect("room")).collect()
    };
    let store = open(&config(folder.path()));
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let early = store.blob(&digests[0]).expect("a hit before the scan");
    store.spawn(&tasks, &cancel);
    until("the scan", || store.figures().scanned).await;
    drop(early);
    assert_eq!((store.figures().blobs, store.figures().allocated), (40, du(folder.path())));
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_disk_is_noticed_and_so_is_its_recovery() {
    let Some(mount) = full::Tmpfs::mount("4m") else { return };
    let health = HealthConfig { enabled: true, interval: Duration::from_millis(20), threshold: 3 };
    let store = open(&StoreConfig { health, ..config(mount.path()) });
    let digest = put(&store, b"stored before").expect("room");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    store.spawn(&tasks, &cancel);
    let mut state = store.health();
    let aside = mount.path().join("aside");
    fs::rename(mount.path().join("spool"), &aside).expect("ours");
    state.wait_for(|state| *state != Health::Healthy).await.expect("the store lives");
    assert!(matches!(store.spool(&digest_of(b"new"), Some(1)), Err(StoreError::Unhealthy(reason)) if reason.contains("No such file")));
    assert!(matches!(store.put_manifest(&digest_of(b"new"), b"new"), Err(StoreError::Unhealthy(_))));
    assert!(store.blob(&digest).is_some(), "what is stored is served");
    fs::rename(&aside, mount.path().join("spool")).expect("ours");
    state.wait_for(|state| *state == Health::Healthy).await.expect("the store lives");
    put(&store, b"new").expect("room");
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_folder_in_the_place_of_ours_is_never_written_and_a_removed_lock_file_is_made_again() {
    let folder = folder();
    let (root, gone) = (folder.path().join("store"), folder.path().join("gone"));
    let health = HealthConfig { enabled: true, interval: Duration::from_millis(20), threshold: 1000 };
    let store = open(&StoreConfig { health, ..config(&root) });
    let digest = put(&store, b"stored before").expect("room");
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    store.spawn(&tasks, &cancel);
    until("the scan", || store.figures().scanned).await;
    let mut state = store.health();
    let ill = |state: &Health, why: &str| matches!(state, Health::Unhealthy { reason } if reason.contains(why));

    fs::remove_file(store.disk.layout.lock()).expect("ours");
    until("the lock", || store.disk.layout.lock().exists()).await;
    assert!(matches!(Store::open(&config(&root)), Err(OpenError::InUse { .. })), "it is still ours");

    fs::rename(&root, &gone).expect("ours");
    state.wait_for(|state| ill(state, "No such file")).await.expect("the store lives");
    drop(open(&config(&root))); // Another one, which nobody holds.
    state.wait_for(|state| ill(state, "not the folder of the start")).await.expect("the store lives");
    assert!(matches!(store.put_manifest(&digest_of(b"new"), b"new"), Err(StoreError::Unhealthy(_))));

    fs::remove_dir_all(&root).expect("ours");
    fs::rename(&gone, &root).expect("ours");
    state.wait_for(|state| *state == Health::Healthy).await.expect("the store lives");
    assert!(store.blob(&digest).is_some());
    put(&store, b"new").expect("room");
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_check_the_first_failed_write_counts_and_recovery_is_still_found() {
    let folder = folder();
    let health = HealthConfig { enabled: false, interval: Duration::from_millis(20), threshold: 3 };
    let store = open(&StoreConfig { health, ..config(folder.path()) });
    let spool = folder.path().join("spool");
    fs::rename(&spool, folder.path().join("aside")).expect("ours");
    assert!(matches!(store.spool(&digest_of(b"x"), Some(1)), Err(StoreError::Io { doing: "create", .. })));
    assert!(matches!(*store.health().borrow(), Health::Unhealthy { .. }));
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    store.spawn(&tasks, &cancel);
    fs::rename(folder.path().join("aside"), &spool).expect("ours");
    store.health().wait_for(|state| *state == Health::Healthy).await.expect("the store lives");
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slow_check_finds_damage_and_verifies_the_rest() {
    let folder = folder();
    let (good, bad, cut) = {
        let store = opened(&config(folder.path()));
        let [good, bad, cut] = [1, 2, 3].map(|seed| put(&store, &content(seed, 700_000)).expect("room"));
        let path = |digest| store.disk.layout.content(ChildKind::Blob, digest);
        let damaged = fs::OpenOptions::new().write(true).open(path(&bad)).expect("ours");
        damaged.write_all_at(b"!", 650_000).expect("damage");
        fs::OpenOptions::new().write(true).open(path(&cut)).and_then(|file| file.set_len(1000)).expect("damage");
        (good, bad, cut)
    };
    let store = open(&StoreConfig { scrub_rate: Some(ByteSize(1 << 30)), ..config(folder.path()) });
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    store.spawn(&tasks, &cancel);
    until("two damaged files", || store.figures().quarantined == 2).await;
    until("a verified file", || store.blob(&good).is_some_and(|stored| stored.is_verified())).await;
    assert!(store.blob(&bad).is_none() && store.blob(&cut).is_none());
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

#[test]
fn metrics_are_named_by_the_conventions() {
    let folder = folder();
    let store = opened(&capped(folder.path(), 64 << 20));
    put(&store, b"x").expect("room");
    let mut registry = prometheus_client::registry::Registry::default();
    store.metrics().register(&mut registry);
    store.figures();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    let values = text.lines().filter(|line| !line.starts_with('#') && !line.contains("free") && !line.contains("allocated"));
    insta::assert_snapshot!(values.collect::<Vec<_>>().join("\n"), @"
    chandler_store_blobs 1
    chandler_store_cap_bytes 67108864
    chandler_store_checked_bytes_total 0
    chandler_store_evicted_total 0
    chandler_store_evicted_bytes_total 0
    chandler_store_full_total 0
    chandler_store_healthy 1
    chandler_store_manifests 0
    chandler_store_quarantined_total 0
    chandler_store_scanned 1
    chandler_store_scrubbed_bytes_total 0
    ");
    assert!(text.contains(&format!("chandler_store_allocated_bytes {}\n", du(folder.path()))), "{text}");
}
