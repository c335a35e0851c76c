//! `chandler ca`: reads what the arguments name, has the CA do it, and says what came of it.
//!
//! Data is on standard output: requests, certificates, and what was made, a line each with its SHA-256. Notes say what to do next. `token` makes tokens; `request` is what a machine does with one.

mod request;
mod token;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::ca::{
    Authority, AuthorityError, Ca, CaError, Issued, KeyError, Refusal, Request, Rotated, SecretKey, SerialError, TokenError, Wanted,
    export, output,
};
use certs::store::StoreError;
use certs::{Clock as _, Moment, SystemClock};

use crate::cli::ca::{ExportArgs, ImportArgs, InitArgs, IssueArgs, RevokeArgs, RotateArgs, SignArgs, Task};
use crate::report::Said;

/// Why `chandler ca` failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaFailure {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    Request(#[from] request::RequestFailure),
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} holds no token", path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: TokenError,
    },
    #[error("--token names a file, and the token itself was given")]
    TokenItself,
    #[error("{} is neither a file nor a serial number", path.display())]
    Which {
        path: PathBuf,
        #[source]
        source: SerialError,
    },
}

impl CaFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Ca(error @ CaError::Missing(_)) => {
                error.mend().map(|mend| format!("{mend}; --config FILE or --state DIR names another folder"))
            }
            _ => self.fixed_hint().map(str::to_owned),
        }
    }

    fn fixed_hint(&self) -> Option<&'static str> {
        let error = match self {
            Self::Ca(error) => error,
            Self::Read { .. } => return None,
            Self::Request(failure) => return failure.hint(),
            Self::Token { .. } => return Some("`chandler ca token NAME -o FILE` beside the mirror makes one"),
            Self::TokenItself => {
                return Some(
                    "put the token into a file that nobody else reads, or give it on standard input: --token -; it is not used up",
                );
            }
            Self::Which { .. } => return Some("`openssl x509 -noout -serial -in FILE` prints a certificate's serial number"),
        };
        Some(match error {
            CaError::Authority(AuthorityError::Key) => "give the CA's own certificate, beside those above it",
            CaError::Exists(_) => "`chandler ca rotate` makes the next one; --config FILE or --state DIR names another folder",
            CaError::IssuerRevoked => "`chandler ca rotate` makes the next one",
            CaError::Key(KeyError::Encrypted) => "`openssl pkey -in FILE -out PLAIN` takes the passphrase off",
            CaError::KeyAway { .. } => "put the key back for as long as it takes, or name it: --root-key FILE",
            CaError::NoToken(_) => "`chandler ca token --list` shows those that are out",
            CaError::NoRoot => "have the next root made where the old one was; `chandler ca rotate` makes a request for it to sign",
            CaError::NotSigned | CaError::NothingAsked => {
                "`chandler ca init --request` makes a request, `chandler ca import FILE` takes the answer"
            }
            CaError::Refused(Refusal::Ending(_)) => {
                "`chandler ca rotate` makes the next intermediate, `chandler ca rotate --root` the next root"
            }
            CaError::Refused(Refusal::Names { .. }) => {
                "`chandler ca rotate --permit NAME,..` makes an intermediate that may issue for all names given there"
            }
            CaError::Unknown(_) | CaError::Foreign => "the numbers of this CA's certificates are in issued.jsonl in its folder",
            _ => return None,
        })
    }
}

impl From<StoreError> for CaFailure {
    fn from(error: StoreError) -> Self {
        Self::Ca(error.into())
    }
}

/// Does it, with the CA in `folder`.
pub(crate) fn run(task: &Task, folder: &Path) -> Result<Said, CaFailure> {
    let now = SystemClock.now();
    match task {
        Task::Init(args) => init(folder, args, now),
        Task::Import(args) => import(folder, args, now),
        Task::Issue(args) => issue(folder, args, now),
        Task::Sign(args) => sign(folder, args, now),
        Task::Rotate(args) => rotate(folder, args, now),
        Task::Export(args) => export_files(folder, args, now),
        Task::Revoke(args) => revoke(folder, args, now),
        Task::Token(args) => token::token(folder, args, now),
        Task::Request(args) => request::request(args),
        Task::Trust(_) => Ok(Said::default()), // The machine's: see `Task::of_machine`.
    }
}

