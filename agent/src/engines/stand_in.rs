//! Mirrors that are of no use, on this machine's loopback: before one of these an engine shows how it falls over, and nobody else is disturbed. Effects.
//!
//! One refuses connections, as where the mirror's process is gone. Packets to one are lost, as where its machine is gone or a firewall is in between: its queue of connections is full, so that
//! the kernel drops each further one. One hangs: it takes connections and says nothing. Each is gone when it is dropped.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::MirrorUrl;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Connections are refused.
    Refuses,
    /// Its packets are lost.
    Loses,
    /// It takes connections, and says nothing.
    Hangs,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refuses, Self::Loses, Self::Hangs];

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Loses => "loses",
            Self::Hangs => "hangs",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuses => "it refuses connections",
            Self::Loses => "packets to it are lost",
            Self::Hangs => "it hangs",
        })
    }
}

/// Who comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Greeting {
    /// Whatever it says, it gets no answer.
    Any,
    /// Who tries TLS is told that this is plain HTTP, as a mirror over that would; what comes then gets no answer. For engines that try both with a registry on loopback.
    Plain,
}

/// A mirror of no use.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    fault: Fault,
    seen: watch::Receiver<Seen>,
    _held: Held,
}

/// What keeps it as it is, until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "they are owned for their Drop")]
enum Held {
    /// Bound, so that nobody else gets the port, and no listener.
    Port(TcpSocket),
    /// Full.
    Queue(TcpListener, Vec<TcpStream>),
    /// Aborted, and with them their connections.
    Tasks(JoinSet<()>),
}

/// An engine before it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    came: Option<Instant>,
    left: Option<Instant>,
}

