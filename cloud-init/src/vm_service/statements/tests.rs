//! Shell files as people write them, and such as nobody should.

use proptest::prelude::*;

use super::*;

fn commands(text: &str) -> Vec<&str> {
    let all = statements(text).unwrap_or_else(|broken| panic!("{broken}\n{text}"));
    assert_eq!(all.iter().map(|one| one.text).collect::<String>(), text);
    all.iter().map(|one| one.text.trim_end_matches('\n')).collect()
}

fn broken(text: &str) -> String {
    statements(text).expect_err("it is broken").to_string()
}

#[test]
fn a_line_is_a_statement_unless_something_is_open_at_its_end() {
    assert_eq!(commands("a\n\n# b 'c\nd \\\n  e\nf"), ["a", "", "# b 'c", "d \\\n  e", "f"]);
    assert_eq!(commands("a='x\n# y\n'\nb=\"$(c\n'd')\"\n"), ["a='x\n# y\n'", "b=\"$(c\n'd')\""]);
    assert_eq!(commands("echo \"it's\" 'a\"' \\' \\\" x#' '\n"), ["echo \"it's\" 'a\"' \\' \\\" x#' '"]);
    assert_eq!(commands("a ${x:-\"it's\"} \"${y:-it's}\" ${#z} $# `b 'c'` ls `# note` d\ne\n").len(), 2);
    assert_eq!(commands("n=$(( 1 << 2 ))\n(( n <<= 1 ))\ncat <<< EOD\ne\n").len(), 4);
    assert_eq!(commands("x=$'a\\'b'\ny='\\'\nz\n").len(), 3);
    assert_eq!(commands("x=\"${y}ü\\ü\" # ü '\nz\n").len(), 2);
}

#[test]
fn a_here_document_belongs_to_its_command() {
    let text = "cat > /f << EOD\n# BEGIN chandler\n it's\nEOD\nnext\n";
    let all = statements(text).expect("it is whole");
    assert_eq!((all[0].command(), all[0].heredoc(), all[1].line), ("cat > /f << EOD\n", Some("# BEGIN chandler\n it's\n"), 5));
    assert_eq!(commands("a <<-'X' <<\"Y\"; b\n\t\"\n\tX\n$(\nY\nc\n").len(), 2);
    assert_eq!(commands("x=$(cat <<X\n)'\nX\n)\ny\n").len(), 2);
    assert_eq!(commands("cat <<X\na \\\nX\nb\nX\nc").len(), 2);
    assert_eq!(statements("cat << X\nX").expect("it is whole")[0].heredoc(), Some(""));
    assert_eq!(statements("cat\n").expect("it is whole")[0].heredoc(), None);
}

#[test]
fn what_is_not_closed_is_told_by_where_it_was_opened() {
    insta::assert_snapshot!(broken("a\nexport X='b\nc\n"), @"line 2: a single quote (') is opened here and not closed");
    insta::assert_snapshot!(broken("a\nb \"$(c\n"), @r#"line 2: a double quote (") is opened here and not closed"#);
    insta::assert_snapshot!(broken("a ${b\n"), @"line 1: a `${` is opened here and not closed");
    insta::assert_snapshot!(broken("a $((1\n"), @"line 1: a `((` is opened here and not closed");
    insta::assert_snapshot!(broken("\n\nx `a\n"), @"line 3: a backquote (`) is opened here and not closed");
    insta::assert_snapshot!(broken("a\ncat << EOD\nx\n EOD\ny\n"), @"line 2: the here-document that begins here has no line `EOD` at its end; line 4 is `EOD` with blanks around it");
    insta::assert_snapshot!(broken("cat << EOD"), @"line 1: the here-document that begins here has no line `EOD` at its end");
    insta::assert_snapshot!(broken("a\nb \\\n"), @"line 2: the last line ends with a backslash, which takes in what is put behind it");
    insta::assert_snapshot!(broken("b \\"), @"line 1: the last line ends with a backslash, which takes in what is put behind it");
}

#[test]
fn words_are_what_the_shell_makes_of_quotes() {
    let words = |text: &str| statements(text).expect("it is whole")[0].words();
    assert_eq!(words("export JAVA_OPTS='-cp /a:/b' # x\n"), ["export", "JAVA_OPTS=-cp /a:/b"]);
    assert_eq!(words("cat>/f<<-EOD\nEOD\n"), ["cat", ">", "/f", "<<-", "EOD"]);
    assert_eq!(words("a\\ b \"c\\\"\\d\" '' \\\n e&&f;g\n"), ["a b", "c\"\\d", "", "e", "&&", "f", ";", "g"]);
    assert_eq!(words("x=$Y \"${Z}\"\n"), ["x=$Y", "${Z}"]);
}

proptest! {
    #[test]
    fn any_text_is_scanned_to_its_end(text in "(?s)(['\"`(){}$\\\\\n#< ]|<<X|X\n|\\$\\(|ü|.){0,40}") {
        if let Ok(all) = statements(&text) {
            prop_assert_eq!(all.iter().map(|one| one.text).collect::<String>(), text.as_str());
            let lines: usize = all.iter().map(|one| one.text.matches('\n').count()).sum();
            prop_assert_eq!(lines, all.last().map_or(0, |last| last.line - 1 + last.text.matches('\n').count()));
            for one in all {
                one.words();
                one.heredoc();
            }
        }
    }
}
