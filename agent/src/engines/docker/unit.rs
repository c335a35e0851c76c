//! What systemd would start: `docker.service`, its drop-ins and the files with variables that they name. Pure: texts in, words and variables out, each with its file and line.
//!
//! Of systemd's syntax it knows what stands in such units: sections, comments, lines that go on behind a backslash, quotes, an empty assignment that forgets those before it,
//! `$NAME` and `${NAME}`. Specifiers (`%i`) stay as they are.

use std::path::{Path, PathBuf};

use super::command_line::{Place, Word};

/// A variable of an environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variable {
    /// `HTTPS_PROXY`.
    pub name: String,
    /// Without quotes.
    pub value: String,
    /// Where it is written.
    pub place: Place,
}

/// A service, from its unit and its drop-ins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Unit {
    /// Its command line as it is written, with variables in it; empty where none starts.
    pub start: Vec<Word>,
    /// Of `Environment=`.
    pub environment: Vec<Variable>,
    /// Of `EnvironmentFile=`, in their order.
    pub files: Vec<PathBuf>,
}

impl Unit {
    /// Of the unit file and then its drop-ins, as systemd orders them.
    pub fn read(sources: &[(PathBuf, String)]) -> Self {
        let mut unit = Self::default();
        for (path, text) in sources {
            for Assignment { section, key, value, line } in assignments(text) {
                if section == "Service" {
                    unit.assign(&key, &value, &Place::File(path.clone(), line));
                }
            }
        }
        unit
    }

    /// The command line with the variables' values in it. A word out of a variable is where the variable is.
    pub fn command(&self, files: &[Variable]) -> Vec<Word> {
        // Files win over what the unit says itself.
        let all: Vec<&Variable> = self.environment.iter().chain(files).collect();
        let find = |name: &str| all.iter().rfind(|variable| variable.name == name).copied();
        self.start.iter().flat_map(|word| expanded(word, &find)).collect()
    }

    fn assign(&mut self, key: &str, value: &str, place: &Place) {
        match key {
            "ExecStart" if value.is_empty() => self.start.clear(),
            "ExecStart" => {
                // `-`, `+`, `!`, `@`, `:` say how it is started.
                let value = value.trim_start_matches(['-', '+', '!', '@', ':']);
                self.start = split(value).into_iter().map(|text| Word { text, place: place.clone() }).collect();
            }
            "Environment" if value.is_empty() => self.environment.clear(),
            "Environment" => self.environment.extend(split(value).iter().filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some(Variable { name: name.to_owned(), value: value.to_owned(), place: place.clone() })
            })),
            "EnvironmentFile" if value.is_empty() => self.files.clear(),
            "EnvironmentFile" => self.files.push(PathBuf::from(value.trim_start_matches('-'))),
            _ => {}
        }
    }
}

/// The variables in a file of `NAME=value` lines, as systemd and shells read it.
pub fn environment_file(path: &Path, text: &str) -> Vec<Variable> {
    let lines = logical_lines(text);
    let pairs = lines.into_iter().filter_map(|(line, text)| {
        let text = text.strip_prefix("export ").map_or(text.as_str(), str::trim_start);
        let (name, value) = text.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let place = Place::File(path.to_owned(), line);
        // A value with spaces is one value, quoted or not.
        is_name.then(|| Variable { name: name.to_owned(), value: unquoted(value), place })
    });
    pairs.collect()
}

/// The words in a variable's value, each where the variable is.
pub fn words_of(variable: &Variable) -> Vec<Word> {
    split(&variable.value).into_iter().map(|text| Word { text, place: variable.place.clone() }).collect()
}

struct Assignment {
    section: String,
    key: String,
    value: String,
    line: usize,
}

fn assignments(text: &str) -> Vec<Assignment> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (line, text) in logical_lines(text) {
        if let Some(name) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = text.split_once('=') {
            found.push(Assignment { section: section.clone(), key: key.trim().to_owned(), value: value.trim().to_owned(), line });
        }
    }
    found
}

/// Lines without comments and empty ones, each with its number, and with those joined that a backslash joins.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && !goes_on) {
            continue; // Between two joined lines a comment is passed over, too.
        }
        let (part, continues) = trimmed.strip_suffix('\\').map_or((trimmed, false), |part| (part.trim_end(), true));
        match lines.last_mut() {
            Some((_, line)) if goes_on => {
                line.push(' ');
                line.push_str(part);
            }
            _ => lines.push((number + 1, part.to_owned())),
        }
        goes_on = continues;
    }
    lines
}

/// Words at spaces, with quotes taken off.
fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return if quote == '"' { inner.replace("\\\"", "\"") } else { inner.to_owned() };
        }
    }
    value.to_owned()
}

