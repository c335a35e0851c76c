//! What is wrong with the settings of certificates is told in words that name the setting and the mend: before a CA is asked where that can be seen, and
//! with the CA's own words where only it can know.

use std::net::TcpListener;
use std::path::Path;

use tests::hub::Hub;
use tests::pebble::{BLOCKED, Pebble, Settings};

use super::super::https_by_acme::at;
use super::{cert, chandler, edit, wrong};

/// `chandler mirror --check`, which refuses.
#[track_caller]
fn refused(config: &Path) -> String {
    wrong(&chandler("mirror", config, &["--check"]), 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_seen_without_a_ca_is_told_at_the_check() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let directory = format!("directories: [\"{}\"]", pebble.directory());
    for (from, to, key, says) in [
        ("acme: {dir", "acme: {email: ops, dir", "acme.email", "not a mail address: write one, such as ops@example.com"),
        ("[mirror.test, 127", "[under_score.test, 127", "listeners.0.tls.acme", "`under_score.test` is no host name"),
        ("[mirror.test, 127", "[\"https://mirror.test\", 127", "listeners.0.tls.acme", "is no host name"),
        ("[mirror.test, 127", "[\"*.test\", 127", "listeners.0.tls.acme", "is no wildcard"),
        (&directory, "directories: [\"http://ca.test/dir\"]", "acme.directories", "it is spoken over https:// only"),
        (&directory, "directories: [lets-encrypt]", "acme.directories", "not a URL: the scheme is missing"),
        (
            "acme: {dir",
            "acme: {external: {kid: k, key: \"no key!\"}, dir",
            "acme.external.key",
            "no base64url; write it as the CA shows it",
        ),
        ("acme: {dir", "acme: {external: {kid: k}, dir", "acme.external", "has no key (or key_file)"),
        ("acme: {dir", "acme: {external: {key: YWJj}, dir", "acme.external", "has no kid"),
        ("acme: {dir", "acme: {challenges: [dns-01], dir", "acme.challenges", "dns-01 needs acme.dns: a hook, rfc2136 or route53"),
        ("acme: {dir", "acme: {challenges: [https], dir", "acme.challenges", "write tls-alpn-01, http-01, dns-01 or dns-persist-01"),
        ("http: \"127.0.0.1", "http: \"example.com", "acme.http", "a host's name does not say on which interface to listen"),
    ] {
        let builder = at(&hub, &pebble);
        let config = builder.write();
        edit(&config, from, to);
        let said = refused(&config);
        assert!(said.contains(key) && said.contains(says), "{to}: {said}");
        assert_eq!(wrong(&cert(&config, &["renew"]), 2), said, "every command says the same");
    }
    assert_eq!(pebble.issued(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_cannot_be_used_is_told_with_the_setting_that_names_it() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it is bound");
    for (to, says) in [
        (pebble.directory().replace("/dir", "/nothing-here"), "acme.directories must be the URL of the CA's ACME directory"),
        (format!("https://{nobody}/dir"), "acme.directories names the CA, acme.ca the roots by which it is known"),
    ] {
        let builder = at(&hub, &pebble);
        let config = builder.write();
        edit(&config, &pebble.directory(), &to);
        let said = wrong(&cert(&config, &["renew"]), 1);
        assert!(said.contains(&to) && said.contains(says), "{said}");
    }

    let builder = at(&hub, &pebble);
    let config = builder.write();
    let other = rcgen::generate_simple_self_signed(["other.test".to_owned()]).expect("a certificate");
    std::fs::write(builder.folder().join("ca.pem"), other.cert.pem()).expect("written");
    let said = wrong(&cert(&config, &["renew"]), 1);
    assert!(said.contains("UnknownIssuer") && said.contains("acme.ca the roots by which it is known"), "{said}");
    std::fs::write(builder.folder().join("ca.pem"), "no certificate").expect("written");
    assert!(wrong(&chandler("mirror", &config, &["--check"]), 2).contains("acme.ca"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_ca_does_not_take_is_told_with_the_setting_that_names_it() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    edit(&config, "[mirror.test, 127.0.0.1]", &format!("[{BLOCKED}]"));
    let said = wrong(&cert(&config, &["renew"]), 1);
    assert!(said.contains("rejectedIdentifier") && said.contains("listeners[].tls.acme"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_key_that_the_ca_does_not_know_is_told_with_its_setting() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let Some(pebble) = Pebble::start(Settings { customer: Some(("kid-1".into(), key.into())), ..Settings::default() }) else { return };
    let hub = Hub::start();
    for external in [
        String::new(),
        format!("external: {{kid: kid-2, key: {key}}}, "),
        format!("external: {{kid: kid-1, key: {}}}, ", key.replace("zWN", "AAA")),
    ] {
        let builder = at(&hub, &pebble);
        let config = builder.write();
        edit(&config, "acme: {dir", &format!("acme: {{{external}dir"));
        let said = wrong(&cert(&config, &["renew"]), 1);
        assert!(said.contains("acme.external.kid") && said.contains("what"), "{external}: {said}");
        assert!(!said.contains(key), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_somebody_else_has_is_told_with_who_has_it() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    edit(&config, "acme: {dir", "acme: {challenges: [http-01], dir");
    let _held = TcpListener::bind(("127.0.0.1", pebble.http_port())).expect("the CA only asks there");
    let said = wrong(&cert(&config, &["obtain"]), 1);
    assert!(said.contains("CAs cannot look for proofs of names") && said.contains("acme.http"), "{said}");
    let said = wrong(&cert(&config, &["check"]), 1);
    let line = said.lines().find(|line| line.contains("for http-01")).expect("the port is looked at");
    let by = format!("(process {}) has the port", std::process::id());
    assert!(line.starts_with("bad ") && line.contains(&by) && line.contains("acme.http moves it"), "{said}");
}
