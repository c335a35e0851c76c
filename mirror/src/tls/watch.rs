//! The task that takes a new pair from its files, without a restart and without ever losing the working one.
//!
//! It looks at the files themselves instead of waiting for events: links (certbot), whole folders swapped (Kubernetes) and network file
//! systems send none. A renewal writes two files; between the two writes they do not fit, which is not worth a word for [`PATIENCE`].

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Metrics, Pair, PairError, Resolver};
use crate::config::TlsFiles;

/// Between two looks.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Looks at `files` every `interval` until `cancel`, and swaps a new valid pair into `resolver`.
pub async fn watch(files: TlsFiles, resolver: Arc<Resolver>, metrics: Metrics, interval: Duration, cancel: CancellationToken) {
    if let Some(pair) = resolver.pair() {
        metrics.in_use(&files, &pair);
        warn_of(&pair);
    }
    let mut watcher = Watcher { files, metrics, resolver, seen: None, trouble: None };
    let mut looks = tokio::time::interval(interval);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! { () = cancel.cancelled() => return, _ = looks.tick() => {} }
        watcher.look().await;
    }
}

struct Watcher {
    files: TlsFiles,
    metrics: Metrics,
    resolver: Arc<Resolver>,
    seen: Option<Identity>,
    trouble: Option<Trouble>,
}

/// The new files are not usable, since then.
struct Trouble {
    said: bool,
    since: Instant,
}

/// Changes with any change of either file, or of a link on the way to it.
type Identity = [Option<(u64, u64, u64, i64, i64, i64)>; 2];

impl Watcher {
    /// A file that did not fit is read again at each look: a write that ends within the clock's grain changes nothing that stat shows.
    async fn look(&mut self) {
        let (files, seen) = (self.files.clone(), self.trouble.is_none().then_some(self.seen).flatten());
        // A network file system may hang; that must not hold a thread that serves.
        let looked = tokio::task::spawn_blocking(move || {
            let now = identity(&files);
            (Some(now) != seen).then(|| (now, Pair::load(&files, SystemTime::now())))
        });
        let Ok(Some((identity, loaded))) = looked.await else { return };
        self.seen = Some(identity);
        match loaded {
            Ok(pair) => self.take(pair),
            Err(error) => self.complain(&error),
        }
    }

    fn take(&mut self, pair: Pair) {
        self.trouble = None;
        if self.resolver.pair().is_some_and(|current| pair.is_same(&current)) {
            return;
        }
        let until = humantime::format_rfc3339_seconds(pair.not_after());
        tracing::info!(tls.file = %self.files.certificate.display(), tls.names = ?pair.names(), "a new certificate is in use, valid until {until}");
        warn_of(&pair);
        self.metrics.in_use(&self.files, &pair);
        self.metrics.reloaded(&self.files, "taken");
        self.resolver.swap(pair);
    }

    fn complain(&mut self, error: &PairError) {
        // Where a certificate is issued to us too, files that are not there yet are nothing wrong.
        let is_gone = self.resolver.issued().is_some() && error.is_missing();
        if is_gone && self.resolver.pair().is_none() {
            self.trouble = None;
            return;
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble { said: false, since: Instant::now() });
        if trouble.said || trouble.since.elapsed() < PATIENCE {
            return;
        }
        if is_gone && self.resolver.let_go(SystemTime::now()) {
            tracing::info!(tls.file = %self.files.certificate.display(), "the files are gone; the certificate that is issued to the mirror takes their place");
            self.metrics.gone(&self.files);
            self.trouble = None;
            return;
        }
        trouble.said = true;
        self.metrics.reloaded(&self.files, "refused");
        tracing::error!(error = error as &dyn std::error::Error, "the new certificate files are not usable; what is in use stays");
    }
}

fn warn_of(pair: &Pair) {
    for warning in pair.warnings() {
        tracing::warn!("{warning}");
    }
}

fn identity(files: &TlsFiles) -> Identity {
    let of = |meta: Metadata| (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec());
    [&files.certificate, &files.key].map(|file| std::fs::metadata(file).ok().map(of))
}