/// `$NAME` by itself becomes as many words as are in it, `${NAME}` within a word what it holds.
fn expanded<'a>(word: &Word, find: &impl Fn(&str) -> Option<&'a Variable>) -> Vec<Word> {
    if let Some(name) = word.text.strip_prefix('$').filter(|name| !name.starts_with(['{', '$'])) {
        return find(name).map(words_of).unwrap_or_default();
    }
    let (mut text, mut place, mut rest) = (String::new(), word.place.clone(), word.text.as_str());
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, behind)) = after.split_once('}') else { break };
        text.push_str(before);
        if let Some(variable) = find(name) {
            text.push_str(&variable.value);
            place = variable.place.clone();
        }
        rest = behind;
    }
    text.push_str(rest);
    vec![Word { text, place }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[Word]) -> Vec<String> {
        words.iter().map(|word| format!("{} ({})", word.text, word.place)).collect()
    }

    fn source(path: &str, text: &str) -> (PathBuf, String) {
        (PathBuf::from(path), text.to_owned())
    }

    #[test]
    fn docker_s_own_unit_is_read() {
        let text = "[Unit]\nDescription=Docker\n# ExecStart=no\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd:// \\\n  # not here\n  --containerd=/run/containerd/containerd.sock\n[Install]\nExecStart=/no\n";
        let unit = Unit::read(&[source("/lib/systemd/system/docker.service", text)]);
        insta::assert_debug_snapshot!(shown(&unit.command(&[])), @r#"
        [
            "/usr/bin/dockerd (/lib/systemd/system/docker.service:6)",
            "-H (/lib/systemd/system/docker.service:6)",
            "fd:// (/lib/systemd/system/docker.service:6)",
            "--containerd=/run/containerd/containerd.sock (/lib/systemd/system/docker.service:6)",
        ]
        "#);
    }

    #[test]
    fn a_drop_in_replaces_the_command_and_adds_to_the_environment() {
        let unit = Unit::read(&[
            source(
                "/lib/docker.service",
                "[Service]\nExecStart=/usr/bin/dockerd\nEnvironment=A=1 \"B=2 3\"\nEnvironmentFile=-/etc/default/docker\n",
            ),
            source(
                "/etc/docker.service.d/10.conf",
                "[Service]\nExecStart=\nExecStart=-/usr/bin/dockerd --registry-mirror=http://m '--label=a b'\nEnvironment='C=x'\n",
            ),
        ]);
        insta::assert_debug_snapshot!(shown(&unit.command(&[])), @r#"
        [
            "/usr/bin/dockerd (/etc/docker.service.d/10.conf:3)",
            "--registry-mirror=http://m (/etc/docker.service.d/10.conf:3)",
            "--label=a b (/etc/docker.service.d/10.conf:3)",
        ]
        "#);
        let environment: Vec<_> = unit.environment.iter().map(|variable| format!("{}={}", variable.name, variable.value)).collect();
        assert_eq!(environment, ["A=1", "B=2 3", "C=x"]);
        assert_eq!(unit.files, [PathBuf::from("/etc/default/docker")]);
    }

    #[test]
    fn a_word_out_of_a_variable_is_where_the_variable_is() {
        let unit =
            Unit::read(&[source("/u", "[Service]\nExecStart=/usr/bin/dockerd $DOCKER_OPTS --label=${NAME} $NONE\nEnvironment=NAME=n\n")]);
        let file = environment_file(
            Path::new("/etc/default/docker"),
            "# options\nDOCKER_OPTS=\"--registry-mirror=http://m -D\"\nDOCKER_OPTS_2=x\n",
        );
        insta::assert_debug_snapshot!(shown(&unit.command(&file)), @r#"
        [
            "/usr/bin/dockerd (/u:2)",
            "--registry-mirror=http://m (/etc/default/docker:2)",
            "-D (/etc/default/docker:2)",
            "--label=n (/u:3)",
        ]
        "#);
    }

    #[test]
    fn an_empty_assignment_forgets_those_before_it() {
        let unit = Unit::read(&[source(
            "/u",
            "[Service]\nEnvironment=A=1\nEnvironment=\nEnvironmentFile=/a\nEnvironmentFile=\nEnvironmentFile=/b\n",
        )]);
        assert!(unit.environment.is_empty() && unit.start.is_empty());
        assert_eq!(unit.files, [PathBuf::from("/b")]);
    }

    #[test]
    fn files_of_variables_are_read_as_systemd_and_shells_read_them() {
        for (text, expected) in [
            ("A=1", &[("A", "1")][..]),
            ("A = 1", &[("A", "1")]),
            ("export A='--x y'\nB=\"a \\\"b\\\"\"", &[("A", "--x y"), ("B", "a \"b\"")]),
            ("#A=1\n;B=2\n\n C=3 ", &[("C", "3")]),
            ("OPTIONS=--a \\\n --b", &[("OPTIONS", "--a --b")]),
            ("if [ -z \"$A\" ]; then\nA=1\nfi", &[("A", "1")]),
            ("no variable", &[]),
        ] {
            let read: Vec<_> =
                environment_file(Path::new("/e"), text).into_iter().map(|variable| (variable.name, variable.value)).collect();
            let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(read, expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_unit_and_no_file_makes_it_panic(text in "(?s).{0,80}", line in r#"[\$\{\}\\"' a-z=\[\]\n#-]{0,60}"#) {
            for text in [text, format!("[Service]\nExecStart={line}"), line] {
                let unit = Unit::read(&[(PathBuf::from("/u"), text.clone())]);
                let words = unit.command(&environment_file(Path::new("/e"), &text));
                super::super::command_line::flags(&words);
            }
        }
    }
}
