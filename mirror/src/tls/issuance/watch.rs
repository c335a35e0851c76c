//! The task that tells how it stands with one certificate: metrics, readiness, and whether clients see what was got.

use std::time::{Duration, SystemTime};

use certs::Moment;
use certs::worker::Status;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use super::{Issued, Shown, Telling, dial, standing};

/// Watches one certificate.
pub(super) struct Watcher {
    condition: String,
    /// The serial number that clients were last seen to get, on every listener.
    dialled: Option<String>,
    issued: Issued,
    shown: Vec<Shown>,
    status: Receiver<Status>,
    telling: Telling,
}

impl Watcher {
    pub(super) fn new(issued: Issued, status: Receiver<Status>, shown: Vec<Shown>, telling: Telling) -> Self {
        Self { condition: format!("certificate {}", issued.names().name), dialled: None, issued, shown, status, telling }
    }

    /// Until `cancel`.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        loop {
            let status = self.status.borrow_and_update().clone();
            self.tell(&status);
            if cancel.run_until_cancelled(self.see()).await.is_none() {
                return;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.status.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(EVERY) => {} // What is left of it grows less by itself.
            }
        }
    }

    pub(super) fn tell(&self, status: &Status) {
        let (name, now) = (&self.issued.names().name, SystemTime::now());
        self.telling.metrics.stands(name, status);
        let stands_in = self.shown.iter().all(|shown| shown.resolver.pair().is_some_and(|pair| now < pair.not_after()));
        match standing::standing(Moment::from(now), status, stands_in) {
            Some((kind, reason)) => self.telling.readiness.set(self.condition.clone(), kind, reason),
            None => self.telling.readiness.clear(&self.condition),
        }
    }

    /// Whether each listener shows the one in hand, by a connection of our own.
    async fn see(&mut self) {
        let Some(current) = self.issued.served.current() else { return };
        if self.dialled.as_deref() == Some(current.serial()) {
            return;
        }
        let (name, wanted) = (&self.issued.names().name, &current.certified().cert[0]);
        let mut all = true;
        for shown in self.shown.iter().filter(|shown| !shown.proxied) {
            let host = self.issued.names().identifiers.first();
            match dial::leaf(shown.address, host).await {
                Ok(leaf) if leaf == *wanted => {}
                // A pair that somebody put there goes before it.
                Ok(leaf) if shown.resolver.pair().is_some_and(|pair| pair.certified().cert[0] == leaf) => {}
                Ok(_) => {
                    all = false;
                    tracing::error!(tls.certificate = %name, server.address = %shown.address, "clients are shown another certificate than the one that was got");
                }
                Err(error) => {
                    all = false;
                    tracing::warn!(tls.certificate = %name, server.address = %shown.address, error = &error as &dyn std::error::Error, "the new certificate could not be looked at from a client's side");
                }
            }
        }
        self.telling.metrics.seen(name, all);
        self.dialled = all.then(|| current.serial().to_owned());
    }
}

/// Between two looks where nothing changes.
const EVERY: Duration = Duration::from_secs(60);
