//! TLS as a server: certificate pairs from PEM files, certificates that are issued to us, the resolver that connections take them from, and clients' own.
//!
//! A pair is whole or it is not there: [`Pair::load`] finds what is wrong with files and names the file and the mend. [`Certificates`] gets others by
//! ACME or from the private CA (the crate `certs` does the work). [`Resolver`] answers each handshake with the certificate of that moment, so a swap ends no connection.
//! [`watch()`] swaps pairs. [`Clients`] knows clients by certificates of their own; [`Handshakes`] is what a listener's handshakes follow.
//!
//! Invariant: a working pair is never replaced by one that [`Pair::load`] refuses.

mod cert_folder;
mod clients;
mod handshakes;
mod issuance;
mod metrics;
mod pair;
mod private_ca;
mod resolver;
mod watch;

pub(crate) use cert_folder::watch as watch_cert_folder;
pub use clients::{ClientCertificate, Clients, ClientsError, Unusable, watch as watch_clients};
pub use handshakes::Handshakes;
pub(crate) use issuance::Telling;
pub use issuance::{AcmeError, Certificates, Issued, Shown, Tried};
pub use metrics::Metrics;
pub use pair::{Pair, PairError, PairWarning};
pub(crate) use private_ca::watch as watch_private_ca;
pub use resolver::Resolver;
pub use watch::{WATCH_INTERVAL, watch};

#[cfg(test)]
pub(crate) use pair::tests as test_files;
