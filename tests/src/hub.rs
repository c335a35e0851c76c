//! The test Hub: a server that behaves like Docker Hub, and badly on request.
//!
//! Three hosts in one process, each on a port of its own: the registry (`/v2/`), the token service (`/token`) and the CDN, which
//! refuses an `Authorization`. Requests are logged and counted, held at gates, and bent by faults. It runs on threads of its own, so that
//! tests may be async or not, and ends when it is dropped. It shares no code with the mirror: bugs on both sides would cancel out.
//!
//! Pieces: `content` (what is held), `image` and `filler` (what tests put in), `answer` (one request's way through `route`, `registry`,
//! `token`, `cdn`), `faults` and `filter` (what goes wrong, for whom), `reply` and `body` (to the wire), `log` (what was asked),
//! `listen`, `socket` and `tls` (connections).

mod answer;
mod body;
mod cdn;
mod content;
mod control;
mod digest;
mod faults;
mod filler;
mod filter;
mod image;
mod listen;
mod log;
mod registry;
mod reply;
mod route;
mod settings;
mod socket;
mod start;
mod tls;
mod token;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

pub use control::Gate;
pub use digest::{Algorithm, Digest};
pub use faults::{Fault, Faults, RuleId};
pub use filler::noise;
pub use filter::{Filter, Kind, any, on};
pub use image::{DOCKER_LIST, Descriptor, ImageBuilder, ImageInfo, IndexBuilder, OCI_INDEX};
pub use log::{Counts, Seen};
pub use settings::{Auth, Settings};
pub use start::{Builder, StartError};

use answer::Shared;
use listen::Port;

/// One KiB in bytes.
pub const KIB: usize = 1024;
/// One MiB in bytes.
pub const MIB: usize = 1024 * KIB;

/// One of the Hub's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `registry-1.docker.io`
    Registry,
    /// `auth.docker.io`
    Token,
    /// `production.cloudflare.docker.com`
    Cdn,
}

/// A running Hub; dropped, it is gone with all its connections.
pub struct Hub {
    shared: Arc<Shared>,
    ports: Mutex<Vec<Port>>,
    tls: Option<TlsAcceptor>,
    ca_pem: Option<String>,
    runtime: Option<Runtime>,
}

impl Hub {
    /// An empty Hub over http on free ports of 127.0.0.1.
    pub fn start() -> Self {
        Self::builder().start().expect("loopback has free ports")
    }

    /// A Hub with other ports, TLS, or a token service elsewhere.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The registry's URL, without a slash at its end.
    pub fn url(&self) -> String {
        self.url_of(Host::Registry)
    }

    /// The URL of one of the hosts, without a slash at its end.
    pub fn url_of(&self, host: Host) -> String {
        format!("{}://{}", self.shared.scheme, self.address(host))
    }

    /// The address of one of the hosts.
    pub fn address(&self, host: Host) -> SocketAddr {
        self.shared.addresses[host as usize]
    }

    /// The CA's certificate in PEM, when the Hub speaks TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    // Content

    /// An image to be made and pushed.
    pub fn image(&self, repository: &str) -> ImageBuilder<'_> {
        ImageBuilder::new(self, repository)
    }

    /// An index of images to be made and pushed.
    pub fn index(&self, repository: &str) -> IndexBuilder<'_> {
        IndexBuilder::new(self, repository)
    }

    /// An artifact whose `subject` is `subject`, in the same repository.
    pub fn artifact(&self, subject: &ImageInfo, artifact_type: &str, payload: &[u8]) -> ImageInfo {
        image::artifact(self, &subject.repository, subject, artifact_type, payload)
    }

    /// A blob, addressed by sha256. An empty one is allowed; `noise(seed, size)` makes big ones cheaply.
    pub fn put_blob(&self, repository: &str, bytes: Bytes) -> Digest {
        let digest = Digest::sha256(&bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// A blob under an address that the caller chose: a sha512 one, one hashed before, or a wrong one.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: Bytes) {
        self.shared.state().world.repository(repository).blobs.insert(digest.clone(), bytes);
    }

    /// A manifest of any bytes and type.
    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &Bytes) -> Digest {
        let digest = Digest::sha256(bytes);
        let tags: Vec<String> = tag.into_iter().map(str::to_owned).collect();
        image::put(self, repository, &tags, media_type, &digest, bytes);
        digest
    }

    /// Makes or moves a tag.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.shared.state().world.repository(repository).tags.insert(tag.to_owned(), digest.clone());
    }

    /// Deletes a tag.
    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.shared.state().world.repository(repository).tags.remove(tag);
    }

    /// Deletes a manifest or blob.
    pub fn delete(&self, repository: &str, digest: &Digest) {
        let mut state = self.shared.state();
        let repository = state.world.repository(repository);
        repository.manifests.remove(digest);
        repository.blobs.remove(digest);
    }

    /// Deletes a repository: from now on it is nobody's.
    pub fn delete_repository(&self, repository: &str) {
        self.shared.state().world.repositories.remove(repository);
    }

    // Accounts and rights

    /// Adds an account, or changes its password. A revoked one stands again.
    pub fn add_account(&self, account: &str, password: &str) {
        let known = content::Account { password: password.to_owned(), revoked: false };
        self.shared.state().world.accounts.insert(account.to_owned(), known);
    }

    /// The account's credentials and tokens are refused from now on.
    pub fn revoke_account(&self, account: &str) {
        if let Some(known) = self.shared.state().world.accounts.get_mut(account) {
            known.revoked = true;
        }
    }

    /// Makes a repository private: only accounts with a right (`allow`) read it.
    pub fn private(&self, repository: &str) {
        self.shared.state().world.repository(repository).private = true;
    }

    /// Makes a repository public again.
    pub fn public(&self, repository: &str) {
        self.shared.state().world.repository(repository).private = false;
    }

    /// Gives an account the right to read a private repository.
    pub fn allow(&self, account: &str, repository: &str) {
        self.shared.state().world.repository(repository).readers.insert(account.to_owned());
    }

    /// Takes the right back, at once: tokens that are out no longer help.
    pub fn withdraw(&self, account: &str, repository: &str) {
        self.shared.state().world.repository(repository).readers.remove(account);
    }

    /// How many manifest GETs `account` (`None`: the anonymous) may do from now on; `None` is no limit and no headers.
    pub fn quota(&self, account: Option<&str>, limit: Option<u64>) {
        self.shared.state().world.set_quota(account, limit);
    }

    /// All tokens that are out expire now.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.revoke();
    }

    /// Changes settings, with the next request.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.state().settings);
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn each_port<E>(&self, host: Option<Host>, mut with: impl FnMut(&mut Port) -> Result<(), E>) -> Result<(), E> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.iter_mut().filter(|port| host.is_none_or(|host| port.host() == host)).try_for_each(&mut with)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not the runtime's own Drop, which may not block inside of an async test.
            runtime.shutdown_background();
        }
    }
}
