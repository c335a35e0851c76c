//! The one file that turns errors into HTTP: a status, an OCI code, a message.
//!
//! The status is what a client falls over by, so it follows what clients do, not what would be most exact: never 401 (engines would send their
//! user's password), never 429 (containerd retries at once, Podman sleeps), 404 where only the next endpoint can help.

use std::error::Error;
use std::fmt::Write as _;

use http::StatusCode;
use serde_json::json;

use super::action::ActionError;
use crate::cache::CacheError;
use crate::upstream::FetchError;

/// Why a request of the registry API is not answered with content.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// It is no request of this API.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// The cache has no answer.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The request came from this very mirror.
    #[error("this request went through this mirror already: an upstream points back at it")]
    Loop,
    /// No bytes of the blob are in the range.
    #[error("the blob has {size} bytes; the range lies outside of them")]
    Range {
        /// The blob's size.
        size: u64,
    },
    /// No access rule allows it.
    #[error("no access rule lets {client} read {repo}")]
    Refused {
        /// Who asked, and with what certificate.
        client: String,
        /// `upstream/repository`, or the page.
        repo: String,
    },
}

/// What the request was about: some clients need another status for a layer than for a manifest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    /// A blob.
    Blob,
    /// A manifest, or what belongs to one.
    Manifest,
    /// Anything else.
    Page,
}

