//! Our account at an upstream: where its password is, and whether the upstream takes it.
//!
//! The password is read at first need, and once more when it is refused, since it may have been changed on disk. An account that is refused is
//! asked for again at most once a minute (each failed login counts against it at the upstream), and at once after a reload, which makes a new
//! one of these. While it is not known to be good, one login is tried at a time, so that a herd does not lock it.
//! A password is never in a `Debug`, an error or a log line.

use std::fmt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Mutex as Turnstile, OwnedMutexGuard};
use tokio::time::{Instant, timeout};

use crate::config::{AccountConfig, PasswordSource, Secret};

/// Whether the upstream takes our account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccountStatus {
    /// The last time that it was asked.
    Accepted,
    /// No account is configured.
    None,
    /// It does not, or must not have it.
    Refused {
        /// What it said.
        reason: Arc<str>,
        /// Since when.
        since: SystemTime,
    },
    /// It was not asked yet.
    Unknown,
    /// The password cannot be had on this machine, so the upstream was not asked.
    Unreadable {
        /// Why not.
        reason: Arc<str>,
        /// Since when.
        since: SystemTime,
    },
}

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::None => f.write_str("none"),
            Self::Refused { reason, .. } => write!(f, "refused: {reason}"),
            Self::Unknown => f.write_str("not asked yet"),
            Self::Unreadable { reason, .. } => write!(f, "not asked: {reason}"),
        }
    }
}

/// A name and its password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Credentials {
    pub(super) password: Secret,
    pub(super) user: Arc<str>,
}

/// The account and what is known of it.
pub(super) struct Account {
    /// What the helper is asked for.
    address: String,
    helper_limit: Duration,
    known: Mutex<Known>,
    login: Arc<Turnstile<()>>,
    source: PasswordSource,
    user: Arc<str>,
}

#[derive(Clone)]
struct Known {
    credentials: Option<Credentials>,
    refused_at: Option<Instant>,
    status: AccountStatus,
}

