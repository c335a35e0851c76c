//! Proofs that a name is ours, and where they are put.
//!
//! [`HttpProofs`] and [`AlpnProofs`] are tables that the listeners read; [`DnsProofs`] are TXT records, written by somebody's script ([`DnsHook`]), by
//! updates of a zone ([`Rfc2136`]) or at Amazon ([`Route53`]). A dns-persist-01 record was put in place once by a person: there is nothing to do.

mod alpn;
mod dns;
mod hook;
mod http;
mod rfc2136;
pub mod route53;

use std::sync::Arc;

pub use alpn::{ACME_TLS, AlpnProofs};
pub use dns::{DnsProofError, DnsProofs, DnsWriter};
pub use hook::{DnsHook, HookError, HookStyle};
pub use http::HttpProofs;
pub use rfc2136::{Rfc2136, Rfc2136Error};
pub use route53::Route53;

use crate::Identifier;
use crate::store::Record;

/// A way to prove a name (RFC 8555 8, RFC 8737, RFC 8738).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Way {
    /// dns-01: a TXT record for this order.
    Dns,
    /// dns-persist-01: a TXT record for good.
    DnsPersist,
    /// http-01: a file on port 80.
    Http,
    /// tls-alpn-01: a certificate on port 443.
    TlsAlpn,
}

/// One proof.
#[derive(Clone)]
pub struct Proof {
    /// SHA-256 of the key authorization, for the certificate of tls-alpn-01.
    pub digest: Vec<u8>,
    /// The TXT record of dns-01.
    pub dns_value: String,
    /// Of what.
    pub identifier: Identifier,
    /// The file of http-01.
    pub key_authorization: String,
    /// The CA's token.
    pub token: String,
    /// How.
    pub way: Way,
}

/// The ways that are set up.
#[derive(Clone, Debug, Default)]
pub struct Solvers {
    /// On the TLS listener.
    pub alpn: Option<Arc<AlpnProofs>>,
    /// In DNS.
    pub dns: Option<Arc<DnsProofs>>,
    /// Somebody has put the lasting record in place.
    pub dns_persist: bool,
    /// On port 80.
    pub http: Option<Arc<HttpProofs>>,
    /// Which are tried first; others follow in an order of our own.
    pub order: Vec<Way>,
}

/// Why a proof could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum PresentError {
    /// The certificate of tls-alpn-01.
    #[error("the certificate for tls-alpn-01 cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TXT record.
    #[error(transparent)]
    Dns(#[from] DnsProofError),
    /// The key of the certificate of tls-alpn-01.
    #[error("the key for tls-alpn-01 cannot be used: {0}")]
    Key(#[from] rustls::Error),
    /// The way was taken away meanwhile.
    #[error("{} is not set up", .0.name())]
    NotSetUp(Way),
}

impl PresentError {
    /// No waiting mends what is set up wrongly; the network, and who has too much to do, it does.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Dns(error) if error.passes())
    }
}

impl Way {
    /// As the protocol calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns-01",
            Self::DnsPersist => "dns-persist-01",
            Self::Http => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
        }
    }

    /// Whether it can prove `identifier`: a wildcard is proved by DNS only (RFC 8555 8.3, RFC 8737 3), an address never (RFC 8738 7).
    pub fn fits(self, identifier: &Identifier) -> bool {
        let by_dns = matches!(self, Self::Dns | Self::DnsPersist);
        match identifier {
            Identifier::Dns(name) => by_dns || !name.is_wildcard(),
            Identifier::Ip(_) => !by_dns,
        }
    }
}

impl Solvers {
    /// The way for `identifier` among those that the CA offers; the next one after each failed attempt, since a port that is closed stays closed.
    pub fn choose(&self, identifier: &Identifier, offered: &[Way], attempt: u32) -> Option<Way> {
        let is_possible = |way: &Way| self.has(*way) && offered.contains(way) && way.fits(identifier);
        let others = ORDER.into_iter().filter(|way| !self.order.contains(way));
        let possible: Vec<Way> = self.order.iter().copied().chain(others).filter(is_possible).collect();
        possible.get(attempt as usize % possible.len().max(1)).copied()
    }

