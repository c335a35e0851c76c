//! How it stands with each certificate: read from its files, planned as the mirror plans, and written for people or for programs. Rendering is pure.

use std::fmt::Write as _;
use std::time::Duration;

use certs::store::{Held, State, StoreError};
use certs::{Action, Moment, View, in_words, plan};
use mirror::config::{Config, Issuer, Names};
use serde_json::json;
use url::Url;

/// One certificate.
pub(super) struct Standing {
    /// At the first CA, once it is registered.
    account: Option<String>,
    action: Action,
    attended: bool,
    held: Option<Held>,
    names: Names,
    state: State,
}

impl Standing {
    /// Nothing is against getting it now but that nobody has.
    pub(super) fn is_due(&self) -> bool {
        !matches!(self.action, Action::Idle { .. })
    }
}

/// Reads its files.
pub(super) fn look(config: &Config, names: &Names, now: Moment) -> Result<Standing, StoreError> {
    let folder = super::folder(config, names);
    let (held, state) = (folder.current()?, folder.state()?);
    let view = View {
        asked: state.asked,
        budget: &config.acme.budget_for(names),
        held: held.as_ref().map(|held| &held.facts),
        history: &state.history,
        jitter: state.jitter.unwrap_or(0.0),
        skew: Duration::ZERO,
        suggestion: state.suggestion.as_ref(),
        wish: &config.acme.wish(names),
    };
    let action = plan(now, &view);
    let directory = config.acme.directories.first().map_or("", Url::as_str);
    let saved = if names.issuer == Issuer::Acme { config.acme.store().account(directory).load()? } else { None };
    let account = saved.and_then(|saved| saved.url().map(str::to_owned));
    Ok(Standing { account, action, attended: folder.is_attended()?, held, names: names.clone(), state })
}

/// For people.
pub(super) fn text(standings: &[Standing], now: Moment) -> String {
    let mut out = String::new();
    for Standing { account, action, attended, held, names, state } in standings {
        let _ = writeln!(out, "{}", names.name);
        line(&mut out, "names", &listed(names));
        match held {
            Some(held) => {
                let (from, until) = (held.facts.not_before, held.facts.not_after);
                line(&mut out, "valid", &format!("from {from} to {until}, {}", left(now, until)));
                line(&mut out, "issuer", &held.facts.directory);
                line(&mut out, "serial", &format!("{}, generation {}", held.bundle.serial(), held.generation));
            }
            None => line(&mut out, "valid", "there is none yet"),
        }
        line(&mut out, "next", &next(action));
        if let Some(setback) = &state.history.setback {
            line(
                &mut out,
                "trouble",
                &format!(
                    "{} failed since {}, not tried before {}: {}",
                    attempts(setback.count),
                    setback.since,
                    setback.until,
                    setback.said
                ),
            );
        }
        if let Some(account) = account {
            line(&mut out, "account", account);
        }
        line(&mut out, "mirror", if *attended { "a running mirror looks after it" } else { "no mirror runs with it" });
    }
    out
}

/// For programs.
pub(super) fn json(standings: &[Standing]) -> Vec<serde_json::Value> {
    let one = |standing: &Standing| {
        let facts = standing.held.as_ref().map(|held| &held.facts);
        json!({
            "name": standing.names.name.as_str(),
            "identifiers": standing.names.identifiers,
            "not_before": facts.map(|facts| facts.not_before),
            "not_after": facts.map(|facts| facts.not_after),
            "issuer": facts.map(|facts| &facts.directory),
            "serial": standing.held.as_ref().map(|held| held.bundle.serial()),
            "generation": standing.held.as_ref().map(|held| held.generation),
            "next": next(&standing.action),
            "setback": standing.state.history.setback,
            "account": standing.account,
            "attended": standing.attended,
        })
    };
    standings.iter().map(one).collect()
}

/// One fact of a certificate.
pub(super) fn line(out: &mut String, what: &str, text: &str) {
    let _ = writeln!(out, "  {what:<8} {text}");
}

fn listed(names: &Names) -> String {
    names.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Of its life.
pub(super) fn left(now: Moment, until: Moment) -> String {
    if until <= now {
        return "which is over".into();
    }
    format!("{} left", in_words(until.since(now)))
}

fn attempts(count: u32) -> String {
    if count == 1 { "one attempt".into() } else { format!("{count} attempts") }
}

fn next(action: &Action) -> String {
    match action {
        Action::Hold { due, until, why } => format!("it is due ({}) and held up until {until}: {}", due.words(), why.words()),
        Action::Idle { due, until } => format!("renewed from {until} on ({})", due.words()),
        Action::Obtain { due, .. } => format!("due now ({})", due.words()),
    }
}
