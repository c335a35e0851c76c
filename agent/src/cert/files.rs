//! Certificates that somebody else puts there and renews, by `chandler cert status` and `check`: the mirror only takes them up.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use std::time::SystemTime;

use certs::Moment;
use mirror::config::{Config, TlsFiles};
use mirror::tls::{Pair, PairError};
use serde_json::{Value, json};

use super::check::{Finding, bad, good};
use super::status::{left, line};

/// The files of one or several listeners.
pub(super) struct Placed<'a> {
    files: &'a TlsFiles,
    /// One is got wherever these are of no use.
    has_deputy: bool,
    listeners: Vec<SocketAddr>,
    pair: Result<Pair, PairError>,
}

/// Reads them, each pair once.
pub(super) fn look(config: &Config) -> Vec<Placed<'_>> {
    let mut found: Vec<Placed<'_>> = Vec::new();
    for listener in &config.listeners {
        let Some((tls, files)) = listener.tls.as_ref().and_then(|tls| Some((tls, tls.files()?))) else { continue };
        if let Some(known) = found.iter_mut().find(|known| known.files == files) {
            known.listeners.push(listener.address);
            continue;
        }
        let pair = Pair::load(files, SystemTime::now());
        found.push(Placed { files, has_deputy: tls.names().is_some(), listeners: vec![listener.address], pair });
    }
    found
}

impl Placed<'_> {
    /// For people.
    pub(super) fn text(&self, out: &mut String, now: Moment) {
        let _ = writeln!(out, "{}", self.certificate().display());
        match &self.pair {
            Ok(pair) => {
                line(out, "names", &pair.names().join(", "));
                let (from, until) = life(pair);
                line(out, "valid", &format!("from {from} to {until}, {}", left(now, until)));
            }
            Err(_) => line(out, "valid", "there is none to use"),
        }
        for trouble in self.troubles() {
            line(out, "trouble", &trouble);
        }
        line(out, "next", "somebody else renews it; what is put there is shown within seconds");
        line(out, "serves", &self.listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let life = self.pair.as_ref().ok().map(life);
        json!({
            "name": self.certificate(),
            "key": self.files.key,
            "identifiers": self.pair.as_ref().map(Pair::names).unwrap_or_default(),
            "not_before": life.map(|life| life.0),
            "not_after": life.map(|life| life.1),
            "issuer": "files",
            "listeners": self.listeners,
            "troubles": self.troubles(),
        })
    }

    /// Whether it is of use to clients.
    pub(super) fn finding(&self) -> Finding {
        let subject = format!("{} for {}", self.certificate().display(), self.listeners[0]);
        match self.troubles().first() {
            Some(trouble) => bad(subject, trouble),
            None => good(subject),
        }
    }

    fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// A missing one is none where another is got in its place.
    fn troubles(&self) -> Vec<String> {
        match &self.pair {
            Ok(pair) => pair.warnings().iter().map(|warning| mirror::chain(warning)).collect(),
            Err(error) if self.has_deputy && error.is_missing() => Vec::new(),
            Err(error) => vec![mirror::chain(error)],
        }
    }
}

fn life(pair: &Pair) -> (Moment, Moment) {
    (pair.not_before().into(), pair.not_after().into())
}
