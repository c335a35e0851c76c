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
    #[error("two configurations at once: {0} names one of chandler's own, and REGISTRY_… variables are set")]
    Both(&'static str),
    #[error("cannot read the configuration {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Wrong(#[from] Problems),
}

/// Makes the configuration, as often as it is asked.
pub(crate) struct Loader {
    flags: Vec<Flag>,
    source: Source,
}

impl Loader {
    pub(crate) fn new(source: Source, flags: Vec<Flag>) -> Self {
        Self { flags, source }
    }

    /// Reads the file and the environment as they are now.
    pub(crate) fn load(&self) -> Result<Resolved, LoadError> {
        let environment = environment();
        let (drop_in, file) = self.file(&environment)?;
        let sources = Sources {
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
        let variable =
            |name: &str| environment.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| PathBuf::from(value));
        match &self.source {
            Source::Registry(file) => Ok((true, registry_file(file.as_deref(), environment)?)),
            Source::Own(Some(_)) if registry::is_drop_in(environment) => Err(LoadError::Both("--config")),
            Source::Own(Some(file)) => Ok((false, Some(read(file)?))),
            Source::Own(None) => match variable("CHANDLER_CONFIG") {
                Some(_) if registry::is_drop_in(environment) => Err(LoadError::Both("CHANDLER_CONFIG")),
                Some(file) => Ok((false, Some(read(&file)?))),
                None if registry::is_drop_in(environment) => Ok((true, registry_file(None, environment)?)),
                None => {
                    let home = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
                    let own = home.map(|home| home.join("chandler/mirror.yaml")).filter(|_| !rustix::process::geteuid().is_root());
                    let places: Vec<PathBuf> = own.into_iter().chain([PathBuf::from("/etc/chandler/mirror.yaml")]).collect();
                    Ok((false, first(&places)?))
                }
            },
        }
    }
}

/// The named file, or the first of the image's two that is there. Its own defaults stand in where one of these two is named and missing: an
/// image from scratch is started with the classic image's arguments.
fn registry_file(named: Option<&Path>, environment: &[(String, String)]) -> Result<Option<(PathBuf, String)>, LoadError> {
    let defaults = REGISTRY_FILES.map(PathBuf::from);
    let by_variable = registry::config_path(environment);
    match named.or(by_variable.as_deref()) {
        Some(file) if !defaults.iter().any(|default| default == file) => read(file).map(Some),
        Some(file) => first(&[file.to_owned()]),
        None => first(&defaults),
    }
}

/// The first file that is there.
fn first(places: &[PathBuf]) -> Result<Option<(PathBuf, String)>, LoadError> {
    for place in places {
        match read(place) {
            Err(LoadError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<(PathBuf, String), LoadError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_owned(), text)),
        Err(source) => Err(LoadError::Read { path: path.to_owned(), source }),
    }
}

/// The environment's variables that are text; no setting can be anything else.
pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

const REGISTRY_FILES: [&str; 2] = ["/etc/distribution/config.yml", "/etc/docker/registry/config.yml"];
