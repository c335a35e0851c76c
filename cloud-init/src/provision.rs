//! What one machine is given at its first boot so that its engines pull through the mirror. Values.
//!
//! What an engine must be told is the agent's knowledge: its planners make the files for an empty tree, and this carries them. Only Docker's `daemon.json` is somebody else's as well (the image's,
//! a provisioner's), so of that there are keys to merge and no file.

use std::fmt;
use std::str::FromStr;

/// All that a machine needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provision {
    /// Whole files, which nobody else writes: CA and client certificates, Podman's drop-in, `hosts.toml`.
    pub files: Vec<PlacedFile>,
    /// For Docker; `None` where the machine has none.
    pub docker: Option<DockerKeys>,
    /// By what it is done.
    pub means: Means,
}

/// A file with its place and its mode; its owner is root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlacedFile {
    /// Absolute.
    pub path: String,
    /// Such as `0o644`; keys have `0o600`.
    pub mode: u32,
    /// What is in it.
    pub content: Content,
}

/// The text of a file.
#[derive(Clone, Eq, PartialEq)]
pub struct Content {
    /// Whole.
    pub text: String,
    /// A key: nobody is shown it, but for whom the document is made.
    pub secret: bool,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("(secret)") } else { self.text.fmt(f) }
    }
}

/// What is ours in `daemon.json`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DockerKeys {
    /// `registry-mirrors`: ours, before those that are there.
    pub mirrors: Vec<String>,
    /// `insecure-registries`: added to those that are there.
    pub insecure: Vec<String>,
}

/// By what a machine's engines are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Means {
    /// By what every machine with cloud-init has: its Python. Nothing is fetched, and the mirror need not be there.
    Script,
    /// By chandler itself, fetched from the mirror at the first boot and run only if its digest is this one.
    Agent(Sha256),
}

/// The digest of a program, as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sha256(String);

/// What is no such digest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no SHA-256: 64 hexadecimal digits, with or without `sha256:` before them")]
pub struct NoSha256(String);

impl Sha256 {
    /// The digits.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sha256 {
    type Err = NoSha256;

    fn from_str(text: &str) -> Result<Self, NoSha256> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(digits.to_ascii_lowercase()))
        } else {
            Err(NoSha256(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hexadecimal_digits_and_nothing_else() {
        let digits = "0123456789abcdef".repeat(4);
        for good in [digits.clone(), digits.to_uppercase(), format!("sha256:{digits}")] {
            assert_eq!(good.parse::<Sha256>().expect("a digest").hex(), digits);
        }
        for bad in ["", "sha256:", &digits[1..], &format!("{digits}0"), &digits.replace('a', "g"), &format!("sha512:{digits}")] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_not_in_what_a_log_would_show() {
        let file = PlacedFile { path: "/k".to_owned(), mode: 0o600, content: Content { text: "KEY".to_owned(), secret: true } };
        assert!(!format!("{file:?}").contains("KEY"));
    }
}
