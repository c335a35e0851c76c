//! A whole mirror in this process: how it starts, changes and ends. Its upstream is never there.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::{Sources, resolve};

/// A configuration in a folder of its own, with these lines in it.
fn config(folder: &TempDir, lines: &str) -> Config {
    with_account(folder, "", lines)
}

/// The same, with more keys of the upstream.
fn with_account(folder: &TempDir, keys: &str, lines: &str) -> Config {
    let store = folder.path().display();
    let text = format!(
        "upstreams: [{{name: docker.io, url: \"http://127.0.0.1:1\"{keys}}}]\nstore: {{path: \"{store}\", min_free: 1MiB}}\n\
         log: {{access: false}}\n{lines}"
    );
    resolve(&Sources::yaml(&text)).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config
}

/// What a service manager hands over, whatever the configuration says.
fn socket(address: &str) -> Vec<TcpListener> {
    vec![TcpListener::bind((address, 0)).expect("a free port")]
}

fn folder() -> TempDir {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    TempDir::with_prefix("chandler-service-").expect("a folder")
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_whatever_hangs() {
    let folder = folder();
    let config = config(&folder, "listeners: [\"127.0.0.1:0\"]\nadmin: {address: \"127.0.0.1:0\"}");
    let running = Mirror::bind(&config, Vec::new()).expect("bound").spawn();
    let Parts { admin, background, listening, .. } = &running.parts;
    for tasks in [listening, background, admin] {
        tasks.tracker.spawn(std::future::pending::<()>());
    }
    timeout(Duration::from_hours(1), running.drain()).await.expect("it ends");
}

const ACCOUNT: &str = ", account: {user: ci, password: secret-word}";

#[test]
fn a_socket_that_others_reach_opens_no_account_unless_somebody_says_so() {
    let folder = folder();
    let bind = |keys: &str, lines: &str, address: &str| {
        let lines = format!("listeners: [\"127.0.0.1:0\"]\nadmin: off\n{lines}");
        Mirror::bind(&with_account(&folder, keys, &lines), socket(address)).map(drop)
    };
    let refused = bind(ACCOUNT, "", "0.0.0.0").expect_err("nobody said who may read");
    let text = refused.to_string();
    assert!(matches!(refused, StartError::Exposed { .. }) && text.contains("`ci` at docker.io") && text.contains("access"), "{text}");
    let none_is_served = format!("{ACCOUNT}, private: []");
    for (keys, lines, address) in [
        (ACCOUNT, "", "127.0.0.1"),
        (ACCOUNT, "access: open", "0.0.0.0"),
        (ACCOUNT, "access: [\"10.0.0.0/8\"]", "0.0.0.0"),
        (&none_is_served, "", "0.0.0.0"),
        ("", "", "0.0.0.0"),
    ] {
        bind(keys, lines, address).unwrap_or_else(|error| panic!("{keys} {lines} {address}: {error}"));
    }
}

#[tokio::test]
async fn another_bundle_under_the_same_name_is_told_to_wait_for_a_restart() {
    let folder = folder();
    let bundle = folder.path().join("roots.pem");
    let config = config(&folder, &format!("listeners: [\"127.0.0.1:0\"]\nadmin: off\nacme: {{ca: \"{}\"}}", bundle.display()));
    std::fs::write(&bundle, "one").expect("written");
    let running = Mirror::bind(&config, Vec::new()).expect("bound").spawn();
    assert_eq!(running.reload(&config).expect("taken over"), Vec::<&str>::new());
    std::fs::write(&bundle, "another").expect("written");
    assert_eq!(running.reload(&config).expect("taken over"), ["acme.ca"]);
    std::fs::write(&bundle, "one").expect("written");
    assert_eq!(running.reload(&config).expect("taken over"), Vec::<&str>::new());
    running.drain().await;
}

#[tokio::test]
async fn a_reload_opens_no_account_for_a_socket_that_others_reach() {
    let folder = folder();
    let of = |lines: &str| with_account(&folder, ACCOUNT, &format!("listeners: [\"127.0.0.1:0\"]\nadmin: off\n{lines}"));
    let running = Mirror::bind(&of("access: [\"10.0.0.0/8\"]"), socket("0.0.0.0")).expect("bound").spawn();
    assert!(matches!(running.reload(&of("")), Err(StartError::Exposed { .. })));
    running.reload(&of("access: open")).expect("somebody said so");
    running.drain().await;
}
