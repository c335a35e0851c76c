//! What is to be said of a customizations file: what keeps the machines from the mirror, and what the operator should know.

use std::fmt;

use super::{Broken, Refusal, Statement, blocks, own_template, statements, taken};
use crate::vm_service::TEMPLATE_PATH;

/// One thing, with its line (from 1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// The file could not be changed.
    Refused(Refusal),
    /// Our block is not in it.
    NoBlock,
    /// Lines that do what our block does, as the guide has them: from, to.
    Guide(usize, usize),
    /// `unset JAVA_OPTS`, which the guide's undo leaves; ours, behind it, sets it again.
    UnsetBefore(usize),
    /// The same behind our block.
    UnsetBehind(usize),
    /// `JAVA_OPTS` is set behind our block.
    SetBehind(usize),
    /// A template is written behind our block.
    TemplateBehind(usize),
    /// Nothing below this line is read: the line, its word.
    Ends(usize, String),
    /// `JAVA_OPTS` names a program by `-jar`, for which Java leaves the class path aside.
    Jar(usize),
    /// Lines end as on Windows: a shell takes the carriage return for a part of the last word.
    CarriageReturn(usize),
}

impl Finding {
    /// Whether machines are made without the mirror because of it.
    pub fn keeps_from_mirror(&self) -> bool {
        !matches!(self, Self::Guide(..) | Self::UnsetBefore(_) | Self::CarriageReturn(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "`chandler cloud-init vm-service --onto FILE` puts the block last again";
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NoBlock => f.write_str("chandler's block is not in the file"),
            Self::Guide(from, to) => write!(
                f,
                "lines {from} to {to} are the guide's, made by hand: the block does the work of them, so they are commented out, and given back by undo"
            ),
            Self::UnsetBefore(line) => {
                write!(
                    f,
                    "line {line} unsets JAVA_OPTS, as the guide's undo does: options that are set above it are lost. The block, which comes behind it, sets JAVA_OPTS again, so the mirror is used; take the line out if those options are wanted"
                )
            }
            Self::UnsetBehind(line) => {
                write!(f, "line {line} unsets JAVA_OPTS behind the block, so the service does not see the template: {AGAIN}")
            }
            Self::SetBehind(line) => {
                write!(f, "line {line} sets JAVA_OPTS behind the block, so the service may not see the template: {AGAIN}")
            }
            Self::TemplateBehind(line) => write!(f, "line {line} writes {TEMPLATE_PATH} behind the block, over its template: {AGAIN}"),
            Self::Ends(line, word) => write!(f, "line {line} says `{word}`: nothing below it is read, and the block comes last"),
            Self::Jar(line) => {
                write!(f, "line {line} starts a program by `-jar`, for which Java leaves the class path aside, and the template with it")
            }
            Self::CarriageReturn(line) => {
                write!(f, "line {line} ends with a carriage return, which a shell takes for a part of its last word")
            }
        }
    }
}

/// All that is to be said of a file as it is.
pub fn findings(text: &str) -> Vec<Finding> {
    let refused = |refusal| vec![Finding::Refused(refusal)];
    let all = match statements(text).map_err(|broken: Broken| refused(broken.into())) {
        Ok(all) => all,
        Err(refused) => return refused,
    };
    let spans = match blocks(&all) {
        Ok(spans) => spans,
        Err(refusal) => return refused(refusal),
    };
    let mut found = Vec::new();
    let last = spans.last().map_or(usize::MAX, |span| span.end);
    if spans.is_empty() {
        found.push(Finding::NoBlock);
    }
    found.extend(guides(&all));
    for (index, statement) in all.iter().enumerate().filter(|(_, statement)| statement.is_code()) {
        if !spans.iter().any(|span| span.contains(&index)) {
            found.extend(said(statement, index >= last));
        }
    }
    // Not by `str::lines`, which takes it away.
    found.extend(text.split('\n').position(|line| line.ends_with('\r')).map(|line| Finding::CarriageReturn(line + 1)));
    found
}

fn guides(all: &[Statement<'_>]) -> Option<Finding> {
    if let Some(line) = own_template(all) {
        return Some(Finding::Refused(Refusal::OwnTemplate(line)));
    }
    let parts = taken(all);
    let taken: Vec<&Statement<'_>> = all.iter().zip(&parts).filter(|(_, part)| part.is_some()).map(|(statement, _)| statement).collect();
    let last = taken.last()?;
    Some(Finding::Guide(taken.first()?.line, last.line + last.text.trim_end().matches('\n').count()))
}

/// Of one statement that is not ours.
fn said(statement: &Statement<'_>, behind: bool) -> Vec<Finding> {
    let (line, words) = (statement.line, statement.words());
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let value = words.iter().find_map(|word| word.strip_prefix("JAVA_OPTS="));
    let mut found = Vec::new();
    if word(0) == "unset" && words.iter().any(|word| word == "JAVA_OPTS") {
        found.push(if behind { Finding::UnsetBehind(line) } else { Finding::UnsetBefore(line) });
    }
    if let Some(value) = value {
        // Added to, it is as it was.
        if behind && !value.contains("$JAVA_OPTS") && !value.contains("${JAVA_OPTS") {
            found.push(Finding::SetBehind(line));
        }
        if value.split_whitespace().any(|option| option == "-jar") {
            found.push(Finding::Jar(line));
        }
    }
    if behind && words.windows(2).any(|pair| pair[0].starts_with('>') && pair[1] == TEMPLATE_PATH) {
        found.push(Finding::TemplateBehind(line));
    }
    if !behind && matches!(word(0), "exit" | "return" | "exec") && !statement.text.starts_with([' ', '\t']) && !is_redirection(&words) {
        found.push(Finding::Ends(line, word(0).to_owned()));
    }
    found
}

/// `exec 2> file` runs nothing.
fn is_redirection(words: &[String]) -> bool {
    words[0] == "exec" && words.get(1).is_none_or(|word| word.starts_with(['<', '>']) || word.chars().all(|c| c.is_ascii_digit()))
}
