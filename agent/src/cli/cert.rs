//! What may be written behind `chandler cert`.

use std::path::PathBuf;

use certs::store::CertName;
use clap::{Args, Subcommand};

use super::ConfigArgs;
use super::ca::CauseName;

#[derive(Args, Debug)]
pub(crate) struct CertArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Show the mirror's certificates, when they end, and what is planned
    #[command(visible_alias = "list")]
    Status(StatusArgs),
    /// Look whether certificates can be got: names, ports, the CA, the clock, scripts
    Check,
    /// Get the certificates that are missing or due, now
    #[command(visible_alias = "obtain")]
    Renew(RenewArgs),
    /// Go back to the certificate before the one in use
    Rollback(RollbackArgs),
    /// Put a pair where the configuration looks for one: a deploy hook for certbot
    Import(ImportArgs),
    /// Write a certificate's chain and key
    Export(ExportArgs),
    /// Have the CA take a certificate back; the mirror gets another at once
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Only this one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<CertName>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    /// Only this one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<CertName>,
    /// Also if it is not due yet
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: CertName,
    /// To this one [default: the one before]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) generation: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The chain (PEM) [default: fullchain.pem where certbot says `RENEWED_LINEAGE`]
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM) [default: privkey.pem beside it]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: CertName,
    /// The folder for fullchain.pem and privkey.pem
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: CertName,
    /// Why
    #[arg(long, value_name = "WHY", default_value = "unspecified")]
    pub(crate) reason: CauseName,
}
