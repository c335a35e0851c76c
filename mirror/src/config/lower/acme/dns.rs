//! `acme.dns`: who writes TXT records, how long their servers are waited for, and who is asked where names lead.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use certs::dns::{Name, TsigAlgorithm, TsigKey, TsigKeyError};
use certs::solve::route53::Route53Settings;
use certs::solve::{HookStyle, Rfc2136};
use url::{Host, Url};

use super::super::super::acme::{DnsConfig, DnsHookConfig, DnsWriterConfig};
use super::super::super::parse;
use super::super::super::reader::Reader;
use super::super::super::resolve::Sources;

/// The section, where it is there.
pub(super) fn dns(reader: &mut Reader<'_>, sources: &Sources) -> Option<DnsConfig> {
    for section in ["acme.dns", "acme.dns.rfc2136"] {
        reader.section(section);
    }
    let (hook, rfc2136, route53) = (hook(reader), rfc2136(reader, sources), route53(reader));
    let resolvers = reader.list("acme.dns.resolvers", resolver).unwrap_or_default();
    let said = ["hook", "rfc2136", "route53"].into_iter().filter(|way| reader.has(&format!("acme.dns.{way}"))).collect::<Vec<_>>();
    let writer = match said.as_slice() {
        [] if reader.has("acme.dns") => {
            reader.problem("acme.dns", "acme.dns has no hook, rfc2136 or route53; say who writes TXT records");
            None
        }
        [_, other, ..] => {
            let all = said.join(", ");
            let at = format!("acme.dns.{other}");
            reader.problem(&at, format!("acme.dns has {all}; one of them writes TXT records, so leave the others out"));
            None
        }
        _ => hook.map(DnsWriterConfig::Hook).or(rfc2136.map(DnsWriterConfig::Rfc2136)).or(route53.map(DnsWriterConfig::Route53)),
    };
    let default = Some(WAIT).filter(|_| !matches!(writer, Some(DnsWriterConfig::Hook(_))));
    let wait = reader.read_or_off("acme.dns.wait", default, parse::interval);
    Some(DnsConfig { resolvers, wait, writer: writer? })
}

/// Scripts of certbot's and lego's.
fn hook(reader: &mut Reader<'_>) -> Option<DnsHookConfig> {
    let style = |text: &str| match text {
        "certbot" => Ok(HookStyle::Certbot),
        "lego" => Ok(HookStyle::Lego),
        _ => Err("not a style: write certbot or lego".into()),
    };
    let (cleanup, style) = (reader.read("acme.dns.cleanup", parse::path), reader.read("acme.dns.style", style));
    let timeout = reader.read("acme.dns.timeout", parse::interval);
    let hook = reader.read("acme.dns.hook", parse::path)?;
    Some(DnsHookConfig { cleanup, hook, style: style.unwrap_or(HookStyle::Certbot), timeout: timeout.unwrap_or(HOOK_TIMEOUT) })
}

fn rfc2136(reader: &mut Reader<'_>, sources: &Sources) -> Option<Rfc2136> {
    let before = reader.problems.len();
    let server = reader.read("acme.dns.rfc2136.server", server);
    let key = key(reader, sources);
    let zone = reader.read("acme.dns.rfc2136.zone", name);
    let ttl = reader.read("acme.dns.rfc2136.ttl", parse::interval).unwrap_or(TTL);
    let is_said = reader.has("acme.dns.rfc2136");
    if is_said && reader.problems.len() == before {
        let missing = [(server.is_none(), "server; name the zone's primary"), (key.is_none(), "key_file; `tsig-keygen` makes the key")];
        for (_, what) in missing.into_iter().filter(|(is_missing, _)| *is_missing) {
            reader.problem("acme.dns.rfc2136", format!("acme.dns.rfc2136 has no {what}"));
        }
    }
    Some(Rfc2136 { key: key?, server: server?, ttl: u32::try_from(ttl.as_secs().max(1)).unwrap_or(u32::MAX), zone })
}

