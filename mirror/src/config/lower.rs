//! Tree → [`Config`]: each key's value, with its default. What concerns several keys is in `rules`.

mod acme;
mod upstreams;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::reader::Reader;
use super::resolve::Sources;
use super::tree::Node;
use super::{
    Access, AccessRule, AdminConfig, ByteSize, ClientCa, ClientPattern, Config, DeletedTags, HealthConfig, Issuer, Limit, LimitsConfig,
    ListenerConfig, LogConfig, LogFormat, Secret, StoreConfig, TlsConfig, TlsFiles, parse,
};

pub(super) use upstreams::{authority, from_shorthand, is_hub_host, name_of};

/// The configuration that a tree says; problems are left in `reader`, and a value that has one is its default.
pub(super) fn config(reader: &mut Reader<'_>, sources: &Sources) -> Config {
    let listeners = listeners(reader, sources.drop_in);
    Config {
        access: access(reader),
        access_said: reader.has("access"),
        acme: acme::acme(reader, sources, &listeners),
        admin: admin(reader, sources),
        clients: clients(reader),
        drop_in: sources.drop_in,
        headers: headers(reader),
        limits: limits(reader, sources.drop_in),
        listeners,
        log: log(reader, sources),
        store: store(reader, sources),
        tokens: reader.read("clients.tokens", parse::switch).unwrap_or(false),
        trusted_proxies: reader.list("trusted_proxies", parse::network).unwrap_or_default(),
        upstreams: upstreams::upstreams(reader, sources),
    }
}

fn listeners(reader: &mut Reader<'_>, drop_in: bool) -> Vec<ListenerConfig> {
    let default = parse::address(if drop_in { ":5000" } else { "127.0.0.1:5000" }).expect("our own default");
    if !reader.has("listeners") {
        return vec![ListenerConfig { address: default, proxy_protocol: false, tls: None }];
    }
    let count = reader.items("listeners");
    if reader.tree.at("listeners").is_some_and(Node::is_empty_list) {
        reader.problem("listeners", "listeners is empty: without an address nobody can connect; leave the key out for the default");
    }
    let read = |index: usize| {
        let at = |key: &str| format!("listeners.{index}.{key}");
        ListenerConfig {
            address: address(reader, &at("address"), default),
            proxy_protocol: reader.read(&at("proxy_protocol"), parse::switch).unwrap_or(false),
            tls: tls(reader, &at("tls")),
        }
    };
    let mut listeners: Vec<ListenerConfig> = (0..count).map(read).collect();
    acme::share_names(&mut listeners);
    listeners
}

/// Where what is said is wrong: any port, which is in nobody's way.
fn address(reader: &mut Reader<'_>, path: &str, default: SocketAddr) -> SocketAddr {
    let wrong = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if reader.has(path) { reader.read(path, parse::address).unwrap_or(wrong) } else { default }
}

fn tls(reader: &mut Reader<'_>, path: &str) -> Option<TlsConfig> {
    let before = reader.problems.len();
    reader.section(path);
    let acme = acme::names(reader, &format!("{path}.acme"), Issuer::Acme);
    let private = acme::names(reader, &format!("{path}.private"), Issuer::Private);
    if acme.is_some() && private.is_some() {
        reader.problem(path, format!("{path} has names under acme and under private; a certificate comes from one CA, so leave one out"));
    }
    let files = tls_files(reader, path);
    if files.is_none() && acme.is_none() && private.is_none() && reader.tree.at(path).is_some() && reader.problems.len() == before {
        let mend = "write names under acme or under private, or files as certificate and key; or leave tls out";
        reader.problem(path, format!("{path} is empty, and without a certificate this would be plain HTTP; {mend}"));
    }
    match (files, acme.or(private)) {
        (Some(files), Some(names)) => Some(TlsConfig::FilesOrIssued(files, names)),
        (Some(files), None) => Some(TlsConfig::Files(files)),
        (None, names) => names.map(TlsConfig::Issued),
    }
}

