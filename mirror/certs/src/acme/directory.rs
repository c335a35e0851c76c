//! What a CA says of itself in its directory (RFC 8555 7.1.1), where the ACME library does not pass it on.

use std::collections::BTreeMap;

use instant_acme::Error;
use serde::Deserialize;

use super::{CaError, Courier, legible, with_causes};

/// A CA's directory, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Directory {
    /// Where an account gets another key.
    pub(super) key_change: Option<String>,
    /// What it tells of itself.
    pub meta: Meta,
    /// Where it gives words that it takes once.
    pub(super) new_nonce: Option<String>,
    new_order: Option<String>,
    /// Where it advises on renewal (RFC 9773 4.1); not all do.
    pub(super) renewal_info: Option<String>,
}

/// What is not an address in it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// The names that stand for it in DNS: in CAA records, and in those of dns-persist-01.
    pub caa_identities: Vec<String>,
    /// No account without a binding to one elsewhere.
    pub external_account_required: bool,
    /// What it issues, by name, with a word for each.
    pub profiles: BTreeMap<String, String>,
}

impl Directory {
    /// Asks for it; the courier notes the CA's clock.
    pub(super) async fn ask(courier: &Courier, url: &str) -> Result<Self, String> {
        let (status, _, text) = courier.get(url).await.map_err(|error| with_causes(&error))?;
        Self::read(&text).ok_or_else(|| format!("what answers there (HTTP {}) is no ACME server", status.as_u16()))
    }

    /// The same for whoever fails without it.
    pub async fn open(courier: &Courier, url: &str) -> Result<Self, CaError> {
        let failed = |source| CaError::Exchange { directory: url.to_owned(), doing: "reading the directory", seen: courier.seen(), source };
        let (_, _, text) = courier.get(url).await.map_err(|error| failed(Error::Other(error.into())))?;
        Self::read(&text).ok_or_else(|| failed(Error::Json(serde::de::Error::missing_field("newOrder"))))
    }

    /// `None` where it is something else.
    fn read(text: &[u8]) -> Option<Self> {
        let mut directory = serde_json::from_slice::<Self>(text).ok().filter(|directory| directory.new_order.is_some())?;
        let Meta { caa_identities, profiles, .. } = &mut directory.meta;
        *caa_identities = caa_identities.iter().map(|name| legible(name)).collect();
        *profiles = profiles.iter().map(|(name, word)| (legible(name), legible(word))).collect();
        Some(directory)
    }
}

/// Whether an ACME server answers at `directory`; its clock is noted by the courier.
pub async fn greet(courier: &Courier, directory: &str) -> Result<(), String> {
    Directory::ask(courier, directory).await.map(drop)
}

/// What the CA at `directory` says that it is called in CAA records, in small letters; many say nothing.
pub async fn caa_identities(courier: &Courier, directory: &str) -> Vec<String> {
    let said = Directory::ask(courier, directory).await.unwrap_or_default();
    said.meta.caa_identities.iter().map(|identity| identity.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_ca_says_of_itself_is_read_and_nothing_is_missed_where_it_says_little() {
        let full = r#"{"newOrder": "https://ca.test/order", "renewalInfo": "https://ca.test/ari", "website": 7,
            "keyChange": "https://ca.test/key", "meta": {"caaIdentities": ["ca.test"], "externalAccountRequired": true,
            "profiles": {"classic": "90 days", "shortlived": "6 days"}}}"#;
        let directory = Directory::read(full.as_bytes()).expect("a directory");
        assert!(directory.meta.external_account_required && directory.meta.profiles.contains_key("shortlived"));
        assert_eq!(directory.renewal_info.as_deref(), Some("https://ca.test/ari"));
        assert_eq!(
            (directory.meta.caa_identities, directory.key_change.as_deref()),
            (vec!["ca.test".to_owned()], Some("https://ca.test/key"))
        );
        let evil = r#"{"newOrder": "x", "meta": {"caaIdentities": ["a\u001b[2J"], "profiles": {"e\u001b]0;x\u0007": "a\nb"}}}"#;
        let meta = Directory::read(evil.as_bytes()).expect("a directory").meta;
        let evil = || meta.profiles.iter().flat_map(|(name, word)| [name, word]).chain(&meta.caa_identities);
        assert!(evil().count() == 3 && evil().all(|text| !text.contains(char::is_control)), "{meta:?}");
        let little = Directory::read(br#"{"newOrder": "https://ca.test/order"}"#).expect("a directory");
        assert!(!little.meta.external_account_required && little.meta.profiles.is_empty() && little.renewal_info.is_none());
        for other in ["", "<html>", "{}", r#"{"meta": {}}"#, "[]"] {
            assert!(Directory::read(other.as_bytes()).is_none(), "{other}");
        }
    }
}
