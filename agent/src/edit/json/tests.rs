use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn object(text: &str) -> Object<'_> {
    Object::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn strings(strings: &[&str]) -> Vec<String> {
    strings.iter().map(|string| (*string).to_owned()).collect()
}

fn refused(text: &str) -> String {
    Object::parse(text).expect_err(text).to_string()
}

#[test]
fn a_list_comes_in_the_style_of_the_file() {
    let styles = [
        ("{}\n", "{\n  \"k\": [\"a\", \"b\"]\n}\n"),
        ("{}", "{\n  \"k\": [\"a\", \"b\"]\n}"),
        ("{ }", "{\n  \"k\": [\"a\", \"b\"]\n}"),
        ("{\n}\n", "{\n  \"k\": [\"a\", \"b\"]\n}\n"),
        ("{\r\n}\r\n", "{\r\n  \"k\": [\"a\", \"b\"]\r\n}\r\n"),
        ("{\"x\":1}", "{\"x\":1,\"k\":[\"a\",\"b\"]}"),
        ("{\"x\": 1}\n", "{\"x\": 1, \"k\": [\"a\", \"b\"]}\n"),
        ("{ \"x\": 1, \"y\": 2 }", "{ \"x\": 1, \"y\": 2, \"k\": [\"a\", \"b\"] }"),
        ("{\n  \"x\": 1\n}\n", "{\n  \"x\": 1,\n  \"k\": [\"a\", \"b\"]\n}\n"),
        ("{\n    \"x\": 1\n}", "{\n    \"x\": 1,\n    \"k\": [\"a\", \"b\"]\n}"),
        ("{\n\t\"x\": 1\n}\n", "{\n\t\"x\": 1,\n\t\"k\": [\"a\", \"b\"]\n}\n"),
        ("{\r\n\t\"x\" : 1\r\n}\r\n", "{\r\n\t\"x\" : 1,\r\n\t\"k\" : [\"a\", \"b\"]\r\n}\r\n"),
        ("{\n  \"x\": [\n    1\n  ]\n}\n", "{\n  \"x\": [\n    1\n  ],\n  \"k\": [\n    \"a\",\n    \"b\"\n  ]\n}\n"),
        ("{\n\t\"x\": [\n\t\t1\n\t]\n}\n", "{\n\t\"x\": [\n\t\t1\n\t],\n\t\"k\": [\n\t\t\"a\",\n\t\t\"b\"\n\t]\n}\n"),
        ("{\n  \"k\": [\n    \"old\"\n  ],\n  \"x\": 1\n}\n", "{\n  \"k\": [\n    \"a\",\n    \"b\"\n  ],\n  \"x\": 1\n}\n"),
        ("{\n  \"k\": [\"old\"],\n  \"x\": 1\n}\n", "{\n  \"k\": [\"a\", \"b\"],\n  \"x\": 1\n}\n"),
        ("{\n  \"k\" :null}", "{\n  \"k\" :[\"a\", \"b\"]}"),
        ("{\"k\": 1, \"k\": 2}", "{\"k\": 1, \"k\": [\"a\", \"b\"]}"),
        ("{\n  \"x\": 1\n, \"y\": 2\n}\n", "{\n  \"x\": 1\n, \"y\": 2, \"k\": [\"a\", \"b\"]\n}\n"),
    ];
    for (before, after) in styles {
        assert_eq!(object(before).with("k", &strings(&["a", "b"])), after, "{before:?}");
    }
}

#[test]
fn a_list_that_is_as_wanted_keeps_its_bytes() {
    for text in ["{\"k\":[ \"a\" ,\"\\u0062\" ]}", "{ \"k\" : [\n\n\"a\",\"b\"] }"] {
        assert_eq!(object(text).with("k", &strings(&["a", "b"])), text);
    }
    assert_eq!(object("{\"k\": null}").with("k", &[]), "{\"k\": []}");
}

