//! The bytes of one connection, counted below TLS, and the line on which its task is told to end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP stream that counts what passes, and gives back first what was read too far in front of it.
pub(super) struct Wire {
    ahead: Vec<u8>,
    line: Arc<Line>,
    tcp: TcpStream,
}

impl Wire {
    /// `ahead` was read already, behind a PROXY header.
    pub(super) fn new(tcp: TcpStream, ahead: Vec<u8>, line: Arc<Line>) -> Self {
        Self { ahead, line, tcp }
    }

    fn wrote(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(Ok(written)) => {
                add(&self.line.written, *written);
                if self.line.blocked.load(Ordering::Relaxed) {
                    self.line.blocked.store(false, Ordering::Relaxed);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.line.blocked.store(true, Ordering::Relaxed),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            add(&self.line.read, length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if outcome.is_ready() {
            add(&self.line.read, buffer.filled().len() - before);
        }
        outcome
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// What the keeper sees of a connection, and its only hold on it. The counts are for one judge that looks now and then: relaxed.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The kernel took no more bytes at the last write.
    blocked: AtomicBool,
    http2: AtomicBool,
    /// Requests whose answer is not wholly handed to HTTP.
    in_flight: AtomicU32,
    order: AtomicU8,
    /// Answers 500 because of a panic.
    panics: Counter,
    read: AtomicU64,
    requests: AtomicU64,
    /// Answers of which a piece was handed over and the next was not asked for: they wait for the client, not for us.
    waiting: AtomicU32,
    waker: Mutex<Option<Waker>>,
    written: AtomicU64,
}

/// What a connection is to do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Finish what runs, take no more.
    Drain,
    /// End now.
    Cut,
}

/// A look at a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) busy: bool,
    pub(super) http2: bool,
    /// It was told to take no more requests.
    pub(super) leaving: bool,
    pub(super) read: u64,
    pub(super) requests: u64,
    /// Bytes are there that the client does not take.
    pub(super) waits_for_client: bool,
    pub(super) written: u64,
}

impl Line {
    pub(super) fn new(panics: Counter) -> Self {
        Self { panics, ..Self::default() }
    }

    /// The order of the day: one atomic load.
    pub(super) fn ordered(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Cut,
        }
    }

    /// Raises the order and wakes the task; it never goes back.
    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whom [`Line::order`] wakes: once per task, before the first look at [`Line::ordered`].
    pub(super) fn listen(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    pub(super) fn sample(&self) -> Sample {
        Sample {
            busy: self.in_flight.load(Ordering::Relaxed) > 0,
            http2: self.http2.load(Ordering::Relaxed),
            leaving: self.ordered() != Order::Serve,
            read: self.read.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            waits_for_client: self.blocked.load(Ordering::Relaxed) || self.waiting.load(Ordering::Relaxed) > 0,
            written: self.written.load(Ordering::Relaxed),
        }
    }
}

/// One request from its head to its answer's last byte or its end.
pub(super) struct Turn {
    line: Arc<Line>,
    waiting: bool,
}

impl Turn {
    pub(super) fn start(line: &Arc<Line>, http2: bool) -> Self {
        if http2 && !line.http2.load(Ordering::Relaxed) {
            line.http2.store(true, Ordering::Relaxed);
        }
        line.requests.fetch_add(1, Ordering::Relaxed);
        line.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { line: Arc::clone(line), waiting: false }
    }

    /// A piece of the answer was handed over: now it is the client's turn.
    pub(super) fn handed(&mut self) {
        if !std::mem::replace(&mut self.waiting, true) {
            self.line.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it came over HTTP/2, where no header can end a connection.
    pub(super) fn is_http2(&self) -> bool {
        self.line.http2.load(Ordering::Relaxed)
    }

    /// No request comes after those that are here.
    pub(super) fn last(&self) {
        self.line.order(Order::Drain);
    }

    /// Its handler is gone.
    pub(super) fn panicked(&self) {
        self.line.panics.inc();
        tracing::error!("a request's handler panicked; the request was answered 500");
    }

    /// The next piece is asked for: now it is ours.
    pub(super) fn asked(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.line.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.asked();
        self.line.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Only the connection's own task writes these two, so that no locked instruction is needed.
fn add(count: &AtomicU64, bytes: usize) {
    count.store(count.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}
