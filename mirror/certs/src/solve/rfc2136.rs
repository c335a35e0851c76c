//! dns-01 by signed updates (RFC 2136, RFC 8945): BIND, Knot, and whatever else takes them.
//!
//! One TXT record is added beside those that are there, and that one is taken away again: a wildcard and its own name have two at one place. An answer
//! counts if it is signed as we sign, and one that says that our signature is wrong, since such a one cannot be.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::Moment;
use crate::dns::{self, Answer, DnsError, Entry, Kind, Name, Question, Rcode, TsigError, TsigKey, exchange};

/// A name server that takes updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Rfc2136 {
    /// How they are signed.
    pub key: TsigKey,
    /// Where it is: a name or an address, and a port.
    pub server: String,
    /// How long others may keep a record, in seconds.
    pub ttl: u32,
    /// The zone; else what the server says.
    pub zone: Option<Name>,
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum Rfc2136Error {
    /// It is not signed as it should be.
    #[error("{server} took the update of {name} or did not: {source}; somebody may have answered in its place")]
    Answer {
        /// Which record.
        name: Name,
        /// Who.
        server: String,
        /// What is wrong.
        source: TsigError,
    },
    /// The network.
    #[error("the update of {name} does not reach {server}")]
    Exchange {
        /// Which record.
        name: Name,
        /// Whom.
        server: String,
        /// Why not.
        #[source]
        source: DnsError,
    },
    /// Its name.
    #[error("{server} has no address")]
    Lookup {
        /// Whose.
        server: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The server knows no zone above it.
    #[error(
        "{server} serves no zone that {name} is in: name another server in acme.dns.rfc2136.server, or the zone in acme.dns.rfc2136.zone"
    )]
    NoZone {
        /// Which record.
        name: Name,
        /// Who.
        server: String,
    },
    /// It says no.
    #[error("{server} refuses to change {name} in the zone {zone} ({rcode}): {mend}")]
    Refused {
        /// What to do.
        mend: String,
        /// Which record.
        name: Name,
        /// What it says.
        rcode: Rcode,
        /// Who.
        server: String,
        /// In which zone.
        zone: Name,
    },
}

impl Rfc2136 {
    /// Adds the record.
    pub(super) async fn add(&self, name: &Name, value: &str) -> Result<(), Rfc2136Error> {
        self.update(name, Entry::Add { name: name.clone(), ttl: self.ttl, text: value.to_owned() }).await.map(drop)
    }

    /// Takes this one away.
    pub(super) async fn remove(&self, name: &Name, value: &str) -> Result<(), Rfc2136Error> {
        self.update(name, Entry::Delete { name: name.clone(), text: value.to_owned() }).await.map(drop)
    }

    /// Whether it would take a record: a record that is not there is taken away, which changes nothing and needs the same rights. Gives the zone.
    pub(super) async fn try_out(&self, name: &Name) -> Result<Name, Rfc2136Error> {
        self.update(name, Entry::Delete { name: name.clone(), text: NOT_THERE.to_owned() }).await
    }

