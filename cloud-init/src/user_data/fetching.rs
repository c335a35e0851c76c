//! A machine that is given chandler itself: fetched from the mirror, believed only by its digest, and told of its mirrors in its own file. `chandler apply` does the rest, and `chandler undo` takes it back.
//!
//! A mirror that does not answer costs two seconds, one that trickles a minute, both at the end of the boot where nobody waits; the next boot tries again until it has worked.

use std::fmt::Write as _;

use crate::layers::yaml::quoted;
use crate::provision::{Content, PlacedFile};
use crate::user_data::enrolment::{each_boot, to_come};
use crate::{Engine, Others, Sha256, Wish};

/// What such a machine is given. Its client certificate, if it has one, is at a place of its own, from where `chandler apply` takes it.
pub(crate) fn files(wish: &Wish, engines: &[Engine], digest: &Sha256) -> Vec<PlacedFile> {
    let mut files = Vec::new();
    let mut put = |path: &str, mode: u32, text: &str, secret: bool| {
        files.push(PlacedFile { path: path.to_owned(), mode, content: Content { text: text.to_owned(), secret } });
    };
    if let Some(anchors) = &wish.anchors {
        put(ROOTS, 0o644, anchors, false);
    }
    if let Some(pair) = &wish.client {
        put(KEY, 0o600, &pair.key, true);
        put(CHAIN, 0o644, &pair.chain, false);
    }
    put(SETTINGS, 0o644, &settings(wish, engines), false);
    put(PROGRAM, 0o755, &program(wish, digest), false);
    put(EACH_BOOT, 0o755, &each_boot(&format!("[ -e {DONE} ] || {PROGRAM}")), false);
    files
}

/// `agent.yaml`.
fn settings(wish: &Wish, engines: &[Engine]) -> String {
    let list = |words: Vec<String>| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", ");
    let mut text = format!("mirrors: [{}]\n", list(wish.mirrors.iter().map(ToString::to_string).collect()));
    let mut line = |key: &str, value: String| writeln!(text, "{key}: {value}").expect("a String takes all");
    if wish.anchors.is_some() {
        line("ca", quoted(ROOTS));
    }
    if wish.client.is_some() {
        line("client", format!("{{certificate: {}, key: {}}}", quoted(CHAIN), quoted(KEY)));
    }
    if !engines.is_empty() {
        line("engines", format!("[{}]", list(engines.iter().map(ToString::to_string).map(|name| name.to_lowercase()).collect())));
    }
    if !wish.registries.is_empty() {
        line("registries", format!("[{}]", list(wish.registries.clone())));
    }
    if wish.others == Others::Replace {
        line("others", "replace".to_owned());
    }
    text
}

/// URLs and digests have no character that a shell would read as its own: [`crate::MirrorUrl`] and [`Sha256`] are made of letters, digits and `[]:/.-`, and the brackets are in quotes here.
fn program(wish: &Wish, digest: &Sha256) -> String {
    let mirrors: Vec<String> = wish.mirrors.iter().map(|mirror| format!("'{mirror}'")).collect();
    let roots = if wish.anchors.is_some() { format!(" --cacert {ROOTS}") } else { String::new() };
    SOURCE
        .replace("@MIRRORS@", &mirrors.join(" "))
        .replace("@DIGEST@", digest.hex())
        .replace("@ROOTS@", &roots)
        .replace("@SETTINGS@", SETTINGS)
        .replace("@DONE@", DONE)
        // Only where it is to come: otherwise the settings are there.
        .replace("@WAITS@", if wish.client == Some(to_come()) { "its client certificate is not there yet" } else { "it is not there" })
}

const SOURCE: &str = r#"#!/bin/sh
# Made by chandler: fetches chandler from the mirror, believes it by its digest, and lets it tell the engines here of the mirror.
# A mirror that is down costs two seconds, and the next boot tries again.
umask 022
say() { echo "chandler-fetch: $*" >&2; }
target=/usr/local/bin/chandler new=/usr/local/bin/.chandler.new
is_it() { [ -e "$1" ] && echo "@DIGEST@  $1" | sha256sum -c >/dev/null 2>&1; }
[ -e @SETTINGS@ ] || { say "@SETTINGS@: @WAITS@; the next boot tries again"; exit 1; }
mkdir -p /usr/local/bin
for mirror in @MIRRORS@; do
  is_it "$target" && break
  curl -gfsS --noproxy '*' --connect-timeout 2 --max-time 60@ROOTS@ -o "$new" "$mirror/chandler/bin/linux-amd64" || { say "$mirror gives no chandler"; continue; }
  is_it "$new" || { say "what $mirror gives is not the program that was meant: its digest is another"; rm -f "$new"; continue; }
  chmod 755 "$new" && mv -f "$new" "$target"
done
is_it "$target" || { say "there is no chandler; the next boot tries again"; exit 1; }
timeout 120 "$target" apply --yes || { say "chandler apply failed, see above; the next boot tries again"; exit 1; }
: >@DONE@
"#;

const ROOTS: &str = "/etc/chandler/mirror-ca.pem";
const CHAIN: &str = "/etc/chandler/client.cert";
const KEY: &str = "/etc/chandler/client.key";
const SETTINGS: &str = "/etc/chandler/agent.yaml";
const DONE: &str = "/etc/chandler/first-boot-done";
/// Fetches chandler and runs it; done, it ends at once.
pub(crate) const PROGRAM: &str = "/usr/local/sbin/chandler-fetch";
/// After the enrolment, by its name.
pub(crate) const EACH_BOOT: &str = "/var/lib/cloud/scripts/per-boot/01-chandler-fetch";

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn the_agent_is_told_in_its_own_file() {
        let wish = Wish {
            mirrors: ["https://m:5000", "http://[fd00::7]"].map(|url| url.parse().expect("a mirror")).to_vec(),
            anchors: Some("PEM\n".to_owned()),
            client: Some(crate::ClientPair { chain: "CHAIN\n".to_owned(), key: "KEY\n".to_owned() }),
            registries: vec!["ghcr.io".to_owned()],
            others: Others::Replace,
        };
        let digest: Sha256 = "ab".repeat(32).parse().expect("a digest");
        let files = files(&wish, &[Engine::Docker, Engine::BuildKit], &digest);
        let named = |path: &str| files.iter().find(|file| file.path == path).expect("a file");
        assert_snapshot!(named(SETTINGS).content.text, @r#"
        mirrors: ["https://m:5000", "http://[fd00::7]"]
        ca: "/etc/chandler/mirror-ca.pem"
        client: {certificate: "/etc/chandler/client.cert", key: "/etc/chandler/client.key"}
        engines: ["docker", "buildkit"]
        registries: ["ghcr.io"]
        others: replace
        "#);
        assert!(named(KEY).content.secret && named(KEY).mode == 0o600);
        let program = &named(PROGRAM).content.text;
        assert!(!program.contains('@'), "{program}");
        assert!(
            program.contains("for mirror in 'https://m:5000' 'http://[fd00::7]'; do")
                && program.contains("--max-time 60 --cacert /etc/chandler/mirror-ca.pem -o")
        );
    }
}
