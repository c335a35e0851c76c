//! Being let in: what an address asked for the last time, the answer to a challenge, the token service, and whether our account is taken.
//!
//! A request that is refused is sent again at most twice: once with what the challenge asks, once with a fresh token in place of a kept one. What
//! is refused then is denied. A refusal by the token service is looked into once: where the account may log in but not read this, the repository is
//! denied and the account is good.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::account::{Account, Credentials, Turn};
use super::challenge::{Bearer, Challenge};
use super::error::FetchError;
use super::exchange::{Ask, host_of, malformed};
use super::metrics::Kind;
use super::origin::{Learned, Origin, Scope};
use super::quota::retry_after;
use super::realm::{Trust, trust};
use super::token::{Grant, Key, Token};
use super::{Identity, Inner, body};
use crate::oci::RepoName;

/// A token, as a challenge asks for it.
struct Wanted {
    realm: Arc<str>,
    scope: Arc<str>,
    service: Option<Arc<str>>,
}

/// What a request carries to be let in.
pub(super) enum Authorization {
    Basic {
        credentials: Credentials,
        /// Kept until the answer is there: while the account is not known to be good, no second login runs beside it.
        turn: Turn,
    },
    Bearer {
        key: Key,
        token: Arc<Token>,
    },
    None,
}

impl Authorization {
    /// Whether the upstream knows by it who we are.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Self::Basic { .. } => true,
            Self::Bearer { key, .. } => key.account.is_some(),
            Self::None => false,
        }
    }
}

impl Wanted {
    fn of(bearer: &Bearer, repo: Option<&RepoName>) -> Self {
        let scope = match (&bearer.scope, repo) {
            (Some(scope), _) => scope.as_str().into(),
            (None, Some(repo)) => format!("repository:{repo}:pull").into(),
            (None, None) => "".into(),
        };
        Self { realm: bearer.realm.as_str().into(), scope, service: bearer.service.as_deref().map(Into::into) }
    }

    fn is_for(&self, key: &Key) -> bool {
        key.realm == self.realm && key.scope == self.scope && key.service == self.service
    }
}

impl Inner {
    /// The account that a request to `origin` goes out with.
    fn account_for(&self, origin: &Origin, identity: Identity) -> Option<&Account> {
        self.account.as_ref().filter(|_| identity == Identity::Account && origin.takes_account)
    }

    /// What this address asked for the last time.
    pub(super) async fn known_authorization(&self, origin: &Origin, ask: &Ask<'_>, deadline: Instant) -> Result<Authorization, FetchError> {
        match (origin.learned(), ask.repo) {
            (Some(Learned::Basic), _) if self.account_for(origin, ask.identity).is_some() => self.basic(origin, ask, deadline).await,
            (Some(learned @ Learned::Bearer { .. }), Some(repo)) => self.known_bearer(origin, ask, &learned, repo, deadline).await,
            _ => Ok(Authorization::None),
        }
    }

    /// A token of the service that was named before. Where that is none any more, the address is asked anew, with nothing: it may name another.
    async fn known_bearer(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        learned: &Learned,
        repo: &RepoName,
        deadline: Instant,
    ) -> Result<Authorization, FetchError> {
        let Learned::Bearer { realm, scope, service } = learned else { return Ok(Authorization::None) };
        let wanted = Wanted { realm: Arc::clone(realm), scope: scope.of(repo), service: service.clone() };
        let error = match self.bearer(origin, ask, wanted, None, deadline).await {
            Err(error) if is_of_token_service(&error) => error,
            result => return result,
        };
        origin.forget(learned);
        if Instant::now() >= deadline {
            return Err(error); // There is no time left to ask.
        }
        tracing::debug!(error = %error, upstream.host = %origin.host, "the token service fails, so the upstream is asked for another");
        Ok(Authorization::None)
    }

    /// What `challenges` ask for, after `before` did not do.
    pub(super) async fn answer_challenge(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        challenges: Vec<Challenge>,
        before: Authorization,
        began: Instant,
        deadline: Instant,
    ) -> Result<Authorization, FetchError> {
        let bearer = challenges.iter().find_map(|challenge| if let Challenge::Bearer(bearer) = challenge { Some(bearer) } else { None });
        if let Some(bearer) = bearer {
            return self.answer_bearer(origin, ask, bearer, before, began, deadline).await;
        }
        let account = self.account_for(origin, ask.identity).filter(|_| challenges.contains(&Challenge::Basic));
        let Some(account) = account else { return Err(FetchError::Denied { subject: ask.subject.clone() }) };
        origin.learn(Learned::Basic);
        match before {
            Authorization::Basic { credentials, turn } => self.basic_refused(origin, ask, account, credentials, turn, deadline).await,
            _ => self.basic(origin, ask, deadline).await,
        }
    }

