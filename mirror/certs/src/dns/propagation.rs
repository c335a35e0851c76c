//! A CA asks any of a zone's servers, and a secondary learns of a record later than the first one: before the CA is told to look, each is asked
//! whether it shows it.
//!
//! It never fails and always ends: a server that cannot be reached from here, as in a closed network, or that is told apart from what the CA sees, says
//! nothing about what the CA will see. That is told, and the order goes on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::resolver::PORT;
use super::{DnsError, Kind, Name, Resolver, exchange};

/// A wait for records to be seen.
#[derive(Clone, Debug)]
pub struct Propagation {
    /// Who tells which servers there are.
    pub resolver: Resolver,
    /// How long at most, for all records together.
    pub wait: Duration,
}

/// What the servers of one record's zone show.
#[derive(Debug)]
pub struct Seen {
    /// Whose record.
    pub name: Name,
    /// Servers that show it.
    pub by: Vec<Name>,
    /// Servers that answer, and do not show it.
    pub not_by: Vec<Name>,
    /// Servers that do not answer here.
    pub silent: Vec<Name>,
    /// Why the servers are not even known.
    pub unknown: Option<DnsError>,
}

/// One server that has not shown its record yet.
struct Waiting {
    addresses: Vec<IpAddr>,
    failures: u32,
    name: Name,
    /// Which of the records it is asked for.
    record: usize,
}

/// What a server says.
enum Said {
    Nothing,
    NotYet,
    Shown,
}

impl Propagation {
    /// Asks until every server of each record's zone shows it, or the time is over.
    pub async fn until_seen(&self, records: &[(Name, String)]) -> Vec<Seen> {
        let deadline = Instant::now() + self.wait;
        let (mut seen, mut waiting) = (Vec::new(), Vec::new());
        for (record, (name, _)) in records.iter().enumerate() {
            let found = self.resolver.servers(name).await;
            let mut one = Seen { name: name.clone(), by: Vec::new(), not_by: Vec::new(), silent: Vec::new(), unknown: None };
            match found {
                Ok(found) => {
                    let servers = found.map(|found| found.servers).unwrap_or_default();
                    waiting.extend(servers.into_iter().map(|(name, addresses)| Waiting { addresses, failures: 0, name, record }));
                }
                Err(error) => one.unknown = Some(error),
            }
            seen.push(one);
        }
        let mut pause = FIRST_PAUSE;
        loop {
            waiting = round(waiting, records, &mut seen).await;
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.is_empty() || left.is_zero() {
                break;
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        for server in waiting {
            let one = &mut seen[server.record];
            if server.failures > 0 { &mut one.silent } else { &mut one.not_by }.push(server.name);
        }
        seen
    }
}

impl Seen {
    /// Something that a person may want to know.
    pub fn doubt(&self) -> Option<String> {
        let list = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if let Some(error) = &self.unknown {
            return Some(format!("the servers of its zone cannot be found: {}", crate::acme::with_causes(error)));
        }
        match (self.not_by.as_slice(), self.silent.as_slice()) {
            ([], []) if self.by.is_empty() => Some("no zone is found that it could be in".to_owned()),
            ([], []) => None,
            ([], silent) => Some(format!("{} cannot be asked from here", list(silent))),
            (behind, []) => Some(format!("{} answers and does not show it yet", list(behind))),
            (behind, silent) => {
                Some(format!("{} answers and does not show it yet, {} cannot be asked from here", list(behind), list(silent)))
            }
        }
    }
}

/// Asks each once; gives those that are to be asked again.
async fn round(waiting: Vec<Waiting>, records: &[(Name, String)], seen: &mut [Seen]) -> Vec<Waiting> {
    let mut asking = JoinSet::new();
    for mut server in waiting {
        let (name, value) = records[server.record].clone();
        asking.spawn(async move {
            let said = look(&server.addresses, &name, &value).await;
            server.failures = if matches!(said, Said::Nothing) { server.failures + 1 } else { 0 };
            (server, said)
        });
    }
    let mut again = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let Ok((server, said)) = asked else { continue }; // It panicked: it is not waited for.
        match said {
            Said::Shown => seen[server.record].by.push(server.name),
            Said::Nothing if server.failures >= GIVEN_UP => seen[server.record].silent.push(server.name),
            Said::Nothing | Said::NotYet => again.push(server),
        }
    }
    again
}

/// By the first of its addresses that answers.
async fn look(addresses: &[IpAddr], name: &Name, value: &str) -> Said {
    for address in addresses {
        match exchange::query(SocketAddr::new(*address, PORT), name, Kind::TXT, false).await {
            Ok(message) if message.shows(name, value) => return Said::Shown,
            Ok(message) if message.is_authoritative => return Said::NotYet,
            Ok(_) | Err(_) => {}
        }
    }
    Said::Nothing
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Rounds without an answer, after which a server is not waited for.
const GIVEN_UP: u32 = 2;
