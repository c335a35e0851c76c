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

/// What a person reads of each, once in the log and in `/readyz`.
#[test]
fn each_fault_of_a_bundle_is_told_for_what_it_is() {
    let (whole, other) = (issue(|_| {}), issue(|_| {}));
    let [leaf, middle, root] = [0, 1, 2].map(|at| whole.chain[at].as_str());
    let with = |change: fn(&mut CertificateParams)| {
        let issued = issue(change);
        (issued.key.clone(), issued.chain.concat())
    };
    let of = |chain: &[&str]| (whole.key.clone(), chain.concat());
    let rows = [
        ("whole", of(&[leaf, middle, root]), "good"),
        ("without the root, as CAs send it", of(&[leaf, middle]), "good"),
        ("another's key", (other.key.clone(), of(&[leaf, middle]).1), "the key does not fit: keys may not be consistent: KeyMismatch"),
        ("no key", (String::new(), of(&[leaf, middle]).1), "the key does not fit: there is none"),
        ("half", of(&[leaf, &middle[..middle.len() / 2]]), "certificate 2 cannot be read: its end is missing"),
        ("upside down", of(&[root, middle, leaf]), "the first certificate is a CA's, not a server's"),
        ("two swapped", of(&[leaf, root, middle]), "certificate 1 is not signed by the one that follows it"),
        ("one missing in the middle", of(&[leaf, root]), "certificate 1 is not signed by the one that follows it"),
        ("the CA's own", of(&[middle, root]), "the first certificate is a CA's, not a server's"),
        (
            "for a client",
            with(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "it is not for servers: its extended key usage lacks serverAuth",
        ),
        ("for somebody else", with(|it| it.subject_alt_names.truncate(1)), "it is not for 127.0.0.1"),
        ("over", with(|it| it.not_after = rcgen::date_time_ymd(2026, 2, 1)), "it expired at 2026-02-01T00:00:00Z"),
        ("to come", with(|it| it.not_before = rcgen::date_time_ymd(2026, 12, 1)), "it is not valid before 2026-12-01T00:00:00Z"),
        ("nothing", of(&[]), "there is no certificate in it"),
    ];
    for (what, (key, chain), told) in rows {
        let judged = Bundle::join(&key, &chain)
            .and_then(|bundle| bundle.check(&names(&["mirror.test", "127.0.0.1"]), moment("2026-06-01T00:00:00Z")))
            .map_or_else(|error| error.to_string(), |()| "good".to_owned());
        assert_eq!(judged, told, "{what}");
    }
}

/// The twin for trials of a CA issues the same names for the same time; only who issued it tells it apart.
#[test]
fn one_of_a_ca_that_is_not_wanted_is_known_by_where_it_came_from() {
    let bundle = issue(|_| {}).bundle().expect("it is right");
    let wish = |directory: &str| Wish { directories: vec![directory.to_owned()], identifiers: names(&["mirror.test"]), ..wish() };
    let staged = bundle.facts("https://staging.test/", &wish("https://staging.test/"));
    assert_eq!(staged.differs(&wish("https://ca.test/")), Some(crate::Difference::Directory));
    assert_eq!(
        bundle.own_facts().differs(&wish("https://ca.test/")),
        Some(crate::Difference::Directory),
        "nor is one whose origin is lost"
    );
}

fn wish() -> Wish {
    Wish { directories: Vec::new(), how: String::new(), identifiers: Identifiers::new(), key: KeyKind::P256, profile: None }
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
