//! `chandler cert renew`: by the mirror that runs, or here, where none does.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use certs::store::{CertFolder, CertName, StoreError};
use certs::worker::Look;
use certs::{Action, Clock as _, SystemClock};
use mirror::config::{Config, Names};

use super::{CertFailure, folder, meant, status};
use crate::cli::cert::RenewArgs;

pub(super) fn renew(config: &Config, args: &RenewArgs) -> Result<String, CertFailure> {
    let wanted = meant(config, args.name.as_ref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CertFailure::Runtime)?;
    let mut baselines = Vec::new();
    for names in &wanted {
        let folder = folder(config, names);
        baselines.push(Baseline { failures: failures(config, names)?, generation: generation(config, names)? });
        runtime.block_on(ask(&folder, args.force))?;
        if !folder.is_attended()? && baselines.len() == 1 {
            // No mirror runs: it is done here.
            for names in &wanted[1..] {
                runtime.block_on(ask(&super::folder(config, names), args.force))?;
            }
            return here(config, &wanted, &runtime);
        }
    }
    wanted.iter().zip(baselines).map(|(names, before)| runtime.block_on(wait(config, names, &before))).collect()
}

fn here(config: &Config, wanted: &[&Names], runtime: &tokio::runtime::Runtime) -> Result<String, CertFailure> {
    let names: Vec<CertName> = wanted.iter().map(|names| names.name.clone()).collect();
    let looks = runtime.block_on(mirror::obtain(config, &names))?;
    looks.into_iter().map(|(name, look)| outcome(config, &name, &look?)).collect()
}

/// Tells the files of it. Whoever has them is at it, and is waited for.
async fn ask(folder: &CertFolder, force: bool) -> Result<(), CertFailure> {
    let began = Instant::now();
    loop {
        match folder.ask(SystemClock.now(), force) {
            Err(StoreError::Locked(_)) if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK).await,
            asked => return Ok(asked?),
        }
    }
}

/// How it stood before somebody asked.
struct Baseline {
    failures: u32,
    generation: Option<u32>,
}

/// Until the mirror that runs has it, or has failed, or finds that nothing is to be done.
async fn wait(config: &Config, names: &Names, before: &Baseline) -> Result<String, CertFailure> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        // The order is closed once clients see what it brought.
        if generation(config, names)? != before.generation && folder(config, names).pending()?.is_none() {
            return told(config, &names.name);
        }
        let state = folder(config, names).state()?;
        if let Some(setback) = state.history.setback.as_ref().filter(|setback| setback.count != before.failures) {
            return Err(CertFailure::Bad(format!("{}: no new certificate: {}", names.name, setback.said)));
        }
        if !state.asked && state.history.setback.is_none() && !is_due(config, names)? {
            return told(config, &names.name);
        }
        if !folder(config, names).is_attended()? {
            return Err(CertFailure::Bad(format!(
                "{}: the mirror that ran has ended; `chandler cert renew` once more does it without one",
                names.name
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
    let minutes = PATIENCE.as_secs() / 60;
    Err(CertFailure::Bad(format!(
        "{}: the mirror that runs has not come to an end of it within {minutes} minutes; its log tells more",
        names.name
    )))
}

fn generation(config: &Config, names: &Names) -> Result<Option<u32>, CertFailure> {
    Ok(folder(config, names).current()?.map(|held| held.generation))
}

fn failures(config: &Config, names: &Names) -> Result<u32, CertFailure> {
    Ok(folder(config, names).state()?.history.setback.map_or(0, |setback| setback.count))
}

fn is_due(config: &Config, names: &Names) -> Result<bool, CertFailure> {
    Ok(status::look(config, names, SystemClock.now())?.is_due())
}

fn outcome(config: &Config, name: &CertName, look: &Look) -> Result<String, CertFailure> {
    match look {
        Look::Failed(_) | Look::Planned(Action::Hold { .. }) => Err(CertFailure::Bad(told(config, name)?)),
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
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// More than an order and a script take.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
