//! One address of an upstream, and what it was seen to ask for.
//!
//! A challenge is remembered once it led to a token, and forgotten when it does so no more: what is remembered only saves a refusal, and must never be
//! all that stands between us and a registry that has changed its mind.

use std::sync::{Arc, Mutex, PoisonError};

use url::Url;

use super::exchange::host_of;
use crate::oci::RepoName;

/// One address of the upstream.
#[derive(Debug)]
pub(super) struct Origin {
    /// For errors and logs.
    pub(super) host: Arc<str>,
    /// What it asked for last and was of use, so that the next request need not be refused first.
    learned: Mutex<Option<Learned>>,
    /// The account may be used here: it is the upstream's own address, or of the same owner.
    pub(super) takes_account: bool,
    pub(super) url: Url,
}

/// What an address asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Learned {
    Basic,
    Bearer { realm: Arc<str>, scope: Scope, service: Option<Arc<str>> },
}

/// How a scope is made from a repository's name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// One for everything, as some clouds have it.
    Fixed(Arc<str>),
    /// `repository:NAME:pull`, or the same around another word.
    Of { after: Arc<str>, before: Arc<str> },
}

impl Origin {
    pub(super) fn new(url: Url, takes_account: bool) -> Self {
        Self { host: host_of(&url), learned: Mutex::default(), takes_account, url }
    }

    /// The full address of `path`, which starts with a slash and is made of parsed names only.
    pub(super) fn address(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url.set_query(query);
        url.set_fragment(None);
        url
    }

    /// What it asked for the last time.
    pub(super) fn learned(&self) -> Option<Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the next request.
    pub(super) fn learn(&self, learned: Learned) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = Some(learned);
    }

    /// `failed` was of no use. What another request has learned since stays.
    pub(super) fn forget(&self, failed: &Learned) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.as_ref() == Some(failed) {
            *learned = None;
        }
    }
}

impl Scope {
    /// From the scope that was asked for `repo`.
    pub(super) fn learn(scope: &str, repo: &RepoName) -> Self {
        match scope.split_once(&format!(":{repo}:")) {
            Some((before, after)) => Self::Of { before: format!("{before}:").into(), after: format!(":{after}").into() },
            None => Self::Fixed(scope.into()),
        }
    }

    /// For `repo`.
    pub(super) fn of(&self, repo: &RepoName) -> Arc<str> {
        match self {
            Self::Fixed(scope) => Arc::clone(scope),
            Self::Of { before, after } => format!("{before}{repo}{after}").into(),
        }
    }
}
