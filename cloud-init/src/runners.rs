//! Runners of other CI systems: the lines that each of them needs so that builds inside its jobs pull through the mirror.
//!
//! A job's own image is pulled by the engine of the machine or node on which it runs: that engine is put behind the mirror as any other (`chandler apply`, or user data). What these documents are about are
//! the engines that a job brings along: a Docker inside of a container, and builders of `BuildKit`, which know nothing of the machine's settings.

mod buildkite;
mod drone;
mod github;
mod gitlab;
mod jenkins;
pub mod kubernetes;
mod woodpecker;

use std::fmt;

use crate::document::Document;
use crate::{MirrorUrl, PlacedFile, Provision};

/// A system, and in which of its forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum System {
    /// Buildkite's elastic stack on AWS.
    BuildkiteAws,
    /// Buildkite's agent stack for Kubernetes.
    BuildkiteKubernetes,
    /// Drone and Harness with `plugins/docker`.
    Drone,
    /// GitHub's Actions Runner Controller with `RunnerDeployment`.
    GithubArc,
    /// GitHub's Actions Runner Controller with scale sets.
    GithubArcScaleSet,
    /// GitHub's runner on a machine of one's own.
    GithubSelfHosted,
    /// GitLab's runner with the executor `docker`.
    GitlabDocker,
    /// GitLab's runner with the executor `docker+machine`.
    GitlabMachine,
    /// GitLab's runner with the executor `kubernetes`.
    GitlabKubernetes,
    /// Jenkins with its Kubernetes plugin.
    JenkinsKubernetes,
    /// Woodpecker with `plugin-docker-buildx`.
    Woodpecker,
}

/// What the engines that jobs bring along are told.
#[derive(Clone, Eq, PartialEq)]
pub struct Inner {
    /// The arguments of a dockerd.
    pub arguments: Vec<String>,
    /// Docker's mirrors, in order.
    pub mirrors: Vec<String>,
    /// Files that it reads, below [`CERTS_D`].
    pub files: Vec<PlacedFile>,
    /// A `buildkitd.toml`, whose certificates lie below [`CERTS_D`] too.
    pub buildkitd: String,
    /// What a machine of the system is born with, as a cloud-config.
    pub cloud_config: String,
    /// The same as a program that root runs on a machine that is there.
    pub program: String,
}

/// The program and the cloud-config may hold a key.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("mirrors", &self.mirrors).field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why a system has no document.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoRunner {
    /// A container's loopback is its own.
    #[error("{0} is the container itself there: name the mirror as other machines reach it")]
    Loopback(MirrorUrl),
    /// The planner has made nothing for Docker.
    #[error("nothing is to be said to Docker")]
    NoDocker,
}

impl Inner {
    /// Of what a new machine with Docker is given.
    pub fn new(
        provision: &Provision,
        mirrors: &[MirrorUrl],
        buildkitd: String,
        cloud_config: String,
        program: String,
    ) -> Result<Self, NoRunner> {
        if let Some(mirror) = mirrors.iter().find(|mirror| mirror.is_loopback()) {
            return Err(NoRunner::Loopback(mirror.clone()));
        }
        let keys = provision.docker.as_ref().ok_or(NoRunner::NoDocker)?;
        let flags = |name: &'static str, values: &[String]| values.iter().map(move |value| format!("--{name}={value}")).collect::<Vec<_>>();
        let arguments = [flags("registry-mirror", &keys.mirrors), flags("insecure-registry", &keys.insecure)].concat();
        let files = provision.files.iter().filter(|file| file.path.starts_with(CERTS_D)).cloned().collect();
        Ok(Self { arguments, mirrors: keys.mirrors.clone(), files, buildkitd, cloud_config, program })
    }

    fn has_key(&self) -> bool {
        self.files.iter().any(|file| file.content.secret)
    }
}

impl System {
    /// In the order in which they are told of.
    pub const ALL: [Self; 11] = [
        Self::GitlabDocker,
        Self::GitlabMachine,
        Self::GitlabKubernetes,
        Self::GithubSelfHosted,
        Self::GithubArc,
        Self::GithubArcScaleSet,
        Self::BuildkiteAws,
        Self::BuildkiteKubernetes,
        Self::Woodpecker,
        Self::Drone,
        Self::JenkinsKubernetes,
    ];

