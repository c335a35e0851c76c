//! What is in Docker's files, as an undo sees them: which mirrors, which of them ours, and what is left without. Pure.
//!
//! `daemon.json` and `hosts.toml` name mirrors; certificates and keys do not: what somebody put in their place is theirs.

use std::path::Path;

use crate::apply::Edit;
use crate::edit::daemon::{self, Ours};
use crate::edit::{Misread, hosts, utf8};
use crate::engines::{MirrorUrl, Others};

/// A file that somebody edited, without what we put into it; `None`: nothing is left of it.
pub fn without_ours(edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String> {
    let Edit { path, now, original, ours, .. } = *edit;
    let added = |list: fn(&Path, &[u8]) -> Vec<String>| {
        let theirs = original.map(|bytes| list(path, bytes)).unwrap_or_default();
        ours.iter().flat_map(|bytes| list(path, bytes)).filter(|one| !theirs.contains(one)).collect::<Vec<String>>()
    };
    let mirrors = urls(&added(mirrors));
    let left = match form(path) {
        Form::Other => return Ok(Some(now.to_owned())),
        Form::Hosts => utf8(now).and_then(|text| hosts::without_ours(text, &mirrors)),
        Form::Daemon => utf8(now).and_then(|text| daemon::without_ours(text, &Ours { mirrors, insecure: added(insecure) })),
    };
    left.map(|left| kept(left, original.is_some())).map_err(|misread| told(path, &misread))
}

/// A file without any mirror; `None`: nothing is left of it.
pub fn without_mirrors(path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let left = match form(path) {
        Form::Other => return Ok(Some(bytes.to_owned())),
        Form::Hosts => utf8(bytes).and_then(|text| hosts::put_first(Some(text), HUB, &[], &urls(&mirrors(path, bytes)), Others::Replace)),
        Form::Daemon => utf8(bytes).and_then(daemon::clean),
    };
    left.map(|left| kept(left, true)).map_err(|misread| told(path, &misread))
}

/// The mirrors that a file names, as it spells them.
pub fn mirrors(path: &Path, bytes: &[u8]) -> Vec<String> {
    let Ok(text) = utf8(bytes) else { return Vec::new() };
    let found = match form(path) {
        Form::Other => Ok(Vec::new()),
        Form::Hosts => hosts::hosts(text),
        Form::Daemon => daemon::mirrors(text),
    };
    found.unwrap_or_default()
}

fn insecure(_: &Path, bytes: &[u8]) -> Vec<String> {
    utf8(bytes).and_then(daemon::insecure).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum Form {
    Daemon,
    Hosts,
    Other,
}

/// A certificate is known by its name; `daemon.json` may have any (`--config-file`).
fn form(path: &Path) -> Form {
    if path.file_name().is_some_and(|name| name == "hosts.toml") {
        return Form::Hosts;
    }
    let is_certificate = path.extension().is_some_and(|extension| ["crt", "cert", "key"].iter().any(|one| extension == *one));
    if is_certificate { Form::Other } else { Form::Daemon }
}

fn urls(mirrors: &[String]) -> Vec<MirrorUrl> {
    mirrors.iter().filter_map(|mirror| mirror.parse().ok()).collect()
}

fn told(path: &Path, misread: &Misread) -> String {
    format!("{}, {misread}", path.display())
}

/// A file that we made, and in which nobody has written anything, goes.
fn kept(left: String, was_there: bool) -> Option<Vec<u8>> {
    let is_empty = matches!(left.split_whitespace().collect::<String>().as_str(), "" | "{}");
    (was_there || !is_empty).then(|| left.into_bytes())
}

const HUB: &str = "docker.io";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::Engine;

    fn left(now: &str, original: Option<&str>, ours: &str) -> Option<String> {
        let (path, ours) = (Path::new("/etc/docker/daemon.json"), [ours.as_bytes()]);
        let edit = Edit { engine: Engine::Docker, path, now: now.as_bytes(), original: original.map(str::as_bytes), ours: &ours };
        without_ours(&edit).expect("understood").map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn of_an_edited_file_only_what_we_added_goes() {
        let ours = r#"{"registry-mirrors": ["http://m:5000", "http://theirs"]}"#;
        let original = r#"{"registry-mirrors": ["http://theirs"]}"#;
        let edited = r#"{"registry-mirrors": ["http://m:5000", "http://theirs"], "debug": true}"#;
        let without = left(edited, Some(original), ours).expect("something is left");
        assert!(without.contains("http://theirs") && without.contains("debug") && !without.contains("http://m:5000"), "{without}");
    }

    #[test]
    fn a_file_of_ours_goes_unless_somebody_wrote_into_it() {
        let ours = r#"{"registry-mirrors": ["http://m:5000"]}"#;
        assert_eq!(left("{\"registry-mirrors\": [\"http://m:5000\"]\n}\n", None, ours), None);
        assert!(left(r#"{"registry-mirrors": ["http://m:5000"], "debug": true}"#, None, ours).expect("it is theirs too").contains("debug"));
    }
}
