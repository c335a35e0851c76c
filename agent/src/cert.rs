//! `chandler cert`: a look at the certificates that the mirror gets, and a person's word about them.
//!
//! It works on the files that the mirror works on, under the same locks. While a mirror runs, that one does the work, and this waits for what comes of it.

mod check;
mod files;
mod pair;
mod renew;
mod status;
mod trial;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use certs::acme::AccountError;
use certs::store::{CertFolder, CertName, StoreError};
use certs::worker::PRIVATE;
use certs::{Clock as _, SystemClock};
use mirror::config::{Config, Names};

pub(crate) use self::check::{Holder, holders};
use self::files::Placed;
use crate::cli::cert::{CertArgs, ExportArgs, RevokeArgs, RollbackArgs, StatusArgs, Task};

/// Why `chandler cert` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertFailure {
    #[error(transparent)]
    Account(#[from] Box<AccountError>),
    #[error(transparent)]
    Acme(#[from] mirror::tls::AcmeError),
    #[error("{0}")]
    Bad(String),
    #[error(
        "the configuration has no listener with a certificate: none has names under tls.acme or tls.private, or files under tls.certificate"
    )]
    NoCertificates,
    #[error("no listener with files under tls.certificate and tls.key has the address {0}: {1}")]
    NoListener(SocketAddr, String),
    /// What `--json` prints all the same.
    #[error("not all is well")]
    Faults(String),
    #[error("dns-01 needs somebody who writes TXT records, and acme.dns names nobody")]
    NoDns,
    #[error("{0} has no certificate yet")]
    NoneYet(CertName),
    #[error("{0} has no generation {1}; there are {2}")]
    NoGeneration(CertName, u32, String),
    #[error("no certificate is called {0}; there are {1}")]
    NoSuch(CertName, String),
    #[error("no listener has files under tls.certificate and tls.key to import to")]
    Nowhere,
    #[error("it was issued by the private CA: `chandler ca revoke {0}` takes it back")]
    Own(String),
    #[error(transparent)]
    Pair(#[from] mirror::tls::PairError),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Start(#[from] mirror::StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("for which listener is it? {0}")]
    WhichListener(String),
    #[error("which pair? Name both files, or let certbot set RENEWED_LINEAGE")]
    WhichPair,
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl CertFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Account(error) => {
                if let AccountError::Ca(error) = &**error {
                    error.mend().map(str::to_owned)
                } else {
                    None
                }
            }
            Self::Acme(_) => Some("acme.ca is a file with the roots (PEM) by which the CA's own server is known".into()),
            Self::NoListener(..) | Self::WhichListener(_) => Some("--listener ADDR names one by its address, as listeners has it".into()),
            Self::NoDns => Some(
                "--challenge dns:/path/to/script, or acme.dns with a script (hook), a name server (rfc2136) or Amazon (route53)".into(),
            ),
            Self::NoCertificates => Some("write listeners: [{address: \":443\", tls: {acme: [mirror.example.com]}}]".into()),
            Self::NoneYet(_) => Some("`chandler cert renew` gets it, `chandler cert status` says why it is not there".into()),
            Self::Nowhere => {
                Some("write where the mirror may look: listeners: [{address: \":443\", tls: {certificate: FILE, key: FILE}}]".into())
            }
            Self::Start(error) => error.hint(),
            Self::Store(StoreError::Damaged { .. }) => {
                Some("a mirror that runs puts it aside within half a minute and goes on; `chandler cert renew` does so at once".into())
            }
            Self::WhichPair => Some("chandler cert import --cert fullchain.pem --key privkey.pem".into()),
            _ => None,
        }
    }
}

/// Does it, and gives what is printed.
pub(crate) fn run(args: &CertArgs, config: &Config) -> Result<String, CertFailure> {
    match &args.task {
        Task::Check(args) => check::check(config, args.json),
        Task::Export(args) => export(config, args),
        Task::Import(args) => pair::import(config, args),
        Task::Renew(args) if args.dry_run => trial::try_out(config, args),
        Task::Renew(args) => renew::renew(config, args),
        Task::Revoke(args) => revoke(config, args),
        Task::Rollback(args) => rollback(config, args),
        Task::Status(args) => show(config, args),
    }
}

