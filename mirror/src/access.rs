//! Who may read what. Pure: an address and a repository in, a verdict out.

use std::net::IpAddr;

use crate::config::{Access, AccessRule};

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
    pub fn decide(&self, client: IpAddr, label: &str) -> Verdict<'_> {
        let client = client.to_canonical(); // A dual-stack listener sees ::ffff:10.0.0.1 where the rule says 10.0.0.0/8.
        match self {
            Self::Open => Verdict::Allowed(None),
            Self::Rules(rules) => match rules.iter().find(|rule| rule.fits(client, label)) {
                Some(rule) => Verdict::Allowed(Some(&rule.name)),
                None => Verdict::Refused,
            },
        }
    }

    /// Whether `client` may read anything at all: for the pages that belong to no repository.
    pub fn knows(&self, client: IpAddr) -> bool {
        match self {
            Self::Open => true,
            Self::Rules(rules) => rules.iter().any(|rule| rule.is_from(client.to_canonical())),
        }
    }
}

impl AccessRule {
    fn fits(&self, client: IpAddr, label: &str) -> bool {
        self.is_from(client) && (self.repositories.is_empty() || self.repositories.iter().any(|pattern| pattern.fits(label)))
    }

    fn is_from(&self, client: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Access {
        let rule = |name: &str, network: &str, repositories: &[&str]| AccessRule {
            name: name.into(),
            networks: vec![network.parse().expect("a network")],
            repositories: repositories.iter().map(|pattern| pattern.parse().expect("a pattern")).collect(),
        };
        Access::Rules(vec![
            rule("office", "10.0.0.0/8", &["docker.io/library/*", "docker.io/acme/**"]),
            rule("runners", "192.168.7.0/24", &[]),
        ])
    }

    #[test]
    fn the_default_is_no_once_there_are_rules() {
        let decide = |client: &str, label| rules().decide(client.parse().expect("an address"), label).is_allowed();
        assert!(decide("10.1.2.3", "docker.io/library/alpine") && decide("10.1.2.3", "docker.io/acme/team/app"));
        assert!(!decide("10.1.2.3", "docker.io/other/app") && !decide("10.1.2.3", "ghcr.io/acme/app"));
        assert!(decide("192.168.7.9", "ghcr.io/acme/app"));
        assert!(!decide("172.16.0.1", "docker.io/library/alpine") && !decide("::1", "docker.io/library/alpine"));
    }

    #[test]
    fn a_v4_client_on_a_dual_stack_listener_is_the_same_client() {
        assert_eq!(rules().decide("::ffff:192.168.7.9".parse().expect("an address"), "x/y"), Verdict::Allowed(Some("runners")));
        assert!(rules().knows("::ffff:10.0.0.1".parse().expect("an address")) && !rules().knows("11.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn open_means_everybody() {
        assert_eq!(Access::Open.decide("203.0.113.9".parse().expect("an address"), "x/y"), Verdict::Allowed(None));
    }
}
