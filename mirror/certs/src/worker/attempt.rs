//! One attempt to get a certificate: at the CA's twin for trials where proofs have failed before, then where it counts; and what is written down of it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{Look, PRIVATE, Worker};
use crate::acme::{AccountError, CaError, Carried, Errand, OrderError, Remedy, carry, has_other_key, open_account, with_causes};
use crate::ca::{self, Ca, LEAF_LIFE, Purpose, SecretKey, Wanted};
use crate::store::{CertFolder, Held, State, StoreError};
use crate::{Action, Bundle, BundleError, Class, Facts, Identifier, Reason, Setback, Trouble};

/// Why an attempt brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    /// No account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// No certificate.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The private CA.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The same, where it does not count.
    #[error(transparent)]
    Rehearsal(Box<AttemptError>),
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AttemptError {
    /// Somebody else is at the account or the CA: nothing failed.
    fn is_locked(&self) -> bool {
        let store = match self {
            Self::Account(AccountError::Store(error))
            | Self::Order(OrderError::Store(error))
            | Self::Private(PrivateError::Ca(ca::CaError::Store(error)))
            | Self::Store(error) => error,
            Self::Rehearsal(error) => return error.is_locked(),
            _ => return false,
        };
        matches!(store, StoreError::Locked(_))
    }

    /// It was told to stop: nothing failed, and the order is there for the next start.
    fn is_stop(&self) -> bool {
        match self {
            Self::Order(OrderError::Stopped) => true,
            Self::Rehearsal(error) => error.is_stop(),
            _ => false,
        }
    }

    /// The order under way came to nothing: nothing was asked for in this attempt yet.
    fn is_over(&self) -> bool {
        match self {
            Self::Order(OrderError::Over(_)) => true,
            Self::Rehearsal(error) => error.is_over(),
            _ => false,
        }
    }
}

/// Why the private CA issued nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrivateError {
    /// It refused.
    #[error(transparent)]
    Ca(#[from] ca::CaError),
    /// What it issued.
    #[error("what the private CA issued is not to be used")]
    Unusable(#[from] BundleError),
}

/// Why one is to be got now, and in whose place.
#[derive(Clone, Copy)]
pub(super) struct Occasion<'a> {
    pub(super) due: Reason,
    /// Its lock is held by whoever has this.
    pub(super) folder: &'a CertFolder,
    /// The one in use.
    pub(super) held: Option<&'a Held>,
    /// Whether the CA is told which one it replaces.
    pub(super) replaces: bool,
    pub(super) stop: &'a CancellationToken,
}

impl Worker {
    /// Gets one now, or writes down why not.
    pub(super) async fn attempt(&self, occasion: Occasion<'_>, state: &mut State) -> Result<Look, StoreError> {
        let Occasion { due, folder, held, .. } = occasion;
        loop {
            // Asked for once: it is a function of the clock, and another one's turn may have come by the time that this one has answered.
            let directory = self.directory(state).to_owned();
            tracing::info!(tls.certificate = %self.name, reason = due.words(), directory, "getting a certificate");
            match self.obtain(occasion, &directory, state).await {
                Ok(()) => return Ok(Look::Obtained(due)),
                Err(error) if error.is_locked() || error.is_stop() => return Ok(Look::Elsewhere),
                Err(error) if error.is_over() => {
                    self.note_unproved(state, &error);
                    folder.save_state(state)?;
                    let action = self.plan(held, state);
                    if !matches!(action, Action::Obtain { .. }) {
                        return Ok(Look::Planned(action));
                    }
                }
                Err(error) => return Ok(Look::Failed(self.note_failure(&occasion, &directory, state, &error)?)),
            }
        }
    }

    /// Finishes the books of an order that has ended, where a crash came between its end and that: what it brought is in use.
    pub(super) fn settle(&self, folder: &CertFolder, held: Option<&Held>) -> Result<(), StoreError> {
        let is_its = |held: &&Held| folder.pending().is_ok_and(|pending| pending.is_some_and(|pending| held.bundle.has_key(&pending.key)));
        if !held.as_ref().is_some_and(is_its) {
            return Ok(());
        }
        let Ok(_lock) = folder.lock() else { return Ok(()) }; // It is not a crash but somebody else's work.
        let Some(held) = held.filter(is_its) else { return Ok(()) }; // Theirs may be another one by now.
        let mut state = folder.state()?;
        if state.history.setback.is_some() || state.asked || !state.history.issued.iter().any(|one| one.at >= held.facts.not_before) {
            self.close(&mut state, false);
            folder.save_state(&state)?;
        }
        folder.clear_pending()
    }

    /// A certificate has come.
    fn close(&self, state: &mut State, replaced: bool) {
        state.asked = false;
        state.history.issued(self.clock.now(), self.wish.identifiers.clone(), replaced);
        (state.suggestion, state.next_look) = (None, None);
    }

