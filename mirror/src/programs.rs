//! `GET /chandler/bin/OS-ARCH`: this very program, for machines of its kind that can reach nothing but the mirror; with `.sha256` behind it, its digest.
//!
//! It is open to whoever can connect: the program is public, and a machine that has no certificate yet needs it first. The file is the one that runs, also after another one
//! took its place on the disk.
//!
//! A program that is linked statically, as that of the container image is, is not given away: glibc loads the modules that a machine's `nsswitch.conf` names into static programs too, and with one of
//! another release (`myhostname`, `sss`) they crash at their first look-up of a name.
//!
//! What always holds: a download has one [`CHUNK`] in memory and takes none of the runtime's own threads, so many run at once and the next wait for a moment, and a disk
//! that hangs holds up [`READERS`] threads at most.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::oci::{Algorithm, Digest, Hasher};
use crate::server::FilterBody;

/// The program that runs, ready to be given away.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Downloads that run at once.
    downloads: Arc<Semaphore>,
    /// Linked for its image.
    is_static: bool,
    /// `linux-amd64`
    name: String,
    /// Known from the first question on.
    program: OnceCell<Program>,
    readers: Arc<Semaphore>,
}

/// The open file.
#[derive(Clone, Debug)]
struct Program {
    digest: Digest,
    file: Arc<File>,
    size: u64,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Page {
    Digest,
    Program,
    /// Of the container image alone.
    Static,
    /// Another machine's program.
    Unknown,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("others are being served; ask again")]
    Busy,
    #[error("the program cannot be read; the mirror's log says why")]
    Read(#[source] io::Error),
}

impl Programs {
    /// Nothing is read before it is asked for.
    pub(crate) fn new() -> Arc<Self> {
        let [downloads, readers] = [DOWNLOADS, READERS].map(|most| Arc::new(Semaphore::new(most)));
        let is_static = cfg!(target_feature = "crt-static");
        Arc::new(Self {
            downloads,
            is_static,
            name: format!("{}-{}", std::env::consts::OS, architecture()),
            program: OnceCell::new(),
            readers,
        })
    }

    /// Whether this path is answered here.
    pub(crate) fn serves(path: &str) -> bool {
        path.starts_with(PREFIX)
    }

