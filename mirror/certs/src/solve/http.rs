//! http-01: what port 80 answers under `/.well-known/acme-challenge/` (RFC 8555 8.3).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Proof;

/// The files that are there now, by token. CAs look at them from several places, as often as they like.
#[derive(Debug, Default)]
pub struct HttpProofs(Mutex<HashMap<String, String>>);

impl HttpProofs {
    /// The path that CAs ask for, before the token.
    pub const PATH: &'static str = "/.well-known/acme-challenge/";

    /// The file for `token`.
    pub fn find(&self, token: &str) -> Option<String> {
        self.table().get(token).cloned()
    }

    pub(super) fn present(&self, proof: &Proof) {
        self.table().insert(proof.token.clone(), proof.key_authorization.clone());
    }

    pub(super) fn withdraw(&self, proof: &Proof) {
        self.table().remove(&proof.token);
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
