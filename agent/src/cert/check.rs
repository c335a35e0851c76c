//! `chandler cert check`: whether certificates that are there are of use, and others can be got, before anything is asked of a CA that counts.

mod dns;
mod ports;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use certs::acme::Courier;
use certs::ca::{Authority, Ca};
use certs::plan::WORST_SKEW;
use certs::solve::Way;
use certs::{Clock as _, Identifier, Identifiers, SystemClock};
use mirror::config::{Config, Issuer, Names};
use serde_json::json;
use tokio::runtime::Runtime;

pub(crate) use self::ports::{Holder, holders};
use super::files::{self, Placed};
use super::{CertFailure, meant};

/// What was looked at, and what is wrong with it.
pub(super) struct Finding {
    fault: Option<String>,
    subject: String,
}

/// Looks at everything, and fails if anything is wrong.
pub(super) fn check(config: &Config, as_json: bool) -> Result<String, CertFailure> {
    let placed = files::look(config);
    let wanted = if placed.is_empty() { meant(config, None)? } else { config.certificates() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CertFailure::Runtime)?;
    let mut findings: Vec<Finding> = placed.iter().map(Placed::finding).collect();
    if !wanted.is_empty() {
        findings.extend(got(config, &wanted, &runtime)?);
    }
    if as_json {
        let one = |Finding { fault, subject }: &Finding| json!({ "subject": subject, "good": fault.is_none(), "fault": fault });
        let all = format!("{:#}\n", findings.iter().map(one).collect::<serde_json::Value>());
        let is_good = findings.iter().all(|finding| finding.fault.is_none());
        return if is_good { Ok(all) } else { Err(CertFailure::Faults(all)) };
    }
    let mut out = String::new();
    for Finding { fault, subject } in &findings {
        let _ = match fault {
            Some(fault) => writeln!(out, "bad   {subject}: {fault}"),
            None => writeln!(out, "good  {subject}"),
        };
    }
    if findings.iter().any(|finding| finding.fault.is_some()) {
        Err(CertFailure::Bad(format!("not all is well\n{}", out.trim_end())))
    } else {
        Ok(out)
    }
}

/// Whether those can be got that nobody puts there.
fn got(config: &Config, wanted: &[&Names], runtime: &Runtime) -> Result<Vec<Finding>, CertFailure> {
    let mut findings: Vec<Finding> = config.acme.faults().into_iter().map(|(key, error)| bad(key, error)).collect();
    let by_acme = wanted.iter().filter(|names| names.issuer == Issuer::Acme);
    let all: Identifiers = by_acme.flat_map(|names| names.identifiers.iter().cloned()).collect();
    findings.extend(ports::ports(config)?);
    findings.extend(all.iter().flat_map(|identifier| name(identifier, &config.acme.ways)));
    findings.push(store(config));
    if wanted.iter().any(|names| names.issuer == Issuer::Private) {
        findings.push(private_ca(config));
    }
    let courier = config.acme.courier().ok().filter(|_| !all.is_empty());
    if let Some(courier) = &courier {
        findings.extend(config.acme.directories.iter().map(|url| runtime.block_on(directory(courier, url.as_str()))));
    }
    findings.extend(runtime.block_on(dns::caa(config, &all, courier.as_ref())));
    findings.extend(runtime.block_on(dns::records(config, &all)));
    Ok(findings)
}

pub(super) fn bad(subject: impl Into<String>, fault: impl std::fmt::Display) -> Finding {
    Finding { fault: Some(fault.to_string()), subject: subject.into() }
}

pub(super) fn good(subject: impl Into<String>) -> Finding {
    Finding { fault: None, subject: subject.into() }
}

/// Where a name leads, if a CA has to follow it: every address is tried by one CA or another, an old AAAA record too.
fn name(identifier: &Identifier, ways: &[Way]) -> Vec<Finding> {
    let Identifier::Dns(name) = identifier else { return Vec::new() };
    if name.is_wildcard() || !ways.iter().any(|way| matches!(way, Way::Http | Way::TlsAlpn)) {
        return Vec::new();
    }
    let subject = format!("{} in DNS", name.as_str());
    let found: BTreeSet<IpAddr> = match (name.as_str(), 443).to_socket_addrs() {
        Ok(found) => found.map(|address: SocketAddr| address.ip()).collect(),
        Err(error) => return vec![bad(subject, format!("it leads nowhere ({error}); a CA looks for it by its A and AAAA records"))],
    };
    ports::leads(&subject, &found, ways)
}

fn store(config: &Config) -> Finding {
    let subject = format!("{} can be written", config.acme.path.display());
    match config.acme.store().probe() {
        Ok(()) => good(subject),
        Err(error) => {
            bad(subject, std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")))
        }
    }
}

/// Whether there is one, that is not at its end.
fn private_ca(config: &Config) -> Finding {
    let folder = config.acme.private_ca();
    let subject = format!("the private CA in {}", folder.display());
    let issuer = Ca::open(&folder).and_then(|ca| ca.issuer());
    match issuer.map(|chain| chain.first().map(Authority::not_after)) {
        Ok(Some(until)) if until > SystemClock.now() => good(format!("{subject} issues until {until}")),
        Ok(_) => bad(subject, "its certificate is over: `chandler ca rotate` makes the next one"),
        Err(error) => bad(subject, error),
    }
}

async fn directory(courier: &Courier, url: &str) -> Finding {
    match certs::acme::greet(courier, url).await {
        Err(error) => bad(url, error),
        Ok(()) if courier.skew() > WORST_SKEW => bad(
            url,
            format!(
                "its clock and this machine's differ by {} s: set this machine's (chrony, systemd-timesyncd)",
                courier.skew().as_secs()
            ),
        ),
        Ok(()) => good(format!("{url} answers")),
    }
}
