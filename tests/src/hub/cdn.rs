//! The CDN: blobs by signed links that expire, and no word with who brings an Authorization.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

use super::Digest;
use super::content::World;
use super::reply::Reply;
use super::route::parameter;

/// A link to a blob, good for `lifetime`.
pub(super) fn link(place: &str, repository: &str, digest: &Digest, lifetime: Duration) -> String {
    let expires = now_millis() + lifetime.as_millis();
    format!("{place}/blobs/{digest}?repository={repository}&expires={expires}&signature={}", signature(repository, digest, expires))
}

/// Answers a request at the CDN.
pub(super) fn answer(world: &World, headers: &HeaderMap, path: &str, query: &str) -> Reply {
    if headers.contains_key(http::header::AUTHORIZATION) {
        return refusal(400, "InvalidArgument", "Only one auth mechanism allowed");
    }
    let asked = (|| {
        let digest = Digest::parse(path.strip_prefix("/blobs/")?)?;
        let expires: u128 = parameter(query, "expires")?.parse().ok()?;
        let repository = parameter(query, "repository")?;
        (parameter(query, "signature")? == signature(&repository, &digest, expires)).then_some((repository, digest, expires))
    })();
    let Some((repository, digest, expires)) = asked else { return refusal(403, "SignatureDoesNotMatch", "The signature does not match") };
    if expires <= now_millis() {
        return refusal(403, "AccessDenied", "Request has expired");
    }
    let Some(bytes) = world.repositories.get(&repository).and_then(|repository| repository.blobs.get(&digest)) else {
        return refusal(404, "NoSuchKey", "The specified key does not exist.");
    };
    let mut reply = Reply::content("application/octet-stream", &digest, bytes.clone());
    // A CDN knows nothing of registries.
    reply.headers.remove("docker-content-digest");
    reply.ranged = true;
    reply.with("etag", &format!("\"{}\"", &digest.hex()[..32]))
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Reply::new(status, "application/xml", body)
}

fn signature(repository: &str, digest: &Digest, expires: u128) -> String {
    Digest::sha256(format!("test hub {repository} {digest} {expires}").as_bytes()).hex()[..32].to_owned()
}

fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
