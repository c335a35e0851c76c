//! What is wrong in user data, before a machine is born with it: `chandler cloud-init lint`, and for what is made here.
//!
//! cloud-init says little at a boot that nobody watches: a document that it cannot read is left out whole, a key that it does not know is passed over, a list that is said twice is the later one. Each of
//! these is a [`Finding`] here, with line and column and what to do. Whoever calls it holds the file's name.
//!
//! * `tree` is YAML with places; `scalar` is what YAML 1.1 takes an unquoted text for.
//! * `keys` knows what cloud-init knows, `files` is for `write_files`, `commands` and `shell` for `runcmd` and `bootcmd`, `merging` for several parts.
//!
//! What always holds: no input panics, and what cloud-init's own stages and schema take is no error.

mod commands;
mod files;
pub mod keys;
mod merging;
pub mod scalar;
mod shell;
mod tree;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::gzip;
use crate::kind::Kind;
use crate::multipart::{self, ReadPart};
use crate::user_data::{Provider, Size};

use self::tree::Node;

/// Something to mend.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Whether it breaks something.
    pub weight: Weight,
    /// The part of a message in which it is, where lines count from that part's own first one: its text is encoded.
    pub part: Option<String>,
    /// Where it is.
    pub at: Place,
    /// What is wrong, and what comes of it.
    pub what: String,
    /// What to do.
    pub mend: String,
}

/// A line and a column, from 1; what is about the whole document is at its beginning.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Weight {
    /// The machine does something else than what is written, or nothing.
    Error,
    /// It may be meant so, or works with some releases.
    Warning,
}

impl Finding {
    fn error(at: Place, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { weight: Weight::Error, part: None, at, what: what.into(), mend: mend.into() }
    }

    fn warning(at: Place, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(at, what, mend) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(part) = &self.part {
            write!(f, "part {part}: ")?;
        }
        let weight = if self.weight == Weight::Error { "error" } else { "warning" };
        write!(f, "{}:{}: {weight}: {}; {}", self.at.line, self.at.column, self.what, self.mend)
    }
}

/// All that is wrong, in the order of the lines; `provider`: where the machine is to be born.
pub fn lint(bytes: &[u8], provider: Provider) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unpacked = if gzip::is_packed(bytes) { gzip::unpack(bytes) } else { Some(bytes.to_vec()) };
    let size = Size { bytes: bytes.len(), packed: gzip::pack(bytes).len(), provider };
    if !size.fits() {
        findings.push(Finding::error(START, size.to_string(), "the provider refuses it as it is"));
    }
    let Some(text) = unpacked.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        findings.push(Finding::error(START, "neither text in UTF-8 nor gzip of such a text", "save it as UTF-8"));
        return findings;
    };
    match multipart::read(&text) {
        Some(message) => of_message(&message, &text, &mut findings),
        None => of_piece(&text, &mut findings),
    }
    findings.sort_by_key(|finding| (finding.part.clone(), finding.at));
    findings
}

fn of_message(message: &multipart::Read, text: &str, findings: &mut Vec<Finding>) {
    let last = Place { line: text.lines().count().max(1), column: 1 };
    if !message.is_whole {
        findings.push(Finding::error(
            last,
            "the message has no end: its last boundary, with `--` behind it, is missing",
            "it was cut off: make it again",
        ));
    }
    let mut configs = Vec::new();
    for (index, part) in message.parts.iter().enumerate() {
        let mut own = Vec::new();
        if let Some(kind) = kind(part, findings)
            && let Some(tree) = of_part(part, kind, &mut own)
        {
            configs.push(merging::Part { name: name(part, index), merge_type: part.merge_type.clone(), tree, line: part.text_line });
        }
        let encoded = part.text_line.is_none().then(|| name(part, index));
        findings.extend(own.into_iter().map(|finding| Finding { part: encoded.clone(), ..finding }));
    }
    merging::of_parts(&configs, findings);
}

/// What a part is called in messages.
fn name(part: &ReadPart, index: usize) -> String {
    part.name.clone().unwrap_or_else(|| format!("{} (part-{:03})", index + 1, index + 1))
}

