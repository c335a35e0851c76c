//! What the Hub was asked: a log of all requests, and counts over it.
//!
//! An entry is made when a request arrives and completed when its last byte left. Counts leave out requests that were only challenged
//! (401 for want of a token), so that "one GET upstream" is one; `challenges` counts those.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use tokio::sync::watch;

use super::filter::{Facts, Filter, Kind};

/// One request as it came, and what became of it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it was for.
    pub kind: Kind,
    /// Its method.
    pub method: http::Method,
    /// Path and query, as sent.
    pub target: String,
    /// The repository, where the path or the scope names one.
    pub repository: Option<String>,
    /// The tag or digest.
    pub reference: Option<String>,
    /// The account it was made as; `None` is anonymous.
    pub account: Option<String>,
    /// All headers: the client's `Authorization` too.
    pub headers: HeaderMap,
    /// The answer's status, once there is one.
    pub status: Option<u16>,
    /// Refused only for want of a good token or right.
    pub challenged: bool,
    /// Waits at a gate or in `Fault::Hang`.
    pub held: bool,
    /// Bytes of body sent so far.
    pub bytes: u64,
    /// The answer is over: whole, cut, or its client gone.
    pub done: bool,
}

impl Seen {
    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether it came with an `Authorization`.
    pub fn is_authorized(&self) -> bool {
        self.headers.contains_key(http::header::AUTHORIZATION)
    }
}

/// A state of the log.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    entries: Vec<Seen>,
    forgotten: usize,
    tokens: u64,
    connections: u64,
}

impl Counts {
    /// Requests that fit, challenged ones left out. `filter` is a `Kind`, or `on(kind).method(…).repo(…)…`, or `any()`.
    pub fn of(&self, filter: impl Into<Filter>) -> u64 {
        self.matching(&filter.into()).count() as u64
    }

    /// GETs of a kind, challenged ones left out.
    pub fn gets(&self, kind: Kind) -> u64 {
        self.of(super::on(kind).method("GET"))
    }

    /// HEADs of a kind, challenged ones left out.
    pub fn heads(&self, kind: Kind) -> u64 {
        self.of(super::on(kind).method("HEAD"))
    }

    /// Bytes of body sent for requests that fit.
    pub fn bytes(&self, filter: impl Into<Filter>) -> u64 {
        self.matching(&filter.into()).map(|seen| seen.bytes).sum()
    }

    /// Requests that wait at a gate or in `Fault::Hang` now.
    pub fn held(&self) -> u64 {
        self.entries.iter().filter(|seen| seen.held).count() as u64
    }

    /// Requests that fit and whose answer is not over.
    pub fn running(&self, filter: impl Into<Filter>) -> u64 {
        self.matching(&filter.into()).filter(|seen| !seen.done).count() as u64
    }

    /// Requests that were only challenged.
    pub fn challenges(&self) -> u64 {
        self.entries.iter().filter(|seen| seen.challenged).count() as u64
    }

    /// Tokens given out.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Connections accepted, on all three ports.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// All requests in the order they came, challenged ones too.
    pub fn all(&self) -> &[Seen] {
        &self.entries
    }

    /// The requests that fit, challenged ones left out.
    pub fn list(&self, filter: impl Into<Filter>) -> Vec<&Seen> {
        let filter = filter.into();
        self.entries.iter().filter(|seen| !seen.challenged && filter.matches(&seen.facts())).collect()
    }

    /// One line a request, for failure messages.
    pub fn summary(&self) -> String {
        let mut text = format!("{} requests, {} tokens, {} connections\n", self.entries.len(), self.tokens, self.connections);
        for seen in self.entries.iter().rev().take(SUMMARY_LINES).rev() {
            let Seen { kind, method, target, status, bytes, .. } = seen;
            let who = seen.account.as_deref().unwrap_or("anonymous");
            let state = if seen.held {
                " held"
            } else if seen.done {
                ""
            } else {
                " running"
            };
            let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            writeln!(text, "  {kind:?} {method} {target} as {who}: {status}, {bytes} bytes{state}").expect("a String takes every write");
        }
        text
    }

    fn matching<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Seen> + use<'a> {
        self.entries.iter().filter(|seen| !seen.challenged && filter.matches(&seen.facts()))
    }
}

impl Seen {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            kind: self.kind,
            method: &self.method,
            repository: self.repository.as_deref(),
            reference: self.reference.as_deref(),
            account: self.account.as_deref(),
        }
    }
}

/// The log as the Hub writes it.
#[derive(Debug)]
pub(super) struct Log {
    counts: Mutex<Counts>,
    changed: watch::Sender<()>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { counts: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(super) fn open(&self, seen: Seen) -> usize {
        self.change(|counts| {
            counts.entries.push(seen);
            counts.forgotten + counts.entries.len() - 1
        })
    }

    pub(super) fn update(&self, entry: usize, with: impl FnOnce(&mut Seen)) {
        // After `forget`, answers that still run have no entry.
        self.change(|counts| {
            let entry = entry.checked_sub(counts.forgotten)?;
            counts.entries.get_mut(entry).map(with)
        });
    }

    pub(super) fn forget(&self) {
        self.change(|counts| {
            *counts = Counts { forgotten: counts.forgotten + counts.entries.len(), ..Counts::default() };
        });
    }

    pub(super) fn token(&self) {
        self.change(|counts| counts.tokens += 1);
    }

    pub(super) fn connection(&self) {
        self.change(|counts| counts.connections += 1);
    }

    pub(super) fn read<T>(&self, with: impl FnOnce(&Counts) -> T) -> T {
        with(&self.lock())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn change<T>(&self, with: impl FnOnce(&mut Counts) -> T) -> T {
        let answer = with(&mut self.lock());
        self.changed.send_replace(());
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SUMMARY_LINES: usize = 40;