impl StandIn {
    /// On a free port of 127.0.0.1.
    pub async fn new(fault: Fault, greeting: Greeting) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = socket.local_addr()?;
        let (say, seen) = watch::channel(Seen::default());
        let mut tasks = JoinSet::new();
        let held = match (fault, greeting) {
            (Fault::Refuses, _) => Held::Port(socket),
            (Fault::Loses, Greeting::Any) => {
                let listener = socket.listen(SHORTEST_QUEUE)?;
                let queued = fill(address).await?;
                say.send_modify(|seen| seen.came = Some(Instant::now()));
                Held::Queue(listener, queued)
            }
            (Fault::Loses, Greeting::Plain) => {
                tasks.spawn(lose_after_tls(socket.listen(SHORTEST_QUEUE)?, address, say));
                Held::Tasks(tasks)
            }
            (Fault::Hangs, _) => {
                tasks.spawn(hang(socket.listen(QUEUE)?, greeting, say));
                Held::Tasks(tasks)
            }
        };
        Ok(Self { address, fault, seen, _held: held })
    }

    /// As a mirror.
    pub fn url(&self, secure: bool) -> MirrorUrl {
        let scheme = if secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address).parse().expect("an address and a port are a mirror's URL")
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// When an engine came to where it gets no answer; `None`: none did, or nobody can see it, as one that is refused. Whose packets are lost from the beginning is taken to be there at once.
    pub fn came(&self) -> Option<Instant> {
        self.seen.borrow().came
    }

    /// How long the first who came waited, once it is gone; who cannot be seen to go is waited for without end.
    pub async fn waited(&self) -> Duration {
        let mut seen = self.seen.clone();
        let gone = seen.wait_for(|seen| seen.left.is_some()).await.map(|seen| *seen);
        match gone {
            Ok(Seen { came: Some(came), left: Some(left) }) => left.duration_since(came),
            _ => std::future::pending().await,
        }
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

/// Connects until nobody is let in any more.
async fn fill(address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    let mut queued = Vec::new();
    // Once the queue is full nothing ever answers: only a wait tells.
    while let Ok(connected) = timeout(NO_ANSWER, TcpStream::connect(address)).await {
        queued.push(connected?);
        if queued.len() > MOST {
            return Err(io::Error::other("this kernel lets in more connections than a queue has room for"));
        }
    }
    Ok(queued)
}

async fn lose_after_tls(listener: TcpListener, address: SocketAddr, say: watch::Sender<Seen>) {
    let Ok((mut stream, _)) = listener.accept().await else { return };
    // Who begins in plain HTTP has had its answer already, by being let in.
    if !matches!(begins(&stream).await, Some(TLS)) {
        return;
    }
    let Ok(_queued) = fill(address).await else { return };
    if stream.write_all(PLAIN).await.is_ok() {
        say.send_modify(|seen| seen.came = Some(Instant::now()));
    }
    std::future::pending::<()>().await;
}

async fn hang(listener: TcpListener, greeting: Greeting, say: watch::Sender<Seen>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(hold(stream, greeting, say.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn hold(mut stream: TcpStream, greeting: Greeting, say: watch::Sender<Seen>) {
    let Some(first) = begins(&stream).await else { return };
    if first == TLS && greeting == Greeting::Plain {
        let _ = stream.write_all(PLAIN).await; // Who is gone needs no answer.
        until_gone(&mut stream).await;
        return;
    }
    let mut is_first = false;
    say.send_if_modified(|seen| {
        is_first = seen.came.is_none();
        seen.came.get_or_insert_with(Instant::now);
        is_first
    });
    until_gone(&mut stream).await;
    if is_first {
        say.send_modify(|seen| seen.left = Some(Instant::now()));
    }
}

/// The first byte, which stays where it is.
async fn begins(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    stream.peek(&mut first).await.ok().filter(|length| *length > 0).map(|_| first[0])
}

async fn until_gone(stream: &mut TcpStream) {
    let mut any = [0; 4096];
    while stream.read(&mut any).await.is_ok_and(|length| length > 0) {}
}

/// How a TLS greeting begins.
const TLS: u8 = 0x16;
/// As Go's servers and chandler say it.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const QUEUE: u32 = 64;
const SHORTEST_QUEUE: u32 = 1;
const MOST: usize = 100;
/// Loopback takes a connection in microseconds, and tries again after a second.
const NO_ANSWER: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    async fn stand_in(fault: Fault, greeting: Greeting) -> StandIn {
        StandIn::new(fault, greeting).await.expect("loopback has free ports")
    }

    #[tokio::test]
    async fn one_refuses_and_one_is_silent() {
        let refusing = stand_in(Fault::Refuses, Greeting::Any).await;
        let error = TcpStream::connect(refusing.address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let losing = stand_in(Fault::Loses, Greeting::Any).await;
        assert!(timeout(NO_ANSWER, TcpStream::connect(losing.address)).await.is_err(), "nothing comes back");
        assert_eq!((refusing.url(true).to_string(), refusing.came()), (format!("https://{}", refusing.address), None));
    }

    #[tokio::test]
    async fn one_that_hangs_says_how_long_the_first_waited_for_it() {
        let hanging = stand_in(Fault::Hangs, Greeting::Any).await;
        let mut engine = TcpStream::connect(hanging.address).await.expect("it takes connections");
        engine.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.expect("it reads");
        assert!(timeout(Duration::from_millis(50), engine.read_u8()).await.is_err(), "it says nothing");
        assert!(hanging.came().is_some());
        drop(engine);
        hanging.waited().await;
    }

    #[tokio::test]
    async fn who_tries_tls_first_is_told_that_it_is_plain_and_then_gets_no_answer() {
        for fault in [Fault::Loses, Fault::Hangs] {
            let stand_in = stand_in(fault, Greeting::Plain).await;
            let mut engine = TcpStream::connect(stand_in.address).await.expect("it takes connections");
            engine.write_all(&[TLS, 3, 1]).await.expect("it reads");
            let mut answer = [0; 12];
            engine.read_exact(&mut answer).await.expect("it answers");
            assert_eq!(&answer, b"HTTP/1.1 400");
            let again = timeout(NO_ANSWER, async {
                let mut again = TcpStream::connect(stand_in.address).await.expect("it takes connections");
                again.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.expect("it reads");
                again.read_u8().await
            });
            assert!(again.await.is_err(), "{fault}: nothing comes back");
            assert!(stand_in.came().is_some(), "{fault}");
        }
    }
}
