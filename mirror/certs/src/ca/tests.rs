//! The CA as those who trust it see it: rustls as server and client, and as the judge of what must be refused.

mod handshake;
mod requests;
mod state;
mod tokens;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use super::content::leaf;
use super::*;
use crate::{Bundle, Identifiers, KeyKind};
use handshake::{connect, connect_as, trust};

/// A CA in a folder that goes with it.
struct Fixture {
    now: Moment,
    root: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { now: SystemTime::now().into(), root: TempDir::new().expect("a folder") }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("ca")
    }

    fn found(&self, founding: &Founding) -> Ca {
        Ca::found(&self.folder(), founding, self.now).expect("a new folder")
    }

    fn open(&self) -> Ca {
        Ca::open(&self.folder()).expect("there is one")
    }
}

fn founding(permits: &[&str]) -> Founding {
    let permits = permits.iter().map(|permit| permit.parse().expect("a permit")).collect();
    Founding { key: CaKey::P256, name: "test".into(), organization: Some("Example".into()), permits }
}

fn names(names: &[&str]) -> Identifiers {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

fn server(of: &[&str]) -> Wanted {
    Wanted { identifiers: names(of), life: LEAF_LIFE, purpose: Purpose::Server }
}

fn client(of: &[&str]) -> Wanted {
    Wanted { purpose: Purpose::Client, ..server(of) }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

fn private(issued: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(issued.key.as_ref().expect("made here").pem().as_bytes()).expect("a key")
}

/// A root that is not ours: certificate and key, PEM.
fn company(path_length: BasicConstraints) -> (CertifiedIssuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "Company root");
    params.is_ca = IsCa::Ca(path_length);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let key_pem = key.serialize_pem();
    (CertifiedIssuer::self_signed(params, key).expect("signed"), key_pem)
}

#[test]
fn a_client_that_trusts_the_root_talks_with_what_was_issued() {
    for key in [CaKey::P256, CaKey::Rsa] {
        let fixture = Fixture::new();
        let ca = fixture.found(&Founding { key, ..founding(&["ci.test", "127.0.0.0/8"]) });
        let roots = trust(&ca.anchors(fixture.now).expect("read"));
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let issued = ca.issue(&server(&["mirror.ci.test", "*.ci.test", "127.0.0.1"]), kind, fixture.now).expect("permitted");
            for name in ["mirror.ci.test", "other.ci.test", "127.0.0.1"] {
                assert_eq!(connect(&issued, &roots, name), Ok(()), "{name} by {key:?} for {kind:?}");
            }
            assert!(connect(&issued, &roots, "127.0.0.2").is_err(), "another address");
            let bundle = Bundle::join(issued.key.as_ref().expect("a key").pem(), &issued.chain).expect("the mirror takes it");
            assert_eq!(bundle.check(&names(&["mirror.ci.test"]), fixture.now), Ok(()));
        }
        let only_an_address = ca.issue(&server(&["127.0.0.1"]), KeyKind::P256, fixture.now).expect("permitted");
        assert_eq!(connect(&only_an_address, &roots, "127.0.0.1"), Ok(()));
    }
}

#[test]
fn names_outside_of_what_is_permitted_are_refused_by_us_and_by_clients() {
    let fixture = Fixture::new();
    for (permits, name) in [
        (&["ci.test"][..], "evil.test"),
        (&["ci.test"], "127.0.0.1"),
        (&["ci.test"], "::1"),
        (&["10.0.0.0/8"], "127.0.0.1"),
        (&["10.0.0.0/8"], "evil.test"),
        (&["ci.test", "10.0.0.0/8"], "127.0.0.1"),
    ] {
        let folder = TempDir::new_in(fixture.root.path()).expect("a folder");
        let ca = Ca::found(folder.path(), &founding(permits), fixture.now).expect("a CA");
        let refused = ca.issue(&server(&[name]), KeyKind::P256, fixture.now);
        assert!(matches!(refused, Err(CaError::Refused(Refusal::Names { .. }))), "{name} by {permits:?}: {refused:?}");

        // What a thief of the key would do.
        let signer = ca.document.issuers.last().expect("one");
        let above = signer.chain().expect("ours");
        let unbound = Terms { constraints: Vec::new(), ..Terms::of(&above) };
        let content = leaf(&unbound, &server(&[name]), new_serial(), fixture.now).expect("nobody forbids it");
        let key = SecretKey::for_leaf(KeyKind::P256).expect("a key");
        let public = PublicKey::read(&key.public_der()).expect("ours");
        let made = seal::signed(&content, &public, &above[0], &ca.key_of(signer).expect("its key")).expect("signed");
        let chain = key::pem("CERTIFICATE", &made) + &above[0].pem();
        let stolen = Issued { chain, content, key: Some(key) };
        let roots = trust(&ca.anchors(fixture.now).expect("read"));
        let told = connect(&stolen, &roots, name).expect_err("a client refuses it").to_string();
        assert!(told.contains("NameConstraint"), "{name} by {permits:?}: {told}");
    }
}

