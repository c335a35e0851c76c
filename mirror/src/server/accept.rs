//! The accept loop: it takes connections and hands each to a task of its own, and does nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Lane;
use super::slots::Slots;

/// Accepts until `cancel`, then closes the socket: the next client is refused, or waits for the next process where the socket is inherited.
pub(super) async fn run<S, F, B>(listener: TcpListener, lane: Arc<Lane<S>>, slots: Slots, tasks: TaskTracker, cancel: CancellationToken)
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
{
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be watched; it is closed"),
    };
    let pause = lane.accept_pause();
    let queue = match Queue::of(&listener) {
        Ok(queue) => queue,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be watched; it is closed"),
    };
    let accepting = accept_all(
        &slots,
        pause,
        || queue.newcomer(),
        || listener.accept(),
        |tcp, peer, slot| {
            tasks.spawn(Arc::clone(&lane).serve(tcp, peer, slot));
        },
    );
    // Biased: a connection that arrives with the stop stays in the kernel's queue for the next process.
    tokio::select! { biased; () = cancel.cancelled() => {} () = accepting => {} }
}

async fn accept_all<N, A>(
    slots: &Slots,
    pause: Duration,
    mut newcomer: impl FnMut() -> N,
    mut accept: impl FnMut() -> A,
    mut hand_on: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
) where
    N: Future<Output = ()>,
    A: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
{
    let mut starved = false;
    loop {
        // The place comes before the client: until there is one, clients wait in the kernel's queue, cost us nothing, and stay for the next process
        // at a stop. Others make room only for somebody who is there.
        let slot = if let Some(slot) = slots.free() {
            slot
        } else {
            newcomer().await;
            slots.take().await
        };
        match accept().await {
            Ok((tcp, peer)) => {
                starved = false;
                hand_on(tcp, peer, slot);
            }
            Err(error) if is_out_of_resources(&error) => {
                if !starved {
                    tracing::error!(%error, "cannot accept connections; hint: raise the limit of open files (LimitNOFILE=, ulimit -n)");
                }
                starved = true;
                tokio::time::sleep(pause).await;
            }
            // The client was gone before we came; the next one is not concerned.
            Err(error) => tracing::debug!(%error, "a connection ended before it was accepted"),
        }
    }
}

/// Tells that somebody waits in the kernel's queue, and leaves them there.
struct Queue(AsyncFd<OwnedFd>);

impl Queue {
    #[expect(deprecated, reason = "it is sound for a descriptor that it owns, and what takes its place wants unsafe code")]
    fn of(listener: &tokio::net::TcpListener) -> io::Result<Self> {
        Ok(Self(AsyncFd::with_interest(listener.as_fd().try_clone_to_owned()?, Interest::READABLE)?))
    }

    /// Until somebody is there. Where the kernel will not say, it is as if somebody was.
    async fn newcomer(&self) {
        while let Ok(mut ready) = self.0.readable().await {
            let mut asked = [PollFd::new(self.0.get_ref(), PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(poll(&mut asked, Some(&now)), Ok(0)) {
                return;
            }
            ready.clear_ready(); // What was told is of a client that has been accepted, or has left.
        }
    }
}

/// The queue stays readable when no descriptor is left: without a pause the loop would spin.
fn is_out_of_resources(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::super::keeper::Keeper;
    use super::super::{Metrics, Times};
    use super::*;

    /// What the scripted kernel answers, in order; afterwards no client comes any more.
    async fn run_script(script: Vec<Option<Errno>>) -> (usize, Duration) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("its address");
        let mut script = script.into_iter();
        let (handed, mut taken) = tokio::sync::mpsc::unbounded_channel();
        let started = tokio::time::Instant::now();
        let accept = || {
            let step = script.next();
            async move {
                match step {
                    Some(Some(errno)) => Err(errno.into()),
                    Some(None) => Ok((TcpStream::connect(address).await.expect("connects"), address)),
                    None => std::future::pending().await,
                }
            }
        };
        let slots = Slots::new(8, Keeper::new(Times::default(), Metrics::default()));
        let accepting = accept_all(
            &slots,
            Duration::from_secs(3),
            || std::future::ready(()),
            accept,
            move |_, _, _| {
                handed.send(tokio::time::Instant::now()).expect("the test listens");
            },
        );
        tokio::select! { () = accepting => {} Some(at) = taken.recv() => return (1, at - started) }
        (0, Duration::ZERO)
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_file_table_pauses_the_loop_and_does_not_end_it() {
        let (served, after) = run_script(vec![Some(Errno::MFILE), Some(Errno::NFILE), Some(Errno::MFILE), None]).await;
        assert_eq!(served, 1);
        assert!(after >= Duration::from_secs(9), "one pause for each failure, so no spinning: {after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_the_queue_costs_no_pause() {
        let (served, after) = run_script(vec![Some(Errno::CONNABORTED), None]).await;
        assert_eq!(served, 1);
        assert!(after < Duration::from_secs(3), "{after:?}");
    }
}
