use proptest::prelude::*;

use super::*;
use crate::edit::text::spliced;

/// A value as JSON has it, for a comparison of what two texts say.
pub(in crate::edit) fn meaning(text: &str) -> serde_json::Value {
    let document: toml_edit::DocumentMut = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    of_table(document.as_table())
}

fn of_table(table: &dyn toml_edit::TableLike) -> serde_json::Value {
    table.iter().map(|(key, item)| (key.to_owned(), of_item(item))).collect()
}

fn of_item(item: &Item) -> serde_json::Value {
    match item {
        Item::ArrayOfTables(tables) => tables.iter().map(|table| of_table(table)).collect(),
        Item::Value(Value::Array(items)) => items.iter().map(|value| of_item(&Item::Value(value.clone()))).collect(),
        Item::Value(Value::String(string)) => string.value().clone().into(),
        _ => match item.as_table_like() {
            Some(table) => of_table(table),
            None => format!("({})", item.to_string().trim()).into(),
        },
    }
}

fn line(index: usize) -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just(format!("k{index}")),
        Just(format!("\"k {index}\"")),
        Just(format!("'k#{index}'")),
        Just(format!("k{index} . sub")),
        Just(format!("\"k\\u00e9{index}\"")),
    ];
    let value = prop::sample::select(vec![
        "\"a # b\"",
        "\"\\u00e9 \\\"ä\\\"\"",
        "'lit [x]'",
        "\"\"\"\n[host.'no']\n# no\n\"\"\"",
        "'''\n[[registry]]\n# no '''",
        "[ 1, 2 ]",
        "[\n  \"a\", # [c]\n\n\t'b',\n]",
        "{ a = 1, b.c = 'x' }",
        "1979-05-27T07:32:00Z",
        "1_000",
        "-inf",
        "true",
    ]);
    let pair = (
        prop::sample::select(vec!["", "  ", "\t"]),
        key,
        prop::sample::select(vec!["=", " = ", "  =\t"]),
        value,
        prop::sample::select(vec!["", "  # [why]", " "]),
    )
        .prop_map(|(indent, key, equals, value, end)| format!("{indent}{key}{equals}{value}{end}\n"));
    prop_oneof![3 => pair, 1 => prop::sample::select(vec!["# a comment\n", "  # [host.\"x\"]\n", "#\n"]).prop_map(str::to_owned), 1 => prop::sample::select(vec!["\n", "  \n"]).prop_map(str::to_owned)]
}

fn body() -> impl Strategy<Value = String> {
    (0..4usize).prop_flat_map(|count| (0..count).map(line).collect::<Vec<_>>()).prop_map(|lines| lines.concat())
}

