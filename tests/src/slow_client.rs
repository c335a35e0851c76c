//! A client whose every byte is under control: a plain socket with a receive buffer so small that the mirror feels how slowly it is read.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::assert_proper_text;

/// One answer, taken as slowly as the test wants.
#[derive(Debug)]
pub struct SlowReader {
    left: u64,
    status: u16,
    stream: BufReader<TcpStream>,
}

impl SlowReader {
    /// GETs `path` of the mirror at `http://HOST:PORT`; returns after the answer's headers.
    pub async fn get(url: &str, path: &str) -> Self {
        let address = url.trim_start_matches("http://");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a smaller buffer is granted");
        let mut stream = socket.connect(address.parse().expect("an address")).await.expect("the mirror listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the mirror reads");
        let mut reader = Self { left: 0, status: 0, stream: BufReader::with_capacity(BUFFER, stream) };
        reader.read_head().await.expect("the mirror answers");
        reader
    }

    async fn read_head(&mut self) -> io::Result<()> {
        let (mut head, mut line) = (String::new(), String::new());
        self.stream.read_line(&mut line).await?;
        self.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        loop {
            head.push_str(&line);
            if line.trim_end().is_empty() {
                assert_proper_text(&head);
                return Ok(());
            }
            line.clear();
            self.stream.read_line(&mut line).await?;
            if let Some(("content-length", length)) = line.trim_end().to_ascii_lowercase().split_once(": ") {
                self.left = length.parse().map_err(io::Error::other)?;
            }
        }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Exactly the next `count` bytes.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.expect("the body goes on");
        self.left -= count as u64;
        bytes
    }

    /// All that is left of what `Content-Length` promised; an error where it breaks off.
    pub async fn rest(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.left as usize];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }
}

/// The kernel doubles it.
const RECEIVE_BUFFER: u32 = 4096;
/// As little as can be ahead of the test.
const BUFFER: usize = 1024;
