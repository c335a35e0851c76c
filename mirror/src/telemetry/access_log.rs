//! The outermost layer: each request gets its id and its client, and is counted and logged once, when its answer ends or is dropped.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use ipnet::IpNet;

use super::line::Line;
use super::metrics::{Ended, MethodClass};
use super::request_id::X_REQUEST_ID;
use super::{Facts, Lines, Metrics, Origin, Outcome, RequestId, SharedAddress, client_address};
use crate::server::{Peer, TrustedProxies};
use crate::tls::ClientCertificate;

/// Observes requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Option<Lines>,
    metrics: Metrics,
    shared: SharedAddress,
    trusted: TrustedProxies,
}

impl AccessLog {
    /// Counts into `metrics`, and writes a line per request where there are `lines`. `trusted` proxies may name a client and an id.
    pub fn new(lines: Option<Lines>, trusted: TrustedProxies, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { lines, metrics, shared: SharedAddress::default(), trusted }))
    }

    /// Whether all clients look like one.
    pub fn shared_address(&self) -> &SharedAddress {
        &self.0.shared
    }

    /// Lets `handler` answer `request`, which then carries its [`Origin`]. The answer's [`Facts`] are taken out. `X-Request-Id` is set on
    /// every error, and on every answer where a line is written that it can be compared with.
    pub fn observe<R, F, B, H>(&self, mut request: Request<R>, handler: H) -> impl Future<Output = Response<Logged<B>>> + use<R, F, B, H>
    where
        H: FnOnce(Request<R>) -> F,
        F: Future<Output = Response<B>>,
        B: Body<Data = Bytes, Error = io::Error> + Unpin,
    {
        let record = Record::start(&self.0, &mut request);
        let answering = handler(request);
        async move {
            let mut record = record; // so that a panic unwinds through it, which is how it knows
            let mut response = answering.await;
            record.answered(&mut response);
            response.map(|body| Logged { body, record })
        }
    }
}

/// An answer's body that is counted as it leaves.
#[derive(Debug)]
pub struct Logged<B> {
    body: B,
    record: Record,
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for Logged<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Poll::Ready(Some(Err(error))) => self.record.failed(error),
            Poll::Ready(None) => self.record.whole = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request until it is counted, which is when this is dropped: at its answer's end, or wherever its client left.
#[derive(Debug)]
struct Record {
    bytes: u64,
    /// Only where a line is written.
    details: Option<Box<Details>>,
    /// The body's length: HTTP/1.1 does not ask a body for its end when all of it came.
    expected: Option<u64>,
    id: RequestId,
    log: Arc<Inner>,
    method: MethodClass,
    outcome: Option<Outcome>,
    started: Instant,
    status: Option<StatusCode>,
    whole: bool,
}

#[derive(Debug)]
struct Details {
    certificate: Option<Arc<ClientCertificate>>,
    client: IpAddr,
    facts: Facts,
    method: Method,
    time: SystemTime,
    uri: Uri,
    user_agent: Option<HeaderValue>,
}

impl Record {
    fn start<R>(log: &Arc<Inner>, request: &mut Request<R>) -> Self {
        let (client, certificate, id, direct) = asker(request, &log.trusted.load());
        log.shared.note(client);
        let id = id.unwrap_or_else(RequestId::next);
        let details = log.lines.is_some().then(|| {
            let user_agent = request.headers().get(USER_AGENT).cloned();
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let time = SystemTime::now().max(SystemTime::UNIX_EPOCH); // A clock that is earlier has no name in a line.
            let certificate = certificate.clone();
            Box::new(Details { certificate, client, facts: Facts::default(), method, time, uri, user_agent })
        });
        let method = MethodClass::from(request.method());
        request.extensions_mut().insert(Origin { certificate, client, direct, id: id.clone() });
        let (log, started) = (Arc::clone(log), Instant::now());
        Self { bytes: 0, details, expected: None, id, log, method, outcome: None, started, status: None, whole: false }
    }

    fn answered<B: Body>(&mut self, response: &mut Response<B>) {
        let status = response.status();
        self.status = Some(status);
        self.expected = response.body().size_hint().exact();
        // No body leaves here, whatever the handler made.
        self.whole = self.method == MethodClass::Head || status == StatusCode::NOT_MODIFIED || response.body().is_end_stream();
        if let Some(facts) = response.extensions_mut().remove::<Facts>() {
            self.outcome = facts.outcome;
            if let Some(details) = &mut self.details {
                details.facts = facts;
            }
        }
        if self.details.is_some() || status.is_client_error() || status.is_server_error() {
            response.headers_mut().insert(X_REQUEST_ID, self.id.header());
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if let Some(details) = &mut self.details {
            details.facts.error.get_or_insert_with(|| error.to_string());
        }
    }

    /// The server answers 500 in the handler's place, outside of what is seen here.
    fn panicked(&mut self) {
        (self.status, self.outcome, self.whole) = (Some(StatusCode::INTERNAL_SERVER_ERROR), Some(Outcome::Error), true);
        if let Some(details) = &mut self.details {
            details.facts.outcome = self.outcome;
        }
        self.failed(&io::Error::other("the handler panicked"));
    }

    fn ended(&self) -> Ended {
        let aborted = !(self.whole || self.expected == Some(self.bytes));
        let Self { bytes, method, outcome, started, status, .. } = *self;
        Ended { aborted, bytes, duration: started.elapsed(), method, outcome, status }
    }
}

impl Details {
    fn line<'a>(&'a self, id: &'a RequestId, ended: &Ended) -> Line<'a> {
        Line {
            aborted: ended.aborted,
            bytes: ended.bytes,
            // Only what it is worth: what anybody can write of himself is no name.
            certificate: self.certificate.as_deref().filter(|certificate| certificate.verdict().is_ok()).map(ClientCertificate::name),
            client: self.client,
            duration: ended.duration,
            facts: &self.facts,
            id,
            method: self.method.as_str(),
            path: self.uri.path(),
            status: ended.status.map(|status| status.as_u16()),
            time: self.time,
            user_agent: self.user_agent.as_ref().map_or(b"", HeaderValue::as_bytes),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() && std::thread::panicking() {
            self.panicked();
        }
        let ended = self.ended();
        let Inner { lines, metrics, .. } = &*self.log;
        metrics.count(&ended);
        let (Some(lines), Some(details)) = (lines, &self.details) else { return };
        if !lines.write(details.line(&self.id, &ended).written(lines.format(), lines.fields())) {
            metrics.lines_lost.inc();
        }
    }
}

/// Who asks, what its connection has shown, the id that a trusted proxy gave, and whether there is no such proxy.
fn asker<R>(request: &Request<R>, trusted: &[IpNet]) -> (IpAddr, Option<Arc<ClientCertificate>>, Option<RequestId>, bool) {
    let Some(peer) = request.extensions().get::<Peer>() else { return (Ipv4Addr::UNSPECIFIED.into(), None, None, true) };
    let (address, certificate) = (peer.address.ip(), peer.certificate.clone());
    if peer.unnamed || !trusted.iter().any(|network| network.contains(&address)) {
        return (address, certificate, None, true);
    }
    (client_address(address, request.headers(), trusted), certificate, RequestId::given(request.headers()), false)
}

#[cfg(test)]
mod tests;
