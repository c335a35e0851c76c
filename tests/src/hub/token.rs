//! The token service: Basic auth for accounts, none for the anonymous; tokens bound to account, repositories and time.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::json;

use super::content::World;
use super::reply::Reply;
use super::settings::Settings;

/// What a token is good for.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) account: Option<String>,
    pub(super) repositories: Vec<String>,
    expires: Instant,
}

/// All tokens that are out.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    issued: u64,
    grants: HashMap<String, Grant>,
}

impl Tokens {
    /// The grant of a token that has not expired.
    pub(super) fn grant(&self, token: &str) -> Option<&Grant> {
        self.grants.get(token).filter(|grant| grant.expires > Instant::now())
    }

    /// Forgets all, as if they had expired early.
    pub(super) fn revoke(&mut self) {
        self.grants.clear();
    }

    fn issue(&mut self, grant: Grant) -> String {
        self.issued += 1;
        // As long as the Hub's own: clients must cope with headers of that size.
        let token = format!("{}.{:08}", "testhub".repeat(100), self.issued);
        self.grants.insert(token.clone(), grant);
        token
    }
}

/// The account and password of a Basic `Authorization`.
pub(super) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = credentials(headers, "basic")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (account, password) = text.split_once(':')?;
    Some((account.to_owned(), password.to_owned()))
}

/// The token of a Bearer `Authorization`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, value) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then(|| value.trim())
}

/// The repositories that a token request's scopes name for pulling.
pub(super) fn scopes(query: &str) -> Vec<String> {
    let scopes = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
    let texts: Vec<String> = scopes.map(|(_, value)| value.into_owned()).collect();
    let all = texts.iter().flat_map(|text| text.split(' '));
    let pulls = all.filter_map(|scope| {
        let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        actions.split(',').any(|action| action == "pull").then(|| name.to_owned())
    });
    pulls.collect()
}

/// Answers a token request; true when a token was given out.
pub(super) fn answer(tokens: &mut Tokens, world: &World, settings: &Settings, headers: &HeaderMap, query: &str) -> (Reply, bool) {
    let account = match basic(headers) {
        None if headers.contains_key(http::header::AUTHORIZATION) => return (refusal(), false),
        Some((account, password)) if !world.accepts(&account, &password) => return (refusal(), false),
        basic => basic.map(|(account, _)| account),
    };
    let mut repositories = scopes(query);
    repositories.retain(|name| world.may_read(account.as_deref(), name));
    let token = tokens.issue(Grant { account, repositories, expires: Instant::now() + settings.token_lifetime });
    let mut body = json!({"token": token, "access_token": token, "issued_at": issued_at(settings.clock_skew)});
    if let Some(seconds) = settings.expires_in {
        body["expires_in"] = seconds.into();
    }
    (Reply::json(200, &body), true)
}

fn refusal() -> Reply {
    Reply::json(401, &json!({"details": "incorrect username or password"}))
}

fn issued_at(skew: i64) -> String {
    let by = Duration::from_secs(skew.unsigned_abs());
    let now = if skew < 0 { SystemTime::now() - by } else { SystemTime::now() + by };
    humantime::format_rfc3339_seconds(now).to_string()
}
