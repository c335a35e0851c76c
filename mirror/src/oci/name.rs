//! Repository names, tags and references, by the distribution specification's grammar.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Digest;

/// The name of a repository at its upstream, without any host: `library/alpine`.
///
/// Cheap to clone. Each component starts and ends with a letter or digit, so it is also a safe path of folders:
/// no component can be `..`, empty or start with `_` or `.`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RepoName(Arc<str>);

impl RepoName {
    /// Most characters a name may have, as in the reference implementation.
    pub const MAX_LENGTH: usize = 255;

    /// The name as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, in order; at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(NameError::Length);
        }
        if text.split('/').all(is_component) { Ok(Self(text.into())) } else { Err(NameError::Repository) }
    }
}

/// A tag: a name in a repository that its owner may move.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;

    /// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if starts && goes_on && text.len() <= 128 { Ok(Self(text.into())) } else { Err(NameError::Tag) }
    }
}

/// What follows `/manifests/`: a tag, or a digest.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reference {
    /// Exactly these bytes.
    Digest(Digest),
    /// Whatever the owner says today.
    Tag(Tag),
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') {
            return text.parse().map(Self::Digest).map_err(NameError::Digest);
        }
        text.parse().map(Self::Tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// It has a colon, so it must be a digest, and is none.
    #[error(transparent)]
    Digest(DigestError),
    /// Longer than any registry takes.
    #[error("a repository name has at most {} characters", RepoName::MAX_LENGTH)]
    Length,
    /// Not `a-z0-9` components with single separators between.
    #[error("a repository name has lower-case components of letters and digits, separated by / . _ __ or -")]
    Repository,
    /// Not the grammar of a tag.
    #[error("a tag has up to 128 letters, digits, dots, dashes and underscores, and starts with none of . and -")]
    Tag,
}

use super::DigestError;

macro_rules! written_as_its_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
written_as_its_text!(RepoName);
written_as_its_text!(Tag);

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_word(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        match rest {
            [] => return true,
            [b'_', b'_', after @ ..] | [b'_' | b'.', after @ ..] => rest = after,
            [b'-', ..] => rest = &rest[rest.iter().take_while(|byte| **byte == b'-').count()..],
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_the_specification_allows_are_taken() {
        for name in ["alpine", "library/alpine", "a__b", "a--b", "a---b/c.d", "docker.io/library/alpine", "0/1"] {
            assert_eq!(name.parse::<RepoName>().expect(name).as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_folder_or_collide_are_refused() {
        for name in
            ["", "/", "a//b", "a/", "/a", "..", "a/../b", "_tags", "a/_tags", "a___b", "a..b", "A", "a b", "a%2fb", "-a", "a-", "a._b"]
        {
            assert_eq!(name.parse::<RepoName>(), Err(NameError::Repository), "{name}");
        }
        assert_eq!("a".repeat(256).parse::<RepoName>(), Err(NameError::Length));
    }

    #[test]
    fn a_reference_is_a_digest_where_it_has_a_colon() {
        assert!(matches!("latest".parse(), Ok(Reference::Tag(_))));
        assert!(matches!("_x.Y-1".parse(), Ok(Reference::Tag(_))));
        assert!(matches!(Reference::from_str("sha256:bad"), Err(NameError::Digest(_))));
        for tag in ["", ".a", "-a", "a/b", &"a".repeat(129)] {
            assert_eq!(Reference::from_str(tag), Err(NameError::Tag), "{tag}");
        }
    }

    proptest! {
        #[test]
        fn the_grammar_is_the_specifications_own(text in "[a-c0._/-]{0,12}") {
            let by_words = !text.is_empty() && text.split('/').all(|component| {
                let words: Vec<&str> = component.split(['.', '_', '-']).collect();
                words.first().is_some_and(|w| !w.is_empty())
                    && words.last().is_some_and(|w| !w.is_empty())
                    && separators(component).iter().all(|s| matches!(s.as_str(), "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
            });
            prop_assert_eq!(text.parse::<RepoName>().is_ok(), by_words);
        }
    }

    fn separators(component: &str) -> Vec<String> {
        component.split(|c: char| c.is_ascii_alphanumeric()).filter(|run| !run.is_empty()).map(str::to_owned).collect()
    }
}
