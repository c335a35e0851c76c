//! The operator's own surface: `/metrics`, `/healthz`, `/readyz`, `/figures`, and `/debug/health`, by which the `registry` image is asked. Refusals are answers, never challenges.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prometheus_client::registry::Registry;
use warp::Filter as _;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Readiness;
use crate::config::Secret;

/// What the surface shows, and to whom.
pub struct Admin {
    /// `/figures`: the cache's figures at this moment.
    pub figures: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Who may look, at each moment.
    pub guard: Arc<ArcSwap<Guard>>,
    /// `/readyz`.
    pub readiness: Readiness,
    /// `/metrics`.
    pub registry: Registry,
}

/// Who may look.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// `/metrics`, `/healthz`, `/readyz` and `/debug/health` need no token.
    pub open_metrics: bool,
    /// `Authorization: Bearer …`; without one, whoever reaches the listener by an address or as localhost may look.
    pub token: Option<Secret>,
}

/// The surface as a filter that answers every request.
pub fn admin(admin: Admin) -> BoxedFilter<(Response,)> {
    let admin = Arc::new(admin);
    let state = warp::any().map(move || Arc::clone(&admin));
    // A host that cannot be read is no address.
    let unreadable = warp::any().map(|| Some(Authority::from_static("unreadable.invalid")));
    let host = warp::host::optional().or(unreadable).unify();
    let parts = warp::method().and(warp::path::full()).and(host).and(warp::header::headers_cloned());
    let answer = |admin: Arc<Admin>, method: Method, path: warp::path::FullPath, host: Option<Authority>, headers| {
        admin.answer(&method, path.as_str(), host.as_ref(), &headers)
    };
    state.and(parts).map(answer).boxed()
}

impl Admin {
    fn answer(&self, method: &Method, path: &str, host: Option<&Authority>, headers: &HeaderMap) -> Response {
        let guard = self.guard.load();
        if guard.is_by_name(path, host) {
            let text = "without an admin token this is for who asks by an address or as localhost: a name may be anybody's\n";
            return plain(StatusCode::FORBIDDEN, text.into());
        }
        if !guard.lets(path, headers) {
            return plain(StatusCode::UNAUTHORIZED, "this needs the admin token: Authorization: Bearer TOKEN\n".into());
        }
        if method != Method::GET && method != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        }
        match path {
            "/debug/health" => self.health(),
            "/figures" => typed(StatusCode::OK, "application/json", format!("{}\n", (self.figures)())),
            "/healthz" => plain(StatusCode::OK, "ok\n".into()),
            "/metrics" => self.metrics(),
            "/readyz" => self.ready(headers),
            _ => plain(StatusCode::NOT_FOUND, "here are /metrics, /healthz, /readyz and /figures\n".into()),
        }
    }

    fn metrics(&self) -> Response {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => typed(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be written: {error}\n")),
        }
    }

    /// As the `registry` image answers at its debug address: an object with what is wrong, empty when nothing is.
    fn health(&self) -> Response {
        let report = self.readiness.report();
        let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let text =
            if report.ready { "{}".to_owned() } else { serde_json::json!({ "storagedriver_filesystem": report.text() }).to_string() };
        typed(status, "application/json", text + "\n")
    }

    fn ready(&self, headers: &HeaderMap) -> Response {
        let report = self.readiness.report();
        let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let wants_json = headers.get(ACCEPT).is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("json")));
        if wants_json {
            let text = serde_json::to_string(&report).expect("strings and a flag become JSON");
            typed(status, "application/json", text + "\n")
        } else {
            plain(status, report.text())
        }
    }
}

impl Guard {
    fn lets(&self, path: &str, headers: &HeaderMap) -> bool {
        self.is_open(path) || self.has_token(headers)
    }

    fn is_open(&self, path: &str) -> bool {
        self.open_metrics && matches!(path, "/metrics" | "/healthz" | "/readyz" | "/debug/health")
    }

    /// Whether nothing but the listener's address guards a page, and a name was asked for it: a web page may have its own name mean this machine, and
    /// its visitor's browser then lets it read what it finds here. A browser always says the name.
    fn is_by_name(&self, path: &str, host: Option<&Authority>) -> bool {
        self.token.is_none() && !self.is_open(path) && host.is_some_and(|host| !is_this_machine(host.host()))
    }

    /// In constant time, so that nobody can feel their way to the token.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let Some((scheme, given)) = given.split_at_checked(BEARER.len()) else { return false };
        let is_bearer = scheme.eq_ignore_ascii_case(BEARER);
        is_bearer && aws_lc_rs::constant_time::verify_slices_are_equal(given, token.expose().as_bytes()).is_ok()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// An address, or what every system has for its own.
fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok()) || host.parse::<Ipv4Addr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

