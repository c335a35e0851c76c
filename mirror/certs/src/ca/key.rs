//! Keys: those that sign here, and others' public keys before they are put into a certificate.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, RsaKeySize, SignatureAlgorithm};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::KeyKind;

/// Kinds of keys for a CA, which live longer than those of leaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaKey {
    /// ECDSA over P-256.
    #[default]
    P256,
    /// RSA of 3072 bits, for clients that know nothing else.
    Rsa,
}

/// A private key. It is not shown in any `Debug`.
pub struct SecretKey {
    pair: KeyPair,
    pem: String,
}

/// A public key that is fit for a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    algorithm: &'static SignatureAlgorithm,
    bytes: Vec<u8>,
}

/// Why a key is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// A passphrase protects it.
    #[error("the key is encrypted")]
    Encrypted,
    /// Making one failed.
    #[error("no key can be made: {0}")]
    Make(String),
    /// Not a key, or of a kind that is not signed with here.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
    /// A key that can be broken, or of a kind that clients do not know.
    #[error("the public key is refused: {0}")]
    Weak(String),
}

impl SecretKey {
    /// A new one for a CA.
    pub fn for_ca(kind: CaKey) -> Result<Self, KeyError> {
        let made = match kind {
            CaKey::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            CaKey::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        };
        Self::made(made)
    }

    /// A new one for a leaf.
    pub fn for_leaf(kind: KeyKind) -> Result<Self, KeyError> {
        let made = match kind {
            KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        Self::made(made)
    }

    fn made(made: Result<KeyPair, rcgen::Error>) -> Result<Self, KeyError> {
        let pair = made.map_err(|error| KeyError::Make(error.to_string()))?;
        let pem = pair.serialize_pem();
        Ok(Self { pair, pem })
    }

    /// One that a person or we ourselves wrote, whichever of the three forms it has.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| KeyError::Unusable(error.to_string()))?;
        let pair = KeyPair::try_from(&der).map_err(|error| KeyError::Unusable(error.to_string()))?;
        PublicKey::read(&pair.subject_public_key_info())?;
        let label = match der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Ok(Self { pem: pem(label, der.secret_der()), pair })
    }

    /// As it is stored. Whoever writes it must keep it from other users' eyes.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What others may know of it: DER.
    pub fn public_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", key_name(&self.public_der()))
    }
}

impl PublicKey {
    /// From a `SubjectPublicKeyInfo`, if it is of a kind that clients know, and strong.
    pub fn read(der: &[u8]) -> Result<Self, KeyError> {
        let weak = |why: &str| KeyError::Weak(why.to_owned());
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| KeyError::Weak(error.to_string()))?;
        if !rest.is_empty() {
            return Err(weak("there is something behind it"));
        }
        if let Ok(Parsed::RSA(rsa)) = info.parsed() {
            let bits = rsa.key_size();
            if !(2048..=8192).contains(&bits) {
                return Err(KeyError::Weak(format!("RSA of {bits} bits; use 2048 to 8192, or ECDSA over P-256")));
            }
            if !rsa.try_exponent().is_ok_and(|exponent| exponent >= 65537 && exponent % 2 == 1) {
                return Err(weak("RSA with an exponent below 65537, or one that is no exponent"));
            }
        }
        // What is written into the certificate is compared with what was asked for, so that no parameter gets lost or changed.
        let is_it = |one: &Self| one.subject_public_key_info() == info.raw;
        let candidates = KNOWN.map(|algorithm| Self { algorithm, bytes: info.subject_public_key.data.to_vec() });
        candidates
            .into_iter()
            .find(is_it)
            .ok_or_else(|| weak("of a kind that clients do not know; use ECDSA over P-256 or P-384, Ed25519 or RSA"))
    }

    /// SHA-256, in hexadecimal: one key, one fingerprint.
    pub(super) fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, &self.subject_public_key_info()))
    }

    /// It can be used to send the other side a secret, as TLS 1.2 once did.
    pub(super) fn is_rsa(&self) -> bool {
        self.algorithm == &rcgen::PKCS_RSA_SHA256
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// What a key is called in file names: short, and the same for each certificate of this key.
pub(super) fn key_name(public: &[u8]) -> String {
    hex::encode(&digest(&SHA256, public).as_ref()[..8])
}

/// A PEM section.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// An elliptic key is known by its curve, not by the hash that its owner signs with.
const KNOWN: [&SignatureAlgorithm; 4] =
    [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_never_shown() {
        for made in [SecretKey::for_ca(CaKey::P256), SecretKey::for_leaf(KeyKind::P384), SecretKey::for_leaf(KeyKind::Rsa2048)] {
            let made = made.expect("a key");
            let read = SecretKey::parse(made.pem()).expect("it is ours");
            assert_eq!((read.pem(), read.public_der()), (made.pem(), made.public_der()));
            assert!(PublicKey::read(&made.public_der()).is_ok());
            assert!(!format!("{made:?}").contains(made.pem().lines().nth(1).expect("a line")));
        }
    }

    #[test]
    fn keys_that_are_none_are_told_apart() {
        assert_eq!(
            SecretKey::parse("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").err(),
            Some(KeyError::Encrypted)
        );
        for text in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(matches!(SecretKey::parse(text), Err(KeyError::Unusable(_))), "{text}");
        }
    }

    /// A `SubjectPublicKeyInfo` of RSA with these numbers.
    fn rsa(modulus_bytes: usize, exponent: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| match bytes {
            0..=127 => vec![bytes as u8],
            128..=255 => vec![0x81, bytes as u8],
            _ => vec![0x82, (bytes >> 8) as u8, bytes as u8],
        };
        let wrap = |tag: u8, content: Vec<u8>| [vec![tag], length(content.len()), content].concat();
        let modulus = [vec![0, 0xc5], vec![0x5b; modulus_bytes - 1]].concat();
        let key = wrap(0x30, [wrap(2, modulus), wrap(2, exponent.to_vec())].concat());
        let algorithm = hex::decode("300d06092a864886f70d0101010500").expect("hexadecimal");
        wrap(0x30, [algorithm, wrap(3, [vec![0], key].concat())].concat())
    }

    #[test]
    fn keys_that_can_be_broken_are_refused() {
        assert!(PublicKey::read(&rsa(256, &[1, 0, 1])).is_ok());
        for (bytes, exponent) in [(128, &[1, 0, 1][..]), (255, &[1, 0, 1]), (1025, &[1, 0, 1]), (256, &[1]), (256, &[3]), (256, &[1, 0, 2])]
        {
            assert!(matches!(PublicKey::read(&rsa(bytes, exponent)), Err(KeyError::Weak(_))), "{bytes} {exponent:?}");
        }
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key").subject_public_key_info();
        assert!(matches!(PublicKey::read(&p521), Err(KeyError::Weak(_))), "proof of possession could not be checked");
        let ours = SecretKey::for_ca(CaKey::P256).expect("a key").public_der();
        for end in 0..ours.len() {
            assert!(PublicKey::read(&ours[..end]).is_err());
        }
        assert!(PublicKey::read(&[&ours[..], &[0]].concat()).is_err());
    }
}