/// How long certificate and key may contradict each other before it is said.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::pair::tests::Files;
    use super::*;

    async fn until(mut holds: impl FnMut() -> bool) {
        let waited = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.expect("it happens");
    }

    fn start(files: &TlsFiles) -> (Arc<Resolver>, Metrics, CancellationToken) {
        let resolver = Arc::new(Resolver::new(Some(Pair::load(files, SystemTime::now()).expect("a pair")), None));
        let (metrics, cancel) = (Metrics::default(), CancellationToken::new());
        tokio::spawn(watch(files.clone(), Arc::clone(&resolver), metrics.clone(), Duration::from_millis(10), cancel.clone()));
        (resolver, metrics, cancel)
    }

    #[tokio::test]
    async fn a_new_pair_behind_the_links_of_certbot_is_taken_when_both_links_moved() {
        let folder = Files::new();
        let (one, two) = (folder.self_signed("one.test", "archive1"), folder.self_signed("two.test", "archive2"));
        let live = folder.links("live", &one);
        let (resolver, metrics, cancel) = start(&live);
        let _ends = cancel.drop_guard();

        folder.relink(&live.certificate, &two.certificate);
        let file = live.clone();
        until(|| matches!(Pair::load(&file, SystemTime::now()), Err(PairError::WrongKey { .. }))).await;
        assert_eq!(resolver.pair().expect("a pair").names(), ["one.test"], "between the two writes the old pair stays");

        folder.relink(&live.key, &two.key);
        until(|| resolver.pair().expect("a pair").names() == ["two.test"]).await;
        assert_eq!((metrics.reloads(&live, "taken"), metrics.reloads(&live, "refused")), (1, 0));
    }

    #[tokio::test]
    async fn files_that_are_gone_stay_in_use_where_nothing_else_is_there_to_show() {
        let folder = Files::new();
        let live = folder.self_signed("one.test", "live");
        let resolver = Arc::new(Resolver::new(Some(Pair::load(&live, SystemTime::now()).expect("a pair")), None));
        let mut watcher =
            Watcher { files: live.clone(), metrics: Metrics::default(), resolver: Arc::clone(&resolver), seen: None, trouble: None };
        std::fs::remove_file(&live.certificate).expect("removed");
        std::fs::remove_file(&live.key).expect("removed");
        watcher.look().await;
        watcher.trouble.as_mut().expect("noticed").since = Instant::now().checked_sub(PATIENCE).expect("the machine runs longer than that");
        watcher.look().await;
        assert_eq!(resolver.pair().expect("a pair").names(), ["one.test"]);
    }

    #[tokio::test]
    async fn a_bad_pair_never_replaces_a_working_one_and_is_complained_of_once() {
        let folder = Files::new();
        let live = folder.self_signed("one.test", "live");
        let resolver = Arc::new(Resolver::new(Some(Pair::load(&live, SystemTime::now()).expect("a pair")), None));
        let metrics = Metrics::default();
        let mut watcher =
            Watcher { files: live.clone(), metrics: metrics.clone(), resolver: Arc::clone(&resolver), seen: None, trouble: None };
        std::fs::write(&live.key, "garbage").expect("written");
        watcher.look().await;
        assert_eq!(metrics.reloads(&live, "refused"), 0, "it is not yet worth a word");
        let trouble = watcher.trouble.as_mut().expect("noticed");
        trouble.since = Instant::now().checked_sub(PATIENCE).expect("the machine runs longer than that");
        watcher.look().await;
        watcher.look().await;
        assert_eq!(metrics.reloads(&live, "refused"), 1);
        assert_eq!(resolver.pair().expect("a pair").names(), ["one.test"]);

        let two = folder.self_signed("two.test", "two");
        std::fs::copy(&two.certificate, &live.certificate).expect("copied");
        std::fs::copy(&two.key, &live.key).expect("copied");
        watcher.look().await;
        assert_eq!(resolver.pair().expect("a pair").names(), ["two.test"]);
        assert!(watcher.trouble.is_none());
    }
}
