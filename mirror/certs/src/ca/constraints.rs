//! For which names and addresses a CA may issue: what its operator permits, and what CA certificates say of it.
//!
//! RFC 5280 4.2.1.10: a list of permitted names says nothing of addresses, and one of addresses nothing of names. So what is not permitted at all is
//! excluded in so many words, else a CA for one domain could issue for every address there is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

use crate::{DnsName, Identifier, IdentifierError};

/// A name with all below it, or a range of addresses, that a CA may issue for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Permit {
    /// This name and all that end in it.
    Names(DnsName),
    /// A range of addresses.
    Addresses(IpNet),
}

/// All that a CA may issue for.
pub type Permits = BTreeSet<Permit>;

/// Why a text permits nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PermitError {
    /// Neither a name nor a range.
    #[error(transparent)]
    Name(#[from] IdentifierError),
    /// A range that is none.
    #[error("`{0}` is no range of addresses: write it as 10.20.0.0/16 or fd00::/8")]
    Range(String),
    /// A wildcard.
    #[error("`{0}`: leave `*.` out; a permitted name stands for itself and for all below it")]
    Wildcard(String),
}

/// What CA certificates say of names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Constraints {
    /// Names in any of these are not for this CA, whatever is permitted.
    pub excluded: Vec<Subtree>,
    /// Names are in one of these, where there is one of their kind.
    pub permitted: Vec<Subtree>,
}

/// A part of all names, or of all addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subtree {
    /// A range; `None` stands for one that cannot be understood.
    Addresses(Option<IpNet>),
    /// A name and all below it; the empty one is every name; with a dot before it only what is below.
    Names(String),
}

impl Constraints {
    /// Permits that, and nothing else.
    pub fn only(permits: &Permits) -> Self {
        let subtree = |permit: &Permit| match permit {
            Permit::Addresses(range) => Subtree::Addresses(Some(range.trunc())),
            Permit::Names(name) => Subtree::Names(name.as_str().to_owned()),
        };
        let mut excluded = Vec::new();
        if !permits.iter().any(|permit| matches!(permit, Permit::Names(_))) {
            excluded.push(Subtree::Names(String::new()));
        }
        if !permits.iter().any(|permit| matches!(permit, Permit::Addresses(_))) {
            excluded.extend(EVERY_ADDRESS.map(|all| Subtree::Addresses(all.parse().ok())));
        }
        Self { excluded, permitted: permits.iter().map(subtree).collect() }
    }

    /// As they stand in a certificate. Kinds that a TLS server cannot be named by are left out.
    pub fn read(extension: &NameConstraints<'_>) -> Self {
        let read = |trees: &Option<Vec<GeneralSubtree<'_>>>| trees.iter().flatten().filter_map(|tree| Subtree::read(&tree.base)).collect();
        Self { excluded: read(&extension.excluded_subtrees), permitted: read(&extension.permitted_subtrees) }
    }

    /// Whether a client takes a certificate for `identifier` from a CA with these.
    pub fn allow(&self, identifier: &Identifier) -> bool {
        let mut of_its_kind = self.permitted.iter().filter(|tree| tree.is_kind_of(identifier)).peekable();
        let permitted = of_its_kind.peek().is_none() || of_its_kind.any(|tree| tree.holds_all_of(identifier));
        permitted && !self.excluded.iter().any(|tree| tree.touches(identifier))
    }
}

impl Subtree {
    fn read(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Names(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => Some(Self::Addresses(range(bytes))),
            _ => None,
        }
    }

    fn is_kind_of(&self, identifier: &Identifier) -> bool {
        matches!((self, identifier), (Self::Addresses(_), Identifier::Ip(_)) | (Self::Names(_), Identifier::Dns(_)))
    }

    /// A wildcard is in it when all that the wildcard stands for is.
    fn holds_all_of(&self, identifier: &Identifier) -> bool {
        match (self, identifier) {
            (Self::Addresses(Some(range)), Identifier::Ip(address)) => range.contains(address),
            (Self::Names(tree), Identifier::Dns(name)) => {
                is_below(name.base(), tree) || (name.is_wildcard() && tree.strip_prefix('.') == Some(name.base()))
            }
            _ => false,
        }
    }

    /// Whether anything that `identifier` stands for is in it. What cannot be understood holds everything.
    fn touches(&self, identifier: &Identifier) -> bool {
        match (self, identifier) {
            (Self::Addresses(None), Identifier::Ip(_)) => true,
            (Self::Names(tree), Identifier::Dns(name)) if name.covers(tree.trim_start_matches('.')) => true,
            _ => self.holds_all_of(identifier),
        }
    }
}

/// Whether `name` is in the tree of names that ends in `tree`.
fn is_below(name: &str, tree: &str) -> bool {
    let Some(rest) = name.strip_suffix(tree) else { return false };
    tree.is_empty() || if tree.starts_with('.') { !rest.is_empty() } else { rest.is_empty() || rest.ends_with('.') }
}

/// An address and a mask, each of 4 or 16 bytes.
fn range(bytes: &[u8]) -> Option<IpNet> {
    let (address, mask) = bytes.split_at(bytes.len() / 2);
    let read = |half: &[u8]| -> Option<IpAddr> {
        let four = <[u8; 4]>::try_from(half).map(IpAddr::from);
        four.or_else(|_| <[u8; 16]>::try_from(half).map(IpAddr::from)).ok()
    };
    IpNet::with_netmask(read(address)?, read(mask)?).ok()
}

