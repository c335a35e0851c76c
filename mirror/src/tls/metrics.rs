//! What is known of the certificates in use.

use std::sync::atomic::Ordering;

use certs::store::CertName;
use certs::worker::Status;
use certs::{Action, Moment};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Pair;
use crate::config::TlsFiles;

const CLOCK_SKEW: &str = "chandler_acme_clock_skew_seconds";
const FAILED: &str = "chandler_acme_failed_attempts";
const NEXT: &str = "chandler_acme_next_attempt_timestamp_seconds";
const OBTAINED: &str = "chandler_acme_obtained";
const SEEN: &str = "chandler_certificate_seen_by_clients";
const NOT_AFTER: &str = "chandler_certificate_not_after_timestamp_seconds";
const NOT_BEFORE: &str = "chandler_certificate_not_before_timestamp_seconds";
/// Its own certificate as a source, beside those that it issued. No name of a certificate has a space.
const PRIVATE_CA: &str = "private CA";
const RELOADS: &str = "chandler_certificate_reloads";

/// Handles, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    clock_skew: Family<Certificate, Gauge>,
    failed: Family<Certificate, Counter>,
    next: Family<Certificate, Gauge>,
    seen: Family<Certificate, Gauge>,
    not_after: Family<Source, Gauge>,
    not_before: Family<Source, Gauge>,
    obtained: Family<Certificate, Counter>,
    reloads: Family<Reload, Counter>,
}

/// A pair by its certificate's file; one that is issued to us by its name.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Source {
    source: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Certificate {
    certificate: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reload {
    file: String,
    result: &'static str,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(FAILED, "Attempts that brought no certificate", self.failed.clone());
        registry.register(OBTAINED, "Certificates got", self.obtained.clone());
        registry.register(CLOCK_SKEW, "How far this machine's clock is from the CA's", self.clock_skew.clone());
        registry.register(NEXT, "When a certificate is renewed, or tried again", self.next.clone());
        registry.register(SEEN, "1 where every listener was seen to show the certificate that was got", self.seen.clone());
        registry.register(NOT_AFTER, "When the certificate in use ends", self.not_after.clone());
        registry.register(NOT_BEFORE, "When the certificate in use began", self.not_before.clone());
        registry.register(RELOADS, "New certificate files found, by result", self.reloads.clone());
    }

    pub(super) fn in_use(&self, files: &TlsFiles, pair: &Pair) {
        self.lives(name(files), pair.not_before().into(), pair.not_after().into());
    }

    /// The files are not there any more, and what they said does not hold.
    pub(super) fn gone(&self, files: &TlsFiles) {
        let source = Source { source: name(files) };
        self.not_before.remove(&source);
        self.not_after.remove(&source);
    }

    /// The private CA's own certificate.
    pub(super) fn of_private_ca(&self, not_before: Moment, not_after: Moment) {
        self.lives(PRIVATE_CA.to_owned(), not_before, not_after);
    }

    fn lives(&self, source: String, not_before: Moment, not_after: Moment) {
        let source = Source { source };
        self.not_before.get_or_create(&source).set(not_before.unix());
        self.not_after.get_or_create(&source).set(not_after.unix());
    }

    pub(super) fn reloaded(&self, files: &TlsFiles, result: &'static str) {
        self.reloads.get_or_create(&Reload { file: name(files), result }).inc();
    }

    /// The CAs of clients were read anew, or could not be.
    pub(super) fn reloaded_clients(&self, result: &'static str) {
        self.reloads.get_or_create(&Reload { file: "clients.ca".to_owned(), result }).inc();
    }

    /// How it stands with a certificate that is issued to us.
    pub(super) fn stands(&self, name: &CertName, status: &Status) {
        let certificate = || Certificate { certificate: name.to_string() };
        for (counter, count) in [(&self.failed, status.failed), (&self.obtained, status.obtained)] {
            counter.get_or_create(&certificate()).inner().store(count, Ordering::Relaxed);
        }
        self.clock_skew.get_or_create(&certificate()).set(status.skew.as_secs() as i64);
        if let Some(held) = &status.held {
            self.lives(name.to_string(), held.not_before, held.not_after);
        }
        if let Some(next) = next(status) {
            self.next.get_or_create(&certificate()).set(next.unix());
        }
    }

    /// Whether clients were seen to be shown what was got.
    pub(super) fn seen(&self, name: &CertName, all: bool) {
        self.seen.get_or_create(&Certificate { certificate: name.to_string() }).set(i64::from(all));
    }

    #[cfg(test)]
    pub(super) fn reloads(&self, files: &TlsFiles, result: &'static str) -> u64 {
        self.reloads.get_or_create(&Reload { file: name(files), result }).get()
    }
}

fn next(status: &Status) -> Option<Moment> {
    match status.action.as_ref()? {
        Action::Hold { until, .. } | Action::Idle { until, .. } => Some(*until),
        Action::Obtain { .. } => None,
    }
}

fn name(files: &TlsFiles) -> String {
    files.certificate.display().to_string()
}
