use proptest::prelude::*;

use super::*;

fn url(text: &str) -> MirrorUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn mirror(text: &str) -> Mirror {
    Mirror { url: url(text), ca: None, client: None }
}

fn secure() -> Mirror {
    Mirror { ca: Some("/ca.crt".to_owned()), client: Some(("/c.pem".to_owned(), "/k.pem".to_owned())), ..mirror("https://mine.test:5000") }
}

fn hub() -> Vec<String> {
    vec!["docker.io".to_owned()]
}

fn put(text: &str, ours: &[Mirror]) -> String {
    put_behind(Some(text), &hub(), ours, &[], Others::Keep).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_file_that_is_not_there_is_made() {
    insta::assert_snapshot!(put_behind(None, &["docker.io".into(), "registry.corp:5000".into()], &[secure(), mirror("http://10.0.0.7")], &[], Others::Keep).expect("made"), @r#"
    mirrors:
      docker.io:
        endpoint:
          - "https://mine.test:5000"
          - "http://10.0.0.7"
      "registry.corp:5000":
        endpoint:
          - "https://mine.test:5000"
          - "http://10.0.0.7"
    configs:
      "mine.test:5000":
        tls:
          ca_file: "/ca.crt"
          cert_file: "/c.pem"
          key_file: "/k.pem"
    "#);
}

const THEIRS: &str = "# ops\nmirrors:\n  docker.io:\n    endpoint:\n      - \"https://site.corp\" # near\n      # far\n      - https://far.corp\n    rewrite:\n      \"^x\": y\n  \"*\":\n    endpoint: ['https://all.corp']\nconfigs:\n  site.corp:\n    tls: {insecure_skip_verify: true}\n";

#[test]
fn ours_come_first_and_those_of_others_stay() {
    insta::assert_snapshot!(put(THEIRS, &[secure()]), @r#"
    # ops
    mirrors:
      docker.io:
        endpoint:
          - "https://mine.test:5000"
          - "https://site.corp" # near
          # far
          - https://far.corp
        rewrite:
          "^x": y
      "*":
        endpoint: ['https://all.corp']
    configs:
      site.corp:
        tls: {insecure_skip_verify: true}
      "mine.test:5000":
        tls:
          ca_file: "/ca.crt"
          cert_file: "/c.pem"
          key_file: "/k.pem"
    "#);
    let after = put_behind(Some(THEIRS), &["*".into()], &[mirror("http://m")], &[], Others::Keep).expect("valid");
    assert!(after.contains("endpoint: [\"http://m\", \"https://all.corp\"]\n"), "{after}");
}

#[test]
fn ours_can_be_taken_out_to_the_byte() {
    for text in [THEIRS.to_owned(), THEIRS.replace('\n', "\r\n"), "# none\n".to_owned(), String::new()] {
        assert_eq!(without_ours(&put(&text, &[secure()]), &[secure().url]), Ok(text));
    }
}

#[test]
fn those_of_an_earlier_apply_give_way() {
    let text = put(THEIRS, &[secure(), mirror("http://old:1")]);
    let now =
        put_behind(Some(&text), &hub(), &[mirror("http://new:1")], &[secure().url, url("http://old:1")], Others::Keep).expect("valid");
    assert_eq!(endpoints(&now, "docker.io").expect("valid"), ["http://new:1", "https://site.corp", "https://far.corp"]);
    assert!(!now.contains("mine.test"), "{now}");
    let alone = put_behind(Some(&text), &hub(), &[mirror("http://new:1")], &[], Others::Replace).expect("valid");
    assert_eq!(endpoints(&alone, "docker.io").expect("valid"), ["http://new:1"]);
}

#[test]
fn a_ca_that_is_no_longer_needed_goes() {
    let text = put(THEIRS, &[secure()]);
    let now = put_behind(Some(&text), &hub(), &[mirror("https://mine.test:5000")], &[secure().url], Others::Keep).expect("valid");
    assert_eq!(now, put(THEIRS, &[mirror("https://mine.test:5000")]));
}

#[test]
fn a_file_of_an_odd_form_is_refused_with_what_to_write() {
    let refused = |text: &str| put_behind(Some(text), &hub(), &[mirror("http://m")], &[], Others::Keep).expect_err(text).to_string();
    insta::assert_snapshot!(refused("mirrors:\n  docker.io: &hub\n    rewrite: {a: b}\n"), @r#"line 2, column 14: YAML of a form that is not edited for `mirrors.docker.io.endpoint`; write there by hand: {"endpoint": ["http://m"]}"#);
    insta::assert_snapshot!(refused("mirrors:\n  docker.io:\n    endpoint: https://m\n"), @"line 3, column 15: `mirrors.docker.io.endpoint` must be a list of texts: lines that begin with `- `");
    insta::assert_snapshot!(refused("mirrors:\n  - docker.io\n"), @r#"line 2, column 3: a map of keys is expected here, with `docker.io` in it; write there by hand: {"docker.io": {"endpoint": ["http://m"]}}"#);
    insta::assert_snapshot!(refused("mirrors:\n  docker.io:\n    endpoint:\n      - &a https://x\n      -\n        https://y\n      - {}\n"), @"line 4, column 7: `mirrors.docker.io.endpoint` must be a list of texts: lines that begin with `- `");
    insta::assert_snapshot!(refused("mirrors:\n  docker.io:\n    endpoint:\n      -\n        https://x\n      - http://m\n"), @"line 5, column 1: YAML of a form that is not edited for `mirrors.docker.io.endpoint`; write it in lines of its own, without anchors, tags or merge keys");
    insta::assert_snapshot!(refused("mirrors: [\n"), @"line 2, column 1: not YAML: while parsing a node, did not find expected node content");
}

fn some_document() -> impl Strategy<Value = String> {
    let mirrors = prop::sample::select(vec![
        "",
        "mirrors:\n",
        "mirrors: {}\n",
        "mirrors: # none yet\n",
        "mirrors: ~\n",
        "mirrors:\n  docker.io:\n    endpoint:\n      - \"https://site.corp\"\n      # second\n      - http://b.test:1 # why\n    rewrite:\n      \"^a\": \"\\u00e4\"\n",
        "mirrors:\n  docker.io:\n    endpoint:\n    - 'https://site.corp'\n\n    - https://b.test\n  \"*\":\n    endpoint: [ ]\n",
        "mirrors:\n    ghcr.io:\n        endpoint: [\"https://a\", 'b'] # two\n",
        "mirrors: {docker.io: {endpoint: [https://site.corp]}, ä: {endpoint: []}}\n",
        "mirrors:\n  \"docker.io\": {endpoint: [ \"https://site.corp\" , ]}\n",
        "mirrors:\n  docker.io:\n  quay.io:\n    endpoint:\n      - https://q\n",
        "mirrors:\n    'docker.io':\n        endpoint: # none\n",
    ]);
    let configs = prop::sample::select(vec![
        "",
        "configs:\n",
        "configs: {}\n",
        "configs:\n  \"mine.test:5000\":\n    auth:\n      username: ä # who\n",
        "configs:\n  \"mine.test:5000\":\n    tls:\n      ca_file: /old\n      insecure_skip_verify: true\n",
        "configs:\n  site.corp:\n    tls: {insecure_skip_verify: true}\n",
    ]);
    let other = || {
        prop::sample::select(vec![
            "",
            "# a comment\n",
            "\n",
            "x: |\n  text\n  [not]: yaml\n",
            "y: >-\n  folded\n\n  more\n",
            "z: [1,\n  2]\n",
            "\"q \\u00e9\": 'it''s'\n",
        ])
    };
    (any::<[bool; 4]>(), other(), mirrors, other(), configs, other()).prop_filter_map(
        "a key twice",
        |([swap, crlf, last, start], a, mirrors, b, configs, c)| {
            let same = |one: &str, other: &str| one == other && one.contains(':');
            if same(a, b) || same(b, c) || same(a, c) {
                return None;
            }
            let (one, two) = if swap { (configs, mirrors) } else { (mirrors, configs) };
            let text = format!("{}{a}{one}{b}{two}{c}", if start { "---\n" } else { "" });
            let text = if last { text } else { text.trim_end_matches('\n').to_owned() };
            Some(if crlf { text.replace('\n', "\r\n") } else { text })
        },
    )
}

fn some_ours() -> impl Strategy<Value = Vec<Mirror>> {
    prop_oneof![
        Just(vec![mirror("http://mine.test:5000")]),
        Just(vec![secure(), mirror("https://two.test")]),
        Just(vec![mirror("http://[fd00::7]:1")])
    ]
}

/// What k3s takes from it: what is empty says nothing.
fn meaning(tree: Tree) -> Tree {
    match tree {
        Tree::Map(map) => {
            let map: BTreeMap<String, Tree> =
                map.into_iter().map(|(key, value)| (key, meaning(value))).filter(|(_, value)| *value != Tree::Null).collect();
            if map.is_empty() { Tree::Null } else { Tree::Map(map) }
        }
        Tree::List(items) if items.is_empty() => Tree::Null,
        other => other,
    }
}

proptest! {
    #[test]
    fn ours_are_first_and_taken_out_again_all_is_as_before(text in some_document(), ours in some_ours(), names in prop::sample::subsequence(vec!["docker.io", "ghcr.io", "*"], 1..3)) {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let after = put_behind(Some(&text), &names, &ours, &[], Others::Keep).expect("valid");
        for name in &names {
            let mut wanted: Vec<String> = ours.iter().map(|mirror| mirror.url.to_string()).collect();
            wanted.extend(endpoints(&text, name).expect("valid"));
            prop_assert_eq!(endpoints(&after, name).expect("valid"), wanted);
        }
        let mut rest = after.lines();
        for line in text.lines().filter(|line| !line.contains(['[', '{', '~']) && !line.contains("ca_file")) {
            prop_assert!(rest.any(|one| one == line), "{} is gone of\n{}", line, after);
        }
        let urls: Vec<MirrorUrl> = ours.iter().map(|mirror| mirror.url.clone()).collect();
        let back = without_ours(&after, &urls).expect("valid");
        let also_theirs = text.contains("ca_file") || text.contains("auth") && after.contains("/ca.crt");
        if !also_theirs {
            prop_assert_eq!(meaning(Yaml::parse(&back).expect("valid").tree()), meaning(Yaml::parse(&text).expect("valid").tree()));
        }
    }

    #[test]
    fn put_twice_is_put_once(text in some_document(), ours in some_ours(), previous in some_ours()) {
        let previous: Vec<MirrorUrl> = previous.into_iter().map(|mirror| mirror.url).collect();
        let once = put_behind(Some(&text), &hub(), &ours, &previous, Others::Keep).expect("valid");
        prop_assert_eq!(put_behind(Some(&once), &hub(), &ours, &previous, Others::Keep).expect("valid"), once);
    }

    #[test]
    fn a_text_that_is_cut_off_is_read_or_refused_and_never_a_panic(text in some_document(), cut in 0.0..1.0f64, ours in some_ours()) {
        let mut at = (text.len() as f64 * cut) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let _ = put_behind(Some(&text[..at]), &hub(), &ours, &[], Others::Keep);
    }
}
