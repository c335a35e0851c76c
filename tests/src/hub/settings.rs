//! How the Hub behaves when nothing goes wrong; tests may change every part while it runs.

use std::time::Duration;

/// How the registry wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Bearer tokens from the token service, as Docker Hub.
    Token,
    /// Basic auth at the registry itself, as many private registries; no anonymous reading.
    Basic,
    /// None: what is public is open.
    Open,
}

/// The Hub's settings; `Settings::default()` is what Docker Hub does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the registry wants to be asked.
    pub auth: Auth,
    /// How long a token is good.
    pub token_lifetime: Duration,
    /// What `expires_in` says of it, in seconds; `None` leaves it out.
    pub expires_in: Option<u64>,
    /// By how many seconds the token service's clock (`issued_at`) is ahead; negative is behind.
    pub clock_skew: i64,
    /// Whether blobs answer 307 to the CDN; else the registry sends them itself.
    pub redirects: bool,
    /// How long a link to the CDN is good.
    pub link_lifetime: Duration,
    /// The whole `WWW-Authenticate`, with `{realm}`, `{service}` and `{scope}` to be filled in; `None` is the Hub's.
    /// A text of several lines is sent as several headers.
    pub challenge: Option<String>,
    /// The realm that challenges name; `None` is the token service's true address.
    pub realm: Option<String>,
    /// What a repository answers to a good token without a right to it (and one that does not exist): 401, 403 or 404.
    pub denial: u16,
    /// Whether `/referrers/` exists.
    pub referrers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: Auth::Token,
            token_lifetime: Duration::from_mins(5),
            expires_in: Some(300),
            clock_skew: 0,
            redirects: true,
            link_lifetime: Duration::from_mins(10),
            challenge: None,
            realm: None,
            denial: 401,
            referrers: true,
        }
    }
}
