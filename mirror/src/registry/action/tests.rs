use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A mirror of the Hub and of two other registries.
fn names() -> Names {
    let known = |hub, names: &[&str]| Known { hub, names: names.iter().map(ToString::to_string).collect() };
    Names {
        upstreams: vec![
            known(true, &["docker.io", "index.docker.io", "registry-1.docker.io"]),
            known(false, &["ghcr.io"]),
            known(false, &["corp", "registry.corp:5000"]),
        ],
    }
}

fn get(path: &str) -> Result<Action, ActionError> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    names().parse(&Method::GET, path, query)
}

/// The upstream and repository that a manifest request means.
fn meant(path: &str) -> Option<(usize, String)> {
    match get(path) {
        Ok(Action::Manifest(target, _)) => Some((target.upstream, target.repo.to_string())),
        _ => None,
    }
}

#[test]
fn every_spelling_of_one_image_is_one_object() {
    for path in [
        "/v2/library/alpine/manifests/3",
        "/v2/library/alpine/manifests/3?ns=docker.io",
        "/v2/docker.io/library/alpine/manifests/3",
        "/v2/docker.io/library/alpine/manifests/3?ns=docker.io",
        "/docker.io/v2/library/alpine/manifests/3",
        "/docker.io/v2/library/alpine/manifests/3?ns=docker.io",
        "//v2/library/alpine/manifests/3",
        "/v2//library/alpine//manifests/3",
        "/v2/alpine/manifests/3",
        "/v2/docker.io/alpine/manifests/3",
        "/v2/library/alpine/manifests/3?ns=index.docker.io",
        "/v2/library/alpine/manifests/3?ns=REGISTRY-1.docker.io",
        "/v2/library/alpine/manifests/3?ns=",
        "/index.docker.io/v2/docker.io/library/alpine/manifests/3",
    ] {
        assert_eq!(meant(path), Some((0, "library/alpine".into())), "{path}");
    }
}

#[test]
fn other_upstreams_are_found_by_namespace_prefix_and_path_and_get_no_library() {
    for path in [
        "/v2/app/manifests/3?ns=ghcr.io",
        "/v2/ghcr.io/app/manifests/3",
        "/ghcr.io/v2/app/manifests/3",
        "/v2/ghcr.io/app/manifests/3?ns=ghcr.io",
    ] {
        assert_eq!(meant(path), Some((1, "app".into())), "{path}");
    }
    assert_eq!(meant("/v2/team/app/manifests/3?ns=registry.corp%3A5000"), Some((2, "team/app".into())));
    assert_eq!(meant("/v2/corp/team/app/manifests/3"), Some((2, "team/app".into())));
}

#[test]
fn a_foreign_namespace_is_refused_and_never_answered_with_the_hubs_content() {
    for path in ["/v2/foo/bar/manifests/1?ns=quay.io", "/quay.io/v2/foo/bar/manifests/1", "/ghcr.io/v2/foo/bar/manifests/1?ns=docker.io"] {
        assert!(matches!(get(path), Err(ActionError::UnknownNamespace(_))), "{path}: {:?}", get(path));
    }
}

#[test]
fn a_path_that_begins_with_a_registry_which_is_not_mirrored_is_refused_without_a_question() {
    for (path, host) in [
        ("/v2/quay.io/foo/manifests/1", "quay.io"),
        ("/v2/quay.io/foo/bar/tags/list", "quay.io"),
        ("/v2/quay.io/foo/manifests/1?ns=docker.io", "quay.io"),
        ("/docker.io/v2/ghcr.io/foo/manifests/1", "ghcr.io"),
        ("/v2/localhost/foo/manifests/1", "localhost"),
        ("/v2/localhost:5000/foo/manifests/1", "localhost:5000"),
        ("/v2/registry%3A5000/foo/manifests/1", "registry:5000"),
    ] {
        assert_eq!(get(path), Err(ActionError::UnknownNamespace(host.into())), "{path}");
    }
    assert_eq!(meant("/v2/foo/quay.io/manifests/1"), Some((0, "foo/quay.io".into())), "only the first component is a host");
}

