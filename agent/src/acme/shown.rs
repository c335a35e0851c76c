//! An account as it is shown, and the TXT records by which it proves names for good (dns-persist-01). Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use certs::Identifier;
use certs::acme::{Known, Registered};
use certs::store::Saved;
use mirror::config::{Issuer, Names};
use serde_json::json;

/// One account, at one CA.
#[derive(Debug)]
pub(super) struct Shown {
    account: Option<String>,
    /// How the CA is called in DNS.
    ca: Option<String>,
    pub(super) directory: String,
    known: Option<Known>,
    /// The names that it orders for, and whether for all below them too.
    names: BTreeMap<String, bool>,
    thumbprint: Option<String>,
}

impl Shown {
    /// What our own files say.
    pub(super) fn new(directory: &str, saved: Option<&Saved>, certificates: &[&Names]) -> Self {
        let mut names = BTreeMap::new();
        for identifier in certificates.iter().filter(|names| names.issuer == Issuer::Acme).flat_map(|names| &names.identifiers) {
            if let Identifier::Dns(name) = identifier {
                *names.entry(name.base().to_owned()).or_default() |= name.is_wildcard();
            }
        }
        Self {
            account: saved.and_then(|saved| saved.url().map(str::to_owned)),
            ca: None,
            directory: directory.to_owned(),
            known: None,
            names,
            thumbprint: None,
        }
    }

    /// What the CA says.
    pub(super) fn learn(&mut self, registered: &Registered, known: Known) {
        self.account = Some(registered.url().to_owned());
        self.ca = registered.directory().meta.caa_identities.first().cloned();
        self.known = Some(known);
        self.thumbprint = Some(registered.thumbprint());
    }

    /// None is registered there.
    pub(super) fn is_none(&self) -> bool {
        self.account.is_none()
    }

    /// The records: where, and what.
    fn records(&self) -> Vec<(String, String)> {
        let Some(account) = &self.account else { return Vec::new() };
        let ca = self.ca.as_deref().unwrap_or(UNKNOWN);
        let one = |(name, with_all_below): (&String, &bool)| {
            let policy = if *with_all_below { "; policy=wildcard" } else { "" };
            (format!("_validation-persist.{name}"), format!("{ca}; accounturi={account}{policy}"))
        };
        self.names.iter().map(one).collect()
    }
}

/// For people.
pub(super) fn text(all: &[Shown]) -> String {
    let mut out = String::new();
    for shown in all {
        let _ = writeln!(out, "{}", shown.directory);
        line(&mut out, "account", shown.account.as_deref().unwrap_or("there is none yet"));
        if let Some(known) = &shown.known {
            line(&mut out, "status", &known.status);
            line(
                &mut out,
                "contact",
                &if known.contact.is_empty() { "none that the CA tells".to_owned() } else { known.contact.join(", ") },
            );
        }
        if let Some(thumbprint) = &shown.thumbprint {
            line(&mut out, "key", thumbprint);
        }
        let records = shown.records();
        if !records.is_empty() {
            line(&mut out, "dns", "for acme.challenges: [dns-persist-01], once and for good:");
            if shown.ca.is_none() {
                let _ = writeln!(out, "           (the CA does not say what {UNKNOWN} is; its documentation does)");
            }
        }
        for (name, value) in records {
            let _ = writeln!(out, "{name} TXT \"{value}\"");
        }
    }
    out
}

/// For programs.
pub(super) fn json(all: &[Shown]) -> String {
    let one = |shown: &Shown| {
        let records = shown.records();
        json!({
            "directory": shown.directory,
            "account": shown.account,
            "status": shown.known.as_ref().map(|known| &known.status),
            "contact": shown.known.as_ref().map(|known| &known.contact),
            "thumbprint": shown.thumbprint,
            "dns_persist": records.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
        })
    };
    format!("{:#}\n", all.iter().map(one).collect::<serde_json::Value>())
}

fn line(out: &mut String, what: &str, text: &str) {
    let _ = writeln!(out, "  {what:<8} {text}");
}

/// In the place of a CA's name in DNS, if it tells none.
const UNKNOWN: &str = "CA-DOMAIN";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(identifiers: &[&str], ca: Option<&str>) -> Shown {
        let identifiers = identifiers.iter().map(|text| text.parse().expect("an identifier")).collect();
        let names = Names { identifiers, issuer: Issuer::Acme, name: "mirror".parse().expect("a name") };
        let mut shown = Shown::new("https://ca.test/directory", None, &[&names]);
        shown.account = Some("https://ca.test/acct/7".into());
        shown.ca = ca.map(str::to_owned);
        shown
    }

    #[test]
    fn a_record_for_each_name_says_whether_it_is_for_all_below_it_too() {
        let account = Shown {
            known: Some(Known { contact: vec!["mailto:ops@example.com".into()], status: "valid".into() }),
            thumbprint: Some("thumb".into()),
            ..shown(&["*.ci.example.com", "ci.example.com", "mirror.example.com", "10.0.0.7"], Some("ca.test"))
        };
        insta::assert_snapshot!(text(&[account]), @r#"
        https://ca.test/directory
          account  https://ca.test/acct/7
          status   valid
          contact  mailto:ops@example.com
          key      thumb
          dns      for acme.challenges: [dns-persist-01], once and for good:
        _validation-persist.ci.example.com TXT "ca.test; accounturi=https://ca.test/acct/7; policy=wildcard"
        _validation-persist.mirror.example.com TXT "ca.test; accounturi=https://ca.test/acct/7"
        "#);
    }

    #[test]
    fn a_ca_that_tells_no_name_of_its_own_leaves_one_to_fill_in() {
        let said = text(&[shown(&["mirror.example.com"], None)]);
        assert!(said.contains("CA-DOMAIN; accounturi=") && said.contains("does not say what CA-DOMAIN is"), "{said}");
        let none = Shown { account: None, ..shown(&["mirror.example.com"], None) };
        assert_eq!(text(&[none]), "https://ca.test/directory\n  account  there is none yet\n");
    }
}
