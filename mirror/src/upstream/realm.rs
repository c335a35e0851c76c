//! Which token service may have the account's password, and which may be asked at all: the realm trust rule. Pure.
//!
//! A registry names its token service itself, so a registry that was broken into (or an attacker on a plain connection) could name their own.
//! Trusted are the upstream's own registrable domain (`registry-1.docker.io` and `auth.docker.io`), its own address, and what the
//! configuration lists; and never `http` under an `https` upstream.
//!
//! Any other may be asked for an anonymous token, so that public images are had whatever becomes of the account: such a request says nothing of us. Two
//! things are no token service all the same. One is `http` under `https`, as before. The other is an address further inside than the upstream itself: what
//! answers there, be it a cloud's metadata service, trusts the machine that asks, and the token that it gave would be handed to the registry. A
//! name may lead inside too, but what trusts by address alone has no certificate for it.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// What may be sent to a token service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    /// The account's name and password.
    Account,
    /// Requests that say nothing of us.
    Anonymous,
    /// Nothing at all.
    None,
}

/// How far `realm`, named by `upstream`, is trusted; `listed` are the hosts that the operator vouches for.
pub(super) fn trust(upstream: &Url, realm: &Url, listed: &[String]) -> Trust {
    let secure_enough = match (upstream.scheme(), realm.scheme()) {
        (_, "https") => true,
        (ours, "http") => ours == "http",
        _ => false,
    };
    let (Some(ours), Some(theirs)) = (upstream.host(), realm.host()) else { return Trust::None };
    if !secure_enough {
        Trust::None
    } else if is_akin(&ours, &theirs) || listed.iter().any(|host| is_listed(host, realm)) {
        Trust::Account
    } else if Place::of(&theirs) > Place::of(&ours) {
        Trust::None
    } else {
        Trust::Anonymous
    }
}

/// How far inside an address lies, as far as its text tells; the innermost last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Place {
    Internet,
    /// A private address, or a name that no public registry gives out.
    Network,
    Machine,
    /// Link-local, where clouds keep what a machine may know of itself.
    Link,
}

impl Place {
    pub(super) fn of(host: &Host<&str>) -> Self {
        match host {
            Host::Domain(name) => Self::of_name(&plain(name)),
            Host::Ipv4(address) => Self::of_ipv4(*address),
            Host::Ipv6(address) => address.to_ipv4_mapped().map_or_else(|| Self::of_ipv6(*address), Self::of_ipv4),
        }
    }

    fn of_name(name: &str) -> Self {
        if name == "localhost" || name.ends_with(".localhost") {
            Self::Machine
        } else if psl::suffix(name.as_bytes()).is_some_and(|suffix| suffix.is_known()) {
            Self::Internet
        } else {
            Self::Network
        }
    }

    fn of_ipv4(address: Ipv4Addr) -> Self {
        let is_shared = matches!(address.octets(), [100, 64..128, ..]); // Between carriers and their customers; one cloud's metadata too.
        if address.is_link_local() {
            Self::Link
        } else if address.is_loopback() || address.is_unspecified() {
            Self::Machine
        } else if address.is_private() || is_shared {
            Self::Network
        } else {
            Self::Internet
        }
    }

    fn of_ipv6(address: Ipv6Addr) -> Self {
        if address.is_unicast_link_local() {
            Self::Link
        } else if address.is_loopback() || address.is_unspecified() {
            Self::Machine
        } else if address.is_unique_local() {
            Self::Network
        } else {
            Self::Internet
        }
    }
}

/// Whether two addresses are of one owner, as far as names tell: one host, or one registrable domain.
pub(super) fn is_akin(one: &Host<&str>, other: &Host<&str>) -> bool {
    match (one, other) {
        (Host::Domain(one), Host::Domain(other)) => {
            let (one, other) = (plain(one), plain(other));
            one == other || psl::domain_str(&one).is_some_and(|domain| psl::domain_str(&other) == Some(domain))
        }
        _ => one == other,
    }
}

fn plain(domain: &str) -> String {
    domain.trim_end_matches('.').to_ascii_lowercase()
}

