//! What is known of the certificates in use.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::TlsFiles;

const NOT_AFTER: &str = "chandler_certificate_not_after_timestamp_seconds";
const RELOADS: &str = "chandler_certificate_reloads";

/// Handles, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    not_after: Family<Source, Gauge>,
    reloads: Family<Reload, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Source {
    file: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Reload {
    file: String,
    result: &'static str,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(NOT_AFTER, "When the certificate in use ends", self.not_after.clone());
        registry.register(RELOADS, "New certificate files found, by result", self.reloads.clone());
    }

    pub(super) fn in_use(&self, files: &TlsFiles, not_after: SystemTime) {
        let seconds = not_after.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.not_after.get_or_create(&Source { file: name(files) }).set(seconds);
    }

    pub(super) fn reloaded(&self, files: &TlsFiles, result: &'static str) {
        self.reloads.get_or_create(&Reload { file: name(files), result }).inc();
    }

    #[cfg(test)]
    pub(super) fn reloads(&self, files: &TlsFiles, result: &'static str) -> u64 {
        self.reloads.get_or_create(&Reload { file: name(files), result }).get()
    }
}

fn name(files: &TlsFiles) -> String {
    files.certificate.display().to_string()
}
