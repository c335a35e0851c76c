//! The vocabulary of the OCI distribution and image specifications: digests, names, references, media types, manifests.
//!
//! Everything here is a value that was parsed once and is right from then on. Nothing here knows of files, sockets or upstreams.
//! What a client or an upstream sends becomes one of these types at the edge, or an error there.

mod digest;
pub mod lists;
mod manifest;
mod name;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use manifest::{Child, ChildKind, ManifestError, ManifestFacts, MediaType};
pub use name::{NameError, Reference, RepoName, Tag};

/// Largest manifest that is accepted, in bytes: containerd's own limit (4 · 1048 · 1048), above which no client takes it.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1048 * 1048;
