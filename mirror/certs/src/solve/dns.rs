//! dns-01: where the record goes, who writes it, and when it is there.
//!
//! `_acme-challenge.NAME` may be another name for one that we may write (a CNAME, by which a zone that nobody wants to open is left alone): the record goes
//! where that leads. A script finds its own way.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::rfc2136::{Rfc2136, Rfc2136Error};
use super::route53::{Route53, Route53Error};
use super::{DnsHook, HookError, Proof, Way};
use crate::Identifier;
use crate::acme::with_causes;
use crate::dns::{DnsError, Name, NameError, Propagation, Resolver};
use crate::store::Record;

/// Everything for dns-01.
#[derive(Debug)]
pub struct DnsProofs {
    /// Of values that Amazon's servers may not have yet.
    changes: Mutex<HashMap<String, String>>,
    resolver: Resolver,
    /// Where each value was put, to be taken away from there whatever the names say then.
    places: Mutex<HashMap<String, Place>>,
    wait: Option<Duration>,
    writer: DnsWriter,
}

/// Where a record belongs.
#[derive(Clone, Debug)]
struct Place {
    /// Why it is not known whether the name leads elsewhere.
    doubt: Option<String>,
    name: Name,
}

/// Who writes TXT records.
#[derive(Debug)]
pub enum DnsWriter {
    /// A script.
    Hook(DnsHook),
    /// A name server that takes updates.
    Rfc2136(Rfc2136),
    /// Amazon's.
    Route53(Route53),
}

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
pub enum DnsProofError {
    /// It failed, perhaps since it was tried in the wrong place.
    #[error(
        "it could not be asked ({doubt}) whether {name} is another name (a CNAME) for a place elsewhere, and the record was tried at {name} itself"
    )]
    Doubtful {
        /// Whose.
        name: Name,
        /// Why it could not be asked.
        doubt: String,
        /// What came of it.
        #[source]
        error: Box<Self>,
    },
    /// Where it belongs.
    #[error("it is not known where the record of {name} belongs")]
    Follow {
        /// Whose.
        name: Name,
        /// Why not.
        #[source]
        source: DnsError,
    },
    /// By a script.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The name is too long to have a record below it.
    #[error(transparent)]
    Name(#[from] NameError),
    /// By updates.
    #[error(transparent)]
    Rfc2136(#[from] Rfc2136Error),
    /// By Amazon.
    #[error(transparent)]
    Route53(#[from] Route53Error),
}

impl DnsProofError {
    /// It may be otherwise soon, whatever is set up. What a script fails of nobody knows.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Follow { source, .. } => !matches!(source, DnsError::Circle { .. }),
            Self::Doubtful { error, .. } => error.passes(),
            Self::Hook(_) | Self::Name(_) => false,
            Self::Rfc2136(error) => matches!(error, Rfc2136Error::Exchange { .. } | Rfc2136Error::Lookup { .. }),
            Self::Route53(error) => error.passes(),
        }
    }
}

impl From<DnsHook> for DnsProofs {
    /// Scripts wait themselves.
    fn from(hook: DnsHook) -> Self {
        Self::new(DnsWriter::Hook(hook), Resolver::default(), None)
    }
}

impl DnsProofs {
    /// `resolver` tells where names lead; `wait`: how long the zone's own servers may take to show a record.
    pub fn new(writer: DnsWriter, resolver: Resolver, wait: Option<Duration>) -> Self {
        Self { changes: Mutex::default(), places: Mutex::default(), resolver, wait, writer }
    }

    pub(super) async fn present(&self, proof: &Proof) -> Result<(), DnsProofError> {
        let value = &proof.dns_value;
        match &self.writer {
            DnsWriter::Hook(hook) => hook.present(proof).await?,
            DnsWriter::Rfc2136(server) => {
                let place = self.place(proof).await?;
                server.add(&place.name, value).await.map_err(|error| place.tell(error))?;
            }
            DnsWriter::Route53(account) => {
                let place = self.place(proof).await?;
                let change = account.add(&place.name, value).await.map_err(|error| place.tell(error))?;
                lock(&self.changes).extend(change.map(|change| (value.clone(), change)));
            }
        }
        Ok(())
    }

    /// Where it goes.
    pub(super) async fn record(&self, proof: &Proof) -> Result<Record, DnsProofError> {
        let place = match &self.writer {
            DnsWriter::Hook(_) => None,
            DnsWriter::Rfc2136(_) | DnsWriter::Route53(_) => Some(self.place(proof).await?.name.to_string()),
        };
        Ok(Record { identifier: proof.identifier.clone(), place, token: proof.token.clone(), value: proof.dns_value.clone() })
    }

