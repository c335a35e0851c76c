//! The certificate of the moment, where handshakes find it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;

use crate::store::Held;
use crate::{Bundle, Moment, Wish};

/// What is served under one name; nothing until there is one.
pub struct Served {
    current: ArcSwapOption<Held>,
    wish: Wish,
}

impl Served {
    /// For `wish`.
    pub fn new(wish: Wish) -> Self {
        Self { current: ArcSwapOption::empty(), wish }
    }

    /// The pair for the next handshake.
    pub fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|held| Arc::clone(held.bundle.certified()))
    }

    /// What it is for.
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// The one in use.
    pub fn current(&self) -> Option<Bundle> {
        self.current.load().as_ref().map(|held| held.bundle.clone())
    }

    /// Takes what is stored if it is better than what is served. Says whether it was taken.
    pub fn offer(&self, held: &Held, now: Moment) -> bool {
        let is_better = self.current.load().as_ref().is_none_or(|current| self.is_better(held, current, now));
        if is_better {
            self.current.store(Some(Arc::new(held.clone())));
        }
        is_better
    }

    /// One that does not work is better than nothing, and than nothing else. Of two that work the one that is what is wanted; then the older one, to
    /// which a person went back; then the newer one, if it was got so that the other is not used any longer; then the one that does not end earlier.
    fn is_better(&self, new: &Held, current: &Held, now: Moment) -> bool {
        let works = |held: &Held| held.bundle.check(&self.wish.identifiers, now).is_ok();
        let fits = |held: &Held| held.facts.differs(&self.wish).is_none() && !held.facts.revoked;
        match (works(new), works(current)) {
            _ if new.bundle.serial() == current.bundle.serial() => false,
            (false, _) => false,
            (true, false) => true,
            (true, true) if fits(new) != fits(current) => fits(new),
            (true, true) if new.generation < current.generation => true,
            (true, true) if new.generation > current.generation && new.facts.supersedes => true,
            // CAs that end themselves soon give all the same end.
            (true, true) => new.bundle.not_after() >= current.bundle.not_after(),
        }
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
    use crate::{Facts, KeyKind};

    fn wish(directory: &str) -> Wish {
        let identifiers = ["mirror.test".parse().expect("a name")].into();
        Wish { directories: vec![directory.to_owned()], how: String::new(), identifiers, key: KeyKind::P256, profile: None }
    }

    fn held(generation: u32, directory: &str, from: i32, until: i32) -> Held {
        let mut params = rcgen::CertificateParams::new(["mirror.test".to_owned()]).expect("names");
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let bundle = Bundle::join(&key.serialize_pem(), &params.self_signed(&key).expect("signed").pem()).expect("a pair");
        let facts = bundle.facts(directory, &wish(directory));
        Held { bundle, facts, generation }
    }

    fn now() -> Moment {
        "2026-06-01T00:00:00Z".parse().expect("a moment")
    }

    #[test]
    fn one_that_works_is_never_replaced_by_one_that_does_not_or_ends_earlier() {
        let served = Served::new(wish("ca"));
        assert!(served.offer(&held(1, "ca", 2024, 2025), now()), "an expired one is better than none");
        assert!(served.offer(&held(2, "ca", 2026, 2028), now()), "one that works is better than an expired one");
        let worse = [
            (held(3, "ca", 2024, 2025), "expired"),
            (held(4, "ca", 2027, 2030), "not yet valid"),
            (held(5, "ca", 2026, 2027), "ends earlier"),
            (held(6, "other", 2026, 2029), "of a CA that is not wanted"),
        ];
        for (worse, why) in worse {
            assert!(!served.offer(&worse, now()), "{why}");
        }
        let better = held(7, "ca", 2026, 2029);
        assert!(served.offer(&better, now()));
        assert!(!served.offer(&better, now()), "the same one is no news");
    }

    #[test]
    fn one_that_a_person_asked_for_or_whose_forerunner_was_taken_back_is_served_though_it_ends_earlier() {
        let served = Served::new(wish("ca"));
        assert!(served.offer(&held(1, "ca", 2026, 2030), now()));
        let shorter = held(2, "ca", 2026, 2029);
        assert!(!served.offer(&shorter, now()), "of its own accord none is replaced by one that ends earlier");
        let supersedes = |held: &Held| Held { facts: Facts { supersedes: true, ..held.facts.clone() }, ..held.clone() };
        let useless = held(3, "ca", 2024, 2025);
        assert!(!served.offer(&supersedes(&useless), now()), "but by one that does not work in no case");
        assert!(served.offer(&supersedes(&shorter), now()));
        assert!(served.offer(&held(4, "ca", 2026, 2029), now()), "the same end, as of a CA that ends then itself");
    }

    #[test]
    fn one_that_is_wanted_goes_before_one_that_ends_later_and_so_does_one_to_which_a_person_went_back() {
        let served = Served::new(wish("ca"));
        assert!(served.offer(&held(1, "staging", 2026, 2029), now()));
        assert!(served.offer(&held(2, "ca", 2026, 2028), now()), "the configuration names another CA");
        assert!(served.offer(&held(3, "ca", 2026, 2029), now()));
        assert!(served.offer(&held(2, "ca", 2026, 2028), now()), "cert rollback");
        assert!(!served.offer(&held(1, "staging", 2026, 2029), now()));
    }
}