#[test]
fn a_registry_that_is_not_the_hub_may_have_dots_in_its_projects() {
    let mut names = names();
    names.upstreams.rotate_left(2); // Its own first upstream: `corp`.
    let parse = |path: &str, query| match names.parse(&Method::GET, path, query) {
        Ok(Action::Manifest(target, _)) => Ok((target.upstream, target.repo.to_string())),
        other => Err(other),
    };
    assert_eq!(parse("/v2/team.app/foo/manifests/1", None), Ok((0, "team.app/foo".into())));
    assert_eq!(parse("/v2/quay.io/foo/manifests/1", Some("ns=corp")), Ok((0, "quay.io/foo".into())), "the client said whose it is");
    assert_eq!(parse("/v2/corp/quay.io/foo/manifests/1", None), Ok((0, "quay.io/foo".into())), "so it did here");
    for path in ["/v2/quay.io/foo/manifests/1", "/v2/x.azurecr.io/foo/manifests/1", "/v2/other:5000/foo/manifests/1"] {
        assert!(matches!(parse(path, None), Err(Err(ActionError::UnknownNamespace(_)))), "{path}");
    }
    assert_eq!(
        meant("/v2/docker.io/foo/bar/manifests/1?ns=ghcr.io"),
        Some((1, "docker.io/foo/bar".into())),
        "another's name is not stripped"
    );
}

#[test]
fn each_kind_of_object_is_recognised() {
    assert_eq!(get("/v2/"), Ok(Action::Ping));
    assert_eq!(get("/v2"), Ok(Action::Ping));
    assert_eq!(get("//v2//"), Ok(Action::Ping));
    assert_eq!(get("/docker.io/v2/"), Ok(Action::Ping));
    assert_eq!(get("/v2/_catalog?n=5&last=x%2Fy"), Ok(Action::Catalog(Page { last: Some("x/y".into()), limit: Some(5) })));
    assert!(matches!(get(&format!("/v2/a/b/blobs/{DIGEST}")), Ok(Action::Blob(..))));
    assert!(matches!(get(&format!("/v2/a/b/blobs/{}", DIGEST.replace(':', "%3A"))), Ok(Action::Blob(..))));
    assert!(matches!(get(&format!("/v2/a/b/manifests/{DIGEST}")), Ok(Action::Manifest(_, Reference::Digest(_)))));
    assert!(matches!(get("/v2/a/b/tags/list?n=1"), Ok(Action::Tags(_, Page { limit: Some(1), .. }))));
    assert!(
        matches!(get(&format!("/v2/a/b/referrers/{DIGEST}?artifactType=a%2Fb")), Ok(Action::Referrers(_, _, Some(kind))) if kind == "a/b")
    );
    assert_eq!(meant("/v2/manifests/manifests/manifests/manifests"), Some((0, "manifests/manifests".into())));
}

#[test]
fn what_is_none_of_them_says_why() {
    for path in ["/", "", "/v1/", "/v2x", "/v2/a", "/v2/a/b", "/v2/a/unknown/c", "/a/b/v2/c/manifests/d", "/v2/manifests/x"] {
        assert_eq!(get(path), Err(ActionError::NoRoute), "{path}");
    }
    for path in ["/v2/a/B/manifests/x", "/v2/a/../manifests/x", "/v2/%2e%2e/x/manifests/y", "/v2/a%00/b/manifests/x"] {
        assert!(matches!(get(path), Err(ActionError::Name(_))), "{path}: {:?}", get(path));
    }
    assert!(matches!(get("/v2/a/b/manifests/sha256:bad"), Err(ActionError::Digest(_))));
    assert!(matches!(get("/v2/a/b/blobs/latest"), Err(ActionError::Digest(_))));
    assert!(matches!(get("/v2/a/b/manifests/-x"), Err(ActionError::Tag(_))));
    assert_eq!(get("/v2/_catalog?n=-1"), Err(ActionError::Page));
}

#[test]
fn every_write_is_refused_as_one() {
    for (method, path) in [
        (Method::POST, "/v2/a/b/blobs/uploads/"),
        (Method::PUT, "/v2/a/b/manifests/x"),
        (Method::PATCH, "/v2/a/b/blobs/uploads/1"),
        (Method::DELETE, "/v2/a/b/manifests/x"),
    ] {
        assert_eq!(names().parse(&method, path, None), Err(ActionError::ReadOnly), "{method}");
    }
}

proptest! {
    #[test]
    fn no_request_makes_the_parser_panic(path in "(/|v2|docker.io|library|manifests|blobs|tags/list|%2[eEfF]|%|[a-zA-Z0-9:._-]){0,12}", query: Option<String>) {
        let _ = names().parse(&Method::GET, &path, query.as_deref());
    }

    #[test]
    fn whatever_is_taken_is_a_safe_name(path in "/v2/[ -~]{0,40}/manifests/x") {
        if let Ok(Action::Manifest(target, _)) = names().parse(&Method::GET, &path, None) {
            prop_assert!(target.repo.components().all(|part| part != ".." && !part.is_empty() && !part.starts_with('_')));
        }
    }
}
