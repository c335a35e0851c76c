//! What is in the files of Podman, containerd and `BuildKit`, as an undo sees them: which mirrors, which of them ours, and what is left without. Pure.
//!
//! Which form a file has is known by its engine and its name. Certificates and keys name no mirror: what somebody put in their place is theirs.

use std::path::Path;

use crate::apply::{Edit, Editor};
use crate::edit::{buildkitd, hosts, k3s, registries, utf8};
use crate::engines::MirrorUrl;
use crate::engines::plan::Reload;
use crate::engines::podman::{self, drop_in};
use crate::engines::{Engine, Others};

/// The editor of these engines' files, with what was seen of Podman: of these engines it alone keeps what it has read, and reads again when it is told.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// As the machine is before anything is undone.
    pub podman: &'a podman::Facts,
}

impl Editor for Contents<'_> {
    fn without_ours(&self, edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String> {
        without_ours(edit)
    }

    fn without_mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        without_mirrors(engine, path, bytes)
    }

    fn mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Vec<String> {
        mirrors(engine, path, bytes)
    }

    fn emptied(&self, _: Engine, _: &Path, _: Option<&[u8]>) -> Option<Vec<u8>> {
        None // What these no longer find, they no longer have.
    }

    fn reload(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Option<Reload> {
        self.reloads(engine, path, bytes).into_iter().next()
    }

    fn reloads(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Vec<Reload> {
        if form(engine, path) == Form::Registries { podman::reloads(self.podman, path, bytes) } else { Vec::new() }
    }
}

/// The form of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Podman's `registries.conf`, and our drop-in.
    Registries,
    /// containerd's `hosts.toml`.
    Hosts,
    /// k3s's and RKE2's `registries.yaml`.
    Kubernetes,
    /// `buildkitd.toml`.
    BuildKit,
    /// None that names mirrors.
    Other,
}

