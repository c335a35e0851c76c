//! Who may read what. Pure: a client's address and certificate, and a repository in, a verdict out.

use std::net::IpAddr;

use crate::config::{Access, AccessRule};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// From where.
    pub address: IpAddr,
    /// The names in a certificate that is worth something; `None` without one.
    pub names: Option<&'a [Box<str>]>,
}

/// The verdict on one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict<'a> {
    /// By this rule; `None` where everything is open.
    Allowed(Option<&'a str>),
    /// No rule allows it.
    Refused,
}

impl Verdict<'_> {
    /// It may be served.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl Access {
    /// Whether `client` may read the repository `label`, which is `upstream/repository`.
    pub fn decide(&self, client: Client<'_>, label: &str) -> Verdict<'_> {
        let client = client.canonical();
        match self {
            Self::Open => Verdict::Allowed(None),
            Self::Rules(rules) => match rules.iter().find(|rule| rule.fits(client, label)) {
                Some(rule) => Verdict::Allowed(Some(&rule.name)),
                None => Verdict::Refused,
            },
        }
    }

    /// Whether `client` may read anything at all: for the pages that belong to no repository.
    pub fn knows(&self, client: Client<'_>) -> bool {
        match self {
            Self::Open => true,
            Self::Rules(rules) => rules.iter().any(|rule| rule.is_for(client.canonical())),
        }
    }

    /// Whether a certificate could make a difference.
    pub fn asks_for_certificates(&self) -> bool {
        matches!(self, Self::Rules(rules) if rules.iter().any(|rule| !rule.clients.is_empty()))
    }
}

impl Client<'_> {
    /// A dual-stack listener sees `::ffff:10.0.0.1` where the rule says 10.0.0.0/8.
    fn canonical(self) -> Self {
        Self { address: self.address.to_canonical(), ..self }
    }
}

impl AccessRule {
    fn fits(&self, client: Client<'_>, label: &str) -> bool {
        self.is_for(client) && (self.repositories.is_empty() || self.repositories.iter().any(|pattern| pattern.fits(label)))
    }

    /// Whatever of both the rule names must hold; one that names neither is for nobody.
    fn is_for(&self, client: Client<'_>) -> bool {
        let is_from = || self.networks.iter().any(|network| network.contains(&client.address));
        let is_known = || client.names.is_some_and(|names| self.clients.iter().any(|pattern| pattern.fits(names)));
        match (self.networks.is_empty(), self.clients.is_empty()) {
            (true, true) => false,
            (false, true) => is_from(),
            (true, false) => is_known(),
            (false, false) => is_from() && is_known(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, networks: &[&str], clients: &[&str], repositories: &[&str]) -> AccessRule {
        AccessRule {
            clients: clients.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
            name: name.into(),
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            repositories: repositories.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
        }
    }

    fn rules() -> Access {
        Access::Rules(vec![
            rule("office", &["10.0.0.0/8"], &[], &["docker.io/library/*", "docker.io/acme/**"]),
            rule("runners", &["192.168.7.0/24"], &[], &[]),
        ])
    }

    fn from(address: &str) -> Client<'static> {
        Client { address: address.parse().expect("an address"), names: None }
    }

    #[test]
    fn the_default_is_no_once_there_are_rules() {
        let decide = |client, label| rules().decide(from(client), label).is_allowed();
        assert!(decide("10.1.2.3", "docker.io/library/alpine") && decide("10.1.2.3", "docker.io/acme/team/app"));
        assert!(!decide("10.1.2.3", "docker.io/other/app") && !decide("10.1.2.3", "ghcr.io/acme/app"));
        assert!(decide("192.168.7.9", "ghcr.io/acme/app"));
        assert!(!decide("172.16.0.1", "docker.io/library/alpine") && !decide("::1", "docker.io/library/alpine"));
    }

    #[test]
    fn a_v4_client_on_a_dual_stack_listener_is_the_same_client() {
        assert_eq!(rules().decide(from("::ffff:192.168.7.9"), "x/y"), Verdict::Allowed(Some("runners")));
        assert!(rules().knows(from("::ffff:10.0.0.1")) && !rules().knows(from("11.0.0.1")));
    }

    #[test]
    fn open_means_everybody() {
        assert_eq!(Access::Open.decide(from("203.0.113.9"), "x/y"), Verdict::Allowed(None));
    }

    #[test]
    fn a_certificate_and_a_network_count_alone_or_together_as_the_rule_says() {
        let rules = Access::Rules(vec![
            rule("anywhere", &[], &["runner-*.ci.test"], &["docker.io/acme/**"]),
            rule("both", &["10.0.0.0/8"], &["10.0.0.9", "ops.test"], &["docker.io/**"]),
            rule("any certificate", &[], &["*"], &["docker.io/library/*"]),
            rule("nobody", &[], &[], &[]),
        ]);
        for (address, names, label, by) in [
            ("203.0.113.9", Some(&["runner-1.ci.test"][..]), "docker.io/acme/app", Some("anywhere")),
            ("203.0.113.9", Some(&["x.test", "RUNNER-a.b.ci.test"]), "docker.io/acme/app", Some("anywhere")),
            ("203.0.113.9", Some(&["runner-1.ci.test.evil"]), "docker.io/acme/app", None),
            ("203.0.113.9", Some(&[]), "docker.io/acme/app", None),
            ("203.0.113.9", None, "docker.io/acme/app", None),
            ("10.1.1.1", Some(&["ops.test"]), "docker.io/other/app", Some("both")),
            ("10.1.1.1", Some(&["10.0.0.9"]), "docker.io/other/app", Some("both")),
            ("10.1.1.1", None, "docker.io/other/app", None),
            ("203.0.113.9", Some(&["ops.test"]), "docker.io/other/app", None),
            ("203.0.113.9", Some(&["acme/anything"]), "docker.io/library/alpine", Some("any certificate")),
            ("203.0.113.9", Some(&[]), "docker.io/library/alpine", Some("any certificate")),
            ("203.0.113.9", None, "docker.io/library/alpine", None),
        ] {
            let names: Option<Vec<Box<str>>> = names.map(|names| names.iter().map(|name| (*name).into()).collect());
            let client = Client { names: names.as_deref(), ..from(address) };
            let verdict = by.map_or(Verdict::Refused, |rule| Verdict::Allowed(Some(rule)));
            assert_eq!(rules.decide(client, label), verdict, "{address} {names:?} {label}");
        }
        assert!(rules.asks_for_certificates() && !self::rules().asks_for_certificates() && !Access::Open.asks_for_certificates());
        let certified = Client { names: Some(&[]), ..from("203.0.113.9") };
        assert!(rules.knows(certified) && !rules.knows(from("203.0.113.9")));
    }
}