fn tls_files(reader: &mut Reader<'_>, path: &str) -> Option<TlsFiles> {
    let certificate = reader.read(&format!("{path}.certificate"), parse::path);
    let key = reader.read(&format!("{path}.key"), parse::path);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.problem(path, format!("{path} has a certificate and no key; HTTPS needs both: add {path}.key (--tls-key)"));
            None
        }
        (None, Some(_)) => {
            reader.problem(path, format!("{path} has a key and no certificate; HTTPS needs both: add {path}.certificate (--tls-cert)"));
            None
        }
    }
}

fn access(reader: &mut Reader<'_>) -> Access {
    let Some(node) = reader.tree.at("access") else { return Access::Open };
    if node.as_text() == Some("open") {
        return Access::Open;
    }
    let count = reader.items("access");
    if node.is_empty_list() {
        reader.problem("access", "access has no rule, so nobody could read anything; write `open`, networks, or a list of rules");
    }
    Access::Rules((0..count).map(|index| access_rule(reader, index)).collect())
}

fn access_rule(reader: &mut Reader<'_>, index: usize) -> AccessRule {
    let path = format!("access.{index}");
    let before = reader.problems.len();
    let network = |text: &str| parse::network(text).map_err(|error| if is_word(text) { ACCESS_WORD.into() } else { error });
    let networks = reader.list(&format!("{path}.networks"), network).unwrap_or_default();
    let clients = reader.list(&format!("{path}.clients"), parse::of).unwrap_or_default();
    let is_section = reader.tree.at(&path).is_some_and(|node| node.as_text().is_none());
    if is_section && reader.problems.len() == before {
        whom(reader, &path, &networks, &clients);
    }
    let before = reader.problems.len();
    let repositories = reader.list(&format!("{path}.repositories"), parse::of);
    if repositories.as_ref().is_some_and(Vec::is_empty) && reader.problems.len() == before {
        reader.problem(&path, format!("{path}.repositories is empty, so the rule allows nothing; name some, or leave the key out for all"));
    }
    AccessRule {
        clients,
        name: reader.read(&format!("{path}.name"), parse::filled::<String>).unwrap_or_else(|| format!("rule-{}", index + 1)),
        networks,
        repositories: repositories.unwrap_or_default(),
    }
}

/// A key that names nobody must not read as one that was left out: the rule would be for everybody then.
fn whom(reader: &mut Reader<'_>, path: &str, networks: &[IpNet], clients: &[ClientPattern]) {
    let empty = [("clients", clients.is_empty()), ("networks", networks.is_empty())];
    let said = empty.into_iter().filter(|(key, is_empty)| *is_empty && reader.has(&format!("{path}.{key}"))).map(|(key, _)| key).next();
    match said {
        Some(key) => reader.problem(path, format!("{path}.{key} is empty, so the rule allows nobody; name some, or leave the key out")),
        None if networks.is_empty() && clients.is_empty() => {
            let mend = "say from where, or 0.0.0.0/0 and ::/0 for everywhere; or with whose certificate, in clients";
            reader.problem(path, format!("{path} has no networks; {mend}"));
        }
        None => {}
    }
}

fn clients(reader: &mut Reader<'_>) -> Vec<ClientCa> {
    reader.section("clients");
    let ca = |text: &str| if text == "private" { Ok(ClientCa::Private) } else { parse::path(text).map(ClientCa::File) };
    let before = reader.problems.len();
    let found = reader.list("clients.ca", ca);
    if found.as_ref().is_some_and(Vec::is_empty) && reader.problems.len() == before {
        reader.problem(
            "clients.ca",
            "clients.ca is empty; name the CAs' files, or write private for the one of `chandler ca`, or leave the key out",
        );
    }
    found.unwrap_or_default()
}

/// Nothing that could be meant for an address.
fn is_word(text: &str) -> bool {
    text.chars().all(char::is_alphabetic) && !text.is_empty()
}

