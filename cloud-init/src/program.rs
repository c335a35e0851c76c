//! A program for a machine that is there already, be it while its image is built or when it starts: what a cloud-config does, as a script for `sh` that root runs.
//!
//! It may be run again. Files are put whole in place of others; Docker's own file is merged by the [first boot's](crate::first_boot) program, or all is left to chandler itself, which the script fetches from the
//! mirror and runs if its digest is the one that is named. A drop-in has it done again before each start of Docker, for CircleCI Server 4.x writes `daemon.json` anew on its Nomad clients.

use std::fmt::Write as _;

use crate::layers::shell::{self, Heredoc};
use crate::user_data::fetching;
use crate::{Engine, Means, PlacedFile, Provision, Sha256, Wish, first_boot};

/// What becomes of the rest if a part of it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failing {
    /// It ends, and so does what runs it: nobody wants an image without a mirror.
    Ends,
    /// It is told, and the machine's start goes on.
    GoesOn,
}

/// The script.
pub fn script(provision: &Provision, wish: &Wish, engines: &[Engine], failing: Failing) -> String {
    let mut out = String::from(HEAD);
    if failing == Failing::GoesOn {
        out.push_str(GOES_ON);
    }
    out.push_str(PLACE);
    match &provision.means {
        Means::Script => scripted(&mut out, provision),
        Means::Agent(digest) => by_agent(&mut out, wish, engines, digest),
    }
    out
}

fn scripted(out: &mut String, provision: &Provision) {
    for file in &provision.files {
        place(out, &file.path, file.mode, &file.content.text);
    }
    if let Some(keys) = &provision.docker {
        place(out, first_boot::PATH, 0o755, &first_boot::script(keys));
        place(out, DROP_IN, 0o644, &drop_in());
        let _ = writeln!(out, "read_again\n{RUN}");
    }
}

/// It is in the image then, and a unit of its own has it done again at each boot.
fn by_agent(out: &mut String, wish: &Wish, engines: &[Engine], digest: &Sha256) {
    for PlacedFile { path, mode, content } in fetching::files(wish, engines, digest).iter().filter(|file| file.path != fetching::EACH_BOOT)
    {
        place(out, path, *mode, &content.text);
    }
    let _ = writeln!(out, "{}\n/usr/local/bin/chandler install agent", fetching::PROGRAM);
}

/// Nothing in the text means anything to the shell, whatever it is.
fn place(out: &mut String, path: &str, mode: u32, text: &str) {
    let path = shell::single_quoted(path);
    if text.ends_with('\n') {
        let Heredoc { redirection, body } = Heredoc::of(text);
        let _ = write!(out, "place {mode:04o} {path} {redirection}\n{body}");
    } else {
        let _ = writeln!(out, "printf %s {} | place {mode:04o} {path}", shell::single_quoted(text));
    }
}

/// systemd takes `$$` for one `$`.
fn drop_in() -> String {
    format!(
        "# Before each start of Docker the mirror is put into its configuration again, whoever wrote that anew. Docker starts also where this fails (-), or hangs.\n[Service]\nExecStartPre=-/usr/bin/timeout --kill-after=5 60 /bin/sh -c '{}'\n",
        RUN.replace('$', "$$")
    )
}

const HEAD: &str = "\
#!/bin/sh
# This machine's container engines pull through the mirror. Made by chandler; root runs it, and may run it again.
set -eu
umask 022
";

const GOES_ON: &str = "\
# Whatever fails is told, and the machine's start goes on.
trap '[ $? -eq 0 ] || { echo \"chandler: this machine is not behind the mirror: see above\" >&2; exit 0; }' EXIT
";

const PLACE: &str = r#"place() { # mode path; what it holds is on standard input
  mkdir -p "$(dirname "$2")"
  (umask 077 && cat >"$2.chandler")
  chmod "$1" "$2.chandler"
  mv "$2.chandler" "$2"
}
read_again() { # systemd reads its units, where it runs
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
}
"#;

/// Early, so that anybody else's stands behind it.
const DROP_IN: &str = "/etc/systemd/system/docker.service.d/10-chandler.conf";

