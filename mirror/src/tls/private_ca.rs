//! The end of the private CA's own certificate, in readiness and metrics: the CA renews what it issued, but itself only a person can renew.
//!
//! It is told wherever something depends on that CA, be it a listener's certificate or those of clients.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use certs::ca::Published;
use certs::{Moment, in_words};
use tokio_util::sync::CancellationToken;

use super::Telling;
use crate::config::{ClientCa, Config, Issuer};
use crate::telemetry::Kind;

/// Looks now and then until `cancel`, where `config` depends on the private CA.
pub(crate) async fn watch(config: Config, telling: Telling, cancel: CancellationToken) {
    if !is_depended_on(&config) {
        return;
    }
    let folder = config.acme.private_ca();
    loop {
        if let Some((not_before, not_after)) = life(&folder).await {
            telling.metrics.of_private_ca(not_before, not_after);
            match standing(SystemTime::now().into(), not_before, not_after) {
                Some(text) => telling.readiness.set(CONDITION, Kind::Warning, text),
                None => telling.readiness.clear(CONDITION),
            }
        }
        tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(EVERY) => {} }
    }
}

fn is_depended_on(config: &Config) -> bool {
    let issues = config.certificates().iter().any(|names| names.issuer == Issuer::Private);
    issues || config.clients.contains(&ClientCa::Private)
}

/// Of the certificate that it signs with; `None` where that cannot be told, which others say.
async fn life(folder: &Path) -> Option<(Moment, Moment)> {
    let folder: PathBuf = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || Published::read(&folder)).await; // The disk may hang.
    let published = read.ok()?.ok()?;
    published.newest().map(|newest| (newest.not_before(), newest.not_after()))
}

/// From half of its life on. Pure.
fn standing(now: Moment, not_before: Moment, not_after: Moment) -> Option<String> {
    const MEND: &str = "`chandler ca rotate` makes the next one";
    if now >= not_after {
        return Some(format!("its own certificate ended at {not_after}, and with it all that it signed: {MEND}"));
    }
    let left = not_after.since(now);
    (now.since(not_before) > left).then(|| format!("its own certificate ends in {}: {MEND}", in_words(left)))
}

const CONDITION: &str = "private CA";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_from_half_of_its_life_on() {
        let at = |text: &str| text.parse::<Moment>().expect("a moment");
        let told = |now: &str| standing(at(now), at("2026-01-01T00:00:00Z"), at("2026-01-21T00:00:00Z"));
        assert_eq!(told("2026-01-10T00:00:00Z"), None);
        assert_eq!(
            told("2026-01-12T00:00:00Z").as_deref(),
            Some("its own certificate ends in 9 days: `chandler ca rotate` makes the next one")
        );
        assert!(told("2026-01-21T00:00:00Z").is_some_and(|text| text.starts_with("its own certificate ended at 2026-01-21T00:00:00Z")));
    }
}
