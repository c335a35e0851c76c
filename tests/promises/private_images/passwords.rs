//! To whom the account's password and tokens go: to the upstream and its own token service, and nowhere else, nor into any text.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_two_accounts_are_never_mixed() {
    let images = images();
    let hub = &images.hub;
    hub.add_account("other", "another-passw0rd");
    hub.image("other/app").tag("1").seed(21).push();
    hub.private("other/app");
    hub.allow("other", "other/app");
    let second =
        format!("{{name: second, url: \"{}\", answers_to: [second], account: {{user: other, password: another-passw0rd}}}}", hub.url());
    let mirror = images.mirror().upstream(&second).start();
    let client = Client::new(mirror.url());
    client.pull(PRIVATE, "1").await;
    client.pull("second/other/app", "1").await;
    for path in [manifest("other/app", "1"), manifest(&format!("second/{PRIVATE}"), "1")] {
        assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let counts = hub.count();
    for seen in counts.list(on(Kind::Manifest).method("GET")) {
        let owner = if seen.repository.as_deref() == Some(PRIVATE) { USER } else { "other" };
        assert_eq!(seen.account.as_deref(), Some(owner), "{}", counts.summary());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_on_a_foreign_host_gets_no_password() {
    let images = images_at(Hub::builder().token_on([127, 0, 0, 9].into()).start().expect("loopback"));
    let mirror = images.mirror().start();
    let client = Client::new(mirror.url());
    client.pull(PUBLIC, "1").await; // As nobody in particular, which gives nothing away.
    assert!(client.get(&format!("/v2/{PUBLIC}/tags/list")).await.status.is_success());
    let answer = client.get(&manifest(PRIVATE, "1")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "it is there, and we cannot have it: not a 404");
    let body = String::from_utf8_lossy(&answer.body.expect("an error has a body")).into_owned();
    assert!(body.contains("127.0.0.9") && body.contains("realms"), "{body}");
    admin_until(&mirror, "/readyz", "realms", true).await;
    let nobody = Program::of_hub(&images.hub.url()).start();
    Client::new(nobody.url()).pull(PUBLIC, "1").await; // Without an account there is nothing to give away.
    let counts = images.hub.count();
    assert!(counts.of(on(Kind::Token)) > 0, "{}", counts.summary());
    assert!(counts.all().iter().filter(|seen| seen.kind == Kind::Token).all(|seen| !seen.is_authorized()), "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_moves_to_a_foreign_host_leaves_public_and_cached_images() {
    let images = images_at(Hub::builder().token_on([127, 0, 0, 9].into()).start().expect("loopback"));
    images.hub.image("library/new").tag("1").seed(11).push();
    let mirror = images.mirror().hub(", realms: [127.0.0.9], tag_window: 0s").start();
    let client = Client::new(mirror.url());
    let (private, public) = (client.pull(PRIVATE, "1").await, client.pull(PUBLIC, "1").await);
    Operator::of(&mirror).wait_until_written().await; // A reload starts from what is written.
    let text = std::fs::read_to_string(mirror.config()).expect("it was written");
    std::fs::write(mirror.config(), text.replace("realms: [127.0.0.9], ", "")).expect("it is ours");
    mirror.signal("HUP");
    mirror.wait_for_log("the configuration was read again");
    images.hub.forget();
    assert_eq!(client.pull(PRIVATE, "1").await, private, "cached");
    assert_eq!(client.pull(PUBLIC, "1").await, public, "cached and public");
    client.pull("library/new", "1").await;
    client.until(&manifest(PRIVATE, "1"), |answer| answer.header("warning").contains("does not trust")).await;
    let counts = images.hub.count();
    assert!(counts.all().iter().filter(|seen| seen.kind == Kind::Token).all(|seen| !seen.is_authorized()), "{}", counts.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_the_configuration_names_is_trusted() {
    let images = images_at(Hub::builder().token_on([127, 0, 0, 9].into()).start().expect("loopback"));
    let mirror = images.mirror().hub(", realms: [127.0.0.9]").start();
    Client::new(mirror.url()).pull(PRIVATE, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_or_token_is_shown_anywhere() {
    let images = images();
    let mirror = images.mirror().hub(", tag_window: 0s").environment("CHANDLER_LOG_LEVEL", "trace").start();
    let client = Client::new(mirror.url());
    client.pull(PRIVATE, "1").await;
    let mut shown = String::new();
    images.hub.revoke_account(USER);
    for path in [manifest("acme/nothing", "1"), manifest(PRIVATE, "2"), "/v2/acme/app/blobs/sha256:0".to_owned()] {
        shown.push_str(&String::from_utf8_lossy(&client.get(&path).await.body.expect("an error has a body")));
    }
    images.hub.down();
    shown.push_str(&String::from_utf8_lossy(&client.get(&manifest("acme/nothing", "1")).await.body.expect("an error has a body")));
    let admin = Client::new(mirror.admin());
    admin_until(&mirror, "/readyz", "account", true).await;
    for path in ["/readyz", "/metrics", "/figures", "/healthz", "/nothing"] {
        shown.push_str(&String::from_utf8_lossy(&admin.get(path).await.body.expect("a page")));
    }
    let show = std::process::Command::new(tests::program::program_path())
        .args(["mirror", "--check", "--show", "--config"])
        .arg(mirror.config())
        .output()
        .expect("the program runs");
    shown.push_str(&String::from_utf8_lossy(&show.stdout));
    shown.push_str(&String::from_utf8_lossy(&show.stderr));
    assert!(shown.contains(USER) && shown.contains("upstreams"), "{shown}");
    shown.push_str(&mirror.log());
    assert!(!shown.contains(PASSWORD), "the password is shown");
    let encoded = "Y2k6UGE1NS13MHJkLW9mLXRoZS1hY2NvdW50"; // user:password as Basic sends it
    assert!(!shown.contains(encoded), "the password is shown, encoded");
    assert!(!shown.contains("testhubtesthub"), "a token is shown");
}
