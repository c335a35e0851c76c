//! `write_files`: paths, modes, owners, encodings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Finding;
use super::scalar::Reading;
use super::tree::{Node, Value};

/// Each file, and those that are written twice.
pub(super) fn check(tree: &Node, findings: &mut Vec<Finding>) {
    let Some(files) = tree.get("write_files") else { return };
    if !matches!(files.value, Value::List(_)) && !files.is_null() {
        findings.push(Finding::error(
            files.at,
            "`write_files` is no list, and cloud-init writes none of them",
            "begin each file with `- path:`",
        ));
    }
    let mut paths: Vec<&str> = Vec::new();
    for file in files.items() {
        if !matches!(file.value, Value::Map(_)) {
            findings.push(Finding::error(file.at, "this file is no map of keys", "write `path:` and `content:`"));
            continue;
        }
        let path = file.get("path").and_then(Node::text);
        let appends = file.get("append").and_then(Node::plain).is_some_and(|word| Reading::of(word) == Reading::Bool(true));
        match path {
            None => findings.push(Finding::error(file.at, "a file without a `path` is not written", "say where it is to be")),
            Some(path) => {
                of_path(path, file, findings);
                if paths.contains(&path) && !appends {
                    findings.push(Finding::warning(
                        file.at,
                        format!("`{path}` is written twice, and the later one is what is there"),
                        "keep one of them",
                    ));
                }
                paths.push(path);
            }
        }
        of_mode(file, findings);
        of_owner(file, findings);
        of_content(file, findings);
    }
}

fn of_path(path: &str, file: &Node, findings: &mut Vec<Finding>) {
    let at = file.get("path").map_or(file.at, |node| node.at);
    if !path.starts_with('/') {
        findings.push(Finding::error(
            at,
            format!("`{path}` does not begin with `/`: where it is written is chance"),
            "write the whole path",
        ));
    }
    if path.starts_with("/tmp/") || path.starts_with("/var/tmp/") {
        findings.push(Finding::warning(
            at,
            format!("`{path}` may be gone before it is used: the boot empties that folder at about the same time"),
            "write it below /run or /root",
        ));
    }
}

/// cloud-init takes a text to the base of eight and a number as it is.
fn of_mode(file: &Node, findings: &mut Vec<Finding>) {
    let Some(node) = file.get("permissions") else { return };
    let Some(text) = node.text() else {
        findings.push(Finding::error(node.at, "`permissions` is no mode", "write it in quotes, such as '0644'"));
        return;
    };
    let mend = |mode: &str| format!("write it in quotes: permissions: '{mode}'");
    if let Some(plain) = node.plain() {
        match Reading::of(plain) {
            Reading::Octal => {
                let what = format!(
                    "the mode {plain} without quotes is a number, which other readers of YAML take for the decimal {}",
                    plain.trim_start_matches('0')
                );
                return findings.push(Finding::warning(node.at, what, mend(plain)));
            }
            Reading::Decimal => {
                let mode = plain.parse::<u32>().unwrap_or_default();
                let what = format!("the mode {plain} without quotes is a decimal number, which is the mode {mode:04o}");
                return findings.push(Finding::error(node.at, what, mend(&format!("0{plain}"))));
            }
            _ => {}
        }
    }
    let digits = text.strip_prefix("0o").unwrap_or(text);
    if u32::from_str_radix(digits, 8).is_err() || digits.starts_with('+') {
        findings.push(Finding::error(node.at, format!("`{text}` is no mode, and the file gets 0644"), mend("0644")));
    }
}

fn of_owner(file: &Node, findings: &mut Vec<Finding>) {
    let Some(node) = file.get("owner") else { return };
    let Some(owner) = node.text() else { return };
    let user = owner.split(':').next().unwrap_or_default();
    let is_late = file.get("defer").and_then(Node::plain).is_some_and(|word| Reading::of(word) == Reading::Bool(true));
    if !SYSTEM_USERS.contains(&user) && !is_late {
        let what = format!(
            "files are written before users are made and packages installed: where `{user}` is one of those, the file gets no owner and what follows is not written"
        );
        findings.push(Finding::warning(node.at, what, "add `defer: true` (cloud-init 21.3 and later), or chown it in runcmd"));
    }
}

fn of_content(file: &Node, findings: &mut Vec<Finding>) {
    let encoding = file.get("encoding").and_then(Node::text).unwrap_or_default().to_lowercase();
    if !ENCODINGS.contains(&encoding.as_str()) {
        let at = file.get("encoding").map_or(file.at, |node| node.at);
        findings.push(Finding::error(
            at,
            format!("there is no encoding `{encoding}`, and the content is written as it stands"),
            "write b64, gzip or gz+b64, or leave it out",
        ));
    }
    let Some(content) = file.get("content") else { return };
    if let Some(words) = content.plain().and_then(|plain| Reading::of(plain).words()).filter(|_| !content.is_null()) {
        findings.push(Finding::error(
            content.at,
            format!("the content without quotes is for cloud-init {words}, not this text"),
            "put it in quotes, or below `content: |`",
        ));
    }
    let is_base64 = encoding.contains("b64") || encoding.contains("base64");
    let letters = content.text().map(|text| text.split_whitespace().collect::<String>());
    if let Some(letters) = letters.filter(|_| is_base64).filter(|letters| STANDARD.decode(letters).is_err()) {
        let what = format!("the content is not base64 ({} characters)", letters.len());
        findings.push(Finding::error(content.at, what, "encode it again: base64 -w0 FILE"));
    }
}

const SYSTEM_USERS: [&str; 8] = ["", "root", "0", "daemon", "bin", "nobody", "www-data", "adm"];
const ENCODINGS: [&str; 10] = ["", "text/plain", "b64", "base64", "gz", "gzip", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64"];
