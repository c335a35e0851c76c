//! The proof that an engine uses a mirror: it pulls an image that only the mirror can answer, and the mirror says who did.
//!
//! The image is named by a [`Nonce`] that nobody else knows. Each engine has its own way to pull it; what the mirrors then say of it, and what follows from both, is here for all.
//! Nothing is sent to a mirror but the nonce, and no more is read from one than a mirror says.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::MirrorUrl;
use super::Wish;
use crate::reach;

/// 128 bits of chance in 32 hex digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nonce(String);

impl Nonce {
    /// One that nobody had before.
    pub fn new() -> io::Result<Self> {
        let mut bits = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bits)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bits))))
    }

    /// The canary's repository on Docker Hub, where nobody can have it: only a mirror answers for it.
    pub fn repository(&self) -> String {
        format!("docker.io/chandler-canary/{self}")
    }

    /// The canary's tag.
    pub fn tag() -> &'static str {
        "latest"
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One request for a part of the canary, as its mirror wrote it down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Receipt {
    /// Whose it was, as the mirror sees it.
    pub client: IpAddr,
    /// Seconds since 1970, by the mirror's clock.
    pub time: u64,
    /// What the engine calls itself.
    pub user_agent: String,
    /// `manifest`, `config` or `layer`.
    pub what: String,
}

/// A mirror, and what it says of the canary.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Testimony {
    /// Who.
    pub mirror: MirrorUrl,
    /// The receipts; or why there is no answer.
    pub said: Result<Vec<Receipt>, String>,
}

/// What is proved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The engine pulled the canary through these mirrors, the one with most of it first.
    Served(Vec<MirrorUrl>),
    /// The engine could not pull it. What it said, and what the mirrors say.
    Failed {
        /// The engine's words.
        engine: String,
        /// All mirrors'.
        mirrors: Vec<Testimony>,
    },
    /// The engine has the image, and no mirror of ours gave all of it: something else answers in their place.
    Past(Vec<Testimony>),
}

/// Asks mirrors for receipts.
#[derive(Debug)]
pub struct Witness {
    client: Client,
    mirrors: Vec<MirrorUrl>,
}

/// Why mirrors cannot be asked: what is to be trusted is no certificate, or the client's own pair is none.
#[derive(Debug, thiserror::Error)]
#[error("no client can be made to ask the mirrors, of the CA's certificates and the client's own")]
pub struct WitnessError(#[source] reqwest::Error);

impl Witness {
    /// Of the wished mirrors, known as engines know them: by the system's roots, and by the wished anchors beside them. They are shown the wished certificate.
    pub fn new(wish: &Wish) -> Result<Self, WitnessError> {
        let client = reach::client(wish.anchors.as_deref(), wish.client.as_ref()).map_err(WitnessError)?;
        Ok(Self { client, mirrors: wish.mirrors.clone() })
    }

    /// What each mirror says of the canary, all asked at once, each at most ten seconds.
    pub async fn hear(&self, nonce: &Nonce) -> Vec<Testimony> {
        let asked = self.mirrors.iter().map(|mirror| async { Testimony { mirror: mirror.clone(), said: self.ask(mirror, nonce).await } });
        futures_util::future::join_all(asked).await
    }

    async fn ask(&self, mirror: &MirrorUrl, nonce: &Nonce) -> Result<Vec<Receipt>, String> {
        let failed = |error: reqwest::Error| mirror::chain(&error.without_url());
        let mut response = self.client.get(format!("{mirror}/chandler/receipt/{nonce}")).send().await.map_err(failed)?;
        let (status, mut bytes) = (response.status(), Vec::new());
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MOST {
                return Err("it answers with more than a mirror would".to_owned());
            }
        }
        match status {
            StatusCode::OK => match serde_json::from_slice::<Page>(&bytes) {
                Ok(page) if page.nonce == nonce.0 => Ok(page.receipts),
                _ => Err("it is no chandler mirror: its answer is not a list of receipts".to_owned()),
            },
            StatusCode::NOT_FOUND => Err("it is no chandler mirror, or one of another version: it knows of no receipts".to_owned()),
            status => Err(format!("it answers {status}")),
        }
    }
}