    /// What is to be written down of a proof before it is put in place: what outlives this process.
    pub async fn record(&self, proof: &Proof) -> Result<Option<Record>, PresentError> {
        match (&self.dns, proof.way) {
            (Some(dns), Way::Dns) => Ok(Some(dns.record(proof).await?)),
            _ => Ok(None),
        }
    }

    /// Takes away what another process put in place. Says whether it is gone, or nobody here can do it.
    pub async fn withdraw_record(&self, record: Record) -> bool {
        let Some(dns) = &self.dns else {
            tracing::warn!(tls.name = %record.identifier, value = record.value, "a TXT record is left behind, since acme.dns is gone");
            return true;
        };
        self.withdraw(dns.take_over(record)).await
    }

    /// Puts a proof in place.
    pub async fn present(&self, proof: &Proof) -> Result<(), PresentError> {
        let missing = PresentError::NotSetUp(proof.way);
        match proof.way {
            Way::Dns => Ok(self.dns.as_ref().ok_or(missing)?.present(proof).await?),
            Way::DnsPersist => Ok(()),
            Way::Http => {
                self.http.as_ref().ok_or(missing)?.present(proof);
                Ok(())
            }
            Way::TlsAlpn => self.alpn.as_ref().ok_or(missing)?.present(proof),
        }
    }

    /// Waits until CAs can see what was put in place.
    pub async fn settle(&self, proofs: &[Proof]) -> Result<(), PresentError> {
        let in_dns: Vec<&Proof> = proofs.iter().filter(|proof| proof.way == Way::Dns).collect();
        match &self.dns {
            Some(dns) if !in_dns.is_empty() => Ok(dns.settle(&in_dns).await?),
            _ => Ok(()),
        }
    }

    /// Takes it away. Says whether it is gone: what fails here leaves something that does no harm, and is to be tried again.
    pub async fn withdraw(&self, proof: Proof) -> bool {
        match proof.way {
            Way::Dns => {
                if let Some(dns) = &self.dns
                    && let Err(error) = dns.withdraw(&proof).await
                {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(tls.name = %proof.identifier, error, "a TXT record cannot be taken away now; it is tried again later");
                    return false;
                }
            }
            Way::DnsPersist => {}
            Way::Http => self.http.iter().for_each(|http| http.withdraw(&proof)),
            Way::TlsAlpn => self.alpn.iter().for_each(|alpn| alpn.withdraw(&proof)),
        }
        true
    }

    fn has(&self, way: Way) -> bool {
        match way {
            Way::Dns => self.dns.is_some(),
            Way::DnsPersist => self.dns_persist,
            Way::Http => self.http.is_some(),
            Way::TlsAlpn => self.alpn.is_some(),
        }
    }
}

/// What needs least from others first.
const ORDER: [Way; 4] = [Way::DnsPersist, Way::TlsAlpn, Way::Http, Way::Dns];

#[cfg(test)]
mod tests {
    use super::*;

    fn identifier(text: &str) -> Identifier {
        text.parse().expect("an identifier")
    }

    #[test]
    fn each_attempt_takes_the_next_way_that_is_set_up_and_offered_and_fits() {
        let both = Solvers { alpn: Some(Arc::default()), http: Some(Arc::default()), ..Solvers::default() };
        let all = [Way::Http, Way::Dns, Way::TlsAlpn, Way::DnsPersist];
        let host = identifier("mirror.test");
        assert_eq!(
            (0..3).map(|attempt| both.choose(&host, &all, attempt)).collect::<Vec<_>>(),
            [Some(Way::TlsAlpn), Some(Way::Http), Some(Way::TlsAlpn)]
        );
        assert_eq!(both.choose(&host, &[Way::Http], 0), Some(Way::Http));
        assert_eq!(both.choose(&host, &[Way::Dns], 0), None);
        assert_eq!(both.choose(&identifier("*.mirror.test"), &all, 0), None, "a wildcard needs DNS");
        let persist = Solvers { dns_persist: true, ..both };
        assert_eq!(persist.choose(&identifier("*.mirror.test"), &all, 0), Some(Way::DnsPersist));
        assert_eq!(persist.choose(&identifier("10.0.0.7"), &all, 0), Some(Way::TlsAlpn), "an address has no TXT record");
    }
}
