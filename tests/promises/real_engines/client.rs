//! All engines with the same few verbs.

use tests::engine::{Answer, Containerd, Crane, Dockerd, Podman};

/// An engine. Images are named without a registry: `library/alpine:3`, `library/alpine@sha256:…`.
pub(super) enum Client {
    /// containerd with `ctr`.
    Containerd(Containerd),
    /// crane, and the mirror's `HOST:PORT`.
    Crane(Crane, String),
    /// A Docker daemon.
    Docker(Dockerd),
    /// Podman.
    Podman(Podman),
    /// Skopeo.
    Skopeo(Podman),
}

impl Client {
    /// Takes the whole image, and checks it as far as the engine can.
    pub(super) async fn pull(&self, image: &str) -> Answer {
        let full = format!("docker.io/{image}");
        match self {
            Self::Containerd(containerd) => containerd.pull(&full).await,
            Self::Crane(crane, mirror) => {
                let reference = format!("{mirror}/{image}");
                if image.contains("attested") {
                    // Its check takes an attestation for an image without layers.
                    return crane.pull_index(&reference).await;
                }
                crane.validate(&reference).await
            }
            Self::Docker(docker) => docker.pull(&full).await,
            Self::Podman(podman) => podman.pull(&full).await,
            Self::Skopeo(podman) => {
                let copy = format!("dir:{}", podman.machine().folder().join("copy").display());
                podman.skopeo(["copy", "--all", &format!("docker://{full}"), &copy]).await
            }
        }
    }

    /// Asserts that the image is known by the digest under which the Hub has it.
    pub(super) async fn assert_has(&self, image: &str, digest: &str) {
        let full = format!("docker.io/{image}");
        let said = match self {
            Self::Containerd(containerd) => containerd.image_digest(&full).await,
            Self::Crane(crane, mirror) => crane.digest(&format!("{mirror}/{image}")).await.expect_success(),
            Self::Docker(docker) => docker.image_digest(&full).await,
            // The digest of an index is among several.
            Self::Podman(podman) => podman.podman(["image", "inspect", "--format", "{{.RepoDigests}}", &full]).await.expect_success(),
            Self::Skopeo(podman) => {
                let inspect = ["inspect", "--no-tags", "--format", "{{.Digest}}", &format!("docker://{full}")];
                podman.skopeo(inspect).await.expect_success()
            }
        };
        assert!(said.contains(digest), "{image} is {digest}, not {said}");
    }

    /// Runs the image where that is the engine's business.
    pub(super) async fn assert_says_hello(&self, image: &str) {
        let full = format!("docker.io/{image}");
        let said = match self {
            Self::Docker(docker) => docker.run(["--pull", "never", &full]).await,
            Self::Podman(podman) => podman.run(["--pull", "never", &full]).await,
            Self::Containerd(_) | Self::Crane(..) | Self::Skopeo(_) => return,
        };
        assert_eq!(said.expect_success(), "hello\n");
    }

    /// Forgets the image where it was kept.
    pub(super) async fn remove(&self, image: &str) {
        let full = format!("docker.io/{image}");
        match self {
            Self::Containerd(containerd) => containerd.rmi(&full).await.expect_success(),
            // The digest's name goes with the tag's in some stores.
            Self::Docker(docker) => docker.rmi(&full).await.stdout,
            Self::Podman(podman) => podman.rmi(&full).await.stdout,
            Self::Crane(..) | Self::Skopeo(_) => String::new(),
        };
    }
}