    async fn obtain(&self, occasion: Occasion<'_>, directory: &str, state: &mut State) -> Result<(), AttemptError> {
        let Occasion { due, folder, held, replaces, stop } = occasion;
        if let Some(ca) = &self.ca {
            let (ca, wanted) = self.ready(ca)?; // What is not even asked for counts nowhere.
            state.history.ordered(self.clock.now());
            folder.save_state(state)?;
            let bundle = self.issue(&ca, &wanted)?;
            return Ok(self.publish(folder, state, &Carried { bundle, replaced: false }, PRIVATE, due)?);
        }
        if let Some(staging) = self.rehearsal(folder, directory, state)? {
            tracing::info!(tls.certificate = %self.name, directory = staging, "trying at the CA's twin for trials first");
            self.order(staging, &folder.rehearsal(), state, None, stop).await.map_err(|error| AttemptError::Rehearsal(Box::new(error)))?;
            folder.rehearsal().clear_pending()?;
        }
        // To another CA the old one means nothing.
        let replaced = held.filter(|held| replaces && held.facts.directory == directory).and_then(|held| held.facts.id.as_deref());
        let carried = self.order(directory, folder, state, replaced, stop).await?;
        Ok(self.publish(folder, state, &carried, directory, due)?)
    }

    /// The private CA, which nobody else works on meanwhile, and what it would issue.
    fn ready(&self, folder: &Path) -> Result<(Ca, Wanted), PrivateError> {
        let wanted = Wanted { identifiers: self.wish.identifiers.clone(), life: LEAF_LIFE, purpose: Purpose::Server };
        let ca = Ca::open(folder)?;
        ca.would_issue(&wanted, self.clock.now())?;
        Ok((ca, wanted))
    }

    fn issue(&self, ca: &Ca, wanted: &Wanted) -> Result<Bundle, PrivateError> {
        let issued = ca.issue(wanted, self.wish.key, self.clock.now())?;
        let key = issued.key.as_ref().map_or("", SecretKey::pem);
        Ok(Bundle::join(key, &issued.chain)?)
    }

    fn publish(&self, folder: &CertFolder, state: &mut State, carried: &Carried, directory: &str, due: Reason) -> Result<(), StoreError> {
        let facts = Facts { supersedes: due.supersedes(), ..carried.bundle.facts(directory, &self.wish) };
        folder.publish(&carried.bundle, &facts)?;
        self.serve(folder)?; // Before the order is closed: whoever waits for that is told that it is in use.
        self.close(state, carried.replaced);
        folder.save_state(state)?;
        folder.clear_pending()
    }

    /// Where to try first, if the last proofs failed and no order is under way that could go on. It is the twin of the first CA, and of no other.
    fn rehearsal(&self, folder: &CertFolder, directory: &str, state: &State) -> Result<Option<&str>, StoreError> {
        let has_failed = |setback: &Setback| setback.class == Class::Validation && setback.count >= BEFORE_A_TRIAL;
        let has_twin = self.wish.directories.first().is_some_and(|first| first == directory);
        let is_due = has_twin && state.history.setback.as_ref().is_some_and(has_failed) && folder.pending()?.is_none();
        Ok(self.staging.as_deref().filter(|_| is_due))
    }

