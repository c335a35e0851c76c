//! [`Config`] → the YAML file that would say it.
//!
//! A document of typed values is made of it, which `serde_yaml` writes: what must be quoted is its knowledge. Our own reader then says on which
//! line each value came to stand, and the value's origin is put there as a comment.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use certs::KeyKind;
use certs::acme::ExternalAccount;
use certs::solve::{HookStyle, Rfc2136};
use certs::store::CertName;
use serde_yaml::{Mapping, Value};

use super::problem::Origin;
use super::tree::{self, Node};
use super::{
    Access, AccessRule, AccountConfig, AcmeConfig, AdminConfig, ClientCa, ClientPattern, Config, DnsConfig, DnsWriterConfig, Issuer,
    LimitsConfig, ListenerConfig, LogConfig, LogFormat, PasswordSource, Pattern, Secret, StoreConfig, TlsConfig, UpstreamConfig,
};

/// A YAML file that resolves to `config`; passwords and tokens are in it.
pub fn render(config: &Config) -> String {
    write(&document(config, Secrets::Written))
}

/// The same without secrets, and each value's origin as a comment.
pub(super) fn with_origins(config: &Config, said: &Node) -> String {
    let text = write(&document(config, Secrets::Hidden));
    let mut comments = HashMap::new();
    // Without positions there are no comments; a test proves that what is written is always read.
    if let Ok(written) = tree::parse(Path::new("shown"), &text) {
        find_lines(&written, &mut Vec::new(), &mut |line, path| {
            comments.insert(line, origin(said, path));
        });
    }
    let with_comment = |(line, text): (usize, &str)| match comments.get(&line) {
        Some(origin) => format!("{text}  # {origin}\n"),
        None => format!("{text}\n"),
    };
    (1..).zip(text.lines()).map(with_comment).collect()
}

fn write(document: &Value) -> String {
    serde_yaml::to_string(document).expect("texts, numbers and switches in maps and lists are YAML")
}

/// Calls `found` with each value's line and path. A list of texts is one value, on the line of its key.
fn find_lines(node: &Node, path: &mut Vec<String>, found: &mut impl FnMut(usize, &[String])) {
    let tree::Value::Map(entries) = &node.value else { return };
    for entry in entries {
        path.push(entry.name.clone());
        match &entry.node.value {
            tree::Value::Map(inner) if !inner.is_empty() => find_lines(&entry.node, path, found),
            tree::Value::List(items) if items.iter().any(|item| item.as_text().is_none()) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    find_lines(item, path, found);
                    path.pop();
                }
            }
            _ => {
                if let Origin::File { line, .. } = entry.origin {
                    found(line, path);
                }
            }
        }
        path.pop();
    }
}

fn origin(said: &Node, path: &[String]) -> Origin {
    let Some((name, sections)) = path.split_last() else { return Origin::Default };
    let section = sections.iter().try_fold(said, |node, name| node.child(name));
    // What was resolved to a value may have been said under another key, and a header's name in other letters.
    let node = section.and_then(|section| {
        let alias = || ALIASES.iter().find(|(key, _)| key == name).and_then(|(_, other)| section.child(other));
        section.child_in_any_case(name).or_else(alias)
    });
    // A window of the top level holds for each upstream.
    let inherited = || said.child(name).filter(|_| name == "tag_window");
    let node = node.or_else(inherited).filter(|node| !matches!(node.value, tree::Value::Null));
    node.map_or(Origin::Default, |node| node.origin.clone())
}

#[derive(Clone, Copy)]
enum Secrets {
    Hidden,
    Written,
}

impl Secrets {
    fn show(self, secret: &Secret) -> Value {
        match self {
            Self::Hidden => text("(secret)"),
            Self::Written => text(secret.expose()),
        }
    }

    /// A proxy's URL may hold a password.
    fn show_proxy(self, proxy: &url::Url) -> Value {
        match self {
            Self::Hidden => text(super::without_password(proxy)),
            Self::Written => text(proxy),
        }
    }
}

fn document(config: &Config, secrets: Secrets) -> Value {
    section([
        ("listeners", config.listeners.iter().map(listener).collect()),
        ("upstreams", config.upstreams.iter().map(|one| upstream(one, secrets)).collect()),
        ("store", store(&config.store)),
        ("access", access(&config.access)),
        ("clients", clients(config)),
        ("acme", acme(&config.acme, secrets)),
        ("trusted_proxies", texts(&config.trusted_proxies)),
        ("headers", headers(config)),
        ("admin", admin(config.admin.as_ref(), secrets)),
        ("log", log(&config.log)),
        ("limits", limits(&config.limits)),
    ])
}

fn listener(listener: &ListenerConfig) -> Value {
    let tls = listener.tls.as_ref().map(tls);
    section([("address", text(listener.address)), ("tls", tls.unwrap_or_default()), ("proxy_protocol", listener.proxy_protocol.into())])
}

