//! Finds the configuration's file, gathers the environment, and resolves both with the flags; again at each reload.

use std::io;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use mirror::config::{self, Flag, Problems, Resolved, Sources, registry};

/// Which file holds the configuration, and whose it is.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// chandler's own, or where it is looked for.
    Own(Option<PathBuf>),
    /// The `registry` image's, or where that looks for it.
    Registry(Option<PathBuf>),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("two configurations at once: {own} names one of chandler's own, and {image}")]
    Both { own: &'static str, image: &'static str },
    #[error("two configurations at once: {} is there, and {image} ask for the registry image's", own.display())]
    BothThere { image: String, own: PathBuf },
    #[error("the configuration {path} is not UTF-8 text: line {line} holds other bytes")]
    NotText { path: PathBuf, line: usize },
    #[error("cannot read the configuration {path}{}", said_by(*.named))]
    Read { named: Option<&'static str>, path: PathBuf, source: io::Error },
    #[error("no thread reads the configuration")]
    Thread(#[source] io::Error),
    #[error("the variable {0} is not UTF-8 text")]
    Variable(String),
    #[error(transparent)]
    Wrong(#[from] Problems),
}

fn said_by(named: Option<&str>) -> String {
    named.map(|by| format!(", which {by} names")).unwrap_or_default()
}

/// Makes the configuration, as often as it is asked.
#[derive(Clone)]
pub(crate) struct Loader {
    accounts: bool,
    flags: Vec<Flag>,
    source: Source,
}

impl Loader {
    pub(crate) fn new(source: Source, flags: Vec<Flag>) -> Self {
        Self { accounts: true, flags, source }
    }

    /// For work beside the mirror that signs in to no upstream: the variable with an account's password is often in the mirror's environment alone.
    pub(crate) fn without_accounts(source: Source) -> Self {
        Self { accounts: false, flags: Vec::new(), source }
    }

    /// Reads the file and the environment as they are now.
    pub(crate) fn load(&self) -> Result<Resolved, LoadError> {
        let environment = environment()?;
        let (drop_in, file) = self.file(&environment)?;
        let sources = Sources {
            accounts: self.accounts,
            drop_in,
            environment,
            file,
            flags: self.flags.clone(),
            root: rustix::process::geteuid().is_root(),
            terminal: io::stderr().is_terminal(),
            ..Sources::default()
        };
        Ok(config::resolve(&sources)?)
    }

    fn file(&self, environment: &[(String, String)]) -> Result<(bool, Option<(PathBuf, String)>), LoadError> {
        let is_drop_in = registry::is_drop_in(environment);
        let both = |own| Err(LoadError::Both { own, image: "REGISTRY_… variables are set" });
        let by_variable = variable(environment, "CHANDLER_CONFIG");
        match &self.source {
            Source::Registry(_) if by_variable.is_some() => Err(LoadError::Both { own: "CHANDLER_CONFIG", image: STAND_IN }),
            // A file that somebody names is what is meant.
            Source::Registry(Some(file)) => Ok((true, registry_file(Some(file), environment)?)),
            Source::Registry(None) => stand_in(environment),
            Source::Own(Some(_)) if is_drop_in => both("--config"),
            Source::Own(Some(file)) => Ok((false, Some(read(file, Some("--config"))?))),
            Source::Own(None) => match by_variable {
                Some(_) if is_drop_in => both("CHANDLER_CONFIG"),
                Some(file) => Ok((false, Some(read(&file, Some("CHANDLER_CONFIG"))?))),
                None if is_drop_in => stand_in(environment),
                None => Ok((false, first(&own_places(environment))?)),
            },
        }
    }
}

/// In place of the `registry` image without a file that is named.
fn stand_in(environment: &[(String, String)]) -> Result<(bool, Option<ConfigFile>), LoadError> {
    let own = first(&own_places(environment))?;
    one_of(own, registry_file(None, environment)?, registry::is_drop_in(environment))
}

/// Pure. A file of ours whose rules would not hold is not passed over: private images would be open. The container image, which is a stand-in even
/// with no variable, takes a file of ours that is all there is.
fn one_of(own: Option<ConfigFile>, image: Option<ConfigFile>, is_drop_in: bool) -> Result<(bool, Option<ConfigFile>), LoadError> {
    match (own, image) {
        (None, image) => Ok((true, image)),
        (own, None) if !is_drop_in => Ok((false, own)),
        (Some((own, _)), Some((image, _))) => Err(LoadError::BothThere { image: format!("the keys of {}", image.display()), own }),
        (Some((own, _)), None) => Err(LoadError::BothThere { image: "REGISTRY_… variables".into(), own }),
    }
}

/// A file's name and text.
type ConfigFile = (PathBuf, String);

/// Where chandler's own file is looked for.
fn own_places(environment: &[(String, String)]) -> Vec<PathBuf> {
    let in_home = || Some(variable(environment, "HOME")?.join(".config"));
    let home = variable(environment, "XDG_CONFIG_HOME").or_else(in_home).filter(|_| !rustix::process::geteuid().is_root());
    home.map(|home| home.join("chandler/mirror.yaml")).into_iter().chain([PathBuf::from("/etc/chandler/mirror.yaml")]).collect()
}

/// A variable that names a file or folder.
fn variable(environment: &[(String, String)], name: &str) -> Option<PathBuf> {
    environment.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| PathBuf::from(value))
}

/// The named file, or the first of the image's two that is there. Its own defaults stand in where one of these two is named and missing: an
/// image from scratch is started with the classic image's arguments.
fn registry_file(named: Option<&Path>, environment: &[(String, String)]) -> Result<Option<(PathBuf, String)>, LoadError> {
    let defaults = REGISTRY_FILES.map(PathBuf::from);
    let by_variable = registry::config_path(environment);
    let by = named.is_none().then_some("REGISTRY_CONFIGURATION_PATH");
    match named.or(by_variable.as_deref()) {
        Some(file) if !defaults.iter().any(|default| default == file) => read(file, by).map(Some),
        Some(file) => first(&[file.to_owned()]),
        None => first(&defaults),
    }
}

/// The first file that is there.
fn first(places: &[PathBuf]) -> Result<Option<(PathBuf, String)>, LoadError> {
    for place in places {
        match read(place, None) {
            Err(LoadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// A file's name and text; `named` is the flag or variable that names it.
fn read(path: &Path, named: Option<&'static str>) -> Result<(PathBuf, String), LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read { named, path: path.to_owned(), source })?;
    String::from_utf8(bytes).map(|text| (path.to_owned(), text)).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        LoadError::NotText { path: path.to_owned(), line: before.split(|byte| *byte == b'\n').count() }
    })
}

/// The environment. One of our variables, or of the `registry` image's, that is no text is never passed over: it may guard something.
fn environment() -> Result<Vec<(String, String)>, LoadError> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if is_setting(&name) => return Err(LoadError::Variable(name)),
            _ => {}
        }
    }
    Ok(variables)
}