/// Those that are meant: the one of this name, or all.
fn meant<'a>(config: &'a Config, name: Option<&CertName>) -> Result<Vec<&'a Names>, CertFailure> {
    let all = config.certificates();
    if all.is_empty() {
        return Err(CertFailure::NoCertificates);
    }
    let Some(name) = name else { return Ok(all) };
    let known = all.iter().map(|names| names.name.to_string()).collect::<Vec<_>>().join(", ");
    let found: Vec<_> = all.into_iter().filter(|names| names.name == *name).collect();
    if found.is_empty() { Err(CertFailure::NoSuch(name.clone(), known)) } else { Ok(found) }
}

fn folder(config: &Config, names: &Names) -> CertFolder {
    config.acme.store().certificate(&names.name)
}

fn show(config: &Config, args: &StatusArgs) -> Result<String, CertFailure> {
    let now = SystemClock.now();
    let placed = if args.name.is_none() { files::look(config) } else { Vec::new() };
    let wanted = if placed.is_empty() { meant(config, args.name.as_ref())? } else { config.certificates() };
    let standings = wanted.into_iter().map(|names| status::look(config, names, now)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let all: serde_json::Value = status::json(&standings).into_iter().chain(placed.iter().map(Placed::json)).collect();
        return Ok(format!("{all:#}\n"));
    }
    let mut out = status::text(&standings, now);
    for placed in &placed {
        placed.text(&mut out, now);
    }
    Ok(out)
}

fn rollback(config: &Config, args: &RollbackArgs) -> Result<String, CertFailure> {
    let names = meant(config, Some(&args.name))?[0];
    let folder = folder(config, names);
    let _lock = folder.lock_within(AT_WORK)?;
    let held = folder.current()?.ok_or_else(|| CertFailure::NoneYet(args.name.clone()))?;
    let all = folder.generations()?;
    let listed = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let is_of_use = |generation: &u32| folder.generation(*generation).is_ok_and(|one| one.is_some_and(|one| !one.facts.revoked));
    let before = all.iter().copied().filter(|generation| *generation < held.generation).filter(is_of_use).max();
    let wanted = args.generation.or(before).unwrap_or_default();
    let back = folder.generation(wanted)?.ok_or_else(|| CertFailure::NoGeneration(args.name.clone(), wanted, listed))?;
    if back.facts.revoked {
        return Err(CertFailure::Bad(format!("generation {wanted} of {} is not to be used: its issuer took it back", args.name)));
    }
    let why_not = |error: certs::BundleError| CertFailure::Bad(format!("generation {wanted} of {} is not to be used: {error}", args.name));
    back.bundle.check(&names.identifiers, SystemClock.now()).map_err(why_not)?;
    folder.point_to(wanted)?;
    Ok(format!(
        "{}: generation {wanted} is in use, until {}; a mirror that runs shows it within half a minute\n",
        args.name,
        back.bundle.not_after()
    ))
}

fn revoke(config: &Config, args: &RevokeArgs) -> Result<String, CertFailure> {
    let names = meant(config, Some(&args.name))?[0];
    let folder = folder(config, names);
    let held = folder.current()?.ok_or_else(|| CertFailure::NoneYet(args.name.clone()))?;
    let directory = &held.facts.directory;
    if directory == PRIVATE {
        return Err(CertFailure::Own(held.bundle.serial().to_owned()));
    }
    let (store, courier) = (config.acme.store(), config.acme.courier()?);
    let runtime = tokio::runtime::Runtime::new().map_err(CertFailure::Runtime)?;
    let account = config.acme.account();
    runtime.block_on(certs::acme::revoke(&store, directory, &account, &courier, &held.bundle, args.reason.into())).map_err(Box::new)?;
    folder.note_revoked(&held)?;
    Ok(format!(
        "{}: {directory} took {} back; a mirror that runs gets another within half a minute, `chandler cert renew` at once\n",
        args.name,
        held.bundle.serial()
    ))
}

fn export(config: &Config, args: &ExportArgs) -> Result<String, CertFailure> {
    let names = meant(config, Some(&args.name))?[0];
    let held = folder(config, names).current()?.ok_or_else(|| CertFailure::NoneYet(args.name.clone()))?;
    pair::write(&args.out, &held.bundle)
}

/// For a mirror that is just at it: the last writes of an order, no more.
const AT_WORK: Duration = Duration::from_secs(5);
