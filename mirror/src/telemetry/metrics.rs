//! Requests, counted. A handle is resolved at a combination's first request; from then on a request costs a few atomic additions.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::{Outcome, Output};

const ABORTED: &str = "chandler_requests_aborted";
const DURATION: &str = "chandler_request_duration_seconds";
const LINES_LOST: &str = "chandler_access_log_lines_lost";
const LOG_LINES_LOST: &str = "chandler_log_lines_lost";
const REQUESTS: &str = "chandler_requests";
const SENT: &str = "chandler_response_bytes";

/// Handles, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    aborted: Counter,
    duration: Durations,
    family: Family<Labels, Counter>,
    handles: Arc<Handles>,
    pub(super) lines_lost: Counter,
    log_lines_lost: Counter,
    sent: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    method: &'static str,
    outcome: &'static str,
    status: &'static str,
}

/// By method, status class and outcome.
#[derive(Debug)]
struct Handles(Box<[OnceLock<Counter>]>);

/// A request that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) aborted: bool,
    pub(super) bytes: u64,
    pub(super) duration: Duration,
    pub(super) method: MethodClass,
    pub(super) outcome: Option<Outcome>,
    /// `None`: the client left before there was an answer.
    pub(super) status: Option<StatusCode>,
}

/// The methods that matter here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MethodClass {
    Get,
    Head,
    Other,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(REQUESTS, "Requests, by method, status and outcome", self.family.clone());
        registry.register(DURATION, "From a request's head to its answer's last byte", self.duration.clone());
        registry.register(SENT, "Bytes of answers' bodies handed to clients", self.sent.clone());
        registry.register(ABORTED, "Requests whose client left, or was cut, before the answer's end", self.aborted.clone());
        registry.register(LINES_LOST, "Access log lines lost because the log's reader was too slow", self.lines_lost.clone());
        registry.register(LOG_LINES_LOST, "Other log lines lost because the log's reader was too slow", self.log_lines_lost.clone());
    }

    /// Shows what the process's own log loses.
    pub(crate) fn count_losses_of(&mut self, log: &Output) {
        self.log_lines_lost = log.lost().clone();
    }

    pub(super) fn count(&self, ended: &Ended) {
        let class = ended.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(STATUSES.len() - 1));
        let outcome = ended.outcome.map_or(0, |outcome| outcome as usize + 1);
        let slot = (ended.method as usize * STATUSES.len() + class) * OUTCOMES + outcome;
        let resolve = || {
            let labels = Labels {
                method: ["GET", "HEAD", "other"][ended.method as usize],
                outcome: ended.outcome.map_or("none", Outcome::as_str),
                status: STATUSES[class],
            };
            self.family.get_or_create_owned(&labels)
        };
        self.handles.0[slot].get_or_init(resolve).inc();
        self.duration.observe(ended.duration);
        self.sent.inc_by(ended.bytes);
        if ended.aborted {
            self.aborted.inc();
        }
    }
}

impl Default for Handles {
    fn default() -> Self {
        Self((0..METHODS * STATUSES.len() * OUTCOMES).map(|_| OnceLock::new()).collect())
    }
}

impl From<&Method> for MethodClass {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            _ => Self::Other,
        }
    }
}

/// A histogram without the lock that prometheus-client's own takes at each observation.
#[derive(Clone, Debug, Default)]
struct Durations(Arc<DurationsInner>);

#[derive(Debug, Default)]
struct DurationsInner {
    /// The last one takes what is above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Durations {
    fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let at = BOUNDS.partition_point(|bound| *bound < seconds);
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.0.nanoseconds.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(&self.0.buckets).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.0.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Seconds: from a manifest out of memory to a large layer over a slow line.
const BOUNDS: [f64; 16] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0];
const METHODS: usize = 3;
/// "None" and each of [`Outcome`].
const OUTCOMES: usize = 8;
const STATUSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method_status_and_outcome_under_prometheus_names() {
        let metrics = Metrics::default();
        let hit = Ended {
            aborted: false,
            bytes: 100,
            duration: Duration::from_micros(300),
            method: MethodClass::Get,
            outcome: Some(Outcome::Hit),
            status: Some(StatusCode::OK),
        };
        metrics.count(&hit);
        metrics.count(&Ended { duration: Duration::from_secs(400), ..hit });
        let left = Ended { aborted: true, bytes: 0, method: MethodClass::Head, outcome: None, status: None, ..hit };
        metrics.count(&left);
        metrics.count(&Ended { method: MethodClass::Other, outcome: Some(Outcome::Stale), status: StatusCode::from_u16(999).ok(), ..hit });
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            "chandler_requests_total{method=\"GET\",outcome=\"hit\",status=\"2xx\"} 2",
            "chandler_requests_total{method=\"HEAD\",outcome=\"none\",status=\"none\"} 1",
            "chandler_requests_total{method=\"other\",outcome=\"stale\",status=\"5xx\"} 1",
            "chandler_request_duration_seconds_bucket{le=\"0.0005\"} 3",
            "chandler_request_duration_seconds_bucket{le=\"300.0\"} 3",
            "chandler_request_duration_seconds_bucket{le=\"+Inf\"} 4",
            "chandler_request_duration_seconds_count 4",
            "chandler_response_bytes_total 300",
            "chandler_requests_aborted_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
