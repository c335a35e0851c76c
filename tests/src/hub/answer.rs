//! One request from its arrival to its answer: logged, authorized, faulted, answered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, header};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{Account, Answer};
use super::faults::{Fault, Faults, Taken};
use super::log::{Log, Seen};
use super::registry::{self, Asked, Places, State};
use super::reply::Reply;
use super::route::Route;
use super::socket::RawAnswer;
use super::{Digest, Host, Kind};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) faults: Faults,
    pub(super) log: Arc<Log>,
    pub(super) black_hole: watch::Sender<bool>,
    pub(super) connections: Mutex<Connections>,
    pub(super) scheme: &'static str,
    pub(super) addresses: [SocketAddr; 3],
    /// The name or address that the token service is known by; `None` is the one the registry was asked by.
    pub(super) token_host: Option<String>,
}

/// The connections since the last cut, and what ends them.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    pub(super) cut: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the Hub is no black hole.
    pub(super) async fn light(&self) {
        let mut dark = self.black_hole.subscribe();
        // The sender lives in `self`.
        drop(dark.wait_for(|dark| !dark).await);
    }

    fn places<B>(&self, request: &Request<B>) -> Places {
        let asked = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(http::uri::Authority::as_str).or(asked).unwrap_or_default();
        // The port is the last colon's, except within the brackets of an IPv6 address.
        let name = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => authority,
        };
        let place = |name: &str, host: Host| format!("{}://{name}:{}", self.scheme, self.addresses[host as usize].port());
        Places { token: place(self.token_host.as_deref().unwrap_or(name), Host::Token), cdn: place(name, Host::Cdn) }
    }
}

/// Answers a request; an error closes the connection without a word.
pub(super) async fn answer<B>(
    shared: Arc<Shared>,
    host: Host,
    source: SocketAddr,
    raw: RawAnswer,
    request: Request<B>,
) -> io::Result<Response<Answer>> {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let route = Route::of(host, path, query);
    let places = shared.places(&request);
    let account = shared.state().account(request.headers());
    let refused = match host {
        Host::Registry => shared.state().refusal(request.headers(), &route, &places),
        Host::Token | Host::Cdn => None,
    };
    let seen = seen(&request, &route, account.clone(), refused.is_some());
    let entry = shared.log.open(seen.clone());
    let logged = Account { log: Arc::clone(&shared.log), entry };
    shared.light().await;
    if let Some(refused) = refused {
        return Ok(refused.send(request.method(), None, &[], logged));
    }

    let sends_content = host != Host::Token && !(route.kind == Kind::Blob && shared.state().settings.redirects);
    let sends_body = sends_content && request.method() == http::Method::GET;
    let taken = shared.faults.take(&seen.facts(), sends_content, sends_body);
    suffer(&shared, &taken, entry).await;
    if let Some(reply) = instead(&shared, &taken, host, &route, &places, &raw)? {
        return Ok(reply.send(request.method(), None, &[], logged));
    }

    let reply = match host {
        Host::Token => token(&shared, &request, query),
        Host::Cdn => super::cdn::answer(&shared.state().world, request.headers(), path, query),
        Host::Registry => {
            let accept: Vec<String> = texts(&request, &header::ACCEPT);
            let source = source.ip().to_string();
            let method = request.method();
            let asked = Asked { method, route: &route, query, accept: &accept, account: account.as_deref(), source: &source };
            let reply = shared.state().answer(&asked, &places, tag_of(&taken));
            reply.with("docker-distribution-api-version", "registry/2.0")
        }
    };
    let range = texts(&request, &header::RANGE).into_iter().next();
    Ok(reply.send(request.method(), range.as_deref(), &taken, logged))
}

fn seen<B>(request: &Request<B>, route: &Route, account: Option<String>, challenged: bool) -> Seen {
    Seen {
        kind: route.kind,
        method: request.method().clone(),
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        repository: route.repository.clone(),
        reference: route.reference.clone(),
        account,
        headers: request.headers().clone(),
        status: None,
        challenged,
        held: false,
        bytes: 0,
        done: false,
    }
}

fn texts<B>(request: &Request<B>, name: &header::HeaderName) -> Vec<String> {
    request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
}

fn token<B>(shared: &Shared, request: &Request<B>, query: &str) -> Reply {
    if request.uri().path() != "/token" || request.method() != http::Method::GET {
        return Reply::new(if request.uri().path() == "/token" { 405 } else { 404 }, "text/plain; charset=utf-8", "not here\n");
    }
    let mut state = shared.state();
    let State { world, tokens, settings } = &mut *state;
    let (reply, issued) = super::token::answer(tokens, world, settings, request.headers(), query);
    if issued {
        shared.log.token();
    }
    reply
}

/// Delays and gates.
async fn suffer(shared: &Shared, taken: &[Taken], entry: usize) {
    for Taken { fault, released } in taken {
        match fault {
            Fault::Delay(time) => tokio::time::sleep(*time).await,
            Fault::Hang => {
                shared.log.update(entry, |seen| seen.held = true);
                released.cancelled().await;
                shared.log.update(entry, |seen| seen.held = false);
            }
            _ => {}
        }
    }
}

/// The answer that a fault gives in place of the true one.
fn instead(shared: &Shared, taken: &[Taken], host: Host, route: &Route, places: &Places, raw: &RawAnswer) -> io::Result<Option<Reply>> {
    for Taken { fault, .. } in taken {
        return Ok(Some(match fault {
            Fault::Status(status) if host == Host::Registry => Reply::error(*status, code(*status), "a fault of the test"),
            Fault::Status(status) => Reply::new(*status, "text/plain; charset=utf-8", "a fault of the test\n"),
            Fault::Html => Reply::new(200, "text/html; charset=utf-8", PORTAL),
            Fault::PullLimit => registry::pull_limit(),
            Fault::AbuseLimit => Reply::new(429, "text/plain; charset=utf-8", "Too Many Requests\n").with("retry-after", "60"),
            Fault::AbuseLimitBareLf => {
                raw.say(Bytes::from_static(BARE_LF));
                Reply::new(429, "text/plain", "").with("connection", "close")
            }
            Fault::Unauthorized => shared.state().challenge(route, places, false),
            Fault::Drop => return Err(io::Error::other("dropped by the test")),
            _ => continue,
        }));
    }
    Ok(None)
}

fn tag_of(taken: &[Taken]) -> Option<&Digest> {
    taken.iter().rev().find_map(|taken| if let Fault::TagIs(digest) = &taken.fault { Some(digest) } else { None })
}

fn code(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        404 => "MANIFEST_UNKNOWN",
        405 => "UNSUPPORTED",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    }
}

const PORTAL: &str = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Please log in to use this network.</body></html>\n";
const BARE_LF: &[u8] = b"HTTP/1.1 429 Too Many Requests\nCache-Control: no-cache\nConnection: close\nRetry-After: 60\n\
Content-Type: text/html\n\n<html><body><h1>429 Too Many Requests</h1>\nYou have sent too many requests in a given amount of time.\n</body></html>\n";
