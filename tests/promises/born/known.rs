//! The linter knows what cloud-init knows: its keys, and how its YAML reads a text without quotes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cloud_init::lint::scalar::Reading;
use cloud_init::lint::{keys, lint};
use cloud_init::user_data::{Enrolment, Provider};
use cloud_init::{DockerKeys, Means, Provision, first_boot};
use serde_json::{Map, Value};
use tests::tools;

#[test]
fn every_key_of_the_schema_of_cloud_init_is_known() {
    if tools::require("cloud-init").is_none() {
        return;
    }
    let path = "debian/cloud-init/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json";
    let schema: Value = serde_json::from_slice(&fs::read(tools::cache().join(path)).expect("it is in the package")).expect("JSON");
    let mut keys = Map::new();
    for module in schema["allOf"].as_array().expect("its modules") {
        keys.extend(resolve(&schema, module)["properties"].as_object().cloned().unwrap_or_default());
    }
    assert!(keys.len() > 80, "{}", keys.len());
    for (key, value) in &keys {
        assert!(keys::is_known(key), "{key}");
        let mut below = BTreeSet::new();
        names(&schema, value, true, &mut below);
        for name in below {
            let forms = [format!("#cloud-config\n{key}: {{{name}: x}}\n"), format!("#cloud-config\n{key}: [{{{name}: x}}]\n")];
            let is_unknown =
                |text: &String| lint(text.as_bytes(), Provider::NoCloud).iter().any(|finding| finding.what.contains("has no key"));
            assert!(!forms.iter().all(is_unknown), "{key}.{name}");
        }
    }
}

fn resolve<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    let Some(name) = node["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) else { return node };
    resolve(schema, &schema["$defs"][name])
}

/// The names of a map's keys, or of those of the maps in a list.
fn names(schema: &Value, node: &Value, into_items: bool, found: &mut BTreeSet<String>) {
    let node = resolve(schema, node);
    for choice in ["oneOf", "anyOf", "allOf"] {
        node[choice].as_array().into_iter().flatten().for_each(|one| names(schema, one, into_items, found));
    }
    found.extend(node["properties"].as_object().into_iter().flat_map(Map::keys).cloned());
    if into_items && node["items"].is_object() {
        names(schema, &node["items"], false, found);
    }
}

#[test]
fn a_text_without_quotes_is_read_as_cloud_inits_python_reads_it() {
    let Some(python) = python() else { return };
    let words = words();
    let mut command = Command::new(python);
    command.args(["-c", READ]).env("PYTHONPATH", tools::cache().join("debian/cloud-init/usr/lib/python3/dist-packages"));
    let mut reader = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    let asked = serde_json::to_vec(&words).expect("JSON");
    reader.stdin.take().expect("piped").write_all(&asked).expect("it reads");
    let said = reader.wait_with_output().expect("it ends");
    let types: Vec<String> = serde_json::from_slice(&said.stdout).expect("a list of types");
    assert_eq!(types.len(), words.len());
    let other: Vec<String> =
        words.iter().zip(types).filter(|(word, python)| !is_same(word, python)).map(|(word, python)| format!("{word}: {python}")).collect();
    assert!(other.is_empty(), "{} of {} are something else in Python: {other:?}", other.len(), words.len());
}

fn is_same(word: &str, python: &str) -> bool {
    match Reading::of(word) {
        Reading::Text => python == "str",
        Reading::Bool(_) => python == "bool",
        // `0_` has no digit behind what says that it is to the base of eight.
        Reading::Decimal | Reading::Octal | Reading::Based => matches!(python, "int" | "error"),
        // To the base of sixty there are numbers with a fraction too.
        Reading::Sexagesimal => matches!(python, "int" | "float"),
        Reading::Float => matches!(python, "float" | "error"),
        // `2024-99-99` is a date to its reader, which then finds that it is none.
        Reading::Date => matches!(python, "date" | "error"),
        Reading::Null => python == "NoneType",
    }
}

/// "Ubuntu 16.04": its Python is 3.5, and that of 14.04 was 3.4.
#[test]
fn programs_for_a_first_boot_are_written_for_the_oldest_python_3() {
    let Some(python) = python() else { return };
    let enrolment = Enrolment { mirrors: Vec::new(), token: "a.b".to_owned(), anchors: None };
    let provision = Provision { files: Vec::new(), docker: None, means: Means::Script };
    let files = enrolment.provided(&provision).files;
    let programs = files.iter().map(|file| file.content.text.clone()).filter(|text| text.starts_with("#!/usr/bin/env python3"));
    let programs: Vec<String> = programs.chain([first_boot::script(&DockerKeys::default())]).collect();
    assert_eq!(programs.len(), 2);
    for program in programs {
        let said = Command::new(&python).args(["-c", "import ast, sys; ast.parse(sys.argv[1], feature_version=(3, 4))", &program]).output();
        let said = said.expect("python starts");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

/// The one by which cloud-init runs here.
fn python() -> Option<PathBuf> {
    tools::require("cloud-init")?;
    let system = PathBuf::from("/usr/bin/python3");
    if system.exists() { Some(system) } else { Some(tools::cache().join("debian/cloud-init/usr/bin/python3")) }
}

/// All short words of the signs that numbers, dates and switches are made of.
fn words() -> Vec<String> {
    let signs = [
        "", "0", "1", "7", "9", "60", "12", "-", "+", ".", ":", "_", "e", "x", "b", "2024", "-01-31", "T1:02:03", " 1:02:03", "Z", "inf",
        "yes", "On", "~", "null",
    ];
    let mut words = BTreeSet::new();
    for first in signs {
        for second in signs {
            for third in signs {
                for fourth in ["", ".", ":30"] {
                    let word = format!("{first}{second}{third}{fourth}");
                    let is_plain =
                        word.trim() == word && !word.contains(": ") && !word.ends_with(':') && !word.starts_with(['-', ':', '?']);
                    if is_plain || word.starts_with("-1") || word.starts_with("-.") {
                        words.insert(word);
                    }
                }
            }
        }
    }
    words.into_iter().filter(|word| !word.ends_with(':') && !word.contains(": ") && word.trim() == word).collect()
}

const READ: &str = r#"
import datetime, json, sys, yaml
def read(word):
    try:
        value = yaml.safe_load("k: " + word)["k"]
    except Exception:
        return "error"
    return "date" if isinstance(value, (datetime.date, datetime.datetime)) else type(value).__name__
json.dump([read(word) for word in json.load(sys.stdin)], sys.stdout)
"#;
