//! The block that CircleCI's guide for 2.19 tells people to write by hand into the same file: recognised statement by statement, so that it is not done twice.
//!
//! What does exactly what the guide says, our block does the work of. A template that says more is somebody's own: nothing of it is thrown away unasked.

use super::statements::Statement;
use super::{SHADOWING, TEMPLATE_PATH};

/// What a statement is to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// `export JAVA_OPTS='-cp /resources:/service/app.jar'`, and nothing else in it.
    JavaOpts,
    /// `export DOCKER_MIRROR_HOSTNAME=…`.
    Mirror,
    /// `mkdir -p /resources/ec2`.
    Folder,
    /// The template as the guide has it, whatever the mirror.
    Template,
    /// A template in its place that the guide does not have.
    OwnTemplate,
}

/// Which part of the guide's a statement is.
pub(super) fn part(statement: &Statement<'_>) -> Option<Part> {
    let words = statement.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["export", assignment] if assignment.strip_prefix("JAVA_OPTS=") == Some(SHADOWING) => Some(Part::JavaOpts),
        ["export", assignment] if assignment.starts_with(VARIABLE_IS) => Some(Part::Mirror),
        ["mkdir", "-p", "/resources/ec2" | "/resources/ec2/"] => Some(Part::Folder),
        ref words if writes_template(words) => Some(template(statement, words)),
        _ => None,
    }
}

/// Whether a statement speaks of the guide's variable, other than to set it.
pub(super) fn uses_variable(statement: &Statement<'_>) -> bool {
    statement.is_code() && statement.text.contains(VARIABLE)
}

fn writes_template(words: &[&str]) -> bool {
    words.windows(2).any(|pair| matches!(pair, [">" | ">>", TEMPLATE_PATH])) || words == ["tee", TEMPLATE_PATH]
}

fn template(statement: &Statement<'_>, words: &[&str]) -> Part {
    let plain = words.len() == 5 && words[0] == "cat" && words.iter().filter(|word| word.starts_with("<<")).count() == 1;
    match statement.heredoc() {
        Some(body) if plain && bare(body) == bare(BODY) => Part::Template,
        _ => Part::OwnTemplate,
    }
}

/// A template without what may differ: the mirror, the shell's backslashes, blank lines and comments.
fn bare(body: &str) -> Vec<String> {
    let lines =
        body.lines().map(|line| line.replace('\\', "")).filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("# "));
    lines.map(|line| without_mirror(line.trim_end())).collect()
}

/// The list of mirrors as `[M]`, if it is one URL or the variable.
fn without_mirror(line: &str) -> String {
    const BEFORE: &str = "\"registry-mirrors\" = [\"";
    let Some((before, rest)) = line.split_once(BEFORE) else { return line.to_owned() };
    let Some((mirror, behind)) = rest.split_once("\"]") else { return line.to_owned() };
    let one = matches!(mirror.trim_start_matches('$'), VARIABLE | "{DOCKER_MIRROR_HOSTNAME}") || mirror.parse::<crate::MirrorUrl>().is_ok();
    if one { format!("{before}{BEFORE}M\"]{behind}") } else { line.to_owned() }
}

const VARIABLE: &str = "DOCKER_MIRROR_HOSTNAME";
const VARIABLE_IS: &str = "DOCKER_MIRROR_HOSTNAME=";

/// Between the guide's `EOD`s.
const BODY: &str = r#"#cloud-config
system_info:
  default_user:
    name: "%1$s"
ssh_authorized_keys:
  - "%2$s"
runcmd:
  - bash -c 'if [ ! -f /etc/docker/daemon.json ]; then mkdir -p /etc/docker; echo "{}" > /etc/docker/daemon.json; fi'
  - bash -c 'cat <<< $(jq "."registry-mirrors" = ["$DOCKER_MIRROR_HOSTNAME"]" /etc/docker/daemon.json) > /etc/docker/daemon.json'
  - systemctl restart docker.service
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm_service::statements::statements;
    use crate::vm_service::tests::GUIDE;

    fn parts(text: &str) -> Vec<Option<Part>> {
        statements(text).expect("it is whole").iter().map(part).collect()
    }

    #[test]
    fn the_block_of_the_guide_is_known_in_all_its_parts() {
        let all = [Part::JavaOpts, Part::Mirror, Part::Folder, Part::Template].map(Some);
        assert_eq!(parts(GUIDE), all);
        assert_eq!(parts(&GUIDE.replace("$DOCKER_MIRROR_HOSTNAME", "https://mirror.example")), all);
        assert_eq!(parts(&GUIDE.replace("$DOCKER_MIRROR_HOSTNAME", "${DOCKER_MIRROR_HOSTNAME}")), all);
        assert_eq!(parts(&GUIDE.replace("runcmd:", "\n# ours\nruncmd:  ").replace("<< EOD", "<<EOD")), all);
    }

    #[test]
    fn a_template_that_says_more_is_somebodys_own() {
        for own in [
            GUIDE.replace("runcmd:", "packages: [jq]\nruncmd:"),
            GUIDE.replace("[\\\"$", "[\\\"https://other.example\\\", \\\"$"),
            GUIDE.replace("cat >", "cat /base >"),
            GUIDE.replace("#cloud-config", "#!/bin/sh"),
        ] {
            assert_ne!(own, GUIDE);
            assert_eq!(parts(&own)[3], Some(Part::OwnTemplate), "{own}");
        }
    }

    #[test]
    fn what_is_not_exactly_the_guides_is_none_of_its() {
        assert_eq!(
            parts(
                "export JAVA_OPTS='-Xmx1g -cp /resources:/service/app.jar'\nexport A=b JAVA_OPTS=c\nmkdir -p /resources/ec3\ncat /resources/ec2/linux_cloud_init.yaml\n"
            ),
            [None; 4]
        );
    }
}
