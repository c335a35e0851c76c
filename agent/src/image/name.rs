//! What an image is called: `chandler:latest`, `registry.corp:5000/ci/chandler:1`.

use std::fmt;
use std::str::FromStr;

use mirror::oci::{NameError, RepoName, Tag};

/// An image's name and tag, as people write it and as engines keep it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ImageName {
    registry: Option<String>,
    repository: RepoName,
    tag: Tag,
}

/// Why a text names no image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ImageNameError {
    #[error("an image that is made has no digest before: write NAME:TAG")]
    Digest,
    #[error(transparent)]
    Part(#[from] NameError),
    #[error("{0:?} is no registry's host and port")]
    Registry(String),
}

impl ImageName {
    /// With registry and `library/`, as engines keep it.
    pub(super) fn in_full(&self) -> String {
        let (repository, tag) = (&self.repository, &self.tag);
        match &self.registry {
            Some(registry) => format!("{registry}/{repository}:{tag}"),
            None if repository.as_str().contains('/') => format!("docker.io/{repository}:{tag}"),
            None => format!("docker.io/library/{repository}:{tag}"),
        }
    }

    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        if text.contains('@') {
            return Err(ImageNameError::Digest);
        }
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, "latest"),
        };
        // As engines tell a host from the first word of a repository.
        let (registry, repository) = match name.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(registry(host)?), rest),
            _ => (None, name),
        };
        Ok(Self { registry, repository: repository.parse()?, tag: tag.parse()? })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

fn registry(text: &str) -> Result<String, ImageNameError> {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok()) {
        Ok(text.to_owned())
    } else {
        Err(ImageNameError::Registry(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_kept_as_engines_keep_it() {
        for (text, short, full) in [
            ("chandler", "chandler:latest", "docker.io/library/chandler:latest"),
            ("ci/chandler:1", "ci/chandler:1", "docker.io/ci/chandler:1"),
            ("localhost/chandler", "localhost/chandler:latest", "localhost/chandler:latest"),
            ("registry.corp:5000/ci/chandler:1.2", "registry.corp:5000/ci/chandler:1.2", "registry.corp:5000/ci/chandler:1.2"),
        ] {
            let name: ImageName = text.parse().expect(text);
            assert_eq!((name.to_string().as_str(), name.in_full().as_str()), (short, full));
        }
    }

    #[test]
    fn what_no_engine_would_take_is_refused() {
        for text in ["", ":1", "Chandler", "chandler:", "chandler:a b", "a..b:x/chandler", "h:99999/x", "x@sha256:0", "registry.corp/"] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_reads_back_as_itself(text in "[a-z.:/0-9-]{1,24}") {
            if let Ok(name) = text.parse::<ImageName>() {
                prop_assert_eq!(name.to_string().parse::<ImageName>(), Ok(name));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<ImageName>();
        }
    }
}
