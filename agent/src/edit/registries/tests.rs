use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::edit::toml::tests::document;
use crate::engines::{MirrorUrl, Others};

fn urls(urls: &[&str]) -> Vec<MirrorUrl> {
    urls.iter().map(|url| url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn refused(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

const THEIRS: &str = r#"
unqualified-search-registries = ["docker.io"]

[[registry]]
prefix = "docker.io"
location = "hub.corp/proxy/"
blocked = false
mirror-by-digest-only = true

[[registry.mirror]]
location = "site.corp:5000"
insecure = true

[[registry]]
location = "internal.corp"
insecure = true
mirror = [{ location = "m.corp", pull-from-mirror = "tag-only" }]
"#;

#[test]
fn a_drop_in_is_made_for_each_registry() {
    let text = render(&names(&["docker.io", "ghcr.io"]), &urls(&["http://10.0.0.7:5000", "https://mirror.example"]), &[], Others::Keep)
        .expect("made");
    insta::assert_snapshot!(text, @r#"
    # Written by `chandler apply`, taken away by `chandler undo`. An entry here replaces those with the same prefix
    # in files that are read before it; what they said is taken over below.

    [[registry]]
    prefix = "docker.io"
    location = "docker.io"

    [[registry.mirror]]
    location = "10.0.0.7:5000/docker.io"
    insecure = true

    [[registry.mirror]]
    location = "mirror.example/docker.io"

    [[registry]]
    prefix = "ghcr.io"
    location = "ghcr.io"

    [[registry.mirror]]
    location = "10.0.0.7:5000/ghcr.io"
    insecure = true

    [[registry.mirror]]
    location = "mirror.example/ghcr.io"
    "#);
}

#[test]
fn what_an_earlier_file_says_of_a_prefix_is_taken_over() {
    let theirs = entries(THEIRS).expect("valid");
    let text = render(&names(&["docker.io"]), &urls(&["https://mirror.example"]), &theirs, Others::Keep).expect("made");
    insta::assert_snapshot!(text.lines().skip(3).collect::<Vec<_>>().join("\n"), @r#"
    [[registry]]
    prefix = "docker.io"
    location = "hub.corp/proxy"

    [[registry.mirror]]
    location = "mirror.example/docker.io"

    [[registry.mirror]]
    location = "site.corp:5000"
    insecure = true
    pull-from-mirror = "digest-only"
    "#);
    let alone = render(&names(&["docker.io"]), &urls(&["https://mirror.example"]), &theirs, Others::Replace).expect("made");
    assert_eq!(entries(&alone).expect("valid")[0].mirrors.len(), 1);
}

#[test]
fn what_would_fail_every_pull_is_refused() {
    let refused =
        |registry: &str, mirror: &str| render(&names(&[registry]), &urls(&[mirror]), &[], Others::Keep).expect_err(registry).to_string();
    insta::assert_snapshot!(refused("registry.corp:5000", "https://m"), @"registry.corp:5000 cannot be a part of a mirror's path for Podman, so that every pull would fail; name the mirror's upstream in small letters, digits, dots and dashes, without a port");
    insta::assert_snapshot!(refused("docker.io", "http://[fd00::7]:5000"), @"http://[fd00::7]:5000 is an IPv6 address, of which Podman cannot make an image's name, so that every pull would fail; give the mirror a name");
    for registry in ["Docker.io", "", "a//b", "-a", "a..b", "*.corp", "a b"] {
        assert!(render(&names(&[registry]), &urls(&["https://m"]), &[], Others::Keep).is_err(), "{registry}");
    }
    assert!(render(&names(&["docker.io/library", "a-b.c_d.io"]), &urls(&["https://m"]), &[], Others::Keep).is_ok());
}

#[test]
fn entries_are_read_as_podman_reads_them() {
    let read = entries(THEIRS).expect("valid");
    assert_eq!((read[0].prefix.as_str(), read[0].location.as_str(), read[0].line), ("docker.io", "hub.corp/proxy", 4));
    assert_eq!((read[1].prefix.as_str(), read[1].insecure, read[1].line), ("internal.corp", true, 14));
    assert_eq!(read[1].mirrors, [Mirror { location: "m.corp".into(), insecure: false, pull_from: Some("tag-only".into()) }]);
    assert_eq!(entries("").expect("valid"), []);
}

#[test]
fn the_old_form_is_known_as_such() {
    let old = "[registries.search]\nregistries = ['docker.io']\n\n[registries.insecure]\nregistries = []\n";
    assert_eq!(read(old).expect("valid"), File { registries: Vec::new(), v1: Some((1, 1)) });
    insta::assert_snapshot!(refused(&format!("[[registry]]\nlocation = \"a\"\n\n{old}")), @"line 4, column 1: the old form ([registries.…]) and the new one ([[registry]]) in one file: Podman refuses both together");
}

#[test]
fn what_podman_would_refuse_is_refused_with_its_place() {
    insta::assert_snapshot!(refused("[[registry]]\nprefix = \"docker.io\"\n"), @"line 1, column 1: a [[registry]] without `location`, which Podman refuses");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"https://m\"\n"), @"line 2, column 12: `location` with a scheme, which Podman refuses; write host[:port][/path], and insecure = true for http");
    insta::assert_snapshot!(refused("[registry]\nlocation = \"m\"\n"), @"line 1, column 1: this must be a list of tables: write [[registry]]");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"m\"\ninsecure = \"yes\"\n"), @"line 3, column 12: `insecure` must be true or false");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"m\"\npull-from-mirror = \"all\"\n"), @"line 3, column 20: `pull-from-mirror` belongs to a [[registry.mirror]], and Podman refuses it here");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"m\"\n[[registry.mirror]]\ninsecure = true\n"), @"line 3, column 1: a [[registry.mirror]] without `location`, which Podman refuses");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"m\"\n[[registry.mirror]]\nlocation = \"n\"\npull-from-mirror = \"some\"\n"), @"line 3, column 1: `pull-from-mirror` must be all, digest-only or tag-only");
    insta::assert_snapshot!(refused("[[registry]]\nlocation = \"m\n"), @r#"line 2, column 14: not TOML: invalid basic string, expected `"`"#);
}

