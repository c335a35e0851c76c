//! What undoing asks of engines' files, answered by whose file it is.

use std::path::Path;

use super::look::Machine;
use crate::apply::{Edit, Editor};
use crate::edit::{self, daemon};
use crate::engines::contents::Contents;
use crate::engines::docker::plan::reload_for;
use crate::engines::{Engine, Reload, docker};

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
}

impl Machine {
    fn others(&self) -> Contents<'_> {
        Contents { podman: &self.podman }
    }

    /// The one whose `daemon.json` it is.
    fn dockerd(&self, engine: Engine, path: &Path) -> Option<&docker::Facts> {
        self.docker.iter().find(|facts| engine == Engine::Docker && facts.is_ours_to_change && facts.config_file == path)
    }
}
