//! Redirects, followed by hand: the HTTP library's own would take our token along, or a downgrade. Pure.
//!
//! A `Location` is used once and never kept: it holds a signature that runs out. Whether a token goes along is decided for each step by
//! [`same_origin`], never by what the step before did.
//!
//! A registry steers our requests by what it redirects to. So none leads further inside than the address that was asked is itself: what answers there
//! trusts the machine that asks, and a document of it would be passed on as tags or as a manifest. A blob may come from a private address: a registry of
//! one's own with a public name often stores there, and what comes must have the blob's digest.

use url::Url;

use super::realm::Place;

/// Where a redirect leads, or why it is not followed. `trail` is where we have been, the present place last; `is_blob`: what comes is checked by its digest.
pub(super) fn follow(trail: &[Url], location: Option<&str>, is_blob: bool) -> Result<Url, RedirectError> {
    let from = trail.last().expect("a trail starts with the first request");
    let location = location.ok_or(RedirectError::Nowhere)?;
    let mut to = from.join(location).map_err(|_| RedirectError::Nowhere)?;
    to.set_fragment(None);
    if !matches!(to.scheme(), "http" | "https") || !to.has_host() {
        return Err(RedirectError::Scheme);
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(RedirectError::Downgrade);
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(RedirectError::Credentials); // Whose would they be? The library would send them as Basic.
    }
    if leads_inside(&trail[0], &to, is_blob) {
        return Err(RedirectError::Inside);
    }
    if trail.contains(&to) {
        return Err(RedirectError::Circle);
    }
    if trail.len() > MOST { Err(RedirectError::TooMany) } else { Ok(to) }
}

fn leads_inside(asked: &Url, to: &Url, is_blob: bool) -> bool {
    let (Some(ours), Some(theirs)) = (asked.host(), to.host()) else { return true };
    let (ours, theirs) = (Place::of(&ours), Place::of(&theirs));
    theirs > ours && !(is_blob && theirs == Place::Network)
}

/// Whether a redirect's status asks us to go elsewhere with the same method.
pub(super) fn is_redirect(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// One scheme, host and port: the only place that credentials of a request may go.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme() && one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RedirectError {
    /// It leads to where we came from.
    #[error("a redirect that leads in a circle")]
    Circle,
    /// It carries a user name or password.
    #[error("a redirect to an address with a user name in it")]
    Credentials,
    /// From `https` to `http`.
    #[error("a redirect from https to http")]
    Downgrade,
    /// From a registry outside to an address inside: of our network, of this machine, or of the cloud's own services.
    #[error("a redirect to an address further inside than the upstream itself")]
    Inside,
    /// No `Location`, or none that is an address.
    #[error("a redirect that does not say where to")]
    Nowhere,
    /// Neither `http` nor `https`.
    #[error("a redirect to something else than http or https")]
    Scheme,
    /// More than five in a row.
    #[error("more than {MOST} redirects in a row")]
    TooMany,
}

const MOST: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect(text)
    }

    #[test]
    fn a_redirect_may_be_absolute_or_relative() {
        let from = [url("https://hub.test/v2/a/blobs/x")];
        for (location, to) in [
            ("https://cdn.test/y?sig=1#z", "https://cdn.test/y?sig=1"),
            ("/y", "https://hub.test/y"),
            ("//cdn.test/y", "https://cdn.test/y"),
            ("y", "https://hub.test/v2/a/blobs/y"),
        ] {
            assert_eq!(follow(&from, Some(location), false), Ok(url(to)), "{location}");
        }
    }

    #[test]
    fn a_redirect_that_would_lose_something_is_not_followed() {
        let from = [url("https://hub.test/a"), url("https://hub.test/b")];
        for (location, why) in [
            (None, RedirectError::Nowhere),
            (Some("https://"), RedirectError::Nowhere),
            (Some("http://hub.test/c"), RedirectError::Downgrade),
            (Some("file:///etc/passwd"), RedirectError::Scheme),
            (Some("data:text/plain,x"), RedirectError::Scheme),
            (Some("https://u:p@hub.test/c"), RedirectError::Credentials),
            (Some("/a"), RedirectError::Circle),
            (Some("/b#again"), RedirectError::Circle),
        ] {
            assert_eq!(follow(&from, location, false), Err(why), "{location:?}");
        }
    }

    #[test]
    fn no_redirect_leads_from_outside_to_what_trusts_this_machine() {
        let hub = [url("https://registry-1.docker.io/v2/a/manifests/x")];
        for inside in
            ["https://127.0.0.1/", "https://localhost:9000/", "https://169.254.169.254/latest/", "https://[::1]/", "https://[fe80::1]/"]
        {
            for is_blob in [false, true] {
                assert_eq!(follow(&hub, Some(inside), is_blob), Err(RedirectError::Inside), "{inside}");
            }
        }
        for network in ["https://10.0.0.1/", "https://192.168.1.1/", "https://[fd00::1]/", "https://minio.internal/"] {
            assert_eq!(follow(&hub, Some(network), false), Err(RedirectError::Inside), "{network}");
            assert_eq!(follow(&hub, Some(network), true), Ok(url(network)), "a registry of one's own stores where it likes");
        }
        let round = [hub[0].clone(), url("https://cdn.example.com/x")];
        assert_eq!(follow(&round, Some("https://10.0.0.1/"), false), Err(RedirectError::Inside), "nor by a way round");
        let own = [url("http://127.0.0.1:5000/v2/a/manifests/x")];
        assert_eq!(follow(&own, Some("http://127.0.0.2:1/"), false), Ok(url("http://127.0.0.2:1/")), "one that is inside itself");
        assert_eq!(follow(&own, Some("http://169.254.169.254/"), false), Err(RedirectError::Inside));
    }

    #[test]
    fn five_redirects_are_followed_and_no_sixth() {
        let mut trail = vec![url("http://hub.test/0")];
        for step in 1..=5 {
            trail.push(follow(&trail, Some(&format!("/{step}")), false).expect("up to five"));
        }
        assert_eq!(follow(&trail, Some("/6"), false), Err(RedirectError::TooMany));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let hub = url("https://hub.test/v2/");
        assert!(same_origin(&hub, &url("https://HUB.test:443/other")));
        for other in ["http://hub.test/v2/", "https://hub.test:444/", "https://cdn.hub.test/"] {
            assert!(!same_origin(&hub, &url(other)), "{other}");
        }
    }
}
