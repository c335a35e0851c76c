//! One download for all, and whose failure is whose.

use super::shared::{PLACES, UNWAITED};
use super::*;

#[tokio::test]
async fn digests_that_are_asked_for_by_the_thousand_and_left_leave_but_a_few_questions_behind() {
    let setup = Setup::new(|_| Reply::silence()).await;
    let repo = setup.repo("library/app").await;
    let made_up = |at: usize| hub::digest_of(&at.to_le_bytes());
    for at in 0..5000 {
        let digest = made_up(at);
        tokio::select! {
            biased;
            answered = setup.cache.open(&repo, &digest, false, Deadline::new()) => panic!("{:?}", answered.map(|_| ())),
            () = std::future::ready(()) => {} // It has asked, and leaves.
        }
        while at % 500 == 0 && setup.cache.flights() > UNWAITED {
            tokio::task::yield_now().await;
        }
    }
    while setup.cache.flights() > UNWAITED {
        tokio::task::yield_now().await;
    }
    let digest = made_up(9999);
    let mut waiting = Box::pin(setup.cache.open(&repo, &digest, false, Deadline::new()));
    assert!(tokio::time::timeout(Duration::from_millis(1), &mut waiting).await.is_err(), "it waits for the upstream");
    assert_eq!(setup.cache.flights(), UNWAITED + 1, "what somebody waits for stays");
}

#[tokio::test]
async fn who_asks_when_as_much_is_asked_as_can_be_is_told_at_once() {
    let setup = Setup::new(|_| Reply::silence()).await;
    let repo = setup.repo("library/app").await;
    let mut asked = Vec::new();
    for at in 0..PLACES {
        let (cache, repo) = (setup.cache.clone(), repo.clone());
        let mut question =
            Box::pin(async move { cache.open(&repo, &hub::digest_of(&at.to_le_bytes()), false, Deadline::new()).await.map(|_| ()) });
        tokio::select! {
            biased;
            answered = &mut question => panic!("{answered:?}"),
            () = std::future::ready(()) => asked.push(question),
        }
    }
    let refused = setup.cache.open(&repo, &hub::digest_of(b"one more"), false, Deadline::new()).await.map(|_| ());
    assert!(matches!(refused, Err(CacheError::Busy { .. })), "{refused:?}");
    let other = setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await;
    assert!(matches!(other, Err(CacheError::Busy { .. })), "{other:?}");
}

#[tokio::test]
async fn the_flights_of_names_that_lack_a_blob_fail_nobody_who_has_it() {
    let bytes = hub::content(300_000);
    let (digest, sent) = (hub::digest_of(&bytes), bytes.clone());
    let setup = Setup::new(move |seen| match (seen.path.contains("evil"), seen.method.as_str()) {
        (true, "GET") => Reply::new(404),
        _ => Reply::ok(sent.clone()), // A HEAD of theirs finds it, so that they join and lead at will.
    })
    .await;
    let mut strangers = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (cache, repo, digest) = (setup.cache.clone(), setup.repo(&format!("evil/{at}")).await, digest.clone());
        strangers.spawn(async move {
            loop {
                let _ = cache.blob(&repo, &digest, Deadline::new()).await;
                tokio::task::yield_now().await;
            }
        });
    }
    while setup.cache.flights() == 0 {
        tokio::task::yield_now().await;
    }
    let owner = setup.repo("library/app").await;
    let answer = setup.cache.blob(&owner, &digest, Deadline::new()).await.expect("its own repository has it");
    strangers.abort_all();
    assert_eq!(body(&setup.cache, &digest, answer).await.expect("whole"), bytes);
}

#[tokio::test]
async fn a_flight_that_lands_while_the_store_is_looked_into_is_not_flown_again() {
    let bytes = hub::content(300_000);
    let setup = Setup::new(|_| Reply::new(404)).await;
    let repo = setup.repo("library/app").await;
    let digest = hub::digest_of(&bytes);
    Setup::claim(&repo, &digest, bytes.len() as u64);
    setup.store.put_blob(&digest, &bytes).expect("room"); // It was not there a moment ago, when `was_known` was asked.
    let opened = setup.cache.open(&repo, &digest, false, Deadline::new()).await.expect("an answer");
    assert!(opened.is_none(), "it is in the store by now");
    assert_eq!((setup.cache.flights(), setup.server.count("/blobs/")), (0, 0));
    let unreadable = setup.cache.open(&repo, &digest, true, Deadline::new()).await.expect("an answer");
    assert!(unreadable.is_some(), "what the index knew and nobody could read is fetched");
}

#[tokio::test]
async fn what_one_upstream_sends_wrong_is_nothing_to_who_asks_another() {
    let bytes = hub::content(300_000);
    let (digest, sent) = (hub::digest_of(&bytes), bytes.clone());
    let other = Server::start(|_| Reply::ok(vec![7; 300_000])).await;
    let setup = Setup::new(move |_| Reply::ok(sent.clone())).await;
    let cache = setup.with_second(&other);
    let name = "library/app".parse().expect("a name");
    let liar = cache.repo(1, &name, Deadline::new()).await.expect("a repository");
    let owner = cache.repo(0, &name, Deadline::new()).await.expect("a repository");
    // Both are on the list before either task runs.
    let (lied, own, joined) = tokio::join!(
        cache.open(&liar, &digest, false, Deadline::new()),
        cache.open(&owner, &digest, false, Deadline::new()),
        cache.open(&owner, &digest, false, Deadline::new()),
    );
    let [lied, own, joined] = [lied, own, joined].map(|opened| opened.expect("an answer").expect("a flight"));
    assert_eq!((lied.leader, own.leader), (None, None));
    assert_eq!(joined.leader, Some(owner.key.clone()), "one download an upstream");
    let answer = cache.blob(&owner, &digest, Deadline::new()).await.expect("its upstream has it");
    assert_eq!(body(&cache, &digest, answer).await.expect("whole"), bytes);
    setup.settle().await;
    assert_eq!((cache.flights(), setup.server.count("/blobs/")), (0, 1));
    assert!(setup.store.knows(&digest));
}
