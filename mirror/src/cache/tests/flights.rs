//! One download for all, and whose failure is whose.

use super::*;

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
