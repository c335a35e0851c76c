//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`, and the hash that computes them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The digest of a blob or a manifest: lower-case hex on the outside, bytes inside.
///
/// The rare long form is boxed, so that the index pays 40 bytes a blob and not 65.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Digest {
    /// `sha256:…`, what every registry uses.
    Sha256([u8; 32]),
    /// `sha512:…`, which the specification allows as well.
    Sha512(Box<[u8; 64]>),
}

impl Digest {
    /// The digest of `bytes` by `algorithm`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Which hash this is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The raw hash.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => &bytes[..],
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hash) = text.split_once(':').ok_or(DigestError::Form)?;
        if hash.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(DigestError::Hash); // The specification wants lower case; two spellings would be two files.
        }
        match algorithm {
            "sha256" => fixed(hash).map(Self::Sha256),
            "sha512" => fixed(hash).map(Box::new).map(Self::Sha512),
            _ => Err(DigestError::Algorithm),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The hashes of the image specification.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name in a digest and in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hash that is being computed. A clone goes on from the same point: that is how a reader which falls off a shared fetch checks the rest for itself.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    /// A hash of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let context = match algorithm {
            Algorithm::Sha256 => Context::new(&SHA256),
            Algorithm::Sha512 => Context::new(&SHA512),
        };
        Self { algorithm, context }
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let hash = self.context.finish();
        match self.algorithm {
            Algorithm::Sha256 => Digest::Sha256(hash.as_ref().try_into().expect("SHA-256 is 32 bytes")),
            Algorithm::Sha512 => Digest::Sha512(Box::new(hash.as_ref().try_into().expect("SHA-512 is 64 bytes"))),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why a text is no digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DigestError {
    /// A hash that this mirror does not compute.
    #[error("the digest's algorithm is neither sha256 nor sha512")]
    Algorithm,
    /// No `algorithm:hash`.
    #[error("a digest has the form algorithm:hex")]
    Form,
    /// Wrong length or letters.
    #[error("the digest's hash is not lower-case hex of the algorithm's length")]
    Hash,
}

fn fixed<const N: usize>(hash: &str) -> Result<[u8; N], DigestError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(hash, &mut bytes).map_err(|_| DigestError::Hash)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_computed_and_written_as_the_specification_says() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().expect("a digest"), Digest::of(Algorithm::Sha256, b""));
        assert_eq!(Digest::of(Algorithm::Sha512, b"").to_string().len(), "sha512:".len() + 128);
    }

    #[test]
    fn what_is_not_quite_a_digest_is_refused_with_its_reason() {
        for (text, error) in [
            ("", DigestError::Form),
            ("sha256", DigestError::Form),
            ("sha256:", DigestError::Hash),
            ("sha256:baddigeststring", DigestError::Hash),
            (&EMPTY.to_uppercase().replace("SHA256", "sha256"), DigestError::Hash),
            (&format!("{EMPTY}00"), DigestError::Hash),
            (&EMPTY.replace("sha256", "sha512"), DigestError::Hash),
            ("md5:d41d8cd98f00b204e9800998ecf8427e", DigestError::Algorithm),
        ] {
            assert_eq!(text.parse::<Digest>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_index_pays_forty_bytes_for_a_digest() {
        assert_eq!(size_of::<Digest>(), 40);
    }

    proptest! {
        #[test]
        fn any_digest_reads_back_as_itself(content: Vec<u8>, long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let digest = Digest::of(algorithm, &content);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<Digest>();
        }
    }
}
