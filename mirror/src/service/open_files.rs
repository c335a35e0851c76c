//! How many files the process may have open, and how many connections that leaves.
//!
//! The limit that a shell or a service manager gives at first, often 1024, is for programs that `select`; this one may take all that it is granted.
//! A connection without a file to send is of no use, and a store that cannot open its records knows nothing: so connections wait, rather than that
//! anything else goes without.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, LimitsConfig};

/// Takes all that the process is granted; what it may have open now. `None`: as much as it likes.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where that is refused, less must do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// The limits of `config` for a process that may have so many files open. Where it is fewer connections than configured, it says so.
pub(super) fn limits(config: &Config, files: Option<u64>) -> LimitsConfig {
    let (asked, reserve) = (config.limits.connections, reserve(config));
    let connections = files.map_or(asked, |files| asked.min(left(files, reserve)));
    if let Some(files) = files.filter(|_| connections < asked) {
        let wanted = (asked as u64).saturating_mul(FILES_A_CONNECTION).saturating_add(reserve);
        tracing::warn!(
            "limits.connections is {asked}, and this process may have {files} files open, which is enough for {connections}: so many it is. \
             hint: raise the limit of open files to {wanted} (LimitNOFILE=, ulimit -n), or set limits.connections to {connections}"
        );
    }
    LimitsConfig { connections, ..config.limits.clone() }
}

/// How many connections `files` are enough for, with `reserve` kept for all else, though no more than half.
fn left(files: u64, reserve: u64) -> usize {
    let left = files - reserve.min(files / 2);
    usize::try_from(left / FILES_A_CONNECTION).unwrap_or(usize::MAX).max(1)
}

/// What runs beside the connections: downloads, each with its spool, and questions to upstreams.
fn reserve(config: &Config) -> u64 {
    let LimitsConfig { upstream_blobs, upstream_manifests, .. } = config.limits;
    let lanes = upstream_blobs.saturating_mul(2).saturating_add(upstream_manifests);
    (config.upstreams.len().saturating_mul(lanes) as u64).saturating_add(OWN)
}

/// Its socket, and the file that is sent.
const FILES_A_CONNECTION: u64 = 2;
/// The operator's pages and the listener for CAs with what comes to them, records, logs, the runtime.
const OWN: u64 = 192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve};

    #[test]
    fn connections_are_what_the_open_files_leave_and_never_more_than_configured() {
        let config = |text: &str| resolve(&Sources::yaml(text)).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config;
        let default = config("");
        for (files, connections) in [
            (None, 4096),
            (Some(1 << 20), 4096),
            (Some(8480), 4096),
            (Some(8479), 4095),
            (Some(1024), 368),
            (Some(256), 64), // Half is kept for all else.
            (Some(1), 1),
        ] {
            assert_eq!(limits(&default, files).connections, connections, "{files:?}");
        }
        let few = config("limits: {connections: 10, upstream_blobs: 1000000, upstream_manifests: 1}");
        assert_eq!(limits(&few, Some(1024)).connections, 10);
    }

    #[test]
    fn all_that_is_granted_is_taken() {
        assert_eq!(raise(), getrlimit(Resource::Nofile).maximum);
    }
}
