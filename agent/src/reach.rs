//! How a mirror looks from this machine: one look, and a verdict in words. Engines hide all of this: they go to the Hub, and nobody notices.
//!
//! What is asked is what engines ask: `/v2/`, and a canary's manifest, which only a chandler mirror can make, and only for whom its access rules admit.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::DATE;
use reqwest::{Certificate, Client, Identity, Response, StatusCode};

use crate::engines::ClientPair;
use crate::engines::{MirrorUrl, Wish};

/// What came of a look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It serves this machine.
    Serves,
    /// Its access rules do not admit this machine.
    Denied,
    /// It fails itself.
    Fails(StatusCode),
    /// Its name leads nowhere.
    NoAddress(String),
    /// Something answers, but it is no mirror of ours.
    Other(String),
    /// Nobody listens there.
    Refused,
    /// The TLS of it and of this machine do not go together.
    Tls(TlsFault),
    /// Nothing comes back.
    Silent,
    /// The connection broke.
    Broken(String),
}

/// What is wrong with HTTPS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TlsFault {
    /// It speaks plain HTTP at an https:// URL.
    PlainThere,
    /// It speaks HTTPS at an http:// URL.
    TlsThere,
    /// By none of the roots.
    UnknownCa,
    /// For another name.
    OtherName,
    /// Over, or not begun.
    NotNow,
    /// It wants a client certificate, or another one.
    Client,
    /// Something else.
    Else(String),
}

/// One mirror, seen from here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) mirror: MirrorUrl,
    /// Its clock against ours, where it says its time.
    pub(crate) skew: Option<Duration>,
    pub(crate) verdict: Verdict,
}

impl Seen {
    /// Whether engines can use it.
    pub(crate) fn serves(&self) -> bool {
        self.verdict == Verdict::Serves
    }

    /// What is so, and what to do about it; `None`: all is well.
    pub(crate) fn trouble(&self) -> Option<(String, String)> {
        let (mirror, authority) = (&self.mirror, self.mirror.authority());
        let (what, mend) = match &self.verdict {
            Verdict::Serves => return self.skewed(),
            Verdict::Denied => (
                format!("{mirror} refuses this machine (403)"),
                "`access` in the mirror's configuration says who may read: add this machine's network, or give it a client certificate (--client-cert)".to_owned(),
            ),
            Verdict::Fails(status) => {
                (format!("{mirror} answers {status}"), "its log and its /readyz say why; until then engines go to the Hub".to_owned())
            }
            Verdict::NoAddress(cause) => (
                format!("the name {} leads nowhere from this machine ({cause})", mirror.host()),
                "look at /etc/resolv.conf and /etc/hosts, or name the mirror by its address".to_owned(),
            ),
            Verdict::Other(what) => (
                format!("what answers at {mirror} is no chandler mirror: {what}"),
                "is it the right port? Another program or a proxy may stand there".to_owned(),
            ),
            Verdict::Refused => (
                format!("nobody listens at {authority} (connection refused)"),
                "is the mirror running, and is this the port of one of its listeners? By itself it listens on 127.0.0.1:5000 only. Its firewall may refuse this machine, too".to_owned(),
            ),
            Verdict::Silent => (
                format!("{authority} does not answer within {} s", PATIENCE.as_secs()),
                format!("a firewall on the way, or a mirror that hangs: let this machine reach port {}", mirror.port()),
            ),
            Verdict::Broken(cause) => {
                (format!("the connection to {authority} broke: {cause}"), "a proxy, a firewall, or a mirror that is restarting".to_owned())
            }
            Verdict::Tls(fault) => self.tls(fault),
        };
        Some((what, mend))
    }

    fn tls(&self, fault: &TlsFault) -> (String, String) {
        let (mirror, host) = (&self.mirror, self.mirror.host());
        match fault {
            TlsFault::PlainThere => (
                format!("{mirror}: plain HTTP is spoken there, not HTTPS"),
                format!("write http://{}, or let the listener serve HTTPS (listeners[].tls)", mirror.authority()),
            ),
            TlsFault::TlsThere => {
                (format!("{mirror}: HTTPS is spoken there, not plain HTTP"), format!("write https://{}", mirror.authority()))
            }
            TlsFault::UnknownCa => (
                format!("{mirror}: this machine does not know the CA of its certificate"),
                "--ca FILE, or --ca sha256:… with the fingerprint that `chandler ca export` prints beside the mirror".to_owned(),
            ),
            TlsFault::OtherName => (
                format!("{mirror}: its certificate is for other names than {host}"),
                format!(
                    "use a name that is in it, or add {host} to the listener's names: `openssl s_client -connect {host}:{} </dev/null` shows them",
                    mirror.port()
                ),
            ),
            TlsFault::NotNow => (
                format!("{mirror}: its certificate is not valid at this machine's time"),
                "`date` on both machines; `chandler cert status` beside the mirror says when it ends and why it was not renewed".to_owned(),
            ),
            TlsFault::Client => (
                format!("{mirror} does not take this machine's client certificate"),
                "--client-cert and --client-key name the pair; `chandler ca request` gets one by a token".to_owned(),
            ),
            TlsFault::Else(cause) => (format!("{mirror}: no TLS connection: {cause}"), "`openssl s_client` shows more".to_owned()),
        }
    }

    /// Certificates and tokens fail by clocks.
    fn skewed(&self) -> Option<(String, String)> {
        let skew = self.skew.filter(|skew| *skew > WORST_SKEW)?;
        let what = format!("the clocks of this machine and of {} differ by {} s", self.mirror, skew.as_secs());
        Some((what, "let both follow one time (chrony, systemd-timesyncd)".to_owned()))
    }
}

