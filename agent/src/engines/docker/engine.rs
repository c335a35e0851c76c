//! Docker as the executor of plans sees it: what a daemon works by, and its reload.

use crate::apply::{Engines, Fault, Reported};
use crate::engines::{Daemon, Engine, Reload};

use super::api;
use super::reload::{Shown, reload};

/// The machine's dockerds. Its calls wait for their end, so it is not for use within a runtime.
#[derive(Debug)]
pub struct Dockerds {
    runtime: tokio::runtime::Runtime,
}

impl Dockerds {
    /// With a runtime of its own.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()? })
    }
}

impl Engines for Dockerds {
    fn reported(&mut self, _: Engine, daemon: &Daemon) -> Result<Reported, Fault> {
        let shown = self.runtime.block_on(async { api::shown(&api::connect(&daemon.socket).await?).await })?;
        Ok(shown.into())
    }

    fn reload(&mut self, order: &Reload) -> Result<Reported, Fault> {
        Ok(self.runtime.block_on(reload(order))?.into())
    }
}

impl From<Shown> for Reported {
    fn from(Shown { mirrors, insecure }: Shown) -> Self {
        Self { mirrors, insecure }
    }
}
