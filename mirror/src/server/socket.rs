//! Listening sockets: made here, or matched from what the service manager handed over; and what is set on those that they accept.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen as start, socket_with, sockopt};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::config::ListenerConfig;

/// A socket that listens on `address`: at once after a restart, and on `[::]` for IPv4 too, whatever the system's default is.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    bind(&socket, &address)?;
    start(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// An accepted socket as connections want it: small answers leave at once, and what a client does not take waits with us, not in the kernel.
///
/// A send buffer grows to megabytes, and says that it takes more only when a third of it is free: a reader of 20 KB/s would seem to have stopped for
/// a minute. With a limit on what is not sent yet the kernel takes more each time that half of [`UNSENT`] has left. What is on its way to a fast
/// client is not in it, so throughput is not bounded.
pub(super) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // A system that knows no such limit only judges slow readers worse.
    let _ = SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT);
    Ok(())
}

/// For each listener the inherited socket of its address, else the first that fits none.
pub(super) fn matched(listeners: &[ListenerConfig], inherited: Vec<TcpListener>) -> Vec<Option<TcpListener>> {
    let mut left = inherited;
    let mut found: Vec<Option<TcpListener>> = listeners
        .iter()
        .map(|listener| {
            let fits = |socket: &TcpListener| socket.local_addr().is_ok_and(|address| address == listener.address);
            left.iter().position(fits).map(|at| left.remove(at))
        })
        .collect();
    let mut left = left.into_iter();
    for slot in found.iter_mut().filter(|slot| slot.is_none()) {
        *slot = left.next();
    }
    for socket in left {
        tracing::warn!(server.address = ?socket.local_addr().ok(), "an inherited socket fits no configured listener and is closed");
    }
    found
}

/// Waiting connections that the kernel keeps while all slots are taken or a restart is under way; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Half of it, 128 KiB, is what a wake-up may take on a link of 10 Gbit/s (100 µs) and what 2 KiB/s take in a minute.
const UNSENT: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: SocketAddr) -> ListenerConfig {
        ListenerConfig { address, proxy_protocol: false, tls: None }
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_clients_too() {
        let Ok(listener) = listen("[::]:0".parse().expect("an address")) else {
            assert!(TcpListener::bind("[::1]:0").is_err(), "only a machine without IPv6 may refuse");
            return;
        };
        let port = listener.local_addr().expect("its address").port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("an IPv4 client connects");
    }

    #[test]
    fn inherited_sockets_go_to_their_address_and_then_in_order() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (one, two) = (listen(any).expect("one"), listen(any).expect("two"));
        let addresses = [one.local_addr().expect("one"), two.local_addr().expect("two")];
        let found = matched(&[config(addresses[1]), config(any), config(any)], vec![one, two]);
        let found: Vec<_> = found.iter().map(|socket| socket.as_ref().map(|socket| socket.local_addr().expect("bound"))).collect();
        assert_eq!(found, [Some(addresses[1]), Some(addresses[0]), None]);
    }
}
