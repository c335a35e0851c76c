//! [`Config`] → the tree and the file that would say it.

use std::fmt;
use std::time::Duration;

use super::problem::Origin;
use super::tree::{Node, Value, print};
use super::{Access, Config, LogFormat, PasswordSource, Secret, UpstreamConfig};

/// A YAML file that resolves to `config`; passwords and tokens are in it.
pub fn render(config: &Config) -> String {
    print(&tree(config, Secrets::Written), &|_, _| String::new())
}

/// The same without secrets, and each value's origin as a comment.
pub(super) fn with_origins(config: &Config, said: &Node) -> String {
    print(&tree(config, Secrets::Hidden), &|path, _| origin(said, path).to_string())
}

fn origin(said: &Node, path: &str) -> Origin {
    // What was resolved to a value was said under another key.
    let aliases = [(".password", ".password_env"), ("admin.token", "admin.token_file")];
    let alias = aliases.iter().find(|(key, _)| path.ends_with(key)).map(|(key, other)| path.replace(key, other));
    let node = said.at(path).or_else(|| said.at(&alias?));
    // A window of the top level holds for each upstream.
    let inherited = || path.ends_with(".tag_window").then(|| said.at("tag_window")).flatten();
    let header = || said.at("headers")?.child_in_any_case(path.strip_prefix("headers.")?);
    node.or_else(inherited)
        .or_else(header)
        .filter(|node| !matches!(node.value, Value::Null))
        .map_or(Origin::Default, |node| node.origin.clone())
}

#[derive(Clone, Copy)]
enum Secrets {
    Hidden,
    Written,
}

struct Writer {
    tree: Node,
    secrets: Secrets,
}

fn tree(config: &Config, secrets: Secrets) -> Node {
    let mut writer = Writer { tree: Node::empty(), secrets };
    for (index, listener) in config.listeners.iter().enumerate() {
        let at = |key: &str| format!("listeners.{index}.{key}");
        writer.put(&at("address"), listener.address);
        if let Some(tls) = &listener.tls {
            writer.put(&at("tls.certificate"), tls.certificate.display());
            writer.put(&at("tls.key"), tls.key.display());
        }
        writer.put(&at("proxy_protocol"), listener.proxy_protocol);
    }
    for (index, upstream) in config.upstreams.iter().enumerate() {
        writer.upstream(&format!("upstreams.{index}"), upstream);
    }
    writer.store(config);
    writer.access(&config.access);
    writer.list("trusted_proxies", &config.trusted_proxies);
    writer.headers(config);
    writer.admin(config);
    writer.log(config);
    writer.put("limits.connections", config.limits.connections);
    writer.put("limits.buffers", config.limits.buffers);
    writer.put("limits.drain", duration(config.limits.drain));
    writer.put("limits.upstream_blobs", config.limits.upstream_blobs);
    writer.put("limits.upstream_manifests", config.limits.upstream_manifests);
    writer.put("limits.upstream_min_rate", config.limits.upstream_min_rate.map_or_else(|| "off".to_owned(), |rate| rate.to_string()));
    writer.tree
}

impl Writer {
    fn put(&mut self, path: &str, value: impl fmt::Display) {
        self.set(path, &Node::text(value.to_string(), &Origin::Default));
    }

    fn list<T: ToString>(&mut self, path: &str, values: &[T]) {
        self.set(path, &Node::texts(values.iter().map(ToString::to_string), &Origin::Default));
    }

    fn set(&mut self, path: &str, node: &Node) {
        self.tree.set(path, node).expect("items are written in the order of their numbers");
    }

    fn secret(&mut self, path: &str, secret: &Secret) {
        match self.secrets {
            Secrets::Hidden => self.put(path, "(secret)"),
            Secrets::Written => self.put(path, secret.expose()),
        }
    }