/// A document with some of these headers in this order (each with its own lines below it), and others between.
pub(in crate::edit) fn document(headers: Vec<String>) -> impl Strategy<Value = String> {
    let section = |(index, header): (usize, String)| {
        let other = prop::sample::select(vec![
            format!("[other{index}]\n"),
            format!("[ other{index} . \"x y\" ] # why\n"),
            format!("[[many{index}]]\n"),
        ]);
        (prop::bool::weighted(0.7), prop::bool::weighted(0.3), other, body(), body()).prop_map(move |(here, more, other, one, two)| {
            let ours = if here { format!("{header}{one}") } else { String::new() };
            if more { format!("{ours}{other}{two}") } else { ours }
        })
    };
    let sections: Vec<_> = headers.into_iter().enumerate().map(section).collect();
    (body(), sections, any::<bool>(), any::<bool>()).prop_map(|(root, sections, crlf, last)| {
        let text = format!("{root}{}", sections.concat());
        let text = if last { text } else { text.trim_end_matches('\n').to_owned() };
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

fn any_document() -> impl Strategy<Value = String> {
    document(vec!["[host.\"http://a\"]\n".into(), "[x]\n".into(), "[[x.y]]\n".into(), "[[x.y]] # again\n".into(), "[z.\"a b\".c]\n".into()])
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    let refused = |text: &str| Toml::parse(text).err().expect("refused").to_string();
    insta::assert_snapshot!(refused("\u{feff}a = 1\n"), @"line 1, column 1: a byte order mark; save the file as UTF-8 without it");
    insta::assert_snapshot!(refused("[host\nserver = 1"), @"line 1, column 6: not TOML: unclosed table, expected `]`");
    insta::assert_snapshot!(refused("a = 1\na = 2"), @"line 2, column 1: not TOML: duplicate key");
    insta::assert_snapshot!(refused("a = [1, 2"), @"line 1, column 10: not TOML: unclosed array, expected `]`");
    insta::assert_snapshot!(refused("ä = 1"), @"line 1, column 1: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`");
    insta::assert_snapshot!(refused("a = http://m"), @"line 1, column 5: not TOML: string values must be quoted, expected literal string");
}

#[test]
fn deep_nesting_takes_no_stack() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
    ] {
        let _ = Toml::parse(&text);
    }
}

#[test]
fn a_section_ends_with_its_last_value_and_leads_with_its_comments() {
    let text = "a = 1\n\n# of b\n[b] # b\nx = '''\n# no\n'''\n\n# lone\n\n# of c\n# too\n[[c]]\n";
    let toml = Toml::parse(text).expect("valid");
    let shown: Vec<_> =
        toml.sections().iter().map(|it| (&text[it.lead..it.head], &text[it.head..it.body], &text[it.body..it.end])).collect();
    assert_eq!(shown, [("# of b\n", "[b] # b\n", "x = '''\n# no\n'''\n"), ("# of c\n# too\n", "[[c]]\n", "")]);
}

proptest! {
    #[test]
    fn every_header_is_found_where_it_stands(text in any_document()) {
        let toml = Toml::parse(&text).expect("valid");
        for section in toml.sections() {
            prop_assert!(text[section.head..section.body].trim_start().starts_with(if section.many { "[[" } else { "[" }), "{:?}", section);
            prop_assert!(section.lead <= section.head && section.head < section.body && section.body <= section.end);
            prop_assert!(section.body == text.len() || text[..section.body].ends_with('\n'));
            prop_assert!(section.end == text.len() || text[..section.end].ends_with('\n'));
        }
        for pair in toml.sections().windows(2) {
            prop_assert!(pair[0].end <= pair[1].lead);
        }
    }

    #[test]
    fn a_section_that_is_cut_is_gone_and_no_other(text in any_document(), which in any::<prop::sample::Index>()) {
        let toml = Toml::parse(&text).expect("valid");
        prop_assume!(!toml.sections().is_empty());
        let gone = toml.sections()[which.index(toml.sections().len())].clone();
        let after = spliced(&text, toml.cuts(|section| *section == gone));
        let left: Vec<_> = Toml::parse(&after).expect("valid").sections().iter().map(|section| section.path.clone()).collect();
        let wanted: Vec<_> = toml.sections().iter().filter(|section| **section != gone).map(|section| section.path.clone()).collect();
        prop_assert_eq!(left, wanted);
    }

    #[test]
    fn a_key_that_is_set_says_so_and_all_else_stays(text in any_document(), which in any::<prop::sample::Index>()) {
        let toml = Toml::parse(&text).expect("valid");
        let single: Vec<&Section> = toml.sections().iter().filter(|section| !section.many && section.path.len() == 1).collect();
        prop_assume!(!single.is_empty());
        let section = single[which.index(single.len())];
        let edit = toml.set(section, "zz", "[\"v\"]");
        prop_assert!(edit.0.is_empty());
        let after = spliced(&text, vec![edit]);
        let mut wanted = meaning(&text);
        wanted[&section.path[0]]["zz"] = serde_json::json!(["v"]);
        prop_assert_eq!(meaning(&after), wanted);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}=.,\"'#a \n\r\t\u{e4}1-]{0,40}", whole in any_document(), cut in 0.0..1.0f64) {
        let _ = Toml::parse(&text);
        let mut at = (whole.len() as f64 * cut) as usize;
        while !whole.is_char_boundary(at) {
            at -= 1;
        }
        let _ = Toml::parse(&whole[..at]);
    }
}
