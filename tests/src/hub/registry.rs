//! The registry: who may ask, and what it answers from what it holds.

use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::content::{Manifest, Repository, World};
use super::reply::Reply;
use super::route::{Route, parameter};
use super::settings::{Auth, Settings};
use super::token::{self, Tokens};
use super::{Digest, Kind};

/// Where clients find the Hub's other hosts: scheme and authority, as seen from who asks.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) token: String,
    pub(super) cdn: String,
}

/// Everything an answer is made of.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) world: World,
    pub(super) tokens: Tokens,
    pub(super) settings: Settings,
}

impl State {
    /// The account that the credentials of a request name, good or not for what it asks; `None` is anonymous.
    pub(super) fn account(&self, headers: &HeaderMap) -> Option<String> {
        if let Some((account, _)) = token::basic(headers) {
            return Some(account);
        }
        token::bearer(headers).and_then(|bearer| self.tokens.grant(bearer)?.account.clone())
    }

    /// The challenge or denial, when the request may not be answered.
    pub(super) fn refusal(&self, headers: &HeaderMap, route: &Route, places: &Places) -> Option<Reply> {
        let account = self.account(headers);
        let good = match self.settings.auth {
            Auth::Open => true,
            Auth::Basic => token::basic(headers).is_some_and(|(account, password)| self.world.accepts(&account, &password)),
            Auth::Token => self.is_good_token(headers, route),
        };
        let readable = route.repository.as_deref().is_none_or(|name| self.world.may_read(account.as_deref(), name));
        match (good, readable) {
            (true, true) => None,
            (true, false) => Some(self.denial(route, places)),
            // A token that was given out without the right, as the Hub's are: the challenge says so, and the setting how.
            (false, false) if self.holds_some_token(headers) => Some(self.denial(route, places)),
            (false, _) => Some(self.challenge(route, places, self.holds_some_token(headers))),
        }
    }

    fn is_good_token(&self, headers: &HeaderMap, route: &Route) -> bool {
        let Some(grant) = token::bearer(headers).and_then(|bearer| self.tokens.grant(bearer)) else { return false };
        grant.account.as_deref().is_none_or(|account| self.world.stands(account))
            && route.repository.as_ref().is_none_or(|name| grant.repositories.contains(name))
    }

    fn holds_some_token(&self, headers: &HeaderMap) -> bool {
        let grant = token::bearer(headers).and_then(|bearer| self.tokens.grant(bearer));
        grant.is_some_and(|grant| grant.account.as_deref().is_none_or(|account| self.world.stands(account)))
    }

    fn denial(&self, route: &Route, places: &Places) -> Reply {
        match self.settings.denial {
            401 => self.challenge(route, places, true),
            404 => Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry"),
            status => Reply::error(status, "DENIED", "requested access to the resource is denied"),
        }
    }

    /// 401 with the challenge of the settings.
    pub(super) fn challenge(&self, route: &Route, places: &Places, insufficient: bool) -> Reply {
        let reply = Reply::error(401, "UNAUTHORIZED", "authentication required");
        if self.settings.auth == Auth::Basic {
            return reply.with("www-authenticate", "Basic realm=\"test hub\"");
        }
        let scope = route.repository.as_ref().map(|name| format!("repository:{name}:pull"));
        let realm = self.settings.realm.clone().unwrap_or_else(|| format!("{}/token", places.token));
        if let Some(template) = &self.settings.challenge {
            let scope = scope.unwrap_or_default();
            let text = template.replace("{realm}", &realm).replace("{service}", SERVICE).replace("{scope}", &scope);
            return text.lines().fold(reply, |reply, line| reply.with("www-authenticate", line));
        }
        let scope = scope.map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
        let error = if insufficient { ",error=\"insufficient_scope\"" } else { "" };
        reply.with("www-authenticate", &format!("Bearer realm=\"{realm}\",service=\"{SERVICE}\"{scope}{error}"))
    }

    /// Answers an authorized request. `moved` is what the tag is to be, when a fault says so.
    pub(super) fn answer(&mut self, asked: &Asked<'_>, places: &Places, moved: Option<&Digest>) -> Reply {
        let Asked { method, route, query, .. } = *asked;
        if *method != Method::GET && *method != Method::HEAD {
            return Reply::error(405, "UNSUPPORTED", "The operation is unsupported.");
        }
        let name = route.repository.as_deref().unwrap_or_default();
        let reference = route.reference.as_deref().unwrap_or_default();
        let Some(repository) = self.world.repositories.get(name) else {
            return if route.kind == Kind::Ping { Reply::json(200, &json!({})) } else { unknown_name() };
        };
        match route.kind {
            Kind::Manifest => {
                let reply = manifest(repository, asked, moved);
                self.take_quota(asked, reply)
            }
            Kind::Blob => match Digest::parse(reference).and_then(|digest| Some((repository.blobs.get(&digest)?, digest))) {
                None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
                Some((_, digest)) if self.settings.redirects => {
                    let link = super::cdn::link(&places.cdn, name, &digest, self.settings.link_lifetime);
                    Reply::new(307, "text/html; charset=utf-8", "").with("location", &link)
                }
                Some((bytes, digest)) => {
                    let mut reply = Reply::content("application/octet-stream", &digest, bytes.clone());
                    reply.ranged = true;
                    reply
                }
            },
            Kind::Tags => tags(name, repository, query),
            Kind::Referrers if self.settings.referrers => referrers(repository, reference, query),
            _ => Reply::new(404, "text/plain; charset=utf-8", "404 page not found\n"),
        }
    }

