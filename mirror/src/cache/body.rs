//! The body of a blob's answer: bytes from a stored file, or from a flight in progress, at the reader's own offset and pace.
//!
//! The common case, a file in the page cache, is served without a task, a channel or an allocation of its own. Only where a reader must wait
//! (for the disk, for the upstream) does it become a boxed future.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::flight_reader::FlightReader;
use super::stored_reader::StoredReader;

/// A blob, or a part of one, on its way to a client.
pub struct BlobBody {
    remaining: Option<u64>,
    state: State,
}

enum State {
    Done,
    Idle(Reader),
    Waiting(Waiting),
}

/// A reader that waits; it comes back with what it waited for.
type Waiting = Pin<Box<dyn Future<Output = (Reader, io::Result<Option<Bytes>>)> + Send>>;

/// Where the bytes come from.
pub(crate) enum Reader {
    /// Nothing: the answer's bytes are elsewhere.
    Empty,
    /// A download in progress.
    Flight(Box<FlightReader>),
    /// The store.
    Stored(Box<StoredReader>),
}

/// What a reader has without waiting.
pub(crate) enum Ready {
    /// The next bytes; never none.
    Chunk(Bytes),
    /// Nothing more comes.
    End,
    /// It must wait.
    Wait,
}

impl BlobBody {
    /// A body of `length` bytes, where that is known.
    pub(crate) fn new(reader: Reader, length: Option<u64>) -> Self {
        Self { remaining: length, state: State::Idle(reader) }
    }

    fn sent(&mut self, chunk: Bytes) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(chunk.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}

impl Reader {
    fn ready(&mut self) -> io::Result<Ready> {
        match self {
            Self::Empty => Ok(Ready::End),
            Self::Flight(reader) => reader.ready(),
            Self::Stored(reader) => reader.ready(),
        }
    }

    async fn wait(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Empty => Ok(None),
            Self::Flight(reader) => reader.wait().await,
            Self::Stored(reader) => reader.wait().await,
        }
    }

    /// Before an error, with which HTTP drops what it has queued: the client need not ask again for what it was given.
    async fn all_taken(&self) {
        match self {
            Self::Empty => {}
            Self::Flight(reader) => reader.all_taken().await,
            Self::Stored(reader) => reader.all_taken().await,
        }
    }
}

impl http_body::Body for BlobBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Idle(mut reader) => match reader.ready() {
                    Ok(Ready::Chunk(chunk)) => {
                        self.state = State::Idle(reader);
                        return self.sent(chunk);
                    }
                    Ok(Ready::End) => return Poll::Ready(None),
                    Ok(Ready::Wait) => {
                        self.state = State::Waiting(Box::pin(async move {
                            let next = reader.wait().await;
                            if next.is_err() {
                                reader.all_taken().await;
                            }
                            (reader, next)
                        }));
                    }
                    Err(error) => {
                        self.state = State::Waiting(Box::pin(async move {
                            reader.all_taken().await;
                            (reader, Err(error))
                        }));
                    }
                },
                State::Waiting(mut future) => match future.as_mut().poll(context) {
                    Poll::Pending => {
                        self.state = State::Waiting(future);
                        return Poll::Pending;
                    }
                    Poll::Ready((reader, Ok(Some(chunk)))) => {
                        self.state = State::Idle(reader);
                        return self.sent(chunk);
                    }
                    Poll::Ready((_, Ok(None))) => return Poll::Ready(None),
                    Poll::Ready((_, Err(error))) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobBody").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
