//! tls-alpn-01: what port 443 answers to a CA that offers `acme-tls/1` (RFC 8737).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::{PresentError, Proof};
use crate::Identifier;
use crate::store::Proofs;

/// The protocol that such a CA offers, alone.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The certificates that are there now, by the server name that the CA sends: our own proofs', and those of other processes that share our folder.
#[derive(Debug, Default)]
pub struct AlpnProofs {
    others: Mutex<HashMap<String, Other>>,
    own: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

#[derive(Debug)]
struct Other {
    certificate: Arc<CertifiedKey>,
    digest: String,
}

impl AlpnProofs {
    /// The certificate for a handshake with this server name.
    pub fn find(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let name = server_name.to_ascii_lowercase();
        let own = self.own().get(&name).cloned();
        own.or_else(|| self.others().get(&name).map(|other| Arc::clone(&other.certificate)))
    }

    /// A CA comes for a proof of our own with this server name.
    pub fn is_ours(&self, server_name: &str) -> bool {
        self.own().contains_key(&server_name.to_ascii_lowercase())
    }

    /// No CA looks at anything of ours now.
    pub fn is_empty(&self) -> bool {
        self.own().is_empty()
    }

    /// What other processes wait for now, as they wrote it down, and nothing that they wrote before.
    pub fn take_over(&self, proofs: &Proofs) -> Result<(), PresentError> {
        let mut others = HashMap::new();
        for (identifier, digest) in &proofs.alpn {
            let name = server_name(identifier);
            let known = self.others().remove(&name).filter(|known| known.digest == *digest);
            let other = match known {
                Some(known) => known,
                None => Other {
                    certificate: Arc::new(certificate(identifier, &hex::decode(digest).unwrap_or_default())?),
                    digest: digest.clone(),
                },
            };
            others.insert(name, other);
        }
        *self.others() = others;
        Ok(())
    }

    pub(super) fn present(&self, proof: &Proof) -> Result<(), PresentError> {
        let certificate = Arc::new(certificate(&proof.identifier, &proof.digest)?);
        self.own().insert(server_name(&proof.identifier), certificate);
        Ok(())
    }

    pub(super) fn withdraw(&self, proof: &Proof) {
        self.own().remove(&server_name(&proof.identifier));
    }

    fn others(&self) -> MutexGuard<'_, HashMap<String, Other>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not by `CertifiedKey::from_der`, which refuses the critical extension that this certificate is made for.
fn certificate(identifier: &Identifier, digest: &[u8]) -> Result<CertifiedKey, PresentError> {
    let mut params = CertificateParams::new(vec![identifier.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
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
    use super::super::Way;
    use super::*;

    #[test]
    fn a_ca_is_shown_the_proofs_of_others_for_as_long_as_they_wait_and_our_own_before_them() {
        let table = AlpnProofs::default();
        let waiting = |digest: &[u8]| Proofs {
            alpn: ["mirror.test", "10.0.0.7"].map(|name| (name.parse().expect("an identifier"), hex::encode(digest))).into(),
            ..Proofs::default()
        };
        let shown = |name: &str| table.find(name).map(|found| found.cert[0].to_vec());
        table.take_over(&waiting(&[1; 32])).expect("certificates");
        let first = shown("Mirror.test").expect("shown");
        assert!(first.windows(32).any(|part| part == [1; 32]) && shown("7.0.0.10.in-addr.arpa").is_some());
        table.take_over(&waiting(&[1; 32])).expect("certificates");
        assert_eq!(shown("mirror.test"), Some(first), "what is known is not made again");
        table.take_over(&waiting(&[2; 32])).expect("certificates");
        assert!(shown("mirror.test").expect("shown").windows(32).any(|part| part == [2; 32]));

        let identifier = "mirror.test".parse().expect("a name");
        let own = Proof {
            digest: vec![3; 32],
            dns_value: String::new(),
            identifier,
            key_authorization: String::new(),
            token: String::new(),
            way: Way::TlsAlpn,
        };
        table.present(&own).expect("a certificate");
        assert!(shown("mirror.test").expect("shown").windows(32).any(|part| part == [3; 32]));
        table.withdraw(&own);
        table.take_over(&Proofs::default()).expect("nothing to do");
        assert!(shown("mirror.test").is_none() && shown("7.0.0.10.in-addr.arpa").is_none());
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        let name = |text: &str| server_name(&text.parse().expect("an identifier"));
        assert_eq!(name("127.0.0.1"), "1.0.0.127.in-addr.arpa");
        assert_eq!(name("2001:db8::1"), "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    }
}
