//! What a request asks for: method, path and query in, [`Action`] out. Pure; no server is needed to test it.
//!
//! Seven spellings of one object exist, because each client builds mirror addresses in its own way; [`Names`] resolves all of them:
//!
//! | path | from |
//! |---|---|
//! | `/v2/library/alpine/manifests/X` | dockerd's legacy store, kaniko, curl: the first upstream |
//! | the same with `?ns=docker.io` | dockerd's containerd store, containerd, `BuildKit` |
//! | `/v2/docker.io/library/alpine/manifests/X`, maybe with `ns` | Podman, CRI-O, `BuildKit` with a path |
//! | `/docker.io/v2/library/alpine/manifests/X`, maybe with `ns` | a mirror URL with a path in dockerd or containerd |
//! | `//v2/…`, `/v2/alpine/…`, `ns=index.docker.io` | configurations with a stray slash or a short name |
//! | `ns=` of a registry that is not mirrored, or its name as the first component | refused: wrong content for a name is worse than none |

use std::borrow::Cow;

use http::Method;

use crate::config::UpstreamConfig;
use crate::oci::{Digest, NameError, Reference, RepoName};

/// A parsed request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Bytes under `/blobs/`.
    Blob(Target, Digest),
    /// What is cached: `/v2/_catalog`.
    Catalog(Page),
    /// A manifest or an index.
    Manifest(Target, Reference),
    /// `/v2/`: is this a registry?
    Ping,
    /// Manifests that name this one as their subject; filtered by artifact type where one is given.
    Referrers(Target, Digest, Option<String>),
    /// The tags of a repository.
    Tags(Target, Page),
}

/// A repository at an upstream.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// The `ns` that the client sent, to be given back in `OCI-Namespace`.
    pub namespace: Option<String>,
    /// Its name there, without any host.
    pub repo: RepoName,
    /// Which of the configured upstreams, by position.
    pub upstream: usize,
}

/// A slice of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// Only names after this one.
    pub last: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// Why a request is no action.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// A digest that is none.
    #[error("{0}")]
    Digest(NameError),
    /// A name that is none.
    #[error("{0}")]
    Name(NameError),
    /// No such route.
    #[error("no such page; the registry's API is under /v2/")]
    NoRoute,
    /// `n` is no number.
    #[error("`n` is not a whole number")]
    Page,
    /// A write.
    #[error("this is a mirror: it can be read, not written; push to the registry itself")]
    ReadOnly,
    /// A tag that is none.
    #[error("{0}")]
    Tag(NameError),
    /// A registry that is not mirrored here.
    #[error("`{0}` is not mirrored here")]
    UnknownNamespace(String),
}

/// The names under which the upstreams are known.
#[derive(Clone, Debug)]
pub struct Names {
    upstreams: Vec<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    hub: bool,
    names: Vec<String>,
}

impl Names {
    /// Of these upstreams, by their position.
    pub fn new(upstreams: &[UpstreamConfig]) -> Self {
        let known = |upstream: &UpstreamConfig| {
            let own = std::iter::once(upstream.name.as_str().to_owned());
            let others = upstream.answers_to.iter().map(|name| name.to_ascii_lowercase());
            Known { hub: upstream.hub, names: own.chain(others).collect() }
        };
        Self { upstreams: upstreams.iter().map(known).collect() }
    }

    /// Reads a request.
    pub fn parse(&self, method: &Method, path: &str, query: Option<&str>) -> Result<Action, ActionError> {
        let path = plain(path);
        let (prefix, rest) = split_api(&path).ok_or(ActionError::NoRoute)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(ActionError::ReadOnly);
        }
        let query = Query::parse(query.unwrap_or_default());
        if rest.is_empty() {
            return Ok(Action::Ping);
        }
        if rest == "_catalog" {
            return query.page().map(Action::Catalog);
        }
        let (name, what) = split_kind(rest).ok_or(ActionError::NoRoute)?;
        let target = self.target(prefix, name, query.namespace())?;
        match what {
            Kind::Blob(digest) => {
                digest.parse().map(|digest| Action::Blob(target, digest)).map_err(|why| ActionError::Digest(NameError::Digest(why)))
            }
            Kind::Manifest(reference) => match reference.parse() {
                Ok(reference) => Ok(Action::Manifest(target, reference)),
                Err(why @ NameError::Digest(_)) => Err(ActionError::Digest(why)),
                Err(why) => Err(ActionError::Tag(why)),
            },
            Kind::Referrers(digest) => match digest.parse() {
                Ok(digest) => Ok(Action::Referrers(target, digest, query.get("artifactType").map(Cow::into_owned))),
                Err(why) => Err(ActionError::Digest(NameError::Digest(why))),
            },
            Kind::Tags => query.page().map(|page| Action::Tags(target, page)),
        }
    }

    /// Which upstream and repository `name` is, given the address's prefix and the client's `ns`.
    fn target(&self, prefix: &str, name: &str, namespace: Option<Cow<'_, str>>) -> Result<Target, ActionError> {
        let from_prefix = match prefix {
            "" => None,
            prefix => Some(self.find(prefix).ok_or_else(|| ActionError::UnknownNamespace(prefix.to_owned()))?),
        };
        let from_namespace = match namespace.as_deref() {
            None | Some("") => None,
            Some(namespace) => Some(self.find(namespace).ok_or_else(|| ActionError::UnknownNamespace(namespace.to_owned()))?),
        };
        if let (Some(prefix_says), Some(client_says)) = (from_prefix, from_namespace)
            && prefix_says != client_says
        {
            return Err(ActionError::UnknownNamespace(namespace.unwrap_or_default().into_owned()));
        }
        let said = from_prefix.or(from_namespace);
        let asked = name;
        let (upstream, name) = self.strip_host(said, asked);
        if let Some((first, _)) = name.split_once('/')
            && self.is_foreign(first, upstream, said.is_some() || name != asked)
        {
            return Err(ActionError::UnknownNamespace(first.to_owned()));
        }
        let name =
            if self.upstreams[upstream].hub && !name.contains('/') { Cow::Owned(format!("library/{name}")) } else { Cow::Borrowed(name) };
        let repo = name.parse().map_err(ActionError::Name)?;
        Ok(Target { namespace: namespace.map(Cow::into_owned), repo, upstream })
    }

    /// A first component that names an upstream is that upstream, unless something else was said before: then it is stripped only where it says the same.
    fn strip_host<'a>(&self, said: Option<usize>, name: &'a str) -> (usize, &'a str) {
        let host = name.split_once('/').and_then(|(first, rest)| Some((self.find(first)?, rest)));
        match (said, host) {
            (None, Some((upstream, rest))) => (upstream, rest),
            (Some(said), Some((upstream, rest))) if said == upstream => (said, rest),
            (said, _) => (said.unwrap_or(0), name),
        }
    }

    /// Whether a first component that is no name of `upstream` is a registry that is not mirrored, so that nobody need be asked.
    ///
    /// The Hub's first components are letters, digits, `-` and `_`: one with a dot is a host. Elsewhere (Harbor, Nexus, GitLab) a project may be called
    /// `team.app`, or even `quay.io`. So there a host must be beyond doubt, and the client must not have `said` which registry it means.
    fn is_foreign(&self, first: &str, upstream: usize, said: bool) -> bool {
        let ends = |end: fn(&str) -> Option<char>| end(first).is_some_and(|end| end.is_ascii_alphanumeric()); // `..` is no host.
        let is_name = ends(|first| first.chars().next()) && ends(|first| first.chars().next_back());
        let is_host = first == "localhost" || (is_name && first.contains(':'));
        if self.upstreams[upstream].hub {
            is_host || (is_name && first.contains('.'))
        } else {
            !said && (is_host || is_public_registry(first))
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.upstreams.iter().position(|known| known.names.iter().any(|own| own.eq_ignore_ascii_case(name)))
    }
}

