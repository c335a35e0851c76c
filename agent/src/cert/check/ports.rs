//! Whether CAs can reach the ports where they look for proofs, as far as that can be told from here: who holds the ports, and where names lead.
//!
//! A CA asks port 80 or 443 of every address that a name has, an old AAAA record's too; it goes on to IPv4 in a few cases only.

mod sockets;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use certs::solve::Way;
use mirror::config::{Config, Issuer};

use super::{CertFailure, Finding, bad, good};
use crate::cert::{folder, meant};
pub(crate) use sockets::{Holder, holders};

/// Who holds the ports that CAs look at.
pub(super) fn ports(config: &Config) -> Result<Vec<Finding>, CertFailure> {
    let mut runs = false;
    for names in meant(config, None)?.into_iter().filter(|names| names.issuer == Issuer::Acme) {
        runs |= folder(config, names).is_attended()?;
    }
    Ok(looked_at(config).into_iter().map(|(way, address)| port(way, address, runs)).collect())
}

/// Where proofs are looked for, by which way.
fn looked_at(config: &Config) -> BTreeSet<(&'static str, SocketAddr)> {
    let mut places = BTreeSet::new();
    let wants = |names: &mirror::config::Names| names.issuer == Issuer::Acme;
    let by_acme = || config.listeners.iter().filter(|one| one.tls.as_ref().and_then(|tls| tls.names()).is_some_and(wants));
    if by_acme().next().is_none() {
        return places;
    }
    for way in &config.acme.ways {
        match way {
            Way::Http => {
                let address = config.proving_listener().map_or(config.acme.http, |one| one.address);
                places.insert((way.name(), address));
            }
            Way::TlsAlpn => places.extend(by_acme().map(|one| (way.name(), one.address))),
            Way::Dns | Way::DnsPersist => {}
        }
    }
    places.retain(|(_, address)| address.port() != 0); // Any port: it is known when it is bound.
    places
}

fn port(way: &str, address: SocketAddr, runs: bool) -> Finding {
    let asked = if way == Way::Http.name() { 80 } else { 443 };
    let passed_on = if address.port() == asked { String::new() } else { format!(", to which port {asked} of the names must be passed on") };
    let subject = format!("{address} for {way}{passed_on}");
    let setting = if asked == 80 { "acme.http moves it" } else { "the listener's address moves it" };
    match holders(address).as_slice() {
        [] => nobody(subject, setting, runs, TcpListener::bind(address).map(drop)),
        held if held.iter().any(|holder| matches!(holder, Holder::Ours(_))) => good(format!("{subject}: chandler listens")),
        held if held.contains(&Holder::ServiceManager) => good(format!("{subject}: systemd keeps it for a service")),
        held => match held.iter().find_map(|holder| if let Holder::Other(who) = holder { Some(who) } else { None }) {
            Some(who) => bad(
                subject,
                format!("{who} has the port: stop it, or have it pass on what CAs ask; {setting}, acme.challenges names other ways"),
            ),
            None if runs => good(format!("{subject}: somebody listens, and a mirror runs")),
            None => {
                bad(subject, format!("another program has the port; as root this says which; {setting}, acme.challenges names other ways"))
            }
        },
    }
}

