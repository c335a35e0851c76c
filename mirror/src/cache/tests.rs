//! The cache over a real store and a server that does what a script says: what a sick disk, a sick upstream and a stranger's repository may not do.

mod disk;
mod flights;
mod rights;
mod sources;

use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::{Sources, UpstreamConfig};
use crate::oci::{Child, ChildKind, MediaType, Reference};
use crate::store::ManifestRecord;
use crate::upstream::tests as hub;
use crate::upstream::tests::server::{Reply, Seen, Server};

/// A cache, what it stores in, and what it asks.
struct Setup {
    cache: Cache,
    folder: TempDir,
    server: Server,
    store: Store,
    tasks: TaskTracker,
}

impl Setup {
    async fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(|config| config, script).await
    }

    /// Of an account none of whose private images are served.
    async fn without_private(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let account = |server: &Server| hub::with_account(server, hub::password());
        let server = Server::start(script).await;
        let config = UpstreamConfig { private: Some(Vec::new()), ..account(&server) };
        Self::over(server, &config)
    }

    async fn with(change: impl FnOnce(UpstreamConfig) -> UpstreamConfig, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let server = Server::start(script).await;
        let config = change(hub::config(&server));
        Self::over(server, &config)
    }

    fn over(server: Server, upstream: &UpstreamConfig) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = configured(&server, &folder);
        let store = Store::open(&config.store).expect("a store");
        let tasks = TaskTracker::new();
        let cache = Cache::new(&config, store.clone(), vec![hub::upstream(upstream)], tasks.clone(), CancellationToken::new());
        Self { cache, folder, server, store, tasks }
    }

    /// The same cache with `other.test` as its second upstream.
    fn with_second(&self, other: &Server) -> Cache {
        let second =
            UpstreamConfig { name: "other.test".parse().expect("a name"), answers_to: vec!["other.test".to_owned()], ..hub::config(other) };
        let upstreams = [hub::config(&self.server), second].iter().map(hub::upstream).collect();
        self.cache.reloaded(&configured(&self.server, &self.folder), upstreams)
    }

    async fn repo(&self, name: &str) -> Arc<Repo> {
        self.cache.repo(0, &name.parse().expect("a name"), Deadline::new()).await.expect("a repository")
    }

    /// A blob in the store, as it is found at a start: nobody has hashed it yet.
    fn found(&self, bytes: &[u8]) -> Digest {
        let digest = hub::digest_of(bytes);
        let hex = digest.to_string().split_once(':').expect("ALGORITHM:HEX").1.to_owned();
        let folder = self.folder.path().join("blobs/sha256").join(&hex[..2]);
        std::fs::create_dir_all(&folder).expect("ours");
        std::fs::write(folder.join(hex), bytes).expect("ours");
        digest
    }

    /// Has `repo` hold a manifest that says it names `size` bytes of `blob`.
    fn claim(repo: &Repo, blob: &Digest, size: u64) -> Digest {
        let digest = hub::digest_of(format!("a manifest of {}", repo.label()).as_bytes());
        let child = Child { digest: blob.clone(), kind: ChildKind::Blob, media_type: MediaType::new(MediaType::OCTET_STREAM), size };
        let media_type = MediaType::new(MediaType::OCI_MANIFEST);
        repo.records.learn_manifest(&ManifestRecord { digest: digest.clone(), media_type, size: 100, children: vec![child] });
        digest
    }

    async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn configured(server: &Server, folder: &TempDir) -> Config {
    let yaml = format!("upstreams: [{{name: hub.test, url: \"{}\"}}]\nstore: {{path: \"{}\"}}\n", server.url(""), folder.path().display());
    crate::config::resolve(&Sources::yaml(&yaml)).expect("a configuration").config
}

/// The whole body, or why it broke off.
async fn body(cache: &Cache, digest: &Digest, answer: BlobAnswer) -> std::io::Result<Vec<u8>> {
    use http_body_util::BodyExt as _;
    if let BlobContent::Memory(object) = &answer.content {
        return Ok(object.bytes.clone().unwrap_or_default().to_vec());
    }
    answer.body(cache, digest, None).collect().await.map(|body| body.to_bytes().to_vec())
}

fn by_digest(digest: &Digest) -> Reference {
    Reference::Digest(digest.clone())
}
