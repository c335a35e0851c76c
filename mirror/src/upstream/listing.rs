//! What an upstream lists: the tags of a repository, and what refers to a digest. Bodies are checked to be what they should be, and passed on.

use bytes::Bytes;
use http::header::LINK;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::account::{Account, AccountStatus};
use super::error::FetchError;
use super::exchange::{Ask, malformed};
use super::manifest::Described;
use super::metrics::Kind;
use super::{Identity, Upstream};
use crate::oci::{Digest, MediaType, Reference, RepoName, Tag, lists};

/// A page of a repository's tags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TagPage {
    /// The upstream's own JSON: an array of strings, in its order.
    pub tags: Bytes,
    /// Where the list goes on: the next request's query, as the upstream's `Link` has it. Some registries have a word of their own instead of `last`.
    pub next: Option<String>,
}

impl Upstream {
    /// A page of the tags of `repo`, as `identity` sees it. `query` goes to the upstream as it is (`n=…&last=…`, or a [`TagPage::next`]).
    pub async fn tags(&self, repo: &RepoName, query: &str, identity: Identity) -> Result<TagPage, FetchError> {
        let deadline = Instant::now() + self.inner.tuning.budget;
        let path = format!("/v2/{repo}/tags/list{}{query}", if query.is_empty() { "" } else { "?" });
        let ask = Ask { identity, ..self.listing_ask(Kind::Tags, path, repo, format_args!("{repo} (tags)")) };
        let (headers, body) = self.listing(&ask, deadline).await?;
        // A copy, for a page may hold much else.
        match aside(body, |body| lists::tags(&body).map(Bytes::copy_from_slice)).await {
            Some(tags) => Ok(TagPage { next: next_page(&headers), tags }),
            None => Err(malformed(&ask, "no list of tags")),
        }
    }

    /// What refers to `digest`, as an OCI index: all of it, so that one answer serves whoever wants a part.
    /// An upstream without this API is asked by the tag schema (`sha256-HEX`); `None`: it has nothing there either.
    pub async fn referrers(&self, repo: &RepoName, digest: &Digest, identity: Identity) -> Result<Option<Bytes>, FetchError> {
        let deadline = Instant::now() + self.inner.tuning.budget;
        let path = format!("/v2/{repo}/referrers/{digest}");
        let ask = Ask { identity, ..self.listing_ask(Kind::Referrers, path, repo, format_args!("{repo}@{digest} (referrers)")) };
        let found = match self.listing(&ask, deadline).await {
            Ok((_, body)) => aside(body, |body| Some(body).filter(|body| lists::is_index(body))).await,
            Err(FetchError::NotFound { .. }) => None,
            Err(FetchError::Status { status, .. }) if UNKNOWN_API.contains(&status) => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(found) => Ok(Some(found)),
            None => self.referrers_by_tag(repo, digest, identity, deadline).await,
        }
    }