fn nobody(subject: String, setting: &str, runs: bool, bound: io::Result<()>) -> Finding {
    match bound {
        Ok(()) if runs => bad(subject, "nobody listens, though a mirror runs: its log tells why, and its next start tries again"),
        Ok(()) => good(format!("{subject} is free")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bad(subject, format!("ports below 1024 are root's: let the service have CAP_NET_BIND_SERVICE; {setting}"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && runs => good(format!("{subject}: somebody listens, and a mirror runs")),
        Err(error) => bad(subject, format!("it cannot be had ({error}); {setting}")),
    }
}

/// Where a name leads: each of its addresses.
pub(super) fn leads(subject: &str, found: &BTreeSet<IpAddr>, ways: &[Way]) -> Vec<Finding> {
    let asked: Vec<u16> =
        [(Way::Http, 80), (Way::TlsAlpn, 443)].into_iter().filter(|(way, _)| ways.contains(way)).map(|(_, port)| port).collect();
    let look = |address: &IpAddr| Led { address: *address, is_own: is_own(*address), answers: None };
    let mut led: Vec<Led> = found.iter().map(look).collect();
    for one in led.iter_mut().filter(|one| !one.is_own) {
        let tried = asked.iter().filter_map(|port| answers(SocketAddr::new(one.address, *port)));
        one.answers = tried.reduce(|one, other| one || other);
    }
    judge(subject, &led)
}

/// One address of a name.
#[derive(Clone, Copy, Debug)]
struct Led {
    address: IpAddr,
    /// Whether anybody answers at a port that CAs ask, if that was tried. From behind a router one's own outer address may not.
    answers: Option<bool>,
    is_own: bool,
}

/// Pure. An IPv4 address may be a router's that passes ports on; behind IPv6 there is hardly ever one.
fn judge(subject: &str, led: &[Led]) -> Vec<Finding> {
    let right = led.iter().find(|one| one.address.is_ipv4() && (one.is_own || one.answers == Some(true)));
    let one = |one: &Led| {
        let subject = format!("{subject}: {}", one.address);
        match (one.address, right) {
            _ if one.is_own => good(subject),
            (IpAddr::V6(_), Some(right)) if right.is_own || one.answers == Some(false) => bad(
                subject,
                format!("this AAAA record leads elsewhere than {}: a CA that takes it finds no proof; remove an old one", right.address),
            ),
            _ => {
                let heard = if one.answers == Some(true) { "somebody answers there" } else { "nobody answers who asks from here" };
                good(format!("{subject}, which is not this machine's own: ports 80 and 443 must be passed on to it ({heard})"))
            }
        }
    };
    led.iter().map(one).collect()
}

/// Whether anybody answers; `None` where nothing leads there from here, as to IPv6 in most containers.
fn answers(address: SocketAddr) -> Option<bool> {
    match TcpStream::connect_timeout(&address, TIMEOUT).map_err(|error| error.kind()) {
        Err(io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable) => None,
        tried => Some(tried.is_ok()),
    }
}

/// Only an address of this machine can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// To somebody far away, and no longer than a person waits.
const TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn led(address: &str, is_own: bool, answers: Option<bool>) -> Led {
        Led { address: address.parse().expect("an address"), answers, is_own }
    }

    fn said(led: &[Led]) -> Vec<String> {
        let one = |finding: Finding| match finding.fault {
            Some(fault) => format!("bad {}: {fault}", finding.subject),
            None => format!("good {}", finding.subject),
        };
        judge("mirror.example.com", led).into_iter().map(one).collect()
    }

    #[test]
    fn an_old_aaaa_record_that_leads_elsewhere_is_named() {
        let old = said(&[led("192.0.2.7", true, None), led("2001:db8::7", false, Some(true))]);
        assert_eq!(old[0], "good mirror.example.com: 192.0.2.7");
        assert!(old[1].starts_with("bad mirror.example.com: 2001:db8::7: this AAAA record leads elsewhere than 192.0.2.7"), "{old:?}");
        let behind_a_router = said(&[led("192.0.2.7", false, Some(true)), led("2001:db8::7", false, Some(false))]);
        assert!(behind_a_router[1].starts_with("bad"), "{behind_a_router:?}");
    }

    #[test]
    fn an_address_of_a_router_is_no_mistake() {
        for led in [
            vec![led("192.0.2.7", false, Some(false)), led("2001:db8::7", true, None)],
            vec![led("192.0.2.7", false, Some(false)), led("2001:db8::7", false, Some(false))],
            vec![led("192.0.2.7", false, Some(true)), led("2001:db8::7", false, Some(true))],
            vec![led("192.0.2.7", false, Some(true)), led("2001:db8::7", false, None)], // In a container without IPv6.
        ] {
            assert!(said(&led).iter().all(|one| one.starts_with("good")), "{:?}", said(&led));
        }
    }

    #[test]
    fn who_holds_a_port_is_seen() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound");
        let held = port("http-01", address, false);
        // The process that listens is this very test: the same program.
        assert!(held.fault.is_none() && held.subject.ends_with("chandler listens"), "{}", held.subject);
        drop(free);
        let free = port("http-01", address, false);
        assert!(
            free.fault.is_none() && free.subject.contains("to which port 80 of the names must be passed on is free"),
            "{}",
            free.subject
        );
        assert!(port("http-01", address, true).fault.is_some_and(|fault| fault.contains("nobody listens, though a mirror runs")));
        let refused = nobody("x".into(), "acme.http moves it", false, Err(io::ErrorKind::PermissionDenied.into()));
        assert!(refused.fault.is_some_and(|fault| fault.contains("CAP_NET_BIND_SERVICE")));
    }

    #[test]
    fn loopback_is_this_machines_own_and_a_documents_address_is_not() {
        assert!(is_own([127, 0, 0, 1].into()) && !is_own([192, 0, 2, 1].into()));
    }
}