    /// Its answer.
    pub(crate) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<FilterBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "a program is asked for by GET", (ALLOW, "GET, HEAD"));
        }
        let page = self.page(request.uri().path());
        if page == Page::Unknown {
            let told = format!("no such program; here is {PREFIX}{0}, and its digest at {PREFIX}{0}.sha256", self.name);
            return refusal(StatusCode::NOT_FOUND, "UNSUPPORTED", &told, (CACHE_CONTROL, "no-store"));
        }
        if page == Page::Static {
            return refusal(StatusCode::NOT_FOUND, "UNSUPPORTED", STATIC, (CACHE_CONTROL, "no-store"));
        }
        match self.find(page, request.headers(), request.method() == Method::HEAD).await {
            Ok(response) => response,
            Err(refused) => {
                if let Refused::Read(error) = &refused {
                    tracing::error!(%error, "a machine asked for this program, which cannot be read");
                }
                refusal(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", &refused.to_string(), (RETRY_AFTER, "10"))
            }
        }
    }

    fn page(&self, path: &str) -> Page {
        match path.strip_prefix(PREFIX).and_then(|name| name.strip_prefix(&self.name)) {
            Some("" | ".sha256") if self.is_static => Page::Static,
            Some("") => Page::Program,
            Some(".sha256") => Page::Digest,
            _ => Page::Unknown,
        }
    }

    async fn find(&self, page: Page, headers: &HeaderMap, is_head: bool) -> Result<Response<FilterBody>, Refused> {
        let program = self.program().await?;
        if page == Page::Digest {
            let line = format!("{}  {}\n", program.digest.hex(), self.name); // As sha256sum writes it, and reads it with -c.
            return Ok(reply(StatusCode::OK, "text/plain; charset=utf-8", full(line)));
        }
        let tag = format!("\"{}\"", program.digest);
        let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|known| known.to_str().is_ok_and(|known| known.contains(&tag)));
        let mut response = if is_known {
            reply(StatusCode::NOT_MODIFIED, "application/octet-stream", full(String::new()))
        } else if is_head {
            // hyper keeps the length of an answer without a body.
            reply(StatusCode::OK, "application/octet-stream", full(String::new()))
        } else {
            reply(StatusCode::OK, "application/octet-stream", self.download(&program).await?.boxed_unsync())
        };
        let text = |text: String| HeaderValue::from_str(&text).expect("digits, letters and quotes");
        response.headers_mut().insert(ETAG, text(tag));
        response.headers_mut().insert(DIGEST, text(program.digest.to_string()));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache")); // It may be kept, but is asked for again.
        if !is_known {
            response.headers_mut().insert(CONTENT_LENGTH, program.size.into());
        }
        Ok(response)
    }

    async fn download(&self, program: &Program) -> Result<Download, Refused> {
        let turn = timeout(TURN, Arc::clone(&self.downloads).acquire_owned()).await.map_err(|_| Refused::Busy)?;
        let turn = turn.map_err(|_| Refused::Busy)?;
        Ok(Download { at: 0, program: program.clone(), reading: None, readers: Arc::clone(&self.readers), turn: Some(turn) })
    }

    async fn program(&self) -> Result<Program, Refused> {
        let hashed = || async { tokio::task::spawn_blocking(Program::open).await.map_err(io::Error::other).flatten() };
        let found = timeout(TURN, self.program.get_or_try_init(hashed)).await.map_err(|_| Refused::Busy)?;
        found.cloned().map_err(Refused::Read)
    }
}

impl Program {
    /// What runs, not what lies at its path by now; hashed once.
    fn open() -> io::Result<Self> {
        let file = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
        let (mut hasher, mut buffer, mut size) = (Hasher::new(Algorithm::Sha256), vec![0; 1 << 20], 0);
        loop {
            match file.read_at(&mut buffer, size)? {
                0 => return Ok(Self { digest: hasher.finish(), file: Arc::new(file), size }),
                read => {
                    hasher.update(&buffer[..read]);
                    size += read as u64;
                }
            }
        }
    }
}

/// A program on its way. It dies with its client.
struct Download {
    at: u64,
    program: Program,
    reading: Option<Reading>,
    readers: Arc<Semaphore>,
    /// Given back with the last byte, or with the client.
    turn: Option<OwnedSemaphorePermit>,
}

/// A chunk on its way from the disk.
type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

