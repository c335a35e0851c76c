//! `chandler acme`: a person's word about the account that orders the mirror's certificates, and about what its CA has to offer.
//!
//! It works on the files that the mirror works on, under the account's lock; a mirror that runs takes an account from its file at each order, so that it
//! goes on with another key, and registers another account where one was ended.

mod shown;

use std::fmt::Write as _;
use std::io;

use certs::acme::{AccountError, Courier, Directory, Registered, deactivate, open_account, roll_over};
use certs::store::{AccountFolder, StoreError};
use mirror::config::Config;
use tokio::runtime::Runtime;
use url::Url;

use crate::cli::acme::{AccountTask, DeactivateArgs, ShowArgs, Task, WhereArgs};
use crate::report::Said;
use shown::Shown;

/// Why `chandler acme` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcmeFailure {
    #[error(transparent)]
    Account(Box<AccountError>),
    #[error(transparent)]
    Acme(#[from] mirror::tls::AcmeError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("{account} would end for good: no order and no revocation is possible with it any more, and the next order registers another")]
    Sure { account: String },
    #[error("which account is to end? There are several CAs: {0}")]
    WhichAccount(String),
}

impl AcmeFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Account(error) => match &**error {
                AccountError::Ca(error) => error.mend()?.to_owned(),
                AccountError::None(_) => "`chandler acme account register` registers one, and so does the first order".into(),
                AccountError::Store(StoreError::Locked(_)) => "somebody else is at the account; try again when that is over".into(),
                AccountError::Store(_) => return None,
            },
            Self::Acme(_) => "acme.ca is a file with the roots (PEM) by which the CA's own server is known".into(),
            Self::Sure { .. } => "`chandler acme account deactivate --yes`, if that is meant".into(),
            Self::WhichAccount(_) => "--directory URL names one".into(),
            Self::Runtime(_) => return None,
        })
    }
}

impl From<AccountError> for AcmeFailure {
    fn from(error: AccountError) -> Self {
        Self::Account(Box::new(error))
    }
}

impl From<StoreError> for AcmeFailure {
    fn from(error: StoreError) -> Self {
        AccountError::from(error).into()
    }
}

/// Does it.
pub(crate) fn run(task: &Task, config: &Config) -> Result<Said, AcmeFailure> {
    let desk = Desk {
        config,
        courier: config.acme.courier()?,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AcmeFailure::Runtime)?,
    };
    match task {
        Task::Account { task: AccountTask::Show(args) } => desk.show(args),
        Task::Account { task: AccountTask::Register(at) } => desk.register(at),
        Task::Account { task: AccountTask::Rollover(at) } => desk.roll_over(at),
        Task::Account { task: AccountTask::Deactivate(args) } => desk.deactivate(args),
        Task::Profiles(at) => desk.profiles(at),
    }
}

/// What all of it needs.
struct Desk<'a> {
    config: &'a Config,
    courier: Courier,
    runtime: Runtime,
}

