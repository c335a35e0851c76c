//! When certificates of the lives that CAs give are got anew: a table for people, and what holds for every life and every window.

use super::*;

/// The lives that Let's Encrypt gives, has given and will give.
const LIVES: [(&str, Duration); 4] = [
    ("160 h", Duration::from_secs(160 * 3600)),
    ("45 d", Duration::from_secs(45 * 24 * 3600)),
    ("64 d", Duration::from_secs(64 * 24 * 3600)),
    ("90 d", Duration::from_secs(90 * 24 * 3600)),
];

/// In hours for a life of hours, else in days.
fn after(at: Moment, life: Duration) -> String {
    let hours = at.since(NOW).as_secs_f64() / 3600.0;
    if life < SHORT_LIFE { format!("{hours:.1} h") } else { format!("{:.1} d", hours / 24.0) }
}

/// When a certificate of `life` is due, as the plan tells right after it came; `window` in hundredths of its life.
fn due(life: Duration, jitter: f64, window: Option<[u32; 2]>) -> String {
    let held = certificate(NOW, life);
    let mut scene = Scene { jitter, ..Scene::of(Some(held.clone())) };
    scene.suggestion = window.map(|[start, end]| suggestion(&held, NOW + life / 100 * start, NOW + life / 100 * end));
    let Action::Idle { due, until } = scene.plan(NOW) else { panic!("a new one is due at once") };
    format!("{} ({due:?})", after(until, life))
}

/// When the next one comes where the CA suggests to get it at once.
fn earliest(life: Duration) -> String {
    let held = certificate(NOW, life);
    let mut scene = Scene::of(Some(held.clone()));
    scene.history.issued(NOW, wish().identifiers, true);
    scene.suggestion = Some(suggestion(&held, NOW - MINUTE, NOW + MINUTE));
    let Action::Hold { why: Hold::TooSoon, until, .. } = scene.plan(NOW) else { panic!("it is got again at once") };
    after(until, life)
}

#[test]
fn each_life_has_its_schedule() {
    let mut table =
        vec!["life | by age, at the latest | at the earliest | advised for its middle | for its last days | for now".to_owned()];
    for (name, life) in LIVES {
        let columns = [due(life, 0.0, None), due(life, 1.0, None), due(life, 0.0, Some([50, 60])), due(life, 0.0, Some([88, 96]))];
        table.push(format!("{name} | {} | {}", columns.join(" | "), earliest(life)));
    }
    assert_eq!(
        table.join("\n"),
        "\
life | by age, at the latest | at the earliest | advised for its middle | for its last days | for now
160 h | 80.0 h (Age) | 76.8 h (Age) | 88.0 h (Suggested) | 133.3 h (Floor) | 16.0 h
45 d | 30.0 d (Age) | 29.1 d (Age) | 24.8 d (Suggested) | 37.5 d (Floor) | 4.5 d
64 d | 42.7 d (Age) | 41.4 d (Age) | 35.2 d (Suggested) | 53.3 d (Floor) | 6.4 d
90 d | 60.0 d (Age) | 58.2 d (Age) | 49.5 d (Suggested) | 75.0 d (Floor) | 9.0 d"
    );
}

#[test]
fn a_hundred_certificates_that_came_together_do_not_fall_due_in_one_hour() {
    let at = |scene: &Scene| match scene.plan(NOW) {
        Action::Idle { until, .. } => until,
        other => panic!("{other:?}"),
    };
    for (_, life) in &LIVES[1..] {
        let held = certificate(NOW, *life);
        let window = |dice| Suggestion::new(held.id.clone()?, NOW + days(20), NOW + days(22), dice);
        let by_age = |dice| at(&Scene { jitter: dice, ..Scene::of(Some(held.clone())) });
        let by_advice = |dice| at(&Scene { suggestion: window(dice), ..Scene::of(Some(held.clone())) });
        let hundred = || (0..100).map(|one| f64::from(one) / 100.0);
        for moments in [hundred().map(by_age).collect::<Vec<_>>(), hundred().map(by_advice).collect()] {
            let in_the_hour_from = |from: &Moment| moments.iter().filter(|at| *at >= from && at.since(*from) < HOUR).count();
            let busiest = moments.iter().map(in_the_hour_from).max();
            assert!(busiest <= Some(6), "{busiest:?} of a hundred in one hour");
        }
    }
}

proptest! {
    /// Its window lies anywhere, also beyond the end.
    #[test]
    fn whatever_a_healthy_ca_suggests_something_valid_is_served_all_the_time(
        life in 3600..10_000_000_u64, hundredths in prop::option::of(0..200_u32), jitter in 0.0..1.0_f64,
    ) {
        let life = Duration::from_secs(life);
        let mut scene = Scene { jitter, ..Scene::of(Some(certificate(NOW, life))) };
        scene.history.issued(NOW, wish().identifiers, false);
        let mut expires = NOW + life;
        let window_after = hundredths.map(|hundredths| life / 100 * hundredths);
        let issued = play(&mut scene, NOW, NOW + life * 4, |now| {
            assert!(now < expires, "expired at {expires}, renewed at {now}");
            expires = now + life;
            Ca::Issues { life, window_after }
        });
        prop_assert!(issued.len() >= 4, "{} in four lives", issued.len());
        for pair in issued.windows(2) {
            prop_assert!(Some(pair[1].since(pair[0])) >= gap(Reason::SuggestionPassed, life), "{pair:?}");
        }
    }
}