fn admin(reader: &mut Reader<'_>, sources: &Sources) -> Option<AdminConfig> {
    reader.section("admin");
    let off = reader.read("admin.off", parse::switch).unwrap_or(false);
    let default = parse::address("127.0.0.1:5001").expect("our own default");
    let token = reader.read("admin.token", parse::filled::<String>).map(|text| Secret::new(&text));
    let config = AdminConfig {
        address: address(reader, "admin.address", default),
        open_metrics: reader.read("admin.open_metrics", parse::switch).unwrap_or(false),
        token: token.or_else(|| secret_file(reader, sources, "admin.token_file")),
    };
    (!off).then_some(config)
}

/// The first line of the file that `key` names.
fn secret_file(reader: &mut Reader<'_>, sources: &Sources, key: &str) -> Option<Secret> {
    let path = reader.read(key, parse::path)?;
    match (sources.read)(&path) {
        Ok(text) => match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
            Some(line) => return Some(Secret::new(line)),
            None => reader.problem(key, format!("{key}: the first line of {} is empty", path.display())),
        },
        Err(error) => reader.problem(key, format!("{key}: {} cannot be read: {error}", path.display())),
    }
    None
}

fn headers(reader: &mut Reader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, node) in reader.pairs("headers") {
        let parsed = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(node.as_text().unwrap_or_default()));
        match parsed {
            (Ok(name), _) if OUR_HEADERS.contains(&name.as_str()) => {
                reader.problem_at(node.origin, format!("headers: {name} is the registry protocol's own; it cannot be set"));
            }
            (Ok(name), Ok(value)) => headers.push((name, value)),
            (Err(_), _) => reader.problem_at(node.origin, format!("headers: {name:?} is no header's name")),
            (_, Err(_)) => {} // A control character, which is told of every setting.
        }
    }
    if !headers.iter().any(|(name, _)| *name == http::header::X_CONTENT_TYPE_OPTIONS) {
        headers.insert(0, (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    }
    headers
}

fn limits(reader: &mut Reader<'_>, drop_in: bool) -> LimitsConfig {
    reader.section("limits");
    let buffers = |text: &str| match parse::of::<ByteSize>(text)? {
        size if size.0 >= 1 << 20 => Ok(size),
        _ => Err("must be at least 1MiB".into()),
    };
    LimitsConfig {
        buffers: reader.read("limits.buffers", buffers).unwrap_or(ByteSize(16 << 20)),
        connections: reader.read("limits.connections", parse::count).unwrap_or(4096),
        drain: reader.read("limits.drain", parse::duration).unwrap_or(if drop_in { DROP_IN_DRAIN } else { DRAIN }),
        upstream_blobs: reader.read("limits.upstream_blobs", parse::count).unwrap_or(32),
        upstream_manifests: reader.read("limits.upstream_manifests", parse::count).unwrap_or(32),
        upstream_min_rate: reader.read_or_off("limits.upstream_min_rate", Some(ByteSize(64)), rate),
    }
}

/// Bytes a second.
fn rate(text: &str) -> Result<ByteSize, String> {
    match parse::of::<ByteSize>(text)? {
        ByteSize(0) => Err("must be more than zero".to_owned()),
        rate => Ok(rate),
    }
}

fn log(reader: &mut Reader<'_>, sources: &Sources) -> LogConfig {
    reader.section("log");
    let format = |text: &str| match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("not a format: write text or json".into()),
    };
    let output = |text: &str| match text {
        "stdout" => Ok(true),
        "stderr" => Ok(false),
        _ => Err("not an output: write stderr or stdout".into()),
    };
    let default = if sources.terminal || sources.drop_in { LogFormat::Text } else { LogFormat::Json };
    LogConfig {
        access: reader.read("log.access", parse::switch).unwrap_or(true),
        fields: reader.pairs("log.fields").into_iter().map(|(name, node)| (name, node.as_text().unwrap_or_default().to_owned())).collect(),
        format: reader.read("log.format", format).unwrap_or(default),
        level: reader.read("log.level", level).unwrap_or_else(|| "info".into()),
        to_stdout: reader.read("log.output", output).unwrap_or(sources.drop_in),
    }
}

