//! Clients by certificate: which CAs' are known, what was taken back, and what the certificate of a connection is worth at this moment.
//!
//! The handshake asks for a certificate and takes any that its client proves to own (`ask`); what it is worth is found afterwards, on the connection
//! (`certificate`), and said in an answer that people can read: a handshake that fails tells an engine's user nothing. `watch` follows the files.
//!
//! Invariants:
//! * A certificate is worth what the CAs and the list of this moment say, on connections that are open and in sessions that are resumed too.
//! * A source that cannot be read is not replaced by nothing: what it said before stays, and that is told. The others count as they are now.

mod ask;
mod certificate;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use certs::Moment;
use certs::ca::{Authority, AuthorityError, CaError, Published, Revocations};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;

use crate::config::{ClientCa, Config};

pub(super) use ask::Ask;
pub use certificate::{ClientCertificate, Unusable};
pub use watch::watch;

/// The CAs whose clients are known. A clone is the same ones.
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    known: ArcSwap<Known>,
    sources: Vec<Source>,
}

/// Where CAs come from.
#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Private(PathBuf),
}

/// What is known at one moment.
struct Known {
    /// Counted up with each change.
    number: u64,
    /// One for each source.
    parts: Vec<Part>,
    /// `None` where no CA is in its time.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// What one source says.
#[derive(Clone, PartialEq)]
struct Part {
    anchors: Vec<CertificateDer<'static>>,
    /// CAs that are none any more, for people.
    ended: Vec<String>,
    revocations: Revocations,
}

/// What came of a second look.
struct Reloaded {
    /// What is known is not what it was.
    is_new: bool,
    /// The first source that could not be read, for which the old holds.
    trouble: Option<ClientsError>,
}

/// Why a CA's clients cannot be known.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// Not a CA.
    #[error("{} holds no CA's certificate that can be used", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: AuthorityError,
    },
    /// The private CA.
    #[error("the private CA in {} (`chandler ca init --state {}` makes it there) cannot be read", folder.display(), folder.parent().unwrap_or(folder).display())]
    Private {
        /// Where it is looked for.
        folder: PathBuf,
        /// What is wrong.
        #[source]
        source: CaError,
    },
    /// It is not there, or not for us.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// rustls does not take it.
    #[error("{} is not taken", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl Clients {
    /// Those of the configuration; `None` where it names no CA, and no client is asked for a certificate.
    pub fn load(config: &Config) -> Result<Option<Self>, ClientsError> {
        if config.clients.is_empty() {
            return Ok(None);
        }
        let source = |ca: &ClientCa| match ca {
            ClientCa::File(path) => Source::File(path.clone()),
            ClientCa::Private => Source::Private(config.acme.private_ca()),
        };
        let sources: Vec<Source> = config.clients.iter().map(source).collect();
        let parts = sources.iter().map(Part::read).collect::<Result<_, _>>()?;
        Ok(Some(Self(Arc::new(Inner { known: ArcSwap::from_pointee(Known::new(0, parts)), sources }))))
    }

    /// Differs from what it was once anything has changed.
    pub(super) fn number(&self) -> u64 {
        self.0.known.load().number
    }

    /// Reads all of it again. Each source by itself: a file that is broken must not keep in what another one takes back.
    fn reload(&self) -> Reloaded {
        let known = self.0.known.load_full();
        let (mut parts, mut trouble) = (known.parts.clone(), None);
        for (part, source) in parts.iter_mut().zip(&self.0.sources) {
            match Part::read(source) {
                Ok(new) => *part = new,
                Err(error) => trouble = trouble.or(Some(error)),
            }
        }
        let is_new = parts != known.parts;
        if is_new {
            self.0.known.store(Arc::new(Known::new(known.number + 1, parts)));
        }
        Reloaded { is_new, trouble }
    }

    /// The files that change when it does.
    fn files(&self) -> Vec<PathBuf> {
        let files = |source: &Source| match source {
            Source::File(path) => vec![path.clone()],
            Source::Private(folder) => Published::files(folder).into(),
        };
        self.0.sources.iter().flat_map(files).collect()
    }
}

impl Known {
    fn new(number: u64, parts: Vec<Part>) -> Self {
        for ca in parts.iter().flat_map(|part| &part.ended) {
            tracing::warn!("a CA of clients has ended, and its clients are not known any more: {ca}");
        }
        let mut roots = RootCertStore::empty();
        let (_, _) = roots.add_parsable_certificates(parts.iter().flat_map(|part| part.anchors.iter().cloned()));
        // An empty store is refused by the builder, and is one that knows nobody.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        Self { number, parts, verifier }
    }
}

impl Part {
    fn read(source: &Source) -> Result<Self, ClientsError> {
        let now = Moment::from(SystemTime::now());
        let (path, part) = match source {
            Source::File(path) => (path, in_file(path, now)?),
            Source::Private(folder) => {
                let published = Published::read(folder).map_err(|source| ClientsError::Private { folder: folder.clone(), source })?;
                let anchors = published.issuers(now).map(|issuer| issuer.certificate().clone()).collect();
                (folder, Self { anchors, ended: Vec::new(), revocations: published.revocations().clone() })
            }
        };
        let unusable = |source| ClientsError::Unusable { path: path.clone(), source };
        part.anchors.iter().try_for_each(|anchor| RootCertStore::empty().add(anchor.clone())).map_err(unusable)?;
        Ok(part)
    }
}

/// All of the file's CAs that have not ended; rustls does not look at an anchor's time. One that has ended keeps nobody from the start: it is no CA.
fn in_file(path: &Path, now: Moment) -> Result<Part, ClientsError> {
    let text = std::fs::read_to_string(path).map_err(|source| ClientsError::Unreadable { path: path.to_owned(), source })?;
    let authorities = Authority::read_all(&text).map_err(|source| ClientsError::Authority { path: path.to_owned(), source })?;
    let (ended, usable): (Vec<_>, Vec<_>) = authorities.iter().partition(|one| one.not_after() <= now);
    Ok(Part {
        anchors: usable.into_iter().map(|one| one.certificate().clone()).collect(),
        ended: ended.into_iter().map(|one| format!("{} in {}, at {}", one.name(), path.display(), one.not_after())).collect(),
        revocations: Revocations::default(),
    })
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("sources", &self.0.sources).field("number", &self.number()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
