//! By what a mirror is known: certificates from a file, or fetched from the mirror itself and held against a fingerprint.
//!
//! What anybody could answer is believed for its SHA-256 alone, which a person has from the mirror's own machine (`chandler ca export` prints it). Nothing but the
//! question is sent over the connection that is not known yet.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use certs::ca::{Authority, AuthorityError};
use certs::{Clock as _, SystemClock};
use reqwest::{Client, StatusCode};

use crate::engines::MirrorUrl;

/// As `--ca` takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CaChoice {
    /// A PEM file.
    File(PathBuf),
    /// The mirror's own CA, if it is this one.
    Pinned(Fingerprint),
}

/// SHA-256 of a certificate, in lower-case hexadecimal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint(String);

/// Why there is nothing to know a mirror by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("{url} cannot be asked for its CA")]
    Ask {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("{} holds no CA's certificate that can be used", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: AuthorityError,
    },
    #[error("{url} is known by another CA: none of those that it shows ({shown}) has the fingerprint sha256:{wanted}")]
    Other { shown: String, url: String, wanted: Fingerprint },
    #[error("a CA by its fingerprint is fetched from a mirror over HTTPS, and none is named by https://")]
    Plain,
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{url} shows no CA: it answered {status}")]
    Refused { status: StatusCode, url: String },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("what {url} shows as its CA cannot be used")]
    Unfit {
        url: String,
        #[source]
        source: AuthorityError,
    },
}

impl TrustError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ask { .. } => Some("is the mirror's address right, and does it serve HTTPS there? `curl -k URL/v2/` tells"),
            Self::File { .. } => Some("--ca takes PEM: certificates between BEGIN CERTIFICATE and END CERTIFICATE, no keys"),
            Self::Other { .. } => Some(
                "either another machine answers there, or the CA has a new root: `chandler ca export` beside the mirror prints its fingerprint",
            ),
            Self::Plain => Some("--ca FILE takes its certificate from a file; a mirror at http:// needs none"),
            Self::Refused { .. } => Some(
                "a mirror shows the CA that `chandler ca init` made, where its own certificate is by that one (tls.private); for any other use --ca FILE",
            ),
            _ => None,
        }
    }
}

impl TrustError {
    /// It is a matter of what was written, and nobody was asked.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Plain | Self::Read { .. })
    }
}

/// The certificates, PEM, by which all of `mirrors` are known. What is `known` already, PEM too, is not asked for.
pub(crate) fn anchors(choice: &CaChoice, mirrors: &[MirrorUrl], known: &[&str]) -> Result<String, TrustError> {
    let found = match choice {
        CaChoice::File(path) => {
            let text = bounded_text(path).map_err(|source| TrustError::Read { path: path.clone(), source })?;
            usable(&text).map_err(|source| TrustError::File { path: path.clone(), source })?
        }
        CaChoice::Pinned(wanted) => {
            let here = known.iter().filter_map(|text| usable(text).ok()).flatten().find(|one| one.fingerprint() == wanted.0);
            match here {
                Some(found) => vec![found],
                None => vec![fetch_from(mirrors, wanted)?],
            }
        }
    };
    Ok(found.iter().map(Authority::pem).collect())
}

/// From the first that has it. If none does, the first one's reason is told.
fn fetch_from(mirrors: &[MirrorUrl], wanted: &Fingerprint) -> Result<Authority, TrustError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(TrustError::Runtime)?;
    let mut failed = None;
    for mirror in mirrors.iter().filter(|mirror| mirror.is_secure()) {
        match runtime.block_on(fetch(mirror, wanted)) {
            Ok(found) => return Ok(found),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or(TrustError::Plain))
}

/// From whoever answers: it is the fingerprint that says whether it is the right one.
async fn fetch(mirror: &MirrorUrl, wanted: &Fingerprint) -> Result<Authority, TrustError> {
    let url = format!("{mirror}/chandler/ca.pem");
    let anybody = Client::builder().tls_danger_accept_invalid_certs(true).https_only(true).redirect(reqwest::redirect::Policy::none());
    let anybody = anybody.timeout(PATIENCE).no_proxy().build().map_err(TrustError::Client)?;
    let failed = |source: reqwest::Error| TrustError::Ask { url: url.clone(), source: source.without_url() };
    let answer = anybody.get(&url).send().await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(TrustError::Refused { status: answer.status(), url });
    }
    let text = bounded(answer).await.map_err(failed)?;
    let shown = usable(&text).map_err(|source| TrustError::Unfit { url: url.clone(), source })?;
    let listed = shown.iter().map(|one| format!("sha256:{}", one.fingerprint())).collect::<Vec<_>>().join(", ");
    let found = shown.into_iter().find(|one| one.fingerprint() == wanted.0);
    found.ok_or(TrustError::Other { shown: listed, url, wanted: wanted.clone() })
}

/// As much as a bundle of roots has; the rest is not waited for.
async fn bounded(mut answer: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > MOST {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Those whose time is now: in a system's bundle there may be others too.
fn usable(text: &str) -> Result<Vec<Authority>, AuthorityError> {
    let all = Authority::read_all(text)?;
    let checked: Result<Vec<()>, AuthorityError> = all.iter().map(|one| one.check(SystemClock.now())).collect();
    let found: Vec<Authority> = all.into_iter().filter(|one| one.check(SystemClock.now()).is_ok()).collect();
    if found.is_empty() { checked.map(|_| found) } else { Ok(found) }
}

/// A text file that somebody names: a pipe too, but nothing without end.
pub(crate) fn bounded_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    if read as u64 == LARGEST {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has no end, or is far larger than such a file is"))
    } else {
        Ok(text)
    }
}

impl FromStr for CaChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').filter(|(word, _)| word.eq_ignore_ascii_case("sha256")) {
            Some((_, hex)) => hex.parse().map(Self::Pinned),
            None if text.is_empty() => Err("nothing is named: write a file, or sha256: and 64 hexadecimal digits".into()),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    /// With or without colons, as OpenSSL and as others print it.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
        let is_one = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one {
            Ok(Self(digits))
        } else {
            Err("no fingerprint: write sha256: and 64 hexadecimal digits, as `chandler ca export` prints it".into())
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For a mirror that is loaded, and not for one that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const MOST: usize = 256 << 10;
/// Bytes of a file.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_as_programs_print_it_and_anything_else_is_a_file() {
        let digits = "ab".repeat(32);
        let openssl = "AB:".repeat(32);
        for text in [format!("sha256:{digits}"), format!("SHA256:{}", openssl.trim_end_matches(':'))] {
            assert_eq!(text.parse(), Ok(CaChoice::Pinned(Fingerprint(digits.clone()))), "{text}");
        }
        assert_eq!("/etc/ca.pem".parse(), Ok(CaChoice::File("/etc/ca.pem".into())));
        for text in ["", "sha256:", "sha256:12", &format!("sha256:{}", "xy".repeat(32))] {
            assert!(text.parse::<CaChoice>().is_err(), "{text}");
        }
    }
}