    async fn order(
        &self,
        directory: &str,
        folder: &CertFolder,
        state: &mut State,
        mut replaces: Option<&str>,
        stop: &CancellationToken,
    ) -> Result<Carried, AttemptError> {
        let accounts = self.store.account(directory);
        let attempt = self.failures(state);
        let (own, state) = (self.store.certificate(&self.name), Mutex::new(state));
        let count = || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.history.ordered(self.clock.now());
            own.save_state(&state)
        };
        let mut again = true;
        loop {
            let account = open_account(&accounts, directory, &self.account, &self.courier).await?;
            let (clock, courier, solvers, wish) = (&*self.clock, &self.courier, &self.solvers, &self.wish);
            let (account, accounts, count) = (&account, &accounts, &count);
            let errand = Errand { account, accounts, attempt, clock, count, courier, directory, folder, replaces, solvers, stop, wish };
            match carry(&errand).await {
                // A CA that was set up anew does not know us: so does nothing that we replace.
                Err(OrderError::Ca(error)) if again && error.remedy() == Some(Remedy::Register) => {
                    accounts.forget(account.id())?;
                    errand.give_up().await?;
                    (again, replaces) = (false, None);
                }
                // Somebody gave the account another key meanwhile: the order is as good as before, and goes on with that.
                Err(OrderError::Ca(error)) if again && has_other_key(accounts, account, &error)? => again = false,
                carried => return Ok(carried?),
            }
        }
    }

    /// Of which kind it was.
    fn note_failure(&self, occasion: &Occasion<'_>, directory: &str, state: &mut State, error: &AttemptError) -> Result<Class, StoreError> {
        self.note_unproved(state, error);
        let (now, trouble) = (self.clock.now(), self.trouble(error));
        let expires = occasion.held.map(|held| held.bundle.not_after());
        let (class, said) = (trouble.class, trouble.said.clone());
        // With one CA alone there is nobody else to ask meanwhile, and what its twin says is not its own word.
        let is_its = self.wish.directories.len() > 1 && !matches!(error, AttemptError::Rehearsal(_));
        let is_refusal = is_its && class == Class::Configuration;
        let asks_for_a_pause = class == Class::RateLimited || trouble.retry_after.is_some();
        let is_pause = is_its && !is_refusal && asks_for_a_pause && !is_under_way(occasion.folder, directory)?;
        let was_said = class == Class::Local && state.history.setback.as_ref().is_some_and(|before| before.said == said);
        state.asked = false; // It was tried; the rest is the plan's.
        state.history.failed(now, trouble, &self.wish, expires);
        if is_refusal {
            state.history.refused_by(now, directory);
        } else if is_pause {
            state.history.paused_by(now, directory);
        }
        let until = state.history.setback.as_ref().map(|setback| setback.until.to_string());
        if was_said {
            tracing::debug!(tls.certificate = %self.name, until, "no new certificate: {said}"); // Each minute anew would fill the log.
        } else {
            tracing::error!(tls.certificate = %self.name, until, "no new certificate: {said}");
        }
        occasion.folder.save_state(state)?;
        Ok(class)
    }

    fn note_unproved(&self, state: &mut State, error: &AttemptError) {
        for identifier in unproved(error) {
            state.history.unproved(self.clock.now(), identifier.clone());
        }
    }

    fn trouble(&self, error: &AttemptError) -> Trouble {
        match error {
            AttemptError::Rehearsal(error) => {
                let Trouble { class, retry_after: _, said } = self.trouble(error);
                // Proofs that it does not see the CA would not see either. All else is its own trouble: the CA itself is asked, soon.
                let class = if class == Class::Validation { class } else { Class::Transient };
                Trouble { class, retry_after: None, said: format!("(at its twin for trials) {said}") }
            }
            AttemptError::Account(AccountError::Ca(error)) | AttemptError::Order(OrderError::Ca(error)) => error.trouble(self.clock.now()),
            AttemptError::Private(PrivateError::Ca(error)) => {
                let said = match (error, error.mend(), &self.ca) {
                    (ca::CaError::Refused(refusal), _, Some(ca)) => format!(
                        "the private CA does not issue it: {refusal}; `chandler ca rotate --state {}` (with --permit for other names) makes one that does",
                        ca::state(ca).display()
                    ),
                    (_, Some(mend), _) => format!("{error}; {mend}"),
                    _ => with_causes(error),
                };
                Trouble { class: Class::Local, retry_after: None, said }
            }
            // A disk that is full or ill: it passes, and nothing was lost, since it is asked before the CA is.
            other => Trouble { class: Class::Transient, retry_after: None, said: with_causes(other) },
        }
    }

    /// In a row, of what is wanted now.
    fn failures(&self, state: &State) -> u32 {
        state.history.setback.as_ref().filter(|setback| setback.wish == self.wish).map_or(0, |setback| setback.count)
    }

    /// The CAs in their order: each third failure in a row leads to the next one; a refusal does at once, and a pause that the CA asks for.
    pub(super) fn directory(&self, state: &State) -> &str {
        if self.ca.is_some() {
            return PRIVATE;
        }
        state.history.directory(self.clock.now(), &self.wish, PER_CA).unwrap_or_default()
    }
}

/// An order there waits to be gone on with, and the CA may have counted it: to ask another one meanwhile would throw it away, with its key.
fn is_under_way(folder: &CertFolder, directory: &str) -> Result<bool, StoreError> {
    Ok(folder.pending()?.is_some_and(|pending| pending.order.is_some() && pending.directory == directory))
}

fn unproved(error: &AttemptError) -> impl Iterator<Item = &Identifier> {
    let failed = match error {
        AttemptError::Order(OrderError::Ca(error) | OrderError::Over(Some(error))) => match error {
            CaError::Unproved { failed, .. } => failed.as_slice(),
            _ => &[],
        },
        // What a twin for trials could not see is no failure that the CA counts.
        _ => &[],
    };
    failed.iter().map(|(identifier, _)| identifier)
}

/// Failed proofs in a row before a twin for trials is asked first.
const BEFORE_A_TRIAL: u32 = 2;
/// Attempts at one CA before the next one is asked.
const PER_CA: usize = 3;
