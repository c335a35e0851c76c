//! `acme` and `listeners[].tls.acme`: how certificates are got, and for whom.

mod dns;

use std::path::PathBuf;

use certs::acme::ExternalAccount;
use certs::solve::Way;
use certs::{Identifier, KeyKind};
use url::Url;

use super::super::acme::{DnsConfig, DnsWriterConfig};
use super::super::acme::{LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use super::super::reader::Reader;
use super::super::resolve::Sources;
use super::super::tree::{Node, Value};
use super::super::{AcmeConfig, Issuer, ListenerConfig, Names, Secret, parse};
use super::{address, state_folder};

/// The section, or what holds without it.
pub(super) fn acme(reader: &mut Reader<'_>, sources: &Sources, listeners: &[ListenerConfig]) -> AcmeConfig {
    for section in ["acme", "acme.external"] {
        reader.section(section);
    }
    let dns = dns::dns(reader, sources);
    AcmeConfig {
        ca: reader.read("acme.ca", parse::path),
        directories: directories(reader),
        email: reader.read("acme.email", email),
        external: external(reader, sources),
        http: address(reader, "acme.http", parse::address(":80").expect("our own default")),
        key: reader.read("acme.key", key_kind).unwrap_or_default(),
        path: reader.read("acme.path", parse::path).unwrap_or_else(|| AcmeConfig::default_path(sources)),
        profile: reader.read("acme.profile", parse::filled::<String>),
        secrets: secrets(reader, dns.as_ref()),
        ways: ways(reader, dns.is_some(), has_port_443(listeners)),
        dns,
    }
}

/// The names of one certificate.
pub(super) fn names(reader: &mut Reader<'_>, path: &str, issuer: Issuer) -> Option<Names> {
    let before = reader.problems.len();
    let names = reader.list(path, |text| text.parse::<Identifier>().map_err(|error| error.to_string()))?;
    match names.first() {
        Some(first) => Some(Names { name: first.into(), issuer, identifiers: names.into_iter().collect() }),
        None if reader.problems.len() > before => None,
        None => {
            reader.problem(path, format!("{path} is empty; name the hosts that clients use, such as mirror.example.com"));
            None
        }
    }
}

/// The same names from the same CA are one certificate, in whatever order they are written; it is called as the first listener calls it.
pub(super) fn share_names(listeners: &mut [ListenerConfig]) {
    let mut known: Vec<Names> = Vec::new();
    for names in listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()?.names_mut()) {
        let is_same = |one: &&Names| (one.issuer, &one.identifiers) == (names.issuer, &names.identifiers);
        match known.iter().find(is_same) {
            Some(same) => names.name = same.name.clone(),
            None => known.push(names.clone()),
        }
    }
}

/// Of a listener that wants a certificate; where none does, nothing depends on it.
fn has_port_443(listeners: &[ListenerConfig]) -> bool {
    let mut wanting = listeners.iter().filter(|listener| listener.tls.as_ref().is_some_and(|tls| tls.names().is_some())).peekable();
    wanting.peek().is_none() || wanting.any(|listener| listener.address.port() == 443)
}

/// Where there is a script: the variables of `password_env`.
fn secrets(reader: &Reader<'_>, dns: Option<&DnsConfig>) -> Vec<String> {
    let has_script = dns.is_some_and(|dns| matches!(dns.writer, DnsWriterConfig::Hook(_)));
    let Some(upstreams) = reader.tree.at("upstreams").filter(|_| has_script) else { return Vec::new() };
    let each: Vec<_> = match &upstreams.value {
        Value::List(items) => items.iter().collect(),
        Value::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
        Value::Null | Value::Text(_) => Vec::new(),
    };
    let name = |upstream: &&Node| upstream.at("account.password_env")?.as_text().map(str::to_owned);
    each.iter().filter_map(name).collect()
}

