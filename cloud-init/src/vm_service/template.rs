//! The template: a cloud-config in which the service fills in the machine's user and key, by Java's `String.format`.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use super::{JAR, RESOURCE, TEMPLATE_PATH};
use crate::cloud_config::{CloudConfig, FIRST_LINE};
use crate::layers::java::{self, Conversion};

/// Why the service could make no machine of a template that can be reached.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// It throws, or fills in what was not meant.
    #[error(transparent)]
    Conversion(#[from] Conversion),
    /// The user or the key has no place.
    #[error("{0} is nowhere in the template: the service fills in the machine's user by {name} and its key by {key}, and could not log in", name = java::NAME, key = java::KEY)]
    Placeholder(&'static str),
    /// cloud-init would not know it.
    #[error("the template does not begin with the line `{FIRST_LINE}`: cloud-init would leave it aside")]
    FirstLine,
}

/// The template for what a machine is to be given.
pub fn template(config: &CloudConfig) -> String {
    // The service's two lines are as its own template has them; there is no other part of user data to merge with.
    let body = CloudConfig { merge: false, ..config.clone() }.body();
    format!(
        "{FIRST_LINE}\nsystem_info:\n  default_user:\n    name: \"{}\"\nssh_authorized_keys:\n  - \"{}\"\n{}",
        java::NAME,
        java::KEY,
        java::escape(&body)
    )
}

/// Everything by which a template, ours or a user's own, would fail in the service.
pub fn lint(template: &str) -> Vec<Unusable> {
    let mut all = Vec::new();
    if template.lines().next() != Some(FIRST_LINE) {
        all.push(Unusable::FirstLine);
    }
    let missing = [java::NAME, java::KEY].into_iter().filter(|placeholder| !has(template, placeholder));
    all.extend(missing.map(Unusable::Placeholder));
    all.extend(java::lint(template).into_iter().map(Unusable::Conversion));
    all
}

/// Not behind another percent sign, where it is text.
fn has(template: &str, placeholder: &str) -> bool {
    template.replace("%%", "").contains(placeholder)
}

/// How ours differs from the one in the service's own program, for a person: first what would break, then the lines. Empty where they are the same.
pub fn difference(theirs: &str, ours: &str) -> String {
    if theirs == ours {
        return String::new();
    }
    let mut out = String::new();
    for more in java::lint(theirs) {
        let _ =
            writeln!(out, "The service's own template is filled in by more than the user and the key, which ours does not have: {more}");
    }
    let _ = writeln!(out, "--- {JAR}!/{RESOURCE}\n+++ {TEMPLATE_PATH}");
    for hunk in TextDiff::from_lines(theirs, ours).unified_diff().context_radius(3).iter_hunks() {
        let _ = writeln!(out, "{}", hunk.header());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let line = change.value();
            let _ = writeln!(out, "{sign}{}", shown(line.strip_suffix('\n').unwrap_or(line)));
            if !line.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
    out
}

/// What a terminal would act upon as its number.
fn shown(line: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { c.escape_unicode().to_string() } else { c.to_string() };
    line.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::cloud_config::Command;

    fn config(line: &str) -> CloudConfig {
        CloudConfig { merge: true, runcmd: vec![Command::Shell(line.to_owned())], ..CloudConfig::default() }
    }

    #[test]
    fn the_services_two_lines_come_first_and_every_percent_sign_of_ours_is_doubled() {
        let template = template(&config("date +%s > /born"));
        assert_snapshot!(template, @r##"
        #cloud-config
        system_info:
          default_user:
            name: "%1$s"
        ssh_authorized_keys:
          - "%2$s"
        runcmd:
        - "date +%%s > /born"
        "##);
        assert_eq!(lint(&template), []);
    }

    #[test]
    fn what_would_fail_in_the_service_is_told() {
        let told: Vec<String> = lint("system_info:\n  name: \"%%1$s\"\n  run: date +%Y\n").iter().map(ToString::to_string).collect();
        assert_snapshot!(told.join("\n"), @r"
        the template does not begin with the line `#cloud-config`: cloud-init would leave it aside
        %1$s is nowhere in the template: the service fills in the machine's user by %1$s and its key by %2$s, and could not log in
        %2$s is nowhere in the template: the service fills in the machine's user by %1$s and its key by %2$s, and could not log in
        line 3, column 14: Java takes `%Y` for a conversion: a percent sign is written `%%`, and only %1$s and %2$s are filled in
        ");
    }

    #[test]
    fn the_difference_from_the_services_own_template_is_shown() {
        let ours = template(&config("true"));
        assert_eq!(difference(&ours, &ours), "");
        let theirs =
            "#cloud-config\nsystem_info:\n  default_user:\n    name: \"%1$s\"\nssh_authorized_keys:\n  - \"%2$s\"\nhostname: \"%3$s\"";
        assert_snapshot!(difference(theirs, &ours), @r#"
        The service's own template is filled in by more than the user and the key, which ours does not have: line 7, column 12: Java takes `%3$s` for a conversion: a percent sign is written `%%`, and only %1$s and %2$s are filled in
        --- /service/app.jar!/ec2/linux_cloud_init.yaml
        +++ /resources/ec2/linux_cloud_init.yaml
        @@ -4,4 +4,5 @@
             name: "%1$s"
         ssh_authorized_keys:
           - "%2$s"
        -hostname: "%3$s"
        \ No newline at end of file
        +runcmd:
        +- "true"
        "#);
    }
}
