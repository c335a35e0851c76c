//! Why something could not be installed or taken away.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::readable::Barred;
use super::units::{SERVICE, USER};
use crate::engines::MirrorUrl;
use crate::host::HostError;
use crate::load::LoadError;
use crate::machine::MachineFailure;
use crate::settings::SettingsError;
use crate::trust::TrustError;

/// What is in the way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// Its user could not read what it needs.
    #[error("the user {USER}, as whom the mirror is to run, cannot read what its configuration names:{}", lines(.0.iter()))]
    Barred(Vec<Barred>),
    /// The engines are not to be left on a mirror that nobody looks after.
    #[error("the engines of this machine are still behind the mirror, and the agent stays")]
    Engines(#[source] Box<MachineFailure>),
    /// A file of the machine.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The program that runs cannot be copied.
    #[error("cannot read the program that runs")]
    Itself(#[source] std::io::Error),
    /// The mirror's configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Nobody is there who could say yes.
    #[error("--purge removes keys, certificates and cached images, and there is no terminal to ask at")]
    Sure,
    /// Its configuration is somebody's, and says something else.
    #[error("{} is somebody's own, stays as it is, and says something else: nothing was installed", path.display())]
    Theirs {
        /// Which.
        path: PathBuf,
        /// What it would have to say.
        text: String,
    },
    /// A mirror that would ask itself.
    #[error("{0} is where this mirror is to listen: the site's mirror is another one")]
    OwnUpstream(MirrorUrl),
    /// What a mirror is known by.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What was named.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Somebody said no.
    #[error("nothing was removed")]
    No,
    /// Users are made by programs that are not there.
    #[error("the user {USER} is missing, and neither systemd-sysusers nor useradd is there to make it")]
    NoUsers,
    /// Units and users are root's.
    #[error("this changes the machine, and is root's to do")]
    NotRoot,
    /// The mirror would not start.
    #[error("what the mirror would listen on is taken:{}", lines(.0.iter().map(|(address, who)| format!("{address}: {who}"))))]
    Ports(Vec<(SocketAddr, String)>),
    /// systemd refused.
    #[error("`systemctl {what}` failed: {said}")]
    Systemd {
        /// Asked for what.
        what: String,
        /// In its words.
        said: String,
    },
    /// A path that no unit can name.
    #[error("{} cannot stand in a unit: it is not absolute, or holds a control character", .0.display())]
    Unnameable(PathBuf),
    /// The program that makes users failed.
    #[error("the user {USER} could not be made: {program}: {said}")]
    User {
        /// Which.
        program: &'static str,
        /// In its words.
        said: String,
    },
}

impl InstallError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Barred(barred) if barred.iter().any(|one| one.path.starts_with("/etc/letsencrypt")) => {
                "certbot's keys are root's: let tls.certificate and tls.key name files in a folder of chandler's own, and give certbot `chandler cert import` as its deploy \
                 hook, which copies each new pair there; or let the mirror get its certificates itself (tls.acme)"
                    .into()
            }
            Self::Barred(_) => format!("let the user {USER} read them, as by `chgrp {USER} FILE` and `chmod 0640 FILE`, below folders that are open to it; nothing was changed"),
            Self::Engines(_) => "`chandler undo` says what is in the way, and takes them out with --keep-edits or --to clean".into(),
            Self::Host(error) => return error.hint().map(str::to_owned),
            Self::NoUsers => format!("`adduser -S -D -H {USER}`, or whatever makes a system user here, and once more"),
            Self::NotRoot => "sudo; or --root DIR for a tree that is no running machine".into(),
            Self::Ports(_) => "nothing was changed. Stop what is there, or let `listeners` name another port; a CI service's own machine (CircleCI Server's services machine holds 80 and 443) \
                 is better left alone: put the mirror on another one"
                .into(),
            Self::Settings(error) => return error.hint().map(str::to_owned),
            Self::Trust(error) => return error.hint().map(str::to_owned),
            Self::Theirs { text, .. } => format!("let it say this, or move it away:\n{text}"),
            Self::Sure => "--yes says that it is meant".into(),
            Self::Systemd { .. } => format!("`systemctl status {SERVICE}` and `journalctl -u {SERVICE}` say more"),
            Self::OwnUpstream(_) => "--mirror names the site's; --listen another port of this machine".into(),
            Self::Itself(_) | Self::Load(_) | Self::No | Self::Unnameable(_) | Self::User { .. } => return None,
        })
    }

    /// A mistake in what was written, not in what was found.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::NotRoot | Self::OwnUpstream(_) | Self::Sure | Self::Unnameable(_) => true,
            Self::Settings(error) => error.is_usage(),
            Self::Trust(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// Each on a line of its own, below what is said of them all.
fn lines(items: impl Iterator<Item: Display>) -> String {
    items
        .flat_map(|item| {
            [
                "
  "
                .to_owned(),
                item.to_string(),
            ]
        })
        .collect()
}
