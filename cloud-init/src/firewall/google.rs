//! The same for a network of Google's, by Terraform: for CircleCI Server 3.x and 4.x whose VMs are there.

use std::fmt;
use std::str::FromStr;

use super::Rules;
use crate::document::Document;
use crate::hcl::{Body, Value};

/// A network's or a tag's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name(String);

/// Google knows no such name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no name of Google's: a small letter, then at most 62 small letters, digits and dashes, the last no dash")]
pub struct NoName(String);

/// Machines with the mirror's tag let clients in; all others are refused where nothing else lets them in, and by a rule of our own where something does.
pub fn document(rules: &Rules, network: &Name, mirror: &Name, clients: &[Name]) -> Document {
    let ports: Vec<String> = rules.ports().map(|port| port.to_string()).collect();
    let part = |kind: &'static str| Body::default().block(kind, &[], Body::default().set("protocol", "tcp").set("ports", ports.clone()));
    let named = |name: &str, priority: u64, kind| {
        let rule = Body::default().set("name", name).set("network", network.0.as_str()).set("priority", Value::Number(priority));
        (rule.set("target_tags", vec![mirror.0.as_str()]), part(kind))
    };
    let mut body = Body::default();
    // Networks of the two families do not go together in one rule.
    let families = [
        ("four", rules.four().iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("six", rules.six().iter().map(ToString::to_string).collect()),
    ];
    for (family, nets) in families.into_iter().filter(|(_, nets)| !nets.is_empty()) {
        let (rule, allow) = named(&format!("chandler-clients-{family}"), 900, "allow");
        body = body.block(
            "resource",
            &["google_compute_firewall", &format!("chandler_clients_{family}")],
            rule.set("source_ranges", nets).with(allow),
        );
    }
    if !clients.is_empty() {
        let (rule, allow) = named("chandler-clients-tagged", 900, "allow");
        let tags: Vec<&str> = clients.iter().map(|name| name.0.as_str()).collect();
        body = body.block("resource", &["google_compute_firewall", "chandler_clients_tagged"], rule.set("source_tags", tags).with(allow));
    }
    for (family, all) in [("four", "0.0.0.0/0"), ("six", "::/0")] {
        let (rule, deny) = named(&format!("chandler-others-{family}"), 901, "deny");
        body = body.block(
            "resource",
            &["google_compute_firewall", &format!("chandler_others_{family}")],
            rule.set("source_ranges", vec![all]).with(deny),
        );
    }
    Document::new("mirror-firewall.tf", "goes beside your other *.tf files", body.text())
}

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Self, NoName> {
        let is_name = text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if is_name { Ok(Self(text.to_owned())) } else { Err(NoName(text.to_owned())) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_before_everybody_else() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        insta::assert_snapshot!(document(&super::super::tests::rules(), &name("default"), &name("mirror"), &[name("nomad")]).text, @r#"
        resource "google_compute_firewall" "chandler_clients_four" {
          name          = "chandler-clients-four"
          network       = "default"
          priority      = 900
          target_tags   = ["mirror"]
          source_ranges = ["10.20.0.0/16", "192.0.2.7/32"]

          allow {
            protocol = "tcp"
            ports    = ["443", "5000"]
          }
        }

        resource "google_compute_firewall" "chandler_clients_six" {
          name          = "chandler-clients-six"
          network       = "default"
          priority      = 900
          target_tags   = ["mirror"]
          source_ranges = ["fd00:20::/32"]

          allow {
            protocol = "tcp"
            ports    = ["443", "5000"]
          }
        }

        resource "google_compute_firewall" "chandler_clients_tagged" {
          name        = "chandler-clients-tagged"
          network     = "default"
          priority    = 900
          target_tags = ["mirror"]
          source_tags = ["nomad"]

          allow {
            protocol = "tcp"
            ports    = ["443", "5000"]
          }
        }

        resource "google_compute_firewall" "chandler_others_four" {
          name          = "chandler-others-four"
          network       = "default"
          priority      = 901
          target_tags   = ["mirror"]
          source_ranges = ["0.0.0.0/0"]

          deny {
            protocol = "tcp"
            ports    = ["443", "5000"]
          }
        }

        resource "google_compute_firewall" "chandler_others_six" {
          name          = "chandler-others-six"
          network       = "default"
          priority      = 901
          target_tags   = ["mirror"]
          source_ranges = ["::/0"]

          deny {
            protocol = "tcp"
            ports    = ["443", "5000"]
          }
        }
        "#);
    }

    #[test]
    fn a_name_is_googles() {
        for bad in ["", "A", "a-", "1a", "a_b", "a\"b"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