/// RHEL 8 has no `python3` in the path, and the one that cloud-init itself runs by.
const RUN: &str = "\"$(command -v python3 || echo /usr/libexec/platform-python)\" /usr/local/sbin/chandler-first-boot";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, DockerKeys, Others};

    fn provision(text: &str, means: Means) -> Provision {
        let content = Content { text: text.to_owned(), secret: false };
        let files = vec![PlacedFile { path: "/etc/docker/certs.d/mirror.example:5000/chandler-ca.crt".to_owned(), mode: 0o644, content }];
        let docker = DockerKeys { mirrors: vec!["https://mirror.example:5000".to_owned()], insecure: Vec::new() };
        Provision { files, docker: Some(docker), means }
    }

    fn wish() -> Wish {
        let mirrors = vec!["https://mirror.example:5000".parse().expect("a mirror")];
        Wish { mirrors, anchors: Some("PEM\n".to_owned()), client: None, registries: Vec::new(), others: Others::Keep }
    }

    #[test]
    fn without_the_agent_files_are_placed_and_dockers_own_is_merged() {
        let script = script(&provision("PEM\nCHANDLER\n", Means::Script), &wish(), &[Engine::Docker], Failing::Ends);
        let program = first_boot::script(provision("", Means::Script).docker.as_ref().expect("keys"));
        insta::assert_snapshot!(script.replace(&program, "(the first boot's program)\n"), @r#"
        #!/bin/sh
        # This machine's container engines pull through the mirror. Made by chandler; root runs it, and may run it again.
        set -eu
        umask 022
        place() { # mode path; what it holds is on standard input
          mkdir -p "$(dirname "$2")"
          (umask 077 && cat >"$2.chandler")
          chmod "$1" "$2.chandler"
          mv "$2.chandler" "$2"
        }
        read_again() { # systemd reads its units, where it runs
          [ ! -d /run/systemd/system ] || systemctl daemon-reload
        }
        place 0644 '/etc/docker/certs.d/mirror.example:5000/chandler-ca.crt' << 'EOD'
        PEM
        CHANDLER
        EOD
        place 0755 '/usr/local/sbin/chandler-first-boot' << 'EOD'
        (the first boot's program)
        EOD
        place 0644 '/etc/systemd/system/docker.service.d/10-chandler.conf' << 'EOD'
        # Before each start of Docker the mirror is put into its configuration again, whoever wrote that anew. Docker starts also where this fails (-), or hangs.
        [Service]
        ExecStartPre=-/usr/bin/timeout --kill-after=5 60 /bin/sh -c '"$$(command -v python3 || echo /usr/libexec/platform-python)" /usr/local/sbin/chandler-first-boot'
        EOD
        read_again
        "$(command -v python3 || echo /usr/libexec/platform-python)" /usr/local/sbin/chandler-first-boot
        "#);
    }

    #[test]
    fn the_agent_is_run_if_its_digest_is_the_one_that_is_named() {
        let means = Means::Agent("ab".repeat(32).parse().expect("a digest"));
        let script = script(&provision("", means), &wish(), &[Engine::Docker], Failing::GoesOn);
        let (_, fetched) = script.split_once("'/usr/local/sbin/chandler-fetch'").expect("the program that fetches is placed");
        assert!(fetched.ends_with("EOD\n/usr/local/sbin/chandler-fetch\n/usr/local/bin/chandler install agent\n"), "{fetched}");
        let (head, _) = script.split_once("place 0755").expect("the same");
        insta::assert_snapshot!(head.replace(PLACE, "(place)\n"), @r#"
        #!/bin/sh
        # This machine's container engines pull through the mirror. Made by chandler; root runs it, and may run it again.
        set -eu
        umask 022
        # Whatever fails is told, and the machine's start goes on.
        trap '[ $? -eq 0 ] || { echo "chandler: this machine is not behind the mirror: see above" >&2; exit 0; }' EXIT
        (place)
        place 0644 '/etc/chandler/mirror-ca.pem' << 'EOD'
        PEM
        EOD
        place 0644 '/etc/chandler/agent.yaml' << 'EOD'
        mirrors: ["https://mirror.example:5000"]
        ca: "/etc/chandler/mirror-ca.pem"
        engines: ["docker"]
        EOD
        "#);
    }
}
