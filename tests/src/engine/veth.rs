//! The cable between the real machine and a private one with an own network, and relays along it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::Answer;

/// A pair of network interfaces. Removed when dropped.
#[derive(Debug)]
pub(super) struct Veth {
    name: String,
    network: u32,
    relays: JoinSet<()>,
}

impl Veth {
    /// Joins the network of the process `init` to ours.
    pub(super) async fn join(init: Pid) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let pid = init.as_raw_nonzero().to_string();
        loop {
            let slot = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % SLOTS;
            // The name is the claim to the addresses: two interfaces can't have the same one.
            let cable = Self { name: format!("chandler{slot}"), network: NETWORK + slot * 4, relays: JoinSet::new() };
            let taken = ip(&["link", "add", &cable.name, "type", "veth", "peer", "name", "eth0", "netns", &pid]).await;
            if taken.stderr.contains("File exists") {
                std::mem::forget(cable); // it is another's
                continue;
            }
            taken.expect_success();
            cable.connect(&pid).await;
            return cable;
        }
    }

    async fn connect(&self, pid: &str) {
        ip(&["address", "add", &format!("{}/30", self.host()), "dev", &self.name]).await.expect_success();
        ip(&["link", "set", &self.name, "up"]).await.expect_success();
        let script =
            format!("ip address add {}/30 dev eth0; ip link set eth0 up; ip route add default via {}", self.machine(), self.host());
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", pid, "--", "sh", "-euc", &script]);
        Answer::of(&mut command).await.expect_success();
    }

    /// Our end.
    pub(super) fn host(&self) -> IpAddr {
        Ipv4Addr::from(self.network + 1).into()
    }

    /// The private machine's end.
    pub(super) fn machine(&self) -> IpAddr {
        Ipv4Addr::from(self.network + 2).into()
    }

    /// Listens at our end for a server on our loopback.
    pub(super) async fn relay(&mut self, server: SocketAddr) -> SocketAddr {
        // The same port if it is free there, so that a name in a certificate or an image stays right.
        let listener = match TcpListener::bind((self.host(), server.port())).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((self.host(), 0)).await.expect("a port at the end of a cable is free"),
        };
        let address = listener.local_addr().expect("a listener has an address");
        self.relays.spawn(pass_on(listener, server));
        address
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // The interface is gone already when the private machine's network went first.
        let _ = std::process::Command::new("ip").args(["link", "delete", &self.name]).output();
    }
}

async fn pass_on(listener: TcpListener, server: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut onward) = TcpStream::connect(server).await {
                // Either side may leave whenever it likes.
                let _ = copy_bidirectional(&mut client, &mut onward).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn ip(arguments: &[&str]) -> Answer {
    let mut command = Command::new("ip");
    command.args(arguments);
    Answer::of(&mut command).await
}

/// 10.77.0.0/16, in networks of four addresses.
const NETWORK: u32 = u32::from_be_bytes([10, 77, 0, 0]);
const SLOTS: u32 = 1 << 14;
