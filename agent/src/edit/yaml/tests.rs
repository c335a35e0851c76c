use proptest::prelude::*;

use super::*;

fn yaml(text: &str) -> Yaml<'_> {
    Yaml::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

#[test]
fn a_value_is_put_where_its_path_leads_in_the_style_that_is_there() {
    for (before, after) in [
        ("", "a:\n  b: \"v\"\n"),
        ("# c", "# c\na:\n  b: \"v\"\n"),
        ("a:\n", "a:\n  b: \"v\"\n"),
        ("a: # why\nc: 1\n", "a: # why\n  b: \"v\"\nc: 1\n"),
        ("a: {}\n", "a: {\"b\": \"v\"}\n"),
        ("a: ~ # why\n", "a: {\"b\": \"v\"} # why\n"),
        ("a: {c: 1}\n", "a: {c: 1, \"b\": \"v\"}\n"),
        ("a:\n    c: 1\n    # end\n\nd: 2", "a:\n    c: 1\n    b: \"v\"\n    # end\n\nd: 2"),
        ("a:\n  c: 1", "a:\n  c: 1\n  b: \"v\"\n"),
        ("a:\r\n  c: |\r\n    x\r\n\r\nd: 1\r\n", "a:\r\n  c: |\r\n    x\r\n  b: \"v\"\r\n\r\nd: 1\r\n"),
        ("a:\n  b: 'old' # why\n", "a:\n  b: \"v\" # why\n"),
        ("{}\n", "{\"a\": {\"b\": \"v\"}}\n"),
        ("---\nx: 1\n", "---\nx: 1\na:\n  b: \"v\"\n"),
        ("ä: ö\n", "ä: ö\na:\n  b: \"v\"\n"),
    ] {
        assert_eq!(yaml(before).put(&["a", "b"], &text("v")).as_deref(), Ok(after), "{before:?}");
    }
}

#[test]
fn an_entry_goes_with_what_it_leaves_empty() {
    for (before, after) in [
        ("a:\n  b: 1\n", ""),
        ("x: 1\na:\n  b:\n    - 1\n# end\n", "x: 1\n# end\n"),
        ("a:\n  b: 1\n  c: 2\n", "a:\n  c: 2\n"),
        ("a: {b: 1, c: 2}\n", "a: {c: 2}\n"),
        ("a: {c: 2, b: 1}\n", "a: {c: 2}\n"),
        ("{a: {b: 1}}", "{}"),
        ("a:\n  c: 1\n", "a:\n  c: 1\n"),
    ] {
        assert_eq!(yaml(before).remove(&["a", "b"]).as_deref(), Ok(after), "{before:?}");
    }
}

#[test]
fn what_is_no_yaml_or_of_an_odd_form_is_refused_with_its_place() {
    let refused = |text: &str| Yaml::parse(text).err().expect("refused").to_string();
    insta::assert_snapshot!(refused("a: 1\n\tb: 2\n"), @"line 1, column 4: not YAML: while scanning a plain scalar, found a tab; indent with spaces");
    insta::assert_snapshot!(refused("a: [1\n"), @"line 2, column 1: not YAML: while parsing a flow sequence, expected ',' or ']'");
    insta::assert_snapshot!(refused("- a\n"), @"line 1, column 1: the file is no map of keys; write `key: value` lines");
    insta::assert_snapshot!(refused("a: 1\na: 2\n"), @"line 2, column 1: `a` is said twice; keep one of them");
    insta::assert_snapshot!(refused("a: 1\n---\nb: 2\n"), @"line 3, column 1: a second document; one file holds one, so remove the `---` and what follows");
    insta::assert_snapshot!(refused("[a]: 1\n"), @"line 1, column 1: a key that is no plain word; write it out, in quotes if need be");
    insta::assert_snapshot!(refused("\u{feff}a: 1\n"), @"line 1, column 1: a byte order mark; save the file as UTF-8 without it");
    let odd = |before: &str| yaml(before).put(&["a", "b"], &text("v")).expect_err(before).to_string();
    insta::assert_snapshot!(odd("a: &x\n  c: 1\n"), @r#"line 1, column 4: YAML of a form that is not edited for `a.b`; write there by hand: {"b": "v"}"#);
    insta::assert_snapshot!(odd("x: &x {c: 1}\na: *x\n"), @r#"line 2, column 4: YAML of a form that is not edited for `a.b`; write there by hand: {"b": "v"}"#);
    insta::assert_snapshot!(odd("a: !t\n  c: 1\n"), @r#"line 1, column 4: YAML of a form that is not edited for `a.b`; write there by hand: {"b": "v"}"#);
    insta::assert_snapshot!(odd("a: word\n"), @r#"line 1, column 4: a map of keys is expected here, with `b` in it; write there by hand: {"b": "v"}"#);
    insta::assert_snapshot!(odd("a:\n  b:\n    - 1\n"), @r#"line 3, column 5: YAML of a form that is not edited for `a.b`; write "v""#);
}

#[test]
fn deep_nesting_takes_no_stack() {
    for text in [format!("a: {}", "[".repeat(50_000)), format!("a: {}", "{a: ".repeat(50_000)), "- ".repeat(50_000)] {
        assert!(Yaml::parse(&text).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([a-c]|: |:|\n|  |- |\\[|\\]|\\{|\\}|, |\"|'|#|&x |\\*x|!t |~|\\||>|\r\n|\t|---|\u{e4}){0,24}") {
        if let Ok(yaml) = Yaml::parse(&text) {
            for path in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
                if let Ok(after) = yaml.put(path, &Tree::texts(&["v".to_owned()])) {
                    let again = Yaml::parse(&after).expect("valid");
                    prop_assert_eq!(again.texts(path).expect("valid"), ["v"]);
                }
                if let Ok(after) = yaml.remove(path) {
                    prop_assert!(Yaml::parse(&after).expect("valid").at(path).is_none());
                }
                let _ = yaml.relist(path, &["v".to_owned()], |text| text == "a");
            }
        }
    }
}
