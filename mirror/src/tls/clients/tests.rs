//! What certificates are worth, by a private CA and by CAs in files.

use std::fs;

use certs::KeyKind;
use certs::ca::{Ca, CaKey, Cause, Founding, Issued, LEAF_LIFE, Purpose, Wanted};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;

use super::*;
use crate::config::{Sources, resolve};

/// A private CA, a company's CA in a file, and those who know the clients of both.
struct Fixture {
    ca: Ca,
    clients: Clients,
    company: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let permits = ["ci.test".parse().expect("a permit")].into();
        let founding = Founding { key: CaKey::P256, name: "test".into(), organization: None, permits };
        let ca = Ca::found(&folder.path().join("ca"), &founding, now()).expect("a new folder");
        let company = company();
        fs::write(folder.path().join("company.pem"), company.pem()).expect("ours");
        let path = folder.path().display();
        let text = format!("{{acme: {{path: \"{path}\"}}, clients: {{ca: [private, \"{path}/company.pem\"]}}}}");
        let config = resolve(&Sources::yaml(&text)).expect("a configuration").config;
        let clients = Clients::load(&config).expect("both are there").expect("they are named");
        Self { ca, clients, company, folder }
    }

    fn issue(&self, name: &str, purpose: Purpose) -> Issued {
        let identifiers = [name.parse().expect("a name")].into();
        self.ca.issue(&Wanted { identifiers, life: LEAF_LIFE, purpose }, KeyKind::P256, now()).expect("permitted")
    }

    fn shown(&self, chain: &[CertificateDer<'static>]) -> Arc<ClientCertificate> {
        self.clients.certificate(Some(chain)).expect("something was shown")
    }

    fn by_company(&self, change: impl FnOnce(&mut CertificateParams)) -> Arc<ClientCertificate> {
        self.shown(&[leaf(&self.company, change).into()])
    }
}

fn now() -> Moment {
    SystemTime::now().into()
}

fn company() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "Company root");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn leaf(issuer: &CertifiedIssuer<'static, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> rcgen::Certificate {
    let mut params = CertificateParams::new(["Node.Company.test".to_owned(), "10.0.0.1".to_owned()]).expect("names");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    params.signed_by(&KeyPair::generate().expect("a key"), issuer).expect("signed")
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(issued.chain.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

#[test]
fn a_certificate_is_worth_what_its_issuer_its_time_and_its_purpose_say() {
    let fixture = Fixture::new();
    let own = chain(&fixture.issue("runner-1.ci.test", Purpose::Client));
    for chain in [&own[..], &own[..1]] {
        let shown = fixture.shown(chain);
        assert_eq!((shown.verdict(), shown.name()), (Ok(()), "runner-1.ci.test"), "with its intermediate and without it");
    }
    let server = fixture.shown(&chain(&fixture.issue("mirror.ci.test", Purpose::Server)));
    assert_eq!((server.verdict(), server.identity()), (Err(Unusable::Purpose), None));
    let node = fixture.by_company(|_| {});
    assert_eq!(node.identity().expect("it is good"), ["node.company.test".into(), "10.0.0.1".into()]);
    let ended = fixture.by_company(|params| (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)));
    assert_eq!(ended.verdict(), Err(Unusable::Expired));
    let early = fixture.by_company(|params| params.not_before = date_time_ymd(3000, 1, 1));
    assert_eq!(early.verdict(), Err(Unusable::NotYet));
    let namesake = fixture.shown(&[leaf(&company(), |_| {}).into()]);
    assert_eq!(namesake.verdict(), Err(Unusable::Foreign), "its CA has the name of ours, and another key");
    let stranger = fixture.shown(&[b"no certificate".to_vec().into()]);
    assert!(stranger.verdict().is_err() && stranger.name() == "(no name)");
    assert!(fixture.clients.certificate(None).is_none() && fixture.clients.certificate(Some(&[])).is_none());
}

#[test]
fn without_hosts_in_it_a_certificate_is_called_by_its_common_name() {
    let fixture = Fixture::new();
    let named = fixture.by_company(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "Runner 7");
    });
    assert_eq!(named.identity().expect("it is good"), ["Runner 7".into()]);
    let both = fixture.by_company(|params| params.distinguished_name.push(DnType::CommonName, "admin"));
    assert!(!both.identity().expect("it is good").contains(&"admin".into()), "what stands beside hosts names nobody");
}

