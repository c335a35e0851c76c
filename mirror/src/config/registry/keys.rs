//! Each key of the `registry` image that we know, and what becomes of it.

use std::time::Duration;

use crate::config::parse;

/// What becomes of a key.
pub(super) enum Fate {
    /// Its text decides.
    Judged(fn(&str) -> Verdict),
    /// A list that goes to this key of ours.
    List(&'static str),
    /// A map that goes to this key of ours.
    Map(&'static str),
    /// Nothing that a mirror needs, or what we do anyhow.
    Quiet,
    /// It guards or moves something; the text says what replaces it.
    Refused(&'static str),
}

/// What a value comes to.
pub(super) enum Verdict {
    /// This key of ours, with this text.
    Means(&'static str, String),
    Noted(&'static str),
    Quiet,
    Refused(&'static str),
    Wrong(String),
}

/// By path. A section that is not here is walked into when keys under it are; else it is unknown.
pub(super) const TABLE: &[(&str, Fate)] = &[
    ("version", Fate::Judged(version)),
    ("loglevel", Fate::Judged(level)),
    ("log.level", Fate::Judged(level)),
    ("log.formatter", Fate::Judged(formatter)),
    ("log.fields", Fate::Map("log.fields")),
    ("log.accesslog.disabled", Fate::Judged(access_log)),
    ("log.reportcaller", Fate::Quiet),
    ("storage", Fate::Judged(driver)),
    ("storage.filesystem.rootdirectory", Fate::Judged(|text| Verdict::Means("store.path", text.into()))),
    ("storage.filesystem.maxthreads", Fate::Quiet),
    ("storage.cache", Fate::Quiet),
    ("storage.delete", Fate::Quiet),
    ("storage.maintenance", Fate::Quiet),
    ("storage.redirect", Fate::Quiet),
    ("storage.tag", Fate::Quiet),
    (
        "auth",
        Fate::Refused(
            "is not done here: a challenge makes engines send their users' Docker Hub passwords; CHANDLER_ACCESS=10.0.0.0/8,… names the networks that may read",
        ),
    ),
    ("middleware", Fate::Refused("has no counterpart; take it out, or put a reverse proxy in front")),
    ("http.addr", Fate::Judged(|text| Verdict::Means("listeners.0.address", text.into()))),
    ("http.net", Fate::Judged(net)),
    ("http.prefix", Fate::Judged(prefix)),
    ("http.host", Fate::Quiet),
    ("http.relativeurls", Fate::Quiet),
    ("http.secret", Fate::Quiet),
    ("http.draintimeout", Fate::Judged(|text| duration("limits.drain", text))),
    ("http.tls.certificate", Fate::Judged(|text| Verdict::Means("listeners.0.tls.certificate", text.into()))),
    ("http.tls.key", Fate::Judged(|text| Verdict::Means("listeners.0.tls.key", text.into()))),
    // Together with the next, by `clients`, a rule that lets nobody else read.
    ("http.tls.clientcas", Fate::List("clients.ca")),
    ("http.tls.clientauth", Fate::Judged(client_auth)),
    ("http.tls.letsencrypt.cachefile", Fate::Judged(|text| Verdict::Means("acme.path", text.into()))),
    ("http.tls.letsencrypt.email", Fate::Judged(|text| Verdict::Means("acme.email", text.into()))),
    ("http.tls.letsencrypt.hosts", Fate::List("listeners.0.tls.acme")),
    ("http.tls.letsencrypt.directoryurl", Fate::Judged(|text| Verdict::Means("acme.directories", text.into()))),
    ("http.tls.minimumtls", Fate::Judged(minimum_tls)),
    ("http.headers", Fate::Map("headers")),
    ("http.http2.disabled", Fate::Judged(http2)),
    ("http.debug.addr", Fate::Judged(|text| Verdict::Means("admin.address", text.into()))),
    ("http.debug.prometheus.enabled", Fate::Quiet),
    ("http.debug.prometheus.path", Fate::Judged(metrics_path)),
    ("health.storagedriver.enabled", Fate::Judged(|text| Verdict::Means("store.health.enabled", text.into()))),
    ("health.storagedriver.interval", Fate::Judged(|text| duration("store.health.interval", text))),
    ("health.storagedriver.threshold", Fate::Judged(|text| Verdict::Means("store.health.threshold", text.into()))),
    // These three are one thing, read by `upstream`.
    ("proxy.remoteurl", Fate::Quiet),
    ("proxy.username", Fate::Quiet),
    ("proxy.password", Fate::Quiet),
    (
        "proxy.ttl",
        Fate::Judged(|_| {
            Verdict::Noted(
                "is not used: content stays until room is needed; CHANDLER_STORE_KEEP_UNUSED=168h removes what nobody read for so long",
            )
        }),
    ),
    (
        "proxy.exec",
        Fate::Refused(
            "is written CHANDLER_UPSTREAMS_0_ACCOUNT_CREDENTIAL_HELPER here, with the account's name in CHANDLER_UPSTREAMS_0_ACCOUNT_USER",
        ),
    ),
];

fn version(text: &str) -> Verdict {
    if text == "0.1" { Verdict::Quiet } else { Verdict::Wrong("not known; write 0.1".into()) }
}

fn level(text: &str) -> Verdict {
    let level = match text.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return Verdict::Wrong("not a level; write error, warn, info or debug".into()),
    };
    Verdict::Means("log.level", level.into())
}

fn formatter(text: &str) -> Verdict {
    match text {
        "text" => Verdict::Means("log.format", "text".into()),
        "json" | "logstash" => Verdict::Means("log.format", "json".into()),
        _ => Verdict::Wrong("not a formatter; write text or json".into()),
    }
}

fn access_log(text: &str) -> Verdict {
    match parse::switch(text) {
        Ok(disabled) => Verdict::Means("log.access", (!disabled).to_string()),
        Err(error) => Verdict::Wrong(error),
    }
}

fn driver(text: &str) -> Verdict {
    match text {
        "filesystem" => Verdict::Quiet,
        _ => Verdict::Refused(super::OTHER_DRIVER),
    }
}

fn net(text: &str) -> Verdict {
    match text {
        "tcp" | "tcp4" | "tcp6" => Verdict::Quiet,
        _ => Verdict::Refused("asks for a socket that is not TCP; write an address in http.addr"),
    }
}

fn prefix(text: &str) -> Verdict {
    match text {
        "/" => Verdict::Quiet,
        _ => Verdict::Refused("moves the registry to a path where no engine looks; take it out, or let a reverse proxy rewrite the path"),
    }
}

fn client_auth(text: &str) -> Verdict {
    match text {
        "require-and-verify-client-cert" => Verdict::Quiet,
        "request-client-cert" | "require-any-client-cert" => Verdict::Refused(
            "asks for certificates that nobody checks; leave it out, so that those of http.tls.clientcas are checked, or leave out both",
        ),
        "verify-client-cert-if-given" => Verdict::Refused(
            "lets clients without a certificate read, too; leave it out, so that they are refused, or write who may read in chandler's own keys",
        ),
        _ => Verdict::Wrong("not known; write require-and-verify-client-cert, or leave it out".into()),
    }
}

fn minimum_tls(text: &str) -> Verdict {
    match text {
        "tls1.2" => Verdict::Quiet,
        "tls1.3" => Verdict::Refused("cannot be raised: TLS 1.2 and 1.3 are spoken; take it out"),
        _ => Verdict::Noted("is not lowered: TLS 1.2 and 1.3 are spoken"),
    }
}

fn http2(text: &str) -> Verdict {
    match parse::switch(text) {
        Ok(false) => Verdict::Quiet,
        Ok(true) => Verdict::Noted("is not used: clients choose HTTP/1.1 or HTTP/2"),
        Err(error) => Verdict::Wrong(error),
    }
}

fn metrics_path(text: &str) -> Verdict {
    if text == "/metrics" { Verdict::Quiet } else { Verdict::Noted("is not used: metrics are at /metrics") }
}

fn duration(key: &'static str, text: &str) -> Verdict {
    match go_duration(text) {
        Some(duration) => Verdict::Means(key, humantime::format_duration(duration).to_string()),
        None => Verdict::Wrong("not a duration; write a number with a unit, such as 10s".into()),
    }
}

/// `10s`, `1h30m`, `1.5h`, `100ms`: numbers with units, added.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        let unit_end = rest[unit_at..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| unit_at + end);
        let seconds = match &rest[unit_at..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}