    /// HEAD first: most digests have no such tag, and a GET would cost quota.
    async fn referrers_by_tag(
        &self,
        repo: &RepoName,
        digest: &Digest,
        identity: Identity,
        deadline: Instant,
    ) -> Result<Option<Bytes>, FetchError> {
        let tag: Tag = format!("{}-{}", digest.algorithm(), digest.hex().get(..64).unwrap_or_default())
            .parse()
            .expect("a digest's letters make a tag");
        let reference = Reference::Tag(tag);
        // The API was just asked, so it is known whether the account is of use.
        let identity = match self.inner.account.as_ref().map(Account::status) {
            Some(AccountStatus::Refused { .. } | AccountStatus::Unreadable { .. }) => Identity::Anonymous,
            _ => identity,
        };
        let fetched = match self.describe_manifest_by(repo, &reference, identity, deadline).await {
            Ok(Described::Fetched(fetched)) => Ok(fetched),
            Ok(Described::Head(_)) => self.manifest_by(repo, &reference, identity, deadline).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(manifest) => Ok(Some(manifest.bytes).filter(|body| lists::is_index(body))),
            Err(FetchError::NotFound { .. } | FetchError::Denied { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn listing(&self, ask: &Ask<'_>, deadline: Instant) -> Result<(HeaderMap, Bytes), FetchError> {
        let _place = self.inner.lanes.manifest(&ask.subject, deadline).await?;
        let answer = match self.inner.fetch(ask, deadline).await {
            // What is public is listed all the same; what is not is the account's trouble still.
            Err(refused) if refused.is_about_account() => {
                match self.inner.fetch(&Ask { identity: Identity::Anonymous, ..ask.clone() }, deadline).await {
                    Err(FetchError::Denied { .. } | FetchError::NoRepository { .. } | FetchError::NotFound { .. }) => return Err(refused),
                    answer => answer?,
                }
            }
            answer => answer?,
        };
        let headers = answer.headers().clone();
        Ok((headers, self.inner.read(answer, MOST_BYTES, ask, deadline).await?))
    }

    fn listing_ask<'a>(&self, kind: Kind, path: String, repo: &'a RepoName, what: std::fmt::Arguments<'_>) -> Ask<'a> {
        let accept = if kind == Kind::Referrers { MediaType::OCI_INDEX } else { "application/json" };
        Ask {
            accept,
            from: None,
            identity: Identity::Account,
            kind,
            method: Method::GET,
            path,
            repo: Some(repo),
            subject: self.subject(what),
            via: self.via.clone(),
        }
    }
}

/// `</v2/x/tags/list?n=10&last=b>; rel="next"`
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).into_iter().filter_map(|link| link.to_str().ok());
    let link = links.flat_map(|link| link.split(",<")).find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let (target, _) = link.trim().trim_start_matches('<').split_once('>')?;
    let base: Url = "http://upstream.invalid/".parse().expect("an address");
    base.join(target).ok()?.query().map(str::to_owned)
}

/// Reads a list: a large one on a thread that serves nobody meanwhile.
async fn aside<T: Send + 'static>(body: Bytes, read: impl FnOnce(Bytes) -> Option<T> + Send + 'static) -> Option<T> {
    if body.len() < LARGE {
        return read(body);
    }
    tokio::task::spawn_blocking(move || read(body)).await.ok().flatten()
}

/// No list is longer: it is what registries take as a manifest, and a hundred thousand tags.
const MOST_BYTES: usize = 4 << 20;
/// Reading so much takes about a millisecond.
const LARGE: usize = 256 << 10;
/// What registries answer to an address that they never heard of.
const UNKNOWN_API: [StatusCode; 4] =
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED, StatusCode::NOT_ACCEPTABLE];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(link: &str) -> Option<String> {
        next_page(&HeaderMap::from_iter([(LINK, link.parse().expect("a header"))]))
    }

    #[test]
    fn the_next_page_is_read_from_any_registrys_link() {
        for link in [
            r#"</v2/x/tags/list?last=b%2Bc&n=10>; rel="next""#,
            r#"<https://hub.test/v2/x/tags/list?last=b%2Bc&n=10>; rel="next""#,
            r"</v2/x/tags/list?last=b%2Bc&n=10>;rel=next",
        ] {
            assert_eq!(page(link).as_deref(), Some("last=b%2Bc&n=10"), "{link}");
        }
        assert_eq!(page(r#"</v2/x/tags/list?next_page=abc>; rel="next""#).as_deref(), Some("next_page=abc"));
        for link in [r#"</v2/x/tags/list?n=1>; rel="prev""#, r#"</v2/x/tags/list>; rel="next""#, "", "<"] {
            assert_eq!(page(link), None, "{link}");
        }
    }

    proptest! {
        #[test]
        fn no_link_makes_the_reader_panic(link in "(<|>|;|,|=|\"|rel=next|last|n=|/|\\?|&|%|[ -~]){0,20}") {
            let _ = page(&link);
        }
    }
}
