use proptest::prelude::*;

use super::*;
use crate::edit::toml::tests::{document, meaning};

fn url(text: &str) -> MirrorUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn mirror(text: &str) -> Mirror {
    Mirror { url: url(text), ca: Vec::new(), client: None }
}

fn hub() -> Vec<String> {
    vec!["docker.io".to_owned()]
}

fn put(text: &str, ours: &[Mirror]) -> String {
    put_behind(Some(text), &hub(), ours, &[], Others::Keep).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn secure() -> Mirror {
    Mirror { ca: vec!["/ca.crt".to_owned()], client: Some(("/c.pem".to_owned(), "/k.pem".to_owned())), ..mirror("https://mine.test:5000") }
}

#[test]
fn where_a_daemon_listens_is_read_and_a_file_that_says_nothing_of_it_says_nothing() {
    for (text, says) in [
        ("[grpc]\naddress = [\"unix:///a.sock\", \"tcp://127.0.0.1:1\"]\n", Some("unix:///a.sock")),
        ("grpc.address = ['unix:///a.sock']\n", Some("unix:///a.sock")),
        ("[grpc]\naddress = []\n", None),
        ("[grpc]\nuid = 0\n", None),
        ("[grpc]\naddress = 'unix:///a.sock'\n", None),
        ("[grpc\n", None),
        ("", None),
    ] {
        assert_eq!(address(text).as_deref(), says, "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_made() {
    insta::assert_snapshot!(put_behind(None, &hub(), &[secure(), mirror("http://10.0.0.7")], &[], Others::Keep).expect("made"), @r#"
    [registry."docker.io"]
      mirrors = ["mine.test:5000", "10.0.0.7"]

    [registry."mine.test:5000"]
      ca = ["/ca.crt"]
      [[registry."mine.test:5000".keypair]]
        key = "/k.pem"
        cert = "/c.pem"

    [registry."10.0.0.7"]
      http = true
    "#);
}

#[test]
fn a_mirror_on_loopback_is_not_taken_for_one_without_tls() {
    for (url, said) in
        [("https://127.0.0.1:5443", "http = false"), ("http://127.0.0.1:5000", "http = true"), ("https://[::1]", "http = false")]
    {
        let text = put("", &[mirror(url)]);
        assert!(text.contains(said), "{url}: {text}");
        assert_eq!(put(&text, &[mirror(url)]), text, "a second time it is left");
    }
    assert!(!put("", &[mirror("https://mine.test")]).contains("http ="), "what buildkitd takes for granted is not said");
}

const THEIRS: &str = "debug = true # loud\n\n[worker.oci]\n  gc = false\n\n# the Hub\n[registry.\"docker.io\"]\n  http = false\n  mirrors = [ \"site.corp\", \"Mine.Test:5000\" ]\n\n[registry.\"site.corp\"]\n  insecure = true\n";

#[test]
fn ours_come_first_and_those_of_others_stay() {
    insta::assert_snapshot!(put(THEIRS, &[mirror("http://mine.test:5000")]), @r#"
    debug = true # loud

    [worker.oci]
      gc = false

    # the Hub
    [registry."docker.io"]
      http = false
      mirrors = ["mine.test:5000", "site.corp"]

    [registry."site.corp"]
      insecure = true

    [registry."mine.test:5000"]
      http = true
    "#);
}

#[test]
fn a_mirror_that_learns_tls_says_so() {
    let text = put("", &[mirror("http://mine.test:5000")]);
    insta::assert_snapshot!(put(&text, &[secure()]), @r#"
    [registry."docker.io"]
      mirrors = ["mine.test:5000"]

    [registry."mine.test:5000"]
      ca = ["/ca.crt"]
      http = false

      [[registry."mine.test:5000".keypair]]
        key = "/k.pem"
        cert = "/c.pem"
    "#);
}

#[test]
fn a_ca_that_is_no_longer_needed_goes() {
    let text = put(THEIRS, &[secure()]);
    let now = put_behind(Some(&text), &hub(), &[mirror("https://mine.test:5000")], &[secure().url], Others::Keep).expect("valid");
    assert_eq!(now, put(THEIRS, &[mirror("https://mine.test:5000")]));
}

#[test]
fn those_of_an_earlier_apply_give_way_everywhere() {
    let text =
        put_behind(Some(THEIRS), &[hub(), vec!["ghcr.io".into()]].concat(), &[mirror("http://old:1")], &[], Others::Keep).expect("valid");
    let now = put_behind(Some(&text), &hub(), &[mirror("http://new:1")], &[url("http://old:1")], Others::Keep).expect("valid");
    assert!(!now.contains("old:1") && !now.contains("ghcr.io"), "{now}");
    assert_eq!(mirrors(&now, "docker.io").expect("valid"), ["new:1", "site.corp", "Mine.Test:5000"]);
}

#[test]
fn a_registry_within_a_line_is_edited_where_it_can_be_and_refused_where_not() {
    let text = "registry = { \"docker.io\" = { mirrors = [ 'site.corp' ] } }\n";
    let after = put_behind(Some(text), &hub(), &[mirror("https://m")], &[], Others::Keep).expect("valid");
    assert_eq!(after, "registry = { \"docker.io\" = { mirrors = [\"m\", \"site.corp\"] } }\n");
    let refused = |text: &str| put_behind(Some(text), &hub(), &[mirror("http://m")], &[], Others::Keep).expect_err(text).to_string();
    insta::assert_snapshot!(refused("[registry]\n\"docker.io\" = { http = true }\n"), @r#"line 2, column 15: a registry that is not written as a table of its own; add to it by hand: mirrors = ["m"]"#);
    insta::assert_snapshot!(refused("registry.\"docker.io\".http = true\n"), @r#"line 1, column 10: a registry that is not written as a table of its own; add to it by hand: mirrors = ["m"]"#);
    insta::assert_snapshot!(refused("[registry.\"docker.io\"]\nmirrors = \"m\"\n"), @r#"line 2, column 11: `mirrors` is no list of strings, and must be one: ["…"]"#);
    insta::assert_snapshot!(refused("registry = 1\n"), @r#"line 1, column 12: `registry` is no table; write [registry."docker.io"]"#);
    insta::assert_snapshot!(refused("[registry]\n\"docker.io\" = 1\n"), @r#"line 2, column 15: the registry `docker.io` is no table; write [registry."docker.io"] and its keys below"#);
    insta::assert_snapshot!(refused(&format!("{text}x = \n")), @"line 2, column 5: not TOML: string values must be quoted, expected literal string");
}

/// A file as somebody may have it.
pub(crate) fn some_document() -> impl Strategy<Value = String> {
    document(vec![
        "[worker.oci]\n".into(),
        "[registry.\"docker.io\"] # the Hub\n".into(),
        "  [ registry . 'site.corp' ]\nmirrors = [ \"a.test\" , 'b.test/p', # c\n]\n".into(),
        "[[registry.\"site.corp\".keypair]]\n".into(),
        "[registry.\"ghcr.io\"]\n\tmirrors=['a.test']\n".into(),
    ])
}

fn some_ours() -> impl Strategy<Value = Vec<Mirror>> {
    prop_oneof![
        Just(vec![mirror("http://mine.test:5000")]),
        Just(vec![secure(), mirror("https://two.test")]),
        Just(vec![mirror("https://two.test"), mirror("http://[fd00::7]:1")])
    ]
}

proptest! {
    #[test]
    fn ours_are_first_and_taken_out_again_all_is_as_before(text in some_document(), ours in some_ours(), names in prop::sample::subsequence(vec!["docker.io", "ghcr.io", "site.corp", "quay.io"], 1..3)) {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let after = put_behind(Some(&text), &names, &ours, &[], Others::Keep).expect("valid");
        for name in &names {
            let mut wanted: Vec<String> = ours.iter().map(|mirror| mirror.url.authority()).collect();
            wanted.extend(mirrors(&text, name).expect("valid"));
            prop_assert_eq!(mirrors(&after, name).expect("valid"), wanted);
        }
        let urls: Vec<MirrorUrl> = ours.iter().map(|mirror| mirror.url.clone()).collect();
        let back = without_ours(&after, &urls).expect("valid");
        let said = |text: &str| {
            let mut said = meaning(text);
            // A table in which nothing is says nothing.
            if let Some(registries) = said.get_mut("registry").and_then(serde_json::Value::as_object_mut) {
                registries.retain(|_, table| table.as_object().is_none_or(|table| !table.is_empty()));
            }
            if said.get("registry").and_then(serde_json::Value::as_object).is_some_and(serde_json::Map::is_empty) {
                said.as_object_mut().expect("valid").remove("registry");
            }
            said
        };
        prop_assert_eq!(said(&back), said(&text));
        // Lines that are none of ours and no list of mirrors are all there, in their order.
        let mut rest = after.lines();
        for line in text.lines().filter(|line| !line.contains("mirrors") && !line.contains("b.test") && *line != "]") {
            prop_assert!(rest.any(|one| one == line), "{} is gone of\n{}", line, after);
        }
    }

    #[test]
    fn put_twice_is_put_once(text in some_document(), ours in some_ours(), previous in some_ours()) {
        let previous: Vec<MirrorUrl> = previous.into_iter().map(|mirror| mirror.url).collect();
        let once = put_behind(Some(&text), &hub(), &ours, &previous, Others::Keep).expect("valid");
        prop_assert_eq!(put_behind(Some(&once), &hub(), &ours, &previous, Others::Keep).expect("valid"), once);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[registry\\.|\\]|\"docker.io\"|\n|=|mirrors|\\[|\\{|\\}|keypair|\\.){0,20}", ours in some_ours()) {
        let _ = put_behind(Some(&text), &hub(), &ours, &[], Others::Keep);
        let _ = without_ours(&text, &[url("http://m")]);
    }
}
