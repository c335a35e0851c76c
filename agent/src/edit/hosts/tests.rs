use proptest::prelude::*;

use super::*;
use crate::edit::toml::tests::{document, meaning};

fn url(text: &str) -> MirrorUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn host(text: &str) -> Host {
    Host { url: url(text), ca: None, client: None, dial_timeout: Some("1s".to_owned()) }
}

fn put(text: &str, ours: &[Host]) -> String {
    put_first(Some(text), "ghcr.io", ours, &[], Others::Keep).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_file_that_is_not_there_is_made() {
    let secure = Host {
        ca: Some("/etc/chandler/ca.crt".to_owned()),
        client: Some(("/etc/chandler/client.cert".to_owned(), "/etc/chandler/client.key".to_owned())),
        ..host("https://mirror.example:5000")
    };
    insta::assert_snapshot!(put_first(None, "docker.io", &[secure, host("http://10.0.0.7:5000")], &[], Others::Keep).expect("made"), @r#"
    server = "https://registry-1.docker.io"

    [host."https://mirror.example:5000"]
      capabilities = ["pull", "resolve"]
      ca = "/etc/chandler/ca.crt"
      client = [["/etc/chandler/client.cert", "/etc/chandler/client.key"]]
      dial_timeout = "1s"

    [host."http://10.0.0.7:5000"]
      capabilities = ["pull", "resolve"]
      dial_timeout = "1s"
    "#);
    assert!(
        put_first(None, "ghcr.io", &[host("http://m")], &[], Others::Keep).expect("made").starts_with("server = \"https://ghcr.io\"\n")
    );
}

const THEIRS: &str = "# Managed by ops\nserver = \"https://ghcr.io\" # upstream\n\n# the proxy of the site\n[host.\"https://proxy.example\"]\n  capabilities = [\"pull\"]\n  [host.\"https://proxy.example\".header]\n    x-team = \"ci\"\n\n[header]\n  a = \"b\"\n";

#[test]
fn ours_come_first_and_those_of_others_stay() {
    insta::assert_snapshot!(put(THEIRS, &[host("http://10.0.0.7:5000")]), @r#"
    # Managed by ops
    server = "https://ghcr.io" # upstream

    [host."http://10.0.0.7:5000"]
      capabilities = ["pull", "resolve"]
      dial_timeout = "1s"

    # the proxy of the site
    [host."https://proxy.example"]
      capabilities = ["pull"]
      [host."https://proxy.example".header]
        x-team = "ci"

    [header]
      a = "b"
    "#);
}

#[test]
fn ours_can_be_taken_out_to_the_byte() {
    let ours = [host("http://10.0.0.7:5000"), host("https://second.example")];
    let urls: Vec<MirrorUrl> = ours.iter().map(|host| host.url.clone()).collect();
    for text in [
        THEIRS,
        &THEIRS.replace('\n', "\r\n"),
        "",
        "server = \"https://x\"\n",
        "# only words\n",
        "[header]\n  a = 1\n",
        "[header]\n\n\n",
        "\n",
    ] {
        assert_eq!(without_ours(&put(text, &ours), &urls).as_deref(), Ok(text));
    }
}

#[test]
fn with_replace_only_ours_are_left() {
    let text = put_first(Some(THEIRS), "ghcr.io", &[host("http://m:1")], &[], Others::Replace).expect("valid");
    assert_eq!(hosts(&text).expect("valid"), ["http://m:1"]);
    assert!(text.contains("[header]\n  a = \"b\"\n") && text.contains("# the proxy of the site"), "{text}");
}

#[test]
fn those_of_an_earlier_apply_give_way_and_what_was_added_to_ours_stays() {
    let text = "[host.\"http://old:1\"]\n  capabilities = [\"pull\", \"resolve\"]\n\n[host.\"https://theirs\"]\n\n[host.\"HTTP://M:80/\"]\n  skip_verify = true\n  capabilities = [\"push\"]\n  [host.\"HTTP://M:80/\".header]\n    x = \"y\"\n";
    insta::assert_snapshot!(put_first(Some(text), "ghcr.io", &[host("http://m")], &[url("http://old:1")], Others::Keep).expect("valid"), @r#"
    [host."http://m"]
      capabilities = ["pull", "resolve"]
      dial_timeout = "1s"
      skip_verify = true
    [host."http://m".header]
        x = "y"

    [host."https://theirs"]
    "#);
}

#[test]
fn a_host_in_another_form_is_refused_with_its_place() {
    let refused = |text: &str| put_first(Some(text), "ghcr.io", &[host("http://m")], &[], Others::Keep).expect_err(text).to_string();
    insta::assert_snapshot!(refused("server = \"x\"\nhost = { \"http://a\" = {} }\n"), @r#"line 2, column 8: a host that is not written as a table of its own: the engine would not see it in its order; write [host."https://…"] on a line, and its keys below"#);
    insta::assert_snapshot!(refused("host.\"http://a\".ca = \"x\"\n"), @r#"line 1, column 1: a host that is not written as a table of its own: the engine would not see it in its order; write [host."https://…"] on a line, and its keys below"#);
    insta::assert_snapshot!(refused("[host]\n\"http://a\" = { ca = \"x\" }\n"), @r#"line 2, column 1: a host that is not written as a table of its own: the engine would not see it in its order; write [host."https://…"] on a line, and its keys below"#);
    insta::assert_snapshot!(refused("[host]\n\"http://a\".ca = \"x\"\n"), @r#"line 2, column 1: a host that is not written as a table of its own: the engine would not see it in its order; write [host."https://…"] on a line, and its keys below"#);
    insta::assert_snapshot!(refused("[[host]]\n"), @r#"line 1, column 1: a host that is not written as a table of its own: the engine would not see it in its order; write [host."https://…"] on a line, and its keys below"#);
    insta::assert_snapshot!(refused("[host.\"a\"\n"), @"line 1, column 10: not TOML: unclosed table, expected `]`");
}

/// A file as somebody may have it.
pub(crate) fn some_document() -> impl Strategy<Value = String> {
    document(vec![
        "[host.\"http://a.test:1\"]\n".into(),
        "[host.\"http://a.test:1\".header]\n".into(),
        "  [ host . 'https://b.test' ] # b\n".into(),
        "[header]\n".into(),
        "[host.\"c.test\"]\n".into(),
    ])
}

fn some_ours() -> impl Strategy<Value = Vec<Host>> {
    let secure = Host { ca: Some("/ca.crt".to_owned()), client: Some(("/c".to_owned(), "/k".to_owned())), ..host("https://mine.test") };
    prop_oneof![Just(vec![host("http://mine.test:5000")]), Just(vec![secure, host("http://two.test")])]
}

proptest! {
    #[test]
    fn ours_really_are_first_and_nothing_else_changes(text in some_document(), ours in some_ours()) {
        let after = put(&text, &ours);
        let mut wanted: Vec<String> = ours.iter().map(|host| host.url.to_string()).collect();
        wanted.extend(hosts(&text).expect("valid"));
        prop_assert_eq!(hosts(&after).expect("valid"), wanted);
        // What was added is one stretch of text: the rest is there to the byte, but for a last line end.
        let newline = newline(&text);
        let head = text.bytes().zip(after.bytes()).take_while(|(one, other)| one == other).count();
        let tail = text.bytes().rev().zip(after.bytes().rev()).take_while(|(one, other)| one == other).count();
        prop_assert!(head + tail >= text.len(), "{}{}", after, newline);
        let urls: Vec<MirrorUrl> = ours.iter().map(|host| host.url.clone()).collect();
        let back = without_ours(&after, &urls).expect("valid");
        prop_assert_eq!(back.trim_end(), text.trim_end());
        prop_assert_eq!(meaning(&back), meaning(&text));
    }

    #[test]
    fn put_twice_is_put_once(text in some_document(), ours in some_ours(), previous in some_ours()) {
        let previous: Vec<MirrorUrl> = previous.into_iter().map(|host| host.url).collect();
        let once = put_first(Some(&text), "x", &ours, &previous, Others::Keep).expect("valid");
        prop_assert_eq!(put_first(Some(&once), "x", &ours, &previous, Others::Keep).expect("valid"), once);
    }

    #[test]
    fn other_settings_of_ours_replace_the_earlier_ones(text in some_document(), ours in some_ours()) {
        let once = put(&text, &ours);
        let changed: Vec<Host> = ours.iter().cloned().map(|host| Host { ca: Some("/new".to_owned()), ..host }).collect();
        prop_assert_eq!(put(&put(&once, &changed), &ours), once);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\[host\\.|\\]|\"a\"|\n|=|x|#|\\{|\\}){0,20}", ours in some_ours()) {
        let _ = put_first(Some(&text), "x", &ours, &[], Others::Keep);
    }
}
