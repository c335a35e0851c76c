//! What a machine is given that is not there yet: the planners' steps for a machine on which nothing was ever configured, as a [`Provision`] that documents carry to it.
//!
//! There is no machine behind it, and no I/O: facts say that the engines will be there and that no file is. Docker's `daemon.json` alone is left to the new machine itself, which has one of its
//! image's, perhaps; so of that only the keys are taken.

use std::path::{Path, PathBuf};

use cloud_init::user_data::enrolment;
use cloud_init::{Content, DockerKeys, Means, PlacedFile, Provision};

use crate::edit::{daemon, utf8};
use crate::engines::containerd::settings::Settings;
use crate::engines::{Change, Engine, Finding, Others, Step, Weight, Wish};
use crate::engines::{buildkit, containerd, docker, podman, system_store};
use crate::machine::Machine;

/// What a machine is given, and what a person must know of it.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) provision: Provision,
    pub(crate) findings: Vec<Finding>,
}

/// Why there is nothing to give.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BirthError {
    #[error("{engine} cannot be told of it: {what}")]
    Blocked { engine: Engine, what: String },
    #[error("no engine is named")]
    NoEngine,
    #[error("{} is not what Docker would read", path.display())]
    Unread { path: PathBuf, source: crate::edit::Misread },
}

/// What the planners have for these engines, each alone on a new machine.
pub(crate) fn birth(wish: &Wish, engines: &[Engine], means: Means) -> Result<Birth, BirthError> {
    if engines.is_empty() {
        return Err(BirthError::NoEngine);
    }
    let machine = nothing_but(engines);
    let mut birth = Birth { provision: Provision { files: Vec::new(), docker: None, means }, findings: Vec::new() };
    for engine in Engine::ALL.into_iter().filter(|engine| engines.contains(engine)) {
        let plan = machine.plan(engine, wish);
        if let Some(finding) = plan.findings.iter().find(|finding| finding.weight == Weight::Blocks) {
            return Err(BirthError::Blocked { engine, what: finding.what.clone() });
        }
        for change in plan.steps.iter().filter_map(Step::change) {
            birth.take(change)?;
        }
        birth.findings.extend(plan.findings.into_iter().filter(|finding| !finding.what.starts_with(NOT_RUNNING)));
    }
    birth.findings.extend(notes(wish, engines));
    Ok(birth)
}

/// What the builders of buildx are told on a machine with Docker, by whose certificates they know the mirror.
pub(crate) fn buildkitd(wish: &Wish) -> Result<String, BirthError> {
    let daemon = buildkit::look::Daemon { config: PathBuf::from(BUILDKITD_TOML), ..new_buildkitd() };
    let plan = buildkit::plan(&buildkit::Facts { daemons: vec![daemon], ..buildkit::Facts::default() }, wish, &[]);
    let change = plan.steps.iter().filter_map(Step::change).find(|change| change.path == Path::new(BUILDKITD_TOML));
    let bytes = change.and_then(|change| change.after.as_deref()).unwrap_or_default();
    utf8(bytes).map(str::to_owned).map_err(|source| BirthError::Unread { path: BUILDKITD_TOML.into(), source })
}

impl Birth {
    fn take(&mut self, change: &Change) -> Result<(), BirthError> {
        let Some(bytes) = &change.after else { return Ok(()) };
        let unread = |source| BirthError::Unread { path: change.path.clone(), source };
        let text = utf8(bytes).map_err(unread)?;
        if change.path == Path::new(DAEMON_JSON) {
            let keys = DockerKeys { mirrors: daemon::mirrors(text).map_err(unread)?, insecure: daemon::insecure(text).map_err(unread)? };
            self.provision.docker = Some(keys);
        } else {
            let content = Content { text: text.to_owned(), secret: change.secret };
            self.provision.files.push(PlacedFile { path: change.path.display().to_string(), mode: change.mode, content });
        }
        Ok(())
    }
}

/// A machine with these engines, none of which was ever told anything.
fn nothing_but(engines: &[Engine]) -> Machine {
    let is = |engine| engines.contains(&engine);
    let root = podman::look::Place::system();
    Machine {
        docker: is(Engine::Docker).then(new_docker).into_iter().collect(),
        podman: podman::Facts {
            folder: is(Engine::Podman),
            system: Some(root),
            certs_d: PathBuf::from("/etc/containers/certs.d"),
            ..podman::Facts::default()
        },
        containerd: containerd::Facts { daemon: is(Engine::Containerd).then(new_containerd), ..containerd::Facts::default() },
        system: system_store::Facts::default(),
        buildkit: buildkit::Facts { daemons: is(Engine::BuildKit).then(new_buildkitd).into_iter().collect(), ..buildkit::Facts::default() },
    }
}

