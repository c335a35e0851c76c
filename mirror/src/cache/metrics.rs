//! What the cache counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::flight::FlightError;

const FLIGHTS: &str = "chandler_flights";
const FLIGHT_FAILURES: &str = "chandler_flight_failures";
const FLIGHT_OVERFLOWS: &str = "chandler_flight_overflows";
const FLIGHT_STORED_BYTES: &str = "chandler_flight_stored_bytes";
const TAG_CHECKS: &str = "chandler_tag_checks";
const WRITE_QUEUE: &str = "chandler_write_queue";

/// Handles; a clone counts in the same place.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    failures: Family<Cause, Counter>,
    flights: Gauge,
    overflows: Counter,
    stored_bytes: Counter,
    tag_checks: Family<Check, Counter>,
    /// What is known and waits to be written.
    pub(crate) write_queue: Gauge,
}

impl Metrics {
    /// Under the names at the top of this file.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(FLIGHTS, "Downloads of blobs in progress", self.flights.clone());
        registry.register(FLIGHT_FAILURES, "Downloads of blobs that failed, by cause", self.failures.clone());
        registry.register(
            FLIGHT_OVERFLOWS,
            "Downloads that were passed through because there was no room to keep them",
            self.overflows.clone(),
        );
        registry.register(FLIGHT_STORED_BYTES, "Bytes of blobs that were downloaded, verified and stored", self.stored_bytes.clone());
        registry.register(TAG_CHECKS, "Questions to upstreams where a tag points, by answer", self.tag_checks.clone());
        registry.register(
            WRITE_QUEUE,
            "Manifests, small blobs and records that are in memory and wait to be written",
            self.write_queue.clone(),
        );
    }

    pub(crate) fn flight_started(&self) {
        self.flights.inc();
    }

    pub(crate) fn flight_ended(&self) {
        self.flights.dec();
    }

    pub(crate) fn flight_failed(&self, error: &FlightError) {
        let cause = match error {
            FlightError::Abandoned(_) => "abandoned",
            FlightError::Mismatch { .. } | FlightError::Size { .. } => "digest_mismatch",
            FlightError::Stopping => "stopping",
            FlightError::Upstream { .. } => "upstream",
        };
        self.failures.get_or_create(&Cause { cause }).inc();
    }

    pub(crate) fn overflowed(&self) {
        self.overflows.inc();
    }

    pub(crate) fn stored(&self, bytes: u64) {
        self.stored_bytes.inc_by(bytes);
    }

    pub(crate) fn tag_checked(&self, answer: CheckValue) {
        self.tag_checks.get_or_create(&Check { answer: answer.as_str() }).inc();
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Cause {
    cause: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Check {
    answer: &'static str,
}

/// How an upstream answered the question where a tag points.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CheckValue {
    Failed,
    Gone,
    Moved,
    RateLimited,
    Same,
}

impl CheckValue {
    fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::RateLimited => "rate_limited",
            Self::Same => "same",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Algorithm, Digest};

    #[test]
    fn the_values_of_labels_are_words_in_lower_case() {
        let metrics = Metrics::default();
        for answer in [CheckValue::Failed, CheckValue::Gone, CheckValue::Moved, CheckValue::RateLimited, CheckValue::Same] {
            metrics.tag_checked(answer);
        }
        let digest = Digest::of(Algorithm::Sha256, b"x");
        for error in [
            FlightError::Abandoned(digest.clone()),
            FlightError::Mismatch { expected: digest.clone(), actual: digest.clone() },
            FlightError::Size { digest, expected: 1, actual: 2 },
            FlightError::Stopping,
        ] {
            metrics.flight_failed(&error);
        }
        let (mut registry, mut text) = (Registry::default(), String::new());
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let values: Vec<_> = text.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(values.len(), 8, "{text}");
        assert!(values.iter().all(|value| value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')), "{values:?}");
    }
}
