//! Redirects, followed by hand: the HTTP library's own would take our token along, or a downgrade. Pure.
//!
//! A `Location` is used once and never kept: it holds a signature that runs out. Whether a token goes along is decided for each step by
//! [`same_origin`], never by what the step before did.

use url::Url;

/// Where a redirect leads, or why it is not followed. `trail` is where we have been, the present place last.
pub(super) fn follow(trail: &[Url], location: Option<&str>) -> Result<Url, RedirectError> {
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
    if trail.contains(&to) {
        return Err(RedirectError::Circle);
    }
    if trail.len() > MOST { Err(RedirectError::TooMany) } else { Ok(to) }
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
            assert_eq!(follow(&from, Some(location)), Ok(url(to)), "{location}");
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
            assert_eq!(follow(&from, location), Err(why), "{location:?}");
        }
    }

    #[test]
    fn five_redirects_are_followed_and_no_sixth() {
        let mut trail = vec![url("http://hub.test/0")];
        for step in 1..=5 {
            trail.push(follow(&trail, Some(&format!("/{step}"))).expect("up to five"));
        }
        assert_eq!(follow(&trail, Some("/6")), Err(RedirectError::TooMany));
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