    /// The proof that another process wrote down, as far as it takes to take it away.
    pub(super) fn take_over(&self, record: Record) -> Proof {
        let Record { identifier, place, token, value } = record;
        let place = place.and_then(|place| place.parse().ok()).map(|name| Place { doubt: None, name });
        lock(&self.places).extend(place.map(|place| (value.clone(), place)));
        Proof { digest: Vec::new(), dns_value: value, identifier, key_authorization: String::new(), token, way: Way::Dns }
    }

    pub(super) async fn withdraw(&self, proof: &Proof) -> Result<(), DnsProofError> {
        let (value, place) = (&proof.dns_value, lock(&self.places).remove(&proof.dns_value));
        lock(&self.changes).remove(value);
        match (&self.writer, place) {
            (DnsWriter::Hook(hook), _) => hook.withdraw(proof).await?,
            (_, None) => {} // It did not come so far.
            (DnsWriter::Rfc2136(server), Some(place)) => server.remove(&place.name, value).await?,
            (DnsWriter::Route53(account), Some(place)) => account.remove(&place.name, value).await?,
        }
        Ok(())
    }

    /// Waits until CAs can see `proofs`.
    pub(super) async fn settle(&self, proofs: &[&Proof]) -> Result<(), DnsProofError> {
        if let DnsWriter::Route53(account) = &self.writer {
            let changes: Vec<String> = proofs.iter().filter_map(|proof| lock(&self.changes).remove(&proof.dns_value)).collect();
            account.settle(&changes).await?;
        }
        if let Some(wait) = self.wait {
            self.ask_servers(proofs, wait).await;
        }
        Ok(())
    }

    /// Within `wait` in all, of which half at most is for where the records of a script are. Says what is doubtful, and never fails: the CA looks from elsewhere.
    async fn ask_servers(&self, proofs: &[&Proof], wait: Duration) {
        let began = Instant::now();
        let mut records = Vec::new();
        for proof in proofs {
            let place = lock(&self.places).get(&proof.dns_value).cloned();
            let place = match place {
                Some(place) => Ok(Ok(place)),
                None => timeout_at(began + wait / 2, self.follow(&proof.identifier)).await, // A script's.
            };
            match place {
                Ok(Ok(place)) => records.push((place.name, proof.dns_value.clone())),
                Ok(Err(error)) => {
                    tracing::warn!(tls.name = %proof.identifier, error = &error as &dyn Error, "whether its record is seen is not known");
                }
                Err(_) => {
                    let error = "the resolvers took too long to tell where it is";
                    tracing::warn!(tls.name = %proof.identifier, error, "whether its record is seen is not known");
                }
            }
        }
        let propagation = Propagation { resolver: self.resolver.clone(), wait: wait.saturating_sub(began.elapsed()) };
        for seen in propagation.until_seen(&records).await {
            if let Some(doubt) = seen.doubt() {
                tracing::warn!(dns.name = %seen.name, doubt, "the CA may not see the record yet, and looks for it now");
            } else {
                tracing::info!(dns.name = %seen.name, servers = seen.by.len(), "every server of the zone shows the record");
            }
        }
    }

    /// Whether records for `identifier` can be written, as far as that can be told without writing one. `None`: nobody knows of a script.
    pub async fn try_out(&self, identifier: &Identifier) -> Option<Result<String, DnsProofError>> {
        let place = match &self.writer {
            DnsWriter::Hook(_) => return None,
            DnsWriter::Rfc2136(_) | DnsWriter::Route53(_) => self.follow(identifier).await,
        };
        Some(match place {
            Ok(place) => self.try_at(&place).await.map_err(|error| place.tell(error)),
            Err(error) => Err(error),
        })
    }

    async fn try_at(&self, place: &Place) -> Result<String, DnsProofError> {
        let name = &place.name;
        let said = match &self.writer {
            DnsWriter::Hook(_) => String::new(),
            DnsWriter::Rfc2136(server) => format!("{} takes {name} in the zone {}", server.server, server.try_out(name).await?),
            DnsWriter::Route53(account) => format!("Route 53 has {name} in the zone {}", account.try_out(name).await?),
        };
        let doubt = place.doubt.as_ref().map(|doubt| format!("; whether it is another name (a CNAME) could not be asked ({doubt})"));
        Ok(said + &doubt.unwrap_or_default())
    }

    async fn place(&self, proof: &Proof) -> Result<Place, DnsProofError> {
        if let Some(place) = lock(&self.places).get(&proof.dns_value) {
            return Ok(place.clone()); // As it was written down.
        }
        let place = self.follow(&proof.identifier).await?;
        lock(&self.places).insert(proof.dns_value.clone(), place.clone());
        Ok(place)
    }

