//! What is found out by asking: which name a name stands for, where its zone starts, and who serves that.

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::{Data, DnsError, Kind, Message, Name, Record, exchange};

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
    /// Their names.
    pub servers: Vec<Name>,
}

impl Resolver {
    /// That asks these; the machine's own, where there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.to_vec() }
    }

    /// The answer of the first that has one. Where none has, what one said is told rather than that another was silent.
    pub async fn ask(&self, name: &Name, kind: Kind) -> Result<Message, DnsError> {
        let servers = if self.servers.is_empty() { system(&read_system().await, &interface) } else { self.servers.clone() };
        let mut last = None;
        for server in servers {
            match exchange::query(server, name, kind, true).await {
                Ok(message) => return Ok(message),
                Err(error) if matches!(last, Some(DnsError::Declined { .. })) => drop(error),
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

    /// The zone that `name` is in, with the names of its servers.
    pub async fn servers(&self, name: &Name) -> Result<Option<Servers>, DnsError> {
        for zone in name.ancestry() {
            let message = self.ask(&zone, Kind::NS).await?;
            let names = message.answers.iter().filter(|record| record.name == zone).filter_map(server_of);
            let servers: Vec<Name> = names.take(MOST_SERVERS).collect();
            if !servers.is_empty() {
                return Ok(Some(Servers { zone, servers }));
            }
        }
        Ok(None)
    }

    /// Some addresses of `server`; none, where nobody tells any.
    pub async fn addresses(&self, server: &Name) -> Vec<IpAddr> {
        let (four, six) = tokio::join!(self.ask(server, Kind::A), self.ask(server, Kind::AAAA));
        let found = [four, six].into_iter().flat_map(|asked| asked.map(|message| message.answers).unwrap_or_default());
        let address = |record: Record| match record.data {
            Data::A(address) => Some(IpAddr::from(address)),
            Data::Aaaa(address) => Some(address.into()),
            _ => None,
        };
        found.filter_map(address).take(MOST_ADDRESSES).collect()
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

fn server_of(record: &Record) -> Option<Name> {
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
fn system(text: &str, interface: &dyn Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let word = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        match word.split_once('%') {
            None => Some((word.parse::<IpAddr>().ok()?, PORT).into()),
            Some((address, scope)) => Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, interface(scope)?).into()),
        }
    };
    let mut found: Vec<SocketAddr> = text.lines().filter_map(address).take(3).collect();
    if found.is_empty() {
        found.push(([127, 0, 0, 1], PORT).into());
    }
    found
}

/// The number of an interface, by which an address that holds on one network only is reached. It may be given as one.
fn interface(name: &str) -> Option<u32> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
    name.parse()
        .ok()
        .or_else(|| fs::read_to_string(format!("/sys/class/net/{}/ifindex", is_plain.then_some(name)?)).ok()?.trim().parse().ok())
}

/// Where name servers listen.
pub(super) const PORT: u16 = 53;
const LONGEST_CHAIN: usize = 8;
/// A server that does not answer at so many does not answer.
const MOST_ADDRESSES: usize = 4;
/// More than any zone has (RFC 1035 has room for thirteen in a datagram).
const MOST_SERVERS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_servers_are_read_as_its_own_library_reads_them() {
        let number = |interface: &str| (interface == "eth0").then_some(7);
        let servers = |text: &str| system(text, &number).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(servers("# none\nsearch corp\n"), ["127.0.0.1:53"]);
        assert_eq!(
            servers("nameserver\t10.0.0.1 # one\nnameserver fe80::1%eth0\nnameservers 1.1.1.1\n"),
            ["10.0.0.1:53", "[fe80::1%7]:53"]
        );
        assert_eq!(servers("nameserver fe80::1%gone0\nnameserver fd00::1\n"), ["[fd00::1]:53"], "nobody could be reached there");
        assert_eq!((interface("3"), interface("lo"), interface("../lo")), (Some(3), Some(1), None));
        assert_eq!(servers(&"nameserver 10.0.0.1\n".repeat(9)).len(), 3);
    }
}
