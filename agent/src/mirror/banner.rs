//! The first words: what a person who starts the mirror needs next. A pure function of the configuration.

use std::fmt::Write as _;
use std::net::SocketAddr;

use certs::Identifier;
use mirror::config::{Access, Config, ListenerConfig, Pattern, UpstreamConfig};

/// The lines, with a line break after each. `urls` are those of the listeners, `admin` is the operator's own.
pub(crate) fn banner(config: &Config, urls: &[String], admin: Option<SocketAddr>) -> String {
    let mut text = String::from("chandler mirror\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    for upstream in &config.upstreams {
        line("mirrors", &format!("{} at {}, {}", upstream.name, upstream.url, account(upstream)));
    }
    for url in urls {
        line("listens on", url);
    }
    let cap = config.store.max_size.map_or_else(|| "no cap".to_owned(), |cap| format!("at most {cap}"));
    line("stores in", &format!("{}, {cap}, {} of the disk stay free", config.store.root.display(), config.store.min_free));
    line("serves", &audience(config));
    match admin {
        Some(admin) => line("metrics", &format!("http://{admin}/metrics, and what is not as it should be at http://{admin}/readyz")),
        None => line("metrics", "off"),
    }
    line("log", &format!("{}, level {}", if config.log.to_stdout { "standard output" } else { "standard error" }, config.log.level));
    if let (Some(url), Some(listener), Some(upstream)) = (urls.first(), config.listeners.first(), config.upstreams.first()) {
        let _ = write!(text, "\n{}", next_step(upstream, &reachable(url, listener)));
    }
    text
}

/// `registry-mirrors` is for Docker Hub alone; of other registries an engine must be told by name.
fn next_step(upstream: &UpstreamConfig, url: &str) -> String {
    let name = &upstream.name;
    if upstream.answers_to.iter().any(|host| host == "docker.io") {
        return format!(
            "Put Docker behind it, in /etc/docker/daemon.json:\n\n  {{ \"registry-mirrors\": [\"{url}\"] }}\n\n\
             then `sudo kill -HUP $(pidof dockerd)`, which disturbs no container, and `docker pull alpine`.\n\n"
        );
    }
    format!(
        "Put containerd behind it, in /etc/containerd/certs.d/{name}/hosts.toml:\n\n  server = \"https://{name}\"\n\n  [host.\"{url}\"]\n  \
         capabilities = [\"pull\", \"resolve\"]\n\nDocker looks at mirrors for Docker Hub only, unless its image store is containerd's.\n\n"
    )
}

fn account(upstream: &UpstreamConfig) -> String {
    match (&upstream.account, &upstream.private) {
        (None, _) => "without an account: public images".to_owned(),
        (Some(account), None) => format!("as {}: every image that this account may read", account.user),
        (Some(account), Some(private)) => {
            let patterns: Vec<&str> = private.iter().map(Pattern::as_str).collect();
            format!("as {}: public images, and of the private ones {}", account.user, patterns.join(", "))
        }
    }
}

fn audience(config: &Config) -> String {
    match &config.access {
        Access::Open => "everybody who can connect".to_owned(),
        Access::Rules(rules) => {
            let networks: Vec<String> = rules.iter().flat_map(|rule| &rule.networks).map(ToString::to_string).collect();
            format!("clients in {}", networks.join(", "))
        }
    }
}

/// An address that an engine can be given: by a name of the certificate, else one that is right on this machine.
fn reachable(url: &str, listener: &ListenerConfig) -> String {
    let named = || {
        let first = listener.tls.as_ref()?.names()?.identifiers.iter().find_map(|identifier| match identifier {
            Identifier::Dns(name) if !name.is_wildcard() => Some(name.as_str()),
            _ => None,
        })?;
        Some(format!("https://{first}:{}", url.rsplit(':').next()?))
    };
    named().unwrap_or_else(|| local(url))
}

fn local(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:")
}

#[cfg(test)]
mod tests {
    use mirror::config::{Sources, resolve};

    use super::*;

    #[test]
    fn the_first_words_say_what_to_do_next() {
        let yaml = "upstreams: [{name: docker.io, url: 'https://registry-1.docker.io', account: {user: ci, password: s3cret}, private: ['acme/*']}]\n\
                    store: {path: /srv/images, max_size: 80%}\nlog: {format: text}\n";
        let config = resolve(&Sources::yaml(yaml)).expect("it is right").config;
        let admin = Some("127.0.0.1:5001".parse().expect("an address"));
        insta::assert_snapshot!(banner(&config, &["http://0.0.0.0:5000".into()], admin), @r#"
        chandler mirror
          mirrors     docker.io at https://registry-1.docker.io/, as ci: public images, and of the private ones acme/*
          listens on  http://0.0.0.0:5000
          stores in   /srv/images, at most 80%, 5% of the disk stay free
          serves      everybody who can connect
          metrics     http://127.0.0.1:5001/metrics, and what is not as it should be at http://127.0.0.1:5001/readyz
          log         standard error, level info

        Put Docker behind it, in /etc/docker/daemon.json:

          { "registry-mirrors": ["http://127.0.0.1:5000"] }

        then `sudo kill -HUP $(pidof dockerd)`, which disturbs no container, and `docker pull alpine`.
        "#);
    }

    #[test]
    fn the_next_step_fits_the_registry_and_the_certificate() {
        let last = |yaml: &str, url: &str| {
            let config = resolve(&Sources::yaml(yaml)).expect("it is right").config;
            banner(&config, &[url.to_owned()], None).split_once("\n\n").map(|(_, rest)| rest.to_owned()).expect("a next step")
        };
        insta::assert_snapshot!(last("upstreams: [ghcr.io=https://ghcr.io]", "http://[::]:5000"), @r#"
        Put containerd behind it, in /etc/containerd/certs.d/ghcr.io/hosts.toml:

          server = "https://ghcr.io"

          [host."http://127.0.0.1:5000"]
          capabilities = ["pull", "resolve"]

        Docker looks at mirrors for Docker Hub only, unless its image store is containerd's.
        "#);
        let named = last(
            "listeners: [{address: ':443', tls: {acme: ['*.example.com', mirror.example.com]}}]\nacme: {dns: {hook: /x}}",
            "https://[::]:443",
        );
        assert!(named.contains("[\"https://mirror.example.com:443\"]"), "{named}");
    }
}