/// The right to try a login. While the account is not known to be good, there is one at a time.
pub(super) struct Turn(#[expect(dead_code, reason = "held for its drop")] Option<OwnedMutexGuard<()>>);

impl Account {
    /// From the configuration; nothing is read yet. `address` is what a credential helper knows the registry by.
    pub(super) fn new(config: &AccountConfig, address: String, helper_limit: Duration) -> Self {
        let known = Known { credentials: None, refused_at: None, status: AccountStatus::Unknown };
        let (source, user) = (config.password.clone(), config.user.as_str().into());
        Self { address, helper_limit, known: Mutex::new(known), login: Arc::default(), source, user }
    }

    /// Its name.
    pub(super) fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// What is known of it.
    pub(super) fn status(&self) -> AccountStatus {
        self.with(|known| known.status.clone())
    }

    /// Waits for the right to log in; the reason where the account was refused less than a minute ago.
    pub(super) async fn turn(&self) -> Result<Turn, Arc<str>> {
        self.not_held_back()?;
        if self.status() == AccountStatus::Accepted {
            return Ok(Turn(None));
        }
        let turn = Arc::clone(&self.login).lock_owned().await;
        self.not_held_back()?; // Whoever was before us may have learnt it.
        Ok(Turn(Some(turn)))
    }

    /// The name and password, read if they were not yet.
    pub(super) async fn credentials(&self) -> Result<Credentials, Arc<str>> {
        if let Some(credentials) = self.with(|known| known.credentials.clone()) {
            return Ok(credentials);
        }
        let credentials = self.read().await.map_err(|error| Arc::from(chain(&error)))?;
        self.with(|known| known.credentials = Some(credentials.clone()));
        Ok(credentials)
    }

    /// Reads the password anew after `tried` was refused; `None` where it is still the same.
    pub(super) async fn changed(&self, tried: &Credentials) -> Option<Credentials> {
        let now = self.read().await.ok()?;
        self.with(|known| known.credentials = Some(now.clone()));
        (now != *tried).then_some(now)
    }

    /// The upstream took it. Returns whether that is news.
    pub(super) fn accepted(&self) -> bool {
        self.with(|known| {
            known.refused_at = None;
            std::mem::replace(&mut known.status, AccountStatus::Accepted) != AccountStatus::Accepted
        })
    }

    /// The upstream did not take it. Returns whether that is news.
    pub(super) fn refused(&self, reason: &Arc<str>) -> bool {
        self.failed(|since| AccountStatus::Refused { reason: Arc::clone(reason), since })
    }

    /// Its password cannot be read. Returns whether that is news.
    pub(super) fn unreadable(&self, reason: &Arc<str>) -> bool {
        self.failed(|since| AccountStatus::Unreadable { reason: Arc::clone(reason), since })
    }

    fn failed(&self, status: impl FnOnce(SystemTime) -> AccountStatus) -> bool {
        self.with(|known| {
            known.refused_at = Some(Instant::now());
            known.credentials = None;
            let since = match known.status {
                AccountStatus::Refused { since, .. } | AccountStatus::Unreadable { since, .. } => since,
                _ => SystemTime::now(),
            };
            let status = status(since);
            std::mem::replace(&mut known.status, status.clone()) != status
        })
    }

    /// Forgets when it was refused, so that the next request asks again.
    pub(super) fn ask_again(&self) {
        self.with(|known| known.refused_at = None);
    }

    fn not_held_back(&self) -> Result<(), Arc<str>> {
        self.with(|known| match (&known.status, known.refused_at) {
            (AccountStatus::Refused { reason, .. } | AccountStatus::Unreadable { reason, .. }, Some(at)) if at.elapsed() < HOLD_BACK => {
                Err(Arc::clone(reason))
            }
            _ => Ok(()),
        })
    }

    async fn read(&self) -> Result<Credentials, PasswordError> {
        let own = |password: &str| Credentials { password: Secret::new(password), user: Arc::clone(&self.user) };
        match &self.source {
            PasswordSource::Value(secret) => Ok(own(secret.expose())),
            PasswordSource::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|source| PasswordError::File { path: path.display().to_string(), source })?;
                let line = text.lines().next().unwrap_or_default();
                if line.is_empty() { Err(PasswordError::Empty { path: path.display().to_string() }) } else { Ok(own(line)) }
            }
            PasswordSource::Helper(command) => {
                let told = self.ask_helper(command).await?;
                let user = if told.username.is_empty() { Arc::clone(&self.user) } else { told.username.into() };
                Ok(Credentials { password: Secret::new(&told.secret), user })
            }
        }
    }

    /// `docker-credential-… get`, as docker asks it: the address on standard input, JSON on standard output.
    async fn ask_helper(&self, command: &[String]) -> Result<Told, PasswordError> {
        let (program, arguments) = command.split_first().ok_or(PasswordError::NoHelper)?;
        let failed = |what: &str| PasswordError::Helper { program: program.clone(), what: what.to_owned() };
        let started = Command::new(program)
            .args(arguments)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let mut child = started.map_err(|source| PasswordError::Start { program: program.clone(), source })?;
        let mut input = child.stdin.take().expect("it was asked for");
        let answer = async {
            // A helper that needs no address closes its input before we are done; its answer counts all the same.
            let _ = input.write_all(self.address.as_bytes()).await;
            drop(input);
            child.wait_with_output().await
        };
        let output = timeout(self.helper_limit, answer).await.map_err(|_| failed("it did not answer in time"))?;
        let output = output.map_err(|_| failed("its answer could not be read"))?;
        if !output.status.success() {
            return Err(failed("it has none")); // Its words are not repeated: some helpers print what they know.
        }
        let told: Told = serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is not a helper's JSON"))?;
        match told {
            Told { username, .. } if username == "<token>" => {
                Err(failed("it has an identity token, where a password or access token is needed"))
            }
            Told { secret, .. } if secret.is_empty() => Err(failed("it has none")),
            told => Ok(told),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).field("status", &self.status()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Secret")]
    secret: String,
    #[serde(rename = "Username", default)]
    username: String,
}

#[derive(Debug, thiserror::Error)]
enum PasswordError {
    #[error("the password file {path} is empty")]
    Empty { path: String },
    #[error("the password file {path} cannot be read")]
    File { path: String, source: std::io::Error },
    #[error("the credential helper {program} gave no password: {what}")]
    Helper { program: String, what: String },
    #[error("no credential helper is named")]
    NoHelper,
    #[error("the credential helper {program} cannot be started")]
    Start { program: String, source: std::io::Error },
}

fn chain(error: &PasswordError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// How long a refused account is not tried again.
const HOLD_BACK: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn account(source: PasswordSource) -> Account {
        let config = AccountConfig { password: source, user: "ship".to_owned() };
        Account::new(&config, "https://hub.test".to_owned(), Duration::from_secs(20))
    }

    fn helper(script: &str) -> (tempfile::TempDir, Account) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        let account = account(PasswordSource::Helper(vec![path.display().to_string()]));
        (folder, account)
    }

    #[tokio::test]
    async fn a_password_file_counts_by_its_first_line_and_is_read_again_after_a_refusal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        fs::write(&path, "old\nnot this\n").expect("a file");
        let account = account(PasswordSource::File(path.clone()));
        let old = account.credentials().await.expect("a password");
        assert_eq!(old.password.expose(), "old");
        assert_eq!(account.changed(&old).await, None);
        fs::write(&path, "new\r\n").expect("a file");
        assert_eq!(account.credentials().await.expect("the same still").password.expose(), "old");
        assert_eq!(account.changed(&old).await.expect("a change").password.expose(), "new");
    }

    #[tokio::test]
    async fn a_password_that_cannot_be_read_is_told_by_its_place() {
        let missing = account(PasswordSource::File("/nowhere/password".into()));
        let reason = missing.credentials().await.expect_err("no file");
        assert_eq!(&*reason, "the password file /nowhere/password cannot be read: No such file or directory (os error 2)");
    }

    #[tokio::test]
    async fn a_credential_helper_is_asked_as_docker_asks_it() {
        let script = r#"read -r address; test "$1" = get || exit 1; printf '{"ServerURL":"%s","Username":"","Secret":"from %s"}' "$address" "$address""#;
        let (_folder, account) = helper(script);
        let credentials = account.credentials().await.expect("a password");
        assert_eq!((&*credentials.user, credentials.password.expose()), ("ship", "from https://hub.test"));
    }

    #[tokio::test]
    async fn a_helper_without_a_password_never_has_its_words_repeated() {
        for script in ["echo hunter2; exit 1", "echo hunter2", r#"echo '{"Username":"<token>","Secret":"hunter2"}'"#] {
            let (_folder, account) = helper(script);
            let reason = account.credentials().await.expect_err(script);
            assert!(reason.contains("gave no password") && !reason.contains("hunter2"), "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_account_is_tried_again_after_a_minute_and_not_before() {
        let account = account(PasswordSource::Value(Secret::new("x")));
        assert!(account.turn().await.is_ok());
        assert!(account.refused(&"401".into()));
        assert!(!account.refused(&"401".into()), "no news");
        assert!(account.turn().await.is_err());
        tokio::time::advance(HOLD_BACK).await;
        assert!(account.turn().await.is_ok());
        assert!(account.accepted() && !account.accepted());
    }

    #[test]
    fn a_status_is_said_in_words() {
        let refused = AccountStatus::Refused { reason: "hub answered 401 Unauthorized".into(), since: SystemTime::UNIX_EPOCH };
        let unreadable = AccountStatus::Unreadable { reason: "the password file x is empty".into(), since: SystemTime::UNIX_EPOCH };
        let said =
            [AccountStatus::Accepted, AccountStatus::None, refused, AccountStatus::Unknown, unreadable].map(|status| status.to_string());
        assert_eq!(
            said,
            ["accepted", "none", "refused: hub answered 401 Unauthorized", "not asked yet", "not asked: the password file x is empty"]
        );
    }

    #[test]
    fn a_password_is_in_nothing_that_prints() {
        let account = account(PasswordSource::Value(Secret::new("hunter2")));
        account.with(|known| known.credentials = Some(Credentials { password: Secret::new("hunter2"), user: "ship".into() }));
        let credentials = account.with(|known| known.credentials.clone());
        assert!(!format!("{account:?}{credentials:?}").contains("hunter2"));
    }
}