fn directories(reader: &mut Reader<'_>) -> Vec<Url> {
    let said = reader.list("acme.directories", AcmeConfig::directory).filter(|found| !found.is_empty());
    said.unwrap_or_else(|| vec![LETS_ENCRYPT.parse().expect("our own default")])
}

/// What looks like one; the CA knows more.
fn email(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("mailto:").unwrap_or(text);
    let is_one = bare.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.parse::<certs::DnsName>().is_ok());
    if is_one && !bare.contains([' ', ',']) {
        Ok(bare.to_owned())
    } else {
        Err("not a mail address: write one, such as ops@example.com".into())
    }
}

fn key_kind(text: &str) -> Result<KeyKind, String> {
    match text {
        "p256" => Ok(KeyKind::P256),
        "p384" => Ok(KeyKind::P384),
        "rsa2048" => Ok(KeyKind::Rsa2048),
        _ => Err("not a kind of key: write p256, p384 or rsa2048".into()),
    }
}

fn ways(reader: &mut Reader<'_>, has_dns: bool, has_port_443: bool) -> Vec<Way> {
    let way = |text: &str| {
        let found = [Way::Dns, Way::DnsPersist, Way::Http, Way::TlsAlpn].into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| "not a challenge: write tls-alpn-01, http-01, dns-01 or dns-persist-01".to_owned())
    };
    let said = reader.list("acme.challenges", way).filter(|found| !found.is_empty());
    if let Some(ways) = &said
        && ways.contains(&Way::Dns)
        && !has_dns
        && !reader.has("acme.dns")
    {
        reader.problem("acme.challenges", "acme.challenges: dns-01 needs acme.dns: a hook, rfc2136 or route53, which writes TXT records");
    }
    said.unwrap_or_else(|| match (has_dns, has_port_443) {
        (true, _) => vec![Way::Dns],
        (false, true) => vec![Way::TlsAlpn, Way::Http],
        (false, false) => vec![Way::Http, Way::TlsAlpn], // 443 may still be passed on to it.
    })
}

fn external(reader: &mut Reader<'_>, sources: &Sources) -> Option<ExternalAccount> {
    let kid = reader.read("acme.external.kid", parse::filled::<String>);
    let key = reader.read("acme.external.key", parse::filled::<String>).map(|text| Secret::new(&text));
    let key = key.or_else(|| super::secret_file(reader, sources, "acme.external.key_file"));
    match (kid, key) {
        (Some(kid), Some(key)) => {
            let external = ExternalAccount::new(&kid, key.expose());
            if external.is_none() {
                reader.problem("acme.external", "acme.external.key is no base64url; write it as the CA shows it");
            }
            external
        }
        (None, None) => None,
        (kid, _) => {
            let lacks = if kid.is_some() { "key (or key_file)" } else { "kid" };
            reader.problem("acme.external", format!("acme.external has no {lacks}; a CA that asks for a binding gives both"));
            None
        }
    }
}

impl AcmeConfig {
    /// A CA's directory as it is written under `acme.directories`: its URL, or the word for one.
    pub fn directory(text: &str) -> Result<Url, String> {
        match text {
            "letsencrypt" => parse::web_url(LETS_ENCRYPT),
            "letsencrypt-staging" => parse::web_url(LETS_ENCRYPT_STAGING),
            text => match parse::web_url(text)? {
                // It would be in logs, on `/readyz` and in the name of a folder.
                url if !url.username().is_empty() || url.password().is_some() => {
                    Err("holds a user or a password, which no ACME server asks for: leave it out (acme.external is for a binding)".into())
                }
                url if url.scheme() == "https" => Ok(url),
                _ => Err("not an ACME directory: it is spoken over https:// only (RFC 8555 6.1)".into()),
            },
        }
    }

    /// Where certificates are kept if nobody says where. The image's only volume is the store's: what lies elsewhere is lost with its container.
    fn default_path(sources: &Sources) -> PathBuf {
        if sources.drop_in { "/var/lib/registry/chandler-certs".into() } else { state_folder(sources, "certs") }
    }
}