#[test]
fn the_last_entry_for_a_prefix_counts_and_conflicts_are_found() {
    let (main, early, late) = (
        "/etc/containers/registries.conf",
        "/etc/containers/registries.conf.d/10-corp.conf",
        "/etc/containers/registries.conf.d/99-late.conf",
    );
    let one = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"one\"\n";
    let two = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"x\"\n\n[[registry]]\nlocation = \"docker.io/corp\"\n";
    let files = [(main, one), (early, two), (late, one)];
    let force = in_force(&files[..2]).expect("valid");
    assert_eq!(
        force.iter().map(|(file, it)| (file.as_str(), it.location.as_str())).collect::<Vec<_>>(),
        [(early, "x"), (early, "docker.io/corp")]
    );
    let found = conflicts(&files, DROP_IN, &names(&["docker.io"])).expect("valid");
    let shown: Vec<_> = found.iter().map(|it| (it.file.as_str(), it.registry.line, it.kind)).collect();
    assert_eq!(shown, [(main, 1, Kind::Replaced), (early, 1, Kind::Replaced), (early, 5, Kind::Narrower), (late, 1, Kind::Replaces)]);
    let broken = in_force(&[(main, one), (late, "[[registry]\n")]).expect_err("broken");
    assert_eq!(broken.0, late);
}

/// A file as somebody may have it.
pub(crate) fn some_document() -> impl Strategy<Value = String> {
    (prop::collection::vec(entry(), 0..4), any::<bool>()).prop_map(|(registries, crlf)| written(&registries, crlf))
}

