//! The same for Amazon's security groups, by Terraform and by its command line.
//!
//! Clients are networks, and groups whose members are: of CircleCI Server 2.x that of the Nomad clients and that of the VMs (the service machine's settings name it), of 4.x that of the Nomad clients (server-terraform
//! makes it) and `machine_provisioner.providers.ec2.securityGroupId`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::Rules;
use crate::document::Document;
use crate::hcl::Body;

/// A security group's id.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Group(String);

/// No group has such an id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no security group: write sg- and 8 or 17 hexadecimal digits")]
pub struct NoGroup(String);

/// Who connects to which group. `rules` may have ports alone where groups are named: see [`Rules::of_ports`].
#[derive(Clone, Debug)]
pub struct Ingress<'a> {
    /// The mirror's group.
    pub mirror: &'a Group,
    /// Groups whose members are clients.
    pub clients: &'a [Group],
    /// Networks, and the ports.
    pub rules: &'a Rules,
}

impl Ingress<'_> {
    /// For `terraform apply`, with the provider `hashicorp/aws` 4.56 or newer.
    pub fn terraform(&self) -> Document {
        let mut body = Body::default();
        for port in self.rules.ports() {
            for source in self.sources() {
                let rule = Body::default()
                    .set("security_group_id", self.mirror.0.as_str())
                    .set("description", DESCRIPTION)
                    .set("ip_protocol", "tcp")
                    .set("from_port", port)
                    .set("to_port", port)
                    .set(source.key(), source.value());
                body = body.block("resource", &["aws_vpc_security_group_ingress_rule", &source.name(port)], rule);
            }
        }
        Document::new("mirror-firewall.tf", "goes beside your other *.tf files", body.text())
    }

    /// For the AWS command line.
    pub fn command_line(&self) -> Document {
        let permissions: Vec<Value> = self.rules.ports().map(|port| self.permission(port)).collect();
        let permissions = Value::from(permissions).to_string();
        // Neither a group's id nor a network has a quote in it.
        let text = format!(
            "#!/bin/sh\n# The mirror's ports for its clients. What the group lets in already stays: a wider rule of it is yours to take out.\nset -eu\naws ec2 authorize-security-group-ingress --group-id {} --ip-permissions '{permissions}'\n",
            self.mirror
        );
        Document::program("mirror-firewall.sh", "is run once, with rights to change the group", text)
    }

    fn permission(&self, port: u16) -> Value {
        let groups: Vec<Value> = self.clients.iter().map(|group| json!({ "GroupId": group.0, "Description": DESCRIPTION })).collect();
        let four: Vec<Value> =
            self.rules.four().iter().map(|net| json!({ "CidrIp": net.to_string(), "Description": DESCRIPTION })).collect();
        let six: Vec<Value> =
            self.rules.six().iter().map(|net| json!({ "CidrIpv6": net.to_string(), "Description": DESCRIPTION })).collect();
        let mut permission = json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port });
        for (key, list) in [("UserIdGroupPairs", groups), ("IpRanges", four), ("Ipv6Ranges", six)] {
            if !list.is_empty() {
                permission[key] = list.into();
            }
        }
        permission
    }

    fn sources(&self) -> Vec<Source> {
        let four = self.rules.four().iter().map(|net| Source::Four(net.to_string()));
        let six = self.rules.six().iter().map(|net| Source::Six(net.to_string()));
        self.clients.iter().cloned().map(Source::Group).chain(four).chain(six).collect()
    }
}

/// Where a rule lets in from.
enum Source {
    Group(Group),
    Four(String),
    Six(String),
}

impl Source {
    fn key(&self) -> &'static str {
        match self {
            Self::Group(_) => "referenced_security_group_id",
            Self::Four(_) => "cidr_ipv4",
            Self::Six(_) => "cidr_ipv6",
        }
    }

    fn value(&self) -> &str {
        match self {
            Self::Group(Group(text)) | Self::Four(text) | Self::Six(text) => text,
        }
    }

    /// A resource's name, which stays while the rule does.
    fn name(&self, port: u16) -> String {
        let tidy: String = self.value().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        format!("chandler_{port}_{tidy}")
    }
}

impl FromStr for Group {
    type Err = NoGroup;

    fn from_str(text: &str) -> Result<Self, NoGroup> {
        let digits = text.strip_prefix("sg-").unwrap_or_default();
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if matches!(digits.len(), 8 | 17) && is_hex { Ok(Self(text.to_owned())) } else { Err(NoGroup(text.to_owned())) }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const DESCRIPTION: &str = "chandler: a client of the mirror";

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> Group {
        text.parse().expect("a group")
    }

    #[test]
    fn groups_and_networks_are_let_in() {
        let (mirror, clients) = (group("sg-0123456789abcdef0"), [group("sg-0fedcba987654321f")]);
        let rules = Rules::of_ports(&[443], &[]).expect("rules");
        let ingress = Ingress { mirror: &mirror, clients: &clients, rules: &rules };
        insta::assert_snapshot!(ingress.terraform().text, @r#"
        resource "aws_vpc_security_group_ingress_rule" "chandler_443_sg_0fedcba987654321f" {
          security_group_id            = "sg-0123456789abcdef0"
          description                  = "chandler: a client of the mirror"
          ip_protocol                  = "tcp"
          from_port                    = 443
          to_port                      = 443
          referenced_security_group_id = "sg-0fedcba987654321f"
        }
        "#);
        let rules = super::super::tests::rules();
        insta::assert_snapshot!(Ingress { rules: &rules, ..ingress }.command_line().text, @r#"
        #!/bin/sh
        # The mirror's ports for its clients. What the group lets in already stays: a wider rule of it is yours to take out.
        set -eu
        aws ec2 authorize-security-group-ingress --group-id sg-0123456789abcdef0 --ip-permissions '[{"FromPort":443,"IpProtocol":"tcp","IpRanges":[{"CidrIp":"10.20.0.0/16","Description":"chandler: a client of the mirror"},{"CidrIp":"192.0.2.7/32","Description":"chandler: a client of the mirror"}],"Ipv6Ranges":[{"CidrIpv6":"fd00:20::/32","Description":"chandler: a client of the mirror"}],"ToPort":443,"UserIdGroupPairs":[{"Description":"chandler: a client of the mirror","GroupId":"sg-0fedcba987654321f"}]},{"FromPort":5000,"IpProtocol":"tcp","IpRanges":[{"CidrIp":"10.20.0.0/16","Description":"chandler: a client of the mirror"},{"CidrIp":"192.0.2.7/32","Description":"chandler: a client of the mirror"}],"Ipv6Ranges":[{"CidrIpv6":"fd00:20::/32","Description":"chandler: a client of the mirror"}],"ToPort":5000,"UserIdGroupPairs":[{"Description":"chandler: a client of the mirror","GroupId":"sg-0fedcba987654321f"}]}]'
        "#);
    }

    #[test]
    fn a_group_is_its_id() {
        for bad in ["", "sg-", "sg-0123", "0123456789abcdef0", "sg-0123456789ABCDEF0", "sg-'; reboot; '00"] {
            assert!(bad.parse::<Group>().is_err(), "{bad}");
        }
        assert!("sg-01234567".parse::<Group>().is_ok());
    }
}
