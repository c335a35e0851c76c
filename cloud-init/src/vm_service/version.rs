//! Which CircleCI servers have a VM service that takes a template.

use std::fmt;
use std::str::FromStr;

/// A server's version that has it: 2.19 and later 2.x.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    minor: u32,
    patch: u32,
}

/// Why a server has none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsuitable {
    /// It is too old.
    #[error(
        "CircleCI Server {0} has no VM service whose template can be replaced: that came with 2.19.0; update the server, or build a machine image with the mirror in it"
    )]
    Old(String),
    /// It is made otherwise.
    #[error(
        "CircleCI Server {0} has no customizations file: its machines come from an image, see `chandler cloud-init packer`, and its Nomad clients from `chandler cloud-init terraform`"
    )]
    New(String),
    /// It is no version.
    #[error("`{0}` is no version of CircleCI Server, such as 2.19.14")]
    Unreadable(String),
}

impl FromStr for Version {
    type Err = Unsuitable;

    fn from_str(text: &str) -> Result<Self, Unsuitable> {
        let unreadable = || Unsuitable::Unreadable(text.to_owned());
        let bare = text.trim().strip_prefix('v').unwrap_or(text.trim());
        let numbers = bare.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(str::parse::<u32>);
        let mut next = || numbers.next().transpose().map_err(|_| unreadable());
        let (major, minor, patch) = (next()?.ok_or_else(unreadable)?, next()?.unwrap_or(0), next()?.unwrap_or(0));
        match (major, minor) {
            (2, 19..) => Ok(Self { minor, patch }),
            (..=2, _) => Err(Unsuitable::Old(bare.to_owned())),
            _ => Err(Unsuitable::New(bare.to_owned())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2.{}.{}", self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_2_19_on_have_it_and_3_has_it_no_more() {
        for (text, shown) in [("2.19.0", "2.19.0"), ("2.19", "2.19.0"), ("v2.19.14", "2.19.14"), (" 2.20.1-rc1\n", "2.20.1")] {
            assert_eq!(text.parse::<Version>().map(|version| version.to_string()).as_deref(), Ok(shown));
        }
        for old in ["2.18.5", "1.48.0", "2", "0.1"] {
            assert_eq!(old.parse::<Version>(), Err(Unsuitable::Old(old.to_owned())));
        }
        for new in ["3.0.0", "4.10.2", "4"] {
            assert_eq!(new.parse::<Version>(), Err(Unsuitable::New(new.to_owned())));
        }
        for none in ["", "latest", "2.x", "two.19"] {
            assert_eq!(none.parse::<Version>(), Err(Unsuitable::Unreadable(none.to_owned())));
        }
    }
}
