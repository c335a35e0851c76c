//! A mirror's URL, in the one form that every engine understands: scheme, host, port. Pure.
//!
//! dockerd refuses a query, a fragment and a user, and old ones a path; Podman takes no scheme; containerd makes `//v2` of a bare slash at the end. So none of them is kept.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use url::{Host, Url};

/// `http://127.0.0.1:5000`, `https://mirror.example`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MirrorUrl {
    secure: bool,
    host: String,
    /// `None`: the scheme's own.
    port: Option<u16>,
}

/// Why a text is no mirror's URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MirrorUrlError {
    /// Neither `http` nor `https` is said.
    #[error("`{0}` lacks its scheme: write http://HOST:PORT or https://HOST[:PORT]")]
    Scheme(String),
    /// More than scheme, host and port; or no URL at all.
    #[error(
        "`{0}` is no mirror's URL: engines take scheme, host and port, such as https://mirror.example:5000, and no path, query or user"
    )]
    Form(String),
}

impl MirrorUrl {
    /// Whether clients speak TLS with it.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Name or address, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// `host:port`, or the host alone where the port is the scheme's own: how `certs.d`, Podman and buildkitd name it.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Whether it is on this machine: engines then take plain HTTP with no word about it.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for MirrorUrl {
    type Err = MirrorUrlError;

    fn from_str(text: &str) -> Result<Self, MirrorUrlError> {
        let form = || MirrorUrlError::Form(text.to_owned());
        if !text.contains("://") {
            return Err(MirrorUrlError::Scheme(text.to_owned()));
        }
        let url = Url::parse(text).map_err(|_| form())?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(MirrorUrlError::Scheme(text.to_owned())),
        };
        let more = !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some();
        if more || !url.username().is_empty() || url.password().is_some() || text.chars().any(char::is_whitespace) {
            return Err(form());
        }
        let host = match url.host().ok_or_else(form)? {
            // What else may be in a URL's host is in no name, but could end a word in an engine's file.
            Host::Domain(name) if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) => return Err(form()),
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => format!("[{address}]"),
        };
        Ok(Self { secure, host, port: url.port() })
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> MirrorUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_mirror_is_scheme_host_and_port() {
        for (text, shown, authority, port) in [
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1:5000", 5000),
            ("https://Mirror.Example/", "https://mirror.example", "mirror.example", 443),
            ("https://mirror.example:443", "https://mirror.example", "mirror.example", 443),
            ("http://[fd00::7]:5000", "http://[fd00::7]:5000", "[fd00::7]:5000", 5000),
            ("http://mirror", "http://mirror", "mirror", 80),
        ] {
            let mirror = parsed(text);
            assert_eq!((mirror.to_string().as_str(), mirror.authority().as_str(), mirror.port()), (shown, authority, port));
        }
    }

    #[test]
    fn what_an_engine_would_refuse_or_misread_is_refused_here() {
        for text in ["mirror:5000", "mirror.example", "", "ftp://mirror", "unix:///run/x"] {
            assert!(matches!(text.parse::<MirrorUrl>(), Err(MirrorUrlError::Scheme(_))), "{text}");
        }
        for text in [
            "https://a/b",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://u:p@a",
            "https://",
            "http://a b",
            "http://a:99999",
            "http://m\".evil",
            "http://m'x",
            "http://a,b",
            "http://a;b",
        ] {
            assert!(matches!(text.parse::<MirrorUrl>(), Err(MirrorUrlError::Form(_))), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for (text, loopback) in [
            ("http://127.0.0.1:5000", true),
            ("http://127.8.0.1", true),
            ("http://localhost:5000", true),
            ("http://[::1]:5000", true),
            ("http://10.0.0.1", false),
            ("https://localhost.example", false),
        ] {
            assert_eq!(parsed(text).is_loopback(), loopback, "{text}");
        }
    }
}
