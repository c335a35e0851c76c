//! `chandler install mirror --local`: the configuration of a mirror between this machine's engines and the site's, and the CA by which it knows that one.
//!
//! A configuration that somebody else wrote is left as it is. Where it says the same, nothing is missing; where it does not, nothing is installed, and it is said what it would have to say.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mirror::config;

use super::pieces::{Content, Piece};
use super::sealed::{is_untouched, seal};
use super::{InstallError, configuration, units};
use crate::cli::install::LocalArgs;
use crate::engines::MirrorUrl;
use crate::host::Root;
use crate::local::{Chain, LocalMirror};
use crate::settings;
use crate::trust;

/// What is put into a tree.
pub(super) struct LocalPieces {
    /// `mirror.yaml`; none where there is one of somebody's that will do.
    pub(super) config: Option<Piece>,
    /// The CA of the site's mirror.
    pub(super) ca: Option<Piece>,
    /// It listened elsewhere before: only a restart changes that.
    pub(super) has_moved: bool,
}

/// All of it, with the CA fetched from the mirror where a fingerprint names it.
pub(super) fn pieces(root: &Root, args: &LocalArgs) -> Result<Option<LocalPieces>, InstallError> {
    if !args.local {
        return Ok(None);
    }
    if let Some(itself) = args.mirror.iter().find(|mirror| mirror.is_loopback() && mirror.port() == args.listen.port()) {
        return Err(InstallError::OwnUpstream(itself.clone()));
    }
    let known = root.read(Path::new(CA))?.map(|found| String::from_utf8_lossy(&found.bytes).into_owned());
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let anchors = args.ca.as_ref().map(|choice| trust::anchors(choice, &args.mirror, &known)).transpose()?;
    let registries = settings::registries(&args.registry)?;
    let ca = anchors.as_ref().map(|_| Path::new(CA));
    let yaml = Chain { listen: args.listen, mirrors: &args.mirror, ca, registries: &registries }.yaml();
    let before = configuration(root)?.and_then(|config| LocalMirror::of(&config));
    let config = match root.read(Path::new(units::CONFIG))? {
        Some(found) if !is_ours(&found.bytes) => {
            if !before.as_ref().is_some_and(|before| says(before, &args.mirror, args.listen, &registries)) {
                return Err(InstallError::Theirs { path: units::CONFIG.into(), text: yaml });
            }
            None
        }
        _ => Some(Piece { path: units::CONFIG.into(), content: configuration_of(&yaml) }),
    };
    let has_moved = config.is_some() && before.is_some_and(|before| before.url.to_string() != format!("http://{}", args.listen));
    let ca = anchors.filter(|_| config.is_some()).map(|pem| Piece::sealed(CA, &pem));
    Ok(Some(LocalPieces { config, ca, has_moved }))
}

/// As it is put there, and taken away.
pub(super) fn configuration_of(yaml: &str) -> Content {
    Content::Configuration { text: seal(yaml), template: config::default_file() }
}

/// Nobody wrote anything into it but us.
fn is_ours(bytes: &[u8]) -> bool {
    is_untouched(bytes) || bytes == config::default_file().as_bytes()
}

fn says(local: &LocalMirror, mirrors: &[MirrorUrl], listen: SocketAddr, registries: &[String]) -> bool {
    let has_site = local.site.as_ref().is_some_and(|site| site.mirrors == mirrors);
    has_site && local.url.to_string() == format!("http://{listen}") && registries.iter().all(|name| local.registries.contains(name))
}

/// Where engines ask the mirror of this tree on loopback, whoever wrote its configuration.
pub(super) fn local_url(root: &Root) -> Result<Option<MirrorUrl>, InstallError> {
    Ok(configuration(root)?.and_then(|config| LocalMirror::of(&config)).map(|local| local.url))
}

/// The CA's piece, to be taken away.
pub(super) fn ca_piece() -> Piece {
    Piece::sealed(PathBuf::from(CA), "")
}

/// Where the CA of the site's mirror is; everybody may read it.
const CA: &str = "/etc/chandler/site-ca.pem";
