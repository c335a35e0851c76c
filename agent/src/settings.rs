//! `/etc/chandler/agent.yaml`: what the agent is told once for all its commands. A flag beats it.
//!
//! ```yaml
//! mirrors: [https://mirror.example]  # or
//! local: true                        # the one on this machine
//! ca: sha256:…                       # or a file
//! client: {certificate: /etc/chandler/client.cert, key: /etc/chandler/client.key}
//! engines: [docker, podman]          # default: those that are found
//! registries: [ghcr.io]              # beside Docker Hub
//! others: prepend                    # or replace
//! system_trust: true                 # the CA also goes into the system's store
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mirror::config::TlsFiles;
use mirror::tls::{Pair, PairError};
use serde::Deserialize;

use crate::cli::machine::{EngineChoice, OthersWord, WishArgs};
use crate::engines::ClientPair;
use crate::engines::{MirrorUrl, Others, Wish};
use crate::host::{HostError, Root};
use crate::install::{self, InstallError};
use crate::local::LocalMirror;
use crate::trust::{self, CaChoice, TrustError};

/// The file's keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    mirrors: Vec<String>,
    ca: Option<String>,
    client: Option<ClientFiles>,
    engines: Vec<String>,
    local: bool,
    registries: Vec<String>,
    others: Option<String>,
    system_trust: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// Why it is not known what is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the client certificate cannot be used")]
    Client(#[from] PairError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("what the mirror on this machine goes by cannot be read")]
    Local(#[source] Box<InstallError>),
    #[error("no CA is named")]
    NoCa,
    #[error("there is no mirror on this machine: it has no {MIRROR_PLACE}")]
    NoLocal,
    #[error("no mirror is named")]
    NoMirror,
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{0}` is no registry: write a host, and its port where it has one, such as ghcr.io or registry.corp:5000")]
    Registry(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(
        "by {MIRROR_PLACE} the mirror on this machine is none for its engines: it has no listener over plain HTTP on loopback, or no Docker Hub"
    )]
    Unfit,
    #[error("{}: {key}: {what}", path.display())]
    Value { path: PathBuf, key: &'static str, what: String },
    #[error("{} is not understood", path.display())]
    Wrong {
        path: PathBuf,
        #[source]
        source: serde_yaml::Error,
    },
}

impl SettingsError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoLocal => Some(
                "`chandler install mirror --local --mirror https://mirror.example:443` makes one between this machine's engines and the site's mirror",
            ),
            Self::Unfit => Some("`listeners: 127.0.0.1:5000` beside those that there are"),
            Self::NoCa => Some(
                "--ca FILE, or --mirror https://mirror.example:443 --ca sha256:… with the fingerprint that `chandler ca export` prints beside the mirror",
            ),
            Self::NoMirror => {
                Some("--mirror https://mirror.example:443, or `mirrors: [https://mirror.example:443]` in /etc/chandler/agent.yaml")
            }
            Self::Wrong { .. } => Some("it knows mirrors, local, ca, client, engines, registries, others and system_trust"),
            Self::Trust(error) => error.hint(),
            Self::Host(error) => error.hint(),
            _ => None,
        }
    }

    /// It is a matter of what was written, and nothing was tried.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Host(_) => false,
            Self::Trust(error) => error.is_usage(),
            Self::Client(_)
            | Self::Local(_)
            | Self::NoCa
            | Self::NoLocal
            | Self::NoMirror
            | Self::Read { .. }
            | Self::Registry(_)
            | Self::Unfit
            | Self::Value { .. }
            | Self::Wrong { .. } => true,
        }
    }
}

impl Settings {
    /// From the file that is named, or from its place below `root`, where it may be missing.
    pub(crate) fn read(named: Option<&Path>, root: &Root) -> Result<Read, SettingsError> {
        let place = Path::new(PLACE);
        let (path, text) = match named {
            Some(path) => (path, text(path)?),
            None => (place, root.read(place)?.map(|found| utf8(place, found.bytes)).transpose()?.unwrap_or_default()),
        };
        let settings = if text.trim().is_empty() { Self::default() } else { parse(&text, path)? };
        // What a tree's own file names is in that tree.
        let root = if named.is_none() { root.clone() } else { Root::machine() };
        Ok(Read { path: path.to_owned(), local: None, root, settings })
    }
}

