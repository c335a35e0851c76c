//! What a CA says of itself in its directory (RFC 8555 7.1.1), where the ACME library does not pass it on.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Courier, with_causes};

/// A CA's directory, as far as we read it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) meta: Meta,
    new_order: Option<String>,
    /// Where it advises on renewal (RFC 9773 4.1); not all do.
    pub(super) renewal_info: Option<String>,
}

/// What is not an address in it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    /// No account without a binding to one elsewhere.
    pub(super) external_account_required: bool,
    /// What it issues, by name, with a word for each.
    pub(super) profiles: BTreeMap<String, String>,
}

impl Directory {
    /// Asks for it; the courier notes the CA's clock.
    pub(super) async fn ask(courier: &Courier, url: &str) -> Result<Self, String> {
        let (status, _, text) = courier.get(url).await.map_err(|error| with_causes(&error))?;
        Self::read(&text).ok_or_else(|| format!("what answers there (HTTP {}) is no ACME server", status.as_u16()))
    }

    /// `None` where it is something else.
    fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(text).ok().filter(|directory| directory.new_order.is_some())
    }
}

/// Whether an ACME server answers at `directory`; its clock is noted by the courier.
pub async fn greet(courier: &Courier, directory: &str) -> Result<(), String> {
    Directory::ask(courier, directory).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_ca_says_of_itself_is_read_and_nothing_is_missed_where_it_says_little() {
        let full = r#"{"newOrder": "https://ca.test/order", "renewalInfo": "https://ca.test/ari", "website": 7,
            "meta": {"externalAccountRequired": true, "profiles": {"classic": "90 days", "shortlived": "6 days"}}}"#;
        let directory = Directory::read(full.as_bytes()).expect("a directory");
        assert!(directory.meta.external_account_required && directory.meta.profiles.contains_key("shortlived"));
        assert_eq!(directory.renewal_info.as_deref(), Some("https://ca.test/ari"));
        let little = Directory::read(br#"{"newOrder": "https://ca.test/order"}"#).expect("a directory");
        assert!(!little.meta.external_account_required && little.meta.profiles.is_empty() && little.renewal_info.is_none());
        for other in ["", "<html>", "{}", r#"{"meta": {}}"#, "[]"] {
            assert!(Directory::read(other.as_bytes()).is_none(), "{other}");
        }
    }
}
