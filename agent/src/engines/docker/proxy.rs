//! Whether an engine would ask a mirror through a proxy. Pure.
//!
//! dockerd reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` as Go does, in capitals or not, from its environment; since 23.0 from `daemon.json` and from flags as well, which win. A proxy that cannot reach
//! the mirror makes every pull go to the Hub; one that can sees what is pulled.

use std::net::IpAddr;

use super::unit::Variable;
use crate::engines::MirrorUrl;

/// What an engine was told of proxies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Proxies {
    /// For `http://`, and where that is said.
    pub http: Option<Said>,
    /// For `https://`, and where that is said.
    pub https: Option<Said>,
    /// What is asked directly: hosts, domains, addresses, networks, separated by commas.
    pub except: String,
}

/// A proxy and where it is said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Its URL, without a password in it.
    pub url: String,
    /// For a person.
    pub place: String,
}

impl Proxies {
    /// Of an environment: capitals win, and of one name the last.
    pub fn of(variables: &[Variable]) -> Self {
        let find = |name: &str| {
            let one = |name: &str| variables.iter().rfind(|variable| variable.name == name && !variable.value.is_empty());
            one(&name.to_ascii_uppercase()).or_else(|| one(name))
        };
        let said = |name: &str| find(name).map(|variable| Said::new(&variable.value, variable.place.to_string()));
        Self { http: said("http_proxy"), https: said("https_proxy"), except: find("no_proxy").map(|v| v.value.clone()).unwrap_or_default() }
    }

    /// What is said elsewhere, as `daemon.json` and flags do, in the place of what is said here.
    #[must_use]
    pub fn overridden(mut self, http: Option<Said>, https: Option<Said>, except: Option<String>) -> Self {
        self.http = http.or(self.http);
        self.https = https.or(self.https);
        self.except = except.unwrap_or(self.except);
        self
    }

    /// The proxy that the mirror would be asked through.
    pub fn before(&self, mirror: &MirrorUrl) -> Option<&Said> {
        let proxy = if mirror.is_secure() { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !mirror.is_loopback() && !is_excepted(&self.except, mirror.host(), mirror.port()))
    }
}

impl Said {
    /// A proxy's URL, from which a password is taken.
    pub fn new(url: &str, place: impl Into<String>) -> Self {
        let shown = match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            _ => url.to_owned(),
        };
        Self { url: shown, place: place.into() }
    }
}

/// Go's rule for `NO_PROXY`: `*`, a network, an address, a host (and all below it), `.host` (only what is below it), each with a port or without.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return address.is_some_and(|address| is_in(address, network, bits));
        }
        let (name, only) = with_port(&entry);
        if only.is_some_and(|only| only != port) {
            return false;
        }
        if let Some(address) = address {
            return name.parse() == Ok(address);
        }
        let below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let domain = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
        domain.map_or_else(|| host == name || below(name), below)
    })
}

fn with_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name.trim_start_matches('[').trim_end_matches(']'), Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry.trim_start_matches('[').trim_end_matches(']'), None),
    }
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let (one, other, length) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    bits <= length && (one ^ other).checked_shr(length - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::command_line::Place;
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<Variable> {
        let place = |line| Place::File(PathBuf::from("/e"), line);
        let all = pairs.iter().enumerate();
        all.map(|(at, (name, value))| Variable { name: (*name).into(), value: (*value).into(), place: place(at + 1) }).collect()
    }

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (list, mirror, excepted) in [
            ("", "http://mirror.ci:5000", false),
            ("*", "http://mirror.ci:5000", true),
            ("mirror.ci", "http://mirror.ci:5000", true),
            ("mirror.ci:5000", "http://mirror.ci:5000", true),
            ("mirror.ci:5001", "http://mirror.ci:5000", false),
            ("localhost, .ci", "http://mirror.ci:5000", true),
            ("*.ci", "http://mirror.ci:5000", true),
            ("ci", "http://mirror.ci:5000", true),
            ("Mirror.CI", "http://mirror.ci", true),
            (".mirror.ci", "http://mirror.ci", false),
            ("ror.ci", "http://mirror.ci", false),
            ("10.0.0.0/8", "http://10.1.2.3:5000", true),
            ("10.0.0.0/16", "http://10.1.2.3:5000", false),
            ("0.0.0.0/0", "http://10.1.2.3:5000", true),
            ("10.1.2.3", "http://10.1.2.3:5000", true),
            ("10.1.2.3:443", "http://10.1.2.3:5000", false),
            ("10.0.0.0/99,x/y", "http://10.1.2.3:5000", false),
            ("fd00::/8", "http://[fd00::7]:5000", true),
            ("fd00::7", "http://[fd00::7]:5000", true),
            ("[fd00::7]:5000", "http://[fd00::7]:5000", true),
            ("10.0.0.0/8", "http://mirror.ci", false),
        ] {
            let mirror: MirrorUrl = mirror.parse().expect("a mirror");
            assert_eq!(is_excepted(list, mirror.host(), mirror.port()), excepted, "{list} {mirror}");
        }
    }

    #[test]
    fn the_proxy_is_that_of_the_mirrors_scheme_and_never_of_loopback() {
        let proxies = Proxies::of(&variables(&[("http_proxy", "http://low:1"), ("HTTP_PROXY", "http://u:p@high:2"), ("HTTPS_PROXY", "")]));
        let before = |mirror: &str| proxies.before(&mirror.parse().expect("a mirror")).map(|said| format!("{} {}", said.url, said.place));
        assert_eq!(before("http://mirror:5000").as_deref(), Some("http://high:2 /e:2"));
        assert_eq!(before("https://mirror:5000"), None);
        assert_eq!(before("http://127.0.0.1:5000"), None);
        let told = proxies.clone().overridden(None, Some(Said::new("u:p@x:1", "daemon.json")), Some("mirror".to_owned()));
        assert_eq!(told.https.as_ref().map(|said| said.url.as_str()), Some("x:1"));
        assert_eq!(told.before(&"http://mirror".parse().expect("a mirror")), None);
    }
}
