//! Answers that are content: the headers each carries, and the body.
//!
//! Every answer about an object has `Content-Length`, `Docker-Content-Digest` and `ETag`: without the first two containerd asks a second time. Only a
//! blob's size that nobody tells is left out: no length is better than a wrong one.
//! None has `WWW-Authenticate`, `Location` or `Content-Encoding`.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, WARNING, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::json;

use super::action::Target;
use super::error::RegistryError;
use super::range::Wanted;
use crate::cache::{BlobBody, ManifestAnswer, Object, TagList, Warning};
use crate::canary::CanaryObject;
use crate::oci::{Digest, MediaType};

/// The body of an answer.
#[derive(Debug)]
pub enum RegistryBody {
    /// A blob on its way.
    Blob(BlobBody),
    /// In memory, until it is sent.
    Full(Option<Bytes>),
    /// Not made: the object is only described. What its length would be is the headers' to say, and nobody's where they do not.
    Unmade,
}

/// Writes answers.
#[derive(Debug)]
pub(crate) struct Replies {
    /// What every answer carries.
    base: HeaderMap,
}

impl Replies {
    /// With the headers that are configured besides ours, or in their place.
    pub(crate) fn new(configured: &[(HeaderName, HeaderValue)]) -> Self {
        let mut base = HeaderMap::with_capacity(16);
        base.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        base.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, _) in configured {
            base.remove(name);
        }
        for (name, value) in configured {
            base.append(name, value.clone()); // A header may have several values.
        }
        Self { base }
    }

    /// `/v2/`.
    pub(crate) fn ping(&self) -> Response<RegistryBody> {
        self.json(StatusCode::OK, JSON, Bytes::from_static(b"{}"))
    }

    /// A manifest, or its description.
    pub(crate) fn manifest(&self, answer: &ManifestAnswer, target: &Target, asked: &HeaderMap) -> Response<RegistryBody> {
        let object = &answer.object;
        let finished = object.finished.manifest.get_or_init(|| self.finish(object, &object.content_type));
        let mut response = Response::new(RegistryBody::Full(object.bytes.clone()));
        *response.headers_mut() = finished.clone();
        name_space(response.headers_mut(), target);
        if let Some(warning) = answer.warning {
            response.headers_mut().insert(WARNING, warning_value(warning));
        }
        if asked.get(IF_NONE_MATCH).is_some_and(|known| lists(known, &object.etag)) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(CONTENT_LENGTH);
            *response.body_mut() = RegistryBody::Unmade;
        }
        response
    }

    /// A blob of which only the size was asked.
    pub(crate) fn described(&self, digest: &Digest, size: Option<u64>, target: &Target) -> Response<RegistryBody> {
        let mut response = self.blob(digest, target);
        if let Some(size) = size {
            response.headers_mut().insert(CONTENT_LENGTH, size.into());
        }
        response
    }

    /// The client has it.
    pub(crate) fn not_modified(&self, digest: &Digest, target: &Target) -> Response<RegistryBody> {
        let mut response = self.blob(digest, target);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    }

    /// A blob that is in memory, or a part of it.
    pub(crate) fn small(&self, object: &Object, target: &Target, asked: &HeaderMap) -> Result<Response<RegistryBody>, RegistryError> {
        let finished = object.finished.blob.get_or_init(|| {
            let mut headers = self.finish(object, &OCTET_STREAM);
            headers.insert(ACCEPT_RANGES, BYTES);
            headers
        });
        let bytes = object.bytes.clone().unwrap_or_default();
        let mut response = Response::new(RegistryBody::Unmade);
        *response.headers_mut() = finished.clone();
        name_space(response.headers_mut(), target);
        *response.body_mut() = RegistryBody::Full(Some(match wanted(asked, object) {
            Wanted::Whole => bytes,
            Wanted::Part { start, end } => {
                response.headers_mut().insert(CONTENT_LENGTH, (end - start).into());
                response.headers_mut().insert(CONTENT_RANGE, content_range(start..end, object.size));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                bytes.slice(start as usize..end as usize)
            }
            Wanted::Unsatisfiable => return Err(RegistryError::Range { size: object.size }),
        }));
        Ok(response)
    }

    /// A whole blob.
    pub(crate) fn whole(&self, digest: &Digest, size: Option<u64>, body: BlobBody, target: &Target) -> Response<RegistryBody> {
        let mut response = self.described(digest, size, target);
        *response.body_mut() = RegistryBody::Blob(body);
        response
    }

    /// A part of a blob.
    pub(crate) fn part(&self, digest: &Digest, range: Range<u64>, size: u64, body: BlobBody, target: &Target) -> Response<RegistryBody> {
        let mut response = self.described(digest, Some(range.end - range.start), target);
        response.headers_mut().insert(CONTENT_RANGE, content_range(range, size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        *response.body_mut() = RegistryBody::Blob(body);
        response
    }

    /// An object of a canary, which is the same under every name: [`named`] says under which it was asked for.
    pub(crate) fn canary(
        &self,
        digest: &Digest,
        object: &CanaryObject,
        asked: &HeaderMap,
    ) -> Result<Response<RegistryBody>, RegistryError> {
        let target = Target { namespace: None, repo: "canary".parse().expect("a name"), upstream: 0 };
        let whole = Object::new(digest, &object.media_type, object.bytes.clone());
        if object.media_type.is_manifest() {
            let answer = ManifestAnswer { object: whole.into(), outcome: crate::telemetry::Outcome::Canary, warning: None };
            return Ok(self.manifest(&answer, &target, asked));
        }
        self.small(&whole, &target, asked)
    }

    /// An index of referrers: the upstream's, of one kind alone where it `is_filtered`, or an empty one.
    pub(crate) fn referrers(&self, index: Option<Bytes>, is_filtered: bool, target: &Target) -> Response<RegistryBody> {
        let mut response = self.json(StatusCode::OK, OCI_INDEX, index.unwrap_or_else(empty_index));
        if is_filtered {
            response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        name_space(response.headers_mut(), target);
        response
    }

    /// The tags of a repository; `label` is its path in a link to the next page.
    pub(crate) fn tags(&self, list: &TagList, target: &Target, label: &str) -> Response<RegistryBody> {
        let body = [&br#"{"name":""#[..], target.repo.as_str().as_bytes(), br#"","tags":"#, &list.tags, b"}"].concat(); // No name needs an escape.
        let mut response = self.json(StatusCode::OK, JSON, body.into());
        let headers = response.headers_mut();
        if let Some(Ok(link)) =
            list.next.as_ref().map(|query| HeaderValue::from_str(&format!("</v2/{label}/tags/list?{query}>; rel=\"next\"")))
        {
            headers.insert(LINK, link);
        }
        if let Some(warning) = list.warning {
            headers.insert(WARNING, warning_value(warning));
        }
        name_space(headers, target);
        response
    }

    /// What is cached; `more` is the page's size where the list goes on.
    pub(crate) fn catalog(&self, names: &[String], more: Option<usize>) -> Response<RegistryBody> {
        let mut response = self.json(StatusCode::OK, JSON, json!({ "repositories": names }).to_string().into());
        if let (Some(limit), Some(last)) = (more, names.last()) {
            let last: String = url::form_urlencoded::byte_serialize(last.as_bytes()).collect();
            if let Ok(link) = HeaderValue::from_str(&format!("</v2/_catalog?last={last}&n={limit}>; rel=\"next\"")) {
                response.headers_mut().insert(LINK, link);
            }
        }
        response
    }

    /// An error's body, with the headers that belong to its status.
    pub(crate) fn error(&self, status: StatusCode, body: String, error: &RegistryError) -> Response<RegistryBody> {
        let mut response = self.json(status, JSON, body.into());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if let RegistryError::Range { size } = error {
            response.headers_mut().insert(CONTENT_RANGE, HeaderValue::from_str(&format!("bytes */{size}")).expect("digits"));
        }
        response
    }

    fn json(&self, status: StatusCode, kind: HeaderValue, body: Bytes) -> Response<RegistryBody> {
        let mut response = self.empty();
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
        *response.body_mut() = RegistryBody::Full(Some(body));
        response
    }

    /// All headers of the plain answer about an object: made once, then only copied.
    fn finish(&self, object: &Object, content_type: &HeaderValue) -> HeaderMap {
        let mut headers = self.base.clone();
        headers.insert(CONTENT_DIGEST, object.digest_header.clone());
        headers.insert(ETAG, object.etag.clone());
        headers.insert(CONTENT_TYPE, content_type.clone());
        headers.insert(CONTENT_LENGTH, object.content_length.clone());
        headers
    }

    fn blob(&self, digest: &Digest, target: &Target) -> Response<RegistryBody> {
        let mut response = self.empty();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, OCTET_STREAM);
        headers.insert(ACCEPT_RANGES, BYTES);
        headers.insert(CONTENT_DIGEST, HeaderValue::from_str(&digest.to_string()).expect("a digest is plain ASCII"));
        headers.insert(ETAG, HeaderValue::from_str(&etag(digest)).expect("a digest is plain ASCII"));
        name_space(headers, target);
        response
    }

    fn empty(&self) -> Response<RegistryBody> {
        let mut response = Response::new(RegistryBody::Unmade);
        *response.headers_mut() = self.base.clone();
        response
    }
}

/// The answer to a client that may have asked for `target` by a name space.
pub(crate) fn named(mut response: Response<RegistryBody>, target: &Target) -> Response<RegistryBody> {
    name_space(response.headers_mut(), target);
    response
}

/// The entity tag of content is its digest.
pub(crate) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// The client says that it has `digest`.
pub(crate) fn is_known(asked: &HeaderMap, digest: &Digest) -> bool {
    asked.get(IF_NONE_MATCH).is_some_and(|known| HeaderValue::from_str(&etag(digest)).is_ok_and(|etag| lists(known, &etag)))
}

fn lists(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == etag || one == "*")
}

fn wanted(asked: &HeaderMap, object: &Object) -> Wanted {
    object.etag.to_str().map_or(Wanted::Whole, |etag| Wanted::resolve(asked, object.size, etag))
}

fn content_range(range: Range<u64>, size: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes {}-{}/{size}", range.start, range.end - 1)).expect("digits")
}

/// "SHOULD return `OCI-Namespace`" to a client that sent `ns` (distribution specification, Registry Proxying).
fn name_space(headers: &mut HeaderMap, target: &Target) {
    if let Some(Ok(namespace)) = target.namespace.as_deref().map(HeaderValue::from_str) {
        headers.insert(NAMESPACE, namespace);
    }
}

fn empty_index() -> Bytes {
    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [] }).to_string().into()
}

