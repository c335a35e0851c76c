//! `/etc/chandler/agent.yaml`: what the agent is told once for all its commands. A flag beats it.
//!
//! ```yaml
//! mirrors: [https://mirror.example]
//! ca: sha256:…                       # or a file
//! client: {certificate: /etc/chandler/client.cert, key: /etc/chandler/client.key}
//! engines: [docker, podman]          # default: those that are found
//! registries: [ghcr.io]              # beside Docker Hub
//! others: prepend                    # or replace
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::machine::{EngineChoice, OthersWord, WishArgs};
use crate::engines::wish::ClientPair;
use crate::engines::{MirrorUrl, Others, Wish};
use crate::trust::{self, CaChoice, TrustError};

/// The file's keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    mirrors: Vec<String>,
    ca: Option<String>,
    client: Option<ClientFiles>,
    engines: Vec<String>,
    registries: Vec<String>,
    others: Option<String>,
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
    #[error("Docker Hub is always pulled through the mirror; registries names others")]
    Hub,
    #[error(transparent)]
    Trust(#[from] TrustError),
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
            Self::NoMirror => {
                Some("--mirror https://mirror.example:443, or `mirrors: [https://mirror.example:443]` in /etc/chandler/agent.yaml")
            }
            Self::Wrong { .. } => Some("it knows mirrors, ca, client, engines, registries and others"),
            Self::Trust(error) => error.hint(),
            _ => None,
        }
    }
}

impl Settings {
    /// From the file that is named, or from its place below `root`, where it may be missing.
    pub(crate) fn read(named: Option<&Path>, root: &Path) -> Result<Read, SettingsError> {
        let place = root.join(PLACE);
        let path = named.unwrap_or(&place);
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => String::new(),
            text => text.map_err(|source| SettingsError::Read { path: path.to_owned(), source })?,
        };
        let settings = if text.trim().is_empty() { Self::default() } else { parse(&text, path)? };
        Ok(Read { path: path.to_owned(), settings })
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

    /// What is wanted, with every file and fingerprint resolved. It may ask the mirror for its CA.
    pub(crate) fn wish(&self, flags: &WishArgs) -> Result<Wish, SettingsError> {
        let mirrors = self.mirrors(flags)?;
        let anchors = self.ca(flags)?.map(|choice| trust::anchors(&choice, &mirrors)).transpose()?;
        let pair = match (&flags.client_cert, &flags.client_key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            _ => self.settings.client.as_ref().map(|files| (&files.certificate, &files.key)),
        };
        let client = pair.map(|(chain, key)| Ok::<_, SettingsError>(ClientPair { chain: text(chain)?, key: text(key)? })).transpose()?;
        Ok(Wish { mirrors, anchors, client, registries: self.registries(flags)?, others: self.others(flags)? })
    }

    fn mirrors(&self, flags: &WishArgs) -> Result<Vec<MirrorUrl>, SettingsError> {
        let mut mirrors = flags.mirror.clone();
        if mirrors.is_empty() {
            let parsed = self.settings.mirrors.iter().map(|text| text.parse::<MirrorUrl>());
            mirrors = parsed.collect::<Result<_, _>>().map_err(|error| self.wrong("mirrors", error.to_string()))?;
        }
        let mut known = std::collections::HashSet::new();
        mirrors.retain(|mirror| known.insert(mirror.clone()));
        if mirrors.is_empty() { Err(SettingsError::NoMirror) } else { Ok(mirrors) }
    }

    fn ca(&self, flags: &WishArgs) -> Result<Option<CaChoice>, SettingsError> {
        // The file's CA is that of the file's mirrors.
        let said = self.settings.ca.as_ref().filter(|_| flags.mirror.is_empty());
        match (&flags.ca, said) {
            (Some(choice), _) => Ok(Some(choice.clone())),
            (None, Some(said)) => said.parse().map(Some).map_err(|what| self.wrong("ca", what)),
            (None, None) => Ok(None),
        }
    }

