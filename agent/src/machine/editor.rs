//! What undoing asks of engines' files, answered by whose file it is.

use std::path::{Path, PathBuf};

use super::look::Machine;
use crate::apply::{Detour, Edit, Editor};
use crate::edit::{self, daemon};
use crate::engines::contents::Contents;
use crate::engines::docker::facts::Api;
use crate::engines::docker::plan::reload_for;
use crate::engines::files::Files;
use crate::engines::{Engine, Finding, Rebuild, Reload, Weight, containerd, docker, podman, system_store};

impl Editor for Machine {
    fn without_ours(&self, edit: &Edit<'_>) -> Result<Option<Vec<u8>>, String> {
        if edit.engine == Engine::Docker { docker::contents::without_ours(edit) } else { self.others().without_ours(edit) }
    }

    fn without_mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if engine == Engine::Docker {
            docker::contents::without_mirrors(path, bytes)
        } else {
            self.others().without_mirrors(engine, path, bytes)
        }
    }

    fn mirrors(&self, engine: Engine, path: &Path, bytes: &[u8]) -> Vec<String> {
        if engine == Engine::Docker { docker::contents::mirrors(path, bytes) } else { self.others().mirrors(engine, path, bytes) }
    }

    /// Only dockerd keeps what it no longer finds.
    fn emptied(&self, engine: Engine, path: &Path, last: Option<&[u8]>) -> Option<Vec<u8>> {
        self.dockerd(engine, path)?;
        let text = last.map(edit::utf8).transpose().ok()?.filter(|text| !text.trim().is_empty());
        daemon::emptied(text).ok().map(String::into_bytes)
    }

    fn reload(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Option<Reload> {
        if engine != Engine::Docker {
            return self.others().reload(engine, path, bytes);
        }
        let facts = self.dockerd(engine, path)?;
        let text = bytes.map(edit::utf8).transpose().ok()??;
        reload_for(facts, text, &[]).ok()?
    }

    fn reloads(&self, engine: Engine, path: &Path, bytes: Option<&[u8]>) -> Vec<Reload> {
        match engine {
            Engine::Docker => self.reload(engine, path, bytes).into_iter().collect(),
            _ => self.others().reloads(engine, path, bytes),
        }
    }

    /// A dockerd whose mirrors stay is not told for their sake; but it would keep our insecure registries. It is sure to have let go of them when it reports that it has no mirrors.
    fn detour(&self, engine: Engine, path: &Path, ours: &[&[u8]], last: Option<&[u8]>) -> Option<Detour> {
        let facts = self.dockerd(engine, path)?;
        let (report, text) = (facts.report()?, edit::utf8(last?).ok()?);
        let named = |text: &str| daemon::insecure(text).unwrap_or_default().iter().map(|entry| bare(entry)).collect::<Vec<_>>();
        let stay = named(text);
        let mut ours = ours.iter().filter_map(|bytes| edit::utf8(bytes).ok()).flat_map(named);
        let is_kept = ours.any(|entry| !stay.contains(&entry) && report.insecure.iter().any(|has| bare(has) == entry));
        let text = daemon::clean(text).and_then(|text| daemon::emptied(Some(&text))).ok().filter(|_| is_kept)?;
        let there = reload_for(facts, &text, &[]).ok()??;
        let back = Reload { mirrors: report.mirrors.clone(), ..there.clone() };
        Some(Detour { bytes: text.into_bytes(), there, back })
    }

    fn restart(&self, engine: Engine, path: &Path) -> Option<Finding> {
        let (what, mend) = match engine {
            Engine::Docker => return dockerds_restart(self.dockerd(engine, path)?),
            Engine::Podman | Engine::System => return None, // What runs on is told; what runs the tool makes.
            Engine::Containerd => {
                let one = self.containerd.distributions.iter().find(|one| one.runs && one.file() == path)?;
                let what =
                    format!("{}: {} reads it when it starts: pods are pulled through the mirror until then", path.display(), one.name);
                (what, format!("drain the node if jobs mind, then `systemctl restart {}`", one.unit))
            }
            Engine::BuildKit => {
                let daemon = self.buildkit.daemons.iter().find(|daemon| daemon.pid.is_some() && daemon.config == path)?;
                let until = if daemon.is_behind {
                    ", and has not read what chandler last wrote: builds go on by what it read before, until then"
                } else {
                    ": builds pull through the mirror until then"
                };
                let what = format!("{}: buildkitd reads it when it starts{until}", path.display());
                (what, "when no build runs, restart it: `systemctl restart buildkit`, or however it was started".to_owned())
            }
        };
        Some(waits(engine, what, mend))
    }

    fn rebuild(&self, engine: Engine, has_changed: bool, ours: &[&[u8]]) -> Option<Rebuild> {
        if engine == Engine::System { system_store::rebuilt_without(&self.system, has_changed, ours) } else { None }
    }

    /// Of `hosts.toml`, Docker Hub's: in others' folders it says how a registry itself is reached.
    fn files(&self, engine: Engine) -> Vec<(PathBuf, Vec<u8>)> {
        match engine {
            Engine::Docker => self.docker.iter().filter(|facts| facts.is_ours_to_change).flat_map(dockerds_files).collect(),
            Engine::Podman => self.podmans_files(),
            Engine::Containerd => {
                let folders = self.containerd.daemon.iter().flat_map(containerd::look::Daemon::folders);
                let hosts = folders.map(|folder| folder.join(HUB_HOSTS));
                let paths = hosts.chain(self.containerd.distributions.iter().map(containerd::kubernetes::Distribution::file));
                held(&self.containerd.files, paths)
            }
            Engine::System => Vec::new(),
            Engine::BuildKit => held(&self.buildkit.files, self.buildkit.daemons.iter().map(|daemon| daemon.config.clone())),
        }
    }
}

