//! The values of a configuration: sizes, limits, names, patterns, secrets. Each is parsed once.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

/// A number of bytes, written as `512MiB`, `20GB`, `80 GiB` or a bare number.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| ValueError::Size)?;
        let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1000,
            "ki" | "kib" => 1 << 10,
            "m" | "mb" => 1_000_000,
            "mi" | "mib" => 1 << 20,
            "g" | "gb" => 1_000_000_000,
            "gi" | "gib" => 1 << 30,
            "t" | "tb" => 1_000_000_000_000,
            "ti" | "tib" => 1_u64 << 40,
            _ => return Err(ValueError::Size),
        };
        number.checked_mul(unit).map(Self).ok_or(ValueError::Size)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that divides it, so that it reads back as itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A bound on disk space: bytes, or a share of the file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// So many bytes.
    Bytes(ByteSize),
    /// 1–100 % of the file system's size.
    Percent(u8),
}

impl Limit {
    /// In bytes, on a file system of `total` bytes.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(size) => size.0,
            Self::Percent(share) => total / 100 * u64::from(share),
        }
    }
}

impl FromStr for Limit {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let Some(share) = text.trim().strip_suffix('%') else { return text.parse().map(Self::Bytes) };
        match share.trim().parse() {
            Ok(share @ 0..=100) => Ok(Self::Percent(share)),
            _ => Err(ValueError::Share),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) => size.fmt(f),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

/// An upstream's name in paths, logs and metrics: lower-case letters, digits, dots and dashes.
///
/// Never a host with a port: Podman cannot parse `mirror:5000/registry.corp:5000/x`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpstreamName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let plain = bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        if plain && edge(bytes.first()) && edge(bytes.last()) && text.len() <= 128 && !text.contains("..") {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::UpstreamName)
        }
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern over repository names: `*` within a component, `**` across, `?`, `[a-z]`, `{a,b}`.
#[derive(Clone)]
pub struct Pattern(GlobMatcher);

impl Pattern {
    /// Whether `name` fits.
    pub fn fits(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl FromStr for Pattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|_| ValueError::Pattern)?;
        if text.is_empty() { Err(ValueError::Pattern) } else { Ok(Self(glob.compile_matcher())) }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A pattern over the names in a client's certificate: `*` is any text, dots too; capitals are small letters, as in names of hosts.
#[derive(Clone)]
pub struct ClientPattern(GlobMatcher);

impl ClientPattern {
    /// Whether one of `names` fits. `*` fits a certificate without any.
    pub fn fits(&self, names: &[Box<str>]) -> bool {
        if names.is_empty() { self.0.is_match("") } else { names.iter().any(|name| self.0.is_match(&**name)) }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl FromStr for ClientPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let glob = GlobBuilder::new(text).case_insensitive(true).build().map_err(|_| ValueError::ClientPattern)?;
        if text.is_empty() { Err(ValueError::ClientPattern) } else { Ok(Self(glob.compile_matcher())) }
    }
}

impl fmt::Debug for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialEq for ClientPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A password or token. Nothing that prints a value prints this one.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one request that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why a text is no such value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// Not a glob.
    #[error("not a pattern: write a name, or one with * for any text, such as runner-*.example.com")]
    ClientPattern,
    /// Not a glob.
    #[error("not a pattern: use * within a component, ** across, ?, [a-z] or {{a,b}}")]
    Pattern,
    /// Not 0–100 %.
    #[error("a share of the disk is a whole number from 0% to 100%")]
    Share,
    /// Not a size.
    #[error("not a size: write a whole number with a unit, such as 512MiB or 20GiB")]
    Size,
    /// Not a name.
    #[error("an upstream's name has lower-case letters, digits, dots and dashes, and starts and ends with a letter or digit")]
    UpstreamName,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_limits_read_as_people_write_them() {
        for (text, bytes) in [("0", 0), ("12", 12), ("20GiB", 20 << 30), ("20 gb", 20_000_000_000), ("1k", 1000), ("1Ki", 1024)] {
            assert_eq!(text.parse::<ByteSize>().expect(text).0, bytes);
        }
        for text in ["", "GiB", "-1", "1.5GiB", "1 Zettabyte", "99999999999TiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(ValueError::Size), "{text}");
        }
        assert_eq!("80%".parse::<Limit>().expect("a share").of(1000), 800);
        assert_eq!("101%".parse::<Limit>(), Err(ValueError::Share));
    }

    #[test]
    fn a_pattern_stays_within_a_component_unless_it_says_otherwise() {
        let fits = |pattern: &str, name| pattern.parse::<Pattern>().expect(pattern).fits(name);
        assert!(fits("acme/*", "acme/app") && !fits("acme/*", "acme/team/app") && fits("acme/**", "acme/team/app"));
        assert!(!fits("acme/*", "acme") && !fits("acme", "acme2"));
        assert!("".parse::<Pattern>().is_err() && "a[".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_secret_prints_as_nothing_but_the_word() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some((secret))");
    }

    #[test]
    fn an_upstreams_name_is_a_safe_folder_and_path_component() {
        assert!("registry.corp-1".parse::<UpstreamName>().is_ok());
        for name in ["", "a:5000", "a/b", ".a", "a..b", "A", "_a"] {
            assert_eq!(name.parse::<UpstreamName>(), Err(ValueError::UpstreamName), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_size_reads_back_as_itself(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
    }
}