/// An entry is a host, or a host with a port which then must fit.
fn is_listed(entry: &str, realm: &Url) -> bool {
    let host = realm.host_str().map(plain).unwrap_or_default();
    let entry = plain(entry);
    entry == host || realm.port_or_known_default().is_some_and(|port| entry == format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(upstream: &str, realm: &str, listed: &[&str]) -> Trust {
        let listed: Vec<String> = listed.iter().map(|&host| host.to_owned()).collect();
        trust(&upstream.parse().expect(upstream), &realm.parse().expect(realm), &listed)
    }

    #[test]
    fn the_password_goes_to_the_upstreams_own_domain_or_address_only() {
        for (upstream, realm, expected) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", Trust::Account),
            ("https://ghcr.io", "https://ghcr.io/token", Trust::Account),
            ("https://registry.gitlab.com", "https://GitLab.com./jwt/auth", Trust::Account),
            ("https://registry.corp.co.uk", "https://auth.corp.co.uk", Trust::Account),
            ("https://registry.corp.co.uk", "https://other.co.uk", Trust::Anonymous),
            ("https://one.github.io", "https://two.github.io", Trust::Anonymous),
            ("https://docker.io.evil.example", "https://auth.docker.io", Trust::Anonymous),
            ("https://registry-1.docker.io", "https://evil-docker.io/token", Trust::Anonymous),
            ("http://10.0.0.5:5000", "http://10.0.0.5:5001/token", Trust::Account),
            ("http://10.0.0.5:5000", "http://10.0.0.6:5001/token", Trust::Anonymous),
            ("http://[::1]:5000", "https://[::1]/token", Trust::Account),
            ("http://localhost:5000", "http://localhost:5001", Trust::Account),
            ("http://hub", "http://auth", Trust::Anonymous),
        ] {
            assert_eq!(judge(upstream, realm, &[]), expected, "{upstream} {realm}");
        }
    }

    #[test]
    fn nothing_is_sent_in_the_clear_under_an_encrypted_upstream() {
        for realm in ["http://auth.docker.io/token", "http://registry-1.docker.io/token", "ftp://auth.docker.io/", "file:///etc/passwd"] {
            assert_eq!(judge("https://registry-1.docker.io", realm, &["auth.docker.io"]), Trust::None, "{realm}");
        }
    }

    #[test]
    fn nobody_further_out_has_us_ask_what_lies_further_inside() {
        for (upstream, realm, expected) in [
            ("https://ghcr.io", "https://10.0.0.6/token", Trust::None),
            ("https://ghcr.io", "https://[fd00::1]/token", Trust::None),
            ("https://ghcr.io", "https://vault.internal/token", Trust::None),
            ("https://203.0.113.9", "https://192.168.1.1/token", Trust::None),
            ("http://10.0.0.5:5000", "http://127.0.0.1:8500/token", Trust::None),
            ("http://10.0.0.5:5000", "http://localhost/token", Trust::None),
            ("http://registry.corp", "http://[::ffff:127.0.0.1]/token", Trust::None),
            ("http://registry.corp", "http://169.254.169.254/latest/token", Trust::None),
            ("http://127.0.0.1:5000", "http://169.254.169.254/latest/token", Trust::None),
            ("http://127.0.0.1:5000", "http://[fe80::1]/token", Trust::None),
            ("https://ghcr.io", "https://100.100.100.200/token", Trust::None),
            ("http://registry.corp", "http://10.0.0.6/token", Trust::Anonymous),
            ("http://127.0.0.1:5000", "http://127.0.0.2:5001/token", Trust::Anonymous),
            ("http://10.0.0.5:5000", "http://auth.example.com/token", Trust::Anonymous),
            ("https://ghcr.io", "https://203.0.113.9/token", Trust::Anonymous),
        ] {
            assert_eq!(judge(upstream, realm, &[]), expected, "{upstream} {realm}");
        }
        assert_eq!(judge("https://ghcr.io", "https://10.0.0.6/token", &["10.0.0.6"]), Trust::Account);
    }

    #[test]
    fn the_operator_may_vouch_for_a_host_or_for_one_port_of_it() {
        assert_eq!(judge("https://lscr.io", "https://ghcr.io/token", &["ghcr.io"]), Trust::Account);
        assert_eq!(judge("https://lscr.io", "https://ghcr.io/token", &["GHCR.io:443"]), Trust::Account);
        assert_eq!(judge("https://lscr.io", "https://ghcr.io:8443/token", &["ghcr.io:443"]), Trust::Anonymous);
        assert_eq!(judge("https://lscr.io", "https://sub.ghcr.io/token", &["ghcr.io"]), Trust::Anonymous);
    }
}
