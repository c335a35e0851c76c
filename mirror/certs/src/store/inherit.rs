//! A list of names that was changed, and what it can take over from the one before.
//!
//! A certificate's folder is called after its first name. Another order of the names, or another first one, is another folder: without this the mirror
//! would show its self-signed certificate where it has one that works, and order what the CA has counted already.

use super::{CertName, Held, Store, StoreError};
use crate::Wish;

impl Store {
    /// Gives the certificate `name`, which has none yet, a copy of the best among the others that `wish` has names in common with, and of what is
    /// remembered of it. Says whose. The other one stays where it is: it may be somebody else's.
    pub fn inherit(&self, name: &CertName, wish: &Wish) -> Result<Option<CertName>, StoreError> {
        let own = self.certificate(name);
        if !own.generations()?.is_empty() {
            return Ok(None);
        }
        let Some((heir, held)) = self.nearest(name, wish)? else { return Ok(None) };
        let _lock = own.lock()?;
        if !own.generations()?.is_empty() {
            return Ok(None); // Somebody else was first, and may have got one meanwhile.
        }
        if own.stamp().is_none() {
            own.save_state(&self.certificate(&heir).state().unwrap_or_default())?; // The budget of these names, above all.
        }
        own.publish(&held.bundle, &held.facts)?; // Last: with it the folder has one.
        Ok(Some(heir))
    }

    /// The one that is wanted before any other; then the one with the most names in common, then the one that is valid for longer.
    fn nearest(&self, name: &CertName, wish: &Wish) -> Result<Option<(CertName, Held)>, StoreError> {
        let others = self.names()?.into_iter().filter(|other| other != name);
        let held = others.filter_map(|other| self.certificate(&other).current().ok().flatten().map(|held| (other, held)));
        let shared = |held: &Held| held.facts.identifiers.intersection(&wish.identifiers).count();
        let is_of_use = |held: &Held| shared(held) > 0 && wish.directories.contains(&held.facts.directory) && !held.facts.revoked;
        let worth = |held: &Held| (held.facts.differs(wish).is_none(), shared(held), held.facts.not_after);
        Ok(held.filter(|(_, held)| is_of_use(held)).max_by_key(|(_, held)| worth(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::{Bundle, Identifiers, KeyKind};

    fn wish(names: &[&str]) -> Wish {
        let identifiers: Identifiers = names.iter().map(|name| name.parse().expect("a name")).collect();
        Wish { directories: vec!["https://ca.test/directory".into()], identifiers, how: String::new(), key: KeyKind::P256, profile: None }
    }

    fn publish(store: &Store, name: &str, names: &[&str], directory: &str) -> String {
        let made = rcgen::generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("made");
        let bundle = Bundle::join(&made.signing_key.serialize_pem(), &made.cert.pem()).expect("a pair");
        let folder = store.certificate(&name.parse().expect("a name"));
        folder.publish(&bundle, &bundle.facts(directory, &wish(names))).expect("stored");
        folder.save_state(&State { jitter: Some(0.25), ..State::default() }).expect("saved");
        bundle.serial().to_owned()
    }

    fn inherited(store: &Store, name: &str, names: &[&str]) -> Option<String> {
        let name: CertName = name.parse().expect("a name");
        store.inherit(&name, &wish(names)).expect("read")?;
        let held = store.certificate(&name).current().expect("read").expect("one");
        assert_eq!(store.certificate(&name).state().expect("read").jitter, Some(0.25), "what is remembered comes with it");
        Some(held.bundle.serial().to_owned())
    }

    #[test]
    fn names_in_another_order_keep_their_certificate_and_a_longer_list_serves_the_old_one_until_it_has_its_own() {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::new(root.path());
        let serial = publish(&store, "a.test", &["a.test", "b.test"], "https://ca.test/directory");
        publish(&store, "b.other", &["b.test"], "https://ca.test/directory");
        assert_eq!(inherited(&store, "b.test", &["b.test", "a.test"]).as_ref(), Some(&serial));
        assert_eq!(inherited(&store, "b.test", &["b.test", "a.test"]), None, "it has one now");
        assert_eq!(inherited(&store, "new.test", &["new.test", "a.test", "b.test"]).as_ref(), Some(&serial));
    }

    #[test]
    fn nothing_is_taken_from_others_who_share_no_name_or_were_issued_by_a_ca_that_is_not_wanted() {
        let root = tempfile::tempdir().expect("a folder");
        let store = Store::new(root.path());
        publish(&store, "a.test", &["a.test"], "private");
        assert_eq!(inherited(&store, "b.test", &["b.test"]), None);
        assert_eq!(inherited(&store, "c.test", &["c.test", "a.test"]), None, "the private CA's is not what ACME got");
    }
}
