//! Manifests: HEAD, which costs no quota, and GET.
//!
//! Every request for one carries the same full list of types. Docker Hub answers a tag by what is accepted, so that with a shorter list a tag would
//! mean another digest; schema 1 is not asked for, since no client of today reads it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::error::FetchError;
use super::exchange::Ask;
use super::metrics::Kind;
use super::{Identity, Upstream, body};
use crate::oci::{Algorithm, Digest, MAX_MANIFEST_BYTES, ManifestFacts, MediaType, Reference, RepoName};

/// What a HEAD tells of a manifest; registries leave out any of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManifestHead {
    /// What the tag means at present.
    pub digest: Option<Digest>,
    /// Its type, without parameters.
    pub media_type: Option<MediaType>,
    /// Bytes.
    pub size: Option<u64>,
}

/// What is known of a manifest after a question that should cost nothing.
#[derive(Clone, Debug)]
pub enum Described {
    /// The registry knows no HEAD, so that the question was a GET: here is all of it.
    Fetched(FetchedManifest),
    /// What its headers tell.
    Head(ManifestHead),
}

/// A manifest whose bytes are those that its digest names.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// Exactly as they were sent.
    pub bytes: Bytes,
    /// Computed from the bytes; by the algorithm that was asked for, or that the upstream named, or SHA-256.
    pub digest: Digest,
    /// What it names, and its type.
    pub facts: ManifestFacts,
}

impl Upstream {
    /// What `reference` means at present, at no quota. An upstream that refuses HEAD as such is asked by GET; what that brought should be kept.
    pub async fn describe_manifest(&self, repo: &RepoName, reference: &Reference, as_: Identity) -> Result<Described, FetchError> {
        self.describe_manifest_by(repo, reference, as_, Instant::now() + self.inner.tuning.budget).await
    }

    /// [`describe_manifest`](Self::describe_manifest), where only the headers are of use.
    pub async fn head_manifest(&self, repo: &RepoName, reference: &Reference, as_: Identity) -> Result<ManifestHead, FetchError> {
        Ok(match self.describe_manifest(repo, reference, as_).await? {
            Described::Fetched(FetchedManifest { bytes, digest, facts }) => {
                ManifestHead { digest: Some(digest), media_type: Some(facts.media_type), size: Some(bytes.len() as u64) }
            }
            Described::Head(head) => head,
        })
    }

    pub(super) async fn describe_manifest_by(
        &self,
        repo: &RepoName,
        reference: &Reference,
        as_: Identity,
        deadline: Instant,
    ) -> Result<Described, FetchError> {
        let ask = self.manifest_ask(Method::HEAD, Kind::ManifestHead, repo, reference, as_);
        let place = self.inner.lanes.manifest(&ask.subject, deadline).await?;
        match self.inner.fetch(&ask, deadline).await {
            Ok(answer) => Ok(Described::Head(head(answer.headers()))),
            Err(FetchError::Status { status, .. }) if KNOWS_NO_HEAD.contains(&status) => {
                drop(place); // One lane of width one must do for both.
                self.manifest_by(repo, reference, as_, deadline).await.map(Described::Fetched)
            }
            Err(error) => Err(error),
        }
    }

    /// The manifest itself, checked. A GET costs quota at Docker Hub.
    pub async fn manifest(&self, repo: &RepoName, reference: &Reference, as_: Identity) -> Result<FetchedManifest, FetchError> {
        self.manifest_by(repo, reference, as_, Instant::now() + self.inner.tuning.budget).await
    }

    pub(super) async fn manifest_by(
        &self,
        repo: &RepoName,
        reference: &Reference,
        as_: Identity,
        deadline: Instant,
    ) -> Result<FetchedManifest, FetchError> {
        let ask = self.manifest_ask(Method::GET, Kind::Manifest, repo, reference, as_);
        let _place = self.inner.lanes.manifest(&ask.subject, deadline).await?;
        let answer = self.inner.fetch(&ask, deadline).await?;
        let headers = answer.headers().clone();
        let bytes = self.inner.read(answer, MAX_MANIFEST_BYTES, &ask, deadline).await?;
        check(bytes, &headers, reference, &ask).inspect_err(|error| self.inner.remember(error))
    }

    pub(super) fn manifest_ask<'a>(
        &self,
        method: Method,
        kind: Kind,
        repo: &'a RepoName,
        reference: &Reference,
        identity: Identity,
    ) -> Ask<'a> {
        let separator = if matches!(reference, Reference::Digest(_)) { '@' } else { ':' };
        Ask {
            accept: ACCEPT_MANIFESTS,
            from: None,
            identity,
            kind,
            method,
            path: format!("/v2/{repo}/manifests/{reference}"),
            repo: Some(repo),
            subject: self.subject(format_args!("{repo}{separator}{reference}")),
            via: self.via.clone(),
        }
    }
}

fn head(headers: &HeaderMap) -> ManifestHead {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(MediaType::new);
    ManifestHead {
        digest: told_digest(headers),
        media_type: media_type.filter(|media_type| !media_type.as_str().is_empty()),
        size: body::length(headers),
    }
}

fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get("docker-content-digest")?.to_str().ok()?.trim().parse().ok()
}

fn check(bytes: Bytes, headers: &HeaderMap, reference: &Reference, ask: &Ask<'_>) -> Result<FetchedManifest, FetchError> {
    let subject = || ask.subject.clone();
    let expected = match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        Reference::Tag(_) => told_digest(headers),
    };
    let digest = Digest::of(expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm), &bytes);
    if expected.is_some_and(|expected| expected != digest) {
        return Err(FetchError::DigestMismatch { subject: subject(), actual: digest });
    }
    let content_type = MediaType::new(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default());
    let facts = ManifestFacts::parse(&bytes, &content_type);
    let facts = facts.map_err(|error| FetchError::Malformed { subject: subject(), what: error.to_string().into() })?;
    Ok(FetchedManifest { bytes, digest, facts })
}

/// What registries answer to a HEAD that they do not know. Only then is a GET, which costs quota, worth trying.
const KNOWS_NO_HEAD: [StatusCode; 3] = [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
/// The canonical list; also what a tag's digest is kept under.
const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
