//! The reference of the keys, and a default file to start from, both from the one table.

use std::fmt::Write;

use super::keys::{KEYS, Key};

/// The reference as a Markdown table.
pub fn markdown() -> String {
    let mut out = String::from("| key | value | default | what it does |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { code(key.default) };
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", key.path, key.kind, key.about);
    }
    out
}

/// Words with blanks are said, values are quoted.
fn code(default: &str) -> String {
    if default.contains(' ') { default.to_owned() } else { format!("`{default}`") }
}

/// A configuration file in which everything is a comment: what each key does, and what holds without it.
pub fn default_file() -> String {
    let mut out = String::from(INTRODUCTION);
    let mut sections: Vec<&str> = Vec::new();
    for key in KEYS.iter().filter(|key| !has_keys(key)) {
        let names: Vec<&str> = key.path.split('.').collect();
        let (name, parents) = names.split_last().expect("a path has a name");
        let same = sections.iter().zip(parents).take_while(|(a, b)| a == b).count();
        if same == 0 {
            out.push('\n');
        }
        for (depth, parent) in parents.iter().enumerate().skip(same) {
            about_section(&mut out, &parents[..=depth]);
            line(&mut out, &names[..depth], &format!("{}:", parent.trim_end_matches("[]")), false);
        }
        let first = parents.last().is_some_and(|parent| parent.ends_with("[]")) && same < parents.len();
        line(&mut out, parents, &format!("# {}", key.about), false);
        let value = if key.default.is_empty() || key.default.contains(' ') { format!("<{}>", key.kind) } else { key.default.to_owned() };
        line(&mut out, parents, &format!("{name}: {value}"), first);
        sections = parents.to_vec();
    }
    out
}

fn about_section(out: &mut String, section: &[&str]) {
    let path = section.join(".");
    let path = path.trim_end_matches("[]");
    if let Some(key) = KEYS.iter().find(|key| key.path == path) {
        line(out, &section[..section.len() - 1], &format!("# {}", key.about), false);
    }
}

/// A commented line at the depth of its section; a list's items lie one step deeper than their dash.
fn line(out: &mut String, parents: &[&str], text: &str, dash: bool) {
    let depth: usize = parents.iter().map(|parent| if parent.ends_with("[]") { 4 } else { 2 }).sum();
    let _ = if dash { writeln!(out, "#{:1$}- {text}", "", depth - 2) } else { writeln!(out, "#{:depth$}{text}", "") };
}

/// Whether other keys lie under this one: it is written as their section.
fn has_keys(key: &Key) -> bool {
    KEYS.iter().any(|other| other.path.strip_prefix(key.path).is_some_and(|rest| rest.starts_with(['.', '['])))
}

const INTRODUCTION: &str = "\
## chandler mirror: every key, what it does, and what holds without it.
## Remove the first # of a line to set it, and of the sections that it stands in. <…> says what is written there.
## A key is also a variable (CHANDLER_STORE_MAX_SIZE=80%); a flag beats a variable, a variable beats this file.
## `chandler mirror --check --show` prints what results and where each value comes from.
";
