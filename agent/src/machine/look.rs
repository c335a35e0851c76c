//! A machine's engines, as one look found them, and the plan for each.

use std::path::{Path, PathBuf};

use crate::engines::podman::Asker;
use crate::engines::{Engine, Finding, Plan, Weight, Wish, buildkit, containerd, docker, podman, system_store};
use crate::host::{HostError, Root};

/// All engines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) buildkit: buildkit::Facts,
    pub(crate) containerd: containerd::Facts,
    /// The machine's own, and users' rootless ones.
    pub(crate) docker: Vec<docker::Facts>,
    pub(crate) podman: podman::Facts,
    /// Looked at where it is among those that are supposed.
    pub(crate) system: system_store::Facts,
}

/// Why nothing can be said of an engine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookFailure {
    #[error(transparent)]
    Docker(#[from] docker::LookError),
    #[error(transparent)]
    Files(#[from] crate::engines::files::LookError),
}

impl LookFailure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Docker(docker::LookError::Read(error)) | Self::Files(crate::engines::files::LookError::Host(error)) => error.hint(),
            _ => None,
        }
    }
}

impl Machine {
    /// Looks at all of it; nothing is changed. Which certificates are looked for depends on the wish's mirrors. Those that are `supposed` count as there though nobody finds them: in an image that is
    /// being built they may come later.
    pub(crate) async fn look(root: &Root, asker: &Asker, wish: &Wish, supposed: &[Engine]) -> Result<Self, LookFailure> {
        let is = |engine| supposed.contains(&engine);
        Ok(Self {
            buildkit: buildkit::look(root, asker, wish, is(Engine::BuildKit))?,
            containerd: containerd::look(root, asker, wish, is(Engine::Containerd)).await?,
            docker: docker::look(root, is(Engine::Docker)).await?,
            podman: podman::look(root, asker, wish, is(Engine::Podman)).await?,
            system: system_store::look(root, is(Engine::System)),
        })
    }

    /// Those that are there.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        Engine::ALL.into_iter().filter(|engine| self.has(*engine)).collect()
    }

    fn has(&self, engine: Engine) -> bool {
        match engine {
            Engine::Docker => !self.docker.is_empty(),
            Engine::Podman => self.podman.is_there(),
            Engine::Containerd => self.containerd.daemon.is_some() || !self.containerd.distributions.is_empty(),
            Engine::BuildKit => !self.buildkit.daemons.is_empty() || !self.buildkit.builders.is_empty(),
            Engine::System => self.system.store.is_some(),
        }
    }

    /// What is to be done for one engine. Pure.
    pub(crate) fn plan(&self, engine: Engine, wish: &Wish) -> Plan {
        match engine {
            Engine::Docker => {
                let mut all = Plan::default();
                for facts in &self.docker {
                    all.extend(docker::plan(facts, wish, &[]));
                }
                all
            }
            Engine::Podman => podman::plan(&self.podman, wish),
            Engine::Containerd => containerd::plan(&self.containerd, wish, &[]),
            Engine::BuildKit => buildkit::plan(&self.buildkit, wish, &[]),
            Engine::System => system_store::plan(&self.system, wish),
        }
    }

    /// Takes a file to hold this, whatever it holds: as if chandler had never been here.
    pub(crate) fn suppose_file(&mut self, engine: Engine, path: &Path, bytes: Option<Vec<u8>>) {
        let files = match engine {
            Engine::Docker => return self.docker.iter_mut().for_each(|facts| suppose_docker_file(facts, path, bytes.as_deref())),
            Engine::Podman => &mut self.podman.files,
            Engine::Containerd => &mut self.containerd.files,
            Engine::BuildKit => &mut self.buildkit.files,
            Engine::System => &mut self.system.files,
        };
        match bytes {
            Some(bytes) => files.insert(path, bytes),
            None => files.remove(path),
        }
    }
}

fn suppose_docker_file(facts: &mut docker::Facts, path: &Path, bytes: Option<&[u8]>) {
    let contents = bytes.map(|bytes| docker::facts::Contents(bytes.to_owned()));
    if path == facts.config_file {
        facts.daemon_json = contents;
    } else if path.starts_with(&facts.certs_d) {
        match contents {
            Some(contents) => facts.trust.insert(path.to_owned(), contents),
            None => facts.trust.remove(path),
        };
    }
}

/// Why an engine is left as it is.
pub(crate) fn blocked(engine: Engine, what: String, mend: &str) -> Finding {
    Finding { engine: Some(engine), weight: Weight::Blocks, what, mend: mend.to_owned() }
}

/// Who runs chandler, with the home that the machine knows: `sudo` may keep another user's in the environment.
pub(crate) fn asker(root: &Root) -> Asker {
    let uid = rustix::process::geteuid().as_raw();
    let passwd = root.read(Path::new("/etc/passwd")).ok().flatten().map(|found| found.bytes).unwrap_or_default();
    let known = home(&String::from_utf8_lossy(&passwd), uid);
    Asker { uid, home: known.unwrap_or_else(|| std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from)) }
}

/// By `/etc/passwd`. Pure.
fn home(passwd: &str, uid: u32) -> Option<PathBuf> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let mut lines = passwd.lines().map(fields);
    let line = lines.find(|fields| fields.get(2).is_some_and(|id| *id == uid.to_string()))?;
    line.get(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
}

/// Where the record of this machine is: the machine's own below its root, a user's at home.
pub(crate) fn state(asker: &Asker) -> PathBuf {
    if asker.uid == 0 {
        return PathBuf::from(crate::record::STATE);
    }
    let set = std::env::var_os("XDG_STATE_HOME").filter(|path| Path::new(path).is_absolute());
    set.map_or_else(|| asker.home.join(".local/state"), PathBuf::from).join("chandler/agent")
}

/// The tree that is meant.
pub(crate) fn root(folder: &Path) -> Result<Root, HostError> {
    if folder == Path::new("/") { Ok(Root::machine()) } else { Root::below(folder) }
}