/// A level, or a filter: it names at least one level after `=`, or is one. What the filter says is checked by the log itself.
fn level(text: &str) -> Result<String, String> {
    let word = |part: &str| matches!(part, "off" | "error" | "warn" | "info" | "debug" | "trace");
    let fine = !text.is_empty() && text.split(',').all(|part| word(part.rsplit('=').next().unwrap_or_default().trim()));
    let mend = "not a level: write error, warn, info, debug or trace, or a filter such as info,mirror::upstream=debug";
    if fine { Ok(text.to_owned()) } else { Err(mend.into()) }
}

fn store(reader: &mut Reader<'_>, sources: &Sources) -> StoreConfig {
    for section in ["store", "store.deleted_tags", "store.health"] {
        reader.section(section);
    }
    let max_size = |text: &str| match limit(text)? {
        Limit::Percent(0) | Limit::Bytes(ByteSize(0)) => Err("must be more than zero".into()),
        limit => Ok(limit),
    };
    let min_free = |text: &str| match limit(text)? {
        Limit::Percent(100) => Err("leaves no room for anything".into()),
        limit => Ok(limit),
    };
    let then = |text: &str| match text {
        "keep" => Ok(true),
        "remove" => Ok(false),
        _ => Err("not an outcome: write keep or remove".into()),
    };
    StoreConfig {
        deleted_tags: DeletedTags {
            grace: reader.read("store.deleted_tags.grace", parse::duration).unwrap_or(DAY),
            keep: reader.read("store.deleted_tags.then", then).unwrap_or(true),
        },
        health: HealthConfig {
            enabled: reader.read("store.health.enabled", parse::switch).unwrap_or(true),
            interval: reader.read("store.health.interval", parse::interval).unwrap_or(Duration::from_secs(10)),
            threshold: reader.read("store.health.threshold", parse::count).unwrap_or(3),
        },
        keep_unused: reader.read_or_off("store.keep_unused", None, parse::interval),
        max_size: reader.read_or_off("store.max_size", None, max_size),
        min_free: reader.read("store.min_free", min_free).unwrap_or(Limit::Percent(5)),
        root: reader.read("store.path", parse::path).unwrap_or_else(|| default_root(sources)),
        scrub_rate: reader.read_or_off("store.scrub_rate", Some(ByteSize(4 << 20)), rate),
    }
}

/// A bare number is taken for bytes elsewhere; of a disk it is a slip: `5` for `5%`, `20` for `20GiB`.
fn limit(text: &str) -> Result<Limit, String> {
    match parse::of::<Limit>(text)? {
        Limit::Bytes(ByteSize(1..)) if text.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("not a size: the unit is missing; write 20GiB, or 80% of the file system".into())
        }
        limit => Ok(limit),
    }
}

fn default_root(sources: &Sources) -> PathBuf {
    if sources.drop_in { "/var/lib/registry".into() } else { state_folder(sources, "cache") }
}

/// Where a part of us keeps what it must not lose.
fn state_folder(sources: &Sources, part: &str) -> PathBuf {
    if sources.root {
        return PathBuf::from("/var/lib/chandler").join(part);
    }
    // The XDG rules: a relative folder is not one.
    let data = sources.variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || sources.variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    data.or_else(home).unwrap_or_else(|| "/var/tmp".into()).join("chandler").join(part)
}

const ACCESS_WORD: &str = "not a network; write networks, such as 10.0.0.0/8, or the one word `open` and nothing beside it";
const DAY: Duration = Duration::from_hours(24);
const DRAIN: Duration = Duration::from_secs(30);
/// A container is killed 10 s after it was asked to stop, and some of that goes to what comes after the drain.
const DROP_IN_DRAIN: Duration = Duration::from_secs(8);

/// What only the protocol decides; a challenge above all would make engines send their users' passwords.
const OUR_HEADERS: &[&str] = &[
    "accept-ranges",
    "connection",
    "content-length",
    "content-range",
    "content-type",
    "docker-content-digest",
    "etag",
    "location",
    "transfer-encoding",
    "www-authenticate",
];