/// A mirror that gives out certificates works on it for moments only.
fn open(folder: &Path) -> Result<Ca, CaError> {
    Ca::open_within(folder, PATIENCE)
}

fn init(folder: &Path, args: &InitArgs, now: Moment) -> Result<Said, CaFailure> {
    if args.request {
        let (_, request) = Ca::ask(folder, &args.founding())?;
        return asked(&args.output, request);
    }
    let ca = Ca::found(folder, &args.founding(), now)?;
    let mut said = Said { data: shown(&ca.issuer()?), notes: Vec::new() };
    said.notes.push(format!("the CA is in {}: keep a copy where nobody else reads it", ca.folder().display()));
    if let Some(key) = ca.root_key() {
        said.notes.push(format!(
            "the root's key is {}: only `chandler ca rotate` needs it, and no name is closed to a thief of it; keep it elsewhere",
            key.display()
        ));
    }
    said.notes.push("`chandler ca export HOST:PORT --out DIR` writes what machines need to trust it; `chandler ca issue NAME -o DIR` makes a server's pair".into());
    Ok(said)
}

fn asked(output: &Path, request: String) -> Result<Said, CaFailure> {
    let mut said = put(output, request)?;
    said.notes.push(
        "have it signed as a CA with path length 0, and name constraints if the CA above can; then `chandler ca import FILE` with the certificate and all above it, up to the root".into(),
    );
    Ok(said)
}

fn import(folder: &Path, args: &ImportArgs, now: Moment) -> Result<Said, CaFailure> {
    let certificates = args.certificates.iter().map(|path| read_text(path)).collect::<Result<Vec<_>, _>>()?.join("\n");
    let ca = if let Some(path) = &args.key {
        Ca::adopt(folder, &certificates, &key(path)?, &args.founding(), now)?
    } else {
        let mut ca = open(folder)?;
        ca.answer(&certificates, now)?;
        ca
    };
    let chain = ca.issuer()?;
    let mut notes = Vec::new();
    if chain.iter().all(|one| one.constraints().is_none()) {
        notes.push("no certificate of this CA limits the names that it may issue for: whoever gets its key can issue for all".to_owned());
    }
    if let Some(top) = chain.last().filter(|top| !top.is_self_signed()) {
        notes.push(format!(
            "the chain ends at {}, which is no root: machines must trust that one itself, and OpenSSL does so only when told",
            top.name()
        ));
    }
    Ok(Said { data: shown(&chain), notes })
}

fn issue(folder: &Path, args: &IssueArgs, now: Moment) -> Result<Said, CaFailure> {
    let wanted = Wanted { identifiers: args.names.iter().cloned().collect(), life: days(args.leaf.days), purpose: args.leaf.purpose() };
    let ca = open(folder)?;
    let issued = ca.issue(&wanted, args.key_type.into(), now)?;
    let [chain, key] = output::write_pair(&args.output, &issued)?;
    let data = format!("{}\n{}\n", chain.display(), key.display());
    Ok(Said { data, notes: told(&ca, &issued, &wanted, now)? })
}

fn sign(folder: &Path, args: &SignArgs, now: Moment) -> Result<Said, CaFailure> {
    let request = Request::parse(&read(&args.request)?).map_err(CaError::from)?;
    let wanted = Wanted { identifiers: request.identifiers.clone(), life: days(args.leaf.days), purpose: args.leaf.purpose() };
    let ca = open(folder)?;
    let issued = ca.sign(&request, &wanted, now)?;
    let mut notes = told(&ca, &issued, &wanted, now)?;
    if !request.left_out.is_empty() {
        notes.push(format!("the request also asks for this, which is left out: {}", request.left_out.join(", ")));
    }
    let mut said = put(&args.output, issued.chain)?;
    said.notes.extend(notes);
    Ok(said)
}

/// What is not to be seen from the files.
fn told(ca: &Ca, issued: &Issued, wanted: &Wanted, now: Moment) -> Result<Vec<String>, CaFailure> {
    let content = &issued.content;
    let names: Vec<String> = wanted.identifiers.iter().map(ToString::to_string).collect();
    let mut notes = vec![format!("serial {}, for {}, until {}", content.serial, names.join(", "), content.not_after)];
    if content.not_after < now + wanted.life {
        notes.push("it ends earlier than asked, before the CA's own certificate does".into());
    }
    let issuer = ca.issuer()?.swap_remove(0);
    if now.since(issuer.not_before()) > issuer.not_after().since(now) {
        notes.push(format!("the CA's own certificate ends at {}: `chandler ca rotate` makes the next one", issuer.not_after()));
    }
    Ok(notes)
}