impl Testimony {
    /// How much of the canary it gave: a whole image is a manifest, a config and a layer.
    fn parts(&self) -> usize {
        let said = self.said.as_deref().unwrap_or_default();
        PARTS.iter().filter(|part| said.iter().any(|receipt| receipt.what == **part)).count()
    }
}

/// What follows from a pull and from what the mirrors say of it.
pub fn judge(pull: Result<(), String>, mirrors: Vec<Testimony>) -> Verdict {
    if let Err(engine) = pull {
        return Verdict::Failed { engine, mirrors };
    }
    let all: Vec<&str> = mirrors.iter().flat_map(|one| one.said.iter().flatten()).map(|receipt| receipt.what.as_str()).collect();
    if !PARTS.iter().all(|part| all.contains(part)) {
        return Verdict::Past(mirrors);
    }
    let mut served: Vec<&Testimony> = mirrors.iter().filter(|one| one.parts() > 0).collect();
    served.sort_by_key(|one| std::cmp::Reverse(one.parts()));
    Verdict::Served(served.into_iter().map(|one| one.mirror.clone()).collect())
}

/// What a mirror answers.
#[derive(Deserialize)]
struct Page {
    nonce: String,
    receipts: Vec<Receipt>,
}

/// An image that an engine pulled as a whole.
const PARTS: [&str; 3] = ["manifest", "config", "layer"];
/// A thousand receipts have a few hundred KiB.
const MOST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn testimony(mirror: &str, parts: &[&str]) -> Testimony {
        let receipt =
            |what: &&str| Receipt { client: [10, 0, 0, 1].into(), time: 1, user_agent: "docker".into(), what: (*what).to_owned() };
        Testimony { mirror: mirror.parse().expect("a mirror"), said: Ok(parts.iter().map(receipt).collect()) }
    }

    #[test]
    fn a_nonce_is_new_each_time_and_as_mirrors_want_it() {
        let (one, other) = (Nonce::new().expect("the system has chance"), Nonce::new().expect("the system has chance"));
        assert_ne!(one, other);
        one.to_string().parse::<mirror::canary::Nonce>().expect("32 hex digits");
        assert!(one.repository().starts_with("docker.io/chandler-canary/"));
    }

    #[test]
    fn only_a_whole_image_from_our_mirrors_is_a_proof() {
        let (whole, head) = (["manifest", "manifest", "config", "layer"], ["manifest"]);
        let served = |mirrors: &[&str]| Verdict::Served(mirrors.iter().map(|mirror| mirror.parse().expect("a mirror")).collect());
        assert_eq!(judge(Ok(()), vec![testimony("http://a", &whole), testimony("http://b", &[])]), served(&["http://a"]));
        assert_eq!(judge(Ok(()), vec![testimony("http://a", &head), testimony("http://b", &whole)]), served(&["http://b", "http://a"]));
        assert_eq!(
            judge(Ok(()), vec![testimony("http://a", &head), testimony("http://b", &["config", "layer"])]),
            served(&["http://b", "http://a"])
        );
        assert!(matches!(judge(Ok(()), vec![testimony("http://a", &head)]), Verdict::Past(_)));
        assert!(matches!(judge(Ok(()), vec![]), Verdict::Past(_)));
        assert!(matches!(judge(Err("not found".into()), vec![testimony("http://a", &whole)]), Verdict::Failed { .. }));
        let silent = Testimony { mirror: "http://c".parse().expect("a mirror"), said: Err("refused".into()) };
        assert!(matches!(judge(Ok(()), vec![silent]), Verdict::Past(_)));
    }
}
