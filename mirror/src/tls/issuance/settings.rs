//! What the keys under `acme` mean for whoever gets certificates: wishes, bounds, folders, clients; and what is wrong with the files that they name.

use std::error::Error;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use certs::acme::{AccountWish, Courier};
use certs::dns::Resolver;
use certs::solve::route53::{Environment, Route53};
use certs::solve::{DnsHook, DnsProofs, DnsWriter};
use certs::store::Store;
use certs::worker::PRIVATE;
use certs::{Budget, Identifier, Wish};
use url::Url;

use super::AcmeError;
use crate::config::{AcmeConfig, DnsWriterConfig, Issuer, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Names};
use crate::roots::system_roots;

impl AcmeConfig {
    /// Where the private CA is.
    pub fn private_ca(&self) -> PathBuf {
        folder(&self.path).join("ca")
    }

    /// Where certificates and accounts are.
    pub fn store(&self) -> Store {
        Store::new(&folder(&self.path))
    }

    /// What is asked of the CA for `names`.
    pub fn wish(&self, names: &Names) -> Wish {
        if names.issuer == Issuer::Private {
            return Wish {
                directories: vec![PRIVATE.to_owned()],
                how: String::new(),
                identifiers: names.identifiers.clone(),
                key: self.key,
                profile: None,
            };
        }
        let has_address = names.identifiers.iter().any(|identifier| matches!(identifier, Identifier::Ip(_)));
        let is_lets_encrypts = self.directories.iter().any(|url| url.host_str().is_some_and(|host| host.ends_with(".letsencrypt.org")));
        Wish {
            directories: self.directories.iter().map(ToString::to_string).collect(),
            how: self.how(),
            identifiers: names.identifiers.clone(),
            key: self.key,
            // Let's Encrypt issues for addresses under this profile only.
            profile: self.profile.clone().or_else(|| (has_address && is_lets_encrypts).then(|| "shortlived".to_owned())),
        }
    }

    /// Changes with whatever could be the mend of a failure.
    fn how(&self) -> String {
        let Self { ca, directories: _, dns, email, external, http, key: _, path: _, profile: _, secrets: _, ways } = self;
        let mut hasher = DefaultHasher::new(); // Of another release it may be another: then one attempt comes early.
        format!("{ca:?} {dns:?} {email:?} {http} {ways:?}").hash(&mut hasher);
        external.as_ref().map(|external| (external.kid().to_owned(), external.key())).hash(&mut hasher);
        if let Some(DnsWriterConfig::Rfc2136(server)) = dns.as_ref().map(|dns| &dns.writer) {
            server.key.secret().hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    /// Whom accounts are registered for.
    pub fn account(&self) -> AccountWish {
        AccountWish { email: self.email.clone(), external: self.external.clone(), several: self.directories.len() > 1 }
    }

    /// What is asked of the CAs at most: one that is known by roots of its own, and is no public one behind a proxy that reads along, counts nothing.
    pub fn budget(&self) -> Budget {
        let is_public =
            |url: &Url| url.host_str().is_some_and(|host| PUBLIC.iter().any(|one| host == *one || host.ends_with(&format!(".{one}"))));
        if self.ca.is_none() || self.directories.iter().any(is_public) { Budget::PUBLIC } else { Budget::OWN }
    }

    /// The same for one certificate: a CA of one's own machine counts nothing either.
    pub fn budget_for(&self, names: &Names) -> Budget {
        if names.issuer == Issuer::Private { Budget::OWN } else { self.budget() }
    }

    /// How CAs are reached.
    pub fn courier(&self) -> Result<Courier, AcmeError> {
        let Some(file) = &self.ca else { return Ok(Courier::new(system_roots())?) };
        let pem = fs::read_to_string(file).map_err(|source| AcmeError::Ca { file: file.clone(), source })?;
        Ok(Courier::knowing(&pem)?)
    }

    /// What the file under `acme.ca` holds now; `None` where there is none, or it cannot be read.
    pub(crate) fn ca_bundle(&self) -> Option<Vec<u8>> {
        fs::read(self.ca.as_ref()?).ok()
    }

    /// The twin for trials of the CA that is asked first, which counts failures apart: Let's Encrypt's. No other is known.
    pub fn staging(&self) -> Option<&'static str> {
        let is_its = self.directories.first().is_some_and(|first| first.as_str() == LETS_ENCRYPT);
        is_its.then_some(LETS_ENCRYPT_STAGING)
    }

    /// How TXT records are written for dns-01.
    pub fn dns_proofs(&self) -> Result<Option<DnsProofs>, AcmeError> {
        let Some(dns) = &self.dns else { return Ok(None) };
        let writer = match &dns.writer {
            DnsWriterConfig::Hook(hook) => {
                let script = DnsHook::new(hook.style, &hook.hook, hook.cleanup.as_deref(), hook.timeout);
                DnsWriter::Hook(script.without(&self.secrets))
            }
            DnsWriterConfig::Rfc2136(server) => DnsWriter::Rfc2136(server.clone()),
            DnsWriterConfig::Route53(settings) => {
                DnsWriter::Route53(Route53::new(settings.clone(), Environment::of_process(), &system_roots())?)
            }
        };
        Ok(Some(DnsProofs::new(writer, self.resolver(), dns.wait)))
    }

    /// Who is asked where names lead.
    pub fn resolver(&self) -> Resolver {
        Resolver::new(self.dns.as_ref().map_or(&[], |dns| &dns.resolvers))
    }

    /// What is wrong with the files that it names, by key.
    pub fn faults(&self) -> Vec<(&'static str, Box<dyn Error>)> {
        let ca = self.courier().err().map(|error| ("acme.ca", error.into()));
        let script = |key, file: &Path| is_no_program(file).map(|why| (key, why.into()));
        let hook = self.dns.as_ref().and_then(|dns| match &dns.writer {
            DnsWriterConfig::Hook(hook) => Some(hook),
            DnsWriterConfig::Rfc2136(_) | DnsWriterConfig::Route53(_) => None,
        });
        let cleanup = hook.and_then(|hook| script("acme.dns.cleanup", hook.cleanup.as_ref()?));
        let hook = hook.and_then(|hook| script("acme.dns.hook", &hook.hook));
        [ca, hook, cleanup].into_iter().flatten().collect()
    }
}

/// What the `registry` image called a cache file was a file once and is a folder now; where it is a file, we lie beside it.
fn folder(path: &Path) -> PathBuf {
    if path.is_file() { path.with_added_extension("chandler") } else { path.to_owned() }
}

fn is_no_program(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    match fs::metadata(file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => None,
        Ok(_) => Some(format!("{} is no program; chmod +x makes a script one", file.display())),
        Err(error) => Some(format!("cannot find {}: {error}", file.display())),
    }
}

/// Who runs public CAs that speak ACME, as far as people here use them.
const PUBLIC: [&str; 6] = ["buypass.com", "letsencrypt.org", "pki.goog", "sectigo.com", "ssl.com", "zerossl.com"];