#[test]
fn what_is_taken_back_is_worth_nothing_from_then_on_and_neither_is_what_a_ca_issued_that_is() {
    let mut fixture = Fixture::new();
    let issued = fixture.issue("runner-1.ci.test", Purpose::Client);
    let other = fixture.issue("runner-2.ci.test", Purpose::Client);
    let (taken, kept) = (fixture.shown(&chain(&issued)), fixture.shown(&chain(&other)));
    assert_eq!((taken.verdict(), kept.verdict()), (Ok(()), Ok(())));
    fixture.ca.revoke_serial(&issued.content.serial, Cause::KeyCompromise, now()).expect("ours");
    let number = fixture.clients.number();
    assert!(fixture.clients.reload().is_new);
    assert_ne!(fixture.clients.number(), number);
    assert_eq!((taken.verdict(), kept.verdict()), (Err(Unusable::TakenBack), Ok(())));

    let intermediate = fixture.ca.issuer().expect("one")[0].pem();
    fixture.ca.revoke_certificate(&intermediate, Cause::KeyCompromise, now()).expect("ours");
    assert!(fixture.clients.reload().is_new);
    assert_eq!(kept.verdict(), Err(Unusable::TakenBack));
    let alone = fixture.shown(&chain(&other)[..1]);
    assert!(alone.verdict().is_err(), "nor where it hides its issuer");
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut fixture = Fixture::new();
    let issued = fixture.issue("runner-1.ci.test", Purpose::Client);
    let (taken, node) = (fixture.shown(&chain(&issued)), fixture.by_company(|_| {}));
    fixture.ca.revoke_serial(&issued.content.serial, Cause::Unspecified, now()).expect("ours");
    assert!(fixture.clients.reload().is_new);
    for (file, damage) in [("ca/revoked.json", "{\"num"), ("company.pem", ""), ("ca/ca.json", "{}")] {
        let path = fixture.folder.path().join(file);
        let whole = fs::read(&path).expect("there");
        fs::write(&path, damage).expect("ours");
        let reloaded = fixture.clients.reload();
        assert!(!reloaded.is_new && reloaded.trouble.is_some(), "{file}");
        assert_eq!((taken.verdict(), node.verdict()), (Err(Unusable::TakenBack), Ok(())), "{file}");
        fs::write(&path, whole).expect("ours");
    }
    let reloaded = fixture.clients.reload();
    assert!(!reloaded.is_new && reloaded.trouble.is_none(), "whole again");

    let other = fixture.issue("runner-2.ci.test", Purpose::Client);
    let late = fixture.shown(&chain(&other));
    assert_eq!(late.verdict(), Ok(()));
    fs::remove_file(fixture.folder.path().join("company.pem")).expect("there");
    fixture.ca.revoke_serial(&other.content.serial, Cause::Unspecified, now()).expect("ours");
    let reloaded = fixture.clients.reload();
    assert!(reloaded.is_new && reloaded.trouble.is_some());
    assert_eq!((late.verdict(), node.verdict()), (Err(Unusable::TakenBack), Ok(())), "a file that is gone hides no other's list");
}

#[test]
fn a_file_that_holds_no_ca_is_named_and_a_ca_that_has_ended_is_none() {
    let fixture = Fixture::new();
    let path = fixture.folder.path().join("x.pem");
    let mut old = CertificateParams::new([]).expect("no names");
    (old.is_ca, old.not_after) = (IsCa::Ca(rcgen::BasicConstraints::Unconstrained), date_time_ymd(2020, 1, 1));
    let old = CertifiedIssuer::self_signed(old, KeyPair::generate().expect("a key")).expect("a CA");
    let client = leaf(&fixture.company, |_| {}).pem();
    let text = format!("{{clients: {{ca: [\"{}\"]}}}}", path.display());
    let config = resolve(&Sources::yaml(&text)).expect("a configuration").config;
    for (held, part) in [("", "no certificate"), (&*client, "is no CA")] {
        fs::write(&path, held).expect("ours");
        let error = Clients::load(&config).expect_err("of no use");
        let said = format!("{error}: {}", std::error::Error::source(&error).expect("why"));
        assert!(said.contains("x.pem") && said.contains(part), "{said}");
    }
    for (held, worth) in [(old.pem(), Err(Unusable::Foreign)), (old.pem() + &fixture.company.pem(), Ok(()))] {
        fs::write(&path, held).expect("ours");
        let clients = Clients::load(&config).expect("the mirror starts").expect("they are named");
        let shown = clients.certificate(Some(&[leaf(&fixture.company, |_| {}).into()])).expect("shown");
        assert_eq!(shown.verdict(), worth);
    }
    let of_old = fixture.shown(&[leaf(&old, |_| {}).into()]);
    assert_eq!(of_old.verdict(), Err(Unusable::Foreign));
}
