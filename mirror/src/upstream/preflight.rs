//! What the account may do, found out before anybody needs it.

use http::Method;
use tokio::time::Instant;

use super::error::FetchError;
use super::exchange::Ask;
use super::metrics::Kind;
use super::{Identity, Upstream, UpstreamStatus};
use crate::oci::{Reference, RepoName};

impl Upstream {
    /// Logs in, and asks the Hub what our quota is (by HEAD, which costs none). To be run in the background at start, and whenever somebody wants to know:
    /// an account that was refused is tried again at once. The error is why nothing could be found out; that the account is refused is in the status.
    pub async fn preflight(&self) -> Result<UpstreamStatus, FetchError> {
        if let Some(account) = &self.inner.account {
            account.ask_again();
        }
        let deadline = Instant::now() + self.inner.tuning.budget;
        let ask = Ask {
            accept: "*/*",
            from: None,
            identity: Identity::Account,
            kind: Kind::Ping,
            method: Method::GET,
            path: "/v2/".to_owned(),
            repo: None,
            subject: self.subject("(preflight)"),
            via: self.via.clone(),
        };
        match self.inner.fetch(&ask, deadline).await {
            // Some registries let nobody at `/v2/` with a token for nothing, and that says nothing of the account.
            Ok(_) | Err(FetchError::AccountRefused { .. } | FetchError::Denied { .. } | FetchError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.inner.config.hub {
            self.ask_for_quota(deadline).await;
        }
        Ok(self.status())
    }

    /// The Hub keeps a repository for this question; whatever else it answers does not matter, and is no error that anybody should look into.
    async fn ask_for_quota(&self, deadline: Instant) {
        let (repo, tag): (RepoName, Reference) = ("ratelimitpreview/test".parse().expect("a name"), "latest".parse().expect("a tag"));
        let ask = self.manifest_ask(Method::HEAD, Kind::ManifestHead, &repo, &tag, Identity::Account);
        if let Err(error) = self.inner.fetch_somewhere(&ask, deadline).await {
            tracing::debug!(error = %error, upstream.name = %self.inner.config.name, "the upstream does not tell its quota");
        }
    }
}
