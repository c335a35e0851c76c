//! The certificate of the moment, where handshakes find it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use crate::{Bundle, Identifiers, Moment};

/// What is served under one name; nothing until there is one.
pub struct Served {
    current: ArcSwapOption<Bundle>,
    wanted: Identifiers,
}

impl Served {
    /// For `wanted`.
    pub fn new(wanted: Identifiers) -> Self {
        Self { current: ArcSwapOption::empty(), wanted }
    }

    /// The pair for the next handshake.
    pub fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|bundle| Arc::clone(bundle.certified()))
    }

    /// The one in use.
    pub fn current(&self) -> Option<Arc<Bundle>> {
        self.current.load_full()
    }

    /// Takes `bundle` if it is better than what is served: valid where that is not, or valid for longer. With nothing at all, one that has expired
    /// is better than none. Says whether it was taken.
    pub fn offer(&self, bundle: &Bundle, now: Moment) -> bool {
        let is_better = match &*self.current.load() {
            None => true,
            Some(current) if current.serial() == bundle.serial() => false,
            Some(current) => {
                let works = bundle.check(&self.wanted, now).is_ok();
                let worked = current.check(&self.wanted, now).is_ok();
                works && (!worked || bundle.not_after() > current.not_after())
            }
        };
        if is_better {
            self.current.store(Some(Arc::new(bundle.clone())));
        }
        is_better
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(&*self.current.load()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(from: i32, until: i32) -> Bundle {
        let mut params = rcgen::CertificateParams::new(["mirror.test".to_owned()]).expect("names");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        Bundle::join(&key.serialize_pem(), &params.self_signed(&key).expect("signed").pem()).expect("a pair")
    }

    #[test]
    fn one_that_works_is_never_replaced_by_one_that_does_not_or_ends_earlier() {
        let now = "2026-06-01T00:00:00Z".parse().expect("a moment");
        let served = Served::new(["mirror.test".parse().expect("a name")].into());
        assert!(served.offer(&bundle(2024, 2025), now), "an expired one is better than none");
        assert!(served.offer(&bundle(2026, 2027), now), "one that works is better than an expired one");
        for (worse, why) in [(bundle(2024, 2025), "expired"), (bundle(2027, 2030), "not yet valid"), (bundle(2026, 2027), "ends no later")]
        {
            assert!(!served.offer(&worse, now), "{why}");
        }
        let better = bundle(2026, 2028);
        assert!(served.offer(&better, now));
        assert!(!served.offer(&better, now), "the same one is no news");
    }
}