    /// A GET of a manifest that is there costs one pull; all answers about manifests say what is left.
    fn take_quota(&mut self, asked: &Asked<'_>, reply: Reply) -> Reply {
        let quota = self.world.quota(asked.account);
        let costs = *asked.method == Method::GET && reply.content;
        let reply = if costs && !quota.take() { pull_limit() } else { reply };
        let Some((limit, left)) = quota.left() else { return reply };
        let source = asked.account.unwrap_or(asked.source);
        let reply = reply.with("ratelimit-limit", &format!("{limit};w=21600"));
        reply.with("ratelimit-remaining", &format!("{left};w=21600")).with("docker-ratelimit-source", source)
    }
}

/// A request as the registry sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) route: &'a Route,
    pub(super) query: &'a str,
    pub(super) accept: &'a [String],
    pub(super) account: Option<&'a str>,
    pub(super) source: &'a str,
}

/// The 429 of a quota that is used up.
pub(super) fn pull_limit() -> Reply {
    let text = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";
    Reply::json(429, &json!({"errors": [{"code": "TOOMANYREQUESTS", "message": format!("toomanyrequests: {text}")}]}))
}

fn unknown_name() -> Reply {
    Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry")
}

fn manifest(repository: &Repository, asked: &Asked<'_>, moved: Option<&Digest>) -> Reply {
    let reference = asked.route.reference.as_deref().unwrap_or_default();
    let by_digest = Digest::parse(reference);
    let digest = by_digest.clone().or_else(|| moved.or_else(|| repository.tags.get(reference)).cloned());
    let found = digest.and_then(|digest| Some((repository.manifests.get(&digest)?, digest)));
    let Some((manifest, digest)) = found else { return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown") };
    let (manifest, digest) = match old_client(repository, manifest, asked.accept) {
        Some(child) if by_digest.is_none() => child,
        _ => (manifest, digest),
    };
    Reply::content(&manifest.media_type, &digest, manifest.bytes.clone())
}

/// As the Hub, an index by tag becomes its amd64 child for a client that names types and no index among them.
fn old_client<'a>(repository: &'a Repository, manifest: &Manifest, accept: &[String]) -> Option<(&'a Manifest, Digest)> {
    let takes_index = accept.iter().any(|text| text.contains("*/*") || text.contains("image.index") || text.contains("manifest.list"));
    if accept.is_empty() || takes_index {
        return None;
    }
    let index: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let mut children = index["manifests"].as_array()?.iter();
    let child = children.find(|child| child["platform"]["architecture"] == "amd64")?;
    let digest = Digest::parse(child["digest"].as_str()?)?;
    Some((repository.manifests.get(&digest)?, digest))
}

fn tags(name: &str, repository: &Repository, query: &str) -> Reply {
    let after = parameter(query, "last").unwrap_or_default();
    let limit = parameter(query, "n").and_then(|n| n.parse().ok()).unwrap_or(TAGS_A_PAGE);
    let rest = repository.tags.keys().filter(|tag| **tag > after);
    let page: Vec<&String> = rest.clone().take(limit).collect();
    let reply = Reply::json(200, &json!({"name": name, "tags": page}));
    match page.last() {
        Some(last) if rest.count() > page.len() => {
            reply.with("link", &format!("</v2/{name}/tags/list?last={last}&n={limit}>; rel=\"next\""))
        }
        _ => reply,
    }
}

fn referrers(repository: &Repository, subject: &str, query: &str) -> Reply {
    if Digest::parse(subject).is_none() {
        return Reply::error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let wanted = parameter(query, "artifactType");
    let mut found: Vec<Value> = Vec::new();
    for (digest, manifest) in &repository.manifests {
        let Ok(value) = serde_json::from_slice::<Value>(&manifest.bytes) else { continue };
        let kind = value["artifactType"].as_str().or_else(|| value["config"]["mediaType"].as_str()).unwrap_or_default();
        if value["subject"]["digest"] == subject && wanted.as_deref().is_none_or(|wanted| wanted == kind) {
            found.push(json!({
                "mediaType": manifest.media_type, "digest": digest.as_str(), "size": manifest.bytes.len(), "artifactType": kind
            }));
        }
    }
    found.sort_by_key(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
    let index = json!({"schemaVersion": 2, "mediaType": super::image::OCI_INDEX, "manifests": found});
    let reply = Reply::new(200, super::image::OCI_INDEX, index.to_string());
    if wanted.is_some() { reply.with("oci-filters-applied", "artifactType") } else { reply }
}

const SERVICE: &str = "registry.docker.io";
const TAGS_A_PAGE: usize = 100;
