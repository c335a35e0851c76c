//! The same for firewalld, as rich rules with a priority that puts them before the zone's services and ports. Beside it, what closes the way past it.

use std::fmt::Write as _;

use super::{Rules, published};
use crate::document::Document;

/// A program, and those for published ports. The zone is the default one, where `zone` names none.
pub fn documents(rules: &Rules, zone: Option<&Zone>) -> Vec<Document> {
    let zone = zone.map(|zone| format!(" --zone={}", zone.0)).unwrap_or_default();
    let mut text = String::from(
        "#!/bin/sh\n# The mirror's ports for its clients and nobody else, before all that the zone lets in. firewalld 0.7 or newer; what is there it skips.\nset -eu\n",
    );
    for rule in rich_rules(rules) {
        // Nothing in it needs more than the quotes: it is made of numbers and words of firewalld's.
        let _ = writeln!(text, "firewall-cmd --permanent{zone} --add-rich-rule='{rule}'");
    }
    text.push_str("firewall-cmd --reload\n");
    let firewalld = Document::program("chandler-firewalld", "root runs it once; firewalld keeps what it says", text);
    std::iter::once(firewalld).chain(published::documents(rules)).collect()
}

/// In the order of their priority.
pub fn rich_rules(rules: &Rules) -> Vec<String> {
    let mut all = Vec::new();
    for port in rules.ports() {
        let port = format!("port port=\"{port}\" protocol=\"tcp\"");
        let four = rules.four().iter().map(|net| ("ipv4", net.to_string()));
        let six = rules.six().iter().map(|net| ("ipv6", net.to_string()));
        for (family, net) in four.chain(six) {
            all.push(format!("rule priority=\"-110\" family=\"{family}\" source address=\"{net}\" {port} accept"));
        }
        for family in ["ipv4", "ipv6"] {
            all.push(format!("rule priority=\"-109\" family=\"{family}\" {port} reject"));
        }
    }
    all
}

/// The name of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Zone(String);

/// No zone has such a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no zone of firewalld: 1 to 17 letters, digits, `_` and `-`")]
pub struct NoZone(String);

impl std::str::FromStr for Zone {
    type Err = NoZone;

    fn from_str(text: &str) -> Result<Self, NoZone> {
        let is_name =
            (1..=17).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if is_name && !text.starts_with('-') { Ok(Self(text.to_owned())) } else { Err(NoZone(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_asked_for_before_everybody_is_refused() {
        let zone = "public".parse().expect("a zone");
        insta::assert_snapshot!(documents(&super::super::tests::rules(), Some(&zone))[0].text, @r#"
        #!/bin/sh
        # The mirror's ports for its clients and nobody else, before all that the zone lets in. firewalld 0.7 or newer; what is there it skips.
        set -eu
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv4" source address="10.20.0.0/16" port port="443" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv4" source address="192.0.2.7/32" port port="443" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv6" source address="fd00:20::/32" port port="443" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-109" family="ipv4" port port="443" protocol="tcp" reject'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-109" family="ipv6" port port="443" protocol="tcp" reject'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv4" source address="10.20.0.0/16" port port="5000" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv4" source address="192.0.2.7/32" port port="5000" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-110" family="ipv6" source address="fd00:20::/32" port port="5000" protocol="tcp" accept'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-109" family="ipv4" port port="5000" protocol="tcp" reject'
        firewall-cmd --permanent --zone=public --add-rich-rule='rule priority="-109" family="ipv6" port port="5000" protocol="tcp" reject'
        firewall-cmd --reload
        "#);
    }

    #[test]
    fn a_zone_is_a_name_and_no_more() {
        assert!("public".parse::<Zone>().is_ok());
        for bad in ["", "a b", "x;reboot", "-x", "eighteen-letters-x"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
