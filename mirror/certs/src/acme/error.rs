//! What went wrong at the CA, and what to do about it: pure, from the library's error and what was seen of the last answer.

use std::time::Duration;

use http::StatusCode;
use instant_acme::{Error, Problem};

use super::Seen;
use super::legible::{legible, legible_at_length};
use crate::{Class, Identifier, Moment, Trouble};

/// A failed exchange with a CA.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The library's, with what was seen.
    #[error("{doing} at {directory} failed: {}", said(source, seen))]
    Exchange {
        /// At which CA.
        directory: String,
        /// What was being done.
        doing: &'static str,
        /// What was seen of the answer.
        seen: Seen,
        /// What the library says.
        source: Error,
    },
    /// It has issued for others than it was asked to.
    #[error("{directory} made an order for other names than it was asked: {got}")]
    Identifiers {
        /// At which CA.
        directory: String,
        /// For whom.
        got: String,
    },
    /// It does not answer in the time of an order.
    #[error("{directory} did not {doing} within {} s", waited.as_secs())]
    Late {
        /// At which CA.
        directory: String,
        /// What was waited for.
        doing: &'static str,
        /// How long.
        waited: Duration,
    },
    /// No way to prove a name that the CA offers is set up here.
    #[error("{directory} offers {offered} to prove that {identifier} is ours, and none of these is set up here")]
    NoChallenge {
        /// At which CA.
        directory: String,
        /// Of whom.
        identifier: Identifier,
        /// What it offers.
        offered: String,
    },
    /// A proof could not be put in place.
    #[error("cannot put the proof for {identifier} in place: {reason}")]
    Present {
        /// Of whom.
        identifier: Identifier,
        /// The network, or somebody who is not well: no CA has looked at anything.
        passes: bool,
        /// Why not.
        reason: String,
    },
    /// Nobody knows whether it would see the proofs.
    #[error("the proofs for {directory} are not known to be in place: {reason}")]
    Settle {
        /// At which CA.
        directory: String,
        /// The network, or somebody who is not well: no CA has looked at anything.
        passes: bool,
        /// Why not.
        reason: String,
    },
    /// It could not see that names are ours.
    #[error("{directory} could not see that {} is ours: {}", identifiers_of(failed), failed.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; "))]
    Unproved {
        /// At which CA.
        directory: String,
        /// Which, and what it says of each.
        failed: Vec<(Identifier, String)>,
    },
    /// The chain is of no use.
    #[error("{directory} sent a certificate that is not to be used")]
    Unusable {
        /// At which CA.
        directory: String,
        /// Why.
        #[source]
        source: crate::BundleError,
    },
}

/// What can be done at once, without waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Remedy {
    /// The account is not known any more: register a new one.
    Register,
    /// The certificate in hand was replaced already, or is not this account's: order without saying so.
    WithoutReplaces,
}

