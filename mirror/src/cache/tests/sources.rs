//! Whose content is given out for whom, where two upstreams are mirrored.

use super::*;

/// What has no bytes but says that it has everything.
fn boast(seen: &Seen) -> Reply {
    match seen.method.as_str() {
        "HEAD" => Reply::ok(vec![0; 300_000]).header("Content-Type", MediaType::OCI_MANIFEST),
        _ => Reply::new(404),
    }
}

async fn pull(cache: &Cache, repo: &Arc<Repo>, digest: &Digest) -> std::io::Result<Vec<u8>> {
    let answer = cache.blob(repo, digest, Deadline::new()).await.map_err(std::io::Error::other)?;
    body(cache, digest, answer).await
}

#[tokio::test]
async fn nobodys_layer_is_given_out_on_the_word_of_another_upstream() {
    for size in [300_000, 1000] {
        let bytes = hub::content(size);
        let (digest, sent) = (hub::digest_of(&bytes), bytes.clone());
        let other = Server::start(boast).await;
        let setup = Setup::new(move |_| Reply::ok(sent.clone())).await;
        let cache = setup.with_second(&other);
        let (owner, stranger) = two(&cache).await;
        assert_eq!(pull(&cache, &owner, &digest).await.expect("its upstream has it"), bytes);
        setup.settle().await;
        for _ in ["by a HEAD", "by a manifest"] {
            let refused = cache.blob(&stranger, &digest, Deadline::new()).await;
            assert!(matches!(refused, Err(CacheError::Unknown { .. })), "{refused:?}");
            assert!(cache.blob_at_once(&stranger, &digest).is_none());
            Setup::claim(&stranger, &digest, bytes.len() as u64);
        }
        assert_eq!(pull(&cache, &owner, &digest).await.expect("a hit"), bytes);
        assert_eq!(setup.server.count("/blobs/"), 1);
    }
}

#[tokio::test]
async fn nobodys_manifest_is_given_out_on_the_word_of_another_upstream() {
    let other = Server::start(boast).await;
    let setup = Setup::new(|_| hub::manifest_reply()).await;
    let cache = setup.with_second(&other);
    let (owner, stranger) = two(&cache).await;
    let reference = by_digest(&hub::digest_of(hub::manifest().as_bytes()));
    cache.manifest(&owner, &reference, false, Deadline::new()).await.expect("its upstream has it");
    setup.settle().await;
    let refused = cache.manifest(&stranger, &reference, false, Deadline::new()).await;
    assert!(matches!(refused, Err(CacheError::Unknown { .. })), "{refused:?}");
    assert!(cache.manifest_at_once(&stranger, &reference).is_none());
}

#[tokio::test]
async fn what_two_upstreams_have_is_fetched_from_each_once_and_is_a_hit_for_all_repositories_of_both() {
    let bytes = hub::content(300_000);
    let (digest, sent, also) = (hub::digest_of(&bytes), bytes.clone(), bytes.clone());
    let other = Server::start(move |_| Reply::ok(also.clone())).await;
    let setup = Setup::new(move |_| Reply::ok(sent.clone())).await;
    let cache = setup.with_second(&other);
    for _ in ["cold", "stored"] {
        for upstream in [0, 1] {
            for name in ["library/app", "team/app"] {
                let repo = cache.repo(upstream, &name.parse().expect("a name"), Deadline::new()).await.expect("a repository");
                Setup::claim(&repo, &digest, bytes.len() as u64);
                assert_eq!(pull(&cache, &repo, &digest).await.expect("whole"), bytes);
                while cache.flights() > 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    assert_eq!((setup.server.count("/blobs/"), other.count("/blobs/")), (1, 1));
}

async fn two(cache: &Cache) -> (Arc<Repo>, Arc<Repo>) {
    let name = "library/app".parse().expect("a name");
    let owner = cache.repo(0, &name, Deadline::new()).await.expect("a repository");
    (owner, cache.repo(1, &name, Deadline::new()).await.expect("a repository"))
}