fn entry() -> impl Strategy<Value = Registry> {
    let mirror = ("[a-c]\\.corp(:50)?(/p)?", any::<bool>(), prop::option::of(prop::sample::select(vec!["all", "digest-only", "tag-only"])))
        .prop_map(|(location, insecure, pull_from)| Mirror { location, insecure, pull_from: pull_from.map(str::to_owned) });
    ("(docker\\.io|\\*\\.corp|x\\.io)", "[a-z]{1,4}\\.io(/p)?", any::<[bool; 3]>(), prop::collection::vec(mirror, 0..3)).prop_map(
        |(prefix, location, [insecure, blocked, by_digest_only], mut mirrors)| {
            if by_digest_only {
                for mirror in &mut mirrors {
                    mirror.pull_from = None;
                }
            }
            Registry { prefix, location, insecure, blocked, by_digest_only, mirrors, line: 0, column: 0 }
        },
    )
}

/// With spaces, quotes and comments wherever they may be.
fn written(registries: &[Registry], crlf: bool) -> String {
    let mut text = String::new();
    for one in registries {
        let _ =
            write!(text, "[[ registry ]] # one\n  blocked={}\n\tlocation = '{}'\nprefix=\"{}\"\n", one.blocked, one.location, one.prefix);
        let _ = write!(text, "\"insecure\" = {}\nmirror-by-digest-only = {}\nunknown = {{ a = 1 }}\n", one.insecure, one.by_digest_only);
        for mirror in &one.mirrors {
            let _ = write!(text, "\n[[registry.mirror]]\ninsecure={}\n'location' = \"{}\"\n", mirror.insecure, mirror.location);
            if let Some(word) = &mirror.pull_from {
                let _ = writeln!(text, "pull-from-mirror = '''{word}'''");
            }
        }
    }
    if crlf { text.replace('\n', "\r\n") } else { text }
}

proptest! {
    #[test]
    fn what_is_rendered_reads_as_ours_and_then_theirs(theirs in prop::collection::vec(entry(), 0..3)) {
        let text = render(&names(&["docker.io"]), &urls(&["http://mine:5000", "https://two"]), &theirs, Others::Keep).expect("valid");
        let read = entries(&text).expect("valid");
        prop_assert_eq!(read.len(), 1);
        let mirrors: Vec<&str> = read[0].mirrors.iter().map(|mirror| mirror.location.as_str()).collect();
        prop_assert_eq!(&mirrors[..2], ["mine:5000/docker.io", "two/docker.io"]);
        prop_assert!(read[0].mirrors[0].insecure && !read[0].mirrors[1].insecure);
        if let Some(base) = theirs.iter().find(|registry| registry.prefix == "docker.io") {
            prop_assert_eq!((&read[0].location, read[0].insecure, read[0].blocked), (&base.location, base.insecure, base.blocked));
            for (now, then) in read[0].mirrors[2..].iter().zip(&base.mirrors) {
                let only = if base.by_digest_only { Some("digest-only".to_owned()) } else { then.pull_from.clone() };
                prop_assert_eq!(now, &Mirror { pull_from: only, ..then.clone() });
            }
            // The entry taken over again, as by a second apply that reads the same files, is the same text.
            prop_assert_eq!(render(&names(&["docker.io"]), &urls(&["http://mine:5000", "https://two"]), &theirs, Others::Keep).expect("valid"), text);
        }
    }

    #[test]
    fn what_is_read_is_what_the_text_says(registries in prop::collection::vec(entry(), 0..4), crlf in any::<bool>()) {
        let text = written(&registries, crlf);
        let read: Vec<Registry> = entries(&text).expect("valid").into_iter().map(|it| Registry { line: 0, column: 0, ..it }).collect();
        prop_assert_eq!(read, registries);
    }

    #[test]
    fn no_text_makes_it_panic(text in document(vec!["[[registry]]\nlocation = 'a'\n".into(), "[[registry.mirror]]\n".into(), "[registries.search]\n".into()]), noise in "(\\[\\[registry|\\]|\"a\"|\n|=|location|mirror|\\{|\\}|\\[){0,16}") {
        let _ = (read(&text), read(&noise));
    }
}
