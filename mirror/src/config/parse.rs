//! Text → value, one function a kind. An error says what would have been right; it never repeats the text, which may be a secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

/// `30s`, `1day 2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    humantime::parse_duration(text).map_err(|_| {
        let mend = if bare { "it needs a unit" } else { "write a number with a unit" };
        format!("not a duration: {mend}, such as 30s, 10m or 24h")
    })
}

/// A duration that something waits for again and again: not zero.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|value| if value.is_zero() { Err("must be more than zero".into()) } else { Ok(value) })
}

/// A whole number of at least 1, in decimal: a leading zero means octal to some readers of YAML, so it is asked about.
pub(super) fn count<T: FromStr + PartialEq + From<u8>>(text: &str) -> Result<T, String> {
    if text.len() > 1 && text.starts_with('0') {
        return Err("not a plain number: leave the leading zero out".into());
    }
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
    number.filter(|number| *number != T::from(0)).ok_or_else(|| "not a whole number of at least 1".into())
}

/// `true` or `false`, also as YAML 1.1 wrote them.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err("not true or false".into()),
    }
}

/// `127.0.0.1:5000`, `[::1]:5000`, `localhost:5000`; `:5000` is every interface.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let mend = "write an IP address and a port, such as 127.0.0.1:5000, or :5000 for every interface";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.contains("://") {
        return Err(format!("not an address but a URL: leave the scheme out; {mend}"));
    }
    if text.matches(':').count() > 1 && !text.starts_with('[') {
        return Err("not an address: IPv6 stands in brackets before the port, such as [::1]:5000".into());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let missing = if text.parse::<u16>().is_ok() { "a port alone" } else { "the port is missing" };
        return Err(format!("not an address: {missing}; {mend}"));
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 =
        port.parse().ok().filter(|_| digits).ok_or_else(|| format!("not an address: a port is a number up to 65535; {mend}"))?;
    let ip = match host {
        "" | "[::]" | "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return Err(format!("not an address: a host's name does not say on which interface to listen; {mend}")),
    };
    Ok(SocketAddr::new(ip, port))
}

/// An upstream: `http` or `https`, and nothing that belongs elsewhere.
pub(super) fn upstream_url(text: &str) -> Result<Url, String> {
    let url = web_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds an account; write it as account.user and account.password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a `?` or `#`; write scheme, host, port and path only".into());
    }
    if url.path().trim_end_matches('/').ends_with("/v2") {
        return Err("ends in /v2, which is where every registry's API is: leave it out".into());
    }
    Ok(url)
}

/// `http://…` or `https://…` with a host.
pub(super) fn web_url(text: &str) -> Result<Url, String> {
    if !text.contains("://") {
        return Err("not a URL: the scheme is missing; write https://HOST or http://HOST".into());
    }
    let url: Url = text.parse().map_err(|error: url::ParseError| format!("not a URL: {error}"))?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        ("http" | "https", None) => Err("not a URL: the host is missing".into()),
        _ => Err("not a URL of a registry: only http:// and https:// are spoken".into()),
    }
}

/// A host with or without a port, in lower case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if !text.is_empty() && text.chars().all(fine) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("not a host: write a name or address without a scheme or path, such as docker.io or registry.corp:5000".into())
    }
}

/// `10.0.0.0/8`; a single address is a network of its own.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let net = net.ok_or("not a network: write an address and its prefix, such as 10.0.0.0/8 or fd00::/8")?;
    if net.trunc() == net {
        return Ok(net);
    }
    Err(format!("holds bits beyond its prefix; write {} for the whole network, or the bare address for one host", net.trunc()))
}

/// What parses by itself.
pub(super) fn of<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A file or folder. No shell reads it, so that `~` would be a folder's name.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text == "~" || text.starts_with("~/") {
        return Err("is not expanded; write the whole path in the place of `~`".into());
    }
    filled(text)
}

/// A text that must not be empty.
pub(super) fn filled<T: for<'a> From<&'a str>>(text: &str) -> Result<T, String> {
    if text.is_empty() { Err("is empty".into()) } else { Ok(T::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_the_registry_image_reads_them() {
        for (text, address_) in [
            (":5000", "[::]:5000"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("localhost:5000", "127.0.0.1:5000"),
            ("[::]:5000", "[::]:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(address(text).map(|address| address.to_string()), Ok(address_.to_owned()), "{text}");
        }
        for text in ["", "5000", "host:5000", "0.0.0.0", ":65536", ":+1", ":http", "::1:x"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_that_yaml_readers_disagree_on_are_asked_about() {
        assert_eq!(count::<usize>("12"), Ok(12));
        for text in ["0", "012", "0x10", "1e5", "-1", "1_000", ""] {
            assert!(count::<usize>(text).is_err(), "{text}");
        }
        assert_eq!((switch("no"), switch("True"), switch("0").is_err()), (Ok(false), Ok(true), true));
    }

    #[test]
    fn a_network_is_whole() {
        assert_eq!(network("192.0.2.7").map(|net| net.to_string()), Ok("192.0.2.7/32".into()));
        assert!(network("10.1.2.3/8").is_err_and(|text| text.contains("10.0.0.0/8")));
    }

    #[test]
    fn an_upstreams_url_holds_no_account() {
        assert!(upstream_url("https://u:hunter2@hub").is_err_and(|text| !text.contains("hunter2")));
        for text in ["registry-1.docker.io", "ftp://x", "https://", "https://x/?a", "http://:80"] {
            assert!(upstream_url(text).is_err(), "{text}");
        }
    }
}
