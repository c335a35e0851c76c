//! The Hub's three ports: accepting, TLS, and going away and coming back on the same port.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Host;
use super::answer::{Connections, Shared, answer};
use super::socket::{RawAnswer, Socket};

/// One of the three ports.
pub(super) struct Port {
    host: Host,
    state: State,
}

enum State {
    Up {
        stop: CancellationToken,
        reserved: mpsc::Receiver<io::Result<TcpSocket>>,
    },
    /// Bound, so that nobody else gets the port, and not listening, so that connections are refused.
    Down(TcpSocket),
    Moving,
}

impl Port {
    /// Reserves the port.
    pub(super) fn reserve(host: Host, address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let socket = reserve(address)?;
        let address = socket.local_addr()?;
        Ok((Self { host, state: State::Down(socket) }, address))
    }

    /// Whose port it is.
    pub(super) fn host(&self) -> Host {
        self.host
    }

    /// Listens, if it does not.
    pub(super) fn up(&mut self, runtime: &Handle, shared: &Arc<Shared>, tls: Option<&TlsAcceptor>) -> io::Result<()> {
        let socket = match std::mem::replace(&mut self.state, State::Moving) {
            State::Down(socket) => socket,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let _context = runtime.enter();
        let listener = socket.listen(BACKLOG)?;
        let stop = CancellationToken::new();
        let (sender, reserved) = mpsc::channel();
        let listening = Listening { host: self.host, shared: Arc::clone(shared), tls: tls.cloned(), stop: stop.clone() };
        runtime.spawn(async move { drop(sender.send(listening.run(listener).await)) });
        self.state = State::Up { stop, reserved };
        Ok(())
    }

    /// Stops listening, if it does; connections that are there go on.
    pub(super) fn down(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Up { stop, reserved } => {
                stop.cancel();
                let socket = reserved.recv().map_err(io::Error::other)??;
                self.state = State::Down(socket);
            }
            other => self.state = other,
        }
        Ok(())
    }
}

struct Listening {
    host: Host,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
}

impl Listening {
    /// Accepts until stopped, then gives the port back, reserved.
    async fn run(self, listener: TcpListener) -> io::Result<TcpSocket> {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            // A connection that died in the backlog is its client's affair.
            let Ok((stream, peer)) = accepted else { continue };
            self.shared.log.connection();
            let Connections { cut, tasks } = self.shared.connections().clone();
            let (host, shared, tls) = (self.host, Arc::clone(&self.shared), self.tls.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection(shared, host, tls, stream, peer) => {}
                }
            });
        }
        let address = listener.local_addr()?;
        drop(listener);
        reserve_again(address).await
    }
}

async fn connection(shared: Arc<Shared>, host: Host, tls: Option<TlsAcceptor>, stream: TcpStream, peer: SocketAddr) {
    shared.light().await;
    // Paced bodies are small writes: Nagle's algorithm would pace them again.
    drop(stream.set_nodelay(true));
    match tls {
        None => serve(shared, host, stream, peer).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(shared, host, stream, peer).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(shared: Arc<Shared>, host: Host, stream: S, peer: SocketAddr) {
    let raw = RawAnswer::default();
    let socket = TokioIo::new(Socket::new(stream, raw.clone()));
    let service = service_fn(move |request| answer(Arc::clone(&shared), host, peer, raw.clone(), request));
    if let Err(error) = auto::Builder::new(TokioExecutor::new()).serve_connection(socket, service).await {
        tracing::debug!(host = ?host, error, "a connection to the test hub ended early");
    }
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Not while the kernel chooses a port: two Hubs would get the same one, and the second could not listen.
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

/// Reserves a port on which we listened until now. A program that the test starts at this very moment holds a copy of the listener until it has
/// taken its own shape: for so long the port is still in use.
async fn reserve_again(address: SocketAddr) -> io::Result<TcpSocket> {
    let until = Instant::now() + LONGEST_START;
    loop {
        match reserve(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => sleep(Duration::from_millis(1)).await,
            answer => return answer,
        }
    }
}

const LONGEST_START: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 1024;
