//! What may be written behind `chandler ca`.

use std::path::PathBuf;

use certs::KeyKind;
use certs::ca::{CaKey, Cause, Founding, Host, Permit, Purpose, TokenId, Validity};
use clap::{Args, Subcommand, ValueEnum};
use url::Url;

use super::ConfigArgs;
use super::machine::{self, EngineChoice};
use crate::engines::{Engine, MirrorUrl};
use crate::trust::CaChoice;

#[derive(Args, Debug)]
pub(crate) struct CaArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The folder of certificates, with the CA in its `ca` [default: the configuration's acme.path, /var/lib/chandler/certs where it says none]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Make a CA: a root and an intermediate that may issue for a few names
    Init(InitArgs),
    /// Take a CA that machines trust already, or what the CA above signed
    Import(ImportArgs),
    /// Make a key and a certificate
    Issue(IssueArgs),
    /// Sign a request: its key and its names, and nothing else in it
    Sign(SignArgs),
    /// Make the CA's next intermediate, or its next root
    Rotate(RotateArgs),
    /// Write the files that make machines trust the CA
    Export(ExportArgs),
    /// Take a certificate back
    Revoke(RevokeArgs),
    /// Make a token with which a machine gets a client's certificate from the mirror, once
    Token(TokenArgs),
    /// On a machine: make a key, and get a client's certificate for it with a token
    Request(RequestArgs),
    /// On a machine: have the whole system trust a mirror's CA, as curl, git and languages need it; `chandler undo` takes it out
    Trust(TrustArgs),
}

impl Task {
    /// It is for a machine that has no CA.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Trust(_))
    }

    /// What it is where it changes a machine's files, and no CA's.
    pub(crate) fn of_machine(&self) -> Option<machine::Task> {
        if let Self::Trust(args) = self { Some(machine::Task::Apply(args.into())) } else { None }
    }
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// What it may issue for (repeatable): a name with all below it, or a range of addresses
    #[arg(long, value_name = "NAME|CIDR,..", value_delimiter = ',', required = true)]
    permit: Vec<Permit>,
    #[command(flatten)]
    style: StyleArgs,
    /// Make no root, but a request for the CA above; `ca import` takes what that one signs
    #[arg(long)]
    pub(crate) request: bool,
    /// Where the request goes; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-", requires = "request")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct StyleArgs {
    /// The organisation in the CA's certificates
    #[arg(long, value_name = "TEXT", value_parser = Founding::check_organization)]
    organization: Option<String>,
    /// What the CA's certificates are called
    #[arg(long, value_name = "TEXT", default_value = "chandler", value_parser = Founding::check_name)]
    name: String,
    /// The kind of the CA's keys
    #[arg(long, value_name = "KIND", default_value = "p256")]
    key_type: CaKeyType,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The CA's certificate and those above it (PEM, in one file or several)
    #[arg(value_name = "FILE", required = true)]
    pub(crate) certificates: Vec<PathBuf>,
    /// The CA's own key (PEM); without it the files answer the request of `ca init --request`
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Issue by an intermediate that may issue for this only (repeatable), and do not keep the key
    #[arg(long, value_name = "NAME|CIDR,..", value_delimiter = ',', requires = "key")]
    permit: Vec<Permit>,
    #[command(flatten)]
    style: StyleArgs,
}

#[derive(Args, Debug)]
pub(crate) struct LeafArgs {
    /// For a client, not a server
    #[arg(long)]
    client: bool,
    /// For so long
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) days: u64,
}

#[derive(Args, Debug)]
pub(crate) struct IssueArgs {
    /// A host name, `*.` and a name, or an address
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<certs::Identifier>,
    #[command(flatten)]
    pub(crate) leaf: LeafArgs,
    /// The kind of the key
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub(crate) key_type: LeafKeyType,
    /// The folder for fullchain.pem and privkey.pem
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct SignArgs {
    /// The request (PEM or DER); `-` is standard input
    #[arg(value_name = "CSR")]
    pub(crate) request: PathBuf,
    #[command(flatten)]
    pub(crate) leaf: LeafArgs,
    /// Where the certificate and the CAs above it go; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// Make the next root, to be trusted beside the old one before it is used
    #[arg(long, conflicts_with = "root_key")]
    pub(crate) root: bool,
    /// What may be issued for from now on (repeatable) [default: as before]
    #[arg(long, value_name = "NAME|CIDR,..", value_delimiter = ',', conflicts_with = "root")]
    pub(crate) permit: Vec<Permit>,
    /// The root's key, where it is kept elsewhere (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
    /// Below a CA elsewhere: where the request goes; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The server, with its port, as references to images name it
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) hosts: Vec<Host>,
    /// The folder to write to; files lie in it as they do on machines
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The certificate (PEM), or its serial number
    #[arg(value_name = "FILE|SERIAL")]
    pub(crate) which: PathBuf,
    /// Why
    #[arg(long, value_name = "WHY", default_value = "unspecified")]
    pub(crate) reason: CauseName,
}