/// What a part is, by its headers or its first line; `None` where cloud-init passes it over, or nothing here knows it.
fn kind(part: &ReadPart, findings: &mut Vec<Finding>) -> Option<Kind> {
    let at = Place { line: part.line, column: 1 };
    if let Some(why) = part.broken {
        findings.push(Finding::error(at, format!("this part is lost: {why}"), "encode it again, as base64"));
        return None;
    }
    let by_text = Kind::of_text(&part.text);
    let said = part.content_type.as_deref().filter(|said| !matches!(*said, "text/plain" | "text/x-not-multipart"));
    let Some(said) = said else {
        findings.extend(untyped(part, by_text).map(|(what, mend)| match by_text {
            Some(_) => Finding::warning(at, what, mend),
            None => Finding::error(at, what, mend),
        }));
        return by_text;
    };
    let kind = Kind::of_content_type(said);
    if kind.is_none() && !said.starts_with("application/") && said != "text/upstart-job" {
        findings.push(Finding::warning(
            at,
            format!("cloud-init has nothing for a part of type `{said}`"),
            "is it spelt right? A part handler may take it",
        ));
    }
    kind
}

/// A part whose type says nothing.
fn untyped(part: &ReadPart, by_text: Option<Kind>) -> Option<(String, String)> {
    let Some(kind) = by_text else {
        let what = "this part has no content type that says what it is, and no first line that does: cloud-init passes it over".to_owned();
        return Some((what, "write `Content-Type: text/cloud-config` or `text/x-shellscript` into its headers".to_owned()));
    };
    // `text/plain` is how people say that the first line tells.
    let what = format!("this part has no content type; its first line says that it is {kind}");
    part.content_type.is_none().then(|| (what, format!("write `Content-Type: {}` into its headers", kind.content_type())))
}

/// The tree, where it is a cloud-config.
fn of_part(part: &ReadPart, kind: Kind, findings: &mut Vec<Finding>) -> Option<Node> {
    let first = part.text_line.unwrap_or(1);
    match kind {
        Kind::CloudConfig => return of_cloud_config(&part.text, first, findings),
        Kind::Script if Kind::of_text(&part.text).is_none() => {
            let at = Place { line: first, column: 1 };
            findings.push(Finding::error(
                at,
                "the script does not begin with `#!`: it cannot be started",
                "write `#!/bin/sh` on its first line",
            ));
        }
        _ => {}
    }
    None
}

/// A document of one piece.
fn of_piece(text: &str, findings: &mut Vec<Finding>) {
    let at = START;
    if multipart::is_message(text) {
        findings.push(Finding::error(
            at,
            "`MIME-Version:` is in the first 4096 bytes, so that cloud-init takes the whole for a message, and finds no parts in it",
            "put what has this text in it further back, or into base64 (`encoding: b64`)",
        ));
    }
    match Kind::of_text(text) {
        Some(Kind::CloudConfig) => drop(of_cloud_config(text, 1, findings)),
        Some(_) => {}
        None if text.starts_with('\u{feff}') => {
            findings.push(Finding::error(
                at,
                "a byte order mark hides the first line, and cloud-init passes the document over",
                "save it as UTF-8 without it",
            ));
        }
        None if text.trim().is_empty() => findings.push(Finding::warning(at, "nothing is in it", "leave the user data out")),
        None => {
            findings.push(Finding::error(
                at,
                "the first line does not say what this is, so that cloud-init passes it over",
                "write `#cloud-config`, with no space in it, on the first line of YAML, or `#!/bin/sh` on that of a script",
            ));
            let mut own = Vec::new();
            if of_cloud_config(text, 1, &mut own).is_some_and(|tree| tree.entries().iter().any(|entry| keys::is_known(&entry.key))) {
                findings.extend(own);
            }
        }
    }
}

fn of_cloud_config(text: &str, first: usize, findings: &mut Vec<Finding>) -> Option<Node> {
    let tree = tree::parse(text, first, findings)?;
    if tree.entries().is_empty() && !tree.is_null() && !matches!(tree.value, tree::Value::Map(_)) {
        findings.push(Finding::error(tree.at, "a cloud-config is a map of keys", "write `key: value` lines"));
        return None;
    }
    keys::check(&tree, findings);
    files::check(&tree, findings);
    commands::check(&tree, findings);
    merging::of_one(&tree, findings);
    Some(tree)
}

const START: Place = Place { line: 1, column: 1 };
