//! Whether certificates that are got could be stored, in readiness: a folder that takes nothing is told while there is time, not by the renewal that fails on it.
//!
//! It is looked at as a person's `chandler mirror --check` looks at it, but with the rights and mounts of the mirror that runs.

use std::path::Path;
use std::time::Duration;

use certs::store::{CertName, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::Telling;
use crate::check::chain;
use crate::config::Config;

/// Looks now and then until `cancel`, where certificates are got.
pub(crate) async fn watch(config: Config, telling: Telling, cancel: CancellationToken) {
    let names: Vec<CertName> = config.certificates().into_iter().map(|names| names.name.clone()).collect();
    if names.is_empty() {
        return;
    }
    loop {
        match examined(config.acme.store(), names.clone()).await {
            Some(error) => telling.readiness.warn(CONDITION, standing(&config.acme.path, &error)),
            None => telling.readiness.clear(CONDITION),
        }
        tokio::select! { () = cancel.cancelled() => return, () = tokio::time::sleep(EVERY) => {} }
    }
}

async fn examined(store: Store, names: Vec<CertName>) -> Option<StoreError> {
    let examine = move || store.examine(&names.iter().collect::<Vec<_>>()).err();
    let error = tokio::task::spawn_blocking(examine).await.ok().flatten(); // The disk may hang.
    error.filter(|error| matches!(error, StoreError::Io { .. })) // What is damaged is put aside by whoever looks after the certificate, and told there.
}

fn standing(path: &Path, error: &StoreError) -> String {
    let (cause, path) = (chain(error), path.display());
    format!(
        "no new certificate could be stored: {cause}; the one in use is served until its end. The mirror's user has to be able to write in {path}"
    )
}

const CONDITION: &str = "acme.path";
/// Between two looks.
const EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[tokio::test]
    async fn a_folder_that_takes_nothing_is_told_with_its_cause_and_only_as_long_as_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, certs) = (folder.path().join("state"), folder.path().join("state/certs"));
        fs::create_dir_all(&certs).expect("made");
        let told = || async {
            let names = vec!["mirror".parse().expect("a name")];
            examined(Store::new(&path), names).await.map(|error| standing(&path, &error))
        };
        assert_eq!(told().await, None);
        shut(&path, &certs);
        let text = told().await.expect("nobody can write there");
        assert!(text.starts_with(&format!("no new certificate could be stored: cannot write {}: ", certs.display())), "{text}");
        open(&path, &certs);
        assert_eq!(told().await, None, "it was mended");
    }

    /// Root may write everywhere, but what it wrote in a user's folder would be of no use to that user.
    fn shut(path: &Path, certs: &Path) {
        fs::set_permissions(certs, fs::Permissions::from_mode(0o500)).expect("ours");
        if rustix::process::geteuid().is_root() {
            chown(path, Some(4711), Some(4711)).expect("root gives away what it has");
        }
    }

    fn open(path: &Path, certs: &Path) {
        fs::set_permissions(certs, fs::Permissions::from_mode(0o700)).expect("ours");
        if rustix::process::geteuid().is_root() {
            chown(path, Some(0), Some(0)).expect("root takes back");
        }
    }
}
