//! One question to one server: by UDP, and by TCP where the answer does not fit.
//!
//! An answer is taken if it comes from whom was asked, with the number and the question that were sent; anything else that arrives is passed over.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{Kind, Message, Name, Question, Rcode};

/// A message, and its bytes, which are what is signed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was in them.
    pub message: Message,
    /// As they came.
    pub bytes: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// It answers, and does not answer this.
    #[error("{server} does not say what {name} is ({rcode})")]
    Declined {
        /// About whom.
        name: Name,
        /// What it says instead.
        rcode: Rcode,
        /// Who.
        server: SocketAddr,
    },
    /// The network.
    #[error("cannot ask {server}")]
    Io {
        /// Whom.
        server: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What came is no answer.
    #[error("{server} does not answer as a DNS server does")]
    Malformed {
        /// Who.
        server: SocketAddr,
    },
    /// It leads in a circle.
    #[error("{name} is another name for another name, and so on: the CNAME records lead in a circle")]
    Circle {
        /// Where it began.
        name: Name,
    },
    /// Nothing comes.
    #[error("{server} does not answer")]
    Silent {
        /// Who.
        server: SocketAddr,
    },
}

/// Asks `server` for the records of one kind. "There is no such name" is an answer.
pub async fn query(server: SocketAddr, name: &Name, kind: Kind, recursion: bool) -> Result<Message, DnsError> {
    let (id, question) = (random(), Question { name: name.clone(), kind });
    let answer = exchange(server, &question, id, &question.ask(id, recursion)).await?;
    match answer.message.rcode {
        Rcode::NO_ERROR | Rcode::NO_NAME => Ok(answer.message),
        rcode => Err(DnsError::Declined { name: name.clone(), rcode, server }),
    }
}

/// Sends `request`, which asks `question` under the number `id`, and waits for its answer.
pub async fn exchange(server: SocketAddr, question: &Question, id: u16, request: &[u8]) -> Result<Answer, DnsError> {
    for _ in 0..TRIES {
        if let Ok(answer) = timeout(PATIENCE, by_udp(server, question, id, request)).await {
            let answer = answer.map_err(|source| DnsError::Io { server, source })?;
            return if answer.message.is_truncated { whole(server, question, id, request).await } else { Ok(answer) };
        }
    }
    // Some networks let only TCP through.
    whole(server, question, id, request).await
}

/// A number that nobody guesses.
pub fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without it, a question is as good as others: the kernel takes answers from whom was asked only.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

async fn whole(server: SocketAddr, question: &Question, id: u16, request: &[u8]) -> Result<Answer, DnsError> {
    let bytes = timeout(PATIENCE, by_tcp(server, request)).await.map_err(|_| DnsError::Silent { server })?;
    let bytes = bytes.map_err(|source| DnsError::Io { server, source })?;
    read(&bytes, question, id, request).ok_or(DnsError::Malformed { server })
}

