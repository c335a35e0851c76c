//! `chandler acme`: the account is shown, given another key and ended, and whatever happens on the way it is not lost.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::hub::Hub;
use tests::interposer::{Fate, Interposer};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tokio::sync::oneshot;

use super::super::https_by_acme::{at, mirror};
use super::{acme, cert, edit, right, status, wrong};

fn account(config: &std::path::Path) -> Value {
    let said = right(&acme(config, &["account", "show", "--json"]));
    serde_json::from_str::<Value>(&said).expect("JSON")[0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_registered_shown_given_another_key_and_ended() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    edit(&config, "acme: {directories", "acme: {email: ops@example.com, directories");
    let said = wrong(&acme(&config, &["account", "show"]), 1);
    assert!(said.contains("there is no account") && said.contains("hint: `chandler acme account register`"), "{said}");

    let said = right(&acme(&config, &["account", "register"]));
    assert!(said.contains("status   valid") && said.contains("contact  mailto:ops@example.com"), "{said}");
    let first = account(&config);
    let url = first["account"].as_str().expect("a URL").to_owned();
    assert_eq!(first["dns_persist"][0]["name"], "_validation-persist.mirror.test");
    assert!(first["dns_persist"][0]["value"].as_str().is_some_and(|value| value.ends_with(&format!("; accounturi={url}"))), "{first}");
    edit(&config, "ops@example.com", "night@example.com");
    right(&acme(&config, &["account", "register"]));
    assert_eq!(account(&config)["contact"][0], "mailto:night@example.com", "the CA has the address that the configuration has");

    right(&acme(&config, &["account", "rollover"]));
    let second = account(&config);
    assert_eq!((&second["account"], &second["status"]), (&first["account"], &first["status"]));
    assert_ne!(second["thumbprint"], first["thumbprint"]);
    right(&cert(&config, &["obtain"]));
    assert_eq!(status(&config)["account"].as_str(), Some(url.as_str()), "it orders with the new key");

    let said = wrong(&acme(&config, &["account", "deactivate"]), 2);
    assert!(said.contains("for good") && said.contains("--yes"), "{said}");
    right(&acme(&config, &["account", "deactivate", "--yes"]));
    wrong(&acme(&config, &["account", "show"]), 1);
    right(&cert(&config, &["renew", "--force"]));
    assert_ne!(status(&config)["account"].as_str(), Some(url.as_str()), "another one orders from now on");
    assert_eq!(status(&config)["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_runs_goes_on_with_another_key_and_with_another_account() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let config = program.config();
    right(&acme(&config, &["account", "rollover"]));
    let said = right(&cert(&config, &["renew", "--force"]));
    assert!(said.contains("generation 2"), "{said}");
    right(&acme(&config, &["account", "deactivate", "--yes"]));
    let said = right(&cert(&config, &["renew", "--force"]));
    assert!(said.contains("generation 3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_ca_has_heard_of_a_new_key_or_not_the_account_stays_ours() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    for has_heard in [false, true] {
        let is_first = AtomicBool::new(true);
        let way = Interposer::before(&pebble, move |asked| {
            let breaks = asked.path.contains("key") && is_first.swap(false, Ordering::AcqRel);
            match (breaks, has_heard) {
                (false, _) => Fate::Pass,
                (true, false) => Fate::Lose,
                (true, true) => Fate::LoseAnswer(Box::new(|| {})),
            }
        });
        let builder = mirror(&hub, &pebble, &way.directory(), way.root(), "");
        let config = builder.write();
        right(&acme(&config, &["account", "register"]));
        let before = account(&config);
        let said = wrong(&acme(&config, &["account", "rollover"]), 1);
        assert!(said.contains("changing the account's key"), "{said}");
        let left = || {
            let folders = std::fs::read_dir(builder.folder().join("certs/acme")).expect("an account").flatten();
            folders.filter(|folder| folder.path().join("account.json.next").exists()).count()
        };
        assert_eq!(left(), 1, "the new key is written down");

        right(&cert(&config, &["obtain"]));
        let after = account(&config);
        assert_eq!(after["account"], before["account"]);
        assert_eq!(after["thumbprint"] != before["thumbprint"], has_heard, "the key that the CA has");
        assert_eq!(left(), 0);
        right(&acme(&config, &["account", "rollover"]));
        assert_eq!(account(&config)["account"], before["account"]);
    }
}

/// A proxy, or a CA that is slow, has the request yet when the account is opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_ca_takes_long_after_the_change_broke_off_is_ours_yet() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let ((now, when), (done, is_done)) = (oneshot::channel(), oneshot::channel());
    let mut late = Some((when, done));
    let way = Interposer::before(&pebble, move |asked| match late.take_if(|_| asked.path.contains("key")) {
        Some((when, done)) => Fate::LoseUntil(when, done),
        None => Fate::Pass,
    });
    let builder = mirror(&hub, &pebble, &way.directory(), way.root(), "");
    let config = builder.write();
    right(&acme(&config, &["account", "register"]));
    let before = account(&config);
    wrong(&acme(&config, &["account", "rollover"]), 1);
    right(&cert(&config, &["obtain"]));
    assert_eq!(account(&config)["thumbprint"], before["thumbprint"], "the CA has not heard of another key");

    now.send(()).expect("the request waits");
    is_done.await.expect("the CA takes the change");
    right(&cert(&config, &["renew", "--force"]));
    let after = account(&config);
    assert_eq!(after["account"], before["account"]);
    assert_ne!(after["thumbprint"], before["thumbprint"]);
    right(&acme(&config, &["account", "rollover"]));
    assert_eq!(account(&config)["account"], before["account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_that_is_shown_proves_the_name() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    // Pebble does not say how it is called in DNS, which other CAs do.
    let named = |text: String| {
        let mut directory: Value = serde_json::from_str(&text).expect("a directory is JSON");
        directory["meta"]["caaIdentities"] = serde_json::json!(["pebble.letsencrypt.org"]);
        directory.to_string()
    };
    let way = Interposer::before(&pebble, move |asked| if asked.path == "/dir" { Fate::rewrite(named) } else { Fate::Pass });
    let builder = mirror(&hub, &pebble, &way.directory(), way.root(), "");
    let config = builder.write();
    edit(&config, "[mirror.test, 127.0.0.1]", "[\"*.mirror.test\", mirror.test]");
    edit(&config, "acme: {directories", "acme: {challenges: [dns-persist-01], directories");
    right(&acme(&config, &["account", "register"]));
    let said = wrong(&cert(&config, &["obtain"]), 1);
    assert!(said.contains("`chandler acme account show` prints the TXT record"), "{said}");
    let shown = right(&acme(&config, &["account", "show"]));
    let line = shown.lines().find(|line| line.starts_with("_validation-persist.")).expect("a record");
    let (name, value) = line.split_once(" TXT ").expect("a TXT record");
    pebble.set_txt(name, value.trim_matches('"'));
    let said = right(&cert(&config, &["obtain"]));
    assert!(said.contains("generation 1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cas_profiles_are_listed_and_a_ca_that_is_away_is_told_with_the_setting() {
    let Some(mut pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    edit(&config, "acme: {directories", "acme: {profile: default, directories");
    assert_eq!(right(&acme(&config, &["profiles"])), "default  for tests  (acme.profile)\n");
    right(&acme(&config, &["account", "register"]));
    let url = account(&config)["account"].as_str().expect("a URL").to_owned();
    pebble.stop();
    let said = wrong(&acme(&config, &["profiles"]), 1);
    assert!(said.contains(&pebble.directory()) && said.contains("hint: acme.directories names the CA"), "{said}");
    let output = acme(&config, &["account", "show"]);
    assert!(right(&output).contains(&url), "what is in our own files is shown");
    assert!(super::text(&output.stderr).contains("note: what the CA knows of it is not shown"));
}
