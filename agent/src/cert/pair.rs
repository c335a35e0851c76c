//! Pairs of files: what certbot's deploy hook brings, and what other programs want to have.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use certs::Bundle;
use mirror::config::{Config, TlsFiles};
use mirror::tls::Pair;

use super::CertFailure;
use crate::cli::cert::ImportArgs;

/// Puts a pair, once it is seen to be right, where the first listener with files looks for one.
pub(super) fn import(config: &Config, args: &ImportArgs) -> Result<String, CertFailure> {
    let files = source(args)?;
    let target = config.listeners.iter().find_map(|listener| listener.tls.as_ref()?.files()).ok_or(CertFailure::Nowhere)?;
    let pair = Pair::load(&files, SystemTime::now())?;
    let read = |path: &Path| fs::read(path).map_err(|source| CertFailure::Read { path: path.to_owned(), source });
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    if target.certificate == target.key {
        put(&target.key, &[key, certificate].concat())?; // One file: never a key of another certificate.
    } else {
        put(&target.key, &key)?;
        put(&target.certificate, &certificate)?;
    }
    Ok(format!("{}: for {}, until {}\n", target.certificate.display(), pair.names().join(", "), certs::Moment::from(pair.not_after())))
}

fn source(args: &ImportArgs) -> Result<TlsFiles, CertFailure> {
    if let (Some(certificate), Some(key)) = (&args.cert, &args.key) {
        return Ok(TlsFiles { certificate: certificate.clone(), key: key.clone() });
    }
    let lineage = env::var_os("RENEWED_LINEAGE").filter(|folder| !folder.is_empty()).map(PathBuf::from).ok_or(CertFailure::WhichPair)?;
    Ok(TlsFiles { certificate: lineage.join("fullchain.pem"), key: lineage.join("privkey.pem") })
}

/// Writes `fullchain.pem` and `privkey.pem` into `folder`.
pub(super) fn write(folder: &Path, bundle: &Bundle) -> Result<String, CertFailure> {
    fs::create_dir_all(folder).map_err(|source| CertFailure::Write { path: folder.to_owned(), source })?;
    let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
    put(&key, bundle.key_pem().as_bytes())?;
    put(&chain, bundle.chain_pem().as_bytes())?;
    Ok(format!("{}\n{}\n", chain.display(), key.display()))
}

/// Whole, or as before; for the owner of its folder alone from its first byte on.
fn put(path: &Path, bytes: &[u8]) -> Result<(), CertFailure> {
    let failed = |source: io::Error| CertFailure::Write { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside); // Of a run that was killed.
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        give_to_the_owner_of(path.parent(), &file)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(failed)
}

/// certbot runs as root, and the mirror as somebody else, to whom the folder belongs.
fn give_to_the_owner_of(folder: Option<&Path>, file: &File) -> io::Result<()> {
    let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let owner = fs::metadata(folder)?;
    if rustix::process::geteuid().is_root() { fchown(file, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}
