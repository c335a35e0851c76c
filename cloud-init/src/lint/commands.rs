//! `runcmd` and `bootcmd`: a text is a line of `sh`, a list is a program and its arguments with no shell between. Either is made into one script, so that a line that does not end takes the next ones along.

use super::Finding;
use super::scalar::Reading;
use super::shell::{Fault, faults};
use super::tree::{Node, Value};

/// Each command.
pub(super) fn check(tree: &Node, findings: &mut Vec<Finding>) {
    for key in ["runcmd", "bootcmd"] {
        let Some(commands) = tree.get(key) else { continue };
        if !matches!(commands.value, Value::List(_)) && !commands.is_null() {
            findings.push(Finding::error(
                commands.at,
                format!("`{key}` is no list, and none of it is run"),
                "begin each command with `- `",
            ));
        }
        for command in commands.items() {
            match &command.value {
                Value::List(words) => of_words(command, words, key, findings),
                Value::Map(_) => findings.push(Finding::error(
                    command.at,
                    format!("this command is a map, since `: ` within it makes what is before it a key: cloud-init stops at it and runs nothing of `{key}`"),
                    "put the line in quotes, or below `- |`",
                )),
                Value::Scalar { text, .. } => of_text(command, text, key, findings),
            }
        }
    }
}

fn of_text(command: &Node, text: &str, key: &str, findings: &mut Vec<Finding>) {
    if let Some(words) = command.plain().and_then(|plain| Reading::of(plain).words()).filter(|_| !command.is_null()) {
        let what = format!("`{text}` is {words} and no command: cloud-init stops at it and runs nothing of `{key}`");
        findings.push(Finding::error(command.at, what, "put it in quotes"));
    }
    of_shell(command, text, "sh", findings);
}

/// A text that a shell reads.
fn of_shell(at: &Node, text: &str, shell: &str, findings: &mut Vec<Finding>) {
    for fault in faults(text) {
        let is_sh = shell.ends_with("sh") && !shell.ends_with("bash") && !shell.ends_with("zsh") && !shell.ends_with("ksh");
        match fault {
            Fault::Open(sign) => findings.push(Finding::error(
                at.at,
                format!("{sign} opens here and does not close: the shell takes the commands behind it for more of the same"),
                "close it, or put the whole below `- |` where YAML takes no quotes away",
            )),
            Fault::Document(end) => findings.push(Finding::error(
                at.at,
                format!("the here-document has no line `{end}` at its end: the commands behind it are swallowed"),
                "put the whole below `- |`, with the last line by itself, or use write_files",
            )),
            Fault::Bash(word) if is_sh => findings.push(Finding::warning(
                at.at,
                format!("`{word}` is bash's, and this is run by sh, which is another shell on Debian and Ubuntu"),
                "write it for sh, or as [bash, -c, …]",
            )),
            Fault::Bash(_) => {}
        }
    }
}

fn of_words(command: &Node, words: &[Node], key: &str, findings: &mut Vec<Finding>) {
    for word in words {
        let Some(text) = word.text() else {
            findings.push(Finding::error(word.at, "an argument is a list or a map", "write it as one text in quotes"));
            continue;
        };
        if let Some(reading) = word.plain().and_then(said_otherwise) {
            findings.push(Finding::error(
                word.at,
                format!("`{text}` is for cloud-init {reading}, and the program is given something else"),
                "put it in quotes",
            ));
        }
    }
    let texts: Vec<&str> = words.iter().filter_map(Node::text).collect();
    match texts[..] {
        [] => findings.push(Finding::warning(command.at, format!("an empty command in `{key}`"), "take it out")),
        [one] if one.contains(' ') => findings.push(Finding::error(
            command.at,
            format!("a list is a program and its arguments, and there is no program `{one}`"),
            "take the brackets off for a line of shell, or split it into words",
        )),
        [shell, flag, text, ..] if is_shell(shell) && flag.starts_with('-') && flag.ends_with('c') => {
            if let Some(node) = words.get(2) {
                of_shell(node, text, shell, findings);
            }
        }
        [first, ..] if !is_shell(first) && !matches!(first, "cloud-init-per" | "env" | "test" | "[") => {
            let operator = words.iter().skip(1).find(|word| word.text().is_some_and(|text| OPERATORS.contains(&text)));
            if let Some(word) = operator {
                let what = format!("`{}` in a list is an argument of `{first}`: no shell reads a list", word.text().unwrap_or_default());
                findings.push(Finding::error(word.at, what, "write the command as one text, or as [sh, -c, …]"));
            }
        }
        _ => {}
    }
}

/// What `str()` makes something else of: a decimal without a zero before it stays itself.
fn said_otherwise(plain: &str) -> Option<&'static str> {
    match Reading::of(plain) {
        Reading::Text | Reading::Decimal | Reading::Date => None,
        // 1.5 stays itself, 1.10 does not.
        Reading::Float
            if !plain.ends_with('0')
                && !plain.contains(['_', 'e', 'E', ':', 'i', 'I', 'n', 'N'])
                && !plain.ends_with('.')
                && !plain.starts_with('.') =>
        {
            None
        }
        reading => reading.words(),
    }
}

fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

const OPERATORS: [&str; 12] = ["|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1", "&>", "2>", "<<"];
