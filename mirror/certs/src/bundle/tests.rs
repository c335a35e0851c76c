use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::*;

/// A CA of two stages, and what it issued: PEM texts.
struct Issued {
    chain: Vec<String>,
    key: String,
}

impl Issued {
    fn bundle(&self) -> Result<Bundle, BundleError> {
        Bundle::join(&self.key, &self.chain.concat())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// For `mirror.test` and 127.0.0.1, from 2026 to 2027.
fn issue(change: impl FnOnce(&mut CertificateParams)) -> Issued {
    let root = CertifiedIssuer::self_signed(authority("root"), KeyPair::generate().expect("a key")).expect("signed");
    let middle = CertifiedIssuer::signed_by(authority("middle"), KeyPair::generate().expect("a key"), &root).expect("signed");
    let mut params = CertificateParams::new(["mirror.test".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, "mirror.test");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, &middle).expect("signed");
    Issued { chain: vec![leaf.pem(), middle.pem(), root.pem()], key: key.serialize_pem() }
}

fn moment(text: &str) -> Moment {
    text.parse().expect("a moment")
}

fn names(names: &[&str]) -> Identifiers {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

#[test]
fn a_whole_bundle_is_taken_and_known_for_what_it_is() {
    let issued = issue(|_| {});
    let bundle = issued.bundle().expect("it is right");
    assert_eq!(*bundle.identifiers(), names(&["mirror.test", "127.0.0.1"]));
    assert_eq!(bundle.not_after(), moment("2027-01-01T00:00:00Z"));
    assert_eq!(bundle.check(&names(&["mirror.test"]), moment("2026-06-01T00:00:00Z")), Ok(()));
    assert_eq!(Bundle::parse(bundle.pem()).expect("read back").serial(), bundle.serial());
    let id = bundle.leaf.id.expect("it names an authority key");
    assert!(id.split('.').count() == 2 && !id.contains('='), "{id}");
    assert_eq!(bundle.leaf.key, Some(KeyKind::P256));
}

#[test]
fn a_bundle_is_checked_for_its_time_and_its_names() {
    let bundle = issue(|_| {}).bundle().expect("it is right");
    let ours = names(&["mirror.test"]);
    assert_eq!(bundle.check(&ours, moment("2027-01-01T00:00:00Z")), Err(BundleError::Expired(bundle.not_after())));
    assert_eq!(bundle.check(&ours, moment("2025-12-31T23:54:59Z")), Err(BundleError::NotYet(moment("2026-01-01T00:00:00Z"))));
    assert_eq!(bundle.check(&ours, moment("2025-12-31T23:55:00Z")), Ok(()), "a CA's clock may be a little ahead");
    let more = names(&["mirror.test", "other.test"]);
    assert_eq!(bundle.check(&more, moment("2026-06-01T00:00:00Z")), Err(BundleError::Names("other.test".into())));
}

#[test]
fn a_chain_that_clients_would_refuse_is_refused() {
    let Issued { chain, key } = issue(|_| {});
    let other = issue(|_| {});
    let join = |order: [&String; 3]| Bundle::join(&key, &order.map(String::as_str).concat()).map(drop);
    assert_eq!(join([&chain[0], &chain[2], &chain[1]]), Err(BundleError::Issuer(1)));
    assert_eq!(join([&chain[2], &chain[1], &chain[0]]), Err(BundleError::Authority), "reversed");
    assert_eq!(join([&chain[0], &other.chain[1], &other.chain[2]]), Err(BundleError::Issuer(1)), "the same name, another key");
    assert!(matches!(Bundle::join(&other.key, &chain.concat()), Err(BundleError::Key(_))), "another's key");
    assert_eq!(Bundle::join(&key, "").map(drop), Err(BundleError::NoCertificate));
    let client = issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(client.bundle().map(drop), Err(BundleError::Purpose));
}

#[test]
fn no_text_makes_the_reader_panic_and_no_debug_shows_a_key() {
    let issued = issue(|_| {});
    let whole = format!("{}{}", issued.key, issued.chain.concat());
    for end in (0..whole.len()).step_by(7) {
        let _ = Bundle::parse(&whole[..end]);
    }
    let shown = format!("{:?}", issued.bundle().expect("it is right"));
    assert!(!shown.contains("PRIVATE") && !shown.contains(issued.key.lines().nth(1).expect("a line")), "{shown}");
}