impl CaError {
    /// Something that helps at once.
    pub fn remedy(&self) -> Option<Remedy> {
        if self.is_without_ari() {
            return Some(Remedy::WithoutReplaces);
        }
        match self.problem()?.r#type.as_deref()?.strip_prefix(PREFIX)? {
            "accountDoesNotExist" => Some(Remedy::Register),
            // Its owner has ended it, as `chandler acme account deactivate` does, and died before it was forgotten.
            "unauthorized" if self.mentions("deactivated") => Some(Remedy::Register),
            "alreadyReplaced" | "conflict" => Some(Remedy::WithoutReplaces),
            // "could not find an order for the given certificate", "parsing ARI CertID failed", … : each CA has words of its own for it.
            "malformed" | "unauthorized" if self.is_about_a_new_order() => Some(Remedy::WithoutReplaces),
            // Pebble's, of one serial number in 256.
            "serverInternal" if self.mentions("an order for the given certificate") => Some(Remedy::WithoutReplaces),
            _ => None,
        }
    }

    /// The CA understood what it was asked for and does not do it; asked for less, it may.
    pub fn is_refusal(&self) -> bool {
        self.is_about_a_new_order()
            && self.problem().is_some_and(|problem| exchange_class(Some(problem), &Seen::default()) != Class::RateLimited)
    }

    fn is_about_a_new_order(&self) -> bool {
        matches!(self, Self::Exchange { doing: ORDERING, .. })
    }

    /// The order that the request was about is not there any more: by the CA's own word, not by the page of a proxy before it.
    pub fn is_lost_order(&self) -> bool {
        let is_gone = |status| matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        matches!(self, Self::Exchange { seen, source: Error::Api(_), .. } if seen.status.is_some_and(is_gone))
    }

    /// No waiting helps: what was asked is wrong.
    pub fn is_for_a_person(&self) -> bool {
        matches!(self, Self::Exchange { seen, .. } if exchange_class(self.problem(), seen) == Class::Configuration)
    }

    /// The CA does not take part in ARI: the library refuses to say what is replaced, or misses it in an order that was made all the same.
    fn is_without_ari(&self) -> bool {
        match self {
            Self::Exchange { source: Error::Unsupported(_), .. } => true,
            Self::Exchange { source: Error::Other(_) | Error::Str(_), seen, doing: ORDERING, .. } => {
                seen.status.is_some_and(|status| status.is_success())
            }
            _ => false,
        }
    }

    /// What it means for the next attempt.
    pub fn trouble(&self, now: Moment) -> Trouble {
        let (class, retry_after) = self.class(now);
        let said = self.mend().map_or_else(|| self.chain(), |mend| format!("{}; {mend}", self.chain()));
        Trouble { class, retry_after, said }
    }

    fn class(&self, now: Moment) -> (Class, Option<Duration>) {
        match self {
            // Another order is as good.
            Self::Exchange { seen, .. } if self.is_lost_order() && !self.is_about_a_new_order() => (Class::Transient, seen.retry_after),
            Self::Exchange { seen, .. } => (exchange_class(self.problem(), seen), seen.retry_after.or_else(|| self.written_date(now))),
            Self::Identifiers { .. } | Self::NoChallenge { .. } => (Class::Configuration, None),
            Self::Late { .. } | Self::Present { passes: true, .. } | Self::Settle { passes: true, .. } => (Class::Transient, None),
            Self::Present { .. } | Self::Settle { .. } | Self::Unproved { .. } | Self::Unusable { .. } => (Class::Validation, None),
        }
    }

    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Exchange { source: Error::Api(problem), .. } => Some(problem),
            _ => None,
        }
    }

    fn mentions(&self, word: &str) -> bool {
        self.problem().and_then(|problem| problem.detail.as_deref()).is_some_and(|detail| detail.contains(word))
    }

    /// "retry after 2026-11-21 12:00:00 UTC": Let's Encrypt says so in words, which reach us where headers do not.
    fn written_date(&self, now: Moment) -> Option<Duration> {
        let detail = self.problem()?.detail.as_deref()?;
        let date = detail.split_once("retry after ")?.1.get(..20)?.replacen(' ', "T", 1).replace(' ', "Z");
        Some(date.parse::<Moment>().ok()?.since(now))
    }

    /// With all causes, for people.
    pub fn chain(&self) -> String {
        // An exchange's own text has its causes in it.
        let text = if matches!(self, Self::Exchange { .. }) { self.to_string() } else { with_causes(self) };
        legible_at_length(&text)
    }
}