    async fn answer_bearer(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        bearer: &Bearer,
        before: Authorization,
        began: Instant,
        deadline: Instant,
    ) -> Result<Authorization, FetchError> {
        let wanted = Wanted::of(bearer, ask.repo);
        let learned = ask.repo.map(|repo| {
            let scope = Scope::learn(&wanted.scope, repo);
            Learned::Bearer { realm: Arc::clone(&wanted.realm), scope, service: wanted.service.clone() }
        });
        let rejected = match before {
            Authorization::Bearer { key, token } if wanted.is_for(&key) => {
                // A token that was made for this does not get better by making it again; a kept one may have been rejected early.
                let lacks_rights = bearer.error.as_deref() == Some("insufficient_scope") && token.age() < YOUNG;
                if lacks_rights || token.is_of_after(began) {
                    return Err(FetchError::Denied { subject: ask.subject.clone() });
                }
                Some(token)
            }
            _ => None,
        };
        let authorization = self.bearer(origin, ask, wanted, rejected.as_ref(), deadline).await?;
        // Not before there is a token: a challenge that leads nowhere must not be in the way of the next one.
        if let Some(learned) = learned {
            origin.learn(learned);
        }
        Ok(authorization)
    }

    async fn bearer(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        wanted: Wanted,
        rejected: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<Authorization, FetchError> {
        let account = self.account_for(origin, ask.identity);
        let address: Url = wanted.realm.parse().map_err(|_| malformed(ask, "its token service's address is none"))?;
        self.check_realm(origin, &address, account, ask)?;
        let Wanted { realm, scope, service } = wanted;
        let key = Key { account: account.map(|account| Arc::clone(account.user())), realm, scope, service };
        let login = Login { address: &address, ask, deadline, key: &key };
        let token = timeout_at(deadline, self.tokens.get(&key, rejected, || self.grant(login, account))).await;
        let late = |_| FetchError::Timeout { subject: ask.subject.clone(), host: host_of(&address), after: self.tuning.budget };
        Ok(Authorization::Bearer { token: token.map_err(late)??, key })
    }

    /// Whether the token service may have what would be sent there. That it must not have our account is the account's trouble, and as loud as any.
    fn check_realm(&self, origin: &Origin, address: &Url, account: Option<&Account>, ask: &Ask<'_>) -> Result<(), FetchError> {
        let given = trust(&origin.url, address, &self.config.realms);
        if given == Trust::Account || (given == Trust::Anonymous && account.is_none()) {
            return Ok(());
        }
        let realm: Arc<str> = address.origin().ascii_serialization().into();
        if let Some(account) = account {
            self.account_refused(account, format!("its token service {realm} must not have it, unless `realms` lists that host").into());
        }
        Err(FetchError::UntrustedRealm { subject: ask.subject.clone(), realm })
    }

    /// A new token, for the account where there is one.
    async fn grant(&self, login: Login<'_>, account: Option<&Account>) -> Result<Grant, FetchError> {
        let denied = || FetchError::Denied { subject: login.ask.subject.clone() };
        let Some(account) = account else { return self.ask_token_service(login, None, true).await?.map_err(|_| denied()) };
        let refused =
            |reason: Arc<str>| FetchError::AccountRefused { subject: login.ask.subject.clone(), user: Arc::clone(account.user()), reason };
        let _turn = account.turn().await.map_err(refused)?;
        let mut credentials = match account.credentials().await {
            Ok(credentials) => credentials,
            Err(reason) => return Err(refused(self.account_unreadable(account, reason))),
        };
        let mut answer = self.ask_token_service(login, Some(&credentials), true).await?;
        if answer.is_err()
            && let Some(changed) = account.changed(&credentials).await
        {
            credentials = changed;
            answer = self.ask_token_service(login, Some(&credentials), true).await?;
        }
        let status = match answer {
            Ok(grant) => {
                self.account_accepted(account);
                return Ok(grant);
            }
            Err(status) => status,
        };
        // Is it the account, or only this repository? A login without a scope tells.
        if !login.key.scope.is_empty() && self.ask_token_service(login, Some(&credentials), false).await?.is_ok() {
            self.account_accepted(account);
            return Err(denied());
        }
        let reason = format!("its token service {} answered {status}", host_of(login.address)).into();
        Err(refused(self.account_refused(account, reason)))
    }

    /// One request to the token service; a refusal is its status.
    async fn ask_token_service(
        &self,
        login: Login<'_>,
        credentials: Option<&Credentials>,
        scoped: bool,
    ) -> Result<Result<Grant, StatusCode>, FetchError> {
        let ask = login.ask;
        let mut url = login.address.clone();
        login.complete(&mut url, scoped);
        let mut request = self.http.request(Method::GET, url.clone());
        if let Some(credentials) = credentials {
            request = request.basic_auth(&credentials.user, Some(credentials.password.expose()));
        }
        let answer = self.send(request, &url, Kind::Token, &ask.subject, login.deadline).await?;
        match answer.status() {
            StatusCode::OK => {
                let body = body::read(answer, MOST_TOKEN_BYTES, &ask.subject, self.tuning.stall).await?;
                let grant = Grant::read(&body).ok_or_else(|| malformed(ask, "its token service sent no token"))?;
                self.metrics.token(&self.config.name, credentials.is_some());
                Ok(Ok(grant))
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Ok(Err(status)),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(FetchError::RateLimited { subject: ask.subject.clone(), retry_after: retry_after(answer.headers()) })
            }
            StatusCode::LOOP_DETECTED => Err(FetchError::Loop { subject: ask.subject.clone() }),
            status => Err(FetchError::Status { subject: ask.subject.clone(), host: host_of(&url), status }),
        }
    }

    /// Basic, which only a registry's own origin ever gets.
    async fn basic(&self, origin: &Origin, ask: &Ask<'_>, deadline: Instant) -> Result<Authorization, FetchError> {
        let Some(account) = self.account_for(origin, ask.identity) else { return Ok(Authorization::None) };
        let refused = |reason| FetchError::AccountRefused { subject: ask.subject.clone(), user: Arc::clone(account.user()), reason };
        let turn = timeout_at(deadline, account.turn()).await;
        let turn = turn.map_err(|_| FetchError::Busy { subject: ask.subject.clone() })?.map_err(refused)?;
        match account.credentials().await {
            Ok(credentials) => Ok(Authorization::Basic { credentials, turn }),
            Err(reason) => Err(refused(self.account_unreadable(account, reason))),
        }
    }

    /// The registry did not take our password: it was changed, or it is wrong, or it is only this repository that we may not read.
    async fn basic_refused(
        &self,
        origin: &Origin,
        ask: &Ask<'_>,
        account: &Account,
        tried: Credentials,
        turn: Turn,
        deadline: Instant,
    ) -> Result<Authorization, FetchError> {
        if let Some(changed) = account.changed(&tried).await {
            return Ok(Authorization::Basic { credentials: changed, turn });
        }
        let ping = Ask { kind: Kind::Ping, method: Method::GET, path: "/v2/".to_owned(), from: None, ..ask.clone() };
        let (answer, at_home) = self.travel(origin, &ping, &Authorization::Basic { credentials: tried, turn }, deadline).await?;
        if at_home && answer.status().is_success() {
            self.account_accepted(account);
            return Err(FetchError::Denied { subject: ask.subject.clone() });
        }
        let reason = self.account_refused(account, format!("{} answered {}", origin.host, answer.status()).into());
        Err(FetchError::AccountRefused { subject: ask.subject.clone(), user: Arc::clone(account.user()), reason })
    }

    /// A request went through: what it carried was good.
    pub(super) fn let_in(&self, authorization: &Authorization) {
        if let (Authorization::Basic { .. }, Some(account)) = (authorization, &self.account) {
            self.account_accepted(account);
        }
    }

    fn account_accepted(&self, account: &Account) {
        self.metrics.account(&self.config.name, true);
        if account.accepted() {
            tracing::info!(upstream.name = %self.config.name, account = %account.user(), "the upstream accepts the account");
        }
    }

    fn account_refused(&self, account: &Account, reason: Arc<str>) -> Arc<str> {
        self.metrics.account(&self.config.name, false);
        if account.refused(&reason) {
            tracing::warn!(upstream.name = %self.config.name, account = %account.user(), reason = %reason, "the upstream refuses the account");
        }
        reason
    }

    fn account_unreadable(&self, account: &Account, reason: Arc<str>) -> Arc<str> {
        self.metrics.account(&self.config.name, false);
        if account.unreadable(&reason) {
            tracing::warn!(upstream.name = %self.config.name, account = %account.user(), reason = %reason, "the account's password cannot be had, so the upstream is asked as nobody");
        }
        reason
    }
}

/// What a token is asked for with.
#[derive(Clone, Copy)]
struct Login<'a> {
    address: &'a Url,
    ask: &'a Ask<'a>,
    deadline: Instant,
    key: &'a Key,
}

impl Login<'_> {
    /// Adds what the service wants to know; what its address says already stays.
    fn complete(&self, url: &mut Url, scoped: bool) {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &self.key.service {
            query.append_pair("service", service);
        }
        for scope in self.key.scope.split(' ').filter(|scope| scoped && !scope.is_empty()) {
            query.append_pair("scope", scope);
        }
        if let Some(account) = &self.key.account {
            query.append_pair("account", account);
        }
    }
}

/// Whether the token service itself is at fault, rather than what was asked of it.
fn is_of_token_service(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::BreakerOpen { .. }
            | FetchError::Connect { .. }
            | FetchError::Cut { .. }
            | FetchError::Loop { .. }
            | FetchError::Malformed { .. }
            | FetchError::Stalled { .. }
            | FetchError::Status { .. }
            | FetchError::Timeout { .. }
            | FetchError::UntrustedRealm { .. }
    )
}

const MOST_TOKEN_BYTES: usize = 1 << 20;
/// A token younger than this was made for this very question.
const YOUNG: Duration = Duration::from_secs(10);