fn parse(text: &str, path: &Path) -> Result<Settings, SettingsError> {
    let read: Option<Settings> = serde_yaml::from_str(text).map_err(|source| SettingsError::Wrong { path: path.to_owned(), source })?;
    Ok(read.unwrap_or_default()) // Comments alone.
}

/// What a file says, and which.
#[derive(Debug)]
pub(crate) struct Read {
    path: PathBuf,
    /// The mirror on this machine, where that is meant.
    local: Option<LocalMirror>,
    /// Where the files are that it names.
    root: Root,
    settings: Settings,
}

impl Read {
    /// The engines that are meant: a flag's, the file's, or all that are found.
    pub(crate) fn engines(&self, flag: Option<&EngineChoice>) -> Result<EngineChoice, SettingsError> {
        match flag {
            Some(choice) => Ok(choice.clone()),
            None if self.settings.engines.is_empty() => Ok(EngineChoice::Found),
            None => self.settings.engines.join(",").parse().map_err(|what| self.wrong("engines", what)),
        }
    }

    /// The mirror on the machine, if that is the one that is meant: by its own configuration, in the same tree.
    pub(crate) fn find_local(&mut self, flags: &WishArgs, root: &Root) -> Result<Option<&LocalMirror>, SettingsError> {
        let is_said = self.settings.local && flags.mirror.is_empty();
        if is_said && !flags.local && !self.settings.mirrors.is_empty() {
            return Err(self.wrong("local", "it is said beside `mirrors`: one of them is meant".to_owned()));
        }
        if flags.trust_alone || !(flags.local || is_said) {
            return Ok(None);
        }
        let config = install::configuration(root).map_err(|error| SettingsError::Local(Box::new(error)))?;
        self.local = Some(LocalMirror::of(&config.ok_or(SettingsError::NoLocal)?).ok_or(SettingsError::Unfit)?);
        Ok(self.local.as_ref())
    }

    /// What is wanted, with every file and fingerprint resolved. A CA by its fingerprint that is not among those that are `known` is asked of the mirrors.
    pub(crate) fn wish(&self, flags: &WishArgs, known: &[&str]) -> Result<Wish, SettingsError> {
        let wish = self.wish_without_ca(flags)?;
        // One on this machine shows no CA, but the site's behind it does.
        let site = self.local.as_ref().and_then(|local| local.site.as_ref());
        let shown_by = site.map_or(&wish.mirrors, |site| &site.mirrors);
        let anchors = self.ca(flags)?.map(|choice| trust::anchors(&choice, shown_by, known)).transpose()?;
        if flags.trust_alone && anchors.is_none() { Err(SettingsError::NoCa) } else { Ok(Wish { anchors, ..wish }) }
    }

    /// Whether the system is to trust the CA, too.
    pub(crate) fn system_trust(&self, flags: &WishArgs) -> bool {
        flags.system_trust || self.settings.system_trust
    }

    /// The same, by the system's roots alone.
    pub(crate) fn wish_without_ca(&self, flags: &WishArgs) -> Result<Wish, SettingsError> {
        let mirrors = self.mirrors(flags)?;
        // The file's pair is for the file's mirrors, and shown to nobody else.
        let said = self.settings.client.as_ref().filter(|_| flags.mirror.is_empty() && self.local.is_none());
        let client = match (&flags.client_cert, &flags.client_key, said) {
            (Some(chain), Some(key), _) => Some(pair(&Root::machine(), chain, key)?),
            (_, _, Some(files)) => Some(pair(&self.root, &files.certificate, &files.key)?),
            _ => None,
        };
        Ok(Wish { mirrors, anchors: None, client, registries: self.registries(flags)?, others: self.others(flags)? })
    }

    fn mirrors(&self, flags: &WishArgs) -> Result<Vec<MirrorUrl>, SettingsError> {
        if let Some(local) = &self.local {
            return Ok(vec![local.url.clone()]);
        }
        let mut mirrors = flags.mirror.clone();
        if mirrors.is_empty() {
            let parsed = self.settings.mirrors.iter().map(|text| text.parse::<MirrorUrl>());
            mirrors = parsed.collect::<Result<_, _>>().map_err(|error| self.wrong("mirrors", error.to_string()))?;
        }
        let mut known = std::collections::HashSet::new();
        mirrors.retain(|mirror| known.insert(mirror.clone()));
        if mirrors.is_empty() && !flags.trust_alone { Err(SettingsError::NoMirror) } else { Ok(mirrors) }
    }

