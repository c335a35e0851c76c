//! A connection whose answer a handler may replace by raw bytes, for what hyper would never write: bare LF, nothing at all.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The handler's hold on its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct RawAnswer(Arc<Mutex<Option<Bytes>>>);

impl RawAnswer {
    /// From now on the connection carries `bytes` and nothing else.
    pub(super) fn say(&self, bytes: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    fn left(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A stream under hyper.
pub(super) struct Socket<S> {
    stream: S,
    raw: RawAnswer,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, raw: RawAnswer) -> Self {
        Self { stream, raw }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// Writes the raw answer; ready when hyper's own bytes may be dropped.
    fn poll_raw(&mut self, context: &mut Context<'_>, mut left: Bytes) -> Poll<io::Result<()>> {
        while left.has_remaining() {
            match Pin::new(&mut self.stream).poll_write(context, &left) {
                Poll::Ready(Ok(written)) => left.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.raw.say(left);
                    return Poll::Pending;
                }
            }
        }
        self.raw.say(left);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.raw.left() {
            Some(left) => self.poll_raw(context, left).map_ok(|()| bytes.len()),
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.raw.left() {
            Some(left) => self.poll_raw(context, left).map_ok(|()| slices.iter().map(|slice| slice.len()).sum()),
            None => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
