//! Pairs of files: what certbot's deploy hook brings, and what other programs want to have.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use certs::store::put;
use certs::{Bundle, DnsName};
use mirror::config::{Config, TlsFiles};
use mirror::tls::Pair;

use super::CertFailure;
use crate::cli::cert::ImportArgs;

/// Puts a pair, once it is seen to be right, where the listener that it is for looks for one.
pub(super) fn import(config: &Config, args: &ImportArgs) -> Result<String, CertFailure> {
    let files = source(args)?;
    let targets = targets(config);
    let pair = Pair::load(&files, SystemTime::now())?;
    let target = choose(&targets, pair.names(), args.listener)?;
    let read = |path: &Path| fs::read(path).map_err(|source| CertFailure::Read { path: path.to_owned(), source });
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    let TlsFiles { certificate: to, key: key_to } = &target.files;
    if is_there_already(&files, &target.files) {
        return Ok(format!("{}: nothing to do, the mirror reads it where it is and takes a new one by itself\n", to.display()));
    }
    let (place, key_place) = (behind_links(to), behind_links(key_to));
    if place == key_place {
        put(&key_place, &[key, certificate].concat())?; // One file: never a key of another certificate.
    } else {
        put(&key_place, &key)?;
        put(&place, &certificate)?;
    }
    Ok(format!("{}: for {}, until {}\n", to.display(), pair.names().join(", "), certs::Moment::from(pair.not_after())))
}

/// Written to its own place, a pair of certbot's would have files for links, and certbot renews it no more.
fn is_there_already(from: &TlsFiles, to: &TlsFiles) -> bool {
    [(&from.certificate, &to.certificate), (&from.key, &to.key)].iter().any(|(from, to)| behind_links(from) == behind_links(to))
}

/// Where a file is, or will be: a link stays one.
fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn source(args: &ImportArgs) -> Result<TlsFiles, CertFailure> {
    if let Some(certificate) = &args.cert {
        let key = args.key.clone().unwrap_or_else(|| certificate.with_file_name("privkey.pem"));
        return Ok(TlsFiles { certificate: certificate.clone(), key });
    }
    let lineage = env::var_os("RENEWED_LINEAGE").filter(|folder| !folder.is_empty()).map(PathBuf::from).ok_or(CertFailure::WhichPair)?;
    Ok(TlsFiles { certificate: lineage.join("fullchain.pem"), key: lineage.join("privkey.pem") })
}

/// Files that a pair may be for.
#[derive(Clone, Debug)]
struct Target {
    /// Of the listeners that look there.
    addresses: Vec<SocketAddr>,
    files: TlsFiles,
    /// For whom: what is in the certificate that is there, or what the configuration says.
    names: Vec<String>,
}

/// Each pair of files once.
fn targets(config: &Config) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for listener in &config.listeners {
        let Some((files, tls)) = listener.tls.as_ref().and_then(|tls| Some((tls.files()?, tls))) else { continue };
        if let Some(known) = targets.iter_mut().find(|target| target.files == *files) {
            known.addresses.push(listener.address);
            continue;
        }
        let said = tls.names().map(|names| names.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>());
        let names = said.unwrap_or_else(|| Pair::names_in(&files.certificate));
        targets.push(Target { addresses: vec![listener.address], files: files.clone(), names });
    }
    targets
}

/// The one that a pair for `names` is for: the one that is named, the only one, the one whose names it has, or some of whose names it has.
fn choose<'a>(targets: &'a [Target], names: &[String], named: Option<SocketAddr>) -> Result<&'a Target, CertFailure> {
    let listed = || targets.iter().map(Target::told).collect::<Vec<_>>().join("; ");
    if let Some(address) = named {
        let found = targets.iter().find(|target| target.addresses.contains(&address));
        return found.ok_or_else(|| CertFailure::NoListener(address, listed()));
    }
    let whole = |target: &&Target| !target.names.is_empty() && target.names.iter().all(|name| covers(names, name));
    let partly = |target: &&Target| target.names.iter().any(|name| covers(names, name));
    let empty = |target: &&Target| target.names.is_empty(); // Nothing is there yet.
    let only = |fits: &dyn Fn(&&'a Target) -> bool| {
        let mut fitting = targets.iter().filter(|target| fits(target));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    match targets {
        [] => Err(CertFailure::Nowhere),
        [one] => Ok(one),
        _ => only(&whole).or_else(|| only(&partly)).or_else(|| only(&empty)).ok_or_else(|| CertFailure::WhichListener(listed())),
    }
}

impl Target {
    fn told(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        if self.names.is_empty() {
            format!("{addresses} has no certificate yet")
        } else {
            format!("{addresses} is for {}", self.names.join(", "))
        }
    }
}

/// Whether clients that ask for `wanted` take a certificate for `names`.
fn covers(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(wanted) || name.parse::<DnsName>().is_ok_and(|name| name.covers(wanted)))
}

/// Writes `fullchain.pem` and `privkey.pem` into `folder`.
pub(super) fn write(folder: &Path, bundle: &Bundle) -> Result<String, CertFailure> {
    fs::create_dir_all(folder).map_err(|source| CertFailure::Write { path: folder.to_owned(), source })?;
    let (chain, key) = (folder.join("fullchain.pem"), folder.join("privkey.pem"));
    put(&key, bundle.key_pem().as_bytes())?;
    put(&chain, bundle.chain_pem().as_bytes())?;
    Ok(format!("{}\n{}\n", chain.display(), key.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16, names: &[&str]) -> Target {
        let file = PathBuf::from(format!("/etc/tls/{port}.pem"));
        Target {
            addresses: vec![([127, 0, 0, 1], port).into()],
            files: TlsFiles { certificate: file.clone(), key: file },
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn chosen(targets: &[Target], names: &[&str], named: Option<u16>) -> Result<u16, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let named = named.map(|port| ([127, 0, 0, 1], port).into());
        choose(targets, &names, named).map(|target| target.addresses[0].port()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_goes_where_its_names_are_served() {
        let two = [target(1, &["mirror.example.com"]), target(2, &["registry.example.com", "10.0.0.7"])];
        assert_eq!(chosen(&two, &["mirror.example.com"], None), Ok(1));
        assert_eq!(chosen(&two, &["10.0.0.7", "REGISTRY.example.com"], None), Ok(2));
        assert_eq!(chosen(&two, &["registry.example.com"], None), Ok(2), "an address was dropped");
        assert_eq!(chosen(&two, &["registry.example.com"], Some(1)), Ok(1), "somebody says so");
        assert_eq!(chosen(&two[..1], &["other.example.com"], None), Ok(1), "there is no other");
        let with_new = [two[0].clone(), target(3, &[])];
        assert_eq!(chosen(&with_new, &["new.example.com"], None), Ok(3), "nothing is there yet");
        assert_eq!(chosen(&with_new, &["*.example.com"], None), Ok(1));
    }

    #[test]
    fn where_it_is_not_clear_nothing_is_guessed() {
        let two = [target(1, &["mirror.example.com"]), target(2, &["registry.example.com"])];
        let said = chosen(&two, &["*.example.com"], None).expect_err("both");
        assert!(said.contains("127.0.0.1:1 is for mirror.example.com; 127.0.0.1:2 is for registry.example.com"), "{said}");
        assert!(chosen(&two, &["other.example.com"], None).is_err());
        let said = chosen(&two, &["mirror.example.com"], Some(9)).expect_err("none");
        assert!(said.contains("127.0.0.1:9"), "{said}");
        assert!(chosen(&[], &["mirror.example.com"], None).is_err());
    }
}