fn rotate(folder: &Path, args: &RotateArgs, now: Moment) -> Result<Said, CaFailure> {
    let mut ca = open(folder)?;
    if args.root {
        ca.rotate_root(now)?;
        let next = "nothing is issued by the new root yet: put what `chandler ca export` now writes on all machines, then run `chandler ca rotate`";
        return Ok(Said { data: shown(&ca.anchors(now)?), notes: vec![next.into()] });
    }
    let root_key = args.root_key.as_deref().map(key).transpose()?;
    match ca.rotate(Some(args.permit.iter().cloned().collect()), root_key.as_ref(), now)? {
        Rotated::Intermediate => {
            let next = "what was issued before stays valid until it ends; what is issued from now on is by the new one";
            Ok(Said { data: shown(&ca.issuer()?), notes: vec![next.into()] })
        }
        Rotated::Request(request) => asked(&args.output, request),
    }
}

fn export_files(folder: &Path, args: &ExportArgs, now: Moment) -> Result<Said, CaFailure> {
    let anchors = open(folder)?.anchors(now)?;
    let files = export::files(&anchors, &args.hosts);
    output::write_files(&args.out, &files)?;
    let mut data = String::new();
    for file in &files {
        let _ = writeln!(data, "{}", args.out.join(&file.path).display());
    }
    data += &shown(&anchors);
    let mut notes = vec![format!(
        "compare the SHA-256 on the machine: `openssl x509 -noout -fingerprint -sha256 -in FILE`; after copying, `update-ca-certificates` (Debian) or `update-ca-trust` (RHEL); all of it in one file is {}",
        args.out.join("ca.pem").display()
    )];
    if args.hosts.is_empty() {
        notes.push("no HOST:PORT was named, so there are no files for Docker, containerd and Podman".into());
    }
    Ok(Said { data, notes })
}

fn revoke(folder: &Path, args: &RevokeArgs, now: Moment) -> Result<Said, CaFailure> {
    let cause = args.reason.into();
    let withdrawn = if args.which.exists() {
        let text = read_text(&args.which)?;
        open(folder)?.revoke_certificate(&text, cause, now)?
    } else {
        let serial = args.which.to_string_lossy().parse();
        let serial = serial.map_err(|source| CaFailure::Which { path: args.which.clone(), source })?;
        open(folder)?.revoke_serial(&serial, cause, now)?
    };
    let list = open(folder)?.signed_list();
    let done = if withdrawn.is_new { "is taken back" } else { "was taken back before" };
    Ok(Said { data: format!("{} {done}\n", withdrawn.serial), notes: vec![format!("for other programs the list is {}", list.display())] })
}

/// A line each: SHA-256, end, name.
fn shown(authorities: &[Authority]) -> String {
    let mut text = String::new();
    for one in authorities {
        let _ = writeln!(text, "sha256:{}  until {}  {}", one.fingerprint(), one.not_after(), one.name());
    }
    text
}

fn put(output: &Path, text: String) -> Result<Said, CaFailure> {
    if output.as_os_str() == "-" {
        return Ok(Said { data: text, notes: Vec::new() });
    }
    output::write_text(output, &text)?;
    Ok(Said { data: format!("{}\n", output.display()), notes: Vec::new() })
}

fn key(path: &Path) -> Result<SecretKey, CaFailure> {
    Ok(SecretKey::parse(&read_text(path)?).map_err(CaError::from)?)
}

fn read(path: &Path) -> Result<Vec<u8>, CaFailure> {
    let failed = |source| CaFailure::Read { path: path.to_owned(), source };
    if path.as_os_str() != "-" {
        return fs::read(path).map_err(failed);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<String, CaFailure> {
    let failed = |source| CaFailure::Read { path: path.to_owned(), source };
    String::from_utf8(read(path)?).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(24 * 3600))
}

/// For whoever else works on the CA.
const PATIENCE: Duration = Duration::from_secs(5);
