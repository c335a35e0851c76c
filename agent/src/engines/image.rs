//! An image's name in full, as engines take it: registry, repository, and a tag or a digest. Pure.

use std::fmt;
use std::str::FromStr;

/// `docker.io/library/alpine:3.20`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// `docker.io`, `ghcr.io`, `registry.corp:5000`
    pub registry: String,
    /// `library/alpine`
    pub repository: String,
    /// `3.20`, or `sha256:…`.
    pub reference: String,
}

impl Image {
    /// With its registry.
    pub fn repository_in_full(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    fn is_by_digest(&self) -> bool {
        self.reference.contains(':')
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_by_digest() { '@' } else { ':' };
        write!(f, "{}{mark}{}", self.repository_in_full(), self.reference)
    }
}

impl FromStr for Image {
    type Err = String;

    /// What is left out is as for `docker pull`: Docker Hub, its `library`, `latest`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` names no image: write it as for `docker pull`, such as alpine:3.20 or ghcr.io/acme/tool@sha256:…");
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = name[last..].find(':').map_or((name, None), |colon| (&name[..last + colon], Some(&name[last + colon + 1..])));
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (first, rest),
            _ => ("docker.io", name),
        };
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let library = registry == "docker.io" && !path.contains('/');
        let is_path = path.split('/').all(is_component);
        let is_reference = digest.map_or_else(|| tag.is_none_or(is_tag), |digest| is_digest(digest) && tag.is_none_or(is_tag));
        if !(is_path && is_registry(registry) && is_reference) {
            return Err(wrong());
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: if library { format!("library/{path}") } else { path.to_owned() },
            reference: digest.or(tag).unwrap_or("latest").to_owned(),
        })
    }
}

/// A name or an address, and its port where it has one.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    is_port && !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'))
}

/// Small letters and digits, with dots, dashes and underscores within.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain) && text.ends_with(plain) && text.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word) && text.len() <= 128 && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(kind, hex)| {
        kind.chars().all(|c| c.is_ascii_alphanumeric()) && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_as_for_docker_pull() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("acme/tool", "docker.io/acme/tool:latest"),
            ("index.docker.io/alpine:1", "docker.io/library/alpine:1"),
            ("ghcr.io/acme/tool:v1.2-rc_3", "ghcr.io/acme/tool:v1.2-rc_3"),
            ("registry.corp:5000/x", "registry.corp:5000/x:latest"),
            ("localhost/x:1", "localhost/x:1"),
            (&format!("alpine@{digest}"), &format!("docker.io/library/alpine@{digest}")),
            (&format!("alpine:3.20@{digest}"), &format!("docker.io/library/alpine@{digest}")),
        ] {
            let image: Image = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(image.to_string(), full, "{text}");
            assert_eq!(full.parse(), Ok(image), "{text}");
        }
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for text in
            ["", ":1", "Alpine", "alpine:", "alpine:a/b", "alpine@sha256", "alpine@sha256:12", "--all", "a b", "http://x/y", "x/../y", "/x"]
        {
            assert!(text.parse::<Image>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_misread_and_what_is_read_is_read_again(text in "\\PC{0,40}") {
            if let Ok(image) = text.parse::<Image>() {
                proptest::prop_assert_eq!(image.to_string().parse(), Ok(image));
            }
        }
    }
}
