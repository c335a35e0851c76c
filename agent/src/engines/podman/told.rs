//! Podman's services and CRI-O as the executor of plans sees them: what they have, and their reload.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

use super::service::{self, CRIO, PODMAN};
use crate::apply::{Engines, Fault, Reported};
use crate::engines::Engine;
use crate::engines::plan::{Daemon, Reload};
use crate::engines::process::Handle;

/// What runs on of the machine's Podman. Its calls wait for their end, so it is not for use within a runtime.
#[derive(Debug)]
pub struct Services {
    runtime: Runtime,
}

impl Services {
    /// With a runtime of its own.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { runtime: Builder::new_current_thread().enable_all().build()? })
    }
}

impl Engines for Services {
    fn reported(&mut self, _: Engine, daemon: &Daemon) -> Result<Reported, Fault> {
        let mirrors = self.runtime.block_on(service::reported(&daemon.socket));
        // One that does not say what it has is told whenever the plan says so.
        Ok(Reported { mirrors: mirrors.unwrap_or_else(|| vec![UNSAID.to_owned()]), insecure: Vec::new() })
    }

    fn reload(&mut self, reload: &Reload) -> Result<Reported, Fault> {
        let pid = reload.daemon.pid;
        Handle::open(pid, PODMAN).or_else(|_| Handle::open(pid, CRIO))?.hang_up()?;
        let mirrors = self.runtime.block_on(async {
            let _ = timeout(PATIENCE, shows(reload)).await;
            service::reported(&reload.daemon.socket).await
        });
        // One that does not say is believed.
        Ok(Reported { mirrors: mirrors.unwrap_or_else(|| reload.mirrors.clone()), insecure: Vec::new() })
    }
}

/// Waits until the service has what it should.
async fn shows(reload: &Reload) {
    while service::reported(&reload.daemon.socket).await.is_some_and(|mirrors| mirrors != reload.mirrors) {
        sleep(BETWEEN).await;
    }
}

const UNSAID: &str = "unsaid";
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(50);