impl FromStr for Permit {
    type Err = PermitError;

    fn from_str(text: &str) -> Result<Self, PermitError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Addresses(address.into()));
        }
        if text.contains('/') {
            return text.parse().map(|range: IpNet| Self::Addresses(range.trunc())).map_err(|_| PermitError::Range(text.to_owned()));
        }
        if text.starts_with("*.") {
            return Err(PermitError::Wildcard(text.to_owned()));
        }
        Ok(Self::Names(text.parse()?))
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(range) => range.fmt(f),
            Self::Names(name) => f.write_str(name.as_str()),
        }
    }
}

impl fmt::Display for Constraints {
    /// For a person: what is permitted, then what is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |trees: &[Subtree]| trees.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match (self.permitted.is_empty(), self.excluded.is_empty()) {
            (true, true) => f.write_str("any name"),
            (true, false) => write!(f, "all but {}", list(&self.excluded)),
            (false, _) => f.write_str(&list(&self.permitted)),
        }
    }
}

impl fmt::Display for Subtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses(Some(range)) => range.fmt(f),
            Self::Addresses(None) => f.write_str("an address range that cannot be understood"),
            Self::Names(name) if name.is_empty() => f.write_str("every name"),
            Self::Names(name) => f.write_str(name),
        }
    }
}

impl Serialize for Permit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

const EVERY_ADDRESS: [&str; 2] = ["0.0.0.0/0", "::/0"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn only(permits: &[&str]) -> Constraints {
        Constraints::only(&permits.iter().map(|permit| permit.parse().expect("a permit")).collect())
    }

    fn allows(constraints: &Constraints, name: &str) -> bool {
        constraints.allow(&name.parse().expect("an identifier"))
    }

    #[test]
    fn a_permitted_name_stands_for_itself_and_all_below_it() {
        let ours = only(&["ci.example.com", "mirror"]);
        for name in ["ci.example.com", "a.ci.example.com", "a.b.ci.example.com", "*.ci.example.com", "mirror"] {
            assert!(allows(&ours, name), "{name}");
        }
        for name in ["example.com", "*.example.com", "xci.example.com", "ci.example.com.evil.test", "10.0.0.1", "::1"] {
            assert!(!allows(&ours, name), "{name}");
        }
    }

    #[test]
    fn permitted_addresses_permit_no_name_and_the_other_way_round() {
        let ours = only(&["10.20.0.0/16"]);
        assert!(allows(&ours, "10.20.255.1"));
        for name in ["10.21.0.1", "::1", "example.com", "*.example.com"] {
            assert!(!allows(&ours, name), "{name}");
        }
        let both = only(&["10.20.0.7", "fd00::/8", "example.com"]);
        assert!(["10.20.0.7", "fd12::1", "a.example.com"].iter().all(|name| allows(&both, name)));
        assert!(!["10.20.0.8", "fe80::1", "example.org"].iter().any(|name| allows(&both, name)));
    }

    #[test]
    fn what_others_certificates_say_is_read_as_clients_read_it() {
        let names = |name: &str| Subtree::Names(name.into());
        let foreign = Constraints { excluded: vec![names("secret.corp.test")], permitted: vec![names(".corp.test"), names("old.test")] };
        assert!(allows(&foreign, "a.corp.test"));
        assert!(allows(&foreign, "old.test") && allows(&foreign, "10.0.0.1"), "addresses are not its affair");
        assert!(!allows(&foreign, "corp.test"), "with a dot before it only what is below");
        assert!(
            !allows(&foreign, "a.secret.corp.test") && !allows(&foreign, "*.corp.test"),
            "the wildcard stands for secret.corp.test too"
        );
        let odd = Constraints { excluded: vec![Subtree::Addresses(None)], permitted: Vec::new() };
        assert!(!allows(&odd, "10.0.0.1") && allows(&odd, "corp.test"));
        assert_eq!(range(&[10, 0, 0, 0, 255, 0, 0, 0]), "10.0.0.0/8".parse().ok());
        assert_eq!(range(&[10, 0, 0, 0, 255, 0, 255, 0]), None);
        assert_eq!(range(&[10, 0]), None);
    }

    #[test]
    fn what_permits_nothing_is_refused_with_the_mend() {
        let told = |text: &str| text.parse::<Permit>().expect_err(text).to_string();
        assert_eq!(told("*.example.com"), "`*.example.com`: leave `*.` out; a permitted name stands for itself and for all below it");
        assert_eq!(told("10.0.0.0/33"), "`10.0.0.0/33` is no range of addresses: write it as 10.20.0.0/16 or fd00::/8");
        assert!(["", ".example.com", "a b", "https://x"].iter().all(|text| text.parse::<Permit>().is_err()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic_and_what_it_takes_it_takes_again(text in "\\PC{0,60}|[0-9./:a-f]{0,30}") {
            if let Ok(permit) = text.parse::<Permit>() {
                prop_assert_eq!(permit.to_string().parse(), Ok(permit));
            }
        }

        #[test]
        fn no_bytes_make_the_range_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = range(&bytes);
        }
    }
}
