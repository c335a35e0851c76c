//! The owner of one certificate: looks, plans, obtains, serves, and looks again until it is told to stop.
//!
//! - Whatever goes wrong is written down and waited out; nothing ends the worker but its token. A panic counts as a failed attempt,
//!   which is waited out as any other.
//! - Only who holds the certificate's lock obtains; after taking it everything is read again, since somebody else may have done the work.
//! - What another process has stored is served as well: the files are looked at every [`LOOK`].
//! - One that works is never replaced by one that does not, or that ends earlier.

mod advice;
mod attempt;
mod left;
mod rehearsal;

use attempt::Occasion;
pub use rehearsal::{RehearsalError, Stage, Trial};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

pub use advice::LastAdvice;

use crate::acme::{AccountWish, Courier, greet, with_causes};
use crate::clock::Clock;
use crate::served::Served;
use crate::solve::Solvers;
use crate::store::{CertFolder, CertName, Held, Lock, State, Store, StoreError};
use crate::{Action, Budget, Class, Facts, Hold, Moment, Reason, Setback, Trouble, View, Wish, plan};

/// Everything that one certificate needs.
#[derive(Debug)]
pub struct Worker {
    /// Whom new accounts are registered for.
    pub account: AccountWish,
    /// What the CA advised last.
    pub advice: LastAdvice,
    /// What is asked of CAs at most.
    pub budget: Budget,
    /// The folder of the private CA that issues it, in the place of a CA that speaks ACME.
    pub ca: Option<PathBuf>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How CAs are reached.
    pub courier: Courier,
    /// What it is called.
    pub name: CertName,
    /// Where it is put for those who serve it.
    pub served: Arc<Served>,
    /// How names can be proved.
    pub solvers: Solvers,
    /// How it stands, for whoever wants to know.
    pub status: watch::Sender<Status>,
    /// The CA's twin for trials: after failed proofs it is asked first, so that a name that cannot be proved costs nothing where it counts.
    pub staging: Option<String>,
    /// Where it is kept.
    pub store: Store,
    /// Wakes the worker before its time: what held it up is mended, somebody says.
    pub wake: Arc<Notify>,
    /// What is wanted.
    pub wish: Wish,
}

/// How it stands with a certificate, after a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// What was planned last; `None` before the first look.
    pub action: Option<Action>,
    /// Attempts of this process that failed.
    pub failed: u64,
    /// The one in hand.
    pub held: Option<Facts>,
    /// Certificates that this process got.
    pub obtained: u64,
    /// Why there is no new one, since the last that came.
    pub setback: Option<Setback>,
    /// How far our clock is from the CA's.
    pub skew: Duration,
    /// Its files cannot be used.
    pub trouble: Option<String>,
}

/// What one look came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Look {
    /// Nothing was to be done, for this reason.
    Planned(Action),
    /// A new one is served.
    Obtained(Reason),
    /// An attempt failed, and was written down.
    Failed(Class),
    /// Another process works on it.
    Elsewhere,
}

impl Worker {
    /// How it stands before the first look.
    pub fn first_status(&self) -> Status {
        self.tell(&Ok(Look::Elsewhere));
        self.status.borrow().clone()
    }

    /// Until `cancel`. A look has a moment then to take its proofs away again; one that hangs at a CA or a name server is left, as by a crash, and neither
    /// is a failure. Where one panics, that is said, and the next one comes.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        let (mut said, mut attended) = (None, None);
        while !cancel.is_cancelled() {
            if attended.is_none() {
                attended = self.attend().await; // A disk that is ill may be well later.
            }
            let worker = Arc::clone(&self);
            // On a thread for waiting: disks hang, and keys take their time; that must not hold a thread that serves.
            let (runtime, span, said_before, stop) = (Handle::current(), Span::current(), said.take(), cancel.clone());
            let look = tokio::task::spawn_blocking(move || {
                let look = runtime.block_on(worker.look_or_leave(&stop).instrument(span))?;
                Some(worker.judge(&look, said_before))
            });
            let pause = match look.await {
                Ok(None) => break,
                Ok(Some((pause, now_said))) => {
                    said = now_said;
                    pause
                }
                Err(error) => {
                    self.broke_off(&error).await;
                    LOOK
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.wake.notified() => self.forgive().await,
                () = self.rest(pause) => {} // Never long: the wall clock may jump, and a machine sleep.
            }
        }
    }

    async fn attend(self: &Arc<Self>) -> Option<Lock> {
        let worker = Arc::clone(self);
        tokio::task::spawn_blocking(move || worker.store.certificate(&worker.name).attend().ok()).await.ok().flatten()
    }

