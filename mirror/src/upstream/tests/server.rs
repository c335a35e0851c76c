//! A server on port 0 that answers by a script, byte for byte, and remembers what it was asked.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use url::Url;

/// A running server; it ends when this is dropped.
pub(crate) struct Server {
    address: std::net::SocketAddr,
    is_encrypted: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    headers: HashMap<String, String>,
    pub(crate) method: String,
    /// How many came before it with the same method and path.
    pub(crate) nth: usize,
    /// With its query.
    pub(crate) path: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Name and password of Basic.
    pub(crate) fn credentials(&self) -> Option<String> {
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        Some(String::from_utf8(decode(encoded)).expect("a text"))
    }

    /// The first byte of the `Range` that was asked for.
    pub(crate) fn first_byte(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.split_once('-')).map_or(0, |(first, _)| first.parse().expect("a number"))
    }
}

/// What is sent: bytes, and then the end of the connection, silence, or the next request.
pub(crate) struct Reply {
    body: Vec<u8>,
    end: End,
    headers: String,
    status: String,
}

enum End {
    /// Close after so many bytes of the body.
    Cut(usize),
    /// The body byte by byte, with a pause after each.
    Drip,
    KeepAlive,
    /// Say nothing more after so many bytes of the body.
    Stall(usize),
    /// Not even headers; what there is goes out as it is.
    Raw(Vec<u8>),
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { body: Vec::new(), end: End::KeepAlive, headers: String::new(), status: status.to_string() }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(200) }
    }

    /// The same status with a body.
    pub(crate) fn with(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// These bytes and the end of the connection.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { end: End::Raw(bytes.into()), ..Self::new(0) }
    }

    /// Silence from the start.
    pub(crate) fn silence() -> Self {
        Self { end: End::Stall(usize::MAX), ..Self::new(0) }
    }

    /// What a registry that knows ranges answers: all of `content`, or the rest from the byte that was asked for.
    pub(crate) fn ranged(seen: &Seen, content: &[u8]) -> Self {
        let (first, size) = (seen.first_byte(), content.len());
        if seen.header("range").is_none() {
            return Self::ok(content);
        }
        Self::partial(content[first..].to_vec(), &format!("bytes {first}-{}/{size}", size - 1))
    }

    /// 206 with these bytes, whatever the range says.
    pub(crate) fn partial(body: Vec<u8>, range: &str) -> Self {
        Self { body, ..Self::new(206) }.header("Content-Range", range)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Display) -> Self {
        write!(self.headers, "{name}: {value}\r\n").expect("a String takes everything");
        self
    }

    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        Self { end: End::Cut(bytes), ..self }
    }

    /// A byte now and then, never long enough apart to be a stall.
    pub(crate) fn drip(self) -> Self {
        Self { end: End::Drip, ..self }
    }

    pub(crate) fn stall_after(self, bytes: usize) -> Self {
        Self { end: End::Stall(bytes), ..self }
    }

    /// Whether the connection may be used again.
    async fn send(self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: bool) -> bool {
        let length = if self.headers.contains("Transfer-Encoding") || self.headers.contains("Content-Length") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", self.body.len())
        };
        let top = format!("HTTP/1.1 {} x\r\n{}{length}\r\n", self.status, self.headers);
        let body = if head { &[][..] } else { &self.body };
        let (bytes, again) = match self.end {
            End::KeepAlive => ([top.as_bytes(), body].concat(), true),
            End::Drip => (top.as_bytes().to_vec(), false),
            End::Cut(at) => ([top.as_bytes(), &body[..at]].concat(), false),
            End::Stall(usize::MAX) => (Vec::new(), true),
            End::Stall(at) => ([top.as_bytes(), &body[..at]].concat(), true),
            End::Raw(ref bytes) => (bytes.clone(), false),
        };
        let sent = stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok();
        if matches!(self.end, End::Drip) {
            for byte in body {
                tokio::time::sleep(DRIP).await;
                if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                    break;
                }
            }
        }
        if matches!(self.end, End::Stall(_)) {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} // Until the other side gives up.
            return false;
        }
        sent && again
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", script).await
    }

    pub(crate) async fn listen(address: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(address, None, script).await
    }

    /// With a certificate for 127.0.0.1.
    pub(crate) async fn encrypted(tls: rustls::ServerConfig, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve("127.0.0.1:0", Some(TlsAcceptor::from(Arc::new(tls))), script).await
    }

    async fn serve(address: &str, tls: Option<TlsAcceptor>, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (seen, script) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::new(script));
        let log = Arc::clone(&seen);
        let is_encrypted = tls.is_some();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log, script) = (tls.clone(), Arc::clone(&log), Arc::clone(&script));
                connections.spawn(async move {
                    match tls {
                        None => converse(stream, log, script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, log, script).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, is_encrypted, seen, task: task.abort_handle() }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address).parse().expect("an address")
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// How many requests' paths contain `part`.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: Arc<Mutex<Vec<Seen>>>, script: Arc<impl Fn(&Seen) -> Reply>) {
    let mut input = Vec::new();
    loop {
        while !input.windows(4).any(|window| window == b"\r\n\r\n") {
            if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text = String::from_utf8(std::mem::take(&mut input)).expect("a text");
        let mut lines = text.lines();
        let mut words = lines.next().expect("a first line").split(' ');
        let (method, path) = (words.next().expect("a method").to_owned(), words.next().expect("a path").to_owned());
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let reply = {
            let mut log = log.lock().expect("no panic");
            let nth = log.iter().filter(|seen| seen.method == method && seen.path == path).count();
            log.push(Seen { headers, method: method.clone(), nth, path });
            script(log.last().expect("it was just put there"))
        };
        if !reply.send(&mut stream, method == "HEAD").await {
            return;
        }
    }
}

/// Between two bytes of a drip.
const DRIP: std::time::Duration = std::time::Duration::from_millis(20);

fn decode(base64: &str) -> Vec<u8> {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values: Vec<u32> =
        base64.bytes().filter_map(|byte| letters.iter().position(|letter| *letter == byte)).map(|at| at as u32).collect();
    let mut bytes = Vec::new();
    for group in values.chunks(4) {
        let bits = group.iter().enumerate().fold(0, |bits, (at, value)| bits | value << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