/// Where it cannot be told: it does not answer, or what is inside of it keeps what it had.
fn dockerds_restart(facts: &docker::Facts) -> Option<Finding> {
    let running = facts.running.as_ref()?;
    let mend = "restart Docker when the machine is drained: without live-restore that ends containers".to_owned();
    Some(match &running.answer {
        Err(why) => {
            let what = format!(
                "{}: dockerd (process {}) cannot be told ({why}), and works by what it has read until it is started again",
                facts.config_file.display(),
                running.pid
            );
            waits(Engine::Docker, what, mend)
        }
        Ok(answer) if answer.report.api < Api::READS_HOSTS => {
            let what = format!(
                "{} speaks API {}: the BuildKit inside of it may keep the mirrors that it had when Docker started; pulls and classic builds let go of them at once",
                facts.owner, answer.report.api
            );
            waits(Engine::Docker, what, format!("for builds with BuildKit: {mend}"))
        }
        Ok(_) => {
            let what = format!(
                "{}: BuildKit remembers where it asked for a base image until nobody built on it for a quarter of an hour, and asks there so long; pulls, and builds on other images, let go of the mirror at once",
                facts.owner
            );
            let mend = "none is needed while the mirror is there; a restart of Docker, when the machine is drained, ends it".to_owned();
            Finding { weight: Weight::Warns, ..waits(Engine::Docker, what, mend) }
        }
    })
}

fn waits(engine: Engine, what: String, mend: String) -> Finding {
    Finding { engine: Some(engine), weight: Weight::Restart, what, mend }
}

fn dockerds_files(facts: &docker::Facts) -> Vec<(PathBuf, Vec<u8>)> {
    let hosts = facts.certs_d.join(HUB_HOSTS);
    let config = facts.daemon_json.as_ref().map(|contents| (facts.config_file.clone(), contents.0.clone()));
    let hosts = facts.trusted(&hosts).map(|bytes| (hosts.clone(), bytes.to_owned()));
    config.into_iter().chain(hosts).collect()
}

fn held(files: &Files, paths: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, Vec<u8>)> {
    paths.filter_map(|path| Some((path.clone(), files.get(&path)?.to_owned()))).collect()
}

/// An insecure registry as dockerd reports it.
fn bare(entry: &str) -> String {
    let entry = entry.to_ascii_lowercase();
    let host = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://")).unwrap_or(&entry);
    host.trim_end_matches('/').to_owned()
}

const HUB_HOSTS: &str = "docker.io/hosts.toml";

impl Machine {
    fn others(&self) -> Contents<'_> {
        Contents { podman: &self.podman }
    }

    /// Those for everybody and for the one who asks.
    fn podmans_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let places: Vec<&podman::look::Place> = self.podman.system.iter().chain(&self.podman.own).collect();
        let is_in = |path: &Path, place: &podman::look::Place| {
            let folder = path.parent();
            let is_drop_in = folder == Some(&*place.folder) || place.more.iter().any(|more| folder == Some(more));
            path == place.main || (is_drop_in && path.extension().is_some_and(|extension| extension == "conf"))
        };
        let files = self.podman.files.iter().filter(|(path, _)| places.iter().any(|place| is_in(path, place)));
        files.map(|(path, bytes)| (path.to_owned(), bytes.to_owned())).collect()
    }

    /// The one whose `daemon.json` it is.
    fn dockerd(&self, engine: Engine, path: &Path) -> Option<&docker::Facts> {
        self.docker.iter().find(|facts| engine == Engine::Docker && facts.is_ours_to_change && facts.config_file == path)
    }
}
