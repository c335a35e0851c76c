//! How it stands with a certificate, in words for whoever is woken by it. Pure.

use certs::worker::Status;
use certs::{Action, Class, Hold, Moment, Setback, in_words};

use crate::telemetry::Kind;

/// What somebody should look at, and how bad it is. `stands_in` says that clients see a valid pair that somebody put there instead.
pub(super) fn standing(now: Moment, status: &Status, stands_in: bool) -> Option<(Kind, String)> {
    let worst = if stands_in { Kind::Warning } else { Kind::Blocking };
    let why = why(status);
    match &status.held {
        None => Some((worst, format!("there is no certificate yet{}", why.unwrap_or_else(|| ": it is being got".into())))),
        Some(held) if held.not_after <= now => Some((
            worst,
            format!("the certificate ended at {}{}", held.not_after, why.unwrap_or_else(|| ": a new one is being got".into())),
        )),
        Some(held) => {
            let left = held.remaining(now);
            let is_worth_a_word = left < held.life() / NEAR || is_for_a_person(status);
            let own = why.filter(|_| is_worth_a_word).map(|why| format!("the certificate ends in {}{why}", in_words(left)));
            own.map(|text| (Kind::Warning, text))
        }
    }
}

/// What holds up the next one.
fn why(status: &Status) -> Option<String> {
    if let Some(trouble) = &status.trouble {
        return Some(format!(": {trouble}"));
    }
    if let Some(Setback { count, said, until, .. }) = &status.setback {
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times in a row") };
        return Some(format!(": it failed {times}, the next attempt is at {until}: {said}"));
    }
    match &status.action {
        Some(Action::Hold { until, why, .. }) => Some(format!(": {}, until {until}", why.words())),
        _ => None,
    }
}

/// It does not pass by waiting.
fn is_for_a_person(status: &Status) -> bool {
    let is_theirs = status.setback.as_ref().is_some_and(|setback| matches!(setback.class, Class::Configuration | Class::Local));
    let is_held = matches!(status.action, Some(Action::Hold { why: Hold::Skew | Hold::TooSoon, .. }));
    is_theirs || is_held || status.trouble.is_some()
}

/// How much of its life is left when a failure is worth a word: one in so many.
const NEAR: u32 = 4;

#[cfg(test)]
mod tests {
    use certs::{Facts, KeyKind, Reason, Wish};

    use super::*;

    fn at(text: &str) -> Moment {
        text.parse().expect("a moment")
    }

    fn facts(until: &str) -> Facts {
        Facts {
            directory: "https://ca.test/dir".into(),
            id: None,
            identifiers: ["mirror.test".parse().expect("a name")].into(),
            key: KeyKind::P256,
            not_after: at(until),
            not_before: at("2026-01-01T00:00:00Z"),
            profile: None,
            revoked: false,
            supersedes: false,
        }
    }

    fn setback(class: Class) -> Setback {
        let wish = Wish {
            directories: Vec::new(),
            identifiers: facts("2026-04-01T00:00:00Z").identifiers,
            how: String::new(),
            key: KeyKind::P256,
            profile: None,
        };
        let (since, until) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
        Setback { class, count: 3, said: "port 80 is closed".into(), since, until, wish }
    }

    #[test]
    fn what_is_said_grows_with_the_danger() {
        let now = at("2026-01-10T00:00:00Z");
        let idle = Some(Action::Idle { due: Reason::Age, until: at("2026-03-01T00:00:00Z") });
        let failing = |class, held: Option<&str>| Status {
            action: idle.clone(),
            held: held.map(facts),
            setback: Some(setback(class)),
            ..Status::default()
        };
        let of = |status: &Status| standing(now, status, false);
        assert_eq!(of(&Status::default()).map(|(kind, _)| kind), Some(Kind::Blocking), "before the first look there is none");
        assert_eq!(of(&Status { action: idle.clone(), held: Some(facts("2026-04-01T00:00:00Z")), ..Status::default() }), None);
        assert_eq!(of(&failing(Class::Transient, Some("2026-04-01T00:00:00Z"))), None, "there is time");
        assert!(of(&failing(Class::Local, Some("2026-04-01T00:00:00Z"))).is_some(), "nobody but a person mends it");
        for (status, kind, says) in [
            (failing(Class::Transient, Some("2026-01-11T12:00:00Z")), Kind::Warning, "ends in 36 hours: it failed 3 times in a row"),
            (failing(Class::Configuration, Some("2026-04-01T00:00:00Z")), Kind::Warning, "ends in 81 days"),
            (failing(Class::Transient, Some("2026-01-09T00:00:00Z")), Kind::Blocking, "ended at 2026-01-09T00:00:00Z"),
            (
                failing(Class::Validation, None),
                Kind::Blocking,
                "no certificate yet: it failed 3 times in a row, the next attempt is at 2026-01-02T00:00:00Z: port 80 is closed",
            ),
            (Status { action: idle.clone(), ..Status::default() }, Kind::Blocking, "it is being got"),
        ] {
            let (found, text) = of(&status).expect("worth a word");
            assert!(found == kind && text.contains(says), "{found:?} {text}");
        }
        let stands_in = standing(now, &failing(Class::Transient, None), true);
        assert_eq!(stands_in.map(|(kind, _)| kind), Some(Kind::Warning), "clients see another one");
    }
}
