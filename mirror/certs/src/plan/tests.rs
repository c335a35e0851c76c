mod schedule;

use proptest::prelude::*;

use super::*;
use crate::{Failure, Issued, KeyKind, Setback, Trouble};

const DIRECTORY: &str = "https://ca.test/directory";
const NOW: Moment = Moment::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Something else wakes whoever asks for a plan at least so often.
const LOOK: Duration = Duration::from_secs(7 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn days(count: u32) -> Duration {
    DAY * count
}

fn wish() -> Wish {
    let identifiers = ["mirror.test".parse().expect("a name")].into();
    Wish { directories: vec![DIRECTORY.to_owned()], identifiers, how: String::new(), key: KeyKind::P256, profile: None }
}

/// Issued at `from`, valid for `life`.
fn certificate(from: Moment, life: Duration) -> Facts {
    Facts {
        directory: DIRECTORY.to_owned(),
        id: Some(format!("id-{from}")),
        identifiers: wish().identifiers,
        key: KeyKind::P256,
        not_after: from + life,
        not_before: from,
        profile: None,
        revoked: false,
        supersedes: false,
    }
}

fn suggestion(about: &Facts, start: Moment, end: Moment) -> Suggestion {
    Suggestion::new(about.id.clone().expect("it has one"), start, end, 0.5).expect("a window")
}

/// A view with nothing against it.
struct Scene {
    asked: bool,
    budget: Budget,
    held: Option<Facts>,
    history: History,
    jitter: f64,
    skew: Duration,
    suggestion: Option<Suggestion>,
    wish: Wish,
}

impl Scene {
    fn of(held: Option<Facts>) -> Self {
        let (history, skew) = (History::default(), Duration::ZERO);
        Self { asked: false, budget: Budget::PUBLIC, held, history, jitter: 0.0, skew, suggestion: None, wish: wish() }
    }

    fn plan(&self, now: Moment) -> Action {
        let view = View {
            asked: self.asked,
            budget: &self.budget,
            held: self.held.as_ref(),
            history: &self.history,
            jitter: self.jitter,
            skew: self.skew,
            suggestion: self.suggestion.as_ref(),
            wish: &self.wish,
        };
        plan(now, &view)
    }

    fn hold(&self, now: Moment) -> Option<(Hold, Moment)> {
        match self.plan(now) {
            Action::Hold { why, until, .. } => Some((why, until)),
            Action::Idle { .. } | Action::Obtain { .. } => None,
        }
    }

    fn asked(mut self) -> Self {
        self.asked = true;
        self
    }

    fn issued(mut self, ago: &[Duration], replaced: bool) -> Self {
        let identifiers = self.wish.identifiers.clone();
        self.history.issued.extend(ago.iter().map(|ago| Issued { at: NOW - *ago, identifiers: identifiers.clone(), replaced }));
        self
    }
}

#[test]
fn a_clock_that_was_ahead_holds_up_nothing_once_it_is_right() {
    let years = days(3650);
    let mut scene = Scene::of(None);
    for _ in 0..20 {
        scene.history.ordered(NOW + years);
        scene.history.unproved(NOW + years, wish().identifiers.first().expect("a name").clone());
    }
    let trouble = Trouble { class: Class::RateLimited, retry_after: None, said: "not yet valid".into() };
    scene.history.failed(NOW + years, trouble, &wish(), None);
    assert_eq!(scene.plan(NOW), Action::Obtain { due: Reason::Missing, replaces: false });
}

#[test]
fn a_person_gets_a_new_one_at_once_but_not_beyond_the_budget() {
    let fresh = certificate(NOW - MINUTE, days(90));
    let asked = Scene::of(Some(fresh.clone())).issued(&[MINUTE], false).asked();
    assert_eq!(asked.plan(NOW), Action::Obtain { due: Reason::Asked, replaces: true });
    let other_ca = Facts { id: None, ..fresh };
    let spent = Scene::of(Some(other_ca)).issued(&[MINUTE, MINUTE, MINUTE], false).asked();
    assert!(matches!(spent.hold(NOW), Some((Hold::Issued, _))), "{:?}", spent.plan(NOW));
}

#[test]
fn lives_of_every_length_are_renewed_in_time_without_any_advice() {
    for (life, due_after, reason) in [
        (Duration::from_secs(160 * 3600), Duration::from_secs(80 * 3600), Reason::Age),
        (days(45), days(30), Reason::Age),
        (days(64), DAY * 64 / 3 * 2, Reason::Age),
        (days(90), days(60), Reason::Age),
        (MINUTE, Duration::from_secs(30), Reason::Age),
    ] {
        let scene = Scene::of(Some(certificate(NOW, life)));
        let due = NOW + due_after;
        assert_eq!(scene.plan(NOW), Action::Idle { due: reason, until: due }, "{life:?}");
        assert_eq!(scene.plan(due), Action::Obtain { due: reason, replaces: true }, "{life:?}");
    }
}

#[test]
fn the_ca_chooses_the_moment_but_not_one_in_the_last_sixth() {
    let held = certificate(NOW, days(90));
    let mut scene = Scene::of(Some(held.clone()));
    scene.suggestion = Some(suggestion(&held, NOW + days(40), NOW + days(50)));
    assert_eq!(scene.plan(NOW), Action::Idle { due: Reason::Suggested, until: NOW + days(45) });
    scene.suggestion = Some(suggestion(&held, NOW + days(84), NOW + days(88)));
    assert_eq!(scene.plan(NOW), Action::Idle { due: Reason::Floor, until: NOW + days(75) });
    scene.suggestion = Some(suggestion(&held, NOW - days(2), NOW - days(1)));
    assert_eq!(scene.plan(NOW), Action::Obtain { due: Reason::SuggestionPassed, replaces: true });
}

/// The window of the certificate before, read again after a renewal, has made clients issue five in ten seconds.
#[test]
fn a_window_for_another_certificate_counts_for_nothing() {
    let (old, new) = (certificate(NOW - days(60), days(90)), certificate(NOW, days(90)));
    let mut scene = Scene::of(Some(new));
    scene.suggestion = Some(suggestion(&old, NOW - days(2), NOW - days(1)));
    assert_eq!(scene.plan(NOW), Action::Idle { due: Reason::Age, until: NOW + days(60) });
}

#[test]
fn a_window_whose_end_is_not_after_its_start_is_no_answer() {
    assert_eq!(Suggestion::new("id".into(), NOW, NOW, 0.5), None);
    assert_eq!(Suggestion::new("id".into(), NOW, NOW - MINUTE, 0.5), None);
}

#[test]
fn what_is_missing_or_not_what_is_wanted_is_got_at_once() {
    assert_eq!(Scene::of(None).plan(NOW), Action::Obtain { due: Reason::Missing, replaces: false });
    let held = certificate(NOW, days(90));
    let expired = Scene::of(Some(certificate(NOW - days(90), days(90))));
    assert_eq!(expired.plan(NOW), Action::Obtain { due: Reason::Expired, replaces: false });
    for (changed, difference, replaces) in [
        (Wish { profile: Some("tlsserver".into()), ..wish() }, Difference::Profile, true),
        (Wish { key: KeyKind::Rsa2048, ..wish() }, Difference::Key, true),
        (Wish { identifiers: ["other.test".parse().expect("a name")].into(), ..wish() }, Difference::Identifiers, false),
        (Wish { directories: vec!["https://other.test/".into()], ..wish() }, Difference::Directory, false),
    ] {
        let scene = Scene { wish: changed, ..Scene::of(Some(held.clone())) };
        assert_eq!(scene.plan(NOW), Action::Obtain { due: Reason::Changed(difference), replaces }, "{difference:?}");
    }
    let revoked = Scene::of(Some(Facts { revoked: true, ..held }));
    assert_eq!(revoked.plan(NOW), Action::Obtain { due: Reason::Revoked, replaces: true });
}

#[test]
fn a_failed_attempt_holds_up_the_next_but_not_one_for_something_else() {
    let mut scene = Scene::of(None);
    scene.history.failed(NOW, trouble(Class::Configuration), &wish(), None);
    assert_eq!(scene.hold(NOW), Some((Hold::Backoff(Class::Configuration), NOW + DAY)));
    scene.wish.profile = Some("tlsserver".into());
    assert_eq!(scene.hold(NOW), None, "somebody mended the configuration");

    scene.history = History::default();
    scene.history = History::default();
    scene.history.failed(NOW, trouble(Class::RateLimited), &wish(), None);
    assert_eq!(scene.hold(NOW).map(|hold| hold.0), Some(Hold::Backoff(Class::RateLimited)), "a limit is not for one request only");
}

#[test]
fn what_a_person_has_to_mend_on_this_machine_is_looked_at_again_within_a_minute_however_often_it_failed() {
    let (mut scene, mut now) = (Scene::of(None), NOW);
    for _ in 0..50 {
        scene.history.failed(now, trouble(Class::Local), &wish(), None);
        let (why, until) = scene.hold(now).expect("not at once");
        assert!(why == Hold::Backoff(Class::Local) && until <= now + MINUTE, "{until}");
        assert!(matches!(scene.plan(until), Action::Obtain { .. }));
        now = until;
    }
}

#[test]
fn a_clock_that_is_wrong_holds_up_all_but_what_cannot_wait() {
    let due = certificate(NOW - days(80), days(90));
    let mut scene = Scene { skew: MINUTE * 6, ..Scene::of(Some(due)) };
    assert_eq!(scene.hold(NOW).map(|hold| hold.0), Some(Hold::Skew));
    scene.held = None;
    assert_eq!(scene.hold(NOW), None);
}

#[test]
fn a_new_certificate_that_is_due_already_is_not_got_again() {
    let fresh_and_due = certificate(NOW - days(89), days(90));
    let scene = Scene::of(Some(fresh_and_due)).issued(&[MINUTE], true);
    assert_eq!(scene.hold(NOW), Some((Hold::TooSoon, NOW - MINUTE + days(9))));
}

#[test]
fn the_budget_stays_below_the_limits_of_the_ca() {
    let held = || Some(certificate(NOW - days(80), days(90)));
    let thrice = [days(6), days(5), days(4)];
    let mut other = Scene::of(held()).issued(&thrice, false);
    other.held = other.held.map(|held| Facts { id: None, ..held });
    assert_eq!(other.hold(NOW).map(|hold| hold.0), Some(Hold::TooSoon), "a tenth of its life is nine days");

    let bare = Scene::of(None).issued(&thrice, false);
    assert_eq!(bare.hold(NOW), None, "with nothing to serve, one more");
    let spent = Scene::of(None).issued(&[days(6), days(5), days(4), days(3)], false);
    assert_eq!(spent.hold(NOW), Some((Hold::Issued, NOW + days(1))), "the fifth is a person's");
    assert_eq!(Scene { budget: Budget::OWN, ..spent }.hold(NOW), None);

    let mut unproved = Scene::of(None);
    let identifier = wish().identifiers.first().expect("one").clone();
    unproved.history.failures = (0..3).map(|index| Failure { at: NOW - MINUTE * index, identifier: identifier.clone() }).collect();
    assert_eq!(unproved.hold(NOW), Some((Hold::Failures, NOW - MINUTE * 2 + HOUR)));

    let mut busy = Scene::of(None);
    busy.history.orders = (0..10).map(|index| NOW - MINUTE * index).collect();
    assert_eq!(busy.hold(NOW), Some((Hold::Orders, NOW - MINUTE * 9 + HOUR)));
}

#[test]
fn replacements_by_ari_are_not_counted_as_cas_do_not_count_them() {
    let changed = Wish { profile: Some("tlsserver".into()), ..wish() };
    let scene = Scene { wish: changed, ..Scene::of(Some(certificate(NOW - days(1), days(90)))) };
    let scene = scene.issued(&[days(6), days(5), days(4), days(3), days(2)], true);
    assert_eq!(scene.plan(NOW), Action::Obtain { due: Reason::Changed(Difference::Profile), replaces: true });
}

fn trouble(class: Class) -> Trouble {
    Trouble { class, retry_after: None, said: "said".to_owned() }
}

fn a_moment() -> impl Strategy<Value = Moment> {
    prop_oneof![any::<i64>(), -4_000_000_000..8_000_000_000_i64].prop_map(Moment::from_unix)
}

prop_compose! {
    fn a_certificate()(from in a_moment(), life in 0..40_000_000_u64, revoked: bool, has_id: bool) -> Facts {
        let certificate = certificate(from, Duration::from_secs(life));
        Facts { revoked, id: certificate.id.clone().filter(|_| has_id), ..certificate }
    }
}

prop_compose! {
    fn a_history()(issued in prop::collection::vec((a_moment(), any::<bool>()), 0..6), orders in prop::collection::vec(a_moment(), 0..12),
                   setback in prop::option::of((a_moment(), a_moment(), any::<u32>()))) -> History {
        let issued = issued.into_iter().map(|(at, replaced)| Issued { at, identifiers: wish().identifiers, replaced }).collect();
        let setback = setback.map(|(since, until, count)| Setback { class: Class::Transient, count, said: String::new(), since, until, wish: wish() });
        History { failures: Vec::new(), issued, orders, setback, ..History::default() }
    }
}

/// What a CA in a simulation does.
#[derive(Clone, Copy, Debug)]
enum Ca {
    Fails,
    Issues { life: Duration, window_after: Option<Duration> },
}

/// Plays `scene` from `now` on: each attempt is answered by `answer`. The times at which certificates were issued.
fn play(scene: &mut Scene, mut now: Moment, end: Moment, mut answer: impl FnMut(Moment) -> Ca) -> Vec<Moment> {
    let mut issued = Vec::new();
    for _ in 0..50_000 {
        if now >= end {
            return issued;
        }
        let (Action::Hold { until, .. } | Action::Idle { until, .. }) = scene.plan(now) else {
            scene.history.ordered(now);
            match answer(now) {
                Ca::Issues { life, window_after } => {
                    let replaced = scene.held.is_some();
                    let held = certificate(now, life);
                    scene.suggestion = window_after.map(|after| suggestion(&held, now + after, now + after + MINUTE));
                    scene.held = Some(held);
                    scene.history.issued(now, scene.wish.identifiers.clone(), replaced);
                    issued.push(now);
                }
                Ca::Fails => {
                    let expires = scene.held.as_ref().map(|held| held.not_after);
                    scene.history.failed(now, trouble(Class::Transient), &wish(), expires);
                }
            }
            continue;
        };
        assert!(until > now, "waiting ends");
        now = until.min(now + LOOK);
    }
    panic!("it acted or looked fifty thousand times by {now}");
}

proptest! {
    #[test]
    fn no_clock_no_history_and_no_certificate_make_it_panic_or_stand_still(
        now in a_moment(), held in prop::option::of(a_certificate()), history in a_history(), skew in 0..1_000_u64,
        window in prop::option::of((a_moment(), a_moment())),
    ) {
        let mut scene = Scene { skew: Duration::from_secs(skew), history, ..Scene::of(held) };
        scene.suggestion = window.and_then(|(start, end)| Suggestion::new(scene.held.as_ref()?.id.clone()?, start, end, 0.3));
        match scene.plan(now) {
            Action::Hold { until, .. } | Action::Idle { until, .. } => prop_assert!(until > now || now.unix() == i64::MAX),
            Action::Obtain { .. } => {}
        }
    }

    #[test]
    fn with_a_healthy_ca_something_valid_is_served_all_the_time(life in 60..10_000_000_u64) {
        let life = Duration::from_secs(life);
        // Lives of minutes take more orders in an hour than a public CA is asked for; only one's own gives them.
        let budget = if life < HOUR { Budget::OWN } else { Budget::PUBLIC };
        let mut scene = Scene { budget, ..Scene::of(Some(certificate(NOW, life))) };
        scene.history.issued(NOW, wish().identifiers, false);
        let mut expires = NOW + life;
        play(&mut scene, NOW, NOW + life * 10, |now| {
            assert!(now < expires, "expired at {expires}, renewed at {now}");
            expires = now + life;
            Ca::Issues { life, window_after: None }
        });
    }

    #[test]
    fn no_two_certificates_are_got_inside_the_gap_though_the_ca_suggests_to_renew_at_once(life in 60..10_000_000_u64, after in 0..100_u64) {
        let life = Duration::from_secs(life);
        let mut scene = Scene::of(None);
        let answer = Ca::Issues { life, window_after: Some(Duration::from_secs(after)) };
        let issued = play(&mut scene, NOW, NOW + life * 4, |_| answer);
        prop_assert!(issued.len() > 1);
        for pair in issued.windows(2) {
            prop_assert!(Some(pair[1].since(pair[0])) >= gap(Reason::SuggestionPassed, life), "{pair:?}");
        }
    }

    #[test]
    fn a_ca_that_is_down_is_asked_ever_less_often_and_at_once_taken_when_it_is_back(down_for in 1..40_u32) {
        let mut scene = Scene::of(Some(certificate(NOW - days(61), days(90))));
        let back = NOW + days(down_for);
        let mut asked = 0;
        let issued = play(&mut scene, NOW, back + days(2), |now| {
            asked += usize::from(now < back);
            if now < back { Ca::Fails } else { Ca::Issues { life: days(90), window_after: None } }
        });
        prop_assert_eq!(issued.len(), 1);
        prop_assert!(asked <= 6 + 24 * down_for as usize, "{} times in {} days", asked, down_for);
    }
}
