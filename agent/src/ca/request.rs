//! `chandler ca request`: a machine makes its key, and gets a certificate for it from the mirror with a token.
//!
//! The token says by which roots the mirror is to be known, so that nothing else need be on the machine. What it asks and writes:
//!
//! ```text
//! GET  /chandler/ca.pem        believed only if it is what the token was made for
//! POST /chandler/certificate   over a connection that those roots vouch for
//! DIR/client.key.pending       the key, before it is asked for; engines pass this name over
//! DIR/ca.crt, client.cert, client.key
//! ```
//!
//! Killed anywhere, the next run goes on with the same key, for which the same token gets the same certificate. Killed where certificate and key take their names, it finishes that, and neither token
//! nor mirror is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::ca::{CaError, Received, ReceivedError, SecretKey, Token, concealed, output, seal};
use certs::{Clock as _, SystemClock};
use reqwest::header::AUTHORIZATION;
use reqwest::{Certificate, Client, RequestBuilder, StatusCode};
use url::Url;

use super::{CaFailure, Said, read_text};
use crate::cli::ca::RequestArgs;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestFailure {
    #[error("{url} cannot be asked")]
    Ask {
        url: Url,
        #[source]
        source: reqwest::Error,
    },
    #[error("{} holds no CA's certificate that can be used", path.display())]
    Authority {
        path: PathBuf,
        #[source]
        source: reqwest::Error,
    },
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("{0} is not the mirror that the token was made for: the CA's roots there are others")]
    OtherRoots(Url),
    #[error("{url} answered {status}: {said}")]
    Refused { said: String, status: StatusCode, url: Url },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("what {url} sent is not to be used")]
    Unfit {
        url: Url,
        #[source]
        source: ReceivedError,
    },
    #[error("the mirror says: {0}")]
    Used(String),
}

impl RequestFailure {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ask { source, .. } if source.is_connect() => Some(
                "is it the mirror's address, with a name that is in its certificate? --ca FILE is for a mirror whose certificate is by another CA than the token",
            ),
            Self::OtherRoots(_) => Some("either another machine answers there, or the CA has a new root since: make another token"),
            Self::Refused { status: StatusCode::NOT_FOUND, .. } => Some(
                "the mirror's configuration must say clients: {ca: [private], tokens: true}, and speak HTTPS at this address by itself",
            ),
            Self::Refused { status: StatusCode::FORBIDDEN, .. } => {
                Some("`chandler ca token --list` beside the mirror shows which tokens are out")
            }
            Self::Used(_) => Some(
                "was that this machine? Then its files are elsewhere. Else somebody has your token: `chandler ca token --list` says which certificate, `chandler ca revoke` takes it back",
            ),
            _ => None,
        }
    }
}

/// Gets one.
pub(super) fn request(args: &RequestArgs) -> Result<Said, CaFailure> {
    let given = args.token.to_string_lossy();
    if concealed(&given) != given && !args.token.exists() {
        return Err(CaFailure::TokenItself);
    }
    let files = Files::of(&args.out);
    if let Some(received) = files.finish()?.filter(|received| received.not_after > SystemClock.now()) {
        let before = "the run before was ended when all was there but a file's name: it is finished, and nothing was asked for; run it again for another certificate";
        return Ok(files.said(None, &received, vec![before.to_owned()]));
    }
    let word = read_text(&args.token)?;
    let token: Token = word.trim().parse().map_err(|source| CaFailure::Token { path: args.token.clone(), source })?;
    let key = files.pending_key(args.key_type)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RequestFailure::Runtime)?;
    let (roots, received) = runtime.block_on(async {
        let desk = Desk::at(&args.mirror, &token, args.ca.as_deref()).await?;
        let received = match desk.certify(&token, &key).await {
            // The last run may have been killed when all was done.
            Err(CaFailure::Request(RequestFailure::Used(said))) => match files.last_key()? {
                Some(last) => desk.certify(&token, &last).await.map(|received| (last, received)),
                None => Err(RequestFailure::Used(said).into()),
            },
            received => received.map(|received| (key, received)),
        };
        Ok::<_, CaFailure>((desk.roots, received?))
    })?;
    files.write(roots.as_deref(), &received.0, &received.1)
}

/// The mirror, known by its roots.
struct Desk {
    client: Client,
    /// What is to be written down, if the machine did not know it before.
    roots: Option<String>,
    url: Url,
}

impl Desk {
    async fn at(mirror: &Url, token: &Token, ca: Option<&Path>) -> Result<Self, CaFailure> {
        let mut url = mirror.clone();
        url.set_query(None);
        url.set_fragment(None);
        let (path, pem, roots) = if let Some(path) = ca {
            (path.to_owned(), read_text(path)?, None)
        } else {
            let roots = Self::roots(&url, token).await?;
            (PathBuf::from(url.as_str()), roots.clone(), Some(roots))
        };
        let authorities = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|source| RequestFailure::Authority { path, source })?;
        let client = Client::builder().tls_certs_only(authorities).https_only(true).redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(PATIENCE).build().map_err(RequestFailure::Client)?;
        Ok(Self { client, roots, url })
    }

    /// From whoever answers: it is the token that says whether they are the right ones. Nothing is sent there but the question.
    async fn roots(url: &Url, token: &Token) -> Result<String, RequestFailure> {
        let anybody = Client::builder().tls_danger_accept_invalid_certs(true).https_only(true).redirect(reqwest::redirect::Policy::none());
        let anybody = anybody.timeout(PATIENCE).build().map_err(RequestFailure::Client)?;
        let url = at(url, "/chandler/ca.pem");
        let (status, roots) = patiently(&PAUSES, || answer(&url, anybody.get(url.clone()))).await?;
        match status {
            StatusCode::OK if token.knows(&roots) => Ok(roots),
            StatusCode::OK => Err(RequestFailure::OtherRoots(url)),
            status => Err(RequestFailure::Refused { said: message(&roots), status, url }),
        }
    }

    async fn certify(&self, token: &Token, key: &SecretKey) -> Result<Received, CaFailure> {
        let (url, request) = (at(&self.url, "/chandler/certificate"), seal::bare_request(key).map_err(CaError::from)?);
        let ask = || self.client.post(url.clone()).header(AUTHORIZATION, format!("Bearer {}", token.word())).body(request.clone());
        let (status, said) = patiently(&PAUSES, || answer(&url, ask())).await?;
        match status {
            StatusCode::CREATED => Ok(Received::read(&said, key).map_err(|source| RequestFailure::Unfit { url, source })?),
            StatusCode::FORBIDDEN if said.contains("\"TOKEN_USED\"") => Err(RequestFailure::Used(message(&said)).into()),
            status => Err(RequestFailure::Refused { said: message(&said), status, url }.into()),
        }
    }
}