impl Download {
    fn read(&self) -> Reading {
        let (readers, file, at) = (Arc::clone(&self.readers), Arc::clone(&self.program.file), self.at);
        let length = CHUNK.min(usize::try_from(self.left()).unwrap_or(CHUNK));
        Box::pin(async move {
            let reader = readers.acquire_owned().await.map_err(io::Error::other)?;
            let read = move || {
                let _reader = reader;
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, at)?;
                Ok(Bytes::from(chunk))
            };
            tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
        })
    }

    fn left(&self) -> u64 {
        self.program.size - self.at
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left() == 0 {
            self.turn = None;
            return Poll::Ready(None);
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.read());
        let Poll::Ready(read) = reading.as_mut().poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let chunk = read?;
        self.at += chunk.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

/// As Go, Debian and the image specification call it, which is how machines are told apart in scripts.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn full(text: String) -> FilterBody {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

fn reply(status: StatusCode, kind: &'static str, body: FilterBody) -> Response<FilterBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn refusal(status: StatusCode, code: &str, message: &str, (name, value): (HeaderName, &'static str)) -> Response<FilterBody> {
    let body = json!({ "errors": [{ "code": code, "message": message }] });
    let mut response = reply(status, "application/json", full(body.to_string()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

const PREFIX: &str = "/chandler/bin/";
/// To who asks a mirror that runs in its container image.
const STATIC: &str = "this mirror runs in its container image, whose program is for nothing else; a mirror that is installed on its machine gives its program away";
/// As registries name what they send.
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Bytes in memory for a download.
const CHUNK: usize = 64 << 10;
/// At once: 8 MiB in memory.
const DOWNLOADS: usize = 128;
/// Threads that read for them.
const READERS: usize = 4;
/// For those who came before; a client has an answer within ten seconds.
const TURN: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(programs: &Arc<Programs>, method: Method, path: &str, known: Option<&str>) -> (Response<()>, Bytes) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(known) = known {
            request = request.header(IF_NONE_MATCH, known);
        }
        let answer = Arc::clone(programs).answer(request.body(()).expect("a request")).await;
        let (parts, body) = answer.into_parts();
        (Response::from_parts(parts, ()), body.collect().await.expect("a whole body").to_bytes())
    }

    fn own() -> String {
        format!("{PREFIX}linux-{}", architecture())
    }

    #[tokio::test]
    async fn the_program_that_runs_is_given_away_with_its_digest() {
        let programs = Programs::new();
        let (answer, bytes) = ask(&programs, Method::GET, &own(), None).await;
        let itself = std::fs::read(std::env::current_exe().expect("it runs")).expect("it can be read");
        assert!(bytes == itself, "{} bytes of {}", bytes.len(), itself.len());
        let digest = Digest::of(Algorithm::Sha256, &itself);
        assert_eq!(answer.headers()[DIGEST], digest.to_string());
        assert_eq!(answer.headers()[CONTENT_LENGTH], itself.len().to_string());
        let (_, line) = ask(&programs, Method::GET, &format!("{}.sha256", own()), None).await;
        assert_eq!(line, format!("{}  linux-{}\n", digest.hex(), architecture()));

        let tag = answer.headers()[ETAG].to_str().expect("text").to_owned();
        let (known, nothing) = ask(&programs, Method::GET, &own(), Some(&tag)).await;
        assert_eq!((known.status(), nothing.len()), (StatusCode::NOT_MODIFIED, 0));
        let (head, nothing) = ask(&programs, Method::HEAD, &own(), None).await;
        assert_eq!((head.status(), nothing.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers()[CONTENT_LENGTH], itself.len().to_string());
    }

    #[tokio::test]
    async fn who_asks_for_another_machines_program_is_told_which_is_here() {
        let programs = Programs::new();
        for path in ["", "linux-vax", "../../etc/passwd", "linux-amd64.sha512", "linux"] {
            let (answer, body) = ask(&programs, Method::GET, &format!("{PREFIX}{path}"), None).await;
            let said = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(said.contains(&own()) && said.contains(&format!("{}.sha256", own())), "{said}");
        }
        let (answer, _) = ask(&programs, Method::POST, &own(), None).await;
        assert_eq!((answer.status(), &answer.headers()[ALLOW]), (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static("GET, HEAD")));
    }

    #[tokio::test]
    async fn the_program_of_the_container_image_is_not_given_away() {
        let programs = Arc::new(Programs { is_static: true, ..Arc::into_inner(Programs::new()).expect("nobody else has it") });
        for path in [own(), format!("{}.sha256", own())] {
            let (answer, body) = ask(&programs, Method::GET, &path, None).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(String::from_utf8_lossy(&body).contains(STATIC));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_download_at_once_and_the_next_is_told_to_come_again() {
        let programs = Programs::new();
        let request = || Request::get(own()).body(()).expect("a request");
        let mut running = Vec::new();
        for _ in 0..DOWNLOADS {
            running.push(Arc::clone(&programs).answer(request()).await);
        }
        let refused = Arc::clone(&programs).answer(request()).await;
        assert_eq!((refused.status(), &refused.headers()[RETRY_AFTER]), (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("10")));
        running.pop(); // A client that leaves.
        assert_eq!(Arc::clone(&programs).answer(request()).await.status(), StatusCode::OK);
    }
}
