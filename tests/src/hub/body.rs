//! The body of an answer: slices of memory, paced, stalled, cut or bent as the faults say, counted as it goes.
//!
//! A body never says its size itself: `Content-Length` is a header that faults may leave out or let lie.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, Taken};
use super::log::Log;

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Clean(u64),
    Cut(u64),
}

/// What the faults make of a body.
#[derive(Debug)]
pub(super) struct Shape {
    end: End,
    rate: Option<u64>,
    stalls: Vec<(u64, CancellationToken)>,
}

impl Shape {
    pub(super) fn of(taken: &[Taken]) -> Self {
        let mut shape = Shape { end: End::Whole, rate: None, stalls: Vec::new() };
        for Taken { fault, released } in taken {
            match fault {
                Fault::BytesPerSecond(rate) => shape.rate = Some((*rate).max(1)),
                Fault::StallAt(at) => shape.stalls.push((*at, released.clone())),
                Fault::CutAt(at) | Fault::CutChunkedAt(at) => shape.end = End::Cut(*at),
                Fault::EndChunkedAt(at) => shape.end = End::Clean(*at),
                _ => {}
            }
        }
        shape.stalls.sort_by_key(|(at, _)| *at);
        shape
    }
}

/// Completes a log entry when the answer is over, however it ends.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) log: Arc<Log>,
    pub(super) entry: usize,
}

impl Account {
    fn add(&self, bytes: u64) {
        self.log.update(self.entry, |seen| seen.bytes += bytes);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.log.update(self.entry, |seen| {
            seen.held = false;
            seen.done = true;
        });
    }
}

/// A body on its way.
pub(super) struct Answer {
    step: Option<Step>,
}

type Step = Pin<Box<dyn Future<Output = (Sender, Option<io::Result<Bytes>>)> + Send>>;

struct Sender {
    content: Bytes,
    sent: u64,
    started: Instant,
    shape: Shape,
    account: Account,
}

impl Answer {
    pub(super) fn new(content: Bytes, shape: Shape, account: Account) -> Self {
        let sender = Sender { content, sent: 0, started: Instant::now(), shape, account };
        Self { step: Some(Box::pin(sender.next())) }
    }
}

impl Sender {
    async fn next(mut self) -> (Self, Option<io::Result<Bytes>>) {
        while let Some((at, released)) = self.shape.stalls.first()
            && *at <= self.sent
        {
            released.cancelled().await;
            self.shape.stalls.remove(0);
        }
        let end = match self.shape.end {
            End::Cut(at) | End::Clean(at) => at.min(self.content.len() as u64),
            End::Whole => self.content.len() as u64,
        };
        if self.sent >= end {
            return self.finish().await;
        }
        let mut size = (end - self.sent).min(CHUNK);
        if let Some((at, _)) = self.shape.stalls.first() {
            size = size.min(at - self.sent);
        }
        if let Some(rate) = self.shape.rate {
            size = size.min((rate / CHUNKS_A_SECOND).max(1));
            // By the schedule, not by the chunk: timers that fire late must not add up.
            tokio::time::sleep_until(self.started + Duration::from_secs_f64(self.sent as f64 / rate as f64)).await;
        }
        let chunk = self.content.slice(self.sent as usize..(self.sent + size) as usize);
        self.sent += size;
        self.account.add(size);
        (self, Some(Ok(chunk)))
    }

    async fn finish(self) -> (Self, Option<io::Result<Bytes>>) {
        if !matches!(self.shape.end, End::Cut(_)) {
            return (self, None);
        }
        // hyper drops what it has not flushed when a body fails: the bytes before the cut are to arrive.
        tokio::time::sleep(FLUSH).await;
        (self, Some(Err(io::Error::other("cut by the test"))))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(step) = self.step.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready((sender, frame)) = step.as_mut().poll(context) else { return Poll::Pending };
        self.step = frame.as_ref().is_some_and(Result::is_ok).then(|| Box::pin(sender.next()) as Step);
        Poll::Ready(frame.map(|bytes| bytes.map(Frame::data)))
    }
}

const CHUNK: u64 = 256 * 1024;
const CHUNKS_A_SECOND: u64 = 50;
const FLUSH: Duration = Duration::from_millis(20);
