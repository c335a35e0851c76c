//! What a reload cannot take over, by the keys of the configuration. Pure.
//!
//! Every field is named here, so that a new one does not come into being without somebody deciding whether a reload takes it over.

use crate::config::{Config, LimitsConfig, LogConfig, StoreConfig};

/// The keys whose values in `new` hold from the next start on only: `started` is what this process started with.
pub(super) fn waiting(started: &Config, new: &Config) -> Vec<&'static str> {
    // What is `_` a reload takes over; `drop_in` is decided by arguments and environment, which no reload changes.
    let Config {
        access: _,
        access_said: _,
        acme,
        admin,
        clients,
        drop_in: _,
        headers: _,
        limits,
        listeners,
        log,
        store,
        tokens,
        trusted_proxies: _,
        upstreams: _,
    } = started;
    let address = |config: &Config| config.admin.as_ref().map(|admin| admin.address);
    let own = [
        ("listeners", *listeners != new.listeners),
        ("acme", *acme != new.acme),
        ("clients.ca", *clients != new.clients),
        ("clients.tokens", *tokens != new.tokens),
        ("admin.address", admin.as_ref().map(|admin| admin.address) != address(new)),
    ];
    let sections = own.into_iter().chain(of_limits(limits, &new.limits)).chain(of_log(log, &new.log)).chain(of_store(store, &new.store));
    sections.filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

type Changes<const N: usize> = [(&'static str, bool); N];

fn of_limits(started: &LimitsConfig, new: &LimitsConfig) -> Changes<3> {
    let LimitsConfig { buffers, connections, drain, upstream_blobs: _, upstream_manifests: _, upstream_min_rate: _ } = started;
    [
        ("limits.buffers", *buffers != new.buffers),
        ("limits.connections", *connections != new.connections),
        ("limits.drain", *drain != new.drain),
    ]
}

fn of_log(started: &LogConfig, new: &LogConfig) -> Changes<4> {
    let LogConfig { access, fields, format, level: _, to_stdout } = started;
    [
        ("log.access", *access != new.access),
        ("log.fields", *fields != new.fields),
        ("log.format", *format != new.format),
        ("log.output", *to_stdout != new.to_stdout),
    ]
}

fn of_store(started: &StoreConfig, new: &StoreConfig) -> Changes<6> {
    let StoreConfig { deleted_tags: _, health, keep_unused, max_size, min_free, root, scrub_rate } = started;
    [
        ("store.health", *health != new.health),
        ("store.keep_unused", *keep_unused != new.keep_unused),
        ("store.max_size", *max_size != new.max_size),
        ("store.min_free", *min_free != new.min_free),
        ("store.path", *root != new.root),
        ("store.scrub_rate", *scrub_rate != new.scrub_rate),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, resolve};

    fn config(text: &str) -> Config {
        resolve(&Sources::yaml(text)).unwrap_or_else(|problems| panic!("{text}\n{problems}")).config
    }

    #[test]
    fn what_waits_for_a_restart_is_named_and_nothing_else_is() {
        let started = config("");
        for (changed, waits) in [
            ("listeners: [\"127.0.0.1:5002\"]", vec!["listeners"]),
            ("acme: {profile: shortlived}", vec!["acme"]),
            ("clients: {ca: [private, /ca.pem]}", vec!["clients.ca"]),
            ("clients: {ca: [private], tokens: true}", vec!["clients.ca", "clients.tokens"]),
            ("admin: \"127.0.0.1:5003\"", vec!["admin.address"]),
            ("admin: off", vec!["admin.address"]),
            ("limits: {buffers: 1MiB, connections: 1, drain: 1s}", vec!["limits.buffers", "limits.connections", "limits.drain"]),
            (
                "log: {access: false, fields: {site: tokyo}, format: text, output: stdout}",
                vec!["log.access", "log.fields", "log.format", "log.output"],
            ),
            (
                "store: {health: {interval: 1s}, keep_unused: 1h, max_size: 1GiB, min_free: 1GiB, path: /x, scrub_rate: off}",
                vec!["store.health", "store.keep_unused", "store.max_size", "store.min_free", "store.path", "store.scrub_rate"],
            ),
            (
                "{upstreams: [ghcr.io=https://ghcr.io], access: [10.0.0.0/8], trusted_proxies: [10.0.0.0/8], headers: {X-Site: tokyo}, \
                 tag_window: 5s, admin: {token: secret-word, open_metrics: true}, log: {level: debug}, \
                 limits: {upstream_blobs: 1, upstream_manifests: 1, upstream_min_rate: off}, store: {deleted_tags: {grace: 1h}}}",
                vec![],
            ),
            ("", vec![]),
        ] {
            assert_eq!(waiting(&started, &config(changed)), waits, "{changed}");
        }
    }
}
