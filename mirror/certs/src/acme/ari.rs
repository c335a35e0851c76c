//! What the CA advises about renewal (RFC 9773), by a GET of our own: the library loses the window when a header is missing, and takes a date that is
//! over for "at once and for ever".

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::courier::retry_after;
use super::directory::Directory;
use super::{Courier, legible};
use crate::{Moment, Suggestion};

/// What the CA said, or that it did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// Ask again after so long.
    pub again_after: Duration,
    /// A page for people about why.
    pub explanation: Option<String>,
    /// When to renew; `None`: no usable answer, which is no reason for anything.
    pub suggestion: Option<Suggestion>,
}

/// Asks for advice on the certificate `id`; `dice`, between 0 and 1, chooses our moment in its window.
pub async fn ask(courier: &Courier, directory: &str, id: &str, dice: f64) -> Advice {
    match look(courier, directory, id).await {
        Ok((text, wait)) => read(&text, id, wait, dice),
        Err(reason) => {
            tracing::debug!(directory, reason, "the CA gives no advice on renewal");
            Advice { again_after: AFTER_FAILURE, explanation: None, suggestion: None }
        }
    }
}

async fn look(courier: &Courier, directory: &str, id: &str) -> Result<(Vec<u8>, Option<Duration>), String> {
    let told = |error: reqwest::Error| error.to_string();
    let base = Directory::ask(courier, directory).await?.renewal_info.ok_or("the CA has no renewal information")?;
    let (status, headers, text) = courier.get(&format!("{}/{id}", base.trim_end_matches('/'))).await.map_err(told)?;
    if !status.is_success() {
        return Err(format!("HTTP {status}"));
    }
    let wait = headers.get(http::header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    Ok((text.to_vec(), wait))
}

/// Pure: the text of an answer.
fn read(text: &[u8], id: &str, wait: Option<Duration>, dice: f64) -> Advice {
    let again_after = wait.unwrap_or(USUALLY).clamp(SOONEST, LATEST);
    let Ok(info) = serde_json::from_slice::<Info>(text) else { return Advice { again_after, explanation: None, suggestion: None } };
    let Window { start, end } = info.suggested_window;
    let suggestion = match (start.parse::<Moment>(), end.parse::<Moment>()) {
        (Ok(start), Ok(end)) => Suggestion::new(id.to_owned(), start, end, dice),
        _ => None,
    };
    Advice { again_after, explanation: info.explanation_url.as_deref().map(legible), suggestion }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
    suggested_window: Window,
}

#[derive(Deserialize)]
struct Window {
    end: String,
    start: String,
}

/// RFC 9773 4.3.2: "clients SHOULD set reasonable limits", and what they are.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(24 * 3600);
/// Where the CA does not say.
const USUALLY: Duration = Duration::from_secs(6 * 3600);
/// RFC 9773 4.3.3: after a long-term failure, six hours.
const AFTER_FAILURE: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: &str = r#"{"suggestedWindow": {"start": "2026-11-21T00:00:00Z", "end": "2026-11-23T00:00:00.5Z"}}"#;

    #[test]
    fn our_moment_lies_in_the_window() {
        for (dice, day) in [(0.0, "21"), (0.5, "22"), (1.0, "23")] {
            let advice = read(WINDOW.as_bytes(), "id", Some(Duration::from_secs(7200)), dice);
            let selected = advice.suggestion.expect("a window").selected;
            assert_eq!(selected.to_string(), format!("2026-11-{day}T00:00:00Z"));
            assert_eq!(advice.again_after, Duration::from_secs(7200));
        }
    }

    #[test]
    fn what_is_no_window_is_no_advice_and_never_a_reason_to_ask_without_pause() {
        let backwards = r#"{"suggestedWindow": {"start": "2026-11-23T00:00:00Z", "end": "2026-11-21T00:00:00Z"}}"#;
        for (text, wait, again_after) in [
            (backwards, None, USUALLY),
            ("{}", Some(Duration::ZERO), SOONEST),
            ("garbage", Some(Duration::from_secs(9_000_000)), LATEST),
            (r#"{"suggestedWindow": {"start": "soon", "end": "later"}}"#, None, USUALLY),
        ] {
            assert_eq!(read(text.as_bytes(), "id", wait, 0.5), Advice { again_after, explanation: None, suggestion: None }, "{text}");
        }
    }
}
