//! Requests from people who make mistakes, and from those who do not.

use proptest::prelude::*;
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

fn request(change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, Vec<u8>) {
    let mut params = CertificateParams::new(["a.ci.test".to_owned()]).expect("a name");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let der = params.serialize_request(&key).expect("a request").der().to_vec();
    (key, der)
}

#[test]
fn of_a_request_only_the_key_and_the_names_are_used() {
    let fixture = Fixture::new();
    let ca = fixture.found(&founding(&["ci.test"]));
    let (key, greedy) = request(|params| {
        params.distinguished_name.push(DnType::CommonName, "bank.test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::CodeSigning];
    });
    let taken = Request::parse(&greedy).expect("a request");
    assert_eq!(taken.identifiers, names(&["a.ci.test"]));
    assert_eq!(taken.left_out, ["key usage", "extended key usage", "to be a CA"]);
    let issued = ca.sign(&taken, &server(&["a.ci.test"]), fixture.now).expect("permitted");
    let chain = certificates(&issued.chain);
    let (_, made) = X509Certificate::from_der(&chain[0]).expect("a certificate");
    assert!(!made.is_ca() && !made.key_usage().expect("read").expect("there").value.key_cert_sign());
    let purposes = made.extended_key_usage().expect("read").expect("there").value;
    assert!(purposes.server_auth && !purposes.any && !purposes.code_signing && !purposes.client_auth);
    assert_eq!(made.subject().to_string(), "CN=a.ci.test");
    assert_eq!(made.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    assert!(issued.key.is_none());
}

#[test]
fn requests_that_are_wrong_are_refused_with_what_is_wrong() {
    let (_, good) = request(|_| {});
    let mut other_key = good.clone();
    let last = other_key.len() - 1;
    other_key[last] ^= 1;
    assert!(matches!(Request::parse(&other_key), Err(RequestError::Possession(_))));
    assert!(matches!(Request::parse(&[&good[..], &[0]].concat()), Err(RequestError::Parse(_))), "something behind it");
    let (_, mail) = request(|params| params.subject_alt_names.push(SanType::Rfc822Name("root@ci.test".try_into().expect("ASCII"))));
    assert!(Request::parse(&mail).is_err_and(|error| error.to_string().contains("root@ci.test")));
    let (_, odd) = request(|params| params.subject_alt_names = vec![SanType::DnsName("a b".try_into().expect("ASCII"))]);
    assert!(matches!(Request::parse(&odd), Err(RequestError::Names(_))));
    assert!(matches!(Request::parse(b"-----BEGIN CERTIFICATE-----\n"), Err(RequestError::Parse(_))));
}

#[test]
fn the_common_name_counts_only_where_there_is_no_other() {
    let (_, old) = request(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "old.ci.test");
    });
    let taken = Request::parse(&old).expect("a request");
    assert_eq!(taken.identifiers, names(&["old.ci.test"]));
    let pem = key::pem("NEW CERTIFICATE REQUEST", &old);
    assert_eq!(Request::parse(pem.as_bytes()), Ok(taken), "as keytool writes it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_damage_makes_the_parsers_panic_nor_passes_for_another_request(at in 0_usize..2000, bit in 0_u32..8) {
        let (_, good) = request(|_| {});
        let mut damaged = good.clone();
        let at = at % good.len();
        damaged[at] ^= 1 << bit;
        if let Ok(read) = Request::parse(&damaged) {
            prop_assert_eq!(Ok(read), Request::parse(&good));
        }
        let _ = (Authority::parse(&damaged.clone().into()), Identity::of(&damaged.into()), Request::parse(&good[..at]));
    }
}
