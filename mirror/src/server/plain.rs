//! Plain HTTP where TLS is spoken: the client forgot the `s`, and is told so in what it understands.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whether the client begins as HTTP does, with a method. `ahead` was read already; nothing more is.
pub(super) async fn is_http(tcp: &TcpStream, ahead: &[u8]) -> io::Result<bool> {
    let mut first = [0];
    match ahead.first() {
        Some(byte) => first = [*byte],
        None => drop(tcp.peek(&mut first).await?),
    }
    // A TLS record starts with a number below 32.
    Ok(first[0].is_ascii_uppercase())
}

/// Says what is wrong, and reads on until the client leaves: of a socket that is closed with bytes unread the kernel takes the answer back.
pub(super) async fn refuse(mut tcp: TcpStream) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{TEXT}",
        TEXT.len()
    );
    let said = async {
        tcp.write_all(answer.as_bytes()).await?;
        tcp.shutdown().await?;
        let mut unread = [0; 4096];
        let mut left = MOST;
        while left > 0 {
            match tcp.read(&mut unread).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // Whether it was heard is the client's own concern.
    let _ = timeout(PATIENCE, said).await;
}

const TEXT: &str = "This port speaks HTTPS, and the request came as plain HTTP: write https:// in the place of http://.\n";
/// What is read of a request that nobody answers.
const MOST: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(1);