fn tls(tls: &TlsConfig) -> Value {
    let file = |path: &Path| text(path.display());
    section([
        ("certificate", tls.files().map(|files| file(&files.certificate)).unwrap_or_default()),
        ("key", tls.files().map(|files| file(&files.key)).unwrap_or_default()),
        ("acme", names(tls, Issuer::Acme)),
        ("private", names(tls, Issuer::Private)),
    ])
}

/// The first one, by which the certificate is called, stays the first.
fn names(tls: &TlsConfig, issuer: Issuer) -> Value {
    let Some(names) = tls.names().filter(|names| names.issuer == issuer) else { return Value::Null };
    let (first, others): (Vec<_>, Vec<_>) = names.identifiers.iter().partition(|one| CertName::from(*one) == names.name);
    texts(first.into_iter().chain(others))
}

fn acme(acme: &AcmeConfig, secrets: Secrets) -> Value {
    let key = match acme.key {
        KeyKind::P256 => "p256",
        KeyKind::P384 => "p384",
        KeyKind::Rsa2048 => "rsa2048",
    };
    section([
        ("email", acme.email.as_ref().map(text).unwrap_or_default()),
        ("directories", texts(&acme.directories)),
        ("ca", acme.ca.as_ref().map(|path| text(path.display())).unwrap_or_default()),
        ("challenges", texts(acme.ways.iter().map(|way| way.name()))),
        ("http", text(acme.http)),
        ("dns", acme.dns.as_ref().map(|one| dns(one, secrets)).unwrap_or_default()),
        ("external", acme.external.as_ref().map(|one| external(one, secrets)).unwrap_or_default()),
        ("key", text(key)),
        ("profile", acme.profile.as_ref().map(text).unwrap_or_default()),
        ("path", text(acme.path.display())),
    ])
}

fn dns(dns: &DnsConfig, secrets: Secrets) -> Value {
    let optional = |value: Option<&String>| value.map(text).unwrap_or_default();
    let writer = match &dns.writer {
        DnsWriterConfig::Hook(hook) => vec![
            ("hook", text(hook.hook.display())),
            ("cleanup", hook.cleanup.as_ref().map(|path| text(path.display())).unwrap_or_default()),
            ("style", text(if hook.style == HookStyle::Lego { "lego" } else { "certbot" })),
            ("timeout", duration(hook.timeout)),
        ],
        DnsWriterConfig::Rfc2136(server) => vec![("rfc2136", rfc2136(server, secrets))],
        DnsWriterConfig::Route53(account) => {
            let keys = [
                ("zone_id", optional(account.zone_id.as_ref())),
                ("profile", optional(account.profile.as_ref())),
                ("endpoint", text(address(&account.endpoint))),
            ];
            vec![("route53", section(keys))]
        }
    };
    let resolvers = if dns.resolvers.is_empty() { Value::Null } else { texts(&dns.resolvers) };
    section(writer.into_iter().chain([("wait", dns.wait.map_or_else(off, duration)), ("resolvers", resolvers)]))
}

fn rfc2136(server: &Rfc2136, secrets: Secrets) -> Value {
    section([
        ("server", text(&server.server)),
        ("key_name", text(&server.key.name)),
        ("key_algorithm", text(server.key.algorithm.name())),
        ("key", secrets.show(&Secret::new(&server.key.secret()))),
        ("zone", server.zone.as_ref().map(text).unwrap_or_default()),
        ("ttl", duration(Duration::from_secs(server.ttl.into()))),
    ])
}

fn external(external: &ExternalAccount, secrets: Secrets) -> Value {
    section([("kid", text(external.kid())), ("key", secrets.show(&Secret::new(&external.key())))])
}

fn upstream(upstream: &UpstreamConfig, secrets: Secrets) -> Value {
    let patterns = |patterns: &Option<Vec<Pattern>>| patterns.as_deref().map(list_of_patterns).unwrap_or_default();
    section([
        ("name", text(&upstream.name)),
        ("url", text(address(&upstream.url))),
        ("answers_to", texts(&upstream.answers_to)),
        ("hub", upstream.hub.into()),
        ("account", upstream.account.as_ref().map(|one| account(one, secrets)).unwrap_or_default()),
        ("ca", upstream.ca.as_ref().map(|path| text(path.display())).unwrap_or_default()),
        ("proxy", upstream.proxy.as_ref().map(|proxy| secrets.show_proxy(proxy)).unwrap_or_default()),
        ("alternates", texts(upstream.alternates.iter().map(address))),
        ("realms", texts(&upstream.realms)),
        ("repositories", patterns(&upstream.repositories)),
        ("private", patterns(&upstream.private)),
        ("tag_window", duration(upstream.tag_window)),
    ])
}

