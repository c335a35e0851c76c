//! What DNS has to do with it: whether TXT records can be written, and whether CAA records let the CAs issue.

use std::collections::BTreeSet;
use std::error::Error;

use certs::acme::Courier;
use certs::dns::caa::{self, Policy, Request, Verdict};
use certs::dns::{DnsError, Name, Rcode, Resolver};
use certs::solve::Way;
use certs::{DnsName, Identifier, Identifiers};
use mirror::config::Config;
use tokio::task::JoinSet;
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
    let cas = cas(config, courier).await;
    findings(&config.acme.resolver(), all, |name, policy| cas.iter().map(|ca| judge(config, name, policy, ca)).collect()).await
}

/// Of each name, whatever comes of the others; `judge` says what its records say.
async fn findings(resolver: &Resolver, all: &Identifiers, judge: impl Fn(&DnsName, &Policy) -> Vec<Finding>) -> Vec<Finding> {
    let mut looks = JoinSet::new();
    for (index, name) in names(all).enumerate() {
        let Ok(base) = name.base().parse::<Name>() else { continue };
        let (resolver, name) = (resolver.clone(), name.clone());
        looks.spawn(async move { (index, caa::policy(&resolver, &base).await, name) });
    }
    let mut looked = looks.join_all().await;
    looked.sort_by_key(|(index, ..)| *index);
    let told = looked.into_iter().flat_map(|(_, policy, name)| match policy {
        Ok(None) => vec![good(format!("CAA of {}: there is none, so every CA may issue", name.as_str()))],
        Ok(Some(policy)) => judge(&name, &policy),
        Err(error) => vec![unasked(&name, &error)],
    });
    told.collect()
}

/// That a server fails is what a CA hears, too, and then it must not issue (RFC 8659 3). What has to do with this machine says nothing of the CA: a resolver that is silent, or serves others.
fn unasked(name: &DnsName, error: &DnsError) -> Finding {
    let said = chain(error);
    if matches!(error, DnsError::Declined { rcode: Rcode::SERVER_FAILURE, .. }) {
        let mend = "look at the zone's DNSSEC, and whether all of its servers answer for the type CAA (dig CAA)";
        return bad(format!("CAA of {}", name.as_str()), format!("{said}, and a CA that gets this answer does not issue; {mend}"));
    }
    good(format!("CAA of {}: it cannot be asked from here ({said}), so the CA's own look decides", name.as_str()))
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
        Verdict::NoAccount(account) => {
            let mend = "register it (`chandler acme account register`) and name that one there";
            bad(subject, format!("{at} lets only the account {account} issue, and this machine has none at this CA yet; {mend}"))
        }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_name_whose_server_fails_is_one_that_no_ca_issues_for_and_the_others_are_looked_at_all_the_same() {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let resolver = Resolver::new(&[udp.local_addr().expect("bound")]);
        tokio::spawn(async move {
            let mut bytes = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
                let mut reply = bytes[..length].to_vec();
                let rcode = match &reply[12..] {
                    question if question.starts_with(b"\x06broken") => 2,
                    question if question.starts_with(b"\x06closed") => 5,
                    _ => 0,
                };
                (reply[2], reply[3]) = (0x81, 0x80 | rcode);
                udp.send_to(&reply, from).await.expect("sent");
            }
        });
        let all = ["broken.test", "closed.test", "fine.test"].map(|name| name.parse().expect("a name")).into();
        let told = findings(&resolver, &all, |_, _| Vec::new()).await;
        let told: Vec<_> = told.iter().map(|one| (one.subject.as_str(), one.fault.as_deref().unwrap_or_default())).collect();
        let [(broken, fault), (closed, ""), (fine, "")] = told[..] else { panic!("{told:?}") };
        assert!(broken == "CAA of broken.test" && fault.contains("SERVFAIL") && fault.contains("does not issue"), "{fault}");
        assert!(closed.contains("closed.test: it cannot be asked from here"), "{closed}");
        assert!(fine.contains("fine.test: there is none"), "{fine}");
    }
}
