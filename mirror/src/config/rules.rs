//! What concerns several keys: who would see whose images, and names that must not meet.

use std::collections::HashMap;
use std::net::SocketAddr;

use certs::Identifier;
use certs::solve::Way;
use certs::store::CertName;

use super::problem::Origin;
use super::reader::Reader;
use super::{Access, ClientCa, Config, Issuer, ListenerConfig, Names, TlsConfig, UpstreamConfig};

/// Adds what is wrong or worth a note.
pub(super) fn check(reader: &mut Reader<'_>, config: &mut Config) {
    names(reader, config);
    listeners(reader, config);
    certificates(reader, config);
    admin(reader, config);
    proofs(reader, config);
    rules_for_nobody(reader, config);
    clients(reader, config);
    for (index, upstream) in config.upstreams.iter().enumerate() {
        plaintext_password(reader, index, upstream);
    }
    // While something is wrong with an account or a listener, this would be a guess.
    if reader.problems.is_empty() {
        open_accounts(reader, config);
    }
}

fn names(reader: &mut Reader<'_>, config: &Config) {
    let mut taken: HashMap<&str, usize> = HashMap::new();
    for (index, upstream) in config.upstreams.iter().enumerate() {
        let path = format!("upstreams.{index}");
        let mut own: Vec<&str> = upstream.answers_to.iter().map(String::as_str).collect();
        own.push(upstream.name.as_str());
        own.sort_unstable();
        own.dedup();
        for name in own {
            if RESERVED.contains(&name) {
                reader.problem(&path, format!("{path}: {name} is a path of the mirror's own; give the upstream another name"));
            }
            if let Some(first) = taken.insert(name, index) {
                reader.problem(
                    &path,
                    format!("{path}: {name} is also upstreams.{first}; each upstream needs names of its own (name, answers_to)"),
                );
            }
        }
    }
}

fn listeners(reader: &mut Reader<'_>, config: &Config) {
    for (index, listener) in config.listeners.iter().enumerate() {
        let path = format!("listeners.{index}");
        let first = config.listeners[..index].iter().position(|other| other.address == listener.address && other.address.port() != 0);
        if let Some(first) = first {
            reader.problem(&path, format!("{path}: {} is also listeners.{first}; leave one out", listener.address));
        }
        if listener.proxy_protocol && config.trusted_proxies.is_empty() {
            reader.problem(
                &path,
                format!(
                    "{path}: with proxy_protocol, trusted_proxies must name the networks of the proxies; else no connection is believed"
                ),
            );
        }
    }
}

/// Names that no way of proof fits (RFC 8555 8.3, RFC 8738 7), and certificates that two listeners would call the same and mean otherwise.
fn certificates(reader: &mut Reader<'_>, config: &Config) {
    let mut known: HashMap<&CertName, &Names> = HashMap::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(names) = listener.tls.as_ref().and_then(TlsConfig::names) else { continue };
        let by_acme = names.issuer == Issuer::Acme;
        let path = format!("listeners.{index}.tls.{}", if by_acme { "acme" } else { "private" });
        for identifier in &names.identifiers {
            if by_acme && !config.acme.ways.iter().any(|way| way.fits(identifier)) {
                let ways = if matches!(identifier, Identifier::Ip(_)) { "tls-alpn-01 or http-01" } else { "dns-01 or dns-persist-01" };
                reader.problem(&path, format!("{path}: {identifier} can be proved by {ways} only; add one to acme.challenges"));
            }
        }
        if known.insert(&names.name, names).is_some_and(|others| others != names) {
            reader.problem(&path, format!("{path}: another listener has a certificate with the first name {} and other names, or of another CA; write the same list, or begin with another name", names.name));
        }
    }
    let is_for_clients = config.clients.contains(&ClientCa::Private); // Which lies in `acme.path`.
    if known.is_empty() && reader.has("acme") && !is_for_clients {
        reader.note("acme", "acme is not used: no listener has names under tls.acme or tls.private");
    }
}

fn admin(reader: &mut Reader<'_>, config: &mut Config) {
    let Some(admin) = &config.admin else { return };
    let clashes = config.listeners.iter().any(|listener| clash(listener.address, admin.address));
    if clashes && reader.has("admin.address") {
        return reader.problem(
            "admin.address",
            format!("admin.address: {} is a listener's; give it another port, or write admin: off", admin.address),
        );
    }
    if clashes {
        reader.note(
            "listeners",
            format!("the admin listener is off, since {} is taken by a listener; admin.address moves it", admin.address),
        );
        config.admin = None;
        return;
    }
    if !admin.address.ip().is_loopback() && admin.token.is_none() && !admin.open_metrics {
        let text = format!(
            "admin.address: {} is reached by others: set admin.token_file, or admin.open_metrics: true for nothing but metrics and health",
            admin.address
        );
        reader.problem("admin.address", text);
    }
}

