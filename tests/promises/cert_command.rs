//! `chandler cert` and `chandler acme`: what a person asks of certificates and of the account behind them, beside a mirror that runs and without one.

mod account;
mod import;
mod mistakes;
mod trial;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tests::hub::Hub;
use tests::interposer::{Fate, Interposer};
use tests::named::{Named, Zone};
use tests::operator::Operator;
use tests::pebble::{Pebble, Settings};
use tests::program::{Program, program_path};

use super::https_by_acme::{at, shown};

/// `chandler cert ARGUMENTS` with a mirror's configuration.
fn cert(config: &Path, arguments: &[&str]) -> Output {
    chandler("cert", config, arguments)
}

/// `chandler acme ARGUMENTS` with it.
fn acme(config: &Path, arguments: &[&str]) -> Output {
    chandler("acme", config, arguments)
}

fn chandler(command: &str, config: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(program_path());
    program.arg(command).args(arguments).arg("--config").arg(config).env_clear();
    program.output().expect("the program was built with the tests")
}

/// What it said on standard error, when it ended with this exit code.
#[track_caller]
fn wrong(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// Changes a configuration that was written.
fn edit(config: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(config).expect("it was written");
    assert!(before.contains(from), "{before}");
    fs::write(config, before.replace(from, to)).expect("written");
}

#[track_caller]
fn right(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn status(config: &Path) -> Value {
    let said = right(&cert(config, &["status", "--json"]));
    serde_json::from_str::<Value>(&said).expect("JSON")[0].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_renews_through_the_mirror_that_runs_and_rolls_back() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let program = at(&hub, &pebble).start();
    Operator::of(&program).wait_for_readiness(200).await;
    let (config, first) = (program.config(), shown(&program, "mirror.test").await);
    let said = right(&cert(&config, &["status"]));
    assert!(
        said.contains("names    mirror.test, 127.0.0.1") && said.contains("a running mirror looks after it") && said.contains("days left"),
        "{said}"
    );

    let said = right(&cert(&config, &["renew"]));
    assert!(said.contains("generation 1"), "it is not due: {said}");
    let said = right(&cert(&config, &["renew", "--force"]));
    assert!(said.contains("generation 2"), "{said}");
    let second = shown(&program, "mirror.test").await;
    assert_ne!(second, first, "the mirror shows it without a restart");
    assert_eq!(pebble.issued(), 2);

    let serial = status(&config)["serial"].as_str().expect("a serial number").replace(':', "");
    right(&cert(&config, &["revoke", "mirror.test", "--reason", "key-compromise"]));
    assert!(pebble.has_revoked(&serial), "{serial}");
    let said = right(&cert(&config, &["renew"]));
    assert!(said.contains("generation 3"), "one that was taken back is due: {said}");

    let said = wrong(&cert(&config, &["rollback", "mirror.test", "--generation", "2"]), 1);
    assert!(said.contains("its issuer took it back"), "{said}");
    right(&cert(&config, &["rollback", "mirror.test", "--generation", "1"]));
    assert_eq!(status(&config)["generation"], 1);
    let program = program.crash_and_restart();
    assert_eq!(shown(&program, "mirror.test").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mirror_a_person_gets_a_certificate_and_carries_it_elsewhere() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    let said = right(&cert(&config, &["obtain"]));
    assert!(said.contains("generation 1") && said.contains("no mirror runs with it"), "{said}");
    assert!(status(&config)["account"].as_str().is_some_and(|account| account.contains("/my-account/")), "{said}");
    assert_eq!(status(&config)["identifiers"].as_array().map(Vec::len), Some(2));

    let folder = tempfile::tempdir().expect("a folder");
    right(&cert(&config, &["export", "mirror.test", "--out", folder.path().to_str().expect("text")]));
    let live = folder.path().join("live.pem");
    let listeners = format!("[{{address: \"127.0.0.1:0\", tls: {{certificate: \"{0}\", key: \"{0}\"}}}}]", live.display());
    let other = Program::of_hub(&hub.url()).listeners(&listeners);
    let other_config = other.write();
    let mut deploy_hook = Command::new(program_path());
    deploy_hook.args(["cert", "import", "--config"]).arg(&other_config).env_clear().env("RENEWED_LINEAGE", folder.path());
    let said = right(&deploy_hook.output().expect("it runs"));
    assert!(said.contains("mirror.test"), "{said}");
    let other = other.start();
    let exported = fs::read(folder.path().join("fullchain.pem")).expect("it was exported");
    let leaf =
        <rustls_pki_types::CertificateDer<'_> as rustls_pki_types::pem::PemObject>::from_pem_slice(&exported).expect("a certificate");
    assert_eq!(shown(&other, "mirror.test").await, leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_a_certificate_is_told_before_a_ca_is_asked() {
    let Some(pebble) = Pebble::start(Settings::default()) else { return };
    let hub = Hub::start();
    let builder = at(&hub, &pebble);
    let config = builder.write();
    let output = cert(&config, &["check"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("bad   mirror.test in DNS: it leads nowhere"), "{said}");
    assert!(said.contains(&format!("good  {} answers", pebble.directory())), "{said}");
    let output = cert(&config, &["check", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("programs are told in JSON, also of what is wrong");
    let bad = told.as_array().into_iter().flatten().find(|one| one["good"] == false).expect("something is wrong");
    assert!(output.status.code() == Some(1) && bad["fault"].is_string() && bad["subject"].is_string(), "{told}");

    let wrong = fs::read_to_string(&config).expect("it was written").replace("/dir\"", "/nothing-here\"");
    fs::write(&config, wrong).expect("written");
    let said = text(&cert(&config, &["check"]).stderr);
    assert!(said.contains("is no ACME server"), "{said}");
    assert_eq!(pebble.issued(), 0);

    let none = Program::of_hub(&hub.url());
    let output = cert(&none.write(), &["status"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("hint:"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_no_ca_reaches_writes_its_own_records_and_whether_it_can_is_told_before() {
    let lines =
        ["@ CAA 0 issue \"ca.example; validationmethods=dns-01\"", "closed CAA 0 issue \"pki.goog\"", "closed CAA 0 issuewild \";\""];
    let zone = lines.iter().fold(Zone::new("test").grant("grant chandler subdomain other.test. TXT;"), |zone, line| zone.record(line));
    let Some(named) = Named::start(&[zone]) else { return };
    let Some(pebble) = Pebble::start(Settings { dns: Some(named.socket()), ..Settings::default() }) else { return };
    let named_in_caa = |text: String| {
        let mut directory: Value = serde_json::from_str(&text).expect("a directory is JSON");
        directory["meta"]["caaIdentities"] = serde_json::json!(["CA.example"]);
        directory.to_string()
    };
    let way = Interposer::before(&pebble, move |asked| if asked.path == "/dir" { Fate::rewrite(named_in_caa) } else { Fate::Pass });
    let (hub, builder) = (Hub::start(), Program::of_hub("http://unused.invalid"));
    let (ca, key, state) = (builder.folder().join("ca.pem"), builder.folder().join("tsig.key"), builder.folder().join("certs"));
    fs::write(&ca, way.root()).expect("written");
    fs::write(&key, Named::key_file()).expect("written");
    let acme = format!(
        "acme: {{directories: [\"{}\"], ca: \"{}\", path: \"{}\", dns: {{rfc2136: {{server: \"{}\", key_file: \"{}\"}}, resolvers: [\"{3}\"]}}}}",
        way.directory(),
        ca.display(),
        state.display(),
        named.socket(),
        key.display()
    );
    let listeners = |names: &str| format!("[{{address: \"127.0.0.1:0\", tls: {{acme: [{names}]}}}}]");
    let wrong = Program::of_hub(&hub.url()).listeners(&listeners("other.test, closed.test, '*.closed.test'")).config(&acme);
    let said = text(&cert(&wrong.write(), &["check"]).stderr);
    let of = |name: &str| format!("CAA of {name} for {}: ", way.directory());
    for line in [
        format!("good  {}it may issue (test)", of("other.test")),
        format!("bad   {}closed.test lets only pki.goog issue; add CAA 0 issue \"ca.example\" to closed.test", of("closed.test")),
        format!("bad   {}closed.test lets no CA issue; add CAA 0 issuewild \"ca.example\" to closed.test", of("*.closed.test")),
        format!("good  {} takes _acme-challenge.other.test in the zone test", named.socket()),
        format!(
            "bad   TXT records for closed.test: {} refuses to change _acme-challenge.closed.test in the zone test (REFUSED)",
            named.socket()
        ),
    ] {
        assert!(said.contains(&line), "{line}\nin\n{said}");
    }
    assert!(!said.contains(Named::SECRET), "{said}");

    let program = Program::of_hub(&hub.url()).listeners(&listeners("'*.other.test', other.test")).config(&acme).start();
    right(&cert(&program.config(), &["check"]));
    Operator::of(&program).wait_for_readiness(200).await;
    let leaf = shown(&program, "any.other.test").await;
    assert!(leaf.windows(12).any(|text| text == b"*.other.test"), "{}", program.log());
    assert_eq!(named.texts("_acme-challenge.other.test"), Vec::<String>::new());
    assert!(
        !program.log().contains(Named::SECRET) && program.log().contains("every server of the zone shows the record"),
        "{}",
        program.log()
    );
}