#[test]
fn a_certificate_for_one_side_is_refused_on_the_other() {
    let fixture = Fixture::new();
    let ca = fixture.found(&founding(&["ci.test"]));
    let roots = trust(&ca.anchors(fixture.now).expect("read"));
    let server_side = ca.issue(&server(&["mirror.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let client_side = ca.issue(&client(&["node7.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    assert_eq!(connect_as(&server_side, Some(&client_side), &roots, "mirror.ci.test"), Ok(()));
    assert!(connect_as(&server_side, Some(&server_side), &roots, "mirror.ci.test").is_err(), "a server's shown by a client");
    assert!(connect_as(&client_side, None, &roots, "node7.ci.test").is_err(), "a client's shown by a server");
    assert!(connect_as(&server_side, None, &roots, "mirror.ci.test").is_err(), "none, where one is wanted");
}

#[test]
fn every_certificate_says_what_it_may_do_and_clients_must_heed_it() {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let fixture = Fixture::new();
    let ca = fixture.found(&founding(&["ci.test"]));
    let issued = ca.issue(&server(&["mirror.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let root = ca.anchors(fixture.now).expect("read")[0].certificate().clone();
    let [leaf, intermediate] = <[_; 2]>::try_from(certificates(&issued.chain)).expect("the leaf, the intermediate, and no root");
    let mut key_ids = Vec::new();
    for (der, path_length, is_ca) in [(&root, Some(1), true), (&intermediate, Some(0), true), (&leaf, None, false)] {
        let (_, parsed) = X509Certificate::from_der(der).expect("a certificate");
        let basic = parsed.basic_constraints().expect("read").expect("there");
        assert!(basic.critical && (basic.value.ca, basic.value.path_len_constraint) == (is_ca, path_length), "{:?}", basic.value);
        assert!(parsed.key_usage().expect("read").expect("there").critical);
        assert_eq!(
            parsed.name_constraints().expect("read").map(|constraints| constraints.critical),
            (der == &intermediate).then_some(true)
        );
        assert!(parsed.raw_serial().len() == 20 && !parsed.subject().to_string().is_empty());
        key_ids.push((
            parsed
                .get_extension_unique(&x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER)
                .expect("once")
                .map(|id| id.value[2..].to_vec()),
            Identity::of(der).expect("a certificate").issuer,
        ));
    }
    let hex = |id: &Option<Vec<u8>>| id.as_ref().map(hex::encode);
    assert_eq!(key_ids[1].1, hex(&key_ids[0].0), "each names the key of the one above");
    assert_eq!(key_ids[2].1, hex(&key_ids[1].0));
}

#[test]
fn a_company_signs_the_intermediate_and_clients_that_trust_the_company_trust_it() {
    let fixture = Fixture::new();
    let (above, _) = company(BasicConstraints::Constrained(1));
    let (ca, request) = Ca::ask(&fixture.folder(), &founding(&["ci.test"])).expect("a new folder");
    assert!(matches!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now), Err(CaError::NotSigned)));
    drop(ca);
    let again = Ca::ask(&fixture.folder(), &founding(&["ci.test"])).expect("it waits").1;
    let key_of = |request: &str| Request::parse(request.as_bytes()).expect("a request").key;
    assert_eq!(key_of(&again), key_of(&request), "the same key: the first may be signed already");

    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, "Mirror CA, as the company calls it");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let signed = params.signed_by(&key_of(&request), &above).expect("signed");
    let mut ca = fixture.open();
    assert!(matches!(ca.answer(&above.pem(), fixture.now), Err(CaError::Authority(AuthorityError::Key))), "not the one that was asked for");
    ca.answer(&(above.pem() + &signed.pem()), fixture.now).expect("in any order");
    let issued = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let roots = trust(&ca.anchors(fixture.now).expect("read"));
    assert_eq!(roots.roots.len(), 1);
    assert_eq!(connect(&issued, &roots, "a.ci.test"), Ok(()));
    let outside = ca.issue(&server(&["b.test"]), KeyKind::P256, fixture.now);
    assert!(matches!(outside, Err(CaError::Refused(Refusal::Names { .. }))), "ours are held to, though the company names none");
    assert!(matches!(ca.rotate(None, None, fixture.now), Ok(Rotated::Request(_))), "the next one is the company's to sign, too");
    assert!(matches!(ca.rotate_root(fixture.now), Err(CaError::NoRoot)));
}

#[test]
fn a_ca_that_machines_trust_already_issues_itself_or_by_an_intermediate() {
    let (above, key) = company(BasicConstraints::Unconstrained);
    let key = SecretKey::parse(&key).expect("a key");
    let direct = Fixture::new();
    let ca = Ca::adopt(&direct.folder(), &above.pem(), &key, &founding(&[]), direct.now).expect("it is a CA");
    let issued = ca.issue(&server(&["anything.test"]), KeyKind::P256, direct.now).expect("nothing is forbidden");
    let roots = trust(&ca.anchors(direct.now).expect("read"));
    assert_eq!((connect(&issued, &roots, "anything.test"), certificates(&issued.chain).len()), (Ok(()), 1));

    let below = Fixture::new();
    let mut ca = Ca::adopt(&below.folder(), &above.pem(), &key, &founding(&["ci.test"]), below.now).expect("it is a CA");
    let issued = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, below.now).expect("permitted");
    assert_eq!((connect(&issued, &roots, "a.ci.test"), certificates(&issued.chain).len()), (Ok(()), 2));
    assert!(ca.issue(&server(&["anything.test"]), KeyKind::P256, below.now).is_err());
    assert!(matches!(ca.rotate(None, None, below.now), Err(CaError::KeyAway { .. })), "the company's key is not kept");
    assert!(matches!(ca.rotate(None, Some(&key), below.now), Ok(Rotated::Intermediate)));

    let (narrow, key) = company(BasicConstraints::Constrained(0));
    let key = SecretKey::parse(&key).expect("a key");
    let refused = Ca::adopt(&Fixture::new().folder(), &narrow.pem(), &key, &founding(&["ci.test"]), below.now);
    assert!(matches!(refused, Err(CaError::Refused(Refusal::Path))));
    let other = SecretKey::for_ca(CaKey::P256).expect("a key");
    let mismatch = Ca::adopt(&Fixture::new().folder(), &narrow.pem(), &other, &founding(&[]), below.now);
    assert!(matches!(mismatch, Err(CaError::Authority(AuthorityError::Key))), "rcgen would have signed with it");
}

#[test]
fn what_was_issued_before_a_rotation_stays_valid_until_it_ends() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let old = trust(&ca.anchors(fixture.now).expect("read"));
    let first = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    ca.rotate(None, None, fixture.now).expect("the root's key is there");
    let second = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    assert_ne!(certificates(&first.chain)[1], certificates(&second.chain)[1]);
    assert_eq!([&first, &second].map(|issued| connect(issued, &old, "a.ci.test")), [Ok(()), Ok(())]);

    ca.rotate_root(fixture.now).expect("it has a root");
    let both = trust(&ca.anchors(fixture.now).expect("read"));
    assert_eq!(both.roots.len(), 2, "published before it is used");
    let third = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    assert_eq!(connect(&third, &old, "a.ci.test"), Ok(()), "machines that do not know the new root yet");
    ca.rotate(Some(founding(&["ci.test", "new.test"]).permits), None, fixture.now).expect("the new root's key is there");
    let fourth = ca.issue(&server(&["a.new.test"]), KeyKind::P256, fixture.now).expect("permitted from now on");
    assert_eq!([&first, &third].map(|issued| connect(issued, &both, "a.ci.test")), [Ok(()), Ok(())]);
    assert_eq!((connect(&fourth, &both, "a.new.test"), connect(&fourth, &old, "a.new.test").is_err()), (Ok(()), true));
}

#[test]
fn ended_intermediates_and_their_keys_go_at_a_rotation_and_ended_roots_are_not_published() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let keys = || std::fs::read_dir(fixture.folder().join("keys")).expect("a folder").count();
    let in_years = |years: u64| fixture.now + Duration::from_secs(years * 366 * 86_400);
    ca.rotate(None, None, fixture.now).expect("rotated");
    assert_eq!((ca.document.issuers.len(), keys()), (2, 3));
    assert!(matches!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, in_years(2)), Err(CaError::Refused(Refusal::Ending(_)))));
    ca.rotate(None, None, in_years(2)).expect("rotated");
    assert_eq!((ca.document.issuers.len(), keys()), (2, 3), "the last one before is kept until the next time");
    assert!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, in_years(2)).is_ok());
    assert!(matches!(ca.rotate(None, None, in_years(11)), Err(CaError::Refused(Refusal::Ending(_)))));
    ca.rotate_root(in_years(9)).expect("in time");
    assert_eq!(ca.anchors(in_years(11)).expect("read").len(), 1);
}

