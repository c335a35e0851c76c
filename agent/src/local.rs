//! A mirror on the node itself: engines ask it over plain HTTP on loopback, where none wants a CA or a word about it, and it asks the site's mirror, by that one's CA.
//!
//! [`Chain`] writes the configuration of such a mirror (pure), [`LocalMirror`] is what one says, whoever wrote it.
//!
//! A mirror makes canaries itself, so that those prove the first step of the way alone. For the second there is an upstream that is the site's mirror as such, and not the Hub behind
//! it: a canary that is asked for below [`SITE`] is made by nobody but the site's mirror.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mirror::config::{Config, ListenerConfig, UpstreamConfig};
use url::Url;

use crate::engines::MirrorUrl;

/// What is written for a mirror between this machine's engines and the site's.
#[derive(Clone, Debug)]
pub(crate) struct Chain<'a> {
    /// Where engines ask.
    pub(crate) listen: SocketAddr,
    /// The site's mirrors, in order.
    pub(crate) mirrors: &'a [MirrorUrl],
    /// The file by which they are known; none where the system's own roots do.
    pub(crate) ca: Option<&'a Path>,
    /// Beside Docker Hub.
    pub(crate) registries: &'a [String],
}

impl Chain<'_> {
    /// `mirror.yaml`.
    pub(crate) fn yaml(&self) -> String {
        let mut out = String::from("# A mirror for this machine alone: engines ask it on loopback, and it asks the site's mirror.\n");
        let _ = write!(out, "listeners: \"{}\"\nupstreams:\n", self.listen);
        self.item(&mut out, HUB, HUB_NAMES, HUB);
        for registry in self.registries {
            self.item(&mut out, &registry.replace(['[', ']'], "").replace(':', "-"), &[registry.as_str()], registry);
        }
        out.push_str("  # The site's mirror as such: `chandler verify` proves by it that this mirror reaches that one. No registry has such a name.\n");
        self.item(&mut out, SITE, &[SITE], "");
        out
    }

    /// By the path the site's mirror is told which of its own upstreams is meant: wrong content for a name would be worse than none.
    fn item(&self, out: &mut String, name: &str, answers_to: &[&str], path: &str) {
        let url = |mirror: &MirrorUrl| if path.is_empty() { format!("\"{mirror}\"") } else { format!("\"{mirror}/{path}\"") };
        let names: Vec<String> = answers_to.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = write!(out, "  - name: {name}\n    answers_to: [{}]\n", names.join(", "));
        if let [first, more @ ..] = self.mirrors {
            let _ = writeln!(out, "    url: {}", url(first));
            if !more.is_empty() {
                let _ = writeln!(out, "    alternates: [{}]", more.iter().map(url).collect::<Vec<_>>().join(", "));
            }
        }
        if let Some(ca) = self.ca {
            let _ = writeln!(out, "    ca: \"{}\"", ca.display());
        }
    }
}

/// A mirror that runs on this machine, by its configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LocalMirror {
    /// What it calls itself for this machine's engines.
    pub(crate) url: MirrorUrl,
    /// Registries beside the Hub that it mirrors.
    pub(crate) registries: Vec<String>,
    /// Whom it asks for the Hub's images, if that is a mirror, too.
    pub(crate) site: Option<Site>,
}

/// The mirror behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Site {
    /// Where it is, in the order in which it is asked.
    pub(crate) mirrors: Vec<MirrorUrl>,
    /// By what it is known.
    pub(crate) ca: Option<PathBuf>,
    /// A canary of its can be asked for.
    pub(crate) is_provable: bool,
}

impl LocalMirror {
    /// `None` where no engine of this machine could ask it in plain words.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let url = config.listeners.iter().find_map(url_of)?;
        let named = |upstream: &&UpstreamConfig| !matches!(upstream.name.as_str(), HUB | SITE);
        let hosts = config.upstreams.iter().filter(named).map(host_of);
        let hub = config.upstreams.iter().find(|upstream| upstream.hub)?;
        Some(Self { url, registries: hosts.collect(), site: site(hub, config) })
    }
}

/// Whether it serves other machines as well, at this port.
pub(crate) fn serves_others(config: &Config, port: u16) -> bool {
    config.listeners.iter().any(|listener| listener.address.port() == port && !listener.address.ip().is_loopback())
}

fn url_of(listener: &ListenerConfig) -> Option<MirrorUrl> {
    let (ip, port) = (listener.address.ip(), listener.address.port());
    let is_asked = listener.tls.is_none() && !listener.proxy_protocol && port != 0 && (ip.is_loopback() || ip.is_unspecified());
    let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
    is_asked.then(|| format!("http://{}", SocketAddr::new(ip, port)).parse().ok())?
}

/// As engines name it.
fn host_of(upstream: &UpstreamConfig) -> String {
    let said = upstream.answers_to.first().cloned();
    said.unwrap_or_else(|| upstream.name.to_string())
}

