//! `chandler cert renew`: by the mirror that runs, or here, where none does.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use certs::store::CertName;
use certs::worker::Look;
use certs::{Clock as _, SystemClock};
use mirror::config::{Config, Names};

use super::{CertFailure, folder, meant, status};
use crate::cli::cert::RenewArgs;

pub(super) fn renew(config: &Config, args: &RenewArgs) -> Result<String, CertFailure> {
    let wanted = meant(config, args.name.as_ref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CertFailure::Runtime)?;
    let mut attended = Vec::new();
    for names in &wanted {
        folder(config, names).ask(SystemClock.now(), args.force)?;
        attended.push(folder(config, names).is_attended()?);
    }
    if attended.contains(&true) {
        return wanted.iter().map(|names| runtime.block_on(wait(config, names))).collect();
    }
    let looks = runtime.block_on(mirror::obtain(config))?;
    let meant = |(name, _): &(CertName, _)| wanted.iter().any(|names| names.name == *name);
    looks.into_iter().filter(meant).map(|(name, look)| outcome(config, &name, &look?)).collect()
}

/// Until the mirror that runs has it, or has failed, or finds that nothing is to be done.
async fn wait(config: &Config, names: &Names) -> Result<String, CertFailure> {
    let folder = folder(config, names);
    let generation = || Ok::<_, CertFailure>(folder.current()?.map(|held| held.generation));
    let (before, failures, began) = (generation()?, failures(config, names)?, Instant::now());
    while began.elapsed() < PATIENCE {
        if generation()? != before {
            return told(config, &names.name);
        }
        let state = folder.state()?;
        if let Some(setback) = state.history.setback.as_ref().filter(|setback| setback.count != failures) {
            return Err(CertFailure::Bad(format!("{}: no new certificate: {}", names.name, setback.said)));
        }
        if !state.asked && state.history.setback.is_none() && !is_due(config, names)? {
            return told(config, &names.name);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(CertFailure::Bad(format!(
        "{}: the mirror that runs has not come to an end of it within {} minutes; its log tells more",
        names.name,
        PATIENCE.as_secs() / 60
    )))
}

fn failures(config: &Config, names: &Names) -> Result<u32, CertFailure> {
    Ok(folder(config, names).state()?.history.setback.map_or(0, |setback| setback.count))
}

fn is_due(config: &Config, names: &Names) -> Result<bool, CertFailure> {
    Ok(status::look(config, names, SystemClock.now())?.is_due())
}

fn outcome(config: &Config, name: &CertName, look: &Look) -> Result<String, CertFailure> {
    match look {
        Look::Failed(_) => Err(CertFailure::Bad(told(config, name)?)),
        Look::Elsewhere => Err(CertFailure::Bad(format!("{name}: another process is getting it right now"))),
        Look::Obtained(_) | Look::Planned(_) => told(config, name),
    }
}

/// As `chandler cert status` tells it.
fn told(config: &Config, name: &CertName) -> Result<String, CertFailure> {
    let now = SystemClock.now();
    let mut out = String::new();
    for names in meant(config, Some(name))? {
        let _ = write!(out, "{}", status::text(&[status::look(config, names, now)?], now));
    }
    Ok(out)
}

/// Between two looks at what the mirror has done.
const LOOK: Duration = Duration::from_millis(200);
/// More than an order and a script take.
const PATIENCE: Duration = Duration::from_secs(600);
