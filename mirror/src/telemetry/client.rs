//! Who the client is, behind proxies that we trust; and whether all clients look like one.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// The client of a request that came from `peer`: the rightmost address in `X-Forwarded-For` that is no trusted proxy. Whoever is left of
/// that could have written anything.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if !is_trusted(&client) {
        return client;
    }
    for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        // A line or a word that is none ends what can be believed: to its right stands the last proxy that spoke clearly.
        let Ok(line) = line.to_str() else { return client };
        for word in line.rsplit(',') {
            let Some(address) = address(word.trim()) else { return client };
            client = address;
            if !is_trusted(&client) {
                return client;
            }
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`; some proxies write ports.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    let address = bare.parse().ok().or_else(|| Some(word.parse::<SocketAddr>().ok()?.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// Notices when every request comes from one address: a NAT or a userland proxy in front, so that rules about networks see one client.
#[derive(Debug, Default)]
pub struct SharedAddress {
    first: OnceLock<IpAddr>,
    requests: AtomicU64,
    several: AtomicBool,
}

impl SharedAddress {
    /// A request's client. One load once a second client was seen.
    pub fn note(&self, client: IpAddr) {
        if self.several.load(Ordering::Relaxed) {
            return;
        }
        if *self.first.get_or_init(|| client) == client {
            self.requests.fetch_add(1, Ordering::Relaxed);
        } else {
            self.several.store(true, Ordering::Relaxed);
        }
    }

    /// The one address that all of at least `requests` requests came from, unless it is this machine's own.
    pub fn only(&self, requests: u64) -> Option<IpAddr> {
        let enough = self.requests.load(Ordering::Relaxed) >= requests && !self.several.load(Ordering::Relaxed);
        self.first.get().copied().filter(|address| enough && !address.is_loopback())
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().expect("a network"));
        let headers = lines.iter().map(|line| (X_FORWARDED_FOR, line.parse().expect("a value"))).collect();
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_counts_across_all_lines() {
        assert_eq!(
            client("10.0.0.1", &["127.0.0.1, 198.51.100.1, 10.2.2.2"]),
            "198.51.100.1",
            "what the client wrote itself is not believed"
        );
        assert_eq!(client("10.0.0.1", &["203.0.113.5", "198.51.100.1,10.9.9.9", "10.2.2.2"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["10.3.3.3, 10.2.2.2"]), "10.3.3.3", "all trusted: the first of them asks");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown, 10.2.2.2"]), "10.2.2.2");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for (word, address) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(client("::1", &[word]), address);
        }
    }

    #[test]
    fn one_address_for_all_is_noticed_until_a_second_comes() {
        let (shared, gate) = (SharedAddress::default(), "172.17.0.1".parse().expect("an address"));
        shared.note(gate);
        assert_eq!(shared.only(2), None);
        shared.note(gate);
        assert_eq!(shared.only(2), Some(gate));
        shared.note("172.17.0.2".parse().expect("an address"));
        assert_eq!(shared.only(2), None);
        let local = SharedAddress::default();
        local.note("127.0.0.1".parse().expect("an address"));
        assert_eq!(local.only(1), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_name_a_client_that_was_not_written(line in "[ -~]{0,60}", peer: IpAddr) {
            let everybody = ["0.0.0.0/0".parse().expect("a network"), "::/0".parse().expect("a network")];
            let Ok(value) = line.parse() else { return Ok(()) };
            let found = client_address(peer, &HeaderMap::from_iter([(X_FORWARDED_FOR, value)]), &everybody);
            let written = line.split(',').filter_map(|word| address(word.trim()));
            prop_assert!(found == peer || written.into_iter().any(|address| address == found));
        }
    }
}