/// Some clients show it to their user. What an operator must know besides, such as why an account is refused, is in `/readyz`.
fn warning_value(warning: Warning) -> HeaderValue {
    let why = match warning {
        Warning::AccountRefused => "the upstream refuses this mirror's account; this is the last known answer",
        Warning::Deleted => "the upstream no longer has this tag; this is what it was",
        Warning::Failing(status) => &format!("the upstream answers {}; this is the last known answer", status.as_u16()),
        Warning::RateLimited => "the upstream limits requests; this is the last known answer",
        Warning::Silent => "the upstream does not answer; this is the last known answer",
        Warning::Untrusted => "the upstream names a token service that this mirror does not trust; this is the last known answer",
        Warning::Useless => "the upstream's answer makes no sense; this is the last known answer",
    };
    HeaderValue::from_str(&format!("299 - \"{why}\"")).expect("plain ASCII")
}

impl Body for RegistryBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Blob(body) => Pin::new(body).poll_frame(context),
            Self::Full(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes)))),
            Self::Unmade => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Blob(body) => body.is_end_stream(),
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Unmade => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Blob(body) => body.size_hint(),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Unmade => SizeHint::default(),
        }
    }
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
const OCI_INDEX: HeaderValue = HeaderValue::from_static(MediaType::OCI_INDEX);
const OCTET_STREAM: HeaderValue = HeaderValue::from_static(MediaType::OCTET_STREAM);
