//! The owner of one certificate: looks, plans, obtains, serves, and looks again until it is told to stop.
//!
//! - Whatever goes wrong is written down and waited out; nothing ends the worker but its token.
//! - Only who holds the certificate's lock obtains; after taking it everything is read again, since somebody else may have done the work.
//! - What another process has stored is served as well: the files are looked at every [`LOOK`].
//! - One that works is never replaced by one that does not, or that ends earlier.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::acme::{AccountError, AccountWish, CaError, Courier, Errand, OrderError, Remedy, ask, carry, open_account, with_causes};
use crate::clock::Clock;
use crate::served::Served;
use crate::solve::Solvers;
use crate::store::{CertFolder, CertName, Held, State, Store, StoreError};
use crate::{Action, Budget, Class, Hold, Identifier, Reason, Trouble, View, Wish, plan};

/// Everything that one certificate needs.
#[derive(Debug)]
pub struct Worker {
    /// Whom new accounts are registered for.
    pub account: AccountWish,
    /// What is asked of CAs at most.
    pub budget: Budget,
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
    /// Where it is kept.
    pub store: Store,
    /// Wakes the worker before its time.
    pub wake: Arc<Notify>,
    /// What is wanted.
    pub wish: Wish,
}

/// Why an attempt brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// No certificate.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// Until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let mut said = None;
        while !cancel.is_cancelled() {
            // An order is carried to its end or its next step: it is not torn out of the middle, so that proofs are taken away again.
            let look = self.look().await;
            match &look {
                Ok(Look::Planned(action)) if said.as_ref() != Some(action) => {
                    self.say(action);
                    said = Some(action.clone());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(tls.certificate = %self.name, error = error as &dyn std::error::Error, "the certificate's files cannot be used; what is served stays");
                }
            }
            let pause = if matches!(look, Ok(Look::Obtained(_) | Look::Failed(_))) { SOON } else { LOOK };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {} // Not until the planned moment: the wall clock may jump, and a machine sleep.
            }
        }
    }

    /// Looks once, and does what is due.
    pub async fn look(&self) -> Result<Look, StoreError> {
        let folder = self.store.certificate(&self.name);
        let held = self.serve(&folder)?;
        let mut state = folder.state()?;
        self.take_advice(&folder, held.as_ref(), &mut state).await?;
        let action = self.plan(held.as_ref(), &state);
        if !matches!(action, Action::Obtain { .. }) {
            return Ok(Look::Planned(action));
        }
        let _lock = match folder.lock() {
            Err(StoreError::Locked(_)) => return Ok(Look::Elsewhere),
            lock => lock?,
        };
        let (held, mut state) = (self.serve(&folder)?, folder.state()?);
        match self.plan(held.as_ref(), &state) {
            Action::Obtain { due, replaces } => self.attempt(&folder, held.as_ref(), &mut state, due, replaces).await,
            action => Ok(Look::Planned(action)),
        }
    }

    /// Serves what is stored, if it is better than what is served.
    fn serve(&self, folder: &CertFolder) -> Result<Option<Held>, StoreError> {
        let held = folder.current()?;
        if let Some(held) = &held
            && self.served.offer(&held.bundle, self.clock.now())
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

    /// Asks the CA when it wants a renewal, as often as it wants to be asked.
    async fn take_advice(&self, folder: &CertFolder, held: Option<&Held>, state: &mut State) -> Result<(), StoreError> {
        let Some((held, id)) = held.and_then(|held| Some((held, held.facts.id.as_deref()?))) else { return Ok(()) };
        let now = self.clock.now();
        let is_known = state.suggestion.as_ref().is_some_and(|suggestion| suggestion.is_about(&held.facts));
        if state.next_look.is_some_and(|next| now < next && next.since(now) < DAY) && (is_known || state.suggestion.is_none()) {
            return Ok(());
        }
        let jitter = *state.jitter.get_or_insert_with(dice);
        let advice = ask(&self.courier, &held.facts.directory, id, jitter).await;
        if let Some(page) = &advice.explanation {
            tracing::warn!(tls.certificate = %self.name, page, "the CA explains why it wants this certificate renewed");
        }
        let is_same =
            |known: &crate::Suggestion, new: &crate::Suggestion| (known.start, known.end) == (new.start, new.end) && known.id == new.id;
        state.suggestion = match (state.suggestion.take().filter(|known| known.is_about(&held.facts)), advice.suggestion) {
            (Some(known), Some(new)) if is_same(&known, &new) => Some(known), // Our moment in it was drawn once.
            (known, new) => new.or(known),
        };
        state.next_look = Some(now + advice.again_after);
        let Ok(_lock) = folder.lock() else { return Ok(()) }; // Whoever has it writes the state.
        let mut stored = folder.state()?;
        (stored.jitter, stored.next_look) = (state.jitter, state.next_look);
        stored.suggestion.clone_from(&state.suggestion);
        folder.save_state(&stored)
    }

    async fn attempt(
        &self,
        folder: &CertFolder,
        held: Option<&Held>,
        state: &mut State,
        due: Reason,
        replaces: bool,
    ) -> Result<Look, StoreError> {
        let replaces = held.filter(|_| replaces).and_then(|held| held.facts.id.as_deref());
        if folder.pending()?.is_none() {
            state.history.ordered(self.clock.now());
            folder.save_state(state)?;
        }
        tracing::info!(tls.certificate = %self.name, reason = ?due, directory = self.directory(state), "getting a certificate");
        match self.obtain(folder, state, replaces).await {
            Ok(()) => Ok(Look::Obtained(due)),
            Err(error) => {
                let trouble = self.trouble(&error);
                let class = trouble.class;
                self.note_failure(folder, held, state, &error, trouble)?;
                Ok(Look::Failed(class))
            }
        }
    }

    async fn obtain(&self, folder: &CertFolder, state: &mut State, mut replaces: Option<&str>) -> Result<(), AttemptError> {
        let directory = self.directory(state).to_owned();
        let accounts = self.store.account(&directory);
        let attempt = state.history.setback.as_ref().map_or(0, |setback| setback.count);
        let mut again = true;
        let carried = loop {
            let account = open_account(&accounts, &directory, &self.account, &self.courier).await;
            let account = match account {
                Err(AccountError::Ca(error)) if again && error.remedy() == Some(Remedy::Register) => {
                    accounts.forget()?;
                    (again, replaces) = (false, None);
                    continue;
                }
                account => account?,
            };
            let (courier, solvers, wish) = (&self.courier, &self.solvers, &self.wish);
            let errand = Errand { account: &account, attempt, courier, directory: &directory, folder, replaces, solvers, wish };
            match carry(&errand).await {
                // A CA that was set up anew does not know us: so does nothing that we replace.
                Err(OrderError::Ca(error)) if again && error.remedy() == Some(Remedy::Register) => {
                    accounts.forget()?;
                    folder.clear_pending()?;
                    (again, replaces) = (false, None);
                }
                carried => break carried?,
            }
        };
        let facts = carried.bundle.facts(&directory, &self.wish);
        folder.publish(&carried.bundle, &facts)?;
        state.history.issued(self.clock.now(), self.wish.identifiers.clone(), carried.replaced);
        (state.suggestion, state.next_look) = (None, None);
        folder.save_state(state)?;
        folder.clear_pending()?;
        self.serve(folder)?;
        Ok(())
    }

    fn note_failure(
        &self,
        folder: &CertFolder,
        held: Option<&Held>,
        state: &mut State,
        error: &AttemptError,
        trouble: Trouble,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        for identifier in unproved(error) {
            state.history.unproved(now, identifier.clone());
        }
        let expires = held.map(|held| held.bundle.not_after());
        let said = trouble.said.clone();
        state.history.failed(now, trouble, &self.wish, expires);
        let until = state.history.setback.as_ref().map(|setback| setback.until.to_string());
        tracing::error!(tls.certificate = %self.name, until, "no new certificate: {said}");
        folder.save_state(state)
    }

    fn trouble(&self, error: &AttemptError) -> Trouble {
        match error {
            AttemptError::Account(AccountError::Ca(error)) | AttemptError::Order(OrderError::Ca(error)) => error.trouble(self.clock.now()),
            // A disk that is full or ill: it passes, and nothing was lost, since it is asked before the CA is.
            other => Trouble { class: Class::Transient, retry_after: None, said: with_causes(other) },
        }
    }

    /// The CAs in their order: each third failure in a row leads to the next one.
    fn directory(&self, state: &State) -> &str {
        let failures = state.history.setback.as_ref().map_or(0, |setback| setback.count) as usize;
        let directories = &self.wish.directories;
        directories.get(failures / PER_CA % directories.len().max(1)).map_or("", String::as_str)
    }

    fn say(&self, action: &Action) {
        match action {
            Action::Hold { due, until, why } => {
                let alarming = matches!(why, Hold::TooSoon | Hold::Skew | Hold::Issued);
                if alarming {
                    tracing::error!(tls.certificate = %self.name, ?due, ?why, %until, "a certificate is due, and is not got yet");
                } else {
                    tracing::warn!(tls.certificate = %self.name, ?due, ?why, %until, "a certificate is due, and is not got yet");
                }
            }
            Action::Idle { due, until } => tracing::info!(tls.certificate = %self.name, ?due, "the certificate is renewed from {until} on"),
            Action::Obtain { .. } => {}
        }
    }
}

fn unproved(error: &AttemptError) -> impl Iterator<Item = &Identifier> {
    let failed = match error {
        AttemptError::Order(OrderError::Ca(CaError::Unproved { failed, .. })) => failed.as_slice(),
        _ => &[],
    };
    failed.iter().map(|(identifier, _)| identifier)
}

/// Between 0 and 1, drawn from the system's random numbers; the middle where it has none.
fn dice() -> f64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two looks at the files and the clock.
const LOOK: Duration = Duration::from_secs(30);
/// After something has changed.
const SOON: Duration = Duration::from_secs(1);
/// Attempts at one CA before the next one is asked.
const PER_CA: usize = 3;