impl Desk<'_> {
    fn show(&self, args: &ShowArgs) -> Result<Said, AcmeFailure> {
        let mut notes = Vec::new();
        let mut all = Vec::new();
        for directory in self.directories(&args.at) {
            all.push(self.look(&directory, &mut notes)?);
        }
        if all.iter().all(Shown::is_none) {
            return Err(AccountError::None(all.iter().map(|one| one.directory.as_str()).collect::<Vec<_>>().join(" or ")).into());
        }
        Ok(Said { data: if args.json { shown::json(&all) } else { shown::text(&all) }, notes })
    }

    fn register(&self, at: &WhereArgs) -> Result<Said, AcmeFailure> {
        let mut said = Said::default();
        let mut wish = self.config.acme.account();
        wish.several |= at.directory.as_ref().is_some_and(|named| !self.config.acme.directories.contains(named));
        for directory in self.directories(at) {
            let folder = self.folder(&directory);
            let is_new = folder.load()?.is_none();
            let registered = self.runtime.block_on(async {
                open_account(&folder, &directory, &wish, &self.courier).await?;
                let registered = Registered::open(&folder, &directory, &self.courier).await?;
                let known = registered.look().await?;
                let wanted: Vec<String> = wish.email.iter().map(|email| format!("mailto:{email}")).collect();
                if !is_new && known.contact != wanted {
                    registered.write_to(wish.email.as_deref()).await?;
                }
                Ok::<_, AccountError>(registered)
            })?;
            let done = if is_new { "is registered" } else { "was registered before; its mail address is the configuration's" };
            said.notes.push(format!("{} {done}", registered.url()));
            let shown = self.look(&directory, &mut said.notes)?;
            said.data += &shown::text(&[shown]);
        }
        Ok(said)
    }

    fn roll_over(&self, at: &WhereArgs) -> Result<Said, AcmeFailure> {
        let mut said = Said::default();
        for directory in self.directories(at) {
            let folder = self.folder(&directory);
            let thumbprint = self.runtime.block_on(roll_over(&folder, &directory, &self.courier))?;
            let url = folder.load()?.and_then(|saved| saved.url().map(str::to_owned)).unwrap_or_default();
            let _ = writeln!(said.data, "{url}: its key is {thumbprint} now");
        }
        Ok(said)
    }

    fn deactivate(&self, args: &DeactivateArgs) -> Result<Said, AcmeFailure> {
        let directories = self.directories(&args.at);
        let [directory] = directories.as_slice() else { return Err(AcmeFailure::WhichAccount(directories.join(", "))) };
        let folder = self.folder(directory);
        let saved = folder.load()?.ok_or_else(|| AccountError::None(directory.clone()))?;
        if !args.yes {
            return Err(AcmeFailure::Sure { account: saved.url().unwrap_or(directory).to_owned() });
        }
        let url = self.runtime.block_on(deactivate(&folder, directory, &self.courier))?;
        let note = "certificates that it ordered stay valid; the next order registers another account".to_owned();
        Ok(Said { data: format!("{url} has ended\n"), notes: vec![note] })
    }

    fn profiles(&self, at: &WhereArgs) -> Result<Said, AcmeFailure> {
        let mut said = Said::default();
        for directory in self.directories(at) {
            let meta = self.runtime.block_on(Directory::open(&self.courier, &directory)).map_err(AccountError::from)?.meta;
            if meta.profiles.is_empty() {
                said.notes.push(format!("{directory} has no profiles: leave acme.profile out"));
            }
            for (name, description) in meta.profiles {
                let mark = if self.config.acme.profile.as_ref() == Some(&name) { "  (acme.profile)" } else { "" };
                let _ = writeln!(said.data, "{name}  {description}{mark}");
            }
        }
        Ok(said)
    }

    /// What is in our files, and what the CA says if it can be asked.
    fn look(&self, directory: &str, notes: &mut Vec<String>) -> Result<Shown, AcmeFailure> {
        let folder = self.folder(directory);
        let mut shown = Shown::new(directory, folder.load()?.as_ref(), &self.config.certificates());
        if shown.is_none() {
            return Ok(shown);
        }
        let asked = self.runtime.block_on(async {
            let registered = Registered::open(&folder, directory, &self.courier).await?;
            let known = registered.look().await?;
            Ok::<_, AccountError>((registered, known))
        });
        match asked {
            Ok((registered, known)) => shown.learn(&registered, known),
            Err(AccountError::Ca(error)) => {
                let mend = error.mend().map(|mend| format!("; {mend}")).unwrap_or_default();
                notes.push(format!("what the CA knows of it is not shown: {}{mend}", error.chain()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(shown)
    }

    fn directories(&self, at: &WhereArgs) -> Vec<String> {
        match &at.directory {
            Some(directory) => vec![directory.to_string()],
            None => self.config.acme.directories.iter().map(Url::to_string).collect(),
        }
    }

    fn folder(&self, directory: &str) -> AccountFolder {
        self.config.acme.store().account(directory)
    }
}