/// Connected, so that the kernel drops what others send.
async fn by_udp(server: SocketAddr, question: &Question, id: u16, request: &[u8]) -> io::Result<Answer> {
    let any = if server.is_ipv4() { SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)) } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut bytes = vec![0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if let Some(answer) = read(&bytes[..length], question, id, request) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = (request.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(request);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// An update's answer may leave the question out, and so may one that says that something is wrong; one that says what there is, or that there is nothing, may not.
fn read(bytes: &[u8], question: &Question, id: u16, request: &[u8]) -> Option<Answer> {
    let message = Message::read(bytes).ok()?;
    let is_update = request.get(2).is_some_and(|flags| flags >> 3 & 0xf == UPDATE);
    let says_something = matches!(message.rcode, Rcode::NO_ERROR | Rcode::NO_NAME) && !is_update;
    let is_about_it = message.questions.iter().all(|one| one == question) && !(says_something && message.questions.is_empty());
    let is_ours = message.is_answer && message.id == id && is_about_it;
    is_ours.then(|| Answer { message, bytes: bytes.to_vec() })
}

/// By UDP; a lost datagram is nobody's fault.
const TRIES: u32 = 2;
/// For each try.
const PATIENCE: Duration = Duration::from_secs(2);
/// The operation that changes a zone (RFC 2136 1.3).
const UPDATE: u8 = 5;
/// More than a server sends to who has not said that it takes more (RFC 1035 4.2.1: 512).
const LONGEST_DATAGRAM: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::super::Entry;
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    /// What a server makes of a question: its own bytes as an answer, with a TXT record.
    fn reply(request: &[u8], flags: [u8; 2]) -> Vec<u8> {
        let mut bytes = request.to_vec();
        (bytes[2], bytes[3], bytes[7]) = (0x84 | flags[0], flags[1], 1);
        bytes.extend_from_slice(b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x06\x05value");
        bytes
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_is_had_by_tcp_and_others_answers_are_passed_over() {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = udp.local_addr().expect("bound");
        let tcp = TcpListener::bind(address).await.expect("the same port");
        let server = tokio::spawn(async move {
            let mut bytes = [0; 512];
            let (length, from) = udp.recv_from(&mut bytes).await.expect("a question");
            let mut forged = reply(&bytes[..length], [0, 0]);
            forged[0] ^= 0xff; // Another number.
            let other = Question { name: name("other.test"), kind: Kind::TXT }.ask(u16::from_be_bytes([bytes[0], bytes[1]]), false);
            for datagram in [&b"garbage"[..], &forged, &reply(&other, [0, 0]), &bytes[..length], &reply(&bytes[..length], [2, 0])] {
                udp.send_to(datagram, from).await.expect("sent");
            }
            let (mut stream, _) = tcp.accept().await.expect("a connection");
            let length = stream.read_u16().await.expect("a length");
            let mut request = vec![0; length.into()];
            stream.read_exact(&mut request).await.expect("a question");
            let answer = reply(&request, [0, 0]);
            stream.write_u16(answer.len() as u16).await.expect("sent");
            stream.write_all(&answer).await.expect("sent");
        });
        let message = query(address, &name("a.test"), Kind::TXT, true).await.expect("an answer");
        assert!(message.shows(&name("a.test"), "value") && !message.is_truncated);
        server.await.expect("it did not panic");
    }

    #[tokio::test]
    async fn a_server_that_does_not_want_to_is_told_from_one_that_is_not_there() {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = udp.local_addr().expect("bound");
        let server = tokio::spawn(async move {
            let mut bytes = [0; 512];
            let (length, from) = udp.recv_from(&mut bytes).await.expect("a question");
            udp.send_to(&reply(&bytes[..length], [0, 5]), from).await.expect("sent");
        });
        let error = query(address, &name("a.test"), Kind::TXT, true).await.expect_err("it is refused");
        assert!(error.to_string().ends_with("does not say what a.test is (REFUSED)"), "{error}");
        server.await.expect("it did not panic");
        let error = query(address, &name("a.test"), Kind::TXT, true).await.expect_err("its port is closed");
        assert!(matches!(error, DnsError::Io { .. }), "{error}");
    }

    #[test]
    fn an_updates_answer_may_be_a_head_alone() {
        let zone = Question { name: name("test"), kind: Kind::SOA };
        let request = zone.update(7, &[Entry::Delete { name: name("a.test"), text: "v".into() }]);
        let mut head = request[..12].to_vec();
        (head[2], head[5], head[9]) = (0xa8, 0, 0);
        let answer = |bytes: &[u8], id| read(bytes, &zone, id, &request).is_some();
        assert!(answer(&head, 7) && !answer(&head, 8) && !answer(&request, 7));
    }

    #[test]
    fn what_a_question_gets_repeats_it_unless_something_is_wrong() {
        let question = Question { name: name("a.test"), kind: Kind::TXT };
        let request = question.ask(7, true);
        let head = |rcode: u8| {
            let mut head = request[..12].to_vec();
            (head[2], head[3], head[5]) = (0x81, rcode, 0);
            head
        };
        let taken = |bytes: &[u8]| read(bytes, &question, 7, &request).is_some();
        assert_eq!([0, 1, 2, 3, 5].map(|rcode| taken(&head(rcode))), [false, true, true, false, true]);
        assert!(taken(&reply(&request, [0, 0])), "with the question");
    }
}