/// The registries that people pull from by name. A list that lacks one costs a question at the first upstream, no more.
fn is_public_registry(host: &str) -> bool {
    const HOSTS: [&str; 14] = [
        "docker.elastic.co",
        "docker.io",
        "gcr.io",
        "ghcr.io",
        "index.docker.io",
        "k8s.gcr.io",
        "mcr.microsoft.com",
        "nvcr.io",
        "public.ecr.aws",
        "quay.io",
        "registry-1.docker.io",
        "registry.gitlab.com",
        "registry.k8s.io",
        "registry.redhat.io",
    ];
    const DOMAINS: [&str; 4] = [".amazonaws.com", ".azurecr.io", ".gcr.io", ".pkg.dev"];
    HOSTS.contains(&host) || DOMAINS.iter().any(|domain| host.ends_with(domain))
}

/// Decodes `%3A` and its kin and drops doubled slashes. Borrows where nothing is to be done, which is nearly always.
fn plain(path: &str) -> Cow<'_, str> {
    let mut path = percent_decode(path);
    while path.contains("//") {
        path = Cow::Owned(path.replace("//", "/"));
    }
    path
}

/// Invalid sequences and invalid UTF-8 stay as they are: no name has a `%`, so they are refused further on.
fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let mut decoded = [0];
        let hex = (*first == b'%' && after.len() >= 2).then(|| hex::decode_to_slice(&after[..2], &mut decoded));
        if let Some(Ok(())) = hex {
            bytes.push(decoded[0]);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// `/v2/REST` or `/PREFIX/v2/REST`: the prefix without slashes around, and the rest.
fn split_api(path: &str) -> Option<(&str, &str)> {
    if path == "/v2" {
        return Some(("", ""));
    }
    if let Some(rest) = path.strip_prefix("/v2/") {
        return Some(("", rest));
    }
    let (prefix, rest) = path.strip_prefix('/')?.split_once("/v2")?;
    if prefix.contains('/') {
        return None;
    }
    match rest {
        "" => Some((prefix, "")),
        rest => Some((prefix, rest.strip_prefix('/')?)),
    }
}

enum Kind<'a> {
    Blob(&'a str),
    Manifest(&'a str),
    Referrers(&'a str),
    Tags,
}

/// Splits from the right, since a repository may be called `manifests`.
fn split_kind(rest: &str) -> Option<(&str, Kind<'_>)> {
    let (before, last) = rest.rsplit_once('/')?;
    let (name, kind) = before.rsplit_once('/')?;
    let kind = match (kind, last) {
        ("blobs", digest) => Kind::Blob(digest),
        ("manifests", reference) => Kind::Manifest(reference),
        ("referrers", digest) => Kind::Referrers(digest),
        ("tags", "list") => Kind::Tags,
        _ => return None,
    };
    (!name.is_empty()).then_some((name, kind))
}

/// The query's pairs; the first of a name counts.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        Self(query)
    }

    fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        if self.0.is_empty() {
            return None;
        }
        url::form_urlencoded::parse(self.0.as_bytes()).find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn namespace(&self) -> Option<Cow<'a, str>> {
        self.get("ns").filter(|namespace| !namespace.is_empty())
    }

    fn page(&self) -> Result<Page, ActionError> {
        let limit = self.get("n").map(|n| n.parse()).transpose().map_err(|_| ActionError::Page)?;
        Ok(Page { last: self.get("last").map(Cow::into_owned), limit })
    }
}

#[cfg(test)]
mod tests;
