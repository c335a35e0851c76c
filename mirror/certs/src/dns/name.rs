//! Names as DNS has them: labels of bytes, compared without regard to capitals.

use std::fmt;
use std::str::FromStr;

/// A name, in small letters; none of its labels is empty, and all of it fits a message (RFC 1035 2.3.4).
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Vec<Vec<u8>>);

/// Why a text is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no name in DNS: labels of up to 63 letters, digits, hyphens and underscores, joined by dots")]
pub struct NameError(String);

impl Name {
    /// Of labels as they came; `None` where they are too long.
    pub(super) fn of(labels: Vec<Vec<u8>>) -> Option<Self> {
        let length: usize = labels.iter().map(|label| label.len() + 1).sum();
        let fits = length < MAX_WIRE && labels.iter().all(|label| (1..=MAX_LABEL).contains(&label.len()));
        fits.then(|| Self(labels.into_iter().map(|label| label.to_ascii_lowercase()).collect()))
    }

    /// With one label before it; `None` where that is too long.
    pub fn under(&self, label: &str) -> Option<Self> {
        Self::of(std::iter::once(label.as_bytes().to_vec()).chain(self.0.iter().cloned()).collect())
    }

    /// Without its first label; the root has none.
    pub fn parent(&self) -> Option<Self> {
        Some(Self(self.0.get(1..)?.to_vec()))
    }

    /// Itself, its parent, and so on up to the name before the root.
    pub fn ancestry(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.0.len()).map(|skipped| Self(self.0[skipped..].to_vec()))
    }

    /// Whether it is `zone`, or lies below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.0.ends_with(&zone.0)
    }

    /// The end of all names.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// As it stands in a message, without compression: the canonical form that is signed (RFC 4034 6.2).
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for label in &self.0 {
            out.push(label.len() as u8);
            out.extend_from_slice(label);
        }
        out.push(0);
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError(text.to_owned());
        let bare = text.strip_suffix('.').unwrap_or(text);
        if bare.is_empty() {
            return if text == "." { Ok(Self::default()) } else { Err(wrong()) };
        }
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*');
        if !bare.bytes().all(|byte| is_inner(byte) || byte == b'.') {
            return Err(wrong());
        }
        Self::of(bare.split('.').map(|label| label.as_bytes().to_vec()).collect()).ok_or_else(wrong)
    }
}

impl fmt::Display for Name {
    /// Without the dot at its end, but for the root.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (number, label) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
        }
        Ok(())
    }
}

const MAX_LABEL: usize = 63;
/// With the root's label at its end.
const MAX_WIRE: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn names_are_compared_without_capitals_and_without_the_last_dot() {
        assert_eq!(name("_acme-challenge.Mirror.TEST."), name("_acme-challenge.mirror.test"));
        assert_eq!(name(".").to_string(), ".");
        for wrong in ["", "..", "a..b", ".a", "a b", "ä.test", &"a".repeat(64), &["abcdefg"; 32].join(".")] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_knows_what_lies_above_it() {
        let above: Vec<String> = name("a.b.test").ancestry().map(|name| name.to_string()).collect();
        assert_eq!(above, ["a.b.test", "b.test", "test"]);
        assert!(name("a.b.test").is_within(&name("b.test")) && name("b.test").is_within(&name("b.test")));
        assert!(!name("ab.test").is_within(&name("b.test")) && name("b.test").is_within(&Name::default()));
        assert_eq!(name("b.test").under("a"), Some(name("a.b.test")));
    }

    #[test]
    fn bytes_that_are_no_text_are_written_as_numbers() {
        let odd = Name::of(vec![b"a.b".to_vec(), vec![0, b'\\']]).expect("short");
        assert_eq!(odd.to_string(), r"a\.b.\000\\");
    }
}