#[test]
fn what_is_taken_back_is_refused_by_the_list_and_by_clients_that_read_it() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let issue = |ca: &Ca| ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let [by_number, by_file, good] = [issue(&ca), issue(&ca), issue(&ca)];
    let revoked = |ca: &Ca, issued: &Issued| is_revoked(&ca.revocations().expect("read"), &certificates(&issued.chain));
    assert!(!revoked(&ca, &by_number));

    let done = ca.revoke_serial(&by_number.content.serial, Cause::KeyCompromise, fixture.now).expect("it is ours");
    assert!(done.is_new && done.serial == by_number.content.serial);
    assert!(!ca.revoke_serial(&by_number.content.serial, Cause::KeyCompromise, fixture.now).expect("again").is_new);
    ca.revoke_certificate(&by_file.chain, Cause::Superseded, fixture.now).expect("it is ours");
    assert_eq!([&by_number, &by_file, &good].map(|issued| revoked(&ca, issued)), [true, true, false]);

    let anchors = ca.anchors(fixture.now).expect("read");
    let list = std::fs::read_to_string(ca.signed_list()).expect("written");
    let judge = |issued: &Issued| handshake::check_with_list(&certificates(&issued.chain), &anchors, &list, "a.ci.test");
    assert!(judge(&by_number).expect_err("taken back").to_string().contains("Revoked") && judge(&by_file).is_err());
    assert_eq!(judge(&good), Ok(()));

    let unknown = ca.revoke_serial(&"1234".parse().expect("a number"), Cause::Unspecified, fixture.now);
    assert!(matches!(unknown, Err(CaError::Unknown(_))));
    let other = Fixture::new();
    let foreign = issue(&other.found(&founding(&["ci.test"])));
    assert!(matches!(ca.revoke_certificate(&foreign.chain, Cause::Unspecified, fixture.now), Err(CaError::Foreign)));

    let later = fixture.now + LEAF_LIFE + Duration::from_secs(86_400);
    let rest = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, later).expect("permitted");
    ca.revoke_serial(&rest.content.serial, Cause::Unspecified, later).expect("it is ours");
    assert!(!revoked(&ca, &by_number), "it has ended, nobody need remember");
}

