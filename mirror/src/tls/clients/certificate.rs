//! The certificate that the client of a connection has shown: read once, judged again whenever what it is judged by has changed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use certs::Moment;
use certs::ca::is_revoked;
use rustls::{CertificateError as Wrong, Error};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Clients, Known};

/// What a client has shown, and proved to own.
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    clients: Clients,
    judged: ArcSwapOption<Judged>,
    names: Vec<Box<str>>,
    not_after: Moment,
}

/// By what was known under this number.
struct Judged {
    number: u64,
    verdict: Result<(), Unusable>,
}

/// Why a certificate counts as none. Reads on after "which".
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// Its CA is not known here.
    #[error("was not issued by a CA of clients.ca")]
    Foreign,
    /// Its time has not come.
    #[error("is not valid yet")]
    NotYet,
    /// It is for something else, as a server's is.
    #[error("is not for clients: its extended key usage lacks clientAuth")]
    Purpose,
    /// Its CA took it back.
    #[error("was taken back")]
    TakenBack,
    /// Something else.
    #[error("is not well formed, or is for a name that its CA may not issue for")]
    Unfit,
}

impl Clients {
    /// What a connection's client has shown, if anything.
    pub fn certificate(&self, chain: Option<&[CertificateDer<'static>]>) -> Option<Arc<ClientCertificate>> {
        let chain = chain.filter(|chain| !chain.is_empty())?.to_vec();
        let (names, not_after) = read(&chain[0]);
        Some(Arc::new(ClientCertificate { chain, clients: self.clone(), judged: ArcSwapOption::empty(), names, not_after }))
    }
}

impl ClientCertificate {
    /// Whom it is for, as access rules mean it, if it is worth anything now.
    pub fn identity(&self) -> Option<&[Box<str>]> {
        self.verdict().is_ok().then_some(&self.names)
    }

    /// Whether it is worth something now. Two loads and a look at the clock, unless what is known has changed.
    pub fn verdict(&self) -> Result<(), Unusable> {
        let known = self.clients.0.known.load();
        let judged = self.judged.load();
        let verdict = if let Some(judged) = judged.as_deref().filter(|judged| judged.number == known.number) {
            judged.verdict
        } else {
            let verdict = judge(&known, &self.chain);
            self.judged.store(Some(Arc::new(Judged { number: known.number, verdict })));
            verdict
        };
        verdict.and_then(|()| if Moment::from(SystemTime::now()) > self.not_after { Err(Unusable::Expired) } else { Ok(()) })
    }

    /// What people call it. What it says of itself, whatever it is worth.
    pub fn name(&self) -> &str {
        self.names.first().map_or("(no name)", |name| name)
    }
}

/// Its DNS names and addresses, else its common names; and its end.
fn read(certificate: &CertificateDer<'_>) -> (Vec<Box<str>>, Moment) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return (Vec::new(), Moment::from_unix(0)) };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string().into()),
        _ => None,
    };
    let said = parsed.subject_alternative_name().ok().flatten();
    let mut names: Vec<Box<str>> = said.iter().flat_map(|said| &said.value.general_names).filter_map(name).collect();
    if names.is_empty() {
        names = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(Into::into).collect();
    }
    (names, Moment::from_unix(parsed.validity().not_after.timestamp()))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn judge(known: &Known, chain: &[CertificateDer<'_>]) -> Result<(), Unusable> {
    let (leaf, above) = chain.split_first().ok_or(Unusable::Unfit)?;
    let verifier = known.verifier.as_ref().ok_or(Unusable::Foreign)?;
    let verified = verifier.verify_client_cert(leaf, above, UnixTime::now());
    let verdict = verified.map(drop).map_err(|error| reason(&error));
    // A CA that was taken back is no CA here: that it was is the better reason.
    let is_taken_back = || known.parts.iter().any(|part| is_revoked(&part.revocations, chain));
    match verdict {
        Ok(()) | Err(Unusable::Foreign) if is_taken_back() => Err(Unusable::TakenBack),
        verdict => verdict,
    }
}

fn reason(error: &Error) -> Unusable {
    match error {
        Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => Unusable::Expired,
        Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => Unusable::NotYet,
        Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => Unusable::Foreign,
        Error::InvalidCertificate(Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. }) => Unusable::Purpose,
        Error::InvalidCertificate(Wrong::Revoked) => Unusable::TakenBack,
        _ => Unusable::Unfit,
    }
}

/// The same one on the same connection, or one of another that was shown with the same chain.
impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl Eq for ClientCertificate {}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}