#[test]
fn a_member_goes_with_its_comma_and_its_line() {
    for (before, after) in [
        ("{\"k\": 1}", "{}"),
        ("{\n  \"k\": 1\n}\n", "{}\n"),
        ("{\n  \"k\": 1,\n  \"x\": 2\n}\n", "{\n  \"x\": 2\n}\n"),
        ("{\n  \"x\": 2,\n  \"k\": 1\n}\n", "{\n  \"x\": 2\n}\n"),
        ("{\n  \"x\": 2,\n  \"k\": 1,\n  \"y\": 3\n}\n", "{\n  \"x\": 2,\n  \"y\": 3\n}\n"),
        ("{\"k\":1,\"k\":2,\"x\":3,\"k\":4}", "{\"x\":3}"),
        ("{\"k\":1,\"k\":2}", "{}"),
        ("{\"x\":1}", "{\"x\":1}"),
    ] {
        assert_eq!(object(before).without("k"), after, "{before:?}");
    }
}

#[test]
fn strings_are_read_as_go_reads_them() {
    for (text, wanted) in [
        (r#"{"k": ["\u0061\/\\\"\b\f\n\r\t"]}"#, Some(vec!["a/\\\"\u{8}\u{c}\n\r\t"])),
        (r#"{"k": ["\ud83d\ude00", "\ud83d", "\ude00x", "\ud83d\u0041"]}"#, Some(vec!["😀", "\u{fffd}", "\u{fffd}x", "\u{fffd}A"])),
        (r#"{"k": null}"#, Some(vec![])),
        (r#"{"k": []}"#, Some(vec![])),
        (r#"{"k": ["a"], "k": ["b"]}"#, Some(vec!["b"])),
        (r#"{"K": ["a"]}"#, None),
        (r#"{"\u006b": ["a"]}"#, Some(vec!["a"])),
    ] {
        assert_eq!(object(text).strings("k"), Ok(wanted.map(|wanted| strings(&wanted))), "{text}");
    }
}

#[test]
fn a_value_of_another_kind_is_named_with_its_place() {
    let wrong = |text: &str| object(text).strings("k").expect_err(text).to_string();
    insta::assert_snapshot!(wrong("{\n  \"k\": \"http://m\"\n}"), @r#"line 2, column 8: `k` is a string, and must be a list of strings: ["…"]"#);
    insta::assert_snapshot!(wrong("{\"k\": [\"ä\", 7]}"), @r#"line 1, column 13: `k` is a list with a number in it, and must be a list of strings: ["…"]"#);
    insta::assert_snapshot!(wrong("{\"k\": {}}"), @r#"line 1, column 7: `k` is an object, and must be a list of strings: ["…"]"#);
}

#[test]
fn what_dockerd_would_not_read_is_refused_with_its_place() {
    insta::assert_snapshot!(refused(""), @"line 1, column 1: the file is empty: dockerd before 23.0 does not start with it (it says `EOF`); write {} into it");
    insta::assert_snapshot!(refused("\n\n"), @"line 3, column 1: the file is empty: dockerd before 23.0 does not start with it (it says `EOF`); write {} into it");
    insta::assert_snapshot!(refused("\u{feff}{}"), @"line 1, column 1: a byte order mark, which dockerd before 23.0 does not read; save the file as UTF-8 without it");
    insta::assert_snapshot!(refused("{\n  \"a\": 1,\n}"), @"line 3, column 1: a comma before the closing `}`: JSON allows none there; take the comma away");
    insta::assert_snapshot!(refused("{\"a\": [1,]}"), @"line 1, column 10: a comma before the closing `]`: JSON allows none there; take the comma away");
    insta::assert_snapshot!(refused("{\n  // mirrors\n  \"a\": 1}"), @"line 2, column 3: a comment (JSON has none) where a key in quotes is expected");
    insta::assert_snapshot!(refused("{\"a\": 1\n \"b\": 2}"), @"line 2, column 2: `\"` where `,` or `}` is expected behind the value");
    insta::assert_snapshot!(refused("{\"a\" 1}"), @"line 1, column 6: `1` where `:` is expected behind the key");
    insta::assert_snapshot!(refused("{'a': 1}"), @"line 1, column 2: a single quote (JSON has double ones) where a key in quotes is expected");
    insta::assert_snapshot!(refused("{\"a\": tru}"), @"line 1, column 7: `tru` where a value is expected: a string in quotes, a number, true, false, null, a list or an object");
    insta::assert_snapshot!(refused("{\"a\": 1"), @"line 1, column 8: the end of the file where `,` or `}` is expected behind the value");
    insta::assert_snapshot!(refused("{\"a\": \"b\n\"}"), @"line 1, column 7: a string whose closing quote is missing");
    insta::assert_snapshot!(refused("{\"a\": \"\\x\"}"), @r"line 1, column 8: a backslash that begins no escape; write `\\` for a backslash");
    insta::assert_snapshot!(refused("{\"a\": \"\\u12g4\"}"), @r"line 1, column 8: `\u` without four hexadecimal digits behind it");
    insta::assert_snapshot!(refused("{\"a\": \"\u{1}\"}"), @r"line 1, column 8: the control character U+0001 in a string; write it as \u0001");
    insta::assert_snapshot!(refused("{} {}"), @"line 1, column 4: `{` behind the closing `}`: nothing may follow it");
    insta::assert_snapshot!(refused("[]"), @"line 1, column 1: `[` where `{` is expected: the file is one JSON object");
    insta::assert_snapshot!(refused("\u{a0}{}"), @"line 1, column 1: the character U+00A0 where `{` is expected: the file is one JSON object");
    for number in ["01", "-", "1.", ".5", "+1", "1e", "0x10", "1_000", "NaN", "Infinity", "--1"] {
        assert!(Object::parse(&format!("{{\"a\": {number}}}")).is_err(), "{number}");
    }
}

#[test]
fn nesting_is_bounded_as_in_go_and_takes_no_stack() {
    let nested = |depth: usize| format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(Object::parse(&nested(DEPTH - 1)).is_ok());
    insta::assert_snapshot!(refused(&nested(DEPTH)), @"line 1, column 10006: nested deeper than 10000 levels");
    assert!(Object::parse(&"{\"a\":[".repeat(1_000_000)).is_err());
    assert!(Object::parse(&"[".repeat(5_000_000)).is_err());
}

/// A JSON string as somebody may have written it, with its quotes.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9 :/._,{}\\[\\]-]{0,6}",
        Just("\\u00e9".to_owned()),
        Just("\\ud83d\\ude00".to_owned()),
        Just("\\n".to_owned()),
        Just("\\\"".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\/".to_owned()),
        Just("ä 😀".to_owned()),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just(" ".to_owned()), Just("\n  ".to_owned()), Just("\r\n\t".to_owned()), "[ \t\r\n]{0,3}"]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        "-?(0|[1-9][0-9]{0,5})",
        "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,3}",
        "[1-9][eE][+-]?[0-9]",
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            (prop::collection::vec((space(), inner.clone(), space()), 0..4), space()).prop_map(|(items, empty)| {
                let items: Vec<String> = items.into_iter().map(|(before, item, after)| format!("{before}{item}{after}")).collect();
                format!("[{}]", if items.is_empty() { empty } else { items.join(",") })
            }),
            members(inner.boxed(), string().boxed()),
        ]
    })
}

fn members(value: BoxedStrategy<String>, key: BoxedStrategy<String>) -> impl Strategy<Value = String> {
    let member = (space(), key, space(), space(), value, space()).prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    (prop::collection::vec(member, 0..5), space())
        .prop_map(|(members, empty)| format!("{{{}}}", if members.is_empty() { empty } else { members.join(",") }))
}

/// An object in which `registry-mirrors` and `insecure-registries` may be, also twice.
pub(in crate::edit) fn daemon_json() -> impl Strategy<Value = String> {
    let url = prop_oneof![
        "https?://[a-c]\\.example(:[1-9][0-9]{2})?/?".prop_map(|url| format!("\"{url}\"")),
        Just("\"http:\\/\\/own.example\"".to_owned()),
        Just("\"https://OWN.example:443/\"".to_owned()),
    ];
    let list = (prop::collection::vec((space(), url, space()), 0..4), space())
        .prop_map(|(items, empty)| {
            let items: Vec<String> = items.into_iter().map(|(before, item, after)| format!("{before}{item}{after}")).collect();
            format!("[{}]", if items.is_empty() { empty } else { items.join(",") })
        })
        .boxed();
    let member = |key: &'static str| {
        (space(), space(), space(), prop_oneof![4 => list.clone(), 1 => Just("null".to_owned())], space())
            .prop_map(move |(a, b, c, list, d)| format!("{a}\"{key}\"{b}:{c}{list}{d}"))
    };
    let other =
        (space(), string(), space(), space(), value(), space()).prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
    let member = prop_oneof![4 => other, 2 => member("registry-mirrors"), 1 => member("insecure-registries")];
    (space(), prop::collection::vec(member, 0..6), space(), space()).prop_map(|(before, members, empty, after)| {
        format!("{before}{{{}}}{after}", if members.is_empty() { empty } else { members.join(",") })
    })
}

fn serde(text: &str) -> serde_json::Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

proptest! {
    #[test]
    fn an_object_reads_as_serde_json_reads_it(text in daemon_json()) {
        let object = object(&text);
        let mut read = serde_json::Map::new();
        for key in object.keys() {
            read.insert(key.name.to_owned(), serde_json::from_str(object.get(key.name).expect("valid")).expect("valid"));
        }
        prop_assert_eq!(read, serde(&text));
    }

    #[test]
    fn nothing_outside_the_member_changes(text in daemon_json(), list in prop::collection::vec("[a-z\"\\\\\u{e4}]{1,5}", 0..3)) {
        let object = object(&text);
        let with = object.with(daemon_key(), &list);
        let (start, end) = match (object.last(daemon_key()), object.members.last()) {
            (Some(member), _) => (member.value.start, member.value.end),
            (None, Some(last)) => (last.value.end, last.value.end),
            (None, None) => (object.open, object.close),
        };
        prop_assert!(with.starts_with(&text[..start]) && with.ends_with(&text[end..]), "{}", with);
        let mut wanted = serde(&text);
        wanted.insert(daemon_key().to_owned(), Value::from(list.clone()));
        prop_assert_eq!(serde(&with), wanted);
        prop_assert_eq!(Object::parse(&with).expect("valid").with(daemon_key(), &list), with);
    }

    #[test]
    fn what_was_put_in_can_be_taken_out_to_the_byte(text in daemon_json(), list in prop::collection::vec("[a-z]{1,5}", 0..3)) {
        let object = object(&text);
        let with = object.with("a-new-key", &list);
        if object.members.is_empty() {
            prop_assert_eq!(serde(&Object::parse(&with).expect("valid").without("a-new-key")), serde(&text));
        } else {
            prop_assert_eq!(Object::parse(&with).expect("valid").without("a-new-key"), text);
        }
    }

    #[test]
    fn a_key_that_is_taken_out_is_gone_and_no_other(text in daemon_json()) {
        let without = object(&text).without(daemon_key());
        let mut wanted = serde(&text);
        wanted.remove(daemon_key());
        prop_assert_eq!(serde(&without), wanted);
    }

    #[test]
    fn a_text_that_is_cut_off_is_refused(text in daemon_json(), cut in 0.0..1.0f64) {
        let whole = text.trim_end().len();
        let mut at = (whole as f64 * cut) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        prop_assert!(Object::parse(&text[..at]).is_err(), "{}", &text[..at]);
    }

    #[test]
    fn a_text_with_a_slip_is_judged_as_serde_json_judges_it(text in daemon_json(), at in any::<prop::sample::Index>(), slip in "[{}\\[\\],:\"0-9eE.+ \\\\tn/#\u{1}-]?") {
        let mut chars: Vec<String> = text.chars().map(String::from).collect();
        let at = at.index(chars.len());
        chars[at] = slip;
        let text = chars.concat();
        // Go takes half a pair, serde_json does not.
        if text.to_lowercase().contains("\\ud") {
            return Ok(());
        }
        let serde = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(&text).is_ok();
        prop_assert_eq!(Object::parse(&text).is_ok(), serde, "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Object::parse(&text);
        let _ = Object::parse(&format!("{{{text}}}"));
        if let Ok(text) = crate::edit::utf8(&bytes) {
            let _ = Object::parse(text);
        }
    }
}

fn daemon_key() -> &'static str {
    crate::edit::daemon::MIRRORS
}