    /// As the command line takes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::BuildkiteAws => "buildkite-aws",
            Self::BuildkiteKubernetes => "buildkite-kubernetes",
            Self::Drone => "drone",
            Self::GithubArc => "github-arc",
            Self::GithubArcScaleSet => "github-arc-scale-set",
            Self::GithubSelfHosted => "github-self-hosted",
            Self::GitlabDocker => "gitlab-docker",
            Self::GitlabMachine => "gitlab-machine",
            Self::GitlabKubernetes => "gitlab-kubernetes",
            Self::JenkinsKubernetes => "jenkins-kubernetes",
            Self::Woodpecker => "woodpecker",
        }
    }

    /// What it needs.
    pub fn documents(self, inner: &Inner) -> Vec<Document> {
        match self {
            Self::BuildkiteAws => buildkite::aws(inner),
            Self::BuildkiteKubernetes => buildkite::kubernetes(inner),
            Self::Drone => drone::documents(inner),
            Self::GithubArc => github::arc(inner),
            Self::GithubArcScaleSet => github::arc_scale_set(inner),
            Self::GithubSelfHosted => github::self_hosted(inner),
            Self::GitlabDocker => gitlab::docker(inner),
            Self::GitlabMachine => gitlab::machine(inner),
            Self::GitlabKubernetes => gitlab::kubernetes(inner),
            Self::JenkinsKubernetes => jenkins::kubernetes(inner),
            Self::Woodpecker => woodpecker::documents(inner),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where Docker looks for certificates.
pub const CERTS_D: &str = "/etc/docker/certs.d";

/// The image of a Docker inside of a container: the newest, as each system's own documents have it.
const DIND: &str = "docker:dind";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Content, DockerKeys, Means};

    fn file(name: &str, mode: u32, secret: bool) -> PlacedFile {
        let content = Content { text: format!("what is in {name}\n"), secret };
        PlacedFile { path: format!("{CERTS_D}/mirror.example:5000/{name}"), mode, content }
    }

    /// A mirror over HTTPS with a private CA, and with a client's key where one is wanted.
    pub(crate) fn secure(with_key: bool) -> Inner {
        let mut files = vec![file("chandler-ca.crt", 0o644, false)];
        files.extend(with_key.then(|| file("chandler.key", 0o600, true)));
        let docker = Some(DockerKeys { mirrors: vec!["https://mirror.example:5000".to_owned()], insecure: Vec::new() });
        inner(&Provision { files, docker, means: Means::Script })
    }

    /// Two mirrors, of which one is without TLS.
    pub(crate) fn plain() -> Inner {
        let mirrors = ["http://10.0.0.7:5000", "https://mirror.example"].map(str::to_owned).to_vec();
        let docker = Some(DockerKeys { mirrors, insecure: vec!["http://10.0.0.7:5000".to_owned()] });
        inner(&Provision { files: Vec::new(), docker, means: Means::Script })
    }

    fn inner(provision: &Provision) -> Inner {
        let buildkitd = "[registry.\"docker.io\"]\nmirrors = [\"mirror.example:5000\"]\n".to_owned();
        Inner::new(provision, &[], buildkitd, "#cloud-config\n{}\n".to_owned(), "#!/bin/sh\ntrue\n".to_owned()).expect("something to say")
    }

    /// The texts, one after another.
    pub(crate) fn shown(documents: &[Document]) -> String {
        crate::document::joined(documents)
    }

    #[test]
    fn a_mirror_on_loopback_is_no_mirror_of_a_container() {
        let provision = Provision { files: Vec::new(), docker: Some(DockerKeys::default()), means: Means::Script };
        let mirror = ["http://127.0.0.1:5000".parse().expect("a mirror")];
        let made = Inner::new(&provision, &mirror, String::new(), String::new(), String::new());
        assert_eq!(made, Err(NoRunner::Loopback(mirror[0].clone())));
    }

    #[test]
    fn every_system_names_every_mirror_that_it_can_and_no_key_in_plain_sight() {
        for system in System::ALL {
            let documents = system.documents(&plain());
            let all = shown(&documents);
            assert!(all.contains("10.0.0.7:5000") || all.contains("mirror.example:5000") || all.contains("true"), "{system}:\n{all}");
            for document in system.documents(&secure(true)) {
                assert!(
                    document.secret || !document.text.contains("what is in chandler.key"),
                    "{system}: {}\n{}",
                    document.name,
                    document.text
                );
            }
        }
    }
}