#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// For whom the certificate will be: host names or addresses
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "cancel"])]
    pub(crate) names: Vec<certs::Identifier>,
    /// For so long the token may be used: 1s to 7days
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) valid: Validity,
    /// For so long the certificate will be
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) days: u64,
    /// Where the token goes; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// Show the tokens that are out, and what they were used for
    #[arg(long, conflicts_with_all = ["names", "cancel"])]
    pub(crate) list: bool,
    /// Take this token back
    #[arg(long, value_name = "ID", conflicts_with = "names")]
    pub(crate) cancel: Option<TokenId>,
}

#[derive(Args, Debug)]
pub(crate) struct RequestArgs {
    /// The mirror's address, with `https://` before it
    #[arg(long, value_name = "URL", value_parser = secure_url)]
    pub(crate) mirror: Url,
    /// The file with the token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token: PathBuf,
    /// The folder for client.cert, client.key and ca.crt, such as /etc/docker/certs.d/mirror.internal:5000
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Know the mirror by these CAs (PEM), where its own certificate is by another CA than the token; no ca.crt is written
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The kind of the key
    #[arg(long, value_name = "KIND", default_value = "p256")]
    pub(crate) key_type: LeafKeyType,
}

#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// The CA: a PEM file, or its SHA-256, by which it is fetched from the mirror [default: what /etc/chandler/agent.yaml says]
    #[arg(long, value_name = "FILE|sha256:HEX")]
    ca: Option<CaChoice>,
    /// The mirror that shows its CA, for a fingerprint
    #[arg(long, value_name = "URL")]
    mirror: Vec<MirrorUrl>,
    /// A tree that is no running machine: an image that is being built
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Print what would be done, and end with 3 if that is anything
    #[arg(long)]
    check: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl From<&TrustArgs> for machine::ApplyArgs {
    /// An apply for the system's store alone.
    fn from(args: &TrustArgs) -> Self {
        let TrustArgs { ca, mirror, root, json, check, yes } = args;
        let engine = Some(EngineChoice::Only(vec![Engine::System]));
        let machine = machine::MachineArgs { noun: machine::Noun::Engines, config: None, engine, root: root.clone(), json: *json };
        let wish = machine::WishArgs { mirror: mirror.clone(), ca: ca.clone(), trust_alone: true, ..machine::WishArgs::default() };
        Self { plan: machine::PlanArgs { machine, wish, check: *check }, no_reload: false, require_mirror: false, yes: *yes }
    }
}

/// The token is a secret.
fn secure_url(text: &str) -> Result<Url, String> {
    let mend = "write https:// and the mirror's name and port, such as https://mirror.internal:5000";
    match text.parse::<Url>() {
        Ok(url) if url.scheme() == "https" && url.has_host() && url.password().is_none() => Ok(url),
        _ => Err(mend.to_owned()),
    }
}

/// Kinds of keys of a CA.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CaKeyType {
    P256,
    Rsa,
}

/// Kinds of keys of a leaf.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LeafKeyType {
    P256,
    P384,
    Rsa,
}

/// Why a certificate is taken back.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CauseName {
    Cessation,
    KeyCompromise,
    Superseded,
    Unspecified,
}

impl StyleArgs {
    fn founding(&self, permit: &[Permit]) -> Founding {
        let key = match self.key_type {
            CaKeyType::P256 => CaKey::P256,
            CaKeyType::Rsa => CaKey::Rsa,
        };
        let permits = permit.iter().cloned().collect();
        Founding { key, name: self.name.clone(), organization: self.organization.clone(), permits }
    }
}

impl InitArgs {
    pub(crate) fn founding(&self) -> Founding {
        self.style.founding(&self.permit)
    }
}

impl ImportArgs {
    pub(crate) fn founding(&self) -> Founding {
        self.style.founding(&self.permit)
    }
}

impl LeafArgs {
    pub(crate) fn purpose(&self) -> Purpose {
        if self.client { Purpose::Client } else { Purpose::Server }
    }
}

impl From<LeafKeyType> for KeyKind {
    fn from(kind: LeafKeyType) -> Self {
        match kind {
            LeafKeyType::P256 => Self::P256,
            LeafKeyType::P384 => Self::P384,
            LeafKeyType::Rsa => Self::Rsa2048,
        }
    }
}

impl From<CauseName> for Cause {
    fn from(name: CauseName) -> Self {
        match name {
            CauseName::Cessation => Self::CessationOfOperation,
            CauseName::KeyCompromise => Self::KeyCompromise,
            CauseName::Superseded => Self::Superseded,
            CauseName::Unspecified => Self::Unspecified,
        }
    }
}