/// A file that somebody edited, without what we put into it; `None`: nothing is left of it.
pub fn without_ours(edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String> {
    let Edit { engine, path, now, original, ours } = *edit;
    let theirs = original.map(|bytes| mirrors(engine, path, bytes)).unwrap_or_default();
    let written: Vec<&str> = ours.iter().filter_map(|bytes| utf8(bytes).ok()).collect();
    let ours = ours.iter().flat_map(|bytes| mirrors(engine, path, bytes)).filter(|mirror| !theirs.contains(mirror));
    let ours: Vec<MirrorUrl> = ours.filter_map(|mirror| url(&mirror)).collect();
    let text = text(path, now)?;
    let left = match form(engine, path) {
        // Nobody's file but our own is changed for Podman.
        Form::Registries => {
            let left = drop_in::without_ours(text, &written).map_err(|misread| format!("{}, {misread}", path.display()))?;
            return Ok(left.map(String::into_bytes));
        }
        Form::Other => Ok(text.to_owned()),
        Form::Hosts => hosts::without_ours(text, &ours),
        Form::Kubernetes => k3s::without_ours(text, &ours),
        Form::BuildKit => buildkitd::without_ours(text, &ours),
    };
    left.map(|left| kept(left, original.is_some())).map_err(|misread| format!("{}, {misread}", path.display()))
}

/// A file without any mirror; `None`: nothing is left of it.
pub fn without_mirrors(engine: Engine, path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if matches!(form(engine, path), Form::Registries) && drop_in::is_ours(bytes) {
        return Ok(None);
    }
    let text = text(path, bytes)?;
    let all: Vec<MirrorUrl> = mirrors(engine, path, bytes).iter().filter_map(|mirror| url(mirror)).collect();
    let left = match form(engine, path) {
        Form::Registries => {
            let left = drop_in::without_mirrors(text).map_err(|misread| format!("{}, {misread}", path.display()))?;
            return Ok(left.map(String::into_bytes));
        }
        Form::Other => Ok(text.to_owned()),
        Form::Hosts => hosts::put_first(Some(text), HUB, &[], &all, Others::Replace),
        Form::Kubernetes => k3s::put_behind(Some(text), &[], &[], &all, Others::Replace),
        Form::BuildKit => buildkitd::without_ours(text, &all),
    };
    left.map(|left| kept(left, true)).map_err(|misread| format!("{}, {misread}", path.display()))
}

/// The mirrors that a file names for Docker Hub, as it spells them; of a `hosts.toml`, those of its registry.
pub fn mirrors(engine: Engine, path: &Path, bytes: &[u8]) -> Vec<String> {
    let Ok(text) = utf8(bytes) else { return Vec::new() };
    let found = match form(engine, path) {
        Form::Other => Ok(Vec::new()),
        Form::Hosts => hosts::hosts(text),
        Form::Kubernetes => k3s::endpoints(text, HUB),
        Form::BuildKit => buildkitd::mirrors(text, HUB),
        Form::Registries => registries::entries(text).map(|entries| {
            let hub = entries.into_iter().find(|entry| entry.prefix == HUB);
            hub.into_iter().flat_map(|entry| entry.mirrors).map(|mirror| mirror.location).collect()
        }),
    };
    found.unwrap_or_default()
}

fn form(engine: Engine, path: &Path) -> Form {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match engine {
        Engine::Podman if path.extension().is_some_and(|extension| extension == "conf") => Form::Registries,
        Engine::Containerd if name == "hosts.toml" => Form::Hosts,
        Engine::Containerd if name == "registries.yaml" => Form::Kubernetes,
        Engine::BuildKit if path.extension().is_some_and(|extension| extension == "toml") => Form::BuildKit,
        _ => Form::Other,
    }
}

/// Some files name a mirror without its scheme, which makes no difference to what is cut out of them.
fn url(mirror: &str) -> Option<MirrorUrl> {
    mirror.parse().ok().or_else(|| format!("https://{mirror}").parse().ok())
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, String> {
    utf8(bytes).map_err(|misread| format!("{}, {misread}", path.display()))
}

/// A file that we made, and of which only white space is left, goes.
fn kept(left: String, was_there: bool) -> Option<Vec<u8>> {
    (was_there || !left.trim().is_empty()).then(|| left.into_bytes())
}

const HUB: &str = "docker.io";

#[cfg(test)]
mod tests {
    use super::*;

    const DROP_IN: &str = "/etc/containers/registries.conf.d/50-chandler-mirror.conf";
    const HOSTS: &str = "/etc/containerd/certs.d/docker.io/hosts.toml";
    const YAML: &str = "/etc/rancher/k3s/registries.yaml";
    const BUILDKITD: &str = "/etc/buildkit/buildkitd.toml";

    /// What is left of a file that holds `now`, where we wrote `ours` over `original`.
    fn left(engine: Engine, path: &str, now: &str, original: Option<&str>, ours: &str) -> Result<Option<String>, String> {
        let ours = [ours.as_bytes()];
        let original = original.map(str::as_bytes);
        let left = without_ours(&Edit { engine, path: Path::new(path), now: now.as_bytes(), original, ours: &ours })?;
        Ok(left.map(|bytes| String::from_utf8(bytes).expect("text")))
    }

    #[test]
    fn of_an_edited_file_only_what_is_ours_goes() {
        let hosts = |mirrors: &[&str]| mirrors.iter().fold(String::new(), |text, url| text + "[host.\"" + url + "\"]\n");
        let (original, ours) = (hosts(&["https://theirs"]), hosts(&["http://ours:5000", "https://theirs"]));
        let now = format!("{ours}{}", hosts(&["https://new"]));
        let kept = left(Engine::Containerd, HOSTS, &now, Some(&original), &ours).expect("it can be read").expect("it stays");
        assert_eq!(hosts::hosts(&kept).expect("valid"), ["https://theirs", "https://new"]);

        let toml = "[registry.\"docker.io\"]\nmirrors = [\"ours:5000\"]\n";
        let now = format!("debug = true\n{toml}");
        assert_eq!(left(Engine::BuildKit, BUILDKITD, &now, Some(""), toml).expect("it can be read").as_deref(), Some("debug = true\n"));

        let yaml = "mirrors:\n  docker.io:\n    endpoint:\n      - \"http://ours:5000\"\n";
        let now = format!("{yaml}      - \"https://new\"\n");
        let kept = left(Engine::Containerd, YAML, &now, None, yaml).expect("it can be read").expect("it stays");
        assert_eq!(k3s::endpoints(&kept, "docker.io").expect("valid"), ["https://new"]);
    }

    #[test]
    fn of_our_own_drop_in_with_somebodys_lines_in_it_those_are_left() {
        let ours = "# Written by `chandler apply`\n[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"m\"\n";
        let now = format!("{ours}[[registry]]\nlocation = \"quay.io\"\nblocked = true\n");
        let kept = left(Engine::Podman, DROP_IN, &now, None, ours).expect("it can be read").expect("something is left");
        assert_eq!(kept, "[[registry]]\nlocation = \"quay.io\"\nblocked = true\n");
        assert_eq!(left(Engine::Podman, DROP_IN, ours, None, ours), Ok(None));
        let error = left(Engine::Podman, DROP_IN, &format!("{ours}x ="), None, ours).expect_err("whose are they?");
        assert!(error.starts_with(DROP_IN), "{error}");
        assert_eq!(without_mirrors(Engine::Podman, Path::new(DROP_IN), ours.as_bytes()), Ok(None));
        assert_eq!(without_mirrors(Engine::Podman, Path::new(DROP_IN), kept.as_bytes()), Ok(Some(kept.into_bytes())));
    }

    #[test]
    fn a_certificate_that_somebody_put_there_stays() {
        let path = "/etc/containers/certs.d/m/ca.crt";
        assert_eq!(left(Engine::Podman, path, "theirs", None, "ours"), Ok(Some("theirs".to_owned())));
        assert_eq!(mirrors(Engine::Podman, Path::new(path), b"x"), [""; 0]);
    }

    #[test]
    fn a_file_without_any_mirror_says_the_rest_still() {
        let text = "server = \"https://registry-1.docker.io\"\n\n[host.\"http://a\"]\n[host.\"https://b/path\"]\n";
        let left = without_mirrors(Engine::Containerd, Path::new(HOSTS), text.as_bytes()).expect("it can be read").expect("it stays");
        assert_eq!(String::from_utf8_lossy(&left).trim(), "server = \"https://registry-1.docker.io\"");
        let text = "debug = true\n[registry.\"docker.io\"]\nmirrors = [\"a\", \"b:5000\"]\n";
        let left = without_mirrors(Engine::BuildKit, Path::new(BUILDKITD), text.as_bytes()).expect("it can be read").expect("it stays");
        assert_eq!(String::from_utf8_lossy(&left), "debug = true\n");
        let text = "mirrors:\n  docker.io:\n    endpoint:\n      - \"http://a\"\nconfigs: {}\n";
        let left = without_mirrors(Engine::Containerd, Path::new(YAML), text.as_bytes()).expect("it can be read").expect("it stays");
        assert_eq!(mirrors(Engine::Containerd, Path::new(YAML), &left), [""; 0]);
    }
}
