use proptest::prelude::*;

use super::*;

fn terms(permits: &[&str]) -> Terms {
    let permits = permits.iter().map(|permit| permit.parse().expect("a permit")).collect();
    let whole = Terms { constraints: Vec::new(), further: Some(0), not_after: moment(400), not_before: moment(0), purposes: None };
    whole.within(&permits)
}

/// So many days after some day.
fn moment(day: i64) -> Moment {
    Moment::from_unix(1_800_000_000 + day * 86_400)
}

fn wanted(names: &[&str], days: u64) -> Wanted {
    let identifiers = names.iter().map(|name| name.parse().expect("a name")).collect();
    Wanted { identifiers, life: Duration::from_secs(days * 86_400), purpose: Purpose::Server }
}

fn serial() -> Serial {
    Serial::from_random([7; 20])
}

#[test]
fn a_leaf_is_backdated_by_an_hour_and_lives_as_long_as_asked() {
    let leaf = leaf(&terms(&["example.com"]), &wanted(&["a.example.com"], 30), serial(), moment(10)).expect("nothing is against it");
    assert_eq!((leaf.not_before, leaf.not_after), (moment(10) - BACKDATED, moment(40)));
    assert_eq!(leaf.subject, Subject { common_name: Some("a.example.com".into()), organization: None });
}

#[test]
fn the_common_name_is_a_host_name_that_fits_or_nothing() {
    let long = format!("{}.{}.test", "a".repeat(40), "b".repeat(40));
    for (names, expected) in [
        (&["10.0.0.1"][..], None),
        (&["10.0.0.1", "b.test", "*.a.test"], Some("b.test")),
        (&["*.a.test"], Some("*.a.test")),
        (&[&long], None),
    ] {
        assert_eq!(common_name(&wanted(names, 1).identifiers).as_deref(), expected, "{names:?}");
    }
}

#[test]
fn what_clients_would_refuse_is_refused_with_the_reason() {
    let ours = terms(&["example.com", "10.0.0.0/8"]);
    let ask = |terms: &Terms, names: &[&str], days, day| leaf(terms, &wanted(names, days), serial(), moment(day)).map(drop);
    assert_eq!(
        ask(&ours, &["a.example.com", "example.org", "192.0.2.1"], 30, 1).map_err(|error| error.to_string()),
        Err("the CA may not issue for example.org, 192.0.2.1; it may for example.com, 10.0.0.0/8".into())
    );
    let permits = ["example.com".parse().expect("a permit")].into();
    let narrower = ask(&ours.clone().within(&permits), &["10.0.0.1"], 30, 1).expect_err("not by the second").to_string();
    assert_eq!(narrower, "the CA may not issue for 10.0.0.1; it may for example.com, 10.0.0.0/8, but only what is also in example.com");
    assert_eq!(ours.clone().within(&permits).within(&permits).constraints.len(), 2, "the same is not said twice");
    assert_eq!(ask(&ours, &[], 30, 1), Err(Refusal::NoNames));
    assert_eq!(ask(&ours, &["example.com"], 0, 1), Err(Refusal::Life(0)));
    assert_eq!(ask(&ours, &["example.com"], 398, 1), Err(Refusal::Life(398)));
    assert_eq!(ask(&ours, &["example.com"], u64::MAX / 86_400, 1), Err(Refusal::Life(u64::MAX / 86_400)));
    assert_eq!(ask(&ours, &["example.com"], 30, -1), Err(Refusal::NotYet(moment(0))));
    assert_eq!(ask(&ours, &["example.com"], 30, 399), Err(Refusal::Ending(moment(400))));
    let many: Vec<String> = (0..101).map(|number| format!("a{number}.example.com")).collect();
    assert_eq!(ask(&ours, &many.iter().map(String::as_str).collect::<Vec<_>>(), 30, 1), Err(Refusal::NotSoMany(101)));
    let clients = Terms { purposes: Some([Purpose::Client].into()), ..ours.clone() };
    assert_eq!(ask(&clients, &["example.com"], 30, 1), Err(Refusal::Purpose(Purpose::Server)));
    assert_eq!(ask(&Terms { further: Some(-1), ..ours }, &["example.com"], 30, 1), Err(Refusal::Path));
}

#[test]
fn an_intermediate_needs_room_in_the_path() {
    let make = |further| {
        let terms = Terms { further, ..terms(&[]) };
        intermediate(&terms, &["example.com".parse().expect("a permit")].into(), Subject::default(), serial(), moment(1)).map(drop)
    };
    assert_eq!([make(None), make(Some(1)), make(Some(0))], [Ok(()), Ok(()), Err(Refusal::Path)]);
}

proptest! {
    #[test]
    fn a_leaf_never_outlives_its_issuer_and_is_valid_at_once(end in 0_i64..500, now in 0_i64..500, days in 1_u64..398) {
        let ours = Terms { not_after: moment(end), ..terms(&["example.com"]) };
        match leaf(&ours, &wanted(&["example.com"], days), serial(), moment(now)) {
            Ok(made) => {
                prop_assert!(made.not_before <= moment(now) && moment(now) < made.not_after);
                prop_assert!(made.not_before >= ours.not_before && made.not_after < ours.not_after);
                prop_assert!(made.not_after <= moment(now) + Duration::from_secs(days * 86_400));
            }
            Err(refusal) => prop_assert_eq!((refusal, end <= now + 1), (Refusal::Ending(moment(end)), true)),
        }
    }

    #[test]
    fn no_clock_makes_it_panic(now: i64, before: i64, after: i64, life: u64) {
        let ours = Terms { not_after: Moment::from_unix(after), not_before: Moment::from_unix(before), ..terms(&[]) };
        let wanted = Wanted { life: Duration::from_secs(life), ..wanted(&["example.com"], 1) };
        let _ = leaf(&ours, &wanted, serial(), Moment::from_unix(now));
    }
}
