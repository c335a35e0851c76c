//! Stands where an engine believes Docker Hub to be, and writes down who comes.
//!
//! An engine behind a mirror has no reason to connect to any of the [`HUB_NAMES`]. Connections are closed at once, so that the engine fails
//! like one without internet; or passed on to a test Hub, for tests about what an engine does when the mirror cannot help.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::server::Acceptor;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Names of Docker Hub, its token service and its content hosts.
pub const HUB_NAMES: [&str; 8] = [
    "registry-1.docker.io",
    "auth.docker.io",
    "index.docker.io",
    "docker.io",
    "hub.docker.com",
    "registry.hub.docker.com",
    "production.cloudflare.docker.com",
    "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
];

/// Listens on the Hub's ports of one address. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct Catcher {
    seen: Seen,
    // Owned for its Drop, which aborts the accept loops and with them their connections.
    _tasks: JoinSet<()>,
}

impl Catcher {
    /// Takes the ports 443 and 80 of `address`; connections go on to `hub` if one is given.
    pub async fn bind(address: IpAddr, hub: Option<SocketAddr>) -> io::Result<Self> {
        let seen = Seen::default();
        let mut tasks = JoinSet::new();
        for port in [443, 80] {
            let listener = TcpListener::bind((address, port)).await?;
            tasks.spawn(accept(listener, hub, seen.clone()));
        }
        Ok(Self { seen, _tasks: tasks })
    }

    /// Who came since the last call: the names that were asked for, or the port where none was said.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock()).into_iter().map(|(_, name)| name).collect()
    }
}

/// Connections by their address, which no two have at once.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(SocketAddr, String)>>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, client: SocketAddr, name: String) {
        if let Some(row) = self.lock().iter_mut().rfind(|(address, _)| *address == client) {
            row.1 = name;
        }
    }
}

async fn accept(listener: TcpListener, hub: Option<SocketAddr>, seen: Seen) {
    let mut connections = JoinSet::new();
    let port = listener.local_addr().map_or(0, |address| address.port());
    while let Ok((stream, client)) = listener.accept().await {
        // It counts from now on, whatever it says.
        seen.lock().push((client, format!("port {port} of Docker Hub")));
        connections.spawn(answer(stream, client, hub, seen.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, client: SocketAddr, hub: Option<SocketAddr>, seen: Seen) {
    if let Some(name) = server_name(&stream).await {
        seen.name(client, name);
    }
    let Some(hub) = hub else { return };
    let Ok(mut onward) = TcpStream::connect(hub).await else { return };
    // An end on either side is the end of the test's interest.
    let _ = copy_bidirectional(&mut stream, &mut onward).await;
}

/// The name in the TLS greeting, which stays in the socket for the one it is passed on to.
async fn server_name(stream: &TcpStream) -> Option<String> {
    let mut greeting = vec![0; 16 * 1024];
    let mut known = 0;
    loop {
        let length = stream.peek(&mut greeting).await.ok()?;
        if length == known {
            // Nothing more came, or the client waits for us.
            return None;
        }
        known = length;
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &greeting[..length]).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return accepted.client_hello().server_name().map(str::to_owned);
        }
    }
}
