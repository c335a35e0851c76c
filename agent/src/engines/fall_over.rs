//! How long an engine stands before a mirror that is of no use, seen without a change to the engine or to what it works by. Effects.
//!
//! Two ways. An engine that takes its configuration for one pull ([`past`]) pulls a canary with the [`StandIn`] before a mirror that serves: that is the whole fall-over, end to end. One that does not
//! is asked for an image of the stand-in's own, as of any registry ([`before`]): what shows is how long it waits there until it gives up, which is when it would go to the next mirror; what it would do
//! then does not show.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::program::{ProgramError, Timed};
use super::stand_in::{Fault, StandIn};

/// What came of one trial.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Took {
    /// It went on after so long.
    Over(Duration),
    /// Not within so long.
    Late(Duration),
    /// It had the other mirror, and did not go on to it: what it said.
    Failed(String),
    /// Nothing was seen; why.
    Untried(String),
}

/// Of a pull with a stand-in before a mirror.
pub fn past(timed: Timed, stand_in: &StandIn) -> Took {
    let saw_nothing = stand_in.fault() == Fault::Hangs && stand_in.came().is_none();
    match timed.pulled {
        Err(error @ ProgramError::Start { .. }) => Took::Untried(mirror::chain(&error)),
        _ if saw_nothing => Took::Untried(NEVER_CAME.to_owned()),
        Ok(()) => Took::Over(timed.took),
        Err(ProgramError::Late { patience, .. }) => Took::Late(patience),
        Err(error) => Took::Failed(error.to_string()),
    }
}

/// Of a pull from the stand-in itself, which fails, and is ended once that is seen.
pub async fn before<T, E>(pull: impl Future<Output = Result<T, E>>, stand_in: &StandIn, limit: Duration) -> Took {
    let began = Instant::now();
    match stand_in.fault() {
        // Both addresses of it, over TLS and in plain HTTP, take no time.
        Fault::Refuses => over(timeout(limit, pull).await.is_ok(), began.elapsed(), limit),
        Fault::Loses => {
            let is_over = timeout(limit + GREETING, pull).await.is_ok();
            match stand_in.came() {
                Some(came) => over(is_over && came.elapsed() <= limit, came.elapsed(), limit),
                None => Took::Untried(NEVER_CAME.to_owned()),
            }
        }
        Fault::Hangs => {
            let ended = async {
                let _ = pull.await; // It cannot have the image.
                // The engine's end of the connection is seen a moment later.
                timeout(GREETING, stand_in.waited()).await
            };
            tokio::select! {
                waited = stand_in.waited() => Took::Over(waited),
                ended = ended => ended.map_or_else(|_| Took::Untried(NEVER_CAME.to_owned()), Took::Over),
                () = sleep(limit) => if stand_in.came().is_some() { Took::Late(limit) } else { Took::Untried(NEVER_CAME.to_owned()) },
            }
        }
    }
}

fn over(is_over: bool, took: Duration, limit: Duration) -> Took {
    if is_over { Took::Over(took) } else { Took::Late(limit) }
}

/// Seen of an engine in a network of its own, and of one that reads its configuration elsewhere.
const NEVER_CAME: &str =
    "it did not come to chandler's stand-in on 127.0.0.1, which is another address for it, or took no configuration for one pull";
/// For what goes before the wait: the engine's own beginning, and a queue that is filled.
const GREETING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::*;
    use crate::engines::stand_in::Greeting;

    const LONG: Duration = Duration::from_mins(1);

    async fn stand_in(fault: Fault) -> StandIn {
        StandIn::new(fault, Greeting::Any).await.expect("loopback has free ports")
    }

    /// An engine that gives up, or never does.
    async fn engine(stand_in: &StandIn, gives_up: bool) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(stand_in.authority()).await?;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await?;
        while stand_in.came().is_none() {
            tokio::task::yield_now().await;
        }
        if gives_up { Ok(()) } else { std::future::pending().await }
    }

    #[tokio::test]
    async fn an_engine_that_gives_up_is_told_from_one_that_waits_on_and_from_one_that_never_came() {
        let refusing = stand_in(Fault::Refuses).await;
        assert!(matches!(before(engine(&refusing, true), &refusing, LONG).await, Took::Over(_)));
        let hanging = stand_in(Fault::Hangs).await;
        assert!(matches!(before(engine(&hanging, true), &hanging, LONG).await, Took::Over(_)));
        let hanging = stand_in(Fault::Hangs).await;
        let short = Duration::from_millis(100);
        assert_eq!(before(engine(&hanging, false), &hanging, short).await, Took::Late(short));
        let hanging = stand_in(Fault::Hangs).await;
        let elsewhere = before(std::future::pending::<Result<(), ()>>(), &hanging, short).await;
        assert!(matches!(elsewhere, Took::Untried(_)), "{elsewhere:?}");
    }

    #[tokio::test]
    async fn a_pull_that_did_not_pass_the_stand_in_says_nothing() {
        let timed = |pulled| Timed { pulled, took: Duration::from_secs(3) };
        let refusing = stand_in(Fault::Refuses).await;
        assert_eq!(past(timed(Ok(())), &refusing), Took::Over(Duration::from_secs(3)));
        let failed = || ProgramError::Failed { program: "podman".into(), said: "no such image".into() };
        assert_eq!(past(timed(Err(failed())), &refusing), Took::Failed("podman failed: no such image".into()));
        let late = ProgramError::Late { program: "podman".into(), patience: LONG };
        assert_eq!(past(timed(Err(late)), &refusing), Took::Late(LONG));
        let hanging = stand_in(Fault::Hangs).await;
        for pulled in [Ok(()), Err(failed())] {
            assert!(matches!(past(timed(pulled), &hanging), Took::Untried(_)));
        }
    }
}
