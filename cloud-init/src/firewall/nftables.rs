//! The same for nftables: a table of our own, which nothing of others is part of.
//!
//! A connection to a port that Docker or Podman publishes is turned to a container before any filter sees it, and is forwarded then; its original port tells it. So one table closes both ways, and
//! whoever is refused is told at once.

use std::fmt::Write as _;

use super::Rules;
use crate::document::Document;

/// A file for `nft -f`; loaded again, it takes its own place.
pub fn document(rules: &Rules) -> Document {
    let four = set("clients4", "ipv4_addr", rules.four());
    let six = set("clients6", "ipv6_addr", rules.six());
    let ports = rules.port_list();
    let mut checks = String::from("\t\tiifname \"lo\" accept\n");
    let is_any = |name: &str, any: bool| if any { format!("\t\t{name} accept\n") } else { String::new() };
    let _ = write!(checks, "{}", is_any("ip saddr @clients4", !rules.four().is_empty()));
    let _ = write!(checks, "{}", is_any("ip6 saddr @clients6", !rules.six().is_empty()));
    checks.push_str("\t\tcounter reject with tcp reset\n");
    let text = format!(
        "\
#!/usr/sbin/nft -f
# The mirror's ports ({ports}), for its clients and nobody else. A firewall of your own that refuses them before has to let them in as well: an accept here ends this table alone.
table inet chandler
delete table inet chandler
table inet chandler {{
{four}{six}
\tchain mirror {{
{checks}\t}}

\t# To a program of this machine.
\tchain input {{
\t\ttype filter hook input priority -10; policy accept;
\t\ttcp dport {{ {ports} }} jump mirror
\t}}

\t# To a container whose port is published: by then it has the container's own, and the first one tells it.
\tchain forward {{
\t\ttype filter hook forward priority -10; policy accept;
\t\tct status dnat ct direction original meta l4proto tcp ct original proto-dst {{ {ports} }} jump mirror
\t}}
}}
"
    );
    Document::program("chandler.nft", "`nft -f` loads it; for every boot, `include` it in /etc/nftables.conf", text)
}

fn set<N: ToString>(name: &str, kind: &str, nets: &[N]) -> String {
    if nets.is_empty() {
        return String::new();
    }
    let elements = nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval\n\t\telements = {{ {elements} }}\n\t}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_our_own_for_the_machine_and_its_containers() {
        insta::assert_snapshot!(document(&super::super::tests::rules()).text, @r#"
        #!/usr/sbin/nft -f
        # The mirror's ports (443, 5000), for its clients and nobody else. A firewall of your own that refuses them before has to let them in as well: an accept here ends this table alone.
        table inet chandler
        delete table inet chandler
        table inet chandler {
        	set clients4 {
        		type ipv4_addr
        		flags interval
        		elements = { 10.20.0.0/16, 192.0.2.7/32 }
        	}
        	set clients6 {
        		type ipv6_addr
        		flags interval
        		elements = { fd00:20::/32 }
        	}

        	chain mirror {
        		iifname "lo" accept
        		ip saddr @clients4 accept
        		ip6 saddr @clients6 accept
        		counter reject with tcp reset
        	}

        	# To a program of this machine.
        	chain input {
        		type filter hook input priority -10; policy accept;
        		tcp dport { 443, 5000 } jump mirror
        	}

        	# To a container whose port is published: by then it has the container's own, and the first one tells it.
        	chain forward {
        		type filter hook forward priority -10; policy accept;
        		ct status dnat ct direction original meta l4proto tcp ct original proto-dst { 443, 5000 } jump mirror
        	}
        }
        "#);
    }
}