/// What the command leaves on the machine.
struct Files {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
    pending: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        let [authority, chain, key, pending] = ["ca.crt", "client.cert", "client.key", "client.key.pending"].map(|name| folder.join(name));
        Self { authority, chain, key, pending }
    }

    /// That of a run that was killed, or a new one.
    fn pending_key(&self, kind: crate::cli::ca::LeafKeyType) -> Result<SecretKey, CaFailure> {
        if let Some(key) = key_in(&self.pending)? {
            return Ok(key);
        }
        let key = SecretKey::for_leaf(kind.into()).map_err(CaError::from)?;
        output::write_secret_among_others(&self.pending, key.pem())?;
        Ok(key)
    }

    /// What a run that was killed between the two names left to do: until then engines have a pair that does not fit.
    fn finish(&self) -> Result<Option<Received>, CaFailure> {
        let Some(key) = key_in(&self.pending)? else { return Ok(None) };
        // Where it is not for this key, or there is none, the key waits for its own.
        let Some(received) = read_text(&self.chain).ok().and_then(|chain| Received::read(&chain, &key).ok()) else { return Ok(None) };
        output::write_secret(&self.key, key.pem())?;
        output::remove(&self.pending)?;
        Ok(Some(received))
    }

    fn last_key(&self) -> Result<Option<SecretKey>, CaFailure> {
        key_in(&self.key)
    }

    /// The certificate before the key: whatever a crash leaves, the key that is pending is the certificate's until both are there.
    fn write(&self, roots: Option<&str>, key: &SecretKey, received: &Received) -> Result<Said, CaFailure> {
        if let Some(roots) = roots {
            output::write_text(&self.authority, roots)?;
        }
        output::replace_pair((&self.chain, &received.chain), (&self.key, key.pem()))?;
        output::remove(&self.pending)?;
        Ok(self.said(roots, received, Vec::new()))
    }

    fn said(&self, roots: Option<&str>, received: &Received, mut notes: Vec<String>) -> Said {
        let written = roots.map(|_| &self.authority).into_iter().chain([&self.chain, &self.key]);
        let data: Vec<String> = written.map(|path| path.display().to_string()).collect();
        notes.push(format!("serial {}, until {}", received.serial, received.not_after));
        Said { data: data.join("\n") + "\n", notes }
    }
}

fn key_in(path: &Path) -> Result<Option<SecretKey>, CaFailure> {
    match read_text(path) {
        Ok(text) => Ok(Some(SecretKey::parse(&text).map_err(CaError::from)?)),
        Err(CaFailure::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn at(mirror: &Url, path: &str) -> Url {
    let mut url = mirror.clone();
    url.set_path(path);
    url
}

/// Asks again, while the mirror is busy: a whole rack may have been switched on.
async fn patiently<F>(pauses: &[Duration], ask: impl Fn() -> F) -> F::Output
where
    F: Future<Output = Result<(StatusCode, String), RequestFailure>>,
{
    let mut answered = ask().await?;
    for pause in pauses {
        if answered.0 != StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::time::sleep(*pause).await;
        answered = ask().await?;
    }
    Ok(answered)
}

/// Status and text, of which there is little from a mirror, and no more is read from anybody.
async fn answer(url: &Url, request: RequestBuilder) -> Result<(StatusCode, String), RequestFailure> {
    let failed = |source: reqwest::Error| RequestFailure::Ask { url: url.clone(), source: source.without_url() };
    let mut response = request.send().await.map_err(failed)?;
    let (status, mut bytes) = (response.status(), Vec::new());
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MOST {
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// What a mirror says in an error; of what anybody else says the beginning, fit for a terminal.
fn message(said: &str) -> String {
    let error = serde_json::from_str::<serde_json::Value>(said).ok();
    let told = error.as_ref().and_then(|error| error["errors"][0]["message"].as_str()).unwrap_or(said);
    told.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// A certificate and those above it have some KiB.
const MOST: usize = 256 << 10;
/// For one answer, which a mirror gives within ten seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between tries, while the CA is busy.
const PAUSES: [Duration; 5] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_mirror_that_is_busy_is_asked_again_and_one_that_stays_so_is_believed() {
        for (busy, status, asked) in [(0, 200, 1), (2, 200, 3), (9, 503, 4)] {
            let count = Cell::new(0);
            let ask = || {
                count.set(count.get() + 1);
                let status = if count.get() > busy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                std::future::ready(Ok((status, String::new())))
            };
            let answered = patiently(&[Duration::ZERO; 3], ask).await.expect("an answer");
            assert_eq!((answered.0.as_u16(), count.get()), (status, asked));
        }
    }
}
