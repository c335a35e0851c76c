//! What mends a failure at a CA, in the words of the configuration. Pure.

use http::StatusCode;
use instant_acme::Error;

use super::CaError;
use super::account::REGISTERING;
use crate::Identifier;

impl CaError {
    /// What to do about it, where somebody can do something.
    pub fn mend(&self) -> Option<&'static str> {
        match self {
            Self::Exchange { doing, seen, source, .. } => match source {
                Error::Api(problem) => {
                    let kind = problem.r#type.as_deref().unwrap_or_default().rsplit(':').next().unwrap_or_default();
                    of_problem(kind, problem.detail.as_deref().unwrap_or_default(), doing)
                }
                Error::Unsupported(_) => None,
                _ if seen.status.is_none() => Some(AWAY),
                _ if seen.status.is_some_and(is_no_directory) => Some("acme.directories must be the URL of the CA's ACME directory"),
                _ => None,
            },
            Self::NoChallenge { .. } => Some("add one of these to acme.challenges"),
            Self::Unproved { failed, .. } => of_proofs(failed),
            Self::Identifiers { .. } | Self::Late { .. } | Self::Present { .. } | Self::Settle { .. } | Self::Unusable { .. } => None,
        }
    }
}

/// A page that is not there, or that is there for browsers.
fn is_no_directory(status: StatusCode) -> bool {
    status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED || status.is_success()
}

fn of_problem(kind: &str, detail: &str, doing: &str) -> Option<&'static str> {
    let is_about_a_customer = doing == REGISTERING && ["external", "EAB", "kid", "MAC", "key ID"].iter().any(|word| detail.contains(word));
    match kind {
        "externalAccountRequired" => {
            Some("the CA takes customers only: set acme.external.kid and acme.external.key_file to what it gave you")
        }
        "invalidContact" | "unsupportedContact" => Some("set acme.email to an address that the CA takes, or leave it out"),
        "invalidProfile" => Some("`chandler acme profiles` lists those that acme.profile can be"),
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            Some("the names are those of listeners[].tls.acme: name hosts that this CA issues for")
        }
        "unauthorized" | "malformed" if is_about_a_customer => Some("set acme.external.kid and its key to what the CA gave you"),
        _ => None,
    }
}

/// Of the first name that failed: who mends it looks again.
fn of_proofs(failed: &[(Identifier, String)]) -> Option<&'static str> {
    let (_, said) = failed.first()?;
    match said.split_once(": ")?.0 {
        "dns-01" => Some(
            "the TXT record that acme.dns writes must be seen by everybody: `chandler cert check` looks whether it can be, acme.dns.wait gives it time",
        ),
        "dns-persist-01" => Some("`chandler acme account show` prints the TXT record that must be there"),
        "http-01" => Some("the name's port 80 must lead to this machine, where acme.http answers; acme.challenges names other ways"),
        "tls-alpn-01" => Some("the name's port 443 must lead to this listener; acme.challenges names other ways"),
        _ => None,
    }
}

const AWAY: &str = "acme.directories names the CA, acme.ca the roots by which it is known; is it reached from here?";

#[cfg(test)]
mod tests {
    use instant_acme::Problem;

    use super::super::Seen;
    use super::*;

    fn exchange(doing: &'static str, status: Option<u16>, source: Error) -> CaError {
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        CaError::Exchange { directory: "https://ca.test/dir".into(), doing, seen: Seen { status, ..Seen::default() }, source }
    }

    fn problem(kind: &str, detail: &str) -> Error {
        let text = serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
        Error::Api(serde_json::from_value::<Problem>(text).expect("a problem"))
    }

    #[test]
    fn what_a_setting_can_mend_names_the_setting() {
        let json = || Error::Json(serde_json::from_str::<u8>("<html>").expect_err("not JSON"));
        for (error, setting) in [
            (exchange(REGISTERING, Some(400), problem("invalidContact", "")), Some("acme.email")),
            (exchange(REGISTERING, Some(403), problem("externalAccountRequired", "")), Some("acme.external.kid")),
            (
                exchange(REGISTERING, Some(403), problem("unauthorized", "unknown kid in external account binding")),
                Some("acme.external.kid"),
            ),
            (exchange("ordering", Some(403), problem("unauthorized", "no")), None),
            (exchange("ordering", Some(400), problem("invalidProfile", "")), Some("acme.profile")),
            (exchange("ordering", Some(400), problem("rejectedIdentifier", "")), Some("listeners[].tls.acme")),
            (exchange("ordering", None, Error::Str("nobody there")), Some("acme.ca")),
            (exchange("opening", Some(404), json()), Some("acme.directories")),
            (exchange("opening", Some(503), json()), None),
        ] {
            assert!(error.mend().map_or(setting.is_none(), |mend| setting.is_some_and(|setting| mend.contains(setting))), "{error}");
        }
        for (said, setting) in [
            ("http-01: connection refused", "acme.http"),
            ("tls-alpn-01: connection refused", "port 443"),
            ("dns-01: no TXT record", "acme.dns.wait"),
            ("dns-persist-01: no TXT record", "chandler acme account show"),
        ] {
            let failed = vec![("mirror.test".parse().expect("a name"), said.to_owned())];
            let error = CaError::Unproved { directory: "https://ca.test/dir".into(), failed };
            assert!(error.mend().is_some_and(|mend| mend.contains(setting)), "{said}");
        }
    }
}