fn new_docker() -> docker::Facts {
    docker::Facts {
        owner: docker::facts::Owner::Machine,
        is_ours_to_change: true,
        config_file: PathBuf::from(DAEMON_JSON),
        certs_d: PathBuf::from("/etc/docker/certs.d"),
        daemon_json: None,
        unread: None,
        trust: std::collections::BTreeMap::new(),
        flags: Vec::new(),
        idle_flags: Vec::new(),
        proxies: docker::proxy::Proxies::default(),
        running: None,
    }
}

fn new_containerd() -> containerd::look::Daemon {
    containerd::look::Daemon {
        pid: None,
        config: PathBuf::from("/etc/containerd/config.toml"),
        is_written: false,
        is_behind: false,
        settings: Ok(Settings { version: 2, ..Settings::default() }),
    }
}

fn new_buildkitd() -> buildkit::look::Daemon {
    buildkit::look::Daemon { pid: None, address: None, config: PathBuf::from("/etc/buildkit/buildkitd.toml"), is_behind: false }
}

/// What is otherwise than on a machine that is there.
fn notes(wish: &Wish, engines: &[Engine]) -> Vec<Finding> {
    let mut notes = Vec::new();
    let mut note = |what: String, mend: &str| {
        notes.push(Finding { engine: None, weight: Weight::Warns, what, mend: mend.to_owned() });
    };
    for mirror in wish.mirrors.iter().filter(|mirror| mirror.is_loopback()) {
        note(format!("{mirror} is the new machine itself"), "name the mirror as other machines reach it, unless each has one of its own");
    }
    if wish.others == Others::Replace && engines.contains(&Engine::Docker) {
        note(
            "mirrors that the image's daemon.json names stay, behind ours".to_owned(),
            "`chandler apply --mirrors replace` on the machine takes them out",
        );
    }
    if wish.client.as_ref().is_some_and(|pair| *pair != enrolment::to_come()) {
        note(
            "the client certificate's key is in the document, and a job that is root in the machine can read it".to_owned(),
            "let the mirror tell machines apart by their addresses (access), or take a certificate that may be revoked at any time",
        );
    }
    notes
}

/// How a finding begins that is true of no machine which is still to be born.
const NOT_RUNNING: &str = "Docker does not run:";
/// Nobody reads it there: beside it are Docker's certificates.
const BUILDKITD_TOML: &str = "/etc/docker/buildkitd.toml";
const DAEMON_JSON: &str = "/etc/docker/daemon.json";

#[cfg(test)]
mod tests {
    use cloud_init::ClientPair;

    use super::*;

    fn wish(mirrors: &[&str]) -> Wish {
        let mirrors = mirrors.iter().map(|url| url.parse().expect("a mirror")).collect();
        Wish { mirrors, anchors: None, client: None, registries: Vec::new(), others: Others::Keep }
    }

    /// What is placed and which keys are merged, a line each.
    fn told(wish: &Wish, engines: &[Engine]) -> String {
        let Birth { provision, findings } = birth(wish, engines, Means::Script).expect("they can be told");
        let mut lines: Vec<String> = provision
            .files
            .iter()
            .map(|file| format!("{:o} {}{}", file.mode, file.path, if file.content.secret { " (secret)" } else { "" }))
            .collect();
        lines.extend(provision.docker.map(|keys| format!("daemon.json {:?} insecure {:?}", keys.mirrors, keys.insecure)));
        lines.extend(findings.iter().map(|finding| format!("{:?}: {}", finding.weight, finding.what)));
        lines.join("\n")
    }

    fn secure(mirrors: &[&str]) -> Wish {
        let anchors = Some("-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n".to_owned());
        let client = Some(ClientPair { chain: "CHAIN\n".to_owned(), key: "KEY\n".to_owned() });
        Wish { anchors, client, ..wish(mirrors) }
    }