    fn ca(&self, flags: &WishArgs) -> Result<Option<CaChoice>, SettingsError> {
        // The file's CA is that of the file's mirrors.
        let said = self.settings.ca.as_ref().filter(|_| flags.mirror.is_empty());
        match (&flags.ca, said) {
            (Some(choice), _) => Ok(Some(choice.clone())),
            (None, Some(said)) => match said.parse().map_err(|what| self.wrong("ca", what))? {
                CaChoice::File(path) => Ok(Some(CaChoice::File(self.on_disk(&path)?))),
                pinned @ CaChoice::Pinned(_) => Ok(Some(pinned)),
            },
            (None, None) => Ok(None),
        }
    }

    fn registries(&self, flags: &WishArgs) -> Result<Vec<String>, SettingsError> {
        let said = if flags.registry.is_empty() { &self.settings.registries } else { &flags.registry };
        let of_local = self.local.as_ref().map(|local| &local.registries).filter(|_| said.is_empty());
        registries(of_local.unwrap_or(said))
    }

    fn others(&self, flags: &WishArgs) -> Result<Others, SettingsError> {
        if let Some(word) = flags.mirrors {
            return Ok(word.into());
        }
        match self.settings.others.as_deref() {
            None | Some("prepend") => Ok(OthersWord::Prepend.into()),
            Some("replace") => Ok(OthersWord::Replace.into()),
            Some(other) => Err(self.wrong("others", format!("`{other}` is neither prepend nor replace"))),
        }
    }

    /// A file that it names.
    fn on_disk(&self, path: &Path) -> Result<PathBuf, SettingsError> {
        Ok(self.root.on_disk(&self.root.resolve(path)?.real))
    }

    fn wrong(&self, key: &'static str, what: String) -> SettingsError {
        SettingsError::Value { path: self.path.clone(), key, what }
    }
}

/// Each once, without the Hub, which always is.
pub(crate) fn registries(said: &[String]) -> Result<Vec<String>, SettingsError> {
    let mut named = said.iter().map(|text| registry(text)).collect::<Result<Vec<_>, _>>()?;
    let mut known = std::collections::HashSet::from(HUB.map(str::to_owned));
    named.retain(|name| known.insert(name.clone()));
    Ok(named)
}

/// It becomes a folder's name.
fn registry(text: &str) -> Result<String, SettingsError> {
    let wrong = || SettingsError::Registry(text.to_owned());
    // A quote would be part of some engine's file.
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte)) {
        return Err(wrong());
    }
    let host: certs::ca::Host = text.parse().map_err(|_| wrong())?;
    Ok(host.to_string())
}

const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

fn text(path: &Path) -> Result<String, SettingsError> {
    trust::bounded_text(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, SettingsError> {
    let failed = |error| SettingsError::Read { path: path.to_owned(), source: io::Error::new(io::ErrorKind::InvalidData, error) };
    String::from_utf8(bytes).map_err(failed)
}

/// A client's certificate and its key, seen to be that: one is put where everybody may read it, and an engine with a pair that does not fit stops every pull.
fn pair(root: &Root, chain: &Path, key: &Path) -> Result<ClientPair, SettingsError> {
    let on_disk =
        |path: &Path| if root.is_machine() { Ok(path.to_owned()) } else { root.resolve(path).map(|place| root.on_disk(&place.real)) };
    let files = TlsFiles { certificate: on_disk(chain)?, key: on_disk(key)? };
    Pair::load(&files, SystemTime::now())?;
    let chain = blocks(&text(&files.certificate)?, |label| label == "CERTIFICATE");
    let key = blocks(&text(&files.key)?, |label| label.ends_with("PRIVATE KEY"));
    Ok(ClientPair { chain, key })
}

/// The PEM blocks of a kind, without what stands between them.
fn blocks(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let (mut found, mut inside) = (String::new(), false);
    for line in text.lines().map(str::trim_end) {
        let label = |mark: &str| line.strip_prefix(mark).and_then(|rest| rest.strip_suffix("-----"));
        inside |= label("-----BEGIN ").is_some_and(&wanted);
        if inside {
            found.extend([line, "\n"]);
        }
        inside &= label("-----END ").is_none();
    }
    found
}

/// As a machine sees it.
const PLACE: &str = "/etc/chandler/agent.yaml";
const MIRROR_PLACE: &str = install::units::CONFIG;

#[cfg(test)]
mod tests;
