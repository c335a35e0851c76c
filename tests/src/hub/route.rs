//! From a path to what is asked for.

use super::{Host, Kind};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) kind: Kind,
    pub(super) repository: Option<String>,
    pub(super) reference: Option<String>,
}

impl Route {
    pub(super) fn of(host: Host, path: &str, query: &str) -> Self {
        match host {
            Host::Registry => registry(path).unwrap_or(Route { kind: Kind::Other, repository: None, reference: None }),
            Host::Token => {
                let kind = if path == "/token" { Kind::Token } else { Kind::Other };
                Route { kind, repository: super::token::scopes(query).into_iter().next(), reference: None }
            }
            Host::Cdn => {
                let repository = parameter(query, "repository");
                Route { kind: Kind::Cdn, repository, reference: path.strip_prefix("/blobs/").map(str::to_owned) }
            }
        }
    }
}

/// A parameter of a query.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn registry(path: &str) -> Option<Route> {
    let rest = path.strip_prefix("/v2")?;
    if rest.is_empty() || rest == "/" {
        return Some(Route { kind: Kind::Ping, repository: None, reference: None });
    }
    let rest = rest.strip_prefix('/')?;
    let route = |kind, name: &str, reference: Option<&str>| {
        (!name.is_empty()).then(|| Route { kind, repository: Some(name.to_owned()), reference: reference.map(str::to_owned) })
    };
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return route(Kind::Tags, name, None);
    }
    for (part, kind) in [("/manifests/", Kind::Manifest), ("/blobs/", Kind::Blob), ("/referrers/", Kind::Referrers)] {
        if let Some((name, reference)) = rest.rsplit_once(part) {
            return route(kind, name, Some(reference));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_kind_repository_and_reference() {
        let route = |path| Route::of(Host::Registry, path, "");
        let found = route("/v2/a/manifests/b/manifests/latest");
        assert_eq!((found.kind, found.repository.as_deref()), (Kind::Manifest, Some("a/manifests/b")));
        assert_eq!(route("/v2/library/x/tags/list").kind, Kind::Tags);
        assert_eq!(route("/v2/").kind, Kind::Ping);
        assert_eq!(route("/v2//manifests/x").kind, Kind::Other);
        assert_eq!(route("/elsewhere").kind, Kind::Other);
        let token = Route::of(Host::Token, "/token", "service=s&scope=repository%3Aci%2Fapp%3Apull");
        assert_eq!((token.kind, token.repository.as_deref()), (Kind::Token, Some("ci/app")));
    }
}