    /// Where the server is, for who asks it other things.
    pub(super) async fn address(&self) -> Result<SocketAddr, Rfc2136Error> {
        let failed = |source| Rfc2136Error::Lookup { server: self.server.clone(), source };
        let mut found = tokio::net::lookup_host(&self.server).await.map_err(failed)?;
        found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    async fn update(&self, name: &Name, entry: Entry) -> Result<Name, Rfc2136Error> {
        let address = self.address().await?;
        let zone = self.zone(address, name).await?;
        let (question, id) = (Question { name: zone.clone(), kind: Kind::SOA }, dns::random());
        let mut request = question.update(id, &[entry]);
        let signature = self.key.sign(&mut request, now());
        let answer = exchange(address, &question, id, &request).await.map_err(|source| self.unreached(name, source))?;
        self.judge(name, &zone, &answer, &signature).map(|()| zone)
    }

    async fn zone(&self, address: SocketAddr, name: &Name) -> Result<Name, Rfc2136Error> {
        if let Some(zone) = &self.zone {
            return Ok(zone.clone());
        }
        let found = dns::zone_at(address, name).await.map_err(|source| self.unreached(name, source))?;
        found.ok_or_else(|| Rfc2136Error::NoZone { name: name.clone(), server: self.server.clone() })
    }

    fn judge(&self, name: &Name, zone: &Name, answer: &Answer, request: &[u8]) -> Result<(), Rfc2136Error> {
        let said = answer.message.signature.as_ref().map(|(_, signature)| signature);
        let of_signature = said.map_or(Rcode::NO_ERROR, |signature| signature.error);
        let rcode = if of_signature == Rcode::NO_ERROR { answer.message.rcode } else { of_signature };
        if rcode == Rcode::NO_ERROR {
            let verified = self.key.verify(answer, request, now());
            return verified.map_err(|source| Rfc2136Error::Answer { name: name.clone(), server: self.server.clone(), source });
        }
        let mend = self.mend(rcode, name, said.and_then(dns::Signature::server_time));
        Err(Rfc2136Error::Refused { mend, name: name.clone(), rcode, server: self.server.clone(), zone: zone.clone() })
    }

    /// What to do about it.
    fn mend(&self, rcode: Rcode, name: &Name, server_time: Option<u64>) -> String {
        let key = &self.key;
        match rcode {
            Rcode::BAD_KEY => format!(
                "it has no key {} for {}; acme.dns.rfc2136.key_name and key_algorithm must be the server's",
                key.name,
                key.algorithm.name()
            ),
            Rcode::BAD_SIGNATURE => format!("the secret is not that of its key {}; look at acme.dns.rfc2136.key_file", key.name),
            Rcode::BAD_TIME => {
                let apart = server_time.map(|time| format!(" by {} s", time.abs_diff(now()))).unwrap_or_default();
                format!("its clock and this machine's differ{apart}; set them (chrony, systemd-timesyncd)")
            }
            Rcode::REFUSED => format!(
                "it does not let the key {0} write there; with BIND the zone needs update-policy {{ grant {0} name {name}. TXT; }}",
                key.name
            ),
            Rcode::NOT_AUTHORITATIVE => "it is not the zone's primary server; name that one in acme.dns.rfc2136.server".to_owned(),
            Rcode::NOT_IN_ZONE => "the name is not in that zone; look at acme.dns.rfc2136.zone".to_owned(),
            Rcode::SERVER_FAILURE => "it cannot write the zone; its log tells why (with BIND often the zone file's folder)".to_owned(),
            _ => "its log tells why".to_owned(),
        }
    }

    fn unreached(&self, name: &Name, source: DnsError) -> Rfc2136Error {
        Rfc2136Error::Exchange { name: name.clone(), server: self.server.clone(), source }
    }
}

fn now() -> u64 {
    u64::try_from(Moment::from(SystemTime::now()).unix()).unwrap_or_default()
}

/// No value of a proof looks so.
const NOT_THERE: &str = "chandler-cert-check";

#[cfg(test)]
mod tests {
    use crate::dns::TsigAlgorithm;

    use super::*;

    #[test]
    fn what_a_server_says_is_told_with_what_to_do() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let key = TsigKey::new(name("chandler"), TsigAlgorithm::HmacSha256, "c2VjcmV0").expect("a key");
        let server = Rfc2136 { key, server: "ns1.corp:53".into(), ttl: 60, zone: None };
        for (rcode, time, words) in [
            (Rcode::BAD_KEY, None, "it has no key chandler for hmac-sha256"),
            (Rcode::BAD_SIGNATURE, None, "key_file"),
            (Rcode::BAD_TIME, Some(now() + 4000), "differ by 4000 s"),
            (Rcode::BAD_TIME, None, "differ; set them"),
            (Rcode::REFUSED, None, "update-policy { grant chandler name _acme-challenge.mirror.corp. TXT; }"),
            (Rcode::NOT_AUTHORITATIVE, None, "primary"),
            (Rcode::NOT_IN_ZONE, None, "acme.dns.rfc2136.zone"),
            (Rcode::SERVER_FAILURE, None, "log"),
            (Rcode(4), None, "log"),
        ] {
            let mend = server.mend(rcode, &name("_acme-challenge.mirror.corp"), time);
            assert!(mend.contains(words) || (time.is_some() && mend.contains("differ by 3999 s")), "{rcode}: {mend}");
        }
        assert!(!format!("{server:?}").contains("c2V"));
    }
}