fn exchange_class(problem: Option<&Problem>, seen: &Seen) -> Class {
    let kind = problem.and_then(|problem| problem.r#type.as_deref()).and_then(|kind| kind.strip_prefix(PREFIX));
    match (kind, seen.status) {
        (Some("rateLimited"), _) | (_, Some(StatusCode::TOO_MANY_REQUESTS)) => Class::RateLimited,
        (Some("caa" | "connection" | "dns" | "incorrectResponse" | "tls" | "unauthorized"), _) => Class::Validation,
        (
            Some(
                "badCSR"
                | "externalAccountRequired"
                | "invalidContact"
                | "invalidProfile"
                | "rejectedIdentifier"
                | "unsupportedContact"
                | "unsupportedIdentifier"
                | "userActionRequired"
                | "badSignatureAlgorithm"
                | "malformed",
            ),
            _,
        ) => Class::Configuration,
        // Too much for the CA at the moment (503 with Retry-After), a proxy's page, no answer at all, a nonce that was used: it passes.
        _ => Class::Transient,
    }
}

fn said(error: &Error, seen: &Seen) -> String {
    let text = match error {
        Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or("a problem without a type");
            format!("{}: {}", kind.strip_prefix(PREFIX).unwrap_or(kind), problem.detail.as_deref().unwrap_or("no detail"))
        }
        // Not the library's word for it, "failed to deserialize": a page of a proxy or of a CA that is not well.
        Error::Json(_) => "its answer is not one of an ACME server".to_owned(),
        Error::Other(error) => with_causes(error.as_ref()),
        other => other.to_string(),
    };
    let mut text = legible(&text);
    match seen.status.filter(|status| !status.is_success()) {
        Some(status) => {
            text += " (HTTP ";
            text += status.as_str();
            text + ")"
        }
        None => text,
    }
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn identifiers_of(failed: &[(Identifier, String)]) -> String {
    failed.iter().map(|(identifier, _)| identifier.to_string()).collect::<Vec<_>>().join(", ")
}

/// What is being done when an order is placed.
pub(super) const ORDERING: &str = "ordering";
const PREFIX: &str = "urn:ietf:params:acme:error:";

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str, status: u16, retry_after: Option<u64>) -> CaError {
        let problem = serde_json::json!({ "type": format!("{PREFIX}{kind}"), "detail": detail, "status": status });
        CaError::Exchange {
            directory: "https://ca.test/directory".into(),
            doing: "ordering",
            seen: Seen { ahead: None, retry_after: retry_after.map(Duration::from_secs), status: StatusCode::from_u16(status).ok() },
            source: Error::Api(serde_json::from_value(problem).expect("a problem")),
        }
    }

    #[test]
    fn each_kind_of_problem_has_its_consequence() {
        let now: Moment = "2026-11-21T12:00:00Z".parse().expect("a moment");
        for (kind, detail, status, retry_after, class, wait) in [
            ("rateLimited", "too many", 429, Some(3600), Class::RateLimited, Some(3600)),
            ("rateLimited", "too many certificates, retry after 2026-11-21 13:00:00 UTC: see x", 429, None, Class::RateLimited, Some(3600)),
            ("serverInternal", "", 500, None, Class::Transient, None),
            ("rateLimited", "", 503, Some(7), Class::RateLimited, Some(7)),
            ("badNonce", "", 400, None, Class::Transient, None),
            ("rejectedIdentifier", "", 400, None, Class::Configuration, None),
            ("externalAccountRequired", "", 403, None, Class::Configuration, None),
            ("userActionRequired", "", 403, None, Class::Configuration, None),
            ("invalidProfile", "", 400, None, Class::Configuration, None),
            ("badCSR", "", 400, None, Class::Configuration, None),
            ("badSignatureAlgorithm", "", 400, None, Class::Configuration, None),
            ("invalidContact", "", 400, None, Class::Configuration, None),
            ("malformed", "", 400, None, Class::Configuration, None),
            ("unsupportedContact", "", 400, None, Class::Configuration, None),
            ("unsupportedIdentifier", "", 400, None, Class::Configuration, None),
            ("caa", "", 403, None, Class::Validation, None),
            ("connection", "", 400, None, Class::Validation, None),
            ("dns", "", 400, None, Class::Validation, None),
            ("incorrectResponse", "", 403, None, Class::Validation, None),
            ("tls", "", 400, None, Class::Validation, None),
            ("unauthorized", "", 403, None, Class::Validation, None),
            // What the order's own state or another account mends.
            ("accountDoesNotExist", "", 400, None, Class::Transient, None),
            ("alreadyReplaced", "", 409, None, Class::Transient, None),
            ("orderNotReady", "", 403, None, Class::Transient, None),
            ("a kind that nobody knows yet", "", 400, Some(60), Class::Transient, Some(60)),
            ("a kind that nobody knows yet", "", 429, None, Class::RateLimited, None),
        ] {
            let trouble = problem(kind, detail, status, retry_after).trouble(now);
            assert_eq!((trouble.class, trouble.retry_after), (class, wait.map(Duration::from_secs)), "{kind}");
        }
    }

    #[test]
    fn what_helps_at_once_is_known() {
        let remedy = |kind, detail| problem(kind, detail, 400, None).remedy();
        assert_eq!(remedy("accountDoesNotExist", ""), Some(Remedy::Register));
        assert_eq!(remedy("alreadyReplaced", ""), Some(Remedy::WithoutReplaces));
        assert_eq!(remedy("conflict", ""), Some(Remedy::WithoutReplaces));
        let other_account = "requester account did not request the certificate being replaced by this order";
        assert_eq!(remedy("unauthorized", other_account), Some(Remedy::WithoutReplaces));
        for words in ["parsing ARI CertID failed", "could not find an order for the given certificate", "in words of its own"] {
            assert_eq!(remedy("malformed", words), Some(Remedy::WithoutReplaces), "{words}");
        }
        assert_eq!(remedy("rateLimited", ""), None);
        let mut later = problem("unauthorized", "no", 403, None);
        if let CaError::Exchange { doing, .. } = &mut later {
            *doing = "finalizing the order";
        }
        assert_eq!((later.remedy(), later.is_refusal()), (None, false), "what is said of something else is not about that");
        let mut lost = problem("malformed", "no such order", 404, None);
        assert_eq!(lost.trouble(Moment::from_unix(0)).class, Class::Configuration, "when a new one is asked for");
        if let CaError::Exchange { doing, .. } = &mut lost {
            *doing = "looking at the order";
        }
        assert_eq!(lost.trouble(Moment::from_unix(0)).class, Class::Transient, "another one is as good");
        assert!(problem("serverInternal", "cannot look up what it replaces", 500, None).is_refusal());
        assert!(!problem("rateLimited", "", 429, None).is_refusal(), "asked for less, it would not do it either");
        assert_eq!(remedy("serverInternal", "could not find an order for the given certificate"), Some(Remedy::WithoutReplaces));
        assert_eq!(remedy("unauthorized", "Account is not valid, has status \"deactivated\""), Some(Remedy::Register));
    }

    #[test]
    fn what_a_ca_says_reaches_nobody_raw_or_at_any_length() {
        let words = format!("\u{1b}[31mRED\r\n{{\"level\":\"FAKE\"}}{}", "x".repeat(300_000));
        let exchange = problem("malformed", &words, 400, None);
        let name = "mirror.test".parse().expect("a name");
        let unproved = CaError::Unproved { directory: "https://ca.test/directory".into(), failed: vec![(name, words)] };
        for error in [exchange, unproved] {
            for said in [error.chain(), error.trouble(Moment::from_unix(0)).said] {
                assert!(said.contains("RED  {") && !said.contains(char::is_control), "{said:.200}");
                assert!(said.chars().count() < 5000, "{} characters", said.chars().count());
            }
        }
        assert!(problem(&"k".repeat(9000), &"x".repeat(9000), 400, None).to_string().chars().count() < 700, "the error alone, too");
    }

    #[test]
    fn a_page_that_is_no_answer_of_a_ca_is_told_with_its_status() {
        let json = serde_json::from_str::<u8>("<html>").expect_err("not JSON");
        let error = CaError::Exchange {
            directory: "https://ca.test/directory".into(),
            doing: "reading the directory",
            seen: Seen { ahead: None, retry_after: Some(Duration::from_secs(9)), status: Some(StatusCode::SERVICE_UNAVAILABLE) },
            source: Error::Json(json),
        };
        let text = "reading the directory at https://ca.test/directory failed: its answer is not one of an ACME server (HTTP 503)";
        assert_eq!(error.chain(), text);
        let trouble = error.trouble(Moment::from_unix(0));
        assert_eq!((trouble.class, trouble.retry_after), (Class::Transient, Some(Duration::from_secs(9))));
    }
}
