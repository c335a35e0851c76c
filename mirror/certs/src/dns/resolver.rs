//! What is found out by asking: which name a name stands for, where its zone starts, and who serves that.

use std::net::{IpAddr, SocketAddr};

use super::{Data, DnsError, Kind, Message, Name, exchange};

/// The servers that are asked, in their order; none: the machine's own, as they are when they are asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
}

/// A zone's own servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Servers {
    /// The zone.
    pub zone: Name,
    /// Each with its name and its addresses.
    pub servers: Vec<(Name, Vec<IpAddr>)>,
}

impl Resolver {
    /// That asks these; the machine's own, where there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec() }
    }

    /// The answer of the first that has one.
    pub async fn ask(&self, name: &Name, kind: Kind) -> Result<Message, DnsError> {
        let servers = if self.servers.is_empty() { system(&read_system().await) } else { self.servers.clone() };
        let mut last = None;
        for server in servers {
            match exchange::query(server, name, kind, true).await {
                Ok(message) => return Ok(message),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("at least one was asked"))
    }

    /// The name that `name` is another name for, at the end of all: a record for `name` is put there. `first` is asked before all others: it may be the
    /// server of the zone itself.
    pub async fn follow(&self, name: &Name, first: Option<SocketAddr>) -> Result<Name, DnsError> {
        let mut at = name.clone();
        for _ in 0..LONGEST_CHAIN {
            match self.alias(&at, first).await? {
                Some(target) => at = target,
                None => return Ok(at),
            }
        }
        Err(DnsError::Circle { name: name.clone() })
    }

    async fn alias(&self, name: &Name, first: Option<SocketAddr>) -> Result<Option<Name>, DnsError> {
        if let Some(server) = first
            && let Ok(message) = exchange::query(server, name, Kind::CNAME, false).await
            && message.is_authoritative
        {
            return Ok(message.alias_of(name).cloned());
        }
        Ok(self.ask(name, Kind::CNAME).await?.alias_of(name).cloned())
    }

    /// The zone that `name` is in, with its servers.
    pub async fn servers(&self, name: &Name) -> Result<Option<Servers>, DnsError> {
        for zone in name.ancestry() {
            let message = self.ask(&zone, Kind::NS).await?;
            let names: Vec<Name> = message.answers.iter().filter(|record| record.name == zone).filter_map(server_of).collect();
            if names.is_empty() {
                continue;
            }
            let mut servers = Vec::new();
            for name in names.into_iter().take(MOST_SERVERS) {
                let addresses = self.addresses(&name).await;
                servers.push((name, addresses));
            }
            return Ok(Some(Servers { zone, servers }));
        }
        Ok(None)
    }

    async fn addresses(&self, name: &Name) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for kind in [Kind::A, Kind::AAAA] {
            let answers = self.ask(name, kind).await.map(|message| message.answers).unwrap_or_default();
            found.extend(answers.into_iter().filter_map(|record| match record.data {
                Data::A(address) => Some(IpAddr::from(address)),
                Data::Aaaa(address) => Some(address.into()),
                _ => None,
            }));
        }
        found
    }
}

/// The zone that `name` is in, by the word of `server`, which is asked whether it starts one itself.
pub async fn zone_at(server: SocketAddr, name: &Name) -> Result<Option<Name>, DnsError> {
    for at in name.ancestry() {
        let message = match exchange::query(server, &at, Kind::SOA, false).await {
            Ok(message) => message,
            Err(DnsError::Declined { .. }) => continue, // It may serve what lies above.
            Err(error) => return Err(error),
        };
        let start = message.answers.iter().chain(&message.authorities).find(|record| record.data == Data::Soa);
        if let Some(start) = start.filter(|start| message.is_authoritative && at.is_within(&start.name)) {
            return Ok(Some(start.name.clone()));
        }
    }
    Ok(None)
}

fn server_of(record: &super::Record) -> Option<Name> {
    match &record.data {
        Data::Ns(name) => Some(name.clone()),
        _ => None,
    }
}

/// Written anew when the machine comes into another network.
async fn read_system() -> String {
    tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default()
}

/// The `nameserver` lines, as the system's own library takes them (resolv.conf(5)): three at most, and this machine where there is none.
fn system(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        word.split('%').next()?.parse::<IpAddr>().ok()
    };
    let mut found: Vec<SocketAddr> = text.lines().filter_map(address).take(3).map(|address| (address, PORT).into()).collect();
    if found.is_empty() {
        found.push(([127, 0, 0, 1], PORT).into());
    }
    found
}

/// Where name servers listen.
pub(super) const PORT: u16 = 53;
const LONGEST_CHAIN: usize = 8;
/// More than any zone has (RFC 1035 has room for thirteen in a datagram).
const MOST_SERVERS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers_are_read_as_its_own_library_reads_them() {
        let servers = |text: &str| system(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(servers("# none\nsearch corp\n"), ["127.0.0.1:53"]);
        assert_eq!(servers("nameserver\t10.0.0.1 # one\nnameserver fe80::1%eth0\nnameservers 1.1.1.1\n"), ["10.0.0.1:53", "[fe80::1]:53"]);
        assert_eq!(servers(&"nameserver 10.0.0.1\n".repeat(9)).len(), 3);
    }
}