impl RegistryError {
    /// Status and OCI code for a client that calls itself `agent`.
    pub(crate) fn status(&self, subject: Subject, agent: &str) -> (StatusCode, &'static str) {
        match self {
            Self::Action(error) => action_status(error),
            Self::Cache(error) => cache_status(error, subject, agent),
            Self::Loop => (StatusCode::LOOP_DETECTED, "UNAVAILABLE"),
            Self::Range { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID"),
            Self::Refused { .. } => (StatusCode::FORBIDDEN, "DENIED"),
        }
    }

    /// The body that the specification asks for. The request's id leads to its line in the access log.
    pub(crate) fn body(&self, code: &str, request_id: &str) -> String {
        json!({ "errors": [{ "code": code, "message": self.told(), "detail": { "request_id": request_id } }] }).to_string()
    }

    /// What a client is told. Whose account it is, and why it is refused, is for the operator.
    fn told(&self) -> String {
        let account = "this mirror's account cannot be used; its operator finds the reason in /readyz";
        match self {
            Self::Cache(CacheError::Upstream { what, .. }) if self.is_about_account() => format!("{what} is not cached, and {account}"),
            _ if self.is_about_account() => format!("{self}: {account}"),
            _ => self.chain(),
        }
    }

    /// Whether the account is at the bottom of it, however deep: a download that went wrong half way has its cause further down.
    fn is_about_account(&self) -> bool {
        let is_refusal = |error: &(dyn Error + 'static)| matches!(error.downcast_ref(), Some(FetchError::AccountRefused { .. }));
        // What an `Arc` holds is no link of the chain by itself.
        let mut cause: Option<&(dyn Error + 'static)> =
            if let Self::Cache(CacheError::Flight { source, .. }) = self { Some(source.as_ref()) } else { self.source() };
        while let Some(error) = cause {
            if is_refusal(error) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// The error and its causes, in one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }

    /// The mirror or its upstream failed, rather than the client.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Cache(error) if !error.is_final()) || matches!(self, Self::Loop)
    }
}

fn action_status(error: &ActionError) -> (StatusCode, &'static str) {
    match error {
        ActionError::Digest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        ActionError::Name(_) => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
        ActionError::NoRoute => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
        ActionError::Page => (StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID"),
        ActionError::ReadOnly => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        ActionError::Tag(_) => (StatusCode::BAD_REQUEST, "TAG_INVALID"),
        ActionError::UnknownNamespace(_) => (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
    }
}

fn cache_status(error: &CacheError, subject: Subject, agent: &str) -> (StatusCode, &'static str) {
    match (error, subject) {
        (CacheError::Closed { .. } | CacheError::NotServed { .. }, _) | (CacheError::Unknown { .. }, Subject::Page) => {
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN")
        }
        (CacheError::Unknown { .. }, Subject::Manifest) => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        (CacheError::Unknown { .. }, Subject::Blob) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        // dockerd's older store tries a layer that fails with 5xx five times, over 50 seconds; after a 404 it goes to the next endpoint at once.
        (_, Subject::Blob) if is_legacy_dockerd(agent) => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        (
            CacheError::Busy { .. }
            | CacheError::Stopping
            | CacheError::Unreadable { .. }
            | CacheError::Upstream { source: FetchError::Busy { .. }, .. },
            _,
        ) => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        (CacheError::Upstream { source: FetchError::Loop { .. }, .. }, _) => (StatusCode::LOOP_DETECTED, "UNAVAILABLE"),
        _ => (StatusCode::BAD_GATEWAY, "UNAVAILABLE"),
    }
}

fn is_legacy_dockerd(agent: &str) -> bool {
    agent.starts_with("docker/") && !agent.contains("containerd-client")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::StoreError;

    fn silence() -> RegistryError {
        CacheError::Timeout { what: Arc::from("library/alpine:3") }.into()
    }

    #[test]
    fn an_upstreams_silence_is_502_but_404_for_a_layer_of_the_older_dockerd() {
        let legacy =
            "docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/20.10)";
        let current = "docker/29.0 go/go1.25 containerd-client/2.2 storage-driver/overlayfs";
        assert_eq!(silence().status(Subject::Manifest, legacy).0, StatusCode::BAD_GATEWAY);
        assert_eq!(silence().status(Subject::Blob, current).0, StatusCode::BAD_GATEWAY);
        assert_eq!(silence().status(Subject::Blob, legacy), (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"));
    }

    #[test]
    fn what_is_too_much_or_cannot_be_read_here_is_503_and_not_the_upstreams_fault() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let source = Arc::new(StoreError::Io { doing: "read", path: "_state".into(), source: full });
        let errors: [RegistryError; 3] = [
            CacheError::Busy { what: "x".into() }.into(),
            CacheError::Stopping.into(),
            CacheError::Unreadable { repo: "docker.io/a/b".into(), source }.into(),
        ];
        for error in errors {
            for subject in [Subject::Blob, Subject::Manifest, Subject::Page] {
                assert_eq!(error.status(subject, "containerd/2.0"), (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"), "{error}");
            }
            assert_eq!(error.status(Subject::Blob, "docker/20.10").0, StatusCode::NOT_FOUND, "{error}");
        }
    }

    #[test]
    fn no_error_is_a_challenge_or_a_429() {
        let errors = [
            silence(),
            CacheError::Closed { repo: "docker.io/a/b".into() }.into(),
            CacheError::NotServed { repo: "docker.io/a/b".into(), setting: "private" }.into(),
            CacheError::Unknown { what: "x".into() }.into(),
            CacheError::Stopping.into(),
            RegistryError::Loop,
            RegistryError::Range { size: 1 },
            RegistryError::Refused { client: "127.0.0.1".into(), repo: "docker.io/a/b".into() },
            ActionError::ReadOnly.into(),
            ActionError::UnknownNamespace("quay.io".into()).into(),
        ];
        for error in errors {
            for subject in [Subject::Blob, Subject::Manifest, Subject::Page] {
                let (status, _) = error.status(subject, "x");
                assert!(status != StatusCode::UNAUTHORIZED && status != StatusCode::TOO_MANY_REQUESTS, "{error}");
            }
        }
    }

    #[test]
    fn no_client_is_told_whose_account_it_is_however_deep_the_refusal_lies() {
        let refusal = || FetchError::AccountRefused {
            subject: crate::upstream::Subject::new(&"docker.io".parse().expect("a name"), "a/b:1"),
            user: "shipyard".into(),
            reason: "auth.docker.io answered 401".into(),
        };
        let digest = crate::oci::Digest::of(crate::oci::Algorithm::Sha256, b"x");
        let deep = CacheError::Upstream { what: "a".into(), source: refusal() };
        let flights = [Arc::new(refusal()) as Arc<dyn Error + Send + Sync>, Arc::new(deep)];
        let flights = flights.map(|source| CacheError::Flight { digest: digest.clone(), source });
        for error in flights.into_iter().chain([CacheError::fetch("a/b:1", refusal())]) {
            let body = RegistryError::from(error).body("UNAVAILABLE", "r-1");
            assert!(!body.contains("shipyard") && !body.contains("answered") && body.contains("/readyz"), "{body}");
        }
    }

    #[test]
    fn a_body_names_code_cause_and_request() {
        assert_eq!(
            silence().body("UNAVAILABLE", "r-1"),
            r#"{"errors":[{"code":"UNAVAILABLE","detail":{"request_id":"r-1"},"message":"no answer for library/alpine:3 within 9 s"}]}"#
        );
    }
}