/// The port where CAs look for http-01, where it was said and http-01 as well: taken by something else, no certificate would ever come.
fn proofs(reader: &mut Reader<'_>, config: &Config) {
    let http = config.acme.http;
    if !reader.has("acme.http") || !config.acme.ways.contains(&Way::Http) {
        return;
    }
    let speaks_otherwise =
        |listener: &&ListenerConfig| clash(listener.address, http) && (listener.tls.is_some() || listener.proxy_protocol);
    let taken = match config.listeners.iter().find(speaks_otherwise) {
        Some(listener) => Some((listener.address, "a listener's, which does not speak plain HTTP to everybody")),
        None => config.admin.as_ref().filter(|admin| clash(admin.address, http)).map(|admin| (admin.address, "the admin listener's")),
    };
    if let Some((address, whose)) = taken {
        let text =
            format!("acme.http: {address} is {whose}; CAs look at port 80, which is passed on to acme.http: give it a port of its own");
        reader.problem("acme.http", text);
    }
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// A pattern whose first part is no upstream's name fits nothing, above all where that part was left out: `acme/*`.
fn rules_for_nobody(reader: &mut Reader<'_>, config: &Config) {
    let Access::Rules(rules) = &config.access else { return };
    for (index, rule) in rules.iter().enumerate() {
        for pattern in &rule.repositories {
            let first = pattern.as_str().split('/').next().unwrap_or_default();
            let is_plain = !first.contains(['*', '?', '[', '{', '\\']);
            if is_plain && config.upstreams.iter().all(|upstream| upstream.name.as_str() != first) {
                let (pattern, name) = (pattern.as_str(), config.upstreams.first().map_or("docker.io", |upstream| upstream.name.as_str()));
                let text = format!(
                    "access.{index}.repositories: {pattern} allows nothing, since no upstream is called {first}; a pattern is upstream/repository, such as {name}/{pattern}"
                );
                reader.note(&format!("access.{index}.repositories"), text);
            }
        }
    }
}

/// Rules about certificates that nobody is asked for, and CAs that no rule asks about.
fn clients(reader: &mut Reader<'_>, config: &Config) {
    let rules = if let Access::Rules(rules) = &config.access { &rules[..] } else { &[] };
    let asking = rules.iter().position(|rule| !rule.clients.is_empty());
    let has_https = config.listeners.iter().any(|listener| listener.tls.is_some());
    match asking {
        Some(index) if config.clients.is_empty() && !reader.has("clients.ca") => {
            let text = "names the CA whose certificates count (clients.ca: [private] is the one of `chandler ca`, else a PEM file)";
            reader.problem(&format!("access.{index}.clients"), format!("access.{index}.clients needs clients.ca, which {text}"));
        }
        Some(index) if !has_https => {
            let text = "allows nobody: certificates are shown over HTTPS, and no listener has tls";
            reader.note(&format!("access.{index}.clients"), format!("access.{index}.clients {text}"));
        }
        None if !config.clients.is_empty() => {
            let text = "is not used: no rule in access has clients, so a certificate opens and closes nothing";
            reader.note("clients.ca", format!("clients.ca {text}"));
        }
        _ => {}
    }
    if config.tokens && !config.clients.contains(&ClientCa::Private) {
        let mend = if reader.has("clients.ca") { "add private to clients.ca" } else { "add clients.ca: [private]" };
        let text = "gives out certificates of the private CA, which this mirror would not know";
        reader.problem("clients.tokens", format!("clients.tokens {text}: {mend}"));
    }
    if config.tokens && !has_https {
        let text = "clients.tokens is not used: a token is a secret and is taken over HTTPS only, and no listener has tls";
        reader.note("clients.tokens", text);
    }
}

fn plaintext_password(reader: &mut Reader<'_>, index: usize, upstream: &UpstreamConfig) {
    let local = match upstream.url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if upstream.account.is_some() && upstream.url.scheme() == "http" && !local {
        let path = format!("upstreams.{index}.url");
        reader.note(&path, format!("{}: the account's password travels unencrypted; use https://", upstream.name));
    }
}

/// An account's private images must not become everybody's without somebody saying so.
fn open_accounts(reader: &mut Reader<'_>, config: &Config) {
    let Some(listener) = config.listeners.iter().position(|listener| !listener.address.ip().is_loopback()) else { return };
    if config.access_said || config.access != Access::Open {
        return;
    }
    let address = config.listeners[listener].address;
    for upstream in &config.upstreams {
        let Some(account) = &upstream.account else { continue };
        if upstream.private.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        let (user, name) = (&account.user, &upstream.name);
        if config.drop_in {
            let text = format!(
                "private images of {user} at {name} are open to everybody who reaches {address}; \
                 CHANDLER_ACCESS=10.0.0.0/8,… names who may read, CHANDLER_UPSTREAMS_0_PRIVATE=… which of them, CHANDLER_ACCESS=open ends this warning"
            );
            reader.notes.push(super::Note { origin: Origin::Default, text });
        } else {
            let text = format!(
                "{address} is reached by others, who could then read the private images of {user} at {name}: \
                 say who may (access: [10.0.0.0/8], --allow 10.0.0.0/8), or that everybody may (access: open, --allow open), \
                 or listen on 127.0.0.1"
            );
            reader.problem(&format!("listeners.{listener}.address"), text);
            return;
        }
    }
}

/// First components of paths that the mirror answers itself.
const RESERVED: [&str; 2] = ["v2", "chandler-canary"];
