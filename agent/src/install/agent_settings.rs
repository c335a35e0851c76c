//! `chandler install agent --mirror …`: what was named is written into `agent.yaml`, where there is none.

use super::pieces::{Content, Piece};
use super::sealed::seal;
use super::{InstallError, agent_units};
use crate::cli::install::AgentSettingsArgs;
use crate::settings;
use crate::trust::CaChoice;

/// `agent.yaml`, where something was named for it: the template with that.
pub(super) fn text(args: &AgentSettingsArgs) -> Result<Option<String>, InstallError> {
    let registries = settings::registries(&args.registry)?;
    if !args.local && args.mirror.is_empty() && registries.is_empty() {
        return Ok(None);
    }
    let quoted = |all: &[String]| format!("[{}]", all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", "));
    let mirrors: Vec<String> = args.mirror.iter().map(ToString::to_string).collect();
    let ca = match &args.ca {
        Some(CaChoice::File(path)) => Some(format!("\"{}\"", std::path::absolute(path).unwrap_or_else(|_| path.clone()).display())),
        Some(CaChoice::Pinned(print)) => Some(format!("sha256:{print}")),
        None => None,
    };
    let said = [
        ("mirrors", (!mirrors.is_empty()).then(|| quoted(&mirrors))),
        ("local", args.local.then(|| "true".to_owned())),
        ("ca", ca),
        ("system_trust", args.system_trust.then(|| "true".to_owned())),
        ("registries", (!registries.is_empty()).then(|| quoted(&registries))),
    ];
    Ok(Some(agent_units::template_with(&said)))
}

/// As it is put there, and taken away.
pub(super) fn piece(text: &str) -> Piece {
    Piece {
        path: agent_units::CONFIG.into(),
        content: Content::Configuration { text: seal(text), template: agent_units::TEMPLATE.to_owned() },
    }
}
