//! Clients by certificate: which CAs' are known, what was taken back, and what the certificate of a connection is worth at this moment.
//!
//! The handshake asks for a certificate and takes any that its client proves to own (`ask`); what it is worth is found afterwards, on the connection
//! (`certificate`), and said in an answer that people can read: a handshake that fails tells an engine's user nothing. `watch` follows the files.
//!
//! Invariants:
//! * A certificate is worth what the CAs and the list of this moment say, on connections that are open and in sessions that are resumed too.
//! * CAs that cannot be read are not replaced by nothing: what was known stays, and it is said.

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
    revocations: Vec<Revocations>,
    /// `None` where no CA is in its time.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
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
    #[error("the private CA in {} (`chandler ca init` makes it there) cannot be read", folder.display())]
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
        let known = Known::read(&sources, 0)?;
        Ok(Some(Self(Arc::new(Inner { known: ArcSwap::from_pointee(known), sources }))))
    }

    /// Differs from what it was once anything has changed.
    pub(super) fn number(&self) -> u64 {
        self.0.known.load().number
    }

    /// Reads all of it again.
    fn reload(&self) -> Result<(), ClientsError> {
        let known = Known::read(&self.0.sources, self.number() + 1)?;
        self.0.known.store(Arc::new(known));
        Ok(())
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
    fn read(sources: &[Source], number: u64) -> Result<Self, ClientsError> {
        let (mut roots, mut revocations) = (RootCertStore::empty(), Vec::new());
        let now = Moment::from(SystemTime::now());
        for source in sources {
            match source {
                Source::File(path) => add_file(&mut roots, path, now)?,
                Source::Private(folder) => revocations.push(add_private(&mut roots, folder, now)?),
            }
        }
        // An empty store is refused by the builder, and is one that knows nobody.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        Ok(Self { number, revocations, verifier })
    }
}

/// All of the file's CAs that have not ended; rustls does not look at an anchor's time. One that has ended keeps nobody from the start: it is no CA.
fn add_file(roots: &mut RootCertStore, path: &Path, now: Moment) -> Result<(), ClientsError> {
    let text = std::fs::read_to_string(path).map_err(|source| ClientsError::Unreadable { path: path.to_owned(), source })?;
    let authorities = Authority::read_all(&text).map_err(|source| ClientsError::Authority { path: path.to_owned(), source })?;
    let (ended, usable): (Vec<_>, Vec<_>) = authorities.iter().partition(|one| one.not_after() <= now);
    for one in ended {
        tracing::warn!(tls.file = %path.display(), "the certificate of {} ended at {}: the clients of this CA are not known any more", one.name(), one.not_after());
    }
    usable.into_iter().try_for_each(|authority| add(roots, authority, path))
}

fn add_private(roots: &mut RootCertStore, folder: &Path, now: Moment) -> Result<Revocations, ClientsError> {
    let published = Published::read(folder).map_err(|source| ClientsError::Private { folder: folder.to_owned(), source })?;
    for issuer in published.issuers(now) {
        add(roots, issuer, folder)?;
    }
    Ok(published.revocations().clone())
}

fn add(roots: &mut RootCertStore, authority: &Authority, path: &Path) -> Result<(), ClientsError> {
    roots.add(authority.certificate().clone()).map_err(|source| ClientsError::Unusable { path: path.to_owned(), source })
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("sources", &self.0.sources).field("number", &self.number()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