    /// Resolvers that do not answer, as in a closed network, know of no other name either; they are asked twice, since else one lost answer puts the record into
    /// the zone that was to stay closed.
    async fn follow(&self, identifier: &Identifier) -> Result<Place, DnsProofError> {
        let name = challenge(identifier)?;
        let first = match &self.writer {
            DnsWriter::Rfc2136(server) => server.address().await.ok(),
            DnsWriter::Hook(_) | DnsWriter::Route53(_) => None,
        };
        let mut found = self.resolver.follow(&name, first).await;
        if matches!(&found, Err(error) if !matches!(error, DnsError::Circle { .. })) {
            tokio::time::sleep(PAUSE).await;
            found = self.resolver.follow(&name, first).await;
        }
        match found {
            Ok(name) => Ok(Place { doubt: None, name }),
            Err(source @ DnsError::Circle { .. }) => Err(DnsProofError::Follow { name, source }),
            Err(error) => {
                let doubt = with_causes(&error);
                tracing::warn!(dns.name = %name, doubt, "whether it is another name (a CNAME) cannot be asked; it is taken for none");
                Ok(Place { doubt: Some(doubt), name })
            }
        }
    }
}

impl Place {
    /// Who reads of a failure must not open the wrong zone.
    fn tell(&self, error: impl Into<DnsProofError>) -> DnsProofError {
        match &self.doubt {
            None => error.into(),
            Some(doubt) => DnsProofError::Doubtful { doubt: doubt.clone(), error: Box::new(error.into()), name: self.name.clone() },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the record of a name is looked for (RFC 8555 8.4); an address has none, and never comes here.
fn challenge(identifier: &Identifier) -> Result<Name, NameError> {
    match identifier {
        Identifier::Dns(name) => format!("_acme-challenge.{}", name.base()).parse(),
        Identifier::Ip(address) => address.to_string().parse(),
    }
}

/// Between two questions about a name.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::path::Path;

    use super::super::HookStyle;
    use crate::dns::{TsigAlgorithm, TsigKey};
    use tokio::net::UdpSocket;

    use super::*;

    /// Nobody listens there.
    async fn nobody() -> SocketAddr {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port").local_addr().expect("bound")
    }

    fn proofs(server: String, resolver: SocketAddr) -> DnsProofs {
        let key = TsigKey::new("chandler".parse().expect("a name"), TsigAlgorithm::HmacSha256, "c2VjcmV0").expect("a key");
        let writer = DnsWriter::Rfc2136(Rfc2136 { key, server, ttl: 60, zone: Some("corp".parse().expect("a name")) });
        DnsProofs::new(writer, Resolver::new(&[resolver]), None)
    }

    #[tokio::test]
    async fn where_it_could_not_be_asked_whether_a_name_leads_elsewhere_its_failure_says_so() {
        let (server, resolver) = (nobody().await, nobody().await);
        let proofs = proofs(server.to_string(), resolver);
        let tried = proofs.try_out(&"mirror.corp".parse().expect("a name")).await.expect("it is no script");
        let told = with_causes(&tried.expect_err("nobody is there"));
        assert!(told.contains("CNAME") && told.contains(&resolver.to_string()) && told.contains("does not reach"), "{told}");
    }

    #[tokio::test]
    async fn however_many_names_a_script_has_written_for_a_resolver_that_hangs_takes_no_more_than_the_wait() {
        let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let resolver = Resolver::new(&[silent.local_addr().expect("bound")]);
        let hook = DnsHook::new(HookStyle::Lego, Path::new("/nowhere"), None, Duration::from_secs(1));
        let names = DnsProofs::new(DnsWriter::Hook(hook), resolver, Some(Duration::from_millis(200)));
        let proofs: Vec<Proof> = (0..3).map(|number| proof(&format!("m{number}.test"))).collect();
        names.settle(&proofs.iter().collect::<Vec<_>>()).await.expect("the CA looks from elsewhere");
        silent.set_nonblocking(true).expect("it can be");
        let asked = std::iter::from_fn(|| silent.recv(&mut [0; 512]).ok()).count();
        assert!((1..=3).contains(&asked), "{asked}: nobody waited for the second datagram");
    }

    fn proof(name: &str) -> Proof {
        let identifier = name.parse().expect("a name");
        let (dns_value, key_authorization, token) = (name.to_owned(), String::new(), String::new());
        Proof { digest: Vec::new(), dns_value, identifier, key_authorization, token, way: Way::Dns }
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_more_before_it_is_taken_for_no_other() {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let resolver = udp.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            for round in 0_u8.. {
                let (length, from) = udp.recv_from(&mut bytes).await.expect("a question");
                let mut reply = bytes[..length].to_vec();
                (reply[2], reply[3]) = (0x81, if round == 0 { 0x82 } else { 0x80 }); // It fails at first.
                if round == 1 {
                    reply[7] = 1;
                    reply.extend_from_slice(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x0b\x04open\x04test\0");
                }
                udp.send_to(&reply, from).await.expect("sent");
            }
        });
        let place = proofs("nobody.invalid:53".into(), resolver).follow(&"mirror.corp".parse().expect("a name")).await;
        let place = place.expect("it leads to a place");
        assert_eq!((place.name, place.doubt), ("open.test".parse().expect("a name"), None));
    }
}
