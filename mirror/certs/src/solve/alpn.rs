//! tls-alpn-01: what port 443 answers to a CA that offers `acme-tls/1` (RFC 8737).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::{PresentError, Proof};
use crate::Identifier;

/// The protocol that such a CA offers, alone.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificates that are there now, by the server name that the CA sends.
#[derive(Debug, Default)]
pub struct AlpnProofs(Mutex<HashMap<String, Arc<CertifiedKey>>>);

impl AlpnProofs {
    /// The certificate for a handshake with this server name.
    pub fn find(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        self.table().get(&server_name.to_ascii_lowercase()).cloned()
    }

    /// No CA looks at anything now.
    pub fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    pub(super) fn present(&self, proof: &Proof) -> Result<(), PresentError> {
        let certificate = Arc::new(certificate(proof)?);
        self.table().insert(server_name(&proof.identifier), certificate);
        Ok(())
    }

    pub(super) fn withdraw(&self, proof: &Proof) {
        self.table().remove(&server_name(&proof.identifier));
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not by `CertifiedKey::from_der`, which refuses the critical extension that this certificate is made for.
fn certificate(proof: &Proof) -> Result<CertifiedKey, PresentError> {
    let mut params = CertificateParams::new(vec![proof.identifier.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&proof.digest)];
    let key = KeyPair::generate()?;
    let der = params.self_signed(&key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok(CertifiedKey::new(vec![der], aws_lc_rs::default_provider().key_provider.load_private_key(key.into())?))
}

/// An address is asked for by its name in the reverse tree (RFC 8738 6), since no address can be a server name.
fn server_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.as_str().to_owned(),
        Identifier::Ip(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(IpAddr::V6(address)) => {
            let mut name: String = hex::encode(address.octets()).chars().rev().flat_map(|nibble| [nibble, '.']).collect();
            name.push_str("ip6.arpa");
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        let name = |text: &str| server_name(&text.parse().expect("an identifier"));
        assert_eq!(name("127.0.0.1"), "1.0.0.127.in-addr.arpa");
        assert_eq!(name("2001:db8::1"), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    }
}
