//! Versions of YAML read some texts differently. What chandler writes means the same to its own reader and to `serde_yaml`'s, whatever that is.

use super::*;

/// Switches, numbers in all bases, times, special words and marks: of YAML 1.1, 1.2, and of what readers make of them.
pub(super) const TEXTS: &[&str] = &[
    "on",
    "On",
    "off",
    "yes",
    "no",
    "NO",
    "y",
    "n",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "",
    " ",
    "a ",
    " a",
    "0",
    "-0",
    "+1",
    "017",
    "0o17",
    "0x1F",
    "0b11",
    "1_000",
    "1,000",
    "1e5",
    "1.5",
    ".5",
    "5.",
    "1.0.0",
    "12:30",
    "12:30:00",
    "190:20:30",
    ".inf",
    "-.Inf",
    ".nan",
    "2026-11-21",
    "2026-11-21T10:00:00Z",
    "=",
    "<<",
    "---",
    "...",
    "- a",
    "-",
    "-a",
    "? a",
    "?",
    "a: b",
    "a:",
    ":a",
    "a #b",
    "#a",
    "a#b",
    "[a]",
    "{a}",
    "a]",
    "a,b",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "|",
    ">",
    "|-",
    "%a",
    "5%",
    "@a",
    "`a",
    "'a'",
    "'",
    "\"a\"",
    "\"",
    "\\",
    "\\n",
    "a\tb",
    "\t",
    "é",
    "\u{feff}a",
    "\u{a0}",
    "\u{e000}",
    "🚢",
    "[::]:5000",
    ":5000",
    "docker.io",
    "a: b # c",
];

fn with_field(text: &str) -> String {
    let mut config = resolve(&Sources::default()).expect("the defaults are right").config;
    config.log.fields = vec![("x".to_owned(), text.to_owned())];
    render(&config)
}

#[test]
fn a_text_is_the_same_text_to_every_reader_of_what_is_written() {
    for text in TEXTS {
        let written = with_field(text);
        assert_eq!(resolved(&written).config.log.fields, [("x".to_owned(), (*text).to_owned())], "{written}");
        let other: serde_yaml::Value = serde_yaml::from_str(&written).expect("it reads what it writes");
        assert_eq!(other["log"]["fields"]["x"], serde_yaml::Value::from(*text), "{written}");
    }
}

#[test]
fn switches_and_numbers_are_written_as_such_and_texts_that_look_like_them_in_quotes() {
    let written = with_field("true");
    for line in ["    x: 'true'", "  proxy_protocol: false", "  hub: true", "    threshold: 3", "  max_size: off"] {
        assert!(written.lines().any(|one| one.trim_start_matches("- ").trim_start() == line.trim_start()), "{line} is not in\n{written}");
    }
    let quoted: Vec<_> = TEXTS.iter().filter(|text| with_field(text).lines().any(|line| line == format!("    x: '{text}'"))).collect();
    let as_numbers = ["0", "0o17", "0x1F", "0b11", "1e5", "017", "null", "~", ".inf"];
    assert!(as_numbers.iter().all(|text| quoted.contains(&text)), "{quoted:?}");
}

/// `serde_yaml` knows YAML 1.2, as our own reader does: a reader of YAML 1.1 takes these for switches, numbers, times and marks. They are written
/// bare, as `off` is in the reference; that neither of ours guesses at them is what the first test proves.
#[test]
fn what_only_yaml_1_1_guesses_at_is_written_bare() {
    for text in ["on", "Off", "yes", "no", "y", "n", "1_000", "12:30", "190:20:30", "2026-11-21", "=", "<<"] {
        let written = with_field(text);
        assert!(written.lines().any(|line| line == format!("    x: {text}")), "{text}\n{written}");
    }
}
