//! Whether the mirror could have the ports that its configuration names: on a CI service's own machine 80 and 443 are that service's, and a mirror must not take turns with it.

use std::fs;
use std::net::SocketAddr;

use super::units::SERVICE;
use crate::cert::{Holder, holders};

/// The addresses that somebody else holds, with who that is. `socket`: systemd may hold them for us.
pub(crate) fn held(addresses: impl Iterator<Item = SocketAddr>, socket: bool) -> Vec<(SocketAddr, String)> {
    let holder =
        |address: SocketAddr| holders(address).iter().find_map(|holder| in_the_way(holder, is_ours, socket)).map(|who| (address, who));
    addresses.filter_map(holder).collect()
}

/// Pure.
fn in_the_way(holder: &Holder, is_ours: impl Fn(u32) -> bool, socket: bool) -> Option<String> {
    match holder {
        Holder::Ours(pid) if is_ours(*pid) => None,
        Holder::Ours(pid) => Some(format!("another chandler (process {pid}), which is not {SERVICE}")),
        Holder::ServiceManager if socket => None,
        Holder::ServiceManager => Some("systemd, for a socket unit".into()),
        Holder::Other(who) => Some(who.clone()),
        Holder::Unknown => Some("a program that is not to be seen from here".into()),
    }
}

/// Whether a process is our service's.
fn is_ours(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.lines().any(|line| line.contains(&format!("/{SERVICE}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_our_service_is_in_the_way() {
        let told = |holder: &Holder, socket: bool| in_the_way(holder, |pid| pid == 7, socket).unwrap_or_default();
        assert_eq!(told(&Holder::Ours(7), false), "");
        assert_eq!(told(&Holder::Ours(8), false), "another chandler (process 8), which is not chandler-mirror.service");
        assert_eq!(told(&Holder::Other("nginx (process 9)".into()), true), "nginx (process 9)");
        assert_eq!((told(&Holder::ServiceManager, true), told(&Holder::ServiceManager, false).is_empty()), (String::new(), false));
        assert!(!told(&Holder::Unknown, true).is_empty());
    }

    #[test]
    fn a_held_port_is_named_with_its_holder() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let found = held([address].into_iter(), false);
        assert!(found.len() == 1 && found[0].1.contains(&format!("process {}", std::process::id())), "{found:?}");
        drop(socket);
        assert_eq!(held([address].into_iter(), false), []);
    }
}
