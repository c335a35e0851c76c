//! Whose repository may be served, and what is asked and written down for that.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::store::RepositoryState;

#[tokio::test]
async fn a_name_that_nobody_may_read_is_not_written_down() {
    let setup = Setup::without_private(|_| Reply::new(404)).await;
    for at in 0..20 {
        let repo = setup.repo(&format!("guessed/name-{at}")).await;
        for _ in ["asked", "remembered"] {
            let refused = setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await;
            assert!(matches!(refused, Err(CacheError::NotServed { .. })), "{refused:?}");
        }
    }
    setup.settle().await;
    let traces = walk(setup.folder.path());
    assert!(!traces.iter().any(|path| path.contains("guessed")), "{traces:?}");
    assert_eq!(setup.server.count("/tags/list"), 20, "each is asked for once");
}

#[tokio::test]
async fn a_repository_that_is_private_now_is_not_served_though_its_record_says_public() {
    let setup = Setup::without_private(|_| Reply::new(404)).await;
    let repo = setup.repo("library/app").await;
    let digest = public(&setup, &repo);
    assert!(matches!(setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await, Err(CacheError::NotServed { .. })));
    assert!(setup.cache.manifest_at_once(&repo, &by_digest(&digest)).is_none());
    assert_eq!(repo.records.state().visibility, Some(Visibility::Private), "what is recorded is corrected");
}

#[tokio::test(start_paused = true)]
async fn a_hit_waits_a_moment_for_an_upstream_that_hangs_and_the_next_ones_not_at_all() {
    let setup = Setup::without_private(|_| Reply::silence()).await;
    let repo = setup.repo("library/app").await;
    let digest = public(&setup, &repo);
    let start = tokio::time::Instant::now();
    setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await.expect("a hit");
    let first = start.elapsed();
    assert!(first <= Duration::from_millis(1600), "{first:?}");
    for _ in 0..10 {
        setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await.expect("a hit");
    }
    assert!(start.elapsed() <= first + Duration::from_millis(10), "{first:?}, and then {:?}", start.elapsed());
}

#[tokio::test]
async fn a_repository_of_which_only_digests_were_pulled_is_closed_when_access_is_lost() {
    let digest = hub::digest_of(hub::manifest().as_bytes());
    for asks in ["an unknown tag", "the list of tags", "referrers"] {
        let withdrawn = Arc::new(AtomicBool::new(false));
        let is_withdrawn = withdrawn.clone();
        let answer = move |_: &Seen| if is_withdrawn.load(Ordering::SeqCst) { Reply::new(403) } else { hub::manifest_reply() };
        let setup = Setup::new(answer).await;
        let repo = setup.repo("team/app").await;
        setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await.expect("it is there");
        withdrawn.store(true, Ordering::SeqCst);
        setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await.expect("a hit: nobody was asked");
        match asks {
            "an unknown tag" => {
                drop(setup.cache.manifest(&repo, &"new".parse().expect("a tag"), false, Deadline::new()).await.expect_err("refused"));
            }
            "referrers" => drop(setup.cache.referrers(&repo, &digest, None, Deadline::new()).await.expect_err("refused")),
            _ => drop(setup.cache.tag_list(&repo, "", Deadline::new()).await.expect_err("refused")),
        }
        let closed = setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await;
        assert!(matches!(closed, Err(CacheError::Closed { .. })), "{asks}: {closed:?}");
    }
}

const UNKNOWN: &str = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}"#;

type Script = Box<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A repository with the tag `1`, which was pulled; from `lost` on the upstream answers by `then`.
async fn pulled(lost: &Arc<AtomicBool>, then: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Setup, Arc<Repo>) {
    let is_lost = lost.clone();
    let change = |config| UpstreamConfig { tag_window: Duration::ZERO, ..config };
    let setup = Setup::with(change, move |seen| if is_lost.load(Ordering::SeqCst) { then(seen) } else { hub::manifest_reply() }).await;
    let repo = setup.repo("team/app").await;
    setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await.expect("it is there");
    (setup, repo)
}

#[tokio::test]
async fn a_repository_that_its_registry_no_longer_knows_is_closed_and_opens_when_it_does() {
    let lost = Arc::new(AtomicBool::new(false));
    for asks in ["the tag", "the list of tags"] {
        lost.store(false, Ordering::SeqCst);
        let (setup, repo) = pulled(&lost, |_| Reply::new(404).with(UNKNOWN)).await;
        let (tag, digest) = ("1".parse().expect("a tag"), hub::digest_of(hub::manifest().as_bytes()));
        lost.store(true, Ordering::SeqCst);
        match asks {
            "the tag" => drop(setup.cache.manifest(&repo, &tag, false, Deadline::new()).await.expect_err("lost")),
            _ => drop(setup.cache.tag_list(&repo, "", Deadline::new()).await.expect_err("lost")),
        }
        for reference in [&tag, &by_digest(&digest)] {
            let closed = setup.cache.manifest(&repo, reference, false, Deadline::new()).await;
            assert!(matches!(closed, Err(CacheError::Closed { .. })), "{asks}: {closed:?}");
            assert!(setup.cache.manifest_at_once(&repo, reference).is_none());
        }
        lost.store(false, Ordering::SeqCst);
        let open = setup.cache.manifest(&repo, &tag, false, Deadline::new()).await.expect("it is there again");
        assert_eq!(open.warning, None);
        setup.cache.manifest(&repo, &by_digest(&digest), false, Deadline::new()).await.expect("and so is the digest");
    }
}

