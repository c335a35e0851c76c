//! Content addresses as the test Hub computes them: with aws-lc-rs, apart from the mirror's own code.

use std::fmt;

use aws_lc_rs::digest;

/// An address such as `sha256:9f86…`, always of bytes that were hashed here or of a well-formed text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

/// The two algorithms that OCI registers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// What everybody uses.
    #[default]
    Sha256,
    /// Allowed by the OCI specification, rare.
    Sha512,
}

impl Digest {
    /// Hashes `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let (name, hash) = match algorithm {
            Algorithm::Sha256 => ("sha256", &digest::SHA256),
            Algorithm::Sha512 => ("sha512", &digest::SHA512),
        };
        Self(format!("{name}:{}", hex::encode(digest::digest(hash, bytes))))
    }

    /// The sha256 address of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The sha512 address of `bytes`.
    pub fn sha512(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha512, bytes)
    }

    /// Reads an address; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return None,
        };
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (hex.len() == length && hex.bytes().all(lower_hex)).then(|| Self(text.to_owned()))
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the colon.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
