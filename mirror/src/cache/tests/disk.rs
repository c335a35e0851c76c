//! What lies on the disk: a stranger's claim about it, and a disk that does not give it back.

use super::*;

#[tokio::test]
async fn a_manifest_that_names_a_wrong_size_throws_out_nobodys_blob() {
    let bytes = hub::content(300_000);
    let setup = Setup::new(|_| Reply::new(404)).await;
    let digest = setup.found(&bytes);
    for size in [1, 299_999, 300_001, 10_000_000] {
        let stranger = setup.repo(&format!("evil/{size}")).await;
        Setup::claim(&stranger, &digest, size);
        let _ = setup.cache.blob(&stranger, &digest, Deadline::new()).await;
    }
    assert_eq!(setup.store.figures().quarantined, 0);
    let owner = setup.repo("library/app").await;
    Setup::claim(&owner, &digest, bytes.len() as u64);
    let answer = setup.cache.blob(&owner, &digest, Deadline::new()).await.expect("it is stored");
    assert_eq!(body(&setup.cache, &digest, answer).await.expect("whole"), bytes);
    assert_eq!(setup.server.count("/blobs/"), 0, "no network");
}

#[tokio::test]
async fn a_stored_blob_that_the_disk_cannot_give_is_put_aside_and_the_next_pull_has_it_anew() {
    for verified in [false, true] {
        let bytes = hub::content(300_000);
        let sent = bytes.clone();
        let setup = Setup::new(move |_| Reply::ok(sent.clone())).await;
        let digest = setup.found(&bytes);
        let repo = setup.repo("library/app").await;
        Setup::claim(&repo, &digest, bytes.len() as u64);
        let stored = setup.store.blob(&digest).expect("it is there").unreadable();
        if verified {
            stored.mark_verified();
        }
        let answer = BlobAnswer { content: BlobContent::Stored(stored), outcome: crate::telemetry::Outcome::Hit, size: Some(300_000) };
        body(&setup.cache, &digest, answer).await.expect_err("there is nothing to send");
        assert_eq!(setup.store.figures().quarantined, 1, "verified: {verified}");
        let answer = setup.cache.blob(&repo, &digest, Deadline::new()).await.expect("the upstream has it");
        assert_eq!(body(&setup.cache, &digest, answer).await.expect("whole"), bytes);
        assert_eq!(setup.server.count("/blobs/"), 1);
    }
}

#[tokio::test]
async fn a_check_that_cannot_read_a_stored_blob_puts_it_aside() {
    let setup = Setup::new(|_| Reply::new(404)).await;
    let digest = setup.found(&hub::content(300_000));
    let stored = setup.store.blob(&digest).expect("it is there").unreadable();
    stored.check(&CancellationToken::new());
    drop(stored);
    assert_eq!(setup.store.figures().quarantined, 1);
    assert!(setup.store.blob(&digest).is_none());
}

#[tokio::test]
async fn a_repository_whose_records_cannot_be_read_is_not_served_and_is_as_before_once_they_can() {
    let setup = Setup::new(|_| Reply::new(404)).await;
    let name = "library/app".parse().expect("a name");
    let folder = setup.folder.path().join("repos/hub.test/library/app");
    let (state, digest) = (folder.join("_state"), hub::digest_of(b"x"));
    std::fs::create_dir_all(&folder).expect("ours");
    std::os::unix::fs::symlink(&state, &state).expect("a link to itself, which even root cannot read");
    for _ in 0..2 {
        let refused = setup.cache.repo(0, &name, Deadline::new()).await;
        assert!(matches!(refused, Err(CacheError::Unreadable { .. })), "{refused:?}");
        assert!(!setup.cache.may_name("hub.test/library/app"));
    }
    std::fs::remove_file(&state).expect("ours");
    std::fs::write(&state, r#"{"version":1,"closed":true}"#).expect("ours");
    let repo = setup.repo("library/app").await;
    assert!(repo.is_closed());
    let refused = setup.cache.blob(&repo, &digest, Deadline::new()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn nobody_waits_for_ever_for_a_disk_that_does_not_give_what_is_known_of_a_repository() {
    let setup = Setup::new(|_| Reply::new(404)).await;
    let name = "library/app".parse().expect("a name");
    let folder = setup.folder.path().join("repos/hub.test/library/app");
    std::fs::create_dir_all(&folder).expect("ours");
    let hanging = folder.join("_state"); // Reading a pipe ends when its writer does.
    rustix::fs::mkfifoat(rustix::fs::CWD, &hanging, rustix::fs::Mode::RWXU).expect("ours");
    for _ in 0..3 {
        let late = setup.cache.repo(0, &name, Deadline::passed()).await;
        assert!(matches!(late, Err(CacheError::Timeout { .. })), "{late:?}");
    }
    let writer = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(hanging)); // Waits for the reader.
    drop(writer.await.expect("no panic").expect("ours"));
    setup.cache.repo(0, &name, Deadline::new()).await.expect("the one load went on");
}
