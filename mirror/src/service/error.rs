//! Why a mirror does not start, and what to do about it.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;

use crate::server::BindError;
use crate::store::OpenError;
use crate::tls::{AcmeError, ClientsError, PairError};
use crate::upstream;

/// Why a mirror does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates cannot be got.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// The operator's own listener.
    #[error("cannot serve metrics and readiness")]
    Admin(#[source] BindError),
    /// An address or a certificate.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// CAs of clients.
    #[error("cannot know clients by their certificates (clients.ca)")]
    Clients(#[from] ClientsError),
    /// A socket of the service manager's, or one that stays at a reload, reaches further than the configuration's own check could know.
    #[error(
        "{address} is reached by others, who could then read the private images of the account {accounts}: \
         say who may (access: [10.0.0.0/8], --allow 10.0.0.0/8), or that everybody may (access: open, --allow open)"
    )]
    Exposed {
        /// Whose.
        accounts: String,
        /// Where this mirror really listens.
        address: SocketAddr,
    },
    /// The access log's thread.
    #[error("cannot start the access log")]
    Log(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The only way to prove names is one that needs a port.
    #[error("CAs cannot look for proofs of names")]
    Proving(#[source] BindError),
    /// No random numbers: nothing that follows would be safe.
    #[error("the system gives no random numbers")]
    Random,
    /// Only at a reload.
    #[error(
        "the new configuration is open to everybody for listeners on loopback, and this mirror still listens beyond; restart it to change listeners"
    )]
    WouldOpen,
    /// An upstream's client.
    #[error("the client for the upstream `{upstream}` cannot be made")]
    Upstream {
        /// Which.
        upstream: String,
        /// Why.
        #[source]
        source: upstream::BuildError,
    },
}

impl StartError {
    /// What to do about it, in one line. Where there is none, the error says it, or nobody can do anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Admin(BindError::Listen { source, .. }) => Some(format!(
                "{}; or move it with admin.address (CHANDLER_ADMIN_ADDRESS), or leave it out (admin: off)",
                listen_hint(source)?
            )),
            Self::Proving(BindError::Listen { source, .. }) => Some(format!(
                "{}; or prove names in another way (acme.challenges), or at another address to which port 80 is passed on (acme.http)",
                listen_hint(source)?
            )),
            Self::Bind(BindError::Listen { source, .. }) => {
                Some(format!("{}; or choose another address (listeners, --listen, CHANDLER_LISTENERS)", listen_hint(source)?))
            }
            Self::Bind(BindError::Tls { source: PairError::Unreadable { .. }, .. }) => Some(
                "the user that chandler runs as must be able to read it; in a container mount the whole folder, with what its links lead to".into(),
            ),
            Self::Open(error) => Some(error.hint()),
            Self::Upstream { .. } => Some("`chandler mirror --check` tries the configuration and the files that it names".into()),
            Self::Acme(_)
            | Self::Admin(_)
            | Self::Bind(_)
            | Self::Clients(_)
            | Self::Exposed { .. }
            | Self::Log(_)
            | Self::Proving(_)
            | Self::Random
            | Self::WouldOpen => None,
        }
    }
}

fn listen_hint(error: &io::Error) -> Option<&'static str> {
    if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) {
        return Some("this machine speaks no IPv6: write 0.0.0.0 in the place of [::], or of nothing before the port");
    }
    match error.kind() {
        io::ErrorKind::AddrInUse => Some("another program listens there (`ss -ltnp` names it): stop it"),
        io::ErrorKind::AddrNotAvailable => Some("this machine has no such address (`ip address` lists those that it has)"),
        io::ErrorKind::PermissionDenied => Some(
            "only root and programs with CAP_NET_BIND_SERVICE may have a port below 1024: give it this right (systemd: AmbientCapabilities=)",
        ),
        _ => None,
    }
}
