//! A look at the files that a configuration names, before anything starts with them.
//!
//! Files only: the address and the store may well be in use, by the mirror that runs while its next configuration is checked.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use certs::ca::{Ca, CaError, Purpose, Refusal, Wanted};
use certs::store::StoreError;

use crate::config::{Issuer, ListenerConfig, Names, PasswordSource, Problem, Problems, Resolved, TlsConfig, UpstreamConfig};
use crate::enrolment::Enrolment;
use crate::tls::{Clients, Pair};
use crate::upstream::{Metrics, Upstream};
use crate::via::Pseudonym;

/// Whether certificates, keys, CA bundles and password files can be used as they are now.
///
/// # Errors
/// Every file that cannot, with where it was named.
pub fn check_files(resolved: &Resolved) -> Result<(), Problems> {
    let listeners = resolved.config.listeners.iter().enumerate().filter_map(|(index, listener)| {
        let tls = listener.tls.as_ref()?;
        let error = Pair::load(tls.files()?, SystemTime::now()).err().filter(|error| tls.names().is_none() || !error.is_missing())?;
        Some(resolved.problem(&format!("listeners.{index}.tls"), chain(&error)))
    });
    let upstreams = resolved.config.upstreams.iter().enumerate().flat_map(|(index, upstream)| {
        let (ca, password) = (bundle(resolved, index, upstream), password(resolved, index, upstream));
        [ca, password].into_iter().flatten()
    });
    let uses_acme = resolved.config.listeners.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.names().is_some()));
    let faults = if uses_acme { resolved.config.acme.faults() } else { Vec::new() };
    let acme = faults.into_iter().map(|(key, error)| resolved.problem(key, chain(&*error)));
    let clients = Clients::load(&resolved.config).err().map(|error| resolved.problem("clients.ca", chain(&error)));
    let asks = resolved.config.tokens && clients.is_none(); // Else it is the same trouble once more.
    let tokens = asks.then(|| Enrolment::check(&resolved.config).err()).flatten();
    let tokens = tokens.map(|error| resolved.problem("clients.tokens", format!("no certificate can be issued: {}", chain(&error))));
    let stored = if clients.is_none() && tokens.is_none() { unstored(resolved) } else { None };
    let issued = if clients.is_none() && tokens.is_none() && stored.is_none() { unissued(resolved) } else { Vec::new() };
    let problems: Vec<Problem> = listeners.chain(clients).chain(tokens).chain(stored).chain(issued).chain(acme).chain(upstreams).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// What keeps certificates that are issued to us from being stored, by whoever runs this: best the mirror's own user.
fn unstored(resolved: &Resolved) -> Option<Problem> {
    let config = &resolved.config;
    let names: Vec<_> = config.certificates().into_iter().map(|names| &names.name).collect();
    let error = if names.is_empty() { None } else { config.acme.store().examine(&names).err() }?;
    Some(resolved.problem("acme.path", chain(&error)))
}

/// What keeps the private CA from issuing to listeners: the mirror would wait for one that is not there yet, and show what nobody trusts.
fn unissued(resolved: &Resolved) -> Vec<Problem> {
    let is_private = |listener: &ListenerConfig| {
        listener.tls.as_ref().and_then(TlsConfig::names).filter(|names| names.issuer == Issuer::Private).cloned()
    };
    let wanting: Vec<(usize, Names)> =
        resolved.config.listeners.iter().enumerate().filter_map(|(index, listener)| Some((index, is_private(listener)?))).collect();
    let Some((first, _)) = wanting.first() else { return Vec::new() };
    let folder = resolved.config.acme.private_ca();
    let problem = |index: usize, text: String| {
        resolved.problem(&format!("listeners.{index}.tls.private"), format!("no certificate can be issued: {text}"))
    };
    let ca = match Ca::open_within(&folder, PATIENCE).and_then(|ca| ca.can_record().map(|()| ca)) {
        Ok(ca) => ca,
        Err(CaError::Store(StoreError::Locked(_))) => return Vec::new(), // Somebody is at work on it.
        Err(error) => return vec![problem(*first, error.mend().map_or_else(|| chain(&error), |mend| format!("{error}; {mend}")))],
    };
    let refused = |(index, names): &(usize, Names)| {
        let wanted = Wanted { identifiers: names.identifiers.clone(), life: DAY, purpose: Purpose::Server };
        let error = ca.would_issue(&wanted, SystemTime::now().into()).err()?;
        let mend = if matches!(error, CaError::Refused(Refusal::Names { .. })) {
            "; `chandler ca rotate --permit NAME,..` with all names mends it"
        } else {
            ""
        };
        Some(problem(*index, format!("{}{mend}", chain(&error))))
    };
    wanting.iter().filter_map(refused).collect()
}

/// The client is made as at a start, and thrown away.
fn bundle(resolved: &Resolved, index: usize, upstream: &UpstreamConfig) -> Option<Problem> {
    let error = Upstream::new(upstream, &resolved.config.limits, Pseudonym::new(0), &Metrics::default()).err()?;
    Some(resolved.problem(&format!("upstreams.{index}.ca"), chain(&error)))
}

fn password(resolved: &Resolved, index: usize, upstream: &UpstreamConfig) -> Option<Problem> {
    let PasswordSource::File(path) = &upstream.account.as_ref()?.password else { return None };
    let text = match first_line(path) {
        Ok(line) if !line.is_empty() => return None,
        Ok(_) => format!("the first line of {} is empty; it must be the password", path.display()),
        Err(error) => format!("cannot read {}: {error}", path.display()),
    };
    Some(resolved.problem(&format!("upstreams.{index}.account.password_file"), text))
}

fn first_line(path: &Path) -> std::io::Result<String> {
    Ok(fs::read_to_string(path)?.lines().next().unwrap_or_default().to_owned())
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source()).map(|error| error.to_string().replace("\nhint: ", "; "));
    causes.collect::<Vec<_>>().join(": ")
}

const DAY: Duration = Duration::from_hours(24);
/// For whoever else works on the CA.
const PATIENCE: Duration = Duration::from_secs(5);
