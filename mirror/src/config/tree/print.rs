//! Tree → YAML text that reads back as the same tree.

use std::fmt::Write;

use super::{Node, Value};

/// Writes a tree; `comment` says what stands behind a value, by its path.
pub(in crate::config) fn print(node: &Node, comment: &dyn Fn(&str, &Node) -> String) -> String {
    let mut out = String::new();
    write_map(&mut out, node, "", 0, comment);
    out
}

fn write_map(out: &mut String, node: &Node, path: &str, depth: usize, comment: &dyn Fn(&str, &Node) -> String) {
    let Value::Map(entries) = &node.value else { return };
    for (index, entry) in entries.iter().enumerate() {
        // The first key of a list item stands on the line of its dash.
        let indent = if index == 0 && out.ends_with("- ") { 0 } else { depth * 2 };
        let _ = write!(out, "{:indent$}{}:", "", quoted(&entry.name));
        write_value(out, &entry.node, &join(path, &entry.name), depth, comment);
    }
}

fn write_value(out: &mut String, node: &Node, path: &str, depth: usize, comment: &dyn Fn(&str, &Node) -> String) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            write_map(out, node, path, depth + 1, comment);
        }
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_) | Value::List(_))) => {
            out.push('\n');
            for (index, item) in items.iter().enumerate() {
                let _ = write!(out, "{:1$}- ", "", depth * 2 + 2);
                write_map(out, item, &join(path, &index.to_string()), depth + 2, comment);
            }
        }
        _ => {
            let text = scalar(node);
            let comment = comment(path, node);
            let _ = if comment.is_empty() { writeln!(out, " {text}") } else { writeln!(out, " {text}  # {comment}") };
        }
    }
}

fn scalar(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Text(text) => quoted(text),
        Value::Map(_) => "{}".into(),
        Value::List(items) => {
            let texts: Vec<_> = items.iter().filter_map(Node::as_text).map(quoted).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

/// Bare where every YAML reader takes the same text from it; in double quotes with JSON's escapes elsewhere.
fn quoted(text: &str) -> String {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '%'));
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | ':' | '_' | '-' | '%' | '+'));
    let guessed = matches!(text.to_ascii_lowercase().as_str(), "null" | "n" | "y");
    if plain && !guessed && edge(text.chars().next()) && edge(text.chars().last()) && !text.starts_with('%') {
        text.to_owned()
    } else {
        serde_json::to_string(text).expect("a string is always JSON").replace('\u{7f}', "\\u007f")
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
