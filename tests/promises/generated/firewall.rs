//! "Only clients and VMs reach the mirror": a mirror, a client and a stranger in networks of their own, and a second mirror in a container whose port is published as Docker does it.

use tests::engine::Answer;
use tests::program::program_path;
use tests::tools;
use tokio::process::Command;

use super::{Made, run};

/// Who is served: what a script says of each of them, at the machine's own port and at the published one.
async fn served(rules: &str, load: &str) -> Option<String> {
    if !tools::require_root() {
        return None;
    }
    tools::require_all(["unshare", "ip", "iptables", "curl"])?;
    let made =
        Made::by(&format!("firewall {rules} --client 10.77.1.0/24 --port 5000 --port 8443"), (rules == "nftables").then_some("rules"))
            .await;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", SITE, "sh"])
        .args([load, &made.folder.path().display().to_string()]);
    let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", tools::folder().display());
    command.env_clear().env("PATH", path).env("CHANDLER", program_path()).env("HOME", made.folder.path());
    Some(Answer::of(&mut command).await.expect_success())
}

#[tokio::test(flavor = "multi_thread")]
async fn nftables_lets_clients_in_and_refuses_strangers_also_at_ports_published_to_containers() {
    if tools::require("nft").is_none() {
        return;
    }
    let Some(said) = served("nftables", "nft -c -f \"$1/rules\"; nft -f \"$1/rules\"; nft -f \"$1/rules\"").await else { return };
    insta::assert_snapshot!(said, @r"
    itself is served
    client at 5000: let in
    client at 8443: let in
    stranger at 5000: kept out
    stranger at 8443: kept out
    failed  http://10.77.1.1:5000 can be connected to from this machine: no firewall keeps it out, and no access rule
    ends with 1
    good  http://10.77.2.1:5000 lets no connection of this machine come about: a firewall keeps it out, or the mirror is down, which `chandler doctor` on one of its clients tells
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_of_what_comes_in_is_passed_by_at_published_ports_unless_dockers_own_chain_refuses_strangers() {
    // As ufw and firewalld have it: what comes in to the machine.
    let input = "for port in 5000 8443; do iptables -A INPUT -s 10.77.1.0/24 -p tcp --dport $port -j ACCEPT; iptables -A INPUT ! -i lo -p tcp --dport $port -j REJECT --reject-with tcp-reset; done";
    let Some(said) = served("ufw", input).await else { return };
    insta::assert_snapshot!(said, @r"
    itself is served
    client at 5000: let in
    client at 8443: let in
    stranger at 5000: kept out
    stranger at 8443: let in
    failed  http://10.77.1.1:5000 can be connected to from this machine: no firewall keeps it out, and no access rule
    ends with 1
    good  http://10.77.2.1:5000 lets no connection of this machine come about: a firewall keeps it out, or the mirror is down, which `chandler doctor` on one of its clients tells
    ");
    let Some(said) = served("ufw", &format!("{input}; sh \"$1/chandler-published\"; sh \"$1/chandler-published\"")).await else { return };
    insta::assert_snapshot!(said, @r"
    itself is served
    client at 5000: let in
    client at 8443: let in
    stranger at 5000: kept out
    stranger at 8443: kept out
    failed  http://10.77.1.1:5000 can be connected to from this machine: no firewall keeps it out, and no access rule
    ends with 1
    good  http://10.77.2.1:5000 lets no connection of this machine come about: a firewall keeps it out, or the mirror is down, which `chandler doctor` on one of its clients tells
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_set_firewalls_up_are_read_by_a_linter_of_the_shell() {
    let Some(shellcheck) = tools::require("shellcheck") else { return };
    for (system, file) in [("ufw", "chandler-ufw"), ("ufw", "chandler-published"), ("firewalld", "chandler-firewalld")] {
        let made = Made::by(&format!("firewall {system} --client 10.77.1.0/24 --client fd00::/8 --port 443"), None).await;
        run(&shellcheck, &["--shell=sh", &made.path(file).display().to_string()]).await;
    }
    let made = Made::by("firewall aws-cli --group sg-01234567 --client 10.77.1.0/24 --port 443", Some("aws.sh")).await;
    run(&shellcheck, &["--shell=sh", &made.path("aws.sh").display().to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ufw_and_firewalld_read_their_rules_as_they_were_meant() {
    let Some([python, _, _]) = tools::require_all(["python3", "ufw", "firewall-offline-cmd"]) else { return };
    let read = async |script: &str, lines: Vec<String>| {
        let folder = tools::cache().join("debian").display().to_string();
        let arguments: Vec<&str> = ["-c", script, &folder].into_iter().chain(lines.iter().map(String::as_str)).collect();
        run(&python, &arguments).await
    };
    let arguments = "--client 10.20.0.0/16 --client fd00:20::/32 --port 443";
    let ufw = Made::by(&format!("firewall ufw {arguments}"), None).await.text("chandler-ufw");
    let ufw = ufw.lines().filter_map(|line| line.strip_prefix("ufw ")).map(str::to_owned).collect();
    insta::assert_snapshot!(read(UFW, ufw).await, @r"
    reject 0.0.0.0/0 443 tcp both
    allow 10.20.0.0/16 443 tcp v4
    allow fd00:20::/32 443 tcp v6
    ");
    let firewalld = Made::by(&format!("firewall firewalld {arguments}"), None).await.text("chandler-firewalld");
    let rules = firewalld.lines().filter_map(|line| line.split('\'').nth(1)).filter(|rule| rule.starts_with("rule ")).map(str::to_owned);
    let rules: Vec<String> = rules.collect();
    assert_eq!(read(FIREWALLD, rules.clone()).await.lines().collect::<Vec<_>>(), rules);
}

/// ufw's own parser of its command line.
const UFW: &str = r#"
import builtins, sys
builtins._ = str
sys.path.insert(0, sys.argv[1] + "/ufw/usr/lib/python3/dist-packages")
import ufw.parser
parser = ufw.parser.UFWParser()
for word in "allow", "reject", "prepend":
    parser.register_command(ufw.parser.UFWCommandRule(word))
for line in sys.argv[2:]:
    read = parser.parse_command(["rule"] + line.split())
    rule = read.data["rule"]
    print(read.action, rule.src, rule.dport, rule.protocol, read.data["iptype"])
"#;

/// firewalld's own parser of rich rules, and what it makes of each.
const FIREWALLD: &str = r#"
import sys
sys.path.insert(0, sys.argv[1] + "/firewalld/usr/lib/python3/dist-packages")
from firewall.core.rich import Rich_Rule
for line in sys.argv[2:]:
    rule = Rich_Rule(rule_str=line)
    rule.check()
    print(rule)
"#;

/// This namespace is the mirror's machine: `10.77.1.1` to the client's, `10.77.2.1` to the stranger's, and a container behind it. The first argument loads rules; `$1` is where they are.
const SITE: &str = r#"
load=$1; shift
mount -t tmpfs tmpfs /run
mkdir /run/netns
ip link set lo up
join() { # name network
  ip netns add "$1"
  ip link add "to-$1" type veth peer name eth0 netns "$1"
  ip addr add "$2.1/24" dev "to-$1"; ip link set "to-$1" up
  ip -n "$1" addr add "$2.2/24" dev eth0; ip -n "$1" link set eth0 up; ip -n "$1" link set lo up
  ip -n "$1" route add default via "$2.1"
}
join client 10.77.1; join stranger 10.77.2; join container 10.77.3
echo 1 >/proc/sys/net/ipv4/ip_forward
# As Docker publishes a port: turned to the container before any filter, and its own chain first in the way of what is forwarded.
iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN
iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -d 10.77.3.2 -p tcp --dport 5000 -j ACCEPT
iptables -t nat -A PREROUTING -p tcp --dport 8443 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.77.3.2:5000
export CHANDLER_STORE_MIN_FREE=1MiB
"$CHANDLER" mirror --listen 10.77.1.1:5000 --listen 127.0.0.1:5000 --listen 10.77.2.1:5000 --allow open --store "$HOME/one" >"$HOME/one.log" 2>&1 &
ip netns exec container "$CHANDLER" mirror --listen 10.77.3.2:5000 --allow open --store "$HOME/two" >"$HOME/two.log" 2>&1 &
ping() { curl --silent --output /dev/null --max-time 10 "$@"; }
tries=0
until ping http://127.0.0.1:5000/v2/ && ping http://10.77.3.2:5000/v2/; do
  tries=$((tries + 1)); [ $tries -lt 300 ] || { cat "$HOME"/*.log; exit 1; }
  sleep 0.1
done
sh -euc "$load" sh "$1"
ping http://127.0.0.1:5000/v2/ && echo "itself is served"
for who in client stranger; do
  case $who in client) at=10.77.1.1 ;; *) at=10.77.2.1 ;; esac
  for port in 5000 8443; do
    ip netns exec $who "$CHANDLER" doctor --kept-out --mirror http://$at:$port >"$HOME/said" 2>/dev/null && kept="kept out" || kept="let in"
    echo "$who at $port: $kept"
  done
done
ip netns exec client "$CHANDLER" doctor --kept-out --mirror http://10.77.1.1:5000 || echo "ends with $?"
ip netns exec stranger "$CHANDLER" doctor --kept-out --mirror http://10.77.2.1:5000
"#;
