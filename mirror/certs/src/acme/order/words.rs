//! The library's words for names and for ways to prove them, and ours.

use instant_acme::ChallengeType;

use crate::solve::Way;
use crate::{Identifier, Identifiers};

pub(super) fn to_acme(identifier: &Identifier) -> instant_acme::Identifier {
    match identifier {
        Identifier::Dns(name) => instant_acme::Identifier::Dns(name.as_str().to_owned()),
        Identifier::Ip(address) => instant_acme::Identifier::Ip(*address),
    }
}

pub(super) fn way_of(kind: &ChallengeType) -> Option<Way> {
    match kind {
        ChallengeType::Http01 => Some(Way::Http),
        ChallengeType::TlsAlpn01 => Some(Way::TlsAlpn),
        ChallengeType::Dns01 => Some(Way::Dns),
        ChallengeType::Unknown(name) if name == PERSIST => Some(Way::DnsPersist),
        _ => None,
    }
}

pub(super) fn type_of(way: Way) -> ChallengeType {
    match way {
        Way::Dns => ChallengeType::Dns01,
        Way::DnsPersist => ChallengeType::Unknown(PERSIST.to_owned()),
        Way::Http => ChallengeType::Http01,
        Way::TlsAlpn => ChallengeType::TlsAlpn01,
    }
}

pub(super) fn name_of(kind: &ChallengeType) -> &str {
    match kind {
        ChallengeType::Unknown(name) => name,
        known => way_of(known).map_or("another way", Way::name),
    }
}

pub(super) fn list(identifiers: &Identifiers) -> String {
    identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

const PERSIST: &str = "dns-persist-01";