fn account(account: &AccountConfig, secrets: Secrets) -> Value {
    let (key, password) = match &account.password {
        PasswordSource::File(file) => ("password_file", text(file.display())),
        PasswordSource::Helper(words) => ("credential_helper", texts(words)),
        PasswordSource::Value(secret) => ("password", secrets.show(secret)),
    };
    section([("user", text(&account.user)), (key, password)])
}

fn store(store: &StoreConfig) -> Value {
    let health = &store.health;
    section([
        ("path", text(store.root.display())),
        ("max_size", store.max_size.map_or_else(off, text)),
        ("min_free", text(store.min_free)),
        ("keep_unused", store.keep_unused.map_or_else(off, duration)),
        (
            "deleted_tags",
            section([
                ("grace", duration(store.deleted_tags.grace)),
                ("then", text(if store.deleted_tags.keep { "keep" } else { "remove" })),
            ]),
        ),
        (
            "health",
            section([("enabled", health.enabled.into()), ("interval", duration(health.interval)), ("threshold", health.threshold.into())]),
        ),
        ("scrub_rate", store.scrub_rate.map_or_else(off, text)),
    ])
}

fn access(access: &Access) -> Value {
    match access {
        Access::Open => text("open"),
        Access::Rules(rules) => rules.iter().map(access_rule).collect(),
    }
}

fn access_rule(rule: &AccessRule) -> Value {
    let repositories = if rule.repositories.is_empty() { Value::Null } else { list_of_patterns(&rule.repositories) };
    let networks = if rule.networks.is_empty() { Value::Null } else { texts(&rule.networks) };
    let clients = if rule.clients.is_empty() { Value::Null } else { texts(rule.clients.iter().map(ClientPattern::as_str)) };
    section([("name", text(&rule.name)), ("networks", networks), ("clients", clients), ("repositories", repositories)])
}

fn clients(config: &Config) -> Value {
    let ca = |ca: &ClientCa| match ca {
        ClientCa::File(path) => path.display().to_string(),
        ClientCa::Private => "private".to_owned(),
    };
    if config.clients.is_empty() {
        return Value::Null;
    }
    section([("ca", texts(config.clients.iter().map(ca))), ("tokens", config.tokens.into())])
}

/// Each name once, with all its values.
fn headers(config: &Config) -> Value {
    let values = |name| config.headers.iter().filter(move |(other, _)| other == name).filter_map(|(_, value)| value.to_str().ok());
    section(config.headers.iter().map(|(name, _)| (name.as_str(), texts(values(name)))))
}

fn admin(admin: Option<&AdminConfig>, secrets: Secrets) -> Value {
    let Some(admin) = admin else { return section([("off", true.into())]) };
    section([
        ("address", text(admin.address)),
        ("token", admin.token.as_ref().map(|token| secrets.show(token)).unwrap_or_default()),
        ("open_metrics", admin.open_metrics.into()),
    ])
}

fn log(log: &LogConfig) -> Value {
    section([
        ("level", text(&log.level)),
        ("format", text(if log.format == LogFormat::Json { "json" } else { "text" })),
        ("output", text(if log.to_stdout { "stdout" } else { "stderr" })),
        ("access", log.access.into()),
        ("fields", section(log.fields.iter().map(|(name, value)| (name.as_str(), text(value))))),
    ])
}

fn limits(limits: &LimitsConfig) -> Value {
    section([
        ("connections", limits.connections.into()),
        ("buffers", text(limits.buffers)),
        ("drain", duration(limits.drain)),
        ("upstream_blobs", limits.upstream_blobs.into()),
        ("upstream_manifests", limits.upstream_manifests.into()),
        ("upstream_min_rate", limits.upstream_min_rate.map_or_else(off, text)),
    ])
}

/// A map without the keys that have nothing to say.
fn section<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let entries = entries.into_iter().filter(|(_, value)| !value.is_null());
    Value::Mapping(entries.map(|(name, value)| (Value::from(name), value)).collect::<Mapping>())
}

fn text(value: impl fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn texts<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> Value {
    values.into_iter().map(text).collect()
}

fn list_of_patterns(patterns: &[Pattern]) -> Value {
    texts(patterns.iter().map(Pattern::as_str))
}

fn off() -> Value {
    text("off")
}

fn duration(value: Duration) -> Value {
    text(humantime::format_duration(value))
}

/// A URL as people write it: without the slash of an empty path.
fn address(url: &url::Url) -> &str {
    if url.path() == "/" { url.as_str().trim_end_matches('/') } else { url.as_str() }
}

/// What is shown, and under which key it may have been said.
const ALIASES: [(&str, &str); 3] = [("password", "password_env"), ("token", "token_file"), ("key", "key_file")];
