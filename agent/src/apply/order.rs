//! In which order files go when a machine is taken out: none before what leads to it. Pure, by the files' names.

use std::cmp::Reverse;
use std::path::Path;

use crate::record::Entry;

/// What a file is for; those that go first come first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Layer {
    /// It names mirrors, to an engine that may keep what it has read: `daemon.json`, `registries.conf`, `buildkitd.toml`, `registries.yaml`.
    Kept,
    /// It names mirrors, and is read at each pull.
    Hosts,
    /// A client's certificates. Without its key a chain breaks every pull from that host, so it goes before that.
    Chain,
    /// Their key.
    Key,
    /// What a mirror is trusted by.
    Anchors,
}

/// That of a file.
pub fn layer(path: &Path) -> Layer {
    if path.file_name().is_some_and(|name| name == "hosts.toml") {
        return Layer::Hosts;
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("cert") => Layer::Chain,
        Some("key") => Layer::Key,
        Some("crt") => Layer::Anchors,
        _ => Layer::Kept,
    }
}

/// Files of the record in the order in which they go; of one layer, the one that was changed last first.
pub fn backwards<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<&'a Entry> {
    let mut entries: Vec<_> = entries.enumerate().collect();
    entries.sort_by_key(|(at, entry)| (layer(&entry.path), Reverse(*at)));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_mirror_goes_before_what_it_is_trusted_by() {
        let layers =
            ["/etc/docker/daemon.json", "/c/docker.io/hosts.toml", "/c/m/chandler.cert", "/c/m/chandler.key", "/c/m/chandler-ca.crt"];
        assert!(layers.map(|path| layer(Path::new(path))).is_sorted());
        assert_eq!(layer(Path::new("/etc/containers/registries.conf.d/50-chandler-mirror.conf")), Layer::Kept);
    }
}
