//! Who may issue certificates for a name, by its CAA records (RFC 8659), and by which account and in which way (RFC 8657).

use super::{Data, DnsError, Kind, Name, Resolver};
use crate::solve::Way;

/// A record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property {
    /// Who does not know the tag must not issue.
    pub is_critical: bool,
    /// `issue`, `issuewild` and others.
    pub tag: String,
    /// What it says.
    pub value: String,
}

/// The records that hold for a name: those of the nearest name above it that has any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Whose they are.
    pub at: Name,
    /// What they say.
    pub properties: Vec<Property>,
}

/// Who wants to issue, for whom, and how.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The CA's names in such records.
    pub issuers: &'a [String],
    /// For a wildcard.
    pub is_wildcard: bool,
    /// By which account, if there is one.
    pub account: Option<&'a str>,
    /// How the name may be proved.
    pub ways: &'a [Way],
}

/// Whether that is allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// The CA is one of those, but not by this account: by that one.
    OtherAccount(String),
    /// The CA is one of those, but by this account only, and we have none yet: the one that is registered at the first order would be another.
    NoAccount(String),
    /// The CA is one of those, but not in any of these ways: in those.
    OtherWays(String),
    /// No: only these CAs may.
    OtherIssuers(Vec<String>),
    /// No CA may.
    Nobody,
    /// A property that nobody here understands, and that must be understood.
    Unknown(String),
}

/// The records for `name`; `None` where there are none up to the root, and everybody may.
pub async fn policy(resolver: &Resolver, name: &Name) -> Result<Option<Policy>, DnsError> {
    for at in name.ancestry() {
        let message = resolver.ask(&at, Kind::CAA).await?;
        let properties: Vec<Property> = message.answers.into_iter().filter_map(|record| property(record.data)).collect();
        if !properties.is_empty() {
            return Ok(Some(Policy { at, properties }));
        }
    }
    Ok(None)
}

