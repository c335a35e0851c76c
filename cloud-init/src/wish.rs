//! What the operator wants of the machine's engines. Values.

use std::fmt;

use crate::MirrorUrl;

/// A program that pulls images and is told of mirrors in its own way.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Engine {
    /// dockerd, with either image store.
    Docker,
    /// Podman, Buildah, Skopeo and CRI-O, which share `registries.conf`.
    Podman,
    /// containerd, also as k3s and RKE2 bring it.
    Containerd,
    /// buildkitd by itself.
    BuildKit,
    /// No engine: the system's store of CAs, which is changed on request alone.
    System,
}

impl Engine {
    /// In the order in which they are planned.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Podman, Self::Containerd, Self::BuildKit];
    /// All for whom files may be changed.
    pub const RECORDED: [Self; 5] = [Self::Docker, Self::Podman, Self::Containerd, Self::BuildKit, Self::System];

    /// As `--engine` takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::BuildKit => "buildkit",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Containerd => "containerd",
            Self::BuildKit => "BuildKit",
            Self::System => "the system's store",
        })
    }
}

/// What becomes of mirrors that others configured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Others {
    /// They stay, ours go before them.
    #[default]
    Keep,
    /// Ours alone.
    Replace,
}

/// Which mirrors, trusted by what, for which registries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// In the order in which they are asked; never empty.
    pub mirrors: Vec<MirrorUrl>,
    /// The certificates (PEM, one after another) by which machines know the mirrors over HTTPS; none where the system's own do.
    pub anchors: Option<String>,
    /// A client certificate and its key, both PEM, for mirrors that ask for one.
    pub client: Option<ClientPair>,
    /// Registries beyond Docker Hub that are pulled through the mirrors, where the engine can: `ghcr.io`, `registry.corp:5000`.
    pub registries: Vec<String>,
    /// Mirrors that are there already.
    pub others: Others,
}

/// A client certificate.
#[derive(Clone, Eq, PartialEq)]
pub struct ClientPair {
    /// The chain, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
}

impl fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPair").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}
