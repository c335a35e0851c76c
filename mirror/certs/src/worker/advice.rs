//! What the CA advises about renewal: asked for as often as the CA wants to be asked, which is also kept where the answer cannot be written down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{PRIVATE, Worker};
use crate::acme::ask;
use crate::store::{CertFolder, Held, State, StoreError};
use crate::{Moment, Suggestion};

/// What this process heard last. A folder that is full or read-only must not make it ask at each look.
#[derive(Debug, Default)]
pub struct LastAdvice(Mutex<Option<Heard>>);

#[derive(Clone, Debug)]
struct Heard {
    /// The certificate's name in ARI.
    id: String,
    jitter: Option<f64>,
    next_look: Moment,
    suggestion: Option<Suggestion>,
}

impl LastAdvice {
    fn keep(&self, id: &str, next_look: Moment, state: &State) {
        let heard = Heard { id: id.to_owned(), jitter: state.jitter, next_look, suggestion: state.suggestion.clone() };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }

    /// Puts into `state` what was heard about `id` and is newer.
    fn recall(&self, id: &str, state: &mut State) {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(heard) = heard.filter(|heard| heard.id == id && state.next_look.is_none_or(|next| next < heard.next_look)) {
            (state.jitter, state.next_look, state.suggestion) = (heard.jitter, Some(heard.next_look), heard.suggestion);
        }
    }
}

impl Worker {
    /// Asks the CA when it wants a renewal, as often as it wants to be asked.
    pub(super) async fn take_advice(&self, folder: &CertFolder, held: Option<&Held>, state: &mut State) -> Result<(), StoreError> {
        let asks = |held: &&Held| self.ca.is_none() && held.facts.directory != PRIVATE;
        let Some((held, id)) = held.filter(asks).and_then(|held| Some((held, held.facts.id.as_deref()?))) else { return Ok(()) };
        let now = self.clock.now();
        self.advice.recall(id, state);
        let is_known = state.suggestion.as_ref().is_some_and(|suggestion| suggestion.is_about(&held.facts));
        if state.next_look.is_some_and(|next| now < next && next.since(now) < DAY) && (is_known || state.suggestion.is_none()) {
            return Ok(());
        }
        let jitter = *state.jitter.get_or_insert_with(dice);
        let advice = ask(&self.courier, &held.facts.directory, id, jitter).await;
        if let Some(page) = &advice.explanation {
            tracing::warn!(tls.certificate = %self.name, page, "the CA explains why it wants this certificate renewed");
        }
        let is_same = |known: &Suggestion, new: &Suggestion| (known.start, known.end) == (new.start, new.end) && known.id == new.id;
        state.suggestion = match (state.suggestion.take().filter(|known| known.is_about(&held.facts)), advice.suggestion) {
            (Some(known), Some(new)) if is_same(&known, &new) => Some(known), // Our moment in it was drawn once.
            (known, new) => new.or(known),
        };
        let next_look = now + advice.again_after;
        state.next_look = Some(next_look);
        self.advice.keep(id, next_look, state); // Before a disk can fail.
        let Ok(_lock) = folder.lock() else { return Ok(()) }; // Whoever has it writes the state.
        let mut stored = folder.state()?;
        (stored.jitter, stored.next_look) = (state.jitter, state.next_look);
        stored.suggestion.clone_from(&state.suggestion);
        folder.save_state(&stored)
    }
}

/// Between 0 and 1, drawn from the system's random numbers; the middle where it has none.
fn dice() -> f64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Moment {
        text.parse().expect("a moment")
    }

    #[test]
    fn what_could_not_be_written_down_is_remembered_and_what_is_newer_or_about_another_one_stays() {
        let advice = LastAdvice::default();
        let heard = State { jitter: Some(0.5), ..State::default() };
        advice.keep("one", at("2026-01-02T00:00:00Z"), &heard);
        let recalled = |id: &str, next_look: Option<&str>| {
            let mut state = State { next_look: next_look.map(at), ..State::default() };
            advice.recall(id, &mut state);
            state.next_look.map(|next| next.to_string())
        };
        assert_eq!(recalled("one", None).as_deref(), Some("2026-01-02T00:00:00Z"));
        assert_eq!(recalled("one", Some("2026-01-01T00:00:00Z")).as_deref(), Some("2026-01-02T00:00:00Z"));
        assert_eq!(recalled("one", Some("2026-01-03T00:00:00Z")).as_deref(), Some("2026-01-03T00:00:00Z"));
        assert_eq!(recalled("two", None), None);
    }
}