    /// For `pause`, or until somebody else writes down what is known: a person who asks for a certificate is not to wait for our next look.
    async fn rest(&self, pause: Duration) {
        let stamp = async || {
            let folder = self.store.certificate(&self.name);
            tokio::task::spawn_blocking(move || folder.stamp()).await.ok()
        };
        let (before, end) = (stamp().await, Instant::now() + pause);
        while Instant::now() < end && stamp().await == before {
            tokio::time::sleep_until(end.min(Instant::now() + GLANCE)).await;
        }
    }

    /// Somebody says that the cause of a failure is mended.
    async fn forgive(self: &Arc<Self>) {
        let worker = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || worker.store.certificate(&worker.name).ask(worker.clock.now(), false));
        match asked.await {
            Ok(Ok(()) | Err(StoreError::Locked(_))) => {} // Whoever has the lock is at it.
            Ok(Err(error)) => {
                tracing::error!(tls.certificate = %self.name, error = &error as &dyn std::error::Error, "the next attempt waits as before");
            }
            Err(error) => self.broke_off(&error).await,
        }
    }

    /// A fault of ours ended what was being done. It is said and counted, and the next look comes; what it would ask of a CA waits as after any failure.
    async fn broke_off(self: &Arc<Self>, error: &JoinError) {
        tracing::error!(tls.certificate = %self.name, %error, "the search for a certificate broke off; this is a fault of chandler's");
        self.status.send_modify(|status| {
            status.failed += 1;
            status.trouble = Some(BROKE_OFF.to_owned());
        });
        let worker = Arc::clone(self);
        match tokio::task::spawn_blocking(move || worker.note_break()).await {
            Ok(Ok(()) | Err(StoreError::Locked(_))) => {} // Whoever has the lock goes on with it.
            Ok(Err(error)) => {
                tracing::error!(tls.certificate = %self.name, error = &error as &dyn std::error::Error, "the fault is not written down");
            }
            Err(error) => tracing::error!(tls.certificate = %self.name, %error, "the fault is not written down"),
        }
    }

    /// Where something is due yet: else what broke off was done.
    fn note_break(&self) -> Result<(), StoreError> {
        let folder = self.store.certificate(&self.name);
        let _lock = folder.lock()?;
        let (held, mut state) = (folder.current()?, folder.state()?);
        if !matches!(self.plan(held.as_ref(), &state), Action::Obtain { .. }) {
            return Ok(());
        }
        let trouble = Trouble { class: Class::Transient, retry_after: None, said: BROKE_OFF.to_owned() };
        state.history.failed(self.clock.now(), trouble, &self.wish, held.map(|held| held.bundle.not_after()));
        folder.save_state(&state)
    }

    /// Tells what a look came to, and how long to wait for the next one.
    /// `said` is what was said last, and what is said now.
    fn judge(&self, look: &Result<Look, StoreError>, mut said: Option<Said>) -> (Duration, Option<Said>) {
        match look {
            Ok(Look::Planned(action)) if said != Said::of(action) => {
                self.say(action);
                said = Said::of(action);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(tls.certificate = %self.name, error = error as &dyn std::error::Error, "the certificate's files cannot be used; what is served stays");
            }
        }
        self.tell(look);
        let pause = match look {
            Ok(Look::Elsewhere | Look::Failed(_) | Look::Obtained(_)) => SOON,
            Ok(Look::Planned(Action::Idle { until, .. } | Action::Hold { until, .. })) => until.since(self.clock.now()).clamp(SOON, LOOK),
            Ok(Look::Planned(Action::Obtain { .. })) | Err(_) => LOOK,
        };
        (pause, said)
    }

    fn tell(&self, look: &Result<Look, StoreError>) {
        let folder = self.store.certificate(&self.name);
        let stored = folder.current().and_then(|held| Ok((held, folder.state()?)));
        self.status.send_modify(|status| {
            match look {
                Ok(Look::Planned(action)) => status.action = Some(action.clone()),
                Ok(Look::Obtained(_)) => status.obtained += 1,
                Ok(Look::Failed(_)) => status.failed += 1,
                Ok(Look::Elsewhere) | Err(_) => {}
            }
            status.skew = self.courier.skew();
            let trouble = look.as_ref().err().or(stored.as_ref().err());
            status.trouble = trouble.map(|error| with_causes(error));
            if let Ok((held, state)) = stored {
                (status.held, status.setback) = (held.map(|held| held.facts), state.history.setback);
            }
        });
    }

    /// `None` where it did not end soon after `stop`. What it has begun is written down.
    async fn look_or_leave(&self, stop: &CancellationToken) -> Option<Result<Look, StoreError>> {
        let hangs = async {
            stop.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            look = self.look_until(stop) => Some(look),
            () = hangs => None,
        }
    }

    /// Looks once, and does what is due.
    pub async fn look(&self) -> Result<Look, StoreError> {
        self.look_until(&CancellationToken::new()).await
    }

    async fn look_until(&self, stop: &CancellationToken) -> Result<Look, StoreError> {
        let folder = self.store.certificate(&self.name);
        let held = self.serve(&folder)?;
        match folder.tidy() {
            Err(StoreError::Locked(_)) => return Ok(Look::Elsewhere),
            tidied => tidied?,
        }
        self.settle(&folder, held.as_ref())?;
        self.take_left_away(&folder).await?;
        let mut state = folder.state()?;
        self.take_advice(&folder, held.as_ref(), &mut state).await?;
        let mut action = self.plan(held.as_ref(), &state);
        if let Action::Hold { why: Hold::Skew, .. } = action {
            // Only the CA can say that the clock is right again.
            if let Err(error) = greet(&self.courier, self.directory(&state)).await {
                tracing::debug!(tls.certificate = %self.name, error, "the CA does not tell the time");
            }
            action = self.plan(held.as_ref(), &state);
        }
        if !matches!(action, Action::Obtain { .. }) {
            return Ok(Look::Planned(action));
        }
        let _lock = match folder.lock() {
            Err(StoreError::Locked(_)) => return Ok(Look::Elsewhere),
            lock => lock?,
        };
        let (held, mut state) = (self.serve(&folder)?, folder.state()?);
        match self.plan(held.as_ref(), &state) {
            Action::Obtain { due, replaces } => {
                let occasion = Occasion { due, folder: &folder, held: held.as_ref(), replaces, stop };
                self.attempt(occasion, &mut state).await
            }
            action => Ok(Look::Planned(action)),
        }
    }

    /// Serves what is stored, if it is better than what is served.
    fn serve(&self, folder: &CertFolder) -> Result<Option<Held>, StoreError> {
        let held = folder.current()?;
        if let Some(held) = &held
            && self.served.offer(held, self.clock.now())
        {
            tracing::info!(
                tls.certificate = %self.name, tls.serial = held.bundle.serial(), tls.generation = held.generation,
                "a certificate is in use, valid until {}", held.bundle.not_after(),
            );
        }
        Ok(held)
    }

    fn plan(&self, held: Option<&Held>, state: &State) -> Action {
        let view = View {
            asked: state.asked,
            budget: &self.budget,
            held: held.map(|held| &held.facts),
            history: &state.history,
            jitter: state.jitter.unwrap_or(0.0),
            skew: self.courier.skew(),
            suggestion: state.suggestion.as_ref(),
            wish: &self.wish,
        };
        plan(self.clock.now(), &view)
    }

    fn say(&self, action: &Action) {
        match action {
            Action::Hold { due, until, why } => {
                let alarming = matches!(why, Hold::TooSoon | Hold::Skew | Hold::Issued);
                if alarming {
                    tracing::error!(tls.certificate = %self.name, due = due.words(), why = why.words(), %until, "a certificate is due, and is not got yet");
                } else {
                    tracing::warn!(tls.certificate = %self.name, due = due.words(), why = why.words(), %until, "a certificate is due, and is not got yet");
                }
            }
            Action::Idle { due, until } => {
                tracing::info!(tls.certificate = %self.name, due = due.words(), "the certificate is renewed from {until} on");
            }
            Action::Obtain { .. } => {}
        }
    }
}

/// What was told of an action. The moment of some slides from look to look, and is not worth a line each time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Held(Hold, Reason),
    Idle(Reason, Moment),
}

impl Said {
    fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Hold { due, why, .. } => Some(Self::Held(*why, *due)),
            Action::Idle { due, until } => Some(Self::Idle(*due, *until)),
            Action::Obtain { .. } => None,
        }
    }
}

/// What a panic is for people.
const BROKE_OFF: &str = "the search for another one broke off, which is a fault of chandler's: its log says where";
/// What stands for its directory in the place of a URL, where a private CA issued a certificate.
pub const PRIVATE: &str = "private";
/// Between two looks at the files and the clock.
const LOOK: Duration = Duration::from_secs(30);
/// Between two looks at whether somebody else has written something.
const GLANCE: Duration = Duration::from_secs(1);
/// For what is to be taken away again, after a stop.
const FAREWELL: Duration = Duration::from_secs(2);
/// After something has changed.
const SOON: Duration = Duration::from_secs(1);
