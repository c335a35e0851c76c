//! Runs the mirror with a resolved configuration.

use mirror::config::Config;

use crate::load::Loader;

/// Why the mirror does not run, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("this build of chandler has no mirror service")]
    Absent,
}

/// Serves until a signal ends it. `loader` makes the configuration anew for a reload.
pub(crate) fn run_mirror(config: Config, loader: &Loader) -> Result<(), RunError> {
    let _ = (config, loader);
    Err(RunError::Absent)
}