fn plain(status: StatusCode, text: String) -> Response {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const BEARER: &[u8] = b"Bearer ";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn surface(token: Option<&str>, open_metrics: bool) -> Admin {
        let mut registry = Registry::default();
        super::super::Metrics::default().register(&mut registry);
        let readiness = Readiness::default();
        let guard = Guard { open_metrics, token: token.map(Secret::new) };
        Admin { figures: Box::new(|| serde_json::json!({"blobs": 3})), guard: Arc::new(ArcSwap::from_pointee(guard)), readiness, registry }
    }

    async fn ask(admin: &Admin, path: &str, headers: &[(http::HeaderName, &'static str)]) -> (u16, HeaderMap, String) {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let host = Authority::from_static("localhost:5001");
        let (parts, body) = admin.answer(&Method::GET, path, Some(&host), &headers).into_parts();
        let text = body.collect().await.expect("whole").to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8(text.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn a_token_guards_everything_but_what_is_opened() {
        let (closed, opened) = (surface(Some("t0ken"), false), surface(Some("t0ken"), true));
        for path in ["/metrics", "/healthz", "/readyz", "/figures", "/else"] {
            let (status, headers, _) = ask(&closed, path, &[]).await;
            assert_eq!((status, headers.contains_key("www-authenticate")), (401, false), "{path}");
            assert_eq!(ask(&opened, path, &[]).await.0 == 200, !matches!(path, "/figures" | "/else"), "{path}");
        }
        for (given, status) in [
            ("Bearer t0ken", 200),
            ("bearer t0ken", 200),
            ("Bearer t0ke", 401),
            ("Bearer t0kenn", 401),
            ("Basic t0ken", 401),
            ("t0ken", 401),
        ] {
            assert_eq!(ask(&closed, "/figures", &[(AUTHORIZATION, given)]).await.0, status, "{given}");
        }
    }

    #[test]
    fn without_a_token_nothing_is_told_to_who_asks_by_a_name() {
        let (plain, opened, locked) = (surface(None, false), surface(None, true), surface(Some("t0ken"), false));
        let status = |admin: &Admin, path: &str, host: Option<&str>| {
            let host = host.map(|host| host.parse().expect("an authority"));
            admin.answer(&Method::GET, path, host.as_ref(), &HeaderMap::new()).status().as_u16()
        };
        for host in ["127.0.0.1:5001", "10.1.2.3", "[::1]:5001", "[fd00::1]", "localhost", "LocalHost:5001"] {
            assert_eq!(status(&plain, "/figures", Some(host)), 200, "{host}");
        }
        assert_eq!(status(&plain, "/figures", None), 200, "HTTP/1.0, which no browser speaks");
        for host in ["rebound.example", "localhost.rebound.example", "127.0.0.1.rebound.example:5001", "1.2.3"] {
            assert_eq!(status(&plain, "/figures", Some(host)), 403, "{host}");
            assert_eq!(status(&opened, "/metrics", Some(host)), 200, "{host}: the operator has opened it");
            assert_eq!(status(&locked, "/figures", Some(host)), 401, "{host}: the token decides");
        }
        assert_eq!(status(&opened, "/figures", Some("rebound.example")), 403);
    }

    #[tokio::test]
    async fn each_page_is_what_its_reader_expects() {
        let admin = surface(None, false);
        let (_, headers, text) = ask(&admin, "/metrics", &[]).await;
        assert_eq!(headers[CONTENT_TYPE], OPEN_METRICS);
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert_eq!(ask(&admin, "/figures", &[]).await.2, "{\"blobs\":3}\n");
        assert_eq!(ask(&admin, "/readyz", &[]).await.0, 200);
        admin.readiness.block("store", "cannot write");
        assert_eq!(ask(&admin, "/healthz", &[]).await.0, 200, "alive is not ready");
        let (status, _, text) = ask(&admin, "/readyz", &[]).await;
        assert_eq!((status, text.as_str()), (503, "not ready\nblocking: store: cannot write\n"));
        let (status, _, text) = ask(&admin, "/readyz", &[(ACCEPT, "application/json")]).await;
        assert_eq!(
            (status, text.as_str()),
            (503, "{\"conditions\":[{\"kind\":\"blocking\",\"name\":\"store\",\"reason\":\"cannot write\"}],\"ready\":false}\n")
        );
        assert_eq!(ask(&admin, "/", &[]).await.0, 404);
    }

    #[tokio::test]
    async fn the_filter_answers_every_request() {
        let mut service = warp::service(admin(surface(None, false)));
        for (path, host, status) in [
            ("/healthz", "localhost", 200),
            ("/any/where", "127.0.0.1", 404),
            ("/healthz", "rebound.example", 403),
            ("/healthz", "a b", 403),
        ] {
            let request = http::Request::builder().uri(path).header("host", host).body(String::new()).expect("a request");
            let Ok(response) = tower_service::Service::call(&mut service, request).await;
            assert_eq!(response.status(), status);
        }
    }
}
