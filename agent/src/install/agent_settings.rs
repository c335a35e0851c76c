//! `chandler install agent --mirror …`: what was named is written into `agent.yaml`, where there is none, and the CA beside it: the file that was named is of this machine, and the tree may be another's.

use super::pieces::{Content, Piece};
use super::sealed::seal;
use super::{InstallError, agent_units};
use crate::cli::install::AgentSettingsArgs;
use crate::settings;
use crate::trust::{self, CaChoice};

/// `agent.yaml`, where something was named for it (the template with that), behind the CA's file that it names.
pub(super) fn pieces(args: &AgentSettingsArgs) -> Result<Option<Vec<Piece>>, InstallError> {
    let registries = settings::registries(&args.registry)?;
    if !args.local && args.mirror.is_empty() && registries.is_empty() {
        return Ok(None);
    }
    let quoted = |all: &[String]| format!("[{}]", all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", "));
    let mirrors: Vec<String> = args.mirror.iter().map(ToString::to_string).collect();
    let ca = match &args.ca {
        Some(CaChoice::File(_)) => Some(format!("\"{CA}\"")),
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
    let anchors = match &args.ca {
        Some(choice @ CaChoice::File(_)) => Some(trust::anchors(choice, &args.mirror, &[])?),
        _ => None,
    };
    let ca = anchors.map(|pem| Piece::sealed(CA, &pem));
    Ok(Some(ca.into_iter().chain([piece(&agent_units::template_with(&said))]).collect()))
}

/// The CA's, to be taken away.
pub(super) fn ca_piece() -> Piece {
    Piece::sealed(CA, "")
}

/// By what the mirror is known; everybody may read it.
const CA: &str = "/etc/chandler/mirror-ca.pem";

/// As it is put there, and taken away.
pub(super) fn piece(text: &str) -> Piece {
    Piece {
        path: agent_units::CONFIG.into(),
        content: Content::Configuration { text: seal(text), template: agent_units::TEMPLATE.to_owned() },
    }
}
