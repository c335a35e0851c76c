//! What lies behind a mirror of this machine: whether it reaches the site's, by a canary that only that one makes; and whether a mirror on this machine is one for this machine.

use std::net::{ToSocketAddrs as _, UdpSocket};

use reqwest::StatusCode;

use super::MachineFailure;
use super::proof::{Outcome, Proof};
use crate::engines::canary::Nonce;
use crate::engines::{Finding, MirrorUrl, Others, Weight, Wish};
use crate::host::Root;
use crate::install;
use crate::local::{self, LocalMirror, SITE, Site};
use crate::reach::{self, Seen};
use crate::trust;

/// The proof; none where it asks the Hub itself.
pub(super) async fn proof(local: &LocalMirror) -> Result<Option<Proof>, MachineFailure> {
    let Some(site) = &local.site else { return Ok(None) };
    let outcome = if site.is_provable {
        asked(local, site).await?
    } else {
        Outcome::Untried(format!("its configuration has no upstream `{SITE}` for that; `chandler install mirror --local` writes one"))
    };
    Ok(Some(Proof { outcome, whose: format!("the mirror at {}", local.url) }))
}

async fn asked(local: &LocalMirror, site: &Site) -> Result<Outcome, MachineFailure> {
    let nonce = Nonce::new().map_err(super::proof::ProofError::from)?;
    let unchained = |said: String| Outcome::Unchained { said, site: site.mirrors.clone() };
    let Ok(client) = reach::client(None, None) else { return Ok(unchained("no client can be made".to_owned())) };
    // By the path both mirrors know what is meant: below its own name the site's is asked for the Hub's.
    let url = format!("{}/v2/{SITE}/{}/manifests/latest", local.url, nonce.repository());
    let answer = match client.get(url).send().await {
        Ok(answer) => answer,
        Err(error) => return Ok(unchained(::mirror::chain(&error.without_url()))),
    };
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(Outcome::Proved(site.mirrors.clone()));
    }
    Ok(unchained(said(status, &answer.text().await.unwrap_or_default())))
}

/// The words of a registry's error, or its status.
fn said(status: StatusCode, body: &str) -> String {
    let told = serde_json::from_str::<serde_json::Value>(body).ok();
    let message = told.as_ref().and_then(|told| told["errors"][0]["message"].as_str());
    message.map_or_else(|| format!("it answers {status}"), |message| format!("{status}: {message}"))
}

/// How the site's mirrors look from here, known as the local one knows them.
pub(super) async fn look(root: &Root, local: &LocalMirror, nonce: &str) -> Vec<Seen> {
    let Some(site) = &local.site else { return Vec::new() };
    let anchors = site.ca.as_ref().and_then(|path| trust::bounded_text(&root.on_disk(path)).ok());
    let wish = Wish { mirrors: site.mirrors.clone(), anchors, client: None, registries: Vec::new(), others: Others::Keep };
    reach::look(&wish, nonce).await
}

/// A site's mirror that this machine runs itself, and that its own engines are behind. One that is meant for this machine alone is none.
pub(super) fn own(root: &Root, mirrors: &[MirrorUrl]) -> Vec<Finding> {
    let Ok(Some(config)) = install::configuration(root) else { return Vec::new() };
    let is_own = |mirror: &&MirrorUrl| local::serves_others(&config, mirror.port()) && (mirror.is_loopback() || is_here(mirror));
    mirrors.iter().filter(is_own).map(finding).collect()
}

fn finding(mirror: &MirrorUrl) -> Finding {
    Finding {
        engine: None,
        weight: Weight::Warns,
        what: format!(
            "{mirror} runs on this very machine and serves others: its own engines are behind it, and with it away nothing here is pulled from a cache, not even what it needs itself"
        ),
        mend: "`chandler undo` takes this machine out. Where it is on purpose, --local says so (`local: true` in agent.yaml)".to_owned(),
    }
}

/// Whether a name leads to an address of this machine: nobody can bind another's.
fn is_here(mirror: &MirrorUrl) -> bool {
    let host = mirror.host().trim_start_matches('[').trim_end_matches(']');
    (host, mirror.port()).to_socket_addrs().is_ok_and(|mut found| found.any(|address| UdpSocket::bind((address.ip(), 0)).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_machine_is_known_and_no_other() {
        assert!(is_here(&"http://127.0.0.1:5000".parse().expect("a mirror")));
        assert!(!is_here(&"http://192.0.2.1:5000".parse().expect("a mirror")));
    }

    #[test]
    fn a_refusal_is_told_in_the_mirrors_words() {
        let body = r#"{"errors":[{"code":"UNAVAILABLE","message":"the upstream gave no answer"}]}"#;
        assert_eq!(said(StatusCode::BAD_GATEWAY, body), "502 Bad Gateway: the upstream gave no answer");
        assert_eq!(said(StatusCode::NOT_FOUND, "<html>"), "it answers 404 Not Found");
    }
}
