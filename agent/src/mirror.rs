//! Runs the mirror with a resolved configuration: the runtime, the signals, the first words.
//!
//! SIGTERM and SIGINT drain; a second one ends at once. SIGHUP reads the configuration again and keeps the old one when the new one is wrong. It is
//! read on a thread of its own: a disk that hangs holds up no stop.

mod banner;

use std::io;
use std::time::Duration;

use mirror::config::{Config, ListenerConfig, LogFormat, Resolved};
use mirror::server::systemd;
use mirror::{Mirror, Running, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::load::{LoadError, Loader};
use crate::logging::{self, Log};

/// Why the mirror does not run, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signal(#[source] io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Serves until a signal ends it. `loader` makes the configuration anew for a reload.
pub(crate) fn run_mirror(config: Config, loader: &Loader, log: &Log) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Runtime)?;
    let outcome = runtime.block_on(serve(config, loader, log));
    // A disk that hangs holds blocking threads for ever; the process must end all the same.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome
}

async fn serve(config: Config, loader: &Loader, log: &Log) -> Result<(), RunError> {
    let mut signals = Signals::new().map_err(RunError::Signal)?;
    let running = Mirror::bind(&config, systemd::inherited())?.counting_losses_of(log.output()).spawn();
    if config.log.format == LogFormat::Text {
        // For a person at a terminal. A log that machines read has its own line.
        log.print(&banner::banner(&config, &urls(&config, &running), running.admin_address()));
    }
    let admin = running.admin_address().map(|admin| format!("http://{admin}")).unwrap_or_default();
    tracing::info!(urls = urls(&config, &running).join(" "), admin, "the mirror serves");
    systemd::ready();
    while let Next::Reload = signals.next().await {
        systemd::reloading();
        tracing::info!("SIGHUP: the configuration is read again");
        let loaded = tokio::select! {
            loaded = load_aside(loader) => loaded,
            () = signals.stop() => break,
        };
        reload(loaded, &running, log);
        systemd::ready();
    }
    systemd::stopping();
    tracing::info!("stopping: no new connections; running answers have {:?} to finish", config.limits.drain);
    tokio::select! {
        () = running.drain() => {}
        () = signals.again() => tracing::warn!("a second signal: stopping at once"),
    }
    Ok(())
}

fn urls(config: &Config, running: &Running) -> Vec<String> {
    let url = |(listener, address): (&ListenerConfig, &std::net::SocketAddr)| {
        format!("{}://{address}", if listener.tls.is_some() { "https" } else { "http" })
    };
    config.listeners.iter().zip(running.addresses()).map(url).collect()
}

/// Not on the runtime's blocking threads, whose end a stop waits for.
async fn load_aside(loader: &Loader) -> Result<Resolved, LoadError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let loader = loader.clone();
    let started = std::thread::Builder::new().name("reload".into()).spawn(move || drop(tell.send(loader.load())));
    match started {
        Ok(_) => told.await.unwrap_or_else(|_| Err(LoadError::Thread(io::Error::other("it panicked")))),
        Err(error) => Err(LoadError::Thread(error)),
    }
}

fn reload(loaded: Result<Resolved, LoadError>, running: &Running, log: &Log) {
    match loaded {
        Ok(resolved) => {
            for note in &resolved.notes {
                tracing::warn!("{note}");
            }
            if let Err(error) = take_over(&resolved.config, running, log) {
                tracing::error!(error = &*error, "the new configuration cannot be used; the old one holds");
            }
        }
        Err(error) => tracing::error!("the new configuration is wrong and the old one holds: {error}"),
    }
}

/// All of it that a running mirror can change, or nothing.
fn take_over(config: &Config, running: &Running, log: &Log) -> Result<(), Box<dyn std::error::Error>> {
    let level = logging::filter(&config.log)?;
    let waiting = running.reload(config)?;
    log.set_level(level);
    tracing::info!("the configuration was read again and holds from now on");
    if !waiting.is_empty() {
        tracing::warn!("of the new configuration this holds from the next start on only: {}", waiting.join(", "));
    }
    Ok(())
}

/// What the process is told from outside.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

enum Next {
    Reload,
    Stop,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Next {
        tokio::select! {
            _ = self.hangup.recv() => Next::Reload,
            _ = self.interrupt.recv() => Next::Stop,
            _ = self.terminate.recv() => Next::Stop,
        }
    }

    /// Leaves a SIGHUP for later.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    async fn again(&mut self) {
        while let Next::Reload = self.next().await {}
    }
}