fn site(hub: &UpstreamConfig, config: &Config) -> Option<Site> {
    let bare = |url: &Url| url.origin().ascii_serialization().parse::<MirrorUrl>().ok();
    if hub.url.host_str().is_some_and(|host| HUB_NAMES.contains(&host)) {
        return None;
    }
    let mirrors = std::iter::once(&hub.url).chain(&hub.alternates).filter_map(bare).collect();
    let is_provable = config.upstreams.iter().any(|upstream| upstream.name.as_str() == SITE);
    Some(Site { mirrors, ca: hub.ca.clone(), is_provable })
}

/// What the site's mirror itself is called in such a configuration. The Hub's own names have no dots, and no registry has this top-level domain.
pub(crate) const SITE: &str = "site.chandler";
const HUB: &str = "docker.io";
const HUB_NAMES: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

#[cfg(test)]
mod tests {
    use mirror::config::{self, Sources};

    use super::*;

    fn config(yaml: &str) -> Config {
        config::resolve(&Sources::yaml(yaml)).unwrap_or_else(|problems| panic!("{yaml}\n{problems:?}")).config
    }

    fn urls(texts: &[&str]) -> Vec<MirrorUrl> {
        texts.iter().map(|text| text.parse().expect("a mirror")).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read_of_it() {
        let mirrors = urls(&["https://mirror.example", "http://10.0.0.7:5000"]);
        let registries = ["ghcr.io".to_owned(), "registry.corp:5000".to_owned()];
        let listen = "127.0.0.1:5010".parse().expect("an address");
        let yaml = Chain { listen, mirrors: &mirrors, ca: Some(Path::new("/etc/chandler/site-ca.pem")), registries: &registries }.yaml();
        insta::assert_snapshot!(yaml, @r#"
        # A mirror for this machine alone: engines ask it on loopback, and it asks the site's mirror.
        listeners: "127.0.0.1:5010"
        upstreams:
          - name: docker.io
            answers_to: ["docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"]
            url: "https://mirror.example/docker.io"
            alternates: ["http://10.0.0.7:5000/docker.io"]
            ca: "/etc/chandler/site-ca.pem"
          - name: ghcr.io
            answers_to: ["ghcr.io"]
            url: "https://mirror.example/ghcr.io"
            alternates: ["http://10.0.0.7:5000/ghcr.io"]
            ca: "/etc/chandler/site-ca.pem"
          - name: registry.corp-5000
            answers_to: ["registry.corp:5000"]
            url: "https://mirror.example/registry.corp:5000"
            alternates: ["http://10.0.0.7:5000/registry.corp:5000"]
            ca: "/etc/chandler/site-ca.pem"
          # The site's mirror as such: `chandler verify` proves by it that this mirror reaches that one. No registry has such a name.
          - name: site.chandler
            answers_to: ["site.chandler"]
            url: "https://mirror.example"
            alternates: ["http://10.0.0.7:5000"]
            ca: "/etc/chandler/site-ca.pem"
        "#);
        let site = Site { mirrors, ca: Some("/etc/chandler/site-ca.pem".into()), is_provable: true };
        let expected =
            LocalMirror { url: "http://127.0.0.1:5010".parse().expect("a mirror"), registries: registries.into(), site: Some(site) };
        assert_eq!(LocalMirror::of(&config(&yaml)), Some(expected));
    }

    #[test]
    fn engines_ask_the_first_listener_that_speaks_plain_http_on_this_machine() {
        for (yaml, url) in [
            ("", Some("http://127.0.0.1:5000")),
            ("listeners: ':5003'\naccess: open", Some("http://127.0.0.1:5003")),
            ("listeners: ['10.0.0.7:5000', '[::1]:5004']\naccess: open", Some("http://[::1]:5004")),
            ("listeners: '10.0.0.7:5000'\naccess: open", None),
            ("listeners: [{address: '127.0.0.1:5000', tls: {private: [mirror.internal]}}]", None),
            ("upstreams: [ghcr.io=https://ghcr.io]", None),
        ] {
            assert_eq!(LocalMirror::of(&config(yaml)).map(|local| local.url.to_string()).as_deref(), url, "{yaml}");
        }
    }

    #[test]
    fn a_mirror_that_asks_the_hub_itself_has_no_site_behind_it() {
        assert_eq!(LocalMirror::of(&config("")).expect("there is a listener").site, None);
        let by_hand = config("upstreams: [docker.io=http://mirror.internal:5000]");
        let site = Site { mirrors: urls(&["http://mirror.internal:5000"]), ca: None, is_provable: false };
        assert_eq!(LocalMirror::of(&by_hand).expect("there is a listener").site, Some(site));
        assert!(serves_others(&config("listeners: ':5000'\naccess: open"), 5000) && !serves_others(&by_hand, 5000));
    }
}
