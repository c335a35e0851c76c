//! What may be written behind `chandler cert`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use certs::solve::Way;
use certs::store::CertName;
use clap::{Args, Subcommand};
use mirror::config::{AcmeConfig, ListenerConfig};
use url::Url;

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
    Check(CheckArgs),
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
pub(crate) struct CheckArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
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
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) force: bool,
    /// Only try: prove every name at the CA's twin for trials, and change nothing of what is served
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// With --dry-run: try this way alone
    #[arg(long, value_name = "http|alpn|dns[:SCRIPT]|dns-persist", requires = "dry_run")]
    pub(crate) challenge: Option<Challenge>,
    /// With --dry-run: have the whole order at this CA [default: Let's Encrypt's twin; of another CA the names alone, at itself]
    #[arg(long, value_name = "URL", requires = "dry_run", value_parser = AcmeConfig::directory)]
    pub(crate) directory: Option<Url>,
}

/// A way to prove names, as people write it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Challenge {
    /// For dns-01, if it is another than the configuration's.
    pub(crate) script: Option<PathBuf>,
    pub(crate) way: Way,
}

impl FromStr for Challenge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, script) = text.split_once(':').map_or((text, None), |(word, script)| (word, Some(PathBuf::from(script))));
        let way = match word {
            "alpn" | "tls-alpn-01" => Way::TlsAlpn,
            "dns" | "dns-01" => Way::Dns,
            "dns-persist" | "dns-persist-01" => Way::DnsPersist,
            "http" | "http-01" => Way::Http,
            _ => return Err("not a challenge: write http, alpn, dns, dns:SCRIPT or dns-persist".into()),
        };
        match &script {
            Some(script) if way != Way::Dns || script.as_os_str().is_empty() => {
                Err("a script is named for dns alone: dns:/path/to/script".into())
            }
            _ => Ok(Self { script, way }),
        }
    }
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
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM) [default: privkey.pem beside it]
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// For the listener with this address [default: the one with files, or whose names these are]
    #[arg(long, value_name = "ADDR", value_parser = ListenerConfig::parse_address)]
    pub(crate) listener: Option<SocketAddr>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_written_short_or_as_the_protocol_calls_them() {
        for (text, way) in [
            ("http", Way::Http),
            ("http-01", Way::Http),
            ("alpn", Way::TlsAlpn),
            ("tls-alpn-01", Way::TlsAlpn),
            ("dns", Way::Dns),
            ("dns-persist", Way::DnsPersist),
        ] {
            assert_eq!(text.parse(), Ok(Challenge { script: None, way }), "{text}");
        }
        assert_eq!("dns:/etc/hook".parse(), Ok(Challenge { script: Some("/etc/hook".into()), way: Way::Dns }));
        for text in ["", "tls", "http:/etc/hook", "dns:", "HTTP"] {
            assert!(text.parse::<Challenge>().is_err(), "{text}");
        }
    }
}
