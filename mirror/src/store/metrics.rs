//! What the store counts, under the names that operators see.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Figures;

/// The store's metrics; clones count into the same ones.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Bytes that everything of ours takes on disk.
    pub allocated: Gauge,
    /// Stored layers and configs.
    pub blobs: Gauge,
    /// Most bytes that the store may take; 0: no cap.
    pub cap: Gauge,
    /// Bytes that were hashed because a part of a stored blob was asked for that was not hashed since the start.
    pub checked_bytes: Counter,
    /// Stored files that were removed for room or for age.
    pub evicted: Counter,
    /// Bytes of those.
    pub evicted_bytes: Counter,
    /// Bytes that are free on the store's file system.
    pub free: Gauge,
    /// Writes that found no room.
    pub full: Counter,
    /// 1 while the health check passes.
    pub healthy: Gauge,
    /// Stored manifests.
    pub manifests: Gauge,
    /// Files whose content was not what their name says.
    pub quarantined: Counter,
    /// 1 once the scan at start is done.
    pub scanned: Gauge,
    /// Bytes that the background check has hashed.
    pub scrubbed_bytes: Counter,
}

impl Metrics {
    /// Sets the gauges.
    pub(super) fn show(&self, figures: &Figures) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.allocated.set(gauge(figures.allocated));
        self.blobs.set(gauge(figures.blobs));
        self.free.set(gauge(figures.free));
        self.manifests.set(gauge(figures.manifests));
        self.scanned.set(i64::from(figures.scanned));
    }

    /// Puts all of them into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            ALLOCATED,
            "Bytes that the store takes on disk, downloads under way and metadata included",
            self.allocated.clone(),
        );
        registry.register(BLOBS, "Stored layers and configs", self.blobs.clone());
        registry.register(CAP, "Most bytes that the store may take, 0 without a cap", self.cap.clone());
        registry.register(
            CHECKED_BYTES,
            "Bytes hashed because a part of a stored blob was asked for that was not hashed since the start",
            self.checked_bytes.clone(),
        );
        registry.register(EVICTED, "Stored files removed for room or for age", self.evicted.clone());
        registry.register(EVICTED_BYTES, "Bytes of the files removed for room or for age", self.evicted_bytes.clone());
        registry.register(FREE, "Bytes free on the store's file system", self.free.clone());
        registry.register(FULL, "Writes to the store that found no room", self.full.clone());
        registry.register(HEALTHY, "1 while the store's health check passes", self.healthy.clone());
        registry.register(MANIFESTS, "Stored manifests", self.manifests.clone());
        registry.register(QUARANTINED, "Stored files found damaged", self.quarantined.clone());
        registry.register(SCANNED, "1 once the scan at start is done", self.scanned.clone());
        registry.register(SCRUBBED_BYTES, "Bytes hashed by the background check", self.scrubbed_bytes.clone());
    }
}

// Counters get `_total` from the exporter.
const ALLOCATED: &str = "chandler_store_allocated_bytes";
const BLOBS: &str = "chandler_store_blobs";
const CAP: &str = "chandler_store_cap_bytes";
const CHECKED_BYTES: &str = "chandler_store_checked_bytes";
const EVICTED: &str = "chandler_store_evicted";
const EVICTED_BYTES: &str = "chandler_store_evicted_bytes";
const FREE: &str = "chandler_store_free_bytes";
const FULL: &str = "chandler_store_full";
const HEALTHY: &str = "chandler_store_healthy";
const MANIFESTS: &str = "chandler_store_manifests";
const QUARANTINED: &str = "chandler_store_quarantined";
const SCANNED: &str = "chandler_store_scanned";
const SCRUBBED_BYTES: &str = "chandler_store_scrubbed_bytes";
