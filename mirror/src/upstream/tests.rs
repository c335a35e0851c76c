//! The client against real servers on port 0 that do what a script says: what it sends, to whom, how often, and what it makes of the answers.

mod blobs;
mod login;
mod manifests;
pub(crate) mod server;
mod sickness;

use std::time::Duration;

use server::{Reply, Seen, Server};

use super::retry::Tuning;
use super::{Identity, Metrics, Upstream};
use crate::config::{AccountConfig, ByteSize, LimitsConfig, PasswordSource, Secret, UpstreamConfig};
use crate::oci::{Algorithm, Digest, MediaType, Reference, RepoName};
use crate::via::{Pseudonym, Via};

/// Long enough for a busy machine; only what must be waited for is shorter.
fn tuning() -> Tuning {
    Tuning {
        pace: Duration::from_millis(1),
        system_proxy: false,
        budget: Duration::from_mins(1),
        headers: Duration::from_secs(50),
        ..Tuning::default()
    }
}

pub(crate) fn config(server: &Server) -> UpstreamConfig {
    UpstreamConfig {
        account: None,
        alternates: Vec::new(),
        answers_to: vec!["hub.test".to_owned()],
        ca: None,
        hub: false,
        private: None,
        name: "hub.test".parse().expect("a name"),
        proxy: None,
        realms: Vec::new(),
        repositories: None,
        tag_window: Duration::from_secs(1),
        url: server.url(""),
    }
}

pub(crate) fn with_account(server: &Server, password: PasswordSource) -> UpstreamConfig {
    UpstreamConfig { account: Some(AccountConfig { password, user: "ship".to_owned() }), ..config(server) }
}

pub(crate) fn password() -> PasswordSource {
    PasswordSource::Value(Secret::new(PASSWORD))
}

pub(crate) fn limits() -> LimitsConfig {
    let buffers = ByteSize(1 << 20);
    LimitsConfig {
        buffers,
        connections: 100,
        drain: Duration::from_secs(1),
        upstream_blobs: 100,
        upstream_manifests: 100,
        upstream_min_rate: Some(ByteSize(64)),
    }
}

pub(crate) fn upstream(config: &UpstreamConfig) -> Upstream {
    tuned(config, tuning())
}

fn tuned(config: &UpstreamConfig, tuning: Tuning) -> Upstream {
    Upstream::tuned(config, &limits(), US, &Metrics::default(), tuning).expect("an upstream")
}

fn repo() -> RepoName {
    "team/app".parse().expect("a name")
}

fn tag() -> Reference {
    "1".parse().expect("a tag")
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// Bytes that tell their place.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

pub(crate) fn manifest() -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{}","layers":[]}}"#, MediaType::OCI_MANIFEST)
}

pub(crate) fn manifest_reply() -> Reply {
    Reply::ok(manifest()).header("Content-Type", MediaType::OCI_MANIFEST).header("Docker-Content-Digest", digest_of(manifest().as_bytes()))
}

/// A registry that wants a token of its own service, which takes whoever has no password or the right one; `content` answers those who have a token.
fn guarded(seen: &Seen, content: impl Fn(&Seen) -> Reply) -> Reply {
    if seen.path.starts_with("/token") {
        return match seen.credentials() {
            None => Reply::ok(r#"{"token":"anybody"}"#),
            Some(right) if right == format!("ship:{PASSWORD}") => Reply::ok(r#"{"token":"ours","expires_in":300}"#),
            Some(_) => Reply::new(401),
        };
    }
    match seen.header("authorization") {
        Some("Bearer anybody" | "Bearer ours") => content(seen),
        _ => challenge(seen),
    }
}

/// 401, with the server's own token service and a scope for the repository that was asked for.
fn challenge(seen: &Seen) -> Reply {
    let host = seen.header("host").expect("a host");
    let path = seen.path.trim_start_matches("/v2/");
    let repo = path.split_once("/manifests/").or(path.split_once("/blobs/")).map_or("", |(repo, _)| repo);
    let challenge = format!(r#"Bearer realm="http://{host}/token",service="hub",scope="repository:{repo}:pull""#);
    Reply::new(401).header("WWW-Authenticate", challenge)
}

/// Us, among mirrors.
const US: Pseudonym = Pseudonym::new(0xab);
const PASSWORD: &str = "hunter2-is-secret";
