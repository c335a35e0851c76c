//! Who may connect to the mirror: rules by which its clients' networks reach its ports, and nobody else does.
//!
//! [`Rules`] is what is wanted; [`aws`] and [`google`] say it to clouds, [`nftables`], [`firewalld`] and [`ufw`] to the mirror's own machine. Ports that Docker publishes go past the last two, for its
//! own rules stand before theirs: [`published`] is what closes that way.

pub mod aws;
pub mod firewalld;
pub mod google;
pub mod nftables;
pub mod published;
pub mod ufw;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::MirrorUrl;

/// Networks that reach ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rules {
    ports: BTreeSet<u16>,
    four: Vec<Ipv4Net>,
    six: Vec<Ipv6Net>,
}

/// A network, or a single address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client(pub IpNet);

/// Why there are no rules.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoRules {
    /// Nobody could connect.
    #[error("no client is named: nobody would reach the mirror")]
    Nobody,
    /// No rule keeps anybody out.
    #[error("{0} is everybody: name the networks of clients and VMs")]
    Everybody(IpNet),
    /// Neither a port nor a mirror with one.
    #[error("no port is named, and no mirror that has one")]
    NoPort,
    /// A mirror that nobody else can reach.
    #[error("{0} is reached by its own machine alone, and needs no rule")]
    Loopback(MirrorUrl),
    /// No network.
    #[error("`{0}` is no network: write an address, or one with the length of its prefix, such as 10.0.0.0/16 or fd00::/8")]
    Client(String),
}

impl Rules {
    /// For these ports, or where none is named for those of the mirrors.
    pub fn new(ports: &[u16], mirrors: &[MirrorUrl], clients: &[Client]) -> Result<Self, NoRules> {
        let rules = Self::of_ports(ports, mirrors)?;
        let nets: Vec<IpNet> = clients.iter().map(|client| client.0.trunc()).collect();
        if let Some(net) = nets.iter().find(|net| net.prefix_len() == 0) {
            return Err(NoRules::Everybody(*net));
        }
        if nets.is_empty() {
            return Err(NoRules::Nobody);
        }
        let four: Vec<Ipv4Net> = nets.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None }).collect();
        let six: Vec<Ipv6Net> = nets.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None }).collect();
        // One within another is said once: some firewalls refuse both together.
        Ok(Self { four: Ipv4Net::aggregate(&four), six: Ipv6Net::aggregate(&six), ..rules })
    }

    /// Of ports alone, where a cloud knows clients by their groups or tags.
    pub fn of_ports(ports: &[u16], mirrors: &[MirrorUrl]) -> Result<Self, NoRules> {
        let mut all: BTreeSet<u16> = ports.iter().copied().filter(|port| *port != 0).collect();
        if all.is_empty() {
            if let Some(mirror) = mirrors.iter().find(|mirror| mirror.is_loopback()) {
                return Err(NoRules::Loopback(mirror.clone()));
            }
            all.extend(mirrors.iter().map(MirrorUrl::port));
        }
        if all.is_empty() { Err(NoRules::NoPort) } else { Ok(Self { ports: all, four: Vec::new(), six: Vec::new() }) }
    }

    /// In ascending order.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().copied()
    }

    /// All networks, those of IPv4 first.
    pub fn clients(&self) -> impl Iterator<Item = IpNet> {
        self.four.iter().copied().map(IpNet::V4).chain(self.six.iter().copied().map(IpNet::V6))
    }

    /// The networks of IPv4.
    pub fn four(&self) -> &[Ipv4Net] {
        &self.four
    }

    /// The networks of IPv6.
    pub fn six(&self) -> &[Ipv6Net] {
        &self.six
    }

    fn port_list(&self) -> String {
        self.ports().map(|port| port.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Client {
    type Err = NoRules;

    fn from_str(text: &str) -> Result<Self, NoRules> {
        let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(Self).ok_or_else(|| NoRules::Client(text.to_owned()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two networks and a single address, two ports.
    pub(crate) fn rules() -> Rules {
        let clients = ["10.20.0.0/16", "192.0.2.7", "fd00:20::/32"].map(|text| text.parse().expect("a network"));
        let mirrors = ["https://mirror.example", "http://mirror.example:5000"].map(|text| text.parse().expect("a mirror"));
        Rules::new(&[], &mirrors, &clients).expect("rules")
    }

    #[test]
    fn ports_are_the_mirrors_unless_they_are_named() {
        assert_eq!(rules().ports().collect::<Vec<_>>(), [443, 5000]);
        let mirror = ["https://mirror.example".parse().expect("a mirror")];
        let client = ["10.0.0.1".parse().expect("an address")];
        assert_eq!(Rules::new(&[8443], &mirror, &client).expect("rules").ports().collect::<Vec<_>>(), [8443]);
    }

    #[test]
    fn networks_are_said_once_and_by_their_first_address() {
        let clients = ["10.0.0.5/8", "10.1.0.0/16", "10.0.0.0/8", "192.0.2.7/32"].map(|text| text.parse().expect("a network"));
        let rules = Rules::new(&[443], &[], &clients).expect("rules");
        assert_eq!(rules.clients().map(|net| net.to_string()).collect::<Vec<_>>(), ["10.0.0.0/8", "192.0.2.7/32"]);
    }

    #[test]
    fn rules_that_keep_nobody_out_or_let_nobody_in_are_refused() {
        let mirror = ["https://mirror.example".parse().expect("a mirror")];
        let near = ["http://127.0.0.1:5000".parse().expect("a mirror")];
        let (all, one) = ("0.0.0.0/0".parse().expect("a network"), "10.0.0.1".parse().expect("an address"));
        assert_eq!(Rules::new(&[], &mirror, &[]), Err(NoRules::Nobody));
        assert!(matches!(Rules::new(&[], &mirror, &[one, all]), Err(NoRules::Everybody(_))));
        assert_eq!(Rules::new(&[], &[], &[one]), Err(NoRules::NoPort));
        assert!(matches!(Rules::new(&[], &near, &[one]), Err(NoRules::Loopback(_))));
        assert!("10.0.0.0/33".parse::<Client>().is_err() && "10.0.0.0/8; drop".parse::<Client>().is_err());
    }
}
