//! Ports that Docker publishes: the way past firewalls that look at what comes in to the machine.
//!
//! Docker turns such a connection to the container and forwards it, by rules that stand before ufw's and firewalld's. It leaves one chain to others, `DOCKER-USER`, and puts it before its own again at each start. A
//! connection is known there by the port that it had first.

use std::fmt::Write as _;

use super::Rules;
use crate::document::Document;

/// The program that closes that way, and the drop-in that runs it whenever Docker has started.
pub fn documents(rules: &Rules) -> [Document; 2] {
    let four: Vec<String> = rules.four().iter().map(ToString::to_string).collect();
    let six: Vec<String> = rules.six().iter().map(ToString::to_string).collect();
    let mut text = String::from(HEAD);
    let ports = rules.ports().map(|port| port.to_string()).collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "close iptables \"{ports}\" \"{}\"", four.join(" "));
    let _ = writeln!(text, "close ip6tables \"{ports}\" \"{}\"", six.join(" "));
    [
        Document::program(
            "chandler-published",
            "goes to /usr/local/sbin/chandler-published; root runs it once, and the drop-in after each start of Docker",
            text,
        ),
        Document::new(
            "20-chandler-published.conf",
            "goes to /etc/systemd/system/docker.service.d/; then `systemctl daemon-reload`",
            DROP_IN.to_owned(),
        ),
    ]
}

const HEAD: &str = r#"#!/bin/sh
# Of the ports that Docker publishes, the mirror's are for its clients and nobody else. It may be run again at any time.
set -eu

close() { # program, ports, networks
  command -v "$1" >/dev/null || return 0
  "$1" -w -N CHANDLER 2>/dev/null || "$1" -w -F CHANDLER
  for port in $2; do
    for net in $3; do
      "$1" -w -A CHANDLER -s "$net" -p tcp -m conntrack --ctorigdstport "$port" --ctdir ORIGINAL -j RETURN
    done
    "$1" -w -A CHANDLER -p tcp -m conntrack --ctstate DNAT --ctorigdstport "$port" --ctdir ORIGINAL -j REJECT --reject-with tcp-reset
  done
  # Docker makes this chain, and leaves it to others; before Docker was ever started it is not there.
  "$1" -w -n -L DOCKER-USER >/dev/null 2>&1 || return 0
  "$1" -w -D DOCKER-USER -j CHANDLER 2>/dev/null || true
  "$1" -w -I DOCKER-USER -j CHANDLER
}

"#;

const DROP_IN: &str = "\
# Docker makes its rules anew whenever it starts. It starts also where this fails (-).
[Service]
ExecStartPost=-/usr/local/sbin/chandler-published
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_names_ports_and_networks_once_for_each_family() {
        let [program, drop_in] = documents(&super::super::tests::rules());
        assert!(program.program && !drop_in.program);
        insta::assert_snapshot!(program.text.trim_start_matches(HEAD), @r#"
        close iptables "443 5000" "10.20.0.0/16 192.0.2.7/32"
        close ip6tables "443 5000" "fd00:20::/32"
        "#);
    }
}