#[tokio::test]
async fn a_404_of_a_proxy_and_a_tag_that_alone_is_gone_close_nothing() {
    let lost = Arc::new(AtomicBool::new(false));
    let of_proxy = |_: &Seen| Reply::new(404).with("404 page not found\n");
    let of_last_tag = |seen: &Seen| match (seen.path.contains("/tags/list"), seen.path.contains("sha256")) {
        (true, _) => Reply::new(404).with(UNKNOWN),
        (_, true) => hub::manifest_reply(),
        _ => Reply::new(404),
    };
    let of_tag = |seen: &Seen| if seen.path.contains("/tags/list") { Reply::ok(r#"{"tags":["2"]}"#) } else { Reply::new(404) };
    let all: [Script; 3] = [Box::new(of_proxy), Box::new(of_last_tag), Box::new(of_tag)];
    for then in all {
        lost.store(false, Ordering::SeqCst);
        let (setup, repo) = pulled(&lost, then).await;
        lost.store(true, Ordering::SeqCst);
        for _ in ["gone", "still gone"] {
            let kept = setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await.expect("its grace time");
            assert_eq!(kept.warning, Some(Warning::Deleted));
        }
        assert!(!repo.is_closed());
        assert_eq!(setup.server.count("/tags/list"), 1, "it is asked once");
    }
}

#[tokio::test]
async fn a_tag_is_not_gone_while_nobody_knows_whether_all_else_is() {
    let lost = Arc::new(AtomicBool::new(false));
    let (setup, repo) = pulled(&lost, |seen| Reply::new(if seen.path.contains("/tags/list") { 500 } else { 404 })).await;
    lost.store(true, Ordering::SeqCst);
    let kept = setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await.expect("as it was");
    assert!(matches!(kept.warning, Some(Warning::Failing(_))), "{:?}", kept.warning);
}

#[tokio::test]
async fn a_429_to_a_tag_that_nobody_knows_leaves_the_upstream_in_peace_for_all_that_are_known() {
    let lost = Arc::new(AtomicBool::new(false));
    let (setup, repo) = pulled(&lost, |_| Reply::new(429)).await;
    lost.store(true, Ordering::SeqCst);
    setup.cache.manifest(&repo, &"unknown".parse().expect("a tag"), false, Deadline::new()).await.expect_err("429");
    let asked = setup.server.seen().len();
    let kept = setup.cache.manifest(&repo, &"1".parse().expect("a tag"), false, Deadline::new()).await.expect("as it was");
    assert_eq!((kept.warning, setup.server.seen().len()), (Some(Warning::RateLimited), asked));
}

/// Has `repo` recorded as public, with a manifest that is at hand.
fn public(setup: &Setup, repo: &Repo) -> Digest {
    let bytes = hub::manifest();
    let digest = hub::digest_of(bytes.as_bytes());
    setup.store.put_manifest(&digest, bytes.as_bytes()).expect("room");
    let media_type = MediaType::new(MediaType::OCI_MANIFEST);
    repo.records.learn_manifest(&ManifestRecord { digest: digest.clone(), media_type, size: bytes.len() as u64, children: Vec::new() });
    repo.records.learn_state(|state| RepositoryState { visibility: Some(Visibility::Public), ..state });
    digest
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            let path = entry.path();
            let below = if path.is_dir() { walk(&path) } else { Vec::new() };
            std::iter::once(path.display().to_string()).chain(below)
        })
        .collect()
}

#[tokio::test]
async fn when_memory_holds_too_many_repositories_the_longest_unused_go_and_none_that_is_not_saved() {
    let setup = Setup::new(|_| Reply::new(404)).await;
    let name = |at: usize| format!("many/name-{at}");
    let is_kept = |at: usize| setup.cache.0.repos.holds(&name(at));
    for at in 0..repo::REPOS {
        setup.repo(&name(at)).await;
    }
    setup.repo(&name(1)).await.records.learn_blob(&hub::digest_of(b"x"), 1); // And no disk took it.
    setup.repo(&name(4000)).await;
    setup.repo(&name(0)).await; // Hot.
    setup.repo("many/one-more").await;
    assert!(is_kept(0) && is_kept(1) && is_kept(4000));
    assert!(!is_kept(2) && !is_kept(3) && is_kept(repo::REPOS - 1));
    assert_eq!((2..repo::REPOS).filter(|at| !is_kept(*at)).count(), repo::REPOS / 4);
}