/// The names by which known CAs call themselves in such records, by the host of their directory.
pub fn issuers_of(host: &str) -> Vec<String> {
    let known = KNOWN.iter().find(|(domain, _)| host == *domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    known.map(|(_, issuers)| issuers.iter().map(|issuer| (*issuer).to_owned()).collect()).unwrap_or_default()
}

impl Policy {
    /// What it says of `request`.
    pub fn judge(&self, request: &Request<'_>) -> Verdict {
        let unknown = self.properties.iter().find(|one| one.is_critical && !TAGS.contains(&one.tag.as_str()));
        if let Some(unknown) = unknown {
            return Verdict::Unknown(unknown.tag.clone());
        }
        let values = |tag: &str| self.properties.iter().filter(|one| one.tag == tag).map(|one| Issue::read(&one.value)).collect::<Vec<_>>();
        let wild = if request.is_wildcard { values("issuewild") } else { Vec::new() };
        let issues = if wild.is_empty() { values("issue") } else { wild };
        if issues.is_empty() {
            return Verdict::Allowed; // Only of other things is anything said.
        }
        let ours: Vec<&Issue<'_>> = issues.iter().filter(|issue| issue.names(request.issuers)).collect();
        if ours.is_empty() {
            let others: Vec<String> = issues.iter().filter(|issue| !issue.issuer.is_empty()).map(|issue| issue.issuer.clone()).collect();
            return if others.is_empty() { Verdict::Nobody } else { Verdict::OtherIssuers(others) };
        }
        let verdicts: Vec<Verdict> = ours.iter().map(|issue| issue.judge(request)).collect();
        let allowed = verdicts.iter().find(|verdict| **verdict == Verdict::Allowed);
        allowed.or(verdicts.first()).cloned().unwrap_or(Verdict::Nobody)
    }

    /// As it would be written into a zone.
    pub fn text(&self) -> String {
        let one = |one: &Property| format!("{} {:?}", one.tag, one.value);
        self.properties.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// `ca.example; accounturi=https://…; validationmethods=dns-01`.
#[derive(Debug)]
struct Issue<'a> {
    issuer: String,
    parameters: Vec<(String, &'a str)>,
}

impl<'a> Issue<'a> {
    fn read(value: &'a str) -> Self {
        let mut parts = value.split(';');
        let issuer = parts.next().unwrap_or_default().trim().trim_end_matches('.').to_ascii_lowercase();
        let parameter = |text: &'a str| text.split_once('=').map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()));
        Self { issuer, parameters: parts.filter_map(parameter).collect() }
    }

    fn names(&self, issuers: &[String]) -> bool {
        issuers.contains(&self.issuer)
    }

    fn said(&self, parameter: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(name, _)| name == parameter).map(|(_, value)| *value)
    }

    fn judge(&self, request: &Request<'_>) -> Verdict {
        match (self.said("accounturi"), request.account) {
            (Some(wanted), Some(account)) if wanted != account => return Verdict::OtherAccount(wanted.to_owned()),
            (Some(wanted), None) => return Verdict::NoAccount(wanted.to_owned()),
            _ => {}
        }
        match self.said("validationmethods") {
            Some(methods) if !methods.split(',').any(|method| request.ways.iter().any(|way| way.name() == method.trim())) => {
                Verdict::OtherWays(methods.to_owned())
            }
            _ => Verdict::Allowed,
        }
    }
}

fn property(data: Data) -> Option<Property> {
    match data {
        Data::Caa { is_critical, tag, value } => Some(Property { is_critical, tag, value }),
        _ => None,
    }
}

/// What a CA that does nothing special has to know, and what is about other things than certificates for servers.
const TAGS: [&str; 6] = ["contactemail", "contactphone", "iodef", "issue", "issuemail", "issuewild"];
/// Hosts of directories, and what their CAs are called.
const KNOWN: [(&str, &[&str]); 6] = [
    ("buypass.com", &["buypass.com"]),
    ("letsencrypt.org", &["letsencrypt.org"]),
    ("pki.goog", &["pki.goog"]),
    ("sectigo.com", &["sectigo.com"]),
    ("ssl.com", &["ssl.com"]),
    ("zerossl.com", &["sectigo.com"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(records: &[(&str, &str)], is_wildcard: bool) -> Verdict {
        let property = |(tag, value): &(&str, &str)| Property {
            is_critical: tag.starts_with('!'),
            tag: tag.trim_start_matches('!').to_owned(),
            value: (*value).to_owned(),
        };
        let policy = Policy { at: "test".parse().expect("a name"), properties: records.iter().map(property).collect() };
        let issuers = issuers_of("acme-v02.api.letsencrypt.org");
        policy.judge(&Request { issuers: &issuers, is_wildcard, account: Some("https://ca/acct/1"), ways: &[Way::Dns] })
    }

    #[test]
    fn who_may_issue_is_read_as_the_rules_are() {
        let ours = ("issue", "LetsEncrypt.org");
        let only = |others: &[&str]| Verdict::OtherIssuers(others.iter().map(|other| (*other).to_owned()).collect());
        for (records, plain, wild) in [
            (&[ours][..], Verdict::Allowed, Verdict::Allowed),
            (&[("issue", "pki.goog")], only(&["pki.goog"]), only(&["pki.goog"])),
            (&[("issue", "pki.goog"), ours], Verdict::Allowed, Verdict::Allowed),
            (&[("issue", ";")], Verdict::Nobody, Verdict::Nobody),
            (&[("issue", "")], Verdict::Nobody, Verdict::Nobody),
            (&[ours, ("issuewild", ";")], Verdict::Allowed, Verdict::Nobody),
            (&[("issue", ";"), ("issuewild", "letsencrypt.org")], Verdict::Nobody, Verdict::Allowed),
            (&[("issuewild", "pki.goog")], Verdict::Allowed, only(&["pki.goog"])),
            (&[("iodef", "mailto:x@test")], Verdict::Allowed, Verdict::Allowed),
            (&[ours, ("!tbs", "unknown")], Verdict::Unknown("tbs".into()), Verdict::Unknown("tbs".into())),
            (&[ours, ("tbs", "unknown")], Verdict::Allowed, Verdict::Allowed),
        ] {
            assert_eq!((judge(records, false), judge(records, true)), (plain, wild), "{records:?}");
        }
    }

    #[test]
    fn who_may_issue_may_be_bound_to_an_account_and_a_way() {
        let one = |value: &str| judge(&[("issue", value)], false);
        assert_eq!(one("letsencrypt.org; accounturi=https://ca/acct/1; validationmethods=http-01,dns-01"), Verdict::Allowed);
        assert_eq!(one("letsencrypt.org;accounturi=https://ca/acct/2"), Verdict::OtherAccount("https://ca/acct/2".into()));
        assert_eq!(one("letsencrypt.org; validationmethods=http-01"), Verdict::OtherWays("http-01".into()));
        let two = [("issue", "letsencrypt.org; validationmethods=http-01"), ("issue", "letsencrypt.org")];
        assert_eq!(judge(&two, false), Verdict::Allowed, "one of them suffices");

        let bound = Property { is_critical: false, tag: "issue".into(), value: "letsencrypt.org; accounturi=https://ca/acct/1".into() };
        let free = Property { value: "letsencrypt.org".into(), ..bound.clone() };
        let unknown = |properties: &[&Property]| {
            let policy = Policy { at: "test".parse().expect("a name"), properties: properties.iter().copied().cloned().collect() };
            let issuers = issuers_of("acme-v02.api.letsencrypt.org");
            policy.judge(&Request { issuers: &issuers, is_wildcard: false, account: None, ways: &[Way::Dns] })
        };
        assert_eq!(unknown(&[&bound]), Verdict::NoAccount("https://ca/acct/1".into()), "the first order would register another");
        assert_eq!(unknown(&[&bound, &free]), Verdict::Allowed);
    }

    #[test]
    fn known_cas_are_known_by_their_directories() {
        assert_eq!(issuers_of("acme.zerossl.com"), ["sectigo.com"]);
        assert_eq!(issuers_of("dv.acme-v02.api.pki.goog"), ["pki.goog"]);
        assert!(issuers_of("evil-letsencrypt.org").is_empty() && issuers_of("ca.corp").is_empty());
    }
}