/// From a file, or said here.
fn key(reader: &mut Reader<'_>, sources: &Sources) -> Option<TsigKey> {
    let at = |key: &str| format!("acme.dns.rfc2136.{key}");
    let name = reader.read(&at("key_name"), name);
    let algorithm = reader.read(&at("key_algorithm"), |text| TsigAlgorithm::named(text).map_err(|error| error.to_string()));
    let said = reader.read(&at("key"), parse::filled::<String>);
    let file = reader.read(&at("key_file"), parse::path);
    let (place, text) = match (said, file) {
        (Some(secret), _) => ("key", secret),
        (None, Some(file)) => ("key_file", read(reader, sources, &file)?),
        (None, None) => return None,
    };
    let has_wrong_name = name.is_none() && reader.has(&at("key_name"));
    match TsigKey::from_file(&text, name, algorithm) {
        Ok(key) => return Some(key),
        Err(TsigKeyError::Name) if has_wrong_name => {}
        Err(TsigKeyError::Name) => {
            let text = "the secret alone does not say what the server calls it; write acme.dns.rfc2136.key_name";
            reader.problem(&at(place), format!("acme.dns.rfc2136.{place}: {text}"));
        }
        Err(error) => reader.problem(&at(place), format!("acme.dns.rfc2136.{place} {error}")),
    }
    None
}

fn read(reader: &mut Reader<'_>, sources: &Sources, file: &Path) -> Option<String> {
    let unread = |error: std::io::Error| format!("acme.dns.rfc2136.key_file: {} cannot be read: {error}", file.display());
    (sources.read)(file).map_err(|error| reader.problem("acme.dns.rfc2136.key_file", unread(error))).ok()
}

/// `on`, `{}` and nothing at all say that the rest is as it is everywhere.
fn route53(reader: &mut Reader<'_>) -> Option<Route53Settings> {
    let node = reader.tree.at(ROUTE53)?;
    if node.as_text().is_some() {
        let on = |text: &str| if text == "on" { Ok(()) } else { Err("not a section: write on, or keys below it".into()) };
        reader.read(ROUTE53, on)?;
    } else {
        reader.section(ROUTE53);
    }
    let endpoint = reader.read("acme.dns.route53.endpoint", api);
    Some(Route53Settings {
        endpoint: endpoint.unwrap_or_else(|| ENDPOINT.parse().expect("our own default")),
        profile: reader.read("acme.dns.route53.profile", parse::filled::<String>),
        zone_id: reader.read("acme.dns.route53.zone_id", zone_id),
    })
}

/// Who listens on the way could change what is asked, or keep a session's token: in plain HTTP only where nobody can, at a stand-in on this machine.
fn api(text: &str) -> Result<Url, String> {
    let url = parse::web_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password, which Amazon does not ask for: leave it out (AWS credentials come from elsewhere)".into());
    }
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_safe = url.scheme() == "https" || is_here;
    if is_safe {
        Ok(url)
    } else {
        Err("not to be spoken with: anybody on the way can read and change plain HTTP; write https://HOST".into())
    }
}

/// Letters and digits, as AWS gives them; it becomes part of a URL.
fn zone_id(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("/hostedzone/").unwrap_or(text);
    let is_one = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_one { Ok(bare.to_owned()) } else { Err("not a hosted zone's number: letters and digits, such as Z0123456789ABC".into()) }
}

/// A host, with the port where there is none.
fn server(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, PORT).to_string());
    }
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "53"));
    let is_one = host.parse::<Name>().is_ok() && port.parse::<u16>().is_ok_and(|port| port != 0);
    if is_one { Ok(format!("{host}:{port}")) } else { Err("not a server: write its name or address, and a port where it is not 53".into()) }
}

fn resolver(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().or_else(|_| text.parse().map(|address: IpAddr| (address, PORT).into()));
    address.map_err(|_| "not a resolver: write its address, such as 10.0.0.2 or 10.0.0.2:5353".into())
}

fn name(text: &str) -> Result<Name, String> {
    text.parse().map_err(|_| "not a name in DNS: labels of letters, digits, hyphens and underscores, joined by dots".into())
}

const ROUTE53: &str = "acme.dns.route53";
/// The service has one address for all regions.
const ENDPOINT: &str = "https://route53.amazonaws.com";
const PORT: u16 = 53;
/// For a record to be seen by the CA's resolvers.
const HOOK_TIMEOUT: Duration = Duration::from_mins(5);
const TTL: Duration = Duration::from_mins(1);
/// Secondaries learn of a change within seconds, or within the minutes of their own schedule.
const WAIT: Duration = Duration::from_mins(2);
