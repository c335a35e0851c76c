//! Our lines of shell in the customizations file. They write the template, whole or not at all, and give `JAVA_OPTS` a class path that begins with it.
//!
//! `JAVA_OPTS` is also others': heap flags stay, in their order, and so do entries of a class path; of several, Java takes the last, and so is it taken here. Where it names none, `CLASSPATH` does, as for Java. The lines
//! go by POSIX, leave no variable and no option behind, and never fail: without its template the service makes machines as before.

use std::fmt::{self, Write as _};

use super::template::{Unusable, lint};
use super::{RECYCLE, TEMPLATE_PATH};
use crate::MirrorUrl;
use crate::layers::shell::Heredoc;

/// The block, but for its place in a file.
#[derive(Clone, Eq, PartialEq)]
pub struct Block {
    mirrors: String,
    template: String,
    over_own: bool,
}

impl Block {
    /// For machines that pull through these mirrors. A template that would fail in the service is refused.
    pub fn new(template: impl Into<String>, mirrors: &[MirrorUrl]) -> Result<Self, Vec<Unusable>> {
        let template = template.into();
        let faults = lint(&template);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mirrors: Vec<String> = mirrors.iter().map(ToString::to_string).collect();
        Ok(Self { mirrors: mirrors.join(", "), template, over_own: false })
    }

    /// The same, also where somebody wrote a template of their own: what theirs says beyond ours is then no longer said.
    pub fn over_own_template(self) -> Self {
        Self { over_own: true, ..self }
    }

    /// What it writes.
    pub fn template(&self) -> &str {
        &self.template
    }

    pub(super) fn is_over_own_template(&self) -> bool {
        self.over_own
    }

    /// The lines. `joined`: the file's last line had no end, and was given one.
    pub(super) fn lines(&self, joined: bool) -> String {
        let mut out = String::new();
        let Heredoc { redirection, body } = Heredoc::of(&self.template);
        let part = "/resources/ec2/.chandler";
        let _ = writeln!(out, "{BEGIN}: machines are born behind {}", self.mirrors);
        if joined {
            out.push_str(JOINED);
        }
        out.push_str(HEAD);
        let _ = writeln!(out, "mkdir -p /resources/ec2 && cat > {part} {redirection} && mv {part} {TEMPLATE_PATH} || {WARN}");
        out.push_str(&body);
        out.push_str("# Ours goes before the service's own; other options, and other entries of a class path, stay.\n");
        out.push_str(JAVA_OPTS);
        let _ = writeln!(out, "{END}");
        out
    }
}

impl fmt::Display for Block {
    /// By itself, to be read or put into a file by hand; behind it, as comments, what is to be done then.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(false))?;
        f.write_str("\n# `docker restart vm-service` puts it in force.\n")?;
        RECYCLE.lines().try_for_each(|line| writeln!(f, "# {line}"))
    }
}

/// The template may hold a client's key.
impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

/// How the block begins.
pub(super) const BEGIN: &str = "# BEGIN chandler";

/// How it ends.
pub(super) const END: &str = "# END chandler";

/// In its second line.
pub(super) const JOINED: &str = "# The line before this block had no end.\n";

/// Before each line that we do the work of.
pub(super) const TAKEN: &str = "#chandler# ";

const HEAD: &str = "\
# Made by chandler, which makes it anew: what is changed here is lost. To take it out: `chandler cloud-init vm-service --onto FILE --remove`.
# It stays last: a JAVA_OPTS that is set or unset below would undo it. Lines above that begin with `#chandler#`
# are those of the guide that it does the work of; undo gives them back.
";

const WARN: &str = "echo 'chandler: the template could not be written, machines are made without the mirror' >&2";

const JAVA_OPTS: &str = include_str!("java_opts.sh");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::java;

    fn minimal() -> String {
        format!("#cloud-config\nname: \"{}\"\nkey: \"{}\"\n", java::NAME, java::KEY)
    }

    #[test]
    fn it_writes_the_template_and_puts_it_before_the_services_own() {
        let block = Block::new(minimal(), &["https://mirror.example".parse().expect("a URL")]).expect("a template");
        insta::assert_snapshot!(block.lines(false), @r##"
        # BEGIN chandler: machines are born behind https://mirror.example
        # Made by chandler, which makes it anew: what is changed here is lost. To take it out: `chandler cloud-init vm-service --onto FILE --remove`.
        # It stays last: a JAVA_OPTS that is set or unset below would undo it. Lines above that begin with `#chandler#`
        # are those of the guide that it does the work of; undo gives them back.
        mkdir -p /resources/ec2 && cat > /resources/ec2/.chandler << 'EOD' && mv /resources/ec2/.chandler /resources/ec2/linux_cloud_init.yaml || echo 'chandler: the template could not be written, machines are made without the mirror' >&2
        #cloud-config
        name: "%1$s"
        key: "%2$s"
        EOD
        # Ours goes before the service's own; other options, and other entries of a class path, stay.
        JAVA_OPTS=$(
          set -f
          unset IFS
          path=${CLASSPATH-} options='' take=''
          for word in ${JAVA_OPTS-}; do
            case $take$word in
              (-cp | -classpath | --class-path) take=value= ;;
              (value=* | --class-path=*) path=${word#--class-path=} take= ;;
              (*) options="$options $word" ;;
            esac
          done
          path=${path:+:$path}:
          while :; do
            case $path in
              (*:/resources:*) path=${path%%:/resources:*}:${path#*:/resources:} ;;
              (*) break ;;
            esac
          done
          case $path in
            (*:/service/app.jar:*) ;;
            (*) path=$path/service/app.jar: ;;
          esac
          path=${path%:}
          printf '%s' "-cp /resources$path$options"
        )
        export JAVA_OPTS
        # END chandler
        "##);
    }

    #[test]
    fn a_template_that_the_service_could_not_use_is_refused() {
        assert_eq!(Block::new("#cloud-config\n%1$s %2$s 100%\n", &[]).map_err(|faults| faults.len()), Err(1));
    }

    #[test]
    fn what_is_printed_can_be_put_into_a_file_as_it_is() {
        let block = Block::new(minimal(), &[]).expect("a template").to_string();
        let behind = block.split_once(END).expect("it has an end").1;
        assert!(behind.lines().all(|line| line.is_empty() || line.starts_with('#')), "{behind}");
    }
}
