//! The engines that run, as the executor of plans tells and asks them.

use std::io;

use crate::apply::{Engines, Fault, Reported};
use crate::engines::{Daemon, Engine, Rebuild, Reload, docker, podman, system_store};
use crate::host::Root;

/// Docker's by its API, Podman's and CRI-O by theirs. No other engine is reloaded.
pub(super) struct Daemons {
    docker: docker::Dockerds,
    podman: podman::told::Services,
}

impl Daemons {
    /// With runtimes of their own.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { docker: docker::Dockerds::new()?, podman: podman::told::Services::new()? })
    }

    fn of(&mut self, engine: Engine) -> &mut dyn Engines {
        match engine {
            Engine::Podman => &mut self.podman,
            Engine::Docker | Engine::Containerd | Engine::BuildKit | Engine::System => &mut self.docker,
        }
    }
}

impl Engines for Daemons {
    fn reported(&mut self, engine: Engine, daemon: &Daemon) -> Result<Reported, Fault> {
        self.of(engine).reported(engine, daemon)
    }

    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        self.of(reload.engine).reload(reload)
    }

    fn rebuild(&mut self, root: &Root, rebuild: &Rebuild) -> Result<(), Fault> {
        Ok(system_store::run(root, rebuild)?)
    }
}
