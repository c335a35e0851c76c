//! Requests that we sign ourselves (RFC 8555 6.2), where the library keeps to itself what we need: a new key before it is sent, and the answer.
//!
//! A key here is one that the library made or could have made: ECDSA over P-256, as PKCS#8.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use instant_acme::{Error, Problem};
use serde_json::{Value, json};

use super::{CaError, Courier, Directory};

/// The key of an account.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl AccountKey {
    /// A new one.
    pub(super) fn generate() -> Result<Self, Error> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self::parse(made.map_err(|_| Error::Crypto)?.as_ref())
    }

    /// The one that is written so.
    pub(super) fn parse(pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(|_| Error::KeyRejected)?;
        Ok(Self { pair, pkcs8: pkcs8.to_owned() })
    }

    /// As the library writes it into credentials.
    pub(super) fn written(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.pkcs8)
    }

    /// As the library writes it into credentials.
    pub(super) fn read(written: &str) -> Result<Self, Error> {
        Self::parse(&URL_SAFE_NO_PAD.decode(written).map_err(|_| Error::KeyRejected)?)
    }

    /// Its name (RFC 7638).
    pub(super) fn thumbprint(&self) -> String {
        let (x, y) = self.point();
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
    }

    /// What others may know of it.
    pub(super) fn public(&self) -> Value {
        let (x, y) = self.point();
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    /// `payload` under this key (RFC 7515 7.2.2). An empty one is the question for what is there (RFC 8555 6.3).
    pub(super) fn sign(&self, protected: &Value, payload: &str) -> Result<Value, Error> {
        let (protected, payload) = (URL_SAFE_NO_PAD.encode(protected.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).map_err(|_| Error::Crypto)?;
        Ok(json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()) }))
    }

    /// The public key is a 4 and both coordinates.
    fn point(&self) -> (String, String) {
        let coordinates = &self.pair.public_key().as_ref()[1..];
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

/// Who asks a CA, and where.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    /// The account's URL.
    pub(super) account: &'a str,
    pub(super) courier: &'a Courier,
    pub(super) directory: &'a str,
    pub(super) key: &'a AccountKey,
    pub(super) links: &'a Directory,
}

impl Signer<'_> {
    /// Asks `url`; a nonce that was refused is no answer.
    pub(super) async fn post(&self, doing: &'static str, url: &str, payload: &str) -> Result<Bytes, CaError> {
        let failed = |source| CaError::Exchange { directory: self.directory.to_owned(), doing, seen: self.courier.seen(), source };
        let source = self.links.new_nonce.as_deref().ok_or_else(|| failed(Error::Str("newNonce in the CA's directory")))?;
        let mut tries = 0;
        loop {
            tries += 1;
            let nonce = self.courier.nonce(source).await.map_err(failed)?;
            let protected = json!({ "alg": "ES256", "kid": self.account, "nonce": nonce, "url": url });
            let body = self.key.sign(&protected, payload).map_err(failed)?.to_string();
            let (status, _, text) = self.courier.post(url, body).await.map_err(|error| failed(Error::Other(error.into())))?;
            if status.is_success() {
                return Ok(text);
            }
            let problem: Problem = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
            let is_stale = problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce"));
            if !is_stale || tries == TRIES {
                return Err(failed(Error::Api(problem)));
            }
        }
    }
}

/// With nonces that the CA refuses.
const TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_is_verified_by_the_public_key_and_the_key_is_read_back() {
        let key = AccountKey::generate().expect("random numbers");
        let again = AccountKey::read(&key.written()).expect("as it was written");
        assert_eq!(again.thumbprint(), key.thumbprint());
        let signed = key.sign(&json!({ "alg": "ES256" }), "{}").expect("signed");
        let part = |name: &str| signed[name].as_str().expect("a text").to_owned();
        let text = format!("{}.{}", part("protected"), part("payload"));
        let signature = URL_SAFE_NO_PAD.decode(part("signature")).expect("base64url");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, again.pair.public_key().as_ref());
        assert!(public.verify(text.as_bytes(), &signature).is_ok());
        assert!(AccountKey::read("AAAA").is_err() && AccountKey::read("no key!").is_err());
    }
}
