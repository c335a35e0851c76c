//! A CA asks any of a zone's servers, and a secondary learns of a record later than the first one: before the CA is told to look, each is asked
//! whether it shows it.
//!
//! It never fails, and ends at its time whoever is silent, also where the servers are only looked for: a server that cannot be reached from here, as in a closed network, or that is told apart from what the CA sees, says
//! nothing about what the CA will see. That is told, and the order goes on.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::resolver::PORT;
use super::{Kind, Name, Resolver, exchange};

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
    pub unknown: Option<String>,
}

/// One server that has not shown its record yet.
#[derive(Clone)]
struct Waiting {
    addresses: Vec<IpAddr>,
    failures: u32,
    /// What it said last, if it was asked to the end.
    last: Option<Said>,
    name: Name,
    /// Which of the records it is asked for.
    record: usize,
}

/// What a server says.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Said {
    Nothing,
    NotYet,
    Shown,
}

impl Propagation {
    /// Asks until every server of each record's zone shows it, or the time is over.
    pub async fn until_seen(&self, records: &[(Name, String)]) -> Vec<Seen> {
        let began = Instant::now();
        let deadline = began + self.wait;
        // What one name's servers take must not take all others' time.
        let (mut seen, mut waiting) = self.find(records, began + self.wait / 2).await;
        let mut pause = FIRST_PAUSE;
        loop {
            waiting = round(waiting, records, &mut seen, deadline).await;
            let left = deadline.saturating_duration_since(Instant::now());
            if waiting.is_empty() || left.is_zero() {
                break;
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        for server in waiting {
            let one = &mut seen[server.record];
            if server.last == Some(Said::NotYet) { &mut one.not_by } else { &mut one.silent }.push(server.name);
        }
        seen
    }

    /// The servers of all, each name and each server looked for once.
    async fn find(&self, records: &[(Name, String)], until: Instant) -> (Vec<Seen>, Vec<Waiting>) {
        let names = records.iter().map(|(name, _)| name.clone()).collect();
        let resolver = self.resolver.clone();
        let zones = each(names, until, |name| {
            let resolver = resolver.clone();
            async move { resolver.servers(&name).await.map_err(|error| crate::acme::with_causes(&error)) }
        });
        let zones = zones.await;
        let servers_of =
            |name: &Name| zones.get(name).and_then(|found| found.as_ref().ok()?.as_ref()).map_or(&[][..], |found| &found.servers);
        let servers = records.iter().flat_map(|(name, _)| servers_of(name)).cloned().collect();
        let addresses = each(servers, until, |server| {
            let resolver = resolver.clone();
            async move { resolver.addresses(&server).await }
        });
        let addresses = addresses.await;
        let (mut seen, mut waiting) = (Vec::new(), Vec::new());
        for (record, (name, _)) in records.iter().enumerate() {
            let unknown = match zones.get(name) {
                None => Some("the resolvers took too long".to_owned()),
                Some(found) => found.as_ref().err().cloned(),
            };
            seen.push(Seen { name: name.clone(), by: Vec::new(), not_by: Vec::new(), silent: Vec::new(), unknown });
            waiting.extend(servers_of(name).iter().map(|server| {
                let addresses = addresses.get(server).cloned().unwrap_or_default();
                Waiting { addresses, failures: 0, last: None, name: server.clone(), record }
            }));
        }
        (seen, waiting)
    }
}

impl Seen {
    /// Something that a person may want to know.
    pub fn doubt(&self) -> Option<String> {
        let list = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if let Some(why) = &self.unknown {
            return Some(format!("the servers of its zone cannot be found: {why}"));
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

/// What `ask` says of each, for those where it does in time.
async fn each<T, F>(names: BTreeSet<Name>, until: Instant, ask: impl Fn(Name) -> F) -> HashMap<Name, T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (mut asking, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for name in names {
        let (asked, turns) = (ask(name.clone()), Arc::clone(&turns));
        asking.spawn(async move {
            let _turn = turns.acquire().await;
            (name, asked.await)
        });
    }
    let mut said = HashMap::new();
    while let Ok(Some(asked)) = timeout_at(until, asking.join_next()).await {
        said.extend(asked); // It panicked: nothing is known.
    }
    said
}

/// Asks each once, until the time is over; gives those that are to be asked again.
async fn round(waiting: Vec<Waiting>, records: &[(Name, String)], seen: &mut [Seen], deadline: Instant) -> Vec<Waiting> {
    let (mut asking, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (index, server) in waiting.iter().enumerate() {
        let ((name, value), addresses, turns) = (records[server.record].clone(), server.addresses.clone(), Arc::clone(&turns));
        asking.spawn(async move {
            let _turn = turns.acquire().await;
            (index, look(&addresses, &name, &value).await)
        });
    }
    let mut said = vec![None; waiting.len()];
    while let Ok(Some(asked)) = timeout_at(deadline, asking.join_next()).await {
        let Ok((index, answer)) = asked else { continue }; // It panicked.
        said[index] = Some(answer);
    }
    let mut again = Vec::new();
    for (mut server, said) in waiting.into_iter().zip(said) {
        server.failures = if said == Some(Said::Nothing) { server.failures + 1 } else { 0 };
        server.last = said.or(server.last);
        match said {
            Some(Said::Shown) => seen[server.record].by.push(server.name),
            Some(Said::Nothing) if server.failures >= GIVEN_UP => seen[server.record].silent.push(server.name),
            Some(Said::Nothing | Said::NotYet) | None => again.push(server),
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

/// Questions under way.
const AT_ONCE: usize = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Rounds without an answer, after which a server is not waited for.
const GIVEN_UP: u32 = 2;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    /// A resolver on this machine, and what it was asked: the name and the kind, in bytes.
    struct Fake {
        address: SocketAddr,
        asked: Arc<Mutex<Vec<Vec<u8>>>>,
        _by_tcp: TcpListener,
    }

    impl Fake {
        /// Answers with what `answer` makes of a question: a number of records, and their bytes; not at all, where it makes nothing of it.
        async fn new(answer: impl Fn(&[u8]) -> Option<(u8, Vec<u8>)> + Send + 'static) -> Self {
            let (udp, by_tcp) = loop {
                let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                // Somebody may have the same port by TCP.
                if let Ok(by_tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
                    break (udp, by_tcp);
                }
            };
            let address = udp.local_addr().expect("bound");
            let fake = Self { address, asked: Arc::default(), _by_tcp: by_tcp };
            let asked = Arc::clone(&fake.asked);
            tokio::spawn(async move {
                let mut bytes = [0; 512];
                while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
                    let question = bytes[12..length].to_vec();
                    let answered = answer(&question);
                    asked.lock().expect("no panic").push(question);
                    let Some((count, records)) = answered else { continue };
                    let mut reply = bytes[..length].to_vec();
                    (reply[2], reply[3], reply[7]) = (0x81, 0x80, count);
                    reply.extend_from_slice(&records);
                    let _ = udp.send_to(&reply, from).await;
                }
            });
            fake
        }

        fn resolver(&self) -> Resolver {
            Resolver::new(&[self.address])
        }

        fn count(&self, question: &[u8]) -> usize {
            self.asked.lock().expect("no panic").iter().filter(|one| one.starts_with(question)).count()
        }
    }

    fn records(count: usize) -> Vec<(Name, String)> {
        (0..count).map(|number| (format!("_acme-challenge.m{number}.test").parse().expect("a name"), "value".to_owned())).collect()
    }

    fn record(kind: u8, data: &[u8]) -> Vec<u8> {
        [b"\xc0\x0c\0", &[kind][..], b"\0\x01\0\0\0\x3c\0", &[data.len() as u8], data].concat()
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_takes_no_more_than_the_time_that_there_is() {
        let fake = Fake::new(|_| None).await;
        let wait = Duration::from_millis(200);
        let seen = Propagation { resolver: fake.resolver(), wait }.until_seen(&records(3)).await;
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|one| one.doubt().is_some_and(|doubt| doubt.contains("took too long"))), "{seen:?}");
        assert!(fake.count(b"") <= 3, "each was asked for once, and nobody waited for the second datagram");
    }

    #[tokio::test]
    async fn a_zones_servers_are_looked_for_once_and_at_a_few_addresses() {
        let fake = Fake::new(|question| match question {
            b"\x04test\0\0\x02\0\x01" => Some((1, record(2, b"\x03ns1\x04test\0"))),
            b"\x03ns1\x04test\0\0\x01\0\x01" => Some((9, record(1, &[127, 0, 0, 2]).repeat(9))),
            _ => Some((0, Vec::new())),
        })
        .await;
        let server: Name = "ns1.test".parse().expect("a name");
        assert_eq!(fake.resolver().addresses(&server).await.len(), 4);
        let before = fake.count(b"\x03ns1");
        let propagation = Propagation { resolver: fake.resolver(), wait: Duration::from_mins(1) };
        let (seen, waiting) = propagation.find(&records(5), Instant::now() + propagation.wait).await;
        assert_eq!((fake.count(b"\x03ns1") - before, seen.len(), waiting.len()), (2, 5, 5), "one question a kind of address");
        assert!(waiting.iter().all(|one| one.name == server && one.addresses.len() == 4));
    }
}