/// Whether the environment asks for a stand-in for the `registry` image. A variable that cannot be read is told when it is loaded.
pub(crate) fn is_drop_in() -> bool {
    environment().map_or(true, |environment| registry::is_drop_in(&environment))
}

fn is_setting(name: &str) -> bool {
    name.starts_with("CHANDLER_") || name.starts_with("REGISTRY_")
}

const STAND_IN: &str = "`serve`, a bare file or --registry-config stands in for the registry image";
const REGISTRY_FILES: [&str; 2] = ["/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ours_is_never_passed_over_in_silence() {
        let file = |name: &str| Some((PathBuf::from(name), String::new()));
        let (ours, theirs) = (|| file("mirror.yaml"), || file("config.yml"));
        assert_eq!(one_of(None, theirs(), true).expect("one"), (true, theirs()));
        assert_eq!(one_of(None, None, false).expect("none"), (true, None));
        assert_eq!(one_of(ours(), None, false).expect("one"), (false, ours()), "mounted into the container image");
        let both = one_of(ours(), theirs(), false).expect_err("two");
        assert_eq!(
            both.to_string(),
            "two configurations at once: mirror.yaml is there, and the keys of config.yml ask for the registry image's"
        );
        let both = one_of(ours(), None, true).expect_err("two");
        assert_eq!(
            both.to_string(),
            "two configurations at once: mirror.yaml is there, and REGISTRY_… variables ask for the registry image's"
        );
    }
}
