//! What tests do with a running Hub: faults, gates, outages, and waits on what it was asked.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::answer::Connections;
use super::{Counts, Fault, Faults, Filter, Host, Hub, RuleId};

/// Holds requests until it is released or dropped.
#[must_use = "a gate that is dropped is open"]
pub struct Gate {
    faults: Faults,
    rule: RuleId,
}

impl Gate {
    /// Lets all go that wait, and all that come.
    pub fn release(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.faults.remove(self.rule);
    }
}

impl Hub {
    /// What goes wrong; set and cleared at any time.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Requests that fit wait, before anything is answered. `Counts::held` tells how many do.
    pub fn hold(&self, filter: impl Into<Filter>) -> Gate {
        self.gate(Fault::Hang, filter)
    }

    /// Bodies of requests that fit stop after `at` bytes.
    pub fn hold_at(&self, at: u64, filter: impl Into<Filter>) -> Gate {
        self.gate(Fault::StallAt(at), filter)
    }

    /// All three ports refuse connections; those that are there are cut.
    pub fn down(&self) {
        self.each_port(None, super::Port::down).expect("the port was ours a moment ago");
        self.cut();
    }

    /// One of the ports refuses connections. Connections that are there go on: `cut` ends them.
    pub fn down_host(&self, host: Host) {
        self.each_port(Some(host), super::Port::down).expect("the port was ours a moment ago");
    }

    /// What is down listens again, on the same ports.
    pub fn up(&self) {
        self.listen(None).expect("the ports were kept");
    }

    /// Cuts every connection, on all three ports, and returns when they are gone; new ones are taken.
    pub fn cut(&self) {
        let Connections { cut, tasks } = std::mem::take(&mut *self.shared.connections());
        cut.cancel();
        tasks.close();
        // A request that comes after `cut` returned must not reach a connection that is about to go.
        let (sender, gone) = mpsc::channel();
        self.handle().spawn(async move {
            tasks.wait().await;
            sender.send(())
        });
        gone.recv().expect("connections end when they are told to");
    }

    /// Connections are accepted and nothing is ever said, until it is set to false.
    pub fn black_hole(&self, on: bool) {
        self.shared.black_hole.send_replace(on);
    }

    /// What was asked up to now.
    pub fn count(&self) -> Counts {
        self.shared.log.read(Counts::clone)
    }

    /// Starts to count anew.
    pub fn forget(&self) {
        self.shared.log.forget();
    }

    /// Waits until the log fulfils `condition`, for 30 s at most; then panics and says what was asked.
    /// The log is locked meanwhile: `condition` looks at its argument, never at the Hub.
    pub async fn wait_for(&self, condition: impl Fn(&Counts) -> bool) {
        let mut changed = self.shared.log.subscribe();
        // On the Hub's own clock: the test's may be paused.
        let mut late = self.handle().spawn(tokio::time::sleep(PATIENCE));
        while !self.shared.log.read(&condition) {
            tokio::select! {
                _ = changed.changed() => {}
                _ = &mut late => panic!("waited {PATIENCE:?} in vain; the test hub was asked:\n{}", self.count().summary()),
            }
        }
        late.abort();
    }

    /// `wait_for` in tests that are not async.
    pub fn wait_until(&self, condition: impl Fn(&Counts) -> bool) {
        self.handle().block_on(self.wait_for(condition));
    }

    pub(super) fn listen(&self, host: Option<Host>) -> io::Result<()> {
        let runtime = self.handle();
        self.each_port(host, |port| port.up(&runtime, &self.shared, self.tls.as_ref()))
    }

    fn gate(&self, fault: Fault, filter: impl Into<Filter>) -> Gate {
        Gate { faults: self.faults().clone(), rule: self.faults().set(fault, filter) }
    }

    fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("it is taken by Drop alone").handle().clone()
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