#[test]
fn an_intermediate_that_was_taken_back_takes_all_below_it_with_it() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let issued = ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).expect("permitted");
    let intermediate = ca.issuer().expect("one")[0].pem();
    ca.revoke_certificate(&intermediate, Cause::KeyCompromise, fixture.now).expect("it is ours");
    assert!(is_revoked(&ca.revocations().expect("read"), &certificates(&issued.chain)));
    assert!(matches!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now), Err(CaError::IssuerRevoked)));
    ca.rotate(None, None, fixture.now).expect("the root is not affected");
    assert!(ca.issue(&server(&["a.ci.test"]), KeyKind::P256, fixture.now).is_ok());
}

#[test]
fn a_server_knows_those_that_issue_and_not_the_roots_above_them() {
    let fixture = Fixture::new();
    let mut ca = fixture.found(&founding(&["ci.test"]));
    let first = ca.issuer().expect("one").swap_remove(0);
    ca.rotate(None, None, fixture.now).expect("its key is here");
    let second = ca.issuer().expect("one").swap_remove(0);
    let known = |now| {
        let published = Published::read(&fixture.folder()).expect("its operator is at work, which is in nobody's way");
        published.issuers(now).map(|issuer| issuer.serial().clone()).collect::<Vec<_>>()
    };
    assert_eq!(known(fixture.now), [first.serial().clone(), second.serial().clone()], "what the old one issued is good until it ends");
    assert!(known(second.not_after()).is_empty());
    ca.revoke_certificate(&first.pem(), Cause::KeyCompromise, fixture.now).expect("ours");
    assert_eq!(known(fixture.now), [second.serial().clone()]);
    assert!(matches!(Published::read(fixture.root.path()), Err(CaError::Missing(_))));
}