/// Looks at each mirror of `wish`, as its engines would; at all of them at once, since one that is silent takes its time.
pub(crate) async fn look(wish: &Wish, nonce: &str) -> Vec<Seen> {
    let one = async |mirror: &MirrorUrl| {
        let (verdict, skew) = match client(wish.anchors.as_deref(), wish.client.as_ref()) {
            Ok(client) => asked(&client, mirror, nonce).await,
            Err(error) => (Verdict::Tls(TlsFault::Else(::mirror::chain(&error))), None),
        };
        Seen { mirror: mirror.clone(), skew, verdict }
    };
    futures_util::future::join_all(wish.mirrors.iter().map(one)).await
}

/// A client that knows what engines are told, and no proxy, as engines reach their mirrors.
pub(crate) fn client(anchors: Option<&str>, pair: Option<&ClientPair>) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    if let Some(anchors) = anchors {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(anchors.as_bytes())?);
    }
    if let Some(pair) = pair {
        builder = builder.identity(Identity::from_pem(format!("{}\n{}", pair.key, pair.chain).as_bytes())?);
    }
    builder.build()
}

async fn asked(client: &Client, mirror: &MirrorUrl, nonce: &str) -> (Verdict, Option<Duration>) {
    let ping = match client.get(format!("{mirror}/v2/")).send().await {
        Ok(ping) => ping,
        Err(error) => return (failed(&error, mirror), None),
    };
    let skew = skew(&ping);
    if let Some(verdict) = pinged(ping).await {
        return (verdict, skew);
    }
    let canary = client.get(format!("{mirror}/v2/chandler-canary/{nonce}/manifests/latest")).send().await;
    let verdict = match canary {
        Ok(answer) => judged(answer.status()),
        Err(error) => failed(&error, mirror),
    };
    (verdict, skew)
}

/// Of the answer to `/v2/`; `None`: that is a registry.
async fn pinged(answer: Response) -> Option<Verdict> {
    let status = answer.status();
    let is_registry = answer.headers().contains_key("docker-distribution-api-version");
    match status {
        StatusCode::OK if is_registry => None,
        StatusCode::FORBIDDEN => Some(Verdict::Denied),
        status if status.is_server_error() => Some(Verdict::Fails(status)),
        StatusCode::BAD_REQUEST => {
            // Go's servers, nginx and chandler all name it.
            let is_tls = answer.text().await.unwrap_or_default().to_ascii_lowercase().contains("https");
            Some(if is_tls { Verdict::Tls(TlsFault::TlsThere) } else { Verdict::Other(format!("it answers {status} to /v2/")) })
        }
        status => Some(Verdict::Other(format!("it answers {status} to /v2/, without a registry's header"))),
    }
}

/// Of the answer to a canary's manifest.
fn judged(status: StatusCode) -> Verdict {
    match status {
        StatusCode::OK => Verdict::Serves,
        StatusCode::FORBIDDEN => Verdict::Denied,
        status if status.is_server_error() => Verdict::Fails(status),
        status => Verdict::Other(format!("it is a registry, and answers {status} for a canary, which every chandler mirror makes")),
    }
}

fn skew(answer: &Response) -> Option<Duration> {
    let theirs = httpdate::parse_http_date(answer.headers().get(DATE)?.to_str().ok()?).ok()?;
    let now = SystemTime::now();
    Some(now.duration_since(theirs).unwrap_or_else(|ahead| ahead.duration()))
}

fn failed(error: &reqwest::Error, mirror: &MirrorUrl) -> Verdict {
    let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(fault) = causes().find_map(rustls_error) {
        return Verdict::Tls(tls_fault(fault));
    }
    if error.is_timeout() {
        return Verdict::Silent;
    }
    let text = mirror::chain(error);
    if text.contains("dns error") || text.contains("failed to lookup address") {
        let last = causes().last().map_or_else(|| text.clone(), ToString::to_string);
        return Verdict::NoAddress(last);
    }
    if let Some(io) = causes().find_map(|cause| cause.downcast_ref::<io::Error>()) {
        match io.kind() {
            io::ErrorKind::ConnectionRefused => return Verdict::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => return Verdict::Silent,
            _ => {}
        }
    }
    // A TLS server that is spoken to in plain HTTP answers with an alert, or not at all.
    if !mirror.is_secure() && (text.contains("invalid HTTP version") || text.contains("invalid HTTP")) {
        return Verdict::Tls(TlsFault::TlsThere);
    }
    Verdict::Broken(causes().last().map_or(text, ToString::to_string))
}

/// It travels inside of `io::Error`s, one in the other, which do not name what is in them as their source.
fn rustls_error<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = |io: &'a io::Error| io.get_ref().and_then(|inner| rustls_error(inner));
    cause.downcast_ref::<rustls::Error>().or_else(|| cause.downcast_ref::<io::Error>().and_then(inner))
}

fn tls_fault(error: &rustls::Error) -> TlsFault {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => TlsFault::UnknownCa,
        Tls::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => TlsFault::OtherName,
        Tls::InvalidCertificate(
            Certificate::Expired | Certificate::ExpiredContext { .. } | Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        ) => TlsFault::NotNow,
        Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsFault::PlainThere,
        Tls::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::AccessDenied,
        ) => TlsFault::Client,
        other => TlsFault::Else(other.to_string()),
    }
}

/// Engines wait up to 15 s for the first answer; a mirror that is of use needs none of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// What certificates' and tokens' times bear.
const WORST_SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
