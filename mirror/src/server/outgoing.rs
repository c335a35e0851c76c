//! Answers on their way out: no body for HEAD, a 500 for a panic, an end of the connection where the answer says so, and the count of whose turn it is.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::wire::Turn;

/// A body that tells its connection when it waits for the client.
pub(super) struct Outgoing<B> {
    content: Content<B>,
    /// Nothing comes after it, which its connection is told when all of it is handed over: told before, curl takes the word for the answer's end.
    last: bool,
    turn: Turn,
}

impl<B> Drop for Outgoing<B> {
    fn drop(&mut self) {
        if self.last {
            self.turn.last();
        }
    }
}

enum Content<B> {
    Body(B),
    Nothing,
    /// Ours, whole; `None` once it was sent.
    Text(Option<Bytes>),
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Outgoing<B> {
    /// `response` as the wire needs it. hyper drops the body of a HEAD's answer on HTTP/1.1 but sends it on HTTP/2, where every client calls
    /// that a protocol error; so it is dropped here, and its length is kept.
    pub(super) fn answer(mut response: Response<B>, head: bool, turn: Turn) -> Response<Self> {
        let lacks_length = head && !has_no_body(response.status()) && !response.headers().contains_key(CONTENT_LENGTH);
        if let Some(length) = response.body().size_hint().exact().filter(|_| lacks_length) {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        // On HTTP/1.1 hyper sees to it, by the same header.
        let closes = |value: HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
        let last = turn.is_http2() && response.headers_mut().remove(CONNECTION).is_some_and(closes);
        response.map(|body| Self { content: if head { Content::Nothing } else { Content::Body(body) }, last, turn })
    }

    /// The answer of a handler that panicked.
    pub(super) fn panicked(head: bool, turn: Turn) -> Response<Self> {
        Self::own(StatusCode::INTERNAL_SERVER_ERROR, PANICKED, head, turn)
    }

    /// The answer to a request that does not say, or says twice, whom it is for.
    pub(super) fn hostless(head: bool, turn: Turn) -> Response<Self> {
        let mut response = Self::own(StatusCode::BAD_REQUEST, HOSTLESS, head, turn);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn own(status: StatusCode, text: Bytes, head: bool, turn: Turn) -> Response<Self> {
        let length = text.len();
        let mut response =
            Response::new(Self { content: if head { Content::Nothing } else { Content::Text(Some(text)) }, last: false, turn });
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        response
    }
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        this.turn.asked();
        let polled = match &mut this.content {
            // On HTTP/2 a panic here would end the connection's other answers too.
            Content::Body(body) => catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx)))
                .unwrap_or_else(|_| Poll::Ready(Some(Err(io::Error::other("the answer's body panicked"))))),
            Content::Nothing => Poll::Ready(None),
            Content::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        };
        if let Poll::Ready(Some(Ok(_))) = &polled {
            this.turn.handed();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Body(body) => body.is_end_stream(),
            Content::Nothing => true,
            Content::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Body(body) => body.size_hint(),
            Content::Nothing => SizeHint::with_exact(0),
            Content::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}

/// Statuses whose answer must not say a length (RFC 9110, 8.6) or says another's.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

const PANICKED: Bytes = Bytes::from_static(b"{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"internal error\"}]}\n");
const HOSTLESS: Bytes = Bytes::from_static(b"{\"errors\":[{\"code\":\"UNSUPPORTED\",\"message\":\"a request has one Host header\"}]}\n");
