use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::edit::json::tests::daemon_json;

fn ours(mirrors: &[&str], insecure: &[&str]) -> Ours {
    let mirrors = mirrors.iter().map(|url| url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))).collect();
    Ours { mirrors, insecure: insecure.iter().map(|entry| (*entry).to_owned()).collect() }
}

fn put(text: &str, ours: &Ours) -> String {
    put_behind(Some(text), ours, &Ours::default(), Others::Keep).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn ours_come_first_and_those_of_others_stay() {
    let text = "{\n    \"debug\": true,\n    \"registry-mirrors\": [\"https://theirs.example\"],\n    \"userns-remap\": \"default\"\n}\n";
    let ours = ours(&["http://10.0.0.7:5000", "https://second.example"], &["10.0.0.7:5000"]);
    insta::assert_snapshot!(put(text, &ours), @r#"
    {
        "debug": true,
        "registry-mirrors": ["http://10.0.0.7:5000", "https://second.example", "https://theirs.example"],
        "userns-remap": "default",
        "insecure-registries": ["10.0.0.7:5000"]
    }
    "#);
    let replaced = put_behind(Some(text), &ours, &Ours::default(), Others::Replace).expect("valid");
    assert_eq!(mirrors(&replaced).expect("valid"), ["http://10.0.0.7:5000", "https://second.example"]);
}

#[test]
fn a_file_that_is_not_there_is_made() {
    insta::assert_snapshot!(put_behind(None, &ours(&["http://10.0.0.7:5000"], &[]), &Ours::default(), Others::Keep).expect("valid"), @r#"
    {
      "registry-mirrors": ["http://10.0.0.7:5000"]
    }
    "#);
    insta::assert_snapshot!(emptied(None).expect("valid"), @r#"
    {
      "registry-mirrors": [],
      "insecure-registries": []
    }
    "#);
}

#[test]
fn those_of_an_earlier_apply_give_way() {
    let (old, new) = (ours(&["http://old:5000"], &["old:5000", "both:1"]), ours(&["https://new"], &["both:1"]));
    let text = "{\"registry-mirrors\": [\"http://old:5000/\", \"https://theirs\"], \"insecure-registries\": [\"their.net:5000\", \"old:5000\", \"both:1\"]}";
    let now = put_behind(Some(text), &new, &old, Others::Keep).expect("valid");
    assert_eq!(
        now,
        "{\"registry-mirrors\": [\"https://new\", \"https://theirs\"], \"insecure-registries\": [\"their.net:5000\", \"both:1\"]}"
    );
}

#[test]
fn a_mirror_is_never_there_twice_however_it_is_spelt() {
    let text = "{\"registry-mirrors\": [\"https://theirs\", \"HTTPS://Mirror.Example:443/\"]}";
    let now = put(text, &ours(&["https://mirror.example"], &[]));
    assert_eq!(mirrors(&now).expect("valid"), ["https://mirror.example", "https://theirs"]);
    let text = "{\"registry-mirrors\": [\"HTTPS://Mirror.Example:443/\"]}";
    assert_eq!(put(text, &ours(&["https://mirror.example"], &[])), text, "it is there already, and first");
}

#[test]
fn an_empty_list_is_put_where_a_key_is_missing_and_nowhere_else() {
    let text = "{\"debug\": true, \"insecure-registries\": [\"a:1\"]}";
    assert_eq!(emptied(Some(text)).expect("valid"), "{\"debug\": true, \"insecure-registries\": [\"a:1\"], \"registry-mirrors\": []}");
}

#[test]
fn only_ours_or_all_mirrors_can_be_taken_out() {
    let text = "{\"registry-mirrors\": [\"https://m/\", \"https://theirs\"], \"insecure-registries\": [\"m:1\"], \"debug\": true}";
    assert_eq!(
        without_ours(text, &ours(&["https://m"], &["M:1"])).expect("valid"),
        "{\"registry-mirrors\": [\"https://theirs\"], \"debug\": true}"
    );
    assert_eq!(clean(text).expect("valid"), "{\"insecure-registries\": [\"m:1\"], \"debug\": true}");
    assert_eq!(without_ours(text, &ours(&["https://other"], &[])).expect("valid"), text);
}

#[test]
fn a_value_that_dockerd_would_refuse_is_refused() {
    let refused =
        |text: &str| put_behind(Some(text), &ours(&["https://m"], &[]), &Ours::default(), Others::Keep).expect_err(text).to_string();
    insta::assert_snapshot!(refused("{\n  \"registry-mirrors\": \"https://m\"\n}"), @r#"line 2, column 23: `registry-mirrors` is a string, and must be a list of strings: ["…"]"#);
    insta::assert_snapshot!(refused("{\n  \"insecure-registries\": [1]\n}"), @r#"line 2, column 27: `insecure-registries` is a list with a number in it, and must be a list of strings: ["…"]"#);
    insta::assert_snapshot!(refused("{\"Registry-Mirrors\": []}"), @"line 1, column 2: `Registry-Mirrors` must be written `registry-mirrors`: dockerd refuses other capitals");
    insta::assert_snapshot!(refused("{\"registry-mirrors\": [\"\"]}"), @"line 1, column 22: `registry-mirrors` has an empty entry, which dockerd refuses; take it out");
}

#[test]
fn misspelt_keys_are_found_and_others_are_not() {
    let text = "{\n  \"registry-mirror\": [],\n  \"registry_mirrors\": [],\n  \"registry-mirrors\": [],\n  \"insecure-registry\": [],\n  \"Registry-Mirrors\": [],\n  \"registry-miror\": []\n}";
    let found: Vec<String> =
        suspicions(text).expect("valid").iter().map(|it| format!("{}:{} {} -> {}", it.line, it.column, it.key, it.meant)).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    2:3 registry-mirror -> registry-mirrors
    3:3 registry_mirrors -> registry-mirrors
    5:3 insecure-registry -> insecure-registries
    6:3 Registry-Mirrors -> registry-mirrors
    7:3 registry-miror -> registry-mirrors
    ");
    let known = "{\"allow-nondistributable-artifacts\": [], \"registry-mirrors\": [], \"insecure-registries\": [], \"runtimes\": {}, \"dns\": [], \"labels\": [], \"proxies\": {}}";
    assert_eq!(suspicions(known).expect("valid"), []);
}

/// What dockerd takes from it, an absent list being an empty one.
fn meaning(text: &str) -> serde_json::Map<String, Value> {
    let mut map: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for key in [MIRRORS, INSECURE] {
        if map.get(key).is_some_and(|value| value.is_null() || value.as_array().is_some_and(Vec::is_empty)) {
            map.remove(key);
        }
    }
    map
}

fn some_ours() -> impl Strategy<Value = Ours> {
    prop_oneof![
        Just(ours(&["http://mine.test:5000"], &["mine.test:5000"])),
        Just(ours(&["https://mine.test", "http://two.test"], &[])),
        Just(ours(&["http://[fd00::7]:5000", "https://mine.test:8443"], &["[fd00::7]:5000"])),
    ]
}

proptest! {
    #[test]
    fn put_and_taken_out_again_means_the_same(text in daemon_json(), ours in some_ours()) {
        let back = without_ours(&put(&text, &ours), &ours).expect("valid");
        prop_assert_eq!(meaning(&back), meaning(&text));
    }

    #[test]
    fn put_twice_is_put_once(text in daemon_json(), ours in some_ours(), previous in some_ours()) {
        let once = put_behind(Some(&text), &ours, &previous, Others::Keep).expect("valid");
        prop_assert_eq!(put_behind(Some(&once), &ours, &ours, Others::Keep).expect("valid"), once.clone());
        prop_assert_eq!(put_behind(Some(&once), &ours, &previous, Others::Keep).expect("valid"), once);
    }

    #[test]
    fn ours_are_first_the_rest_is_behind_and_nothing_else_changes(text in daemon_json(), ours in some_ours()) {
        let after = put(&text, &ours);
        let mut wanted: Vec<String> = ours.mirrors.iter().map(ToString::to_string).collect();
        wanted.extend(mirrors(&text).expect("valid"));
        prop_assert_eq!(mirrors(&after).expect("valid"), wanted);
        // Without the two members, both texts are the same to the byte.
        let rest = |text: &str| Object::parse(&Object::parse(text).expect("valid").without(MIRRORS)).expect("valid").without(INSECURE);
        if Object::parse(&text).expect("valid").keys().any(|key| key.name != MIRRORS && key.name != INSECURE) {
            prop_assert_eq!(rest(&after), rest(&text));
        }
    }

    #[test]
    fn clean_leaves_no_mirror(text in daemon_json(), ours in some_ours()) {
        let clean = clean(&put(&text, &ours)).expect("valid");
        prop_assert!(mirrors(&clean).expect("valid").is_empty() && !says_mirrors(&clean).expect("valid"));
        prop_assert!(says_mirrors(&emptied(Some(&clean)).expect("valid")).expect("valid"));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[{}\\[\\]\",:a-z -]{0,40}", ours in some_ours()) {
        let _ = put_behind(Some(&text), &ours, &Ours::default(), Others::Keep);
        let _ = (without_ours(&text, &ours), suspicions(&text), clean(&text), emptied(Some(&text)));
    }
}
