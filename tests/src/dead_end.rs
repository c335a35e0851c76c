//! An address behind which packets are lost: a port whose queue of connections is full, so that the kernel drops every further SYN. That is what a
//! firewall or a route into nothing looks like to who connects; a refused connection or a silent server is another thing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Takes no connection as long as it lives.
#[derive(Debug)]
pub struct DeadEnd {
    address: SocketAddr,
    _queued: Vec<TcpStream>,
    _listener: TcpListener,
}

impl DeadEnd {
    /// On a free port of 127.0.0.1.
    pub async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("loopback has free ports");
        let listener = socket.listen(SHORTEST_QUEUE).expect("it is bound");
        let address = listener.local_addr().expect("it is bound");
        let mut queued = Vec::new();
        // Once the queue is full, nothing ever answers: only a wait tells.
        while let Ok(connected) = timeout(NO_ANSWER, TcpStream::connect(address)).await {
            queued.push(connected.expect("a place in the queue"));
            assert!(queued.len() < 100, "the queue of connections is never full");
        }
        Self { address, _queued: queued, _listener: listener }
    }

    /// As an upstream's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

const SHORTEST_QUEUE: u32 = 1;
/// Loopback takes a connection in microseconds, and tries again after a second.
const NO_ANSWER: Duration = Duration::from_millis(800);