    #[test]
    fn each_engine_is_given_what_it_reads() {
        insta::assert_snapshot!(told(&wish(&["http://10.0.0.7:5000"]), &Engine::ALL), @r#"
        644 /etc/containers/registries.conf.d/50-chandler-mirror.conf
        644 /etc/containerd/certs.d/docker.io/hosts.toml
        644 /etc/buildkit/buildkitd.toml
        daemon.json ["http://10.0.0.7:5000"] insecure ["http://10.0.0.7:5000"]
        Warns: http://10.0.0.7:5000 is plain http: whoever is on the way can answer for a tag with an image of their own; the BuildKit inside of Docker before 28 asks it only because insecure-registries names it
        Restart: /etc/containerd/config.toml: it says no `config_path`, so that Kubernetes and crictl pull past the mirror; ctr and nerdctl find /etc/containerd/certs.d themselves
        "#);
        let two = Wish {
            registries: vec!["ghcr.io".to_owned(), "registry.corp:5000".to_owned()],
            ..wish(&["https://a.example", "https://b.example:5000"])
        };
        insta::assert_snapshot!(told(&two, &Engine::ALL), @r#"
        644 /etc/docker/certs.d/ghcr.io/hosts.toml
        644 /etc/docker/certs.d/registry.corp:5000/hosts.toml
        644 /etc/containers/registries.conf.d/50-chandler-mirror.conf
        644 /etc/containerd/certs.d/docker.io/hosts.toml
        644 /etc/containerd/certs.d/ghcr.io/hosts.toml
        644 /etc/containerd/certs.d/registry.corp_5000_/hosts.toml
        644 /etc/buildkit/buildkitd.toml
        daemon.json ["https://a.example", "https://b.example:5000"] insecure []
        Warns: ghcr.io, registry.corp:5000 go through the mirrors only where Docker is 28 or newer with containerd's image store
        Warns: Podman can't pull registry.corp:5000 through a mirror: in a mirror's path, such a name is no part of an image's
        Restart: /etc/containerd/config.toml: it says no `config_path`, so that Kubernetes and crictl pull past the mirror; ctr and nerdctl find /etc/containerd/certs.d themselves
        "#);
    }

    #[test]
    fn a_private_ca_and_a_client_certificate_go_to_the_engines_own_folders() {
        insta::assert_snapshot!(told(&secure(&["https://mirror.example:5000"]), &Engine::ALL), @r#"
        644 /etc/docker/certs.d/mirror.example:5000/chandler-ca.crt
        600 /etc/docker/certs.d/mirror.example:5000/chandler.key (secret)
        644 /etc/docker/certs.d/mirror.example:5000/chandler.cert
        644 /etc/docker/certs.d/docker.io/hosts.toml
        644 /etc/containers/certs.d/mirror.example:5000/chandler-ca.crt
        600 /etc/containers/certs.d/mirror.example:5000/chandler.key (secret)
        644 /etc/containers/certs.d/mirror.example:5000/chandler.cert
        644 /etc/containers/registries.conf.d/50-chandler-mirror.conf
        644 /etc/containerd/certs.d/mirror.example:5000/chandler-ca.crt
        600 /etc/containerd/certs.d/mirror.example:5000/chandler.key (secret)
        644 /etc/containerd/certs.d/mirror.example:5000/chandler.cert
        644 /etc/containerd/certs.d/docker.io/hosts.toml
        644 /etc/buildkit/certs.d/mirror.example:5000/chandler-ca.crt
        600 /etc/buildkit/certs.d/mirror.example:5000/chandler.key (secret)
        644 /etc/buildkit/certs.d/mirror.example:5000/chandler.cert
        644 /etc/buildkit/buildkitd.toml
        daemon.json ["https://mirror.example:5000"] insecure []
        Restart: /etc/containerd/config.toml: it says no `config_path`, so that Kubernetes and crictl pull past the mirror; ctr and nerdctl find /etc/containerd/certs.d themselves
        Warns: the client certificate's key is in the document, and a job that is root in the machine can read it
        "#);
        let ca_alone = Wish { client: None, ..secure(&["https://mirror.example"]) };
        insta::assert_snapshot!(told(&ca_alone, &[Engine::Docker]), @r#"
        644 /etc/docker/certs.d/mirror.example/chandler-ca.crt
        644 /etc/docker/certs.d/docker.io/hosts.toml
        daemon.json ["https://mirror.example"] insecure []
        "#);
    }

    #[test]
    fn files_are_what_an_apply_on_a_new_machine_would_write() {
        let Birth { provision, .. } = birth(&secure(&["https://mirror.example:5000"]), &[Engine::Podman], Means::Script).expect("told");
        let drop_in = provision.files.iter().find(|file| file.path.contains("registries.conf.d")).expect("a drop-in");
        assert!(drop_in.content.text.contains("mirror.example:5000"), "{}", drop_in.content.text);
        let key = provision.files.iter().find(|file| file.path.ends_with("chandler.key")).expect("a key");
        assert_eq!((key.mode, key.content.secret, key.content.text.as_str()), (0o600, true, "KEY\n"));
    }

    #[test]
    fn a_mirror_that_is_the_new_machine_itself_is_noted() {
        assert!(told(&wish(&["http://127.0.0.1:5000"]), &[Engine::Docker]).contains("http://127.0.0.1:5000 is the new machine itself"));
        assert!(matches!(birth(&wish(&["http://a"]), &[], Means::Script), Err(BirthError::NoEngine)));
    }
}
