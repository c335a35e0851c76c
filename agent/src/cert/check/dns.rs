//! What DNS has to do with it: whether TXT records can be written, and whether CAA records let the CAs issue.

use std::collections::BTreeSet;
use std::error::Error;

use certs::acme::Courier;
use certs::dns::caa::{self, Policy, Request, Verdict};
use certs::dns::{Name, Resolver};
use certs::solve::Way;
use certs::{DnsName, Identifier, Identifiers};
use mirror::config::Config;
use url::Url;

use super::{Finding, bad, good};

/// Whether whoever writes TXT records would write those of `all`: nothing is changed by it.
pub(super) async fn records(config: &Config, all: &Identifiers) -> Vec<Finding> {
    if !config.acme.ways.contains(&Way::Dns) {
        return Vec::new();
    }
    let proofs = match config.acme.dns_proofs() {
        Ok(proofs) => proofs,
        Err(error) => return vec![bad("acme.dns", chain(&error))],
    };
    let (mut findings, mut bases) = (Vec::new(), BTreeSet::new());
    for name in names(all) {
        let identifier = Identifier::Dns(name.clone());
        if let Some(proofs) = &proofs
            && bases.insert(name.base())
            && let Some(tried) = proofs.try_out(&identifier).await
        {
            findings.push(match tried {
                Ok(said) => good(said),
                Err(error) => bad(format!("TXT records for {}", name.base()), chain(&error)),
            });
        }
    }
    findings
}

/// Whether each CA may issue for each name, as far as the names' owners have said anything.
pub(super) async fn caa(config: &Config, all: &Identifiers, courier: Option<&Courier>) -> Vec<Finding> {
    let (resolver, cas) = (config.acme.resolver(), cas(config, courier).await);
    let mut findings = Vec::new();
    for name in names(all) {
        let Ok(base) = name.base().parse::<Name>() else { continue };
        match look(&resolver, &base).await {
            Ok(None) => findings.push(good(format!("CAA of {}: there is none, so every CA may issue", name.as_str()))),
            Ok(Some(policy)) => findings.extend(cas.iter().map(|ca| judge(config, name, &policy, ca))),
            Err(said) => {
                // A closed network; for the other names it would be the same.
                findings
                    .push(good(format!("CAA of {}: it cannot be asked from here ({said}), so the CA's own look decides", name.as_str())));
                break;
            }
        }
    }
    findings
}

/// A CA, as CAA records know it.
struct Known {
    account: Option<String>,
    issuers: Vec<String>,
    url: Url,
}

/// By their own word, else by what is known of their hosts.
async fn cas(config: &Config, courier: Option<&Courier>) -> Vec<Known> {
    let mut cas = Vec::new();
    for url in &config.acme.directories {
        let said = match courier {
            Some(courier) => certs::acme::caa_identities(courier, url.as_str()).await,
            None => Vec::new(),
        };
        let issuers = if said.is_empty() { caa::issuers_of(url.host_str().unwrap_or_default()) } else { said };
        let saved = config.acme.store().account(url.as_str()).load().ok().flatten();
        cas.push(Known { account: saved.and_then(|saved| saved.url().map(str::to_owned)), issuers, url: url.clone() });
    }
    cas
}

async fn look(resolver: &Resolver, name: &Name) -> Result<Option<Policy>, String> {
    caa::policy(resolver, name).await.map_err(|error| chain(&error))
}

fn judge(config: &Config, name: &DnsName, policy: &Policy, ca: &Known) -> Finding {
    let (at, url) = (&policy.at, &ca.url);
    let subject = format!("CAA of {} for {url}", name.as_str());
    if ca.issuers.is_empty() {
        return good(format!("{subject}: {at} says {}; see that this CA is among them", policy.text()));
    }
    let request =
        Request { account: ca.account.as_deref(), is_wildcard: name.is_wildcard(), issuers: &ca.issuers, ways: &config.acme.ways };
    let tag = if name.is_wildcard() { "issuewild" } else { "issue" };
    let mend = format!("add CAA 0 {tag} \"{}\" to {at}", ca.issuers[0]);
    match policy.judge(&request) {
        Verdict::Allowed => good(format!("{subject}: it may issue ({at})")),
        Verdict::Nobody => bad(subject, format!("{at} lets no CA issue; {mend}")),
        Verdict::OtherIssuers(others) => bad(subject, format!("{at} lets only {} issue; {mend}", others.join(", "))),
        Verdict::OtherAccount(account) => bad(subject, format!("{at} lets only the account {account} issue; {}", ours(ca))),
        Verdict::OtherWays(ways) => {
            bad(subject, format!("{at} lets names be proved by {ways} only; write that in acme.challenges, or add yours there"))
        }
        Verdict::Unknown(tag) => bad(subject, format!("{at} has a property {tag} that CAs must understand, and few do; remove it")),
    }
}

fn ours(ca: &Known) -> String {
    ca.account.as_ref().map_or_else(String::new, |account| format!("this machine's is {account}"))
}

fn names(all: &Identifiers) -> impl Iterator<Item = &DnsName> {
    all.iter().filter_map(|identifier| match identifier {
        Identifier::Dns(name) => Some(name),
        Identifier::Ip(_) => None,
    })
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
