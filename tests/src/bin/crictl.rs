//! What chandler asks of `crictl`, which no registry that `tests/setup` reaches has: `pull` and `rmi` in its words, by the calls of Kubernetes' image service that it makes.
//!
//! `crictl --runtime-endpoint URL --image-endpoint unix://SOCKET pull|rmi IMAGE`. The engine that answers is a real one.

use std::io::Write as _;
use std::process::ExitCode;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(act(&words)));
    if let Err(error) = outcome {
        let _ = writeln!(std::io::stderr(), "{error}"); // Nobody is told then.
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn act(words: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["--runtime-endpoint", _, "--image-endpoint", endpoint, verb, image] = words[..] else {
        return Err(format!("not what chandler writes: {words:?}").into());
    };
    let method = match verb {
        "pull" => "PullImage",
        "rmi" => "RemoveImage",
        _ => return Err(format!("{verb} is not among the words that are known here").into()),
    };
    let socket = endpoint.strip_prefix("unix://").ok_or("the endpoint is no socket")?;
    call(socket, method, request(image)).await
}

/// A request with an image's name: `{ image: { image: NAME } }`.
fn request(image: &str) -> Bytes {
    let inner = field(image.as_bytes());
    field(&inner).freeze()
}

/// The first field of a message, of up to 16 KiB.
fn field(bytes: &[u8]) -> BytesMut {
    let length = u16::try_from(bytes.len()).expect("an image's name is short");
    let mut out = BytesMut::from(&[0x0a][..]);
    if length < 128 {
        out.put_u8(length.to_le_bytes()[0]);
    } else {
        out.put_u8((length % 128).to_le_bytes()[0] | 128);
        out.put_u8((length / 128).to_le_bytes()[0]);
    }
    out.put_slice(bytes);
    out
}

async fn call(socket: &str, method: &str, message: Bytes) -> Result<(), Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| format!("{socket}: {error}"))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut body = BytesMut::new();
    body.put_u8(0); // not compressed
    body.put_u32(message.len().try_into()?);
    body.put(message);
    let request = Request::post(format!("http://localhost/runtime.v1.ImageService/{method}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers").body(Full::new(body.freeze()))?;
    let response = sender.send_request(request).await?;
    let head = response.headers().clone();
    let body = response.into_body().collect().await?;
    let said = |name: &str| {
        let value = body.trailers().and_then(|trailers| trailers.get(name)).or_else(|| head.get(name));
        value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    if said("grpc-status") == "0" { Ok(()) } else { Err(format!("{method}: {}", said("grpc-message")).into()) }
}
