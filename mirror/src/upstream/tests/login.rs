//! Tokens, the account, realms: who gets what, and how often.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::upstream::{AccountStatus, FetchError};

#[tokio::test]
async fn a_hundred_requests_at_once_share_one_token() {
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&config(&hub));
    upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect("the first, which learns the challenge");
    let fresh = super::upstream(&config(&hub));
    let before = hub.count("/token");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let fresh = fresh.clone();
        all.spawn(async move { fresh.manifest(&repo(), &tag(), Identity::Account).await });
    }
    assert!(all.join_all().await.iter().all(Result::is_ok));
    assert_eq!(hub.count("/token") - before, 1);
}

#[tokio::test]
async fn what_was_learnt_spares_the_next_request_its_refusal() {
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&config(&hub));
    for _ in 0..3 {
        upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("a manifest");
    }
    let other: RepoName = "other/app".parse().expect("a name");
    upstream.manifest(&other, &tag(), Identity::Account).await.expect("a manifest");
    assert_eq!(hub.count("/v2/team/app/"), 4, "one refusal and three answers");
    assert_eq!(hub.count("/v2/other/app/"), 1);
    assert_eq!(hub.count("scope=repository%3Aother%2Fapp%3Apull"), 1);
}

#[tokio::test]
async fn a_token_that_is_rejected_early_is_replaced_once() {
    let rejected = Arc::new(AtomicBool::new(false));
    let now_rejected = Arc::clone(&rejected);
    let hub = Server::start(move |seen| {
        if seen.path.starts_with("/token") {
            return Reply::ok(format!(r#"{{"token":"number-{}"}}"#, seen.nth));
        }
        match seen.header("authorization") {
            Some("Bearer number-0") if !now_rejected.load(Ordering::Relaxed) => manifest_reply(),
            Some("Bearer number-1") => manifest_reply(),
            _ => challenge(seen),
        }
    })
    .await;
    let upstream = upstream(&config(&hub));
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("with the first token");
    rejected.store(true, Ordering::Relaxed);
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("with the second token");
    assert_eq!(hub.count("/token"), 2);
}

#[tokio::test]
async fn a_registry_that_never_lets_us_in_is_not_asked_for_ever() {
    let hub = Server::start(|seen| if seen.path.starts_with("/token") { Reply::ok(r#"{"token":"t"}"#) } else { challenge(seen) }).await;
    let upstream = upstream(&config(&hub));
    for round in 1..=2 {
        let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("no way in");
        assert!(matches!(error, FetchError::Denied { .. }), "{error}");
        assert!(hub.count("/token") <= 2 * round && hub.count("/v2/") <= 2 * round, "{:?}", hub.seen());
    }
}

#[tokio::test]
async fn a_challenge_that_changes_each_time_is_not_answered_for_ever() {
    let number = AtomicUsize::new(0);
    let hub = Server::start(move |seen| {
        if seen.path.starts_with("/token") {
            return Reply::ok(r#"{"token":"t"}"#);
        }
        let host = seen.header("host").expect("a host");
        let number = number.fetch_add(1, Ordering::Relaxed);
        Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="http://{host}/token",scope="number-{number}""#))
    })
    .await;
    let error = upstream(&config(&hub)).manifest(&repo(), &tag(), Identity::Account).await.expect_err("no way in");
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    assert_eq!(hub.count("/v2/"), 3);
}

#[tokio::test]
async fn a_foreign_realm_gets_no_password() {
    let thief = Server::listen("127.0.0.2:0", |_| Reply::ok(r#"{"token":"stolen"}"#)).await;
    let realm = thief.url("/token");
    let hub = Server::start(move |_| Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="hub""#))).await;
    let upstream = upstream(&with_account(&hub, password()));
    let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("not trusted");
    assert!(matches!(&error, FetchError::UntrustedRealm { .. }) && error.is_about_account(), "{error}");
    assert!(matches!(upstream.status().account, AccountStatus::Refused { reason, .. } if reason.contains("realms")));
    assert!(error.to_string().contains(&thief.url("").origin().ascii_serialization()), "{error}");
    assert_eq!(thief.seen().len(), 0);
}

#[tokio::test]
async fn what_lies_inside_is_asked_for_no_token_by_anybody() {
    let hub =
        Server::start(|_| Reply::new(401).header("WWW-Authenticate", r#"Bearer realm="http://169.254.169.254/latest/api/token""#)).await;
    for (config, identity) in [(config(&hub), Identity::Account), (with_account(&hub, password()), Identity::Anonymous)] {
        let error = upstream(&config).manifest(&repo(), &tag(), identity).await.expect_err("no token service");
        assert!(matches!(&error, FetchError::UntrustedRealm { .. }), "{error}");
    }
}

/// Of a private one, that nobody may list it is no news: the account is what must be mended.
#[tokio::test]
async fn tags_are_listed_as_nobody_where_the_account_is_refused() {
    let hub = Server::start(|seen| {
        guarded(seen, |seen| if seen.path.contains("/public/") { Reply::ok(r#"{"tags":["1"]}"#) } else { Reply::new(404) })
    })
    .await;
    let upstream = upstream(&with_account(&hub, PasswordSource::Value(Secret::new("wrong"))));
    upstream.tags(&"public/app".parse().expect("a name"), "", Identity::Account).await.expect("a list");
    let error = upstream.tags(&repo(), "", Identity::Account).await.expect_err("private");
    assert!(matches!(error, FetchError::AccountRefused { .. }), "{error}");
}

#[tokio::test]
async fn a_listed_realm_gets_the_password_and_anybody_may_ask_a_foreign_one_without() {
    let service = Server::listen("127.0.0.2:0", |_| Reply::ok(r#"{"token":"t"}"#)).await;
    let realm = service.url("/token");
    let hub = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer t") => manifest_reply(),
        _ => Reply::new(401).header("WWW-Authenticate", format!(r#"Bearer realm="{realm}",service="hub""#)),
    })
    .await;
    let listed = UpstreamConfig { realms: vec!["127.0.0.2".to_owned()], ..with_account(&hub, password()) };
    upstream(&listed).manifest(&repo(), &tag(), Identity::Account).await.expect("as the account");
    upstream(&with_account(&hub, password())).manifest(&repo(), &tag(), Identity::Anonymous).await.expect("as anybody");
    let credentials: Vec<_> = service.seen().iter().map(Seen::credentials).collect();
    assert_eq!(credentials, [Some(format!("ship:{PASSWORD}")), None]);
}

#[tokio::test]
async fn a_refused_account_is_said_and_not_hammered_and_the_public_still_reads() {
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&with_account(&hub, PasswordSource::Value(Secret::new("wrong-and-secret"))));
    for _ in 0..5 {
        let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("a wrong password");
        assert!(matches!(error, FetchError::AccountRefused { .. }), "{error}");
        assert!(!format!("{error} {error:?} {upstream:?} {:?}", upstream.status()).contains("secret"));
    }
    assert!(matches!(upstream.status().account, AccountStatus::Refused { .. }));
    assert_eq!(hub.count("/token"), 2, "for the repository, and to see whether it is the account: {:?}", hub.seen());
    upstream.manifest(&repo(), &tag(), Identity::Anonymous).await.expect("as anybody");
}

#[tokio::test]
async fn a_herd_with_a_wrong_password_tries_it_once() {
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&with_account(&hub, PasswordSource::Value(Secret::new("wrong"))));
    let mut all = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (upstream, repo) = (upstream.clone(), format!("team/app{number}").parse::<RepoName>().expect("a name"));
        all.spawn(async move { upstream.manifest(&repo, &tag(), Identity::Account).await });
    }
    assert!(all.join_all().await.iter().all(|result| matches!(result, Err(FetchError::AccountRefused { .. }))));
    assert_eq!(hub.count("/token"), 2);
}

#[tokio::test]
async fn a_password_that_was_changed_on_disk_is_found_when_the_old_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "old").expect("a file");
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&with_account(&hub, PasswordSource::File(path.clone())));
    let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("the old password");
    assert!(matches!(error, FetchError::AccountRefused { .. }));
    std::fs::write(&path, PASSWORD).expect("a file");
    let status = upstream.preflight().await.expect("an answer");
    assert_eq!(status.account, AccountStatus::Accepted);
    upstream.manifest(&repo(), &tag(), Identity::Account).await.expect("as the account");
}

#[tokio::test]
async fn a_password_that_cannot_be_read_is_told_as_such_and_not_as_the_upstreams_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Server::start(|seen| guarded(seen, |_| manifest_reply())).await;
    let upstream = upstream(&with_account(&hub, PasswordSource::File(folder.path().join("none"))));
    let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("no password");
    assert!(error.is_about_account() && !error.to_string().contains("refuses"), "{error}");
    let status = upstream.status().account;
    assert!(matches!(&status, AccountStatus::Unreadable { reason, .. } if reason.contains("cannot be read")), "{status}");
    assert_eq!(hub.count("/token"), 0, "nobody was asked with it");
}

#[tokio::test]
async fn a_quota_that_is_not_told_is_no_error_of_a_healthy_upstream() {
    let hub = Server::start(|seen| if seen.path == "/v2/" { Reply::ok("{}") } else { Reply::new(403) }).await;
    let status = upstream(&UpstreamConfig { hub: true, ..config(&hub) }).preflight().await.expect("an answer");
    assert_eq!(hub.count("/v2/ratelimitpreview/test/"), 1, "it was asked");
    assert!(status.last_error.is_none(), "{:?}", status.last_error);
}

#[tokio::test]
async fn a_repository_that_the_account_may_not_read_does_not_make_the_account_bad() {
    let hub = Server::start(|seen| {
        let is_login = seen.path.starts_with("/token") && !seen.path.contains("scope=");
        if is_login {
            Reply::ok(r#"{"token":"t"}"#)
        } else if seen.path.starts_with("/token") {
            Reply::new(403)
        } else {
            challenge(seen)
        }
    })
    .await;
    let upstream = upstream(&with_account(&hub, password()));
    let error = upstream.manifest(&repo(), &tag(), Identity::Account).await.expect_err("not ours");
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    assert_eq!(upstream.status().account, AccountStatus::Accepted);
}

#[tokio::test]
async fn the_hubs_no_to_a_good_token_is_a_denial_and_costs_one_token() {
    let hub = Server::start(|seen| {
        let reply = guarded(seen, |seen| challenge(seen).header("X", "y"));
        if seen.header("authorization").is_some_and(|it| it.starts_with("Bearer")) {
            let host = seen.header("host").expect("a host");
            let text =
                format!(r#"Bearer realm="http://{host}/token",service="hub",scope="repository:team/app:pull",error="insufficient_scope""#);
            return Reply::new(401).header("WWW-Authenticate", text);
        }
        reply
    })
    .await;
    let upstream = upstream(&with_account(&hub, password()));
    for _ in 0..3 {
        let error = upstream.head_manifest(&repo(), &tag(), Identity::Account).await.expect_err("private");
        assert!(matches!(error, FetchError::Denied { .. }), "{error}");
    }
    assert_eq!(hub.count("/token"), 1);
    assert_eq!(upstream.status().account, AccountStatus::Accepted);
}

#[tokio::test]
async fn basic_goes_to_the_registry_itself_and_not_where_it_redirects() {
    let cdn = Server::listen("127.0.0.2:0", |_| Reply::ok("layer")).await;
    let to = cdn.url("/layer?signature=secret");
    let hub = Server::start(move |seen| match seen.credentials() {
        Some(right) if right == format!("ship:{PASSWORD}") => Reply::new(307).header("Location", &to),
        _ => Reply::new(401).header("WWW-Authenticate", r#"Basic realm="hub""#),
    })
    .await;
    let upstream = upstream(&with_account(&hub, password()));
    let mut blob = upstream.blob(&repo(), &digest_of(b"layer"), 0, Identity::Account).await.expect("a blob");
    assert_eq!(blob.next().await.expect("bytes").as_deref(), Some(&b"layer"[..]));
    assert_eq!(upstream.status().account, AccountStatus::Accepted);
    assert_eq!(cdn.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn basic_with_a_wrong_password_is_refused_once_for_all() {
    let hub = Server::start(|_| Reply::new(401).header("WWW-Authenticate", "Basic")).await;
    let upstream = upstream(&with_account(&hub, password()));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let upstream = upstream.clone();
        all.spawn(async move { upstream.manifest(&repo(), &tag(), Identity::Account).await });
    }
    assert!(all.join_all().await.iter().all(|result| matches!(result, Err(FetchError::AccountRefused { .. }))));
    let tried = hub.seen().iter().filter(|seen| seen.credentials().is_some()).count();
    assert_eq!(tried, 2, "the request, and the look whether it is the account");
}

#[tokio::test]
async fn a_token_service_that_limits_is_told_as_a_limit() {
    let hub =
        Server::start(|seen| if seen.path.starts_with("/token") { Reply::new(429).header("Retry-After", 7) } else { challenge(seen) })
            .await;
    let error = upstream(&config(&hub)).manifest(&repo(), &tag(), Identity::Account).await.expect_err("a limit");
    assert!(matches!(error, FetchError::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 7), "{error}");
}

#[tokio::test]
async fn a_token_service_that_refuses_anybody_denies() {
    let hub = Server::start(|seen| if seen.path.starts_with("/token") { Reply::new(403) } else { challenge(seen) }).await;
    let error = upstream(&config(&hub)).manifest(&repo(), &tag(), Identity::Account).await.expect_err("denied");
    assert!(matches!(error, FetchError::Denied { .. }), "{error}");
}

/// What an alternate hears of us is what anybody would say.
#[tokio::test]
async fn a_foreign_alternate_never_gets_the_account() {
    let alternate = Server::listen("127.0.0.2:0", |seen| guarded(seen, |_| manifest_reply())).await;
    let hub = Server::start(|_| Reply::new(503)).await;
    let config = UpstreamConfig { alternates: vec![alternate.url("")], ..with_account(&hub, password()) };
    upstream(&config).manifest(&repo(), &tag(), Identity::Account).await.expect("from the alternate");
    assert!(alternate.seen().iter().all(|seen| seen.credentials().is_none()));
}

/// Everything that the client logs at its most talkative.
#[tokio::test]
async fn no_secret_is_ever_logged() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone()).finish();
    // With one subscriber alone, tracing asks the thread that meets a line first whether anybody listens; other tests' threads would say no for us.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    let cdn = Server::listen("127.0.0.2:0", |seen| if seen.nth == 0 { Reply::ok("layer").cut_after(2) } else { Reply::new(403) }).await;
    let to = cdn.url("/layer?signature=signed-secret");
    let hub = Server::start(move |seen| guarded(seen, |_| Reply::new(307).header("Location", &to))).await;
    let upstream = upstream(&with_account(&hub, password()));
    let mut blob = upstream.blob(&repo(), &digest_of(b"layer"), 0, Identity::Account).await.expect("a blob");
    assert!(!format!("{blob:?}").contains("secret"), "while it is open");
    let error = loop {
        if let Err(error) = blob.next().await {
            break error;
        }
    };
    let all = format!("{}{error}{error:?}{blob:?}{upstream:?}{:?}", lines.text(), upstream.status());
    assert!(all.contains("accepts the account"), "the log was heard");
    for secret in [PASSWORD, "signed-secret", "ours\""] {
        assert!(!all.contains(secret), "`{secret}` in {all}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("a text")
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