    fn registries(&self, flags: &WishArgs) -> Result<Vec<String>, SettingsError> {
        let said = if flags.registry.is_empty() { &self.settings.registries } else { &flags.registry };
        said.iter().map(|text| registry(text)).collect()
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

    fn wrong(&self, key: &'static str, what: String) -> SettingsError {
        SettingsError::Value { path: self.path.clone(), key, what }
    }
}

/// It becomes a folder's name.
fn registry(text: &str) -> Result<String, SettingsError> {
    let wrong = || SettingsError::Registry(text.to_owned());
    let host: certs::ca::Host = text.parse().map_err(|_| wrong())?;
    let host = host.to_string();
    match host.as_str() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => Err(SettingsError::Hub),
        _ => Ok(host),
    }
}

fn text(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })
}

/// Below a machine's root.
const PLACE: &str = "etc/chandler/agent.yaml";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Read, String> {
        let path = Path::new("agent.yaml");
        let settings = parse(text, path).map_err(|error| mirror::chain(&error))?;
        Ok(Read { path: path.to_owned(), settings })
    }

    fn wish(text: &str, flags: &WishArgs) -> Result<Wish, String> {
        read(text)?.wish(flags).map_err(|error| mirror::chain(&error))
    }

    #[test]
    fn a_flag_beats_the_file() {
        let file = "{mirrors: [http://a:5000, http://b:5000, http://a:5000], registries: [ghcr.io], others: replace}";
        let of_file = wish(file, &WishArgs::default()).expect("right");
        assert_eq!(of_file.mirrors.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://a:5000", "http://b:5000"]);
        assert_eq!((of_file.registries, of_file.others), (vec!["ghcr.io".to_owned()], Others::Replace));
        let flags =
            WishArgs { mirror: vec!["http://c".parse().expect("a mirror")], mirrors: Some(OthersWord::Prepend), ..WishArgs::default() };
        let flagged = wish(file, &flags).expect("right");
        assert_eq!((flagged.mirrors[0].to_string(), flagged.others), ("http://c".to_owned(), Others::Keep));
    }

    #[test]
    fn the_files_ca_is_not_taken_for_a_mirror_that_a_flag_names() {
        let flags = WishArgs { mirror: vec!["http://c".parse().expect("a mirror")], ..WishArgs::default() };
        assert_eq!(wish("{mirrors: [http://a], ca: /nowhere/ca.pem}", &flags).expect("right").anchors, None);
        assert!(
            wish("{mirrors: [http://a], ca: /nowhere/ca.pem}", &WishArgs::default())
                .expect_err("it is asked for")
                .contains("/nowhere/ca.pem")
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let told = |text: &str| wish(text, &WishArgs::default()).expect_err("wrong");
        insta::assert_snapshot!(
            [
                "",
                "# nothing yet",
                "{mirror: x}",
                "{mirrors: [mirror:5000]}",
                "{mirrors: [http://a], others: keep}",
                "{mirrors: [http://a], registries: [docker.io]}",
                "{mirrors: [http://a], registries: [ghcr.io/x]}",
                "{mirrors: [http://a], ca: sha256:12}",
                "{mirrors: [http://a], ca: sha256:0000000000000000000000000000000000000000000000000000000000000000}",
                "mirrors: http://a",
            ]
            .map(told)
            .join("\n"),
            @r#"
        no mirror is named
        no mirror is named
        agent.yaml is not understood: unknown field `mirror`, expected one of `mirrors`, `ca`, `client`, `engines`, `registries`, `others` at line 1 column 2
        agent.yaml: mirrors: `mirror:5000` lacks its scheme: write http://HOST:PORT or https://HOST[:PORT]
        agent.yaml: others: `keep` is neither prepend nor replace
        Docker Hub is always pulled through the mirror; registries names others
        `ghcr.io/x` is no registry: write a host, and its port where it has one, such as ghcr.io or registry.corp:5000
        agent.yaml: ca: no fingerprint: write sha256: and 64 hexadecimal digits, as `chandler ca export` prints it
        a CA by its fingerprint is fetched from a mirror over HTTPS, and none is named by https://
        agent.yaml is not understood: mirrors: invalid type: string "http://a", expected a sequence at line 1 column 10
        "#
        );
    }
}
