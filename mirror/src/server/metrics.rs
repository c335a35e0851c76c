//! What the server counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const CONNECTIONS: &str = "chandler_connections";
const CONNECTIONS_ACCEPTED: &str = "chandler_connections_accepted";
const CONNECTIONS_ENDED: &str = "chandler_connections_ended_by_us";
const PANICS: &str = "chandler_handler_panics";

/// Handles, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) accepted: Counter,
    pub(super) ended: Family<Ended, Counter>,
    pub(super) open: Gauge,
    pub(super) panics: Counter,
}

/// Why we ended a connection.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct Ended {
    pub(super) reason: &'static str,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(CONNECTIONS, "Open connections", self.open.clone());
        registry.register(CONNECTIONS_ACCEPTED, "Connections accepted", self.accepted.clone());
        registry.register(CONNECTIONS_ENDED, "Connections that the mirror ended, by reason", self.ended.clone());
        registry.register(PANICS, "Requests answered 500 because their handler panicked", self.panics.clone());
    }

    pub(super) fn end(&self, reason: &'static str) {
        self.ended.get_or_create(&Ended { reason }).inc();
    }
}
