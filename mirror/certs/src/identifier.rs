//! What a certificate is for: host names, wildcards and addresses, as a CA compares them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name in a certificate's `subjectAltName`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Identifier {
    /// A host name in lower case, internationalised ones as punycode.
    Dns(DnsName),
    /// An address.
    Ip(IpAddr),
}

/// A host name that can stand in a certificate, perhaps with `*.` before it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DnsName(String);

/// Why a text is no identifier.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentifierError {
    /// A label or the whole is too long, or a character is not one of a host name's.
    #[error("`{0}` is no host name: labels of letters, digits and hyphens, joined by dots")]
    Name(String),
    /// A `*` that is not the whole first label of a longer name.
    #[error("`{0}` is no wildcard that certificates know: write `*.` once, before a name of at least two labels")]
    Wildcard(String),
}

impl DnsName {
    /// As it stands in a certificate.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without `*.`: the name whose owner must prove that it is theirs.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// It stands for every name one label longer.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether a client that asks for `host` takes a certificate with this name (RFC 6125 6.4.3: a `*` is one whole label).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        if self.is_wildcard() {
            host.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(self.base()))
        } else {
            host.eq_ignore_ascii_case(&self.0)
        }
    }
}

impl FromStr for DnsName {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let (prefix, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
        if name.contains('*') || (!prefix.is_empty() && !name.trim_end_matches('.').contains('.')) {
            return Err(IdentifierError::Wildcard(text.to_owned()));
        }
        let wrong = || IdentifierError::Name(text.to_owned());
        let url::Host::Domain(ascii) = url::Host::parse(name).map_err(|_| wrong())? else { return Err(wrong()) };
        let ascii = ascii.strip_suffix('.').unwrap_or(&ascii);
        let is_name = ascii.len() <= MAX_NAME && ascii.split('.').all(is_label);
        if is_name { Ok(Self(format!("{prefix}{ascii}"))) } else { Err(wrong()) }
    }
}

impl FromStr for Identifier {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(Self::Ip).or_else(|_| text.parse().map(Self::Dns))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// All that one certificate is for; the order in which people write them means nothing.
pub type Identifiers = BTreeSet<Identifier>;

/// RFC 1035 2.3.4, without the length of the root.
const MAX_NAME: usize = 253;
/// RFC 1035 2.3.4.
const MAX_LABEL: usize = 63;

fn is_label(label: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_compared_as_a_ca_compares_them() {
        for (written, meant) in [
            ("Mirror.Example.COM", "mirror.example.com"),
            ("mirror.example.com.", "mirror.example.com"),
            ("*.ci.example.com", "*.ci.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("10.0.0.7", "10.0.0.7"),
            ("[::1]", "::1"),
            ("2001:DB8::0:1", "2001:db8::1"),
        ] {
            assert_eq!(written.parse::<Identifier>().map(|identifier| identifier.to_string()), Ok(meant.to_owned()), "{written}");
        }
    }

    #[test]
    fn what_no_ca_would_take_is_refused_before_it_is_asked() {
        for text in
            ["", ".", "a..b", "under_score.example", "-a.example", "a-.example", "a b.example", "https://a.example", "a.example:443"]
        {
            assert_eq!(text.parse::<Identifier>(), Err(IdentifierError::Name(text.to_owned())), "{text}");
        }
        for text in ["*", "*.com", "a.*.example.com", "*.*.example.com", "a*.example.com"] {
            assert_eq!(text.parse::<Identifier>(), Err(IdentifierError::Wildcard(text.to_owned())), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert!(long.parse::<Identifier>().is_err());
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let wildcard: DnsName = "*.example.com".parse().expect("a name");
        assert!(wildcard.covers("a.example.com") && wildcard.covers("A.EXAMPLE.com."));
        assert!(!wildcard.covers("example.com") && !wildcard.covers("a.b.example.com") && !wildcard.covers(".example.com"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_it_takes_again(text in "\\PC{0,80}") {
            if let Ok(identifier) = text.parse::<Identifier>() {
                prop_assert_eq!(identifier.to_string().parse(), Ok(identifier));
            }
        }
    }
}