    fn upstream(&mut self, path: &str, upstream: &UpstreamConfig) {
        let at = |key: &str| format!("{path}.{key}");
        self.put(&at("name"), &upstream.name);
        self.put(&at("url"), address(&upstream.url));
        self.list(&at("answers_to"), &upstream.answers_to);
        self.put(&at("hub"), upstream.hub);
        if let Some(account) = &upstream.account {
            self.put(&at("account.user"), &account.user);
            match &account.password {
                PasswordSource::File(file) => self.put(&at("account.password_file"), file.display()),
                PasswordSource::Helper(words) => self.list(&at("account.credential_helper"), words),
                PasswordSource::Value(secret) => self.secret(&at("account.password"), secret),
            }
        }
        if let Some(ca) = &upstream.ca {
            self.put(&at("ca"), ca.display());
        }
        if let Some(proxy) = &upstream.proxy {
            self.put(&at("proxy"), self.proxy(proxy));
        }
        let alternates: Vec<_> = upstream.alternates.iter().map(address).collect();
        self.list(&at("alternates"), &alternates);
        self.list(&at("realms"), &upstream.realms);
        for (key, patterns) in [("repositories", &upstream.repositories), ("private", &upstream.private)] {
            let Some(patterns) = patterns else { continue };
            let texts: Vec<_> = patterns.iter().map(super::Pattern::as_str).collect();
            self.list(&at(key), &texts);
        }
        self.put(&at("tag_window"), duration(upstream.tag_window));
    }

    /// A proxy's URL may hold a password.
    fn proxy(&self, proxy: &url::Url) -> String {
        match self.secrets {
            Secrets::Hidden => super::without_password(proxy),
            Secrets::Written => proxy.to_string(),
        }
    }

    fn store(&mut self, config: &Config) {
        let store = &config.store;
        let off = || "off".to_owned();
        self.put("store.path", store.root.display());
        self.put("store.max_size", store.max_size.map_or_else(off, |limit| limit.to_string()));
        self.put("store.min_free", store.min_free);
        self.put("store.keep_unused", store.keep_unused.map_or_else(off, duration));
        self.put("store.deleted_tags.grace", duration(store.deleted_tags.grace));
        self.put("store.deleted_tags.then", if store.deleted_tags.keep { "keep" } else { "remove" });
        self.put("store.health.enabled", store.health.enabled);
        self.put("store.health.interval", duration(store.health.interval));
        self.put("store.health.threshold", store.health.threshold);
        self.put("store.scrub_rate", store.scrub_rate.map_or_else(off, |rate| rate.to_string()));
    }

    fn access(&mut self, access: &Access) {
        let Access::Rules(rules) = access else { return self.put("access", "open") };
        for (index, rule) in rules.iter().enumerate() {
            let at = |key: &str| format!("access.{index}.{key}");
            self.put(&at("name"), &rule.name);
            self.list(&at("networks"), &rule.networks);
            let patterns: Vec<_> = rule.repositories.iter().map(super::Pattern::as_str).collect();
            if !patterns.is_empty() {
                self.list(&at("repositories"), &patterns);
            }
        }
    }

    fn headers(&mut self, config: &Config) {
        for (name, _) in &config.headers {
            let values: Vec<_> =
                config.headers.iter().filter(|(other, _)| other == name).filter_map(|(_, value)| value.to_str().ok()).collect();
            self.list(&format!("headers.{name}"), &values);
        }
    }

    fn admin(&mut self, config: &Config) {
        let Some(admin) = &config.admin else { return self.put("admin.off", true) };
        self.put("admin.address", admin.address);
        if let Some(token) = &admin.token {
            self.secret("admin.token", token);
        }
        self.put("admin.open_metrics", admin.open_metrics);
    }

    fn log(&mut self, config: &Config) {
        let log = &config.log;
        self.put("log.level", &log.level);
        self.put("log.format", if log.format == LogFormat::Json { "json" } else { "text" });
        self.put("log.output", if log.to_stdout { "stdout" } else { "stderr" });
        self.put("log.access", log.access);
        let mut fields = Node::empty();
        if let Value::Map(entries) = &mut fields.value {
            entries.extend(log.fields.iter().map(|(name, value)| {
                let node = Node::text(value, &Origin::Default);
                super::tree::Entry { name: name.clone(), origin: Origin::Default, node }
            }));
        }
        self.set("log.fields", &fields);
    }
}

/// A URL as people write it: without the slash of an empty path.
fn address(url: &url::Url) -> &str {
    if url.path() == "/" { url.as_str().trim_end_matches('/') } else { url.as_str() }
}

fn duration(value: Duration) -> String {
    humantime::format_duration(value).to_string()
}
