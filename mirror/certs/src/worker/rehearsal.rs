//! A trial that somebody asks for: every name is proved as an order would prove it, and nothing comes of it but the knowledge.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::acme::{AccountError, AccountWish, CaError, Errand, OrderError, Proved, Rehearsed, Remedy, open_account, rehearse};
use crate::store::{CertFolder, StoreError};
use crate::{Action, History, Hold, Moment, View, plan};

/// Where it is tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stage {
    /// At a CA that counts, by the account that orders there: the names are proved, and no certificate is asked for.
    Counting(String),
    /// At one for trials, by an account of its own there: a whole order.
    Trial(String),
}

/// What one trial of one certificate's names found.
#[derive(Debug)]
pub struct Trial {
    /// The account that tried.
    pub account: String,
    /// What came of it.
    pub rehearsed: Rehearsed,
}

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// There is no account.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// At a CA that counts, this may be tried no more for a while.
    #[error("{}; it may be tried there again from {until} on, and elsewhere at once with --directory URL", why.words())]
    Held {
        /// From when on it may.
        until: Moment,
        /// What was too much.
        why: Hold,
    },
    /// The order was not even placed.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// Our own files.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Stage {
    /// The CA's directory.
    pub fn directory(&self) -> &str {
        match self {
            Self::Counting(directory) | Self::Trial(directory) => directory,
        }
    }
}

impl RehearsalError {
    /// Somebody else works on this certificate.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Store(StoreError::Locked(_)))
    }

    /// What mends it.
    pub fn mend(&self) -> Option<&'static str> {
        match self {
            Self::Account(AccountError::Ca(error)) | Self::Order(OrderError::Ca(error)) => error.mend(),
            _ => None,
        }
    }
}

impl Worker {
    /// Tries whether the names can be proved. What does not work one way is tried the next way at a CA for trials; at one that counts once is enough,
    /// and both the order and what failed in it are written down with those that count. What the worker does not ask of a CA is not asked here either.
    pub async fn rehearse(&self, stage: &Stage) -> Result<Vec<Trial>, RehearsalError> {
        let folder = self.store.certificate(&self.name);
        let _lock = folder.lock()?;
        if let Stage::Counting(_) = stage
            && let Some((why, until)) = self.held_up(&folder)?
        {
            return Err(RehearsalError::Held { until, why });
        }
        let mut trials = Vec::new();
        let ways = u32::try_from(self.solvers.order.len()).unwrap_or(1);
        for attempt in 0..if matches!(stage, Stage::Trial(_)) { ways.max(1) } else { 1 } {
            let trial = self.try_once(&folder.rehearsal(), stage, attempt).await?;
            let may_work_otherwise = matches!(
                trial.rehearsed.end,
                Err(OrderError::Ca(CaError::Unproved { .. } | CaError::Present { .. } | CaError::Settle { .. }))
            );
            trials.push(trial);
            if !may_work_otherwise {
                break;
            }
        }
        if let Stage::Counting(_) = stage {
            self.note(&folder, &trials)?;
        }
        Ok(trials)
    }

    /// To its end, or the process's: a person waits for it.
    async fn try_once(&self, folder: &CertFolder, stage: &Stage, attempt: u32) -> Result<Trial, RehearsalError> {
        let directory = stage.directory();
        let accounts = self.store.account(directory);
        let (clock, courier, solvers, wish) = (&*self.clock, &self.courier, &self.solvers, &self.wish);
        // What the CA of the configuration has given to its customer is not shown to others that do not ask for it.
        let is_another = !self.wish.directories.iter().any(|known| known == directory);
        let owner = AccountWish { several: self.account.several || is_another, ..self.account.clone() };
        let count = || if let Stage::Counting(_) = stage { self.count() } else { Ok(()) };
        let mut again = true;
        loop {
            let account = open_account(&accounts, directory, &owner, courier).await?;
            let (account, accounts, count, stop) = (&account, &accounts, &count, &CancellationToken::new());
            let errand =
                Errand { account, accounts, attempt, clock, count, courier, directory, folder, replaces: None, solvers, stop, wish };
            match rehearse(&errand, matches!(stage, Stage::Trial(_))).await {
                // CAs for trials forget accounts now and then.
                Err(OrderError::Ca(error)) if again && error.remedy() == Some(Remedy::Register) => {
                    accounts.forget(account.id())?;
                    again = false;
                }
                rehearsed => return Ok(Trial { account: account.id().to_owned(), rehearsed: rehearsed? }),
            }
        }
    }

    /// Whether there were too many failed proofs or orders; nothing else is against a trial, of which no certificate comes.
    fn held_up(&self, folder: &CertFolder) -> Result<Option<(Hold, Moment)>, StoreError> {
        let history = History { issued: Vec::new(), setback: None, ..folder.state()?.history };
        let (budget, history, wish) = (&self.budget, &history, &self.wish);
        let view = View { asked: true, budget, held: None, history, jitter: 0.0, skew: Duration::ZERO, suggestion: None, wish };
        Ok(match plan(self.clock.now(), &view) {
            Action::Hold { until, why, .. } => Some((why, until)),
            _ => None,
        })
    }

    /// The CA counts this order: so do we, before it is placed, since nobody knows how it ends.
    fn count(&self) -> Result<(), StoreError> {
        let folder = self.store.certificate(&self.name);
        let mut state = folder.state()?;
        state.history.ordered(self.clock.now());
        folder.save_state(&state)
    }

    /// The CA counts what failed: so do we.
    fn note(&self, folder: &CertFolder, trials: &[Trial]) -> Result<(), StoreError> {
        let (now, mut state) = (self.clock.now(), folder.state()?);
        let names = trials.iter().flat_map(|trial| &trial.rehearsed.names);
        names.filter(|(_, proved)| matches!(proved, Proved::No(_))).for_each(|(name, _)| state.history.unproved(now, name.clone()));
        folder.save_state(&state)
    }
}
