//! What a command line has done once, with the ports of the configuration for CAs to look at, and without a registry behind them.

use std::sync::Arc;

use certs::solve::Way;
use certs::store::{CertName, StoreError};
use certs::worker::{Look, Stage};

use super::tasks::Tasks;
use super::{CUT, StartError, bind_proving};
use crate::config::Config;
use crate::server::{Server, TrustedProxies, serve_filter};
use crate::surface;
use crate::tls::{Certificates, Tried};

/// Gets those of these certificates that are due, and ends: while no mirror runs.
pub async fn obtain(config: &Config, names: &[CertName]) -> Result<Vec<(CertName, Result<Look, StoreError>)>, StartError> {
    let certificates = Arc::new(Certificates::new(&config.acme, &config.listeners)?);
    certificates.inherit();
    let (ways, tasks) = listen(config, &certificates)?;
    let looks = certificates.look(&config.acme, &ways, names).await;
    tasks.end(CUT).await;
    Ok(looks)
}

/// Tries at `stage` whether the names of these certificates can be proved, and changes nothing of what is served. `beside` a mirror that runs, which
/// has the ports, that one shows the proofs that are written down in the folder that both have.
pub async fn rehearse(config: &Config, names: &[CertName], stage: &Stage, beside: bool) -> Result<Vec<(CertName, Tried)>, StartError> {
    let certificates = Arc::new(Certificates::new(&config.acme, &config.listeners)?);
    let (ways, tasks) = if beside { (config.acme.ways.clone(), Tasks::default()) } else { listen(config, &certificates)? };
    let tried = certificates.rehearse(&config.acme, &ways, names, stage).await;
    tasks.end(CUT).await;
    Ok(tried)
}

/// Opens the ports that CAs look at, and says which ways are left where one cannot be had.
fn listen(config: &Config, certificates: &Arc<Certificates>) -> Result<(Vec<Way>, Tasks), StartError> {
    let (proving, ways) = bind_proving(config, certificates)?;
    let tasks = Tasks::default();
    let needs_listeners = certificates.need_proofs() && ways.iter().any(|way| matches!(way, Way::Http | Way::TlsAlpn));
    let listeners = needs_listeners.then(|| Server::bind(&config.listeners, certificates, Vec::new())).transpose()?;
    for server in proving.into_iter().chain(listeners) {
        let service = serve_filter(surface::proving(Arc::clone(certificates)));
        server.spawn(service, &config.limits, &TrustedProxies::default(), &tasks.tracker, &tasks.cancel);
    }
    Ok((ways, tasks))
}
