//! Stands between clients and a mirror that speaks plain HTTP, and reads what the mirror answers: engines look at their answers themselves, and tell
//! nobody what was in them.
//!
//! It looks for lines that no answer may have, wherever they stand. In a layer or a manifest they would have to stand by chance.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A listener before a mirror. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    improper: Vec<String>,
}

impl Tap {
    /// Before the mirror at `HOST:PORT`.
    pub fn before(mirror: &str) -> Self {
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket can be asynchronous");
        let listener = TcpListener::from_std(listener).expect("it is nonblocking");
        let (seen, mut tasks) = (Arc::<Mutex<Seen>>::default(), JoinSet::new());
        tasks.spawn(accept(listener, mirror.to_owned(), seen.clone()));
        Self { address, seen, _tasks: tasks }
    }

    /// `HOST:PORT` for clients.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Panics where an answer had what none may have, or where there was no answer at all.
    pub fn assert_all_proper(&self) {
        let seen = locked(&self.seen);
        assert!(seen.improper.is_empty(), "a mirror never sends {:?}", seen.improper);
        assert!(seen.answers > 0, "nobody asked the mirror");
    }
}

async fn accept(listener: TcpListener, mirror: String, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(pass_on(client, mirror.clone(), seen.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Until both sides have ended, or either breaks.
async fn pass_on(client: TcpStream, mirror: String, seen: Arc<Mutex<Seen>>) {
    let Ok(mirror) = TcpStream::connect(mirror).await else { return };
    let ((mut from_client, mut to_client), (mut from_mirror, mut to_mirror)) = (client.into_split(), mirror.into_split());
    let asking = async {
        let asked = tokio::io::copy(&mut from_client, &mut to_mirror).await;
        drop(to_mirror.shutdown().await);
        asked.map(drop)
    };
    let answering = async {
        let (mut lines, mut buffer) = (Lines::default(), vec![0; 64 * 1024]);
        loop {
            let read = from_mirror.read(&mut buffer).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            lines.read(&buffer[..read], &mut locked(&seen));
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    // Who leaves early, leaves: it is the client's or the mirror's affair.
    drop(tokio::try_join!(asking, answering));
}

/// Cuts a stream into lines. Of a body's longest only the end is kept: the next answer's first line follows it at once.
#[derive(Debug, Default)]
struct Lines {
    is_cut: bool,
    line: Vec<u8>,
}

impl Lines {
    fn read(&mut self, bytes: &[u8], seen: &mut Seen) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if let Some(more) = self.line.len().checked_sub(LONGEST_LINE) {
                self.line.drain(..more);
                self.is_cut = true;
            }
            if part.ends_with(b"\n") {
                note(&self.line, self.is_cut, seen);
                self.line.clear();
                self.is_cut = false;
            }
        }
    }
}

fn note(line: &[u8], is_cut: bool, seen: &mut Seen) {
    let line = String::from_utf8_lossy(line).trim_end().to_ascii_lowercase();
    let first = line.rfind("http/1.1 ").map(|at| &line[at..]);
    seen.answers += u64::from(first.is_some());
    let is_improper = first.is_some_and(|first| IMPROPER_STATUSES.iter().any(|status| first[9..].starts_with(status)))
        || !is_cut && IMPROPER_HEADERS.iter().any(|header| line.starts_with(header));
    if is_improper {
        seen.improper.push(line);
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const IMPROPER_HEADERS: [&str; 5] =
    ["www-authenticate:", "proxy-authenticate:", "location:", "content-encoding:", "docker-ratelimit-source:"];
const IMPROPER_STATUSES: [&str; 7] = ["401 ", "407 ", "429 ", "301 ", "302 ", "307 ", "308 "];
/// More than a header of ours takes.
const LONGEST_LINE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn improper(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Seen::default());
        for part in parts {
            lines.read(part, &mut seen);
        }
        seen.improper
    }

    #[test]
    fn what_no_answer_may_have_is_found_wherever_the_stream_is_cut() {
        let proper: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\0location{\"a\":1}HTTP/1.1 404 Not Found\r\n\r\n";
        assert_eq!(improper(&[proper]), Vec::<String>::new());
        let answer: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nnoise\0\xffHTTP/1.1 429 Too Many Requests\r\nLocation: http://elsewhere/\r\n\r\n";
        let body = vec![b'x'; 3 * LONGEST_LINE];
        for cut in 0..answer.len() {
            let found = improper(&[&body, &answer[..cut], &answer[cut..]]);
            assert!(
                found.len() == 2 && found[0].ends_with("429 too many requests") && found[1].starts_with("location:"),
                "{cut}: {found:?}"
            );
        }
    }
}
