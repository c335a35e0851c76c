//! The customizations file with our block in it, or without. Pure: text in, text out.
//!
//! * The block comes last, since what is set last counts. [`install`] puts it there anew, whatever one of ours stood where.
//! * Lines of others stay to the byte. Those of the guide's hand-made block, which ours does the work of, are commented out where they stand, and [`remove`] gives them back: it undoes [`install`] to the byte.
//! * A file in which something is not closed is refused: it would take our lines in.

mod finding;

pub use self::finding::{Finding, findings};
use super::block::{BEGIN, Block, END, JOINED, TAKEN};
use super::guide::{self, Part};
use super::statements::{Broken, Statement, statements};

/// Why a file is left as it is.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Something is not closed.
    #[error("the file is no whole shell script: {0}; mend it first")]
    Broken(#[from] Broken),
    /// Our block has lost one of its ends.
    #[error(
        "line {line}: `{marker}` has no `{other}` {side} it, so what is ours cannot be told; put that line back, or take the rest of the block out"
    )]
    Marker {
        /// From 1.
        line: usize,
        /// What is there.
        marker: &'static str,
        /// What is not.
        other: &'static str,
        /// Where it should be.
        side: &'static str,
    },
    /// Somebody wrote a template that says more than the guide's.
    #[error(
        "line {0} writes a template of your own, which says more than the guide's: what it says beyond ours would be lost. Put that into the machines' image and take the template out, or have it replaced"
    )]
    OwnTemplate(usize),
}

/// The file with the block at its end, and nowhere else. `None`: there is no file. What is so already is returned as it is.
pub fn install(text: Option<&str>, block: &Block) -> Result<String, Refusal> {
    let base = remove(text.unwrap_or_default())?;
    let all = statements(&base)?;
    if let (Some(line), false) = (own_template(&all), block.is_over_own_template()) {
        return Err(Refusal::OwnTemplate(line));
    }
    let mut out = String::with_capacity(base.len() + block.template().len() + 2000);
    for (statement, part) in all.iter().zip(taken(&all)) {
        match part {
            Some(_) => statement.text.split_inclusive('\n').for_each(|line| out.extend([TAKEN, line])),
            None => out.push_str(statement.text),
        }
    }
    let joined = !out.is_empty() && !out.ends_with('\n');
    if joined {
        out.push('\n');
    }
    out.push_str(&block.lines(joined));
    Ok(out)
}

/// The file without the block, and with the lines given back that it did the work of. A file that has none is returned as it is.
pub fn remove(text: &str) -> Result<String, Refusal> {
    let all = statements(text)?;
    let spans = blocks(&all)?;
    let mut out = String::with_capacity(text.len());
    let mut outside = Vec::new();
    for (index, statement) in all.iter().enumerate() {
        if !spans.iter().any(|span| span.contains(&index)) {
            outside.push(*statement);
            out.push_str(statement.text);
        }
    }
    let joined = spans.last().is_some_and(|span| span.end == all.len() && all[span.clone()].iter().any(|one| one.text == JOINED));
    let given: String = outside.iter().map(|one| given_back(one)).collect();
    // Commented lines of which somebody took a part away stay comments.
    let mut out = if statements(&given).is_ok() { given } else { out };
    if joined && out.ends_with('\n') {
        out.pop();
    }
    Ok(out)
}

/// The blocks of ours, as ranges of statements.
fn blocks(all: &[Statement<'_>]) -> Result<Vec<std::ops::Range<usize>>, Refusal> {
    let (mut spans, mut begin) = (Vec::new(), None);
    let endless = |index: usize| Refusal::Marker { line: all[index].line, marker: BEGIN, other: END, side: "behind" };
    for (index, statement) in all.iter().enumerate() {
        match begin {
            Some(begin) if is_begin(statement) => return Err(endless(begin)),
            None if is_begin(statement) => begin = Some(index),
            Some(first) if is_end(statement) => {
                spans.push(first..index + 1);
                begin = None;
            }
            None if is_end(statement) => {
                return Err(Refusal::Marker { line: statement.line, marker: END, other: BEGIN, side: "before" });
            }
            _ => {}
        }
    }
    begin.map_or(Ok(spans), |begin| Err(endless(begin)))
}

fn is_begin(statement: &Statement<'_>) -> bool {
    statement.text.strip_prefix(BEGIN).is_some_and(|rest| rest.starts_with([':', ' ', '\n', '\r']) || rest.is_empty())
}

fn is_end(statement: &Statement<'_>) -> bool {
    statement.text.trim_end() == END
}

fn given_back<'a>(statement: &Statement<'a>) -> &'a str {
    statement.text.strip_prefix(TAKEN).unwrap_or(statement.text)
}

/// The line of the first statement that writes a template of somebody's own.
fn own_template(all: &[Statement<'_>]) -> Option<usize> {
    all.iter().find(|statement| guide::part(statement) == Some(Part::OwnTemplate)).map(|statement| statement.line)
}

/// Which statements the block does the work of. None within an `if` or the like, which must not be emptied.
fn taken(all: &[Statement<'_>]) -> Vec<Option<Part>> {
    let mut depth = 0;
    let mut parts: Vec<Option<Part>> = Vec::with_capacity(all.len());
    for statement in all {
        let before = depth;
        depth += nesting(statement);
        let part = guide::part(statement).filter(|_| before <= 0 && depth <= 0);
        parts.push(part);
    }
    if !parts.iter().any(|part| matches!(part, Some(Part::Template | Part::OwnTemplate))) {
        return vec![None; all.len()];
    }
    let variable = all.iter().zip(&parts).any(|(statement, part)| part.is_none() && guide::uses_variable(statement));
    if variable {
        parts.iter_mut().filter(|part| **part == Some(Part::Mirror)).for_each(|part| *part = None);
    }
    parts
}

/// How many compound commands a statement opens, less those that it closes.
fn nesting(statement: &Statement<'_>) -> i32 {
    let of = |word: &String| match word.as_str() {
        "if" | "case" | "for" | "while" | "until" | "select" | "{" | "(" => 1,
        "fi" | "esac" | "done" | "}" | ")" => -1,
        _ => 0,
    };
    if statement.is_code() { statement.words().iter().map(of).sum() } else { 0 }
}

#[cfg(test)]
mod tests;
