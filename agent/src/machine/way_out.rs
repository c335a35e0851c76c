//! What `chandler undo` goes by: the record, the machine, and what was asked for. What the agent is told (`agent.yaml`) is no part of it: a file that nobody can read any more, or that names
//! other engines by now, keeps nothing from being brought back.

use std::path::PathBuf;

use super::look::{self, Machine};
use super::{MachineFailure, nothing};
use crate::apply::{Undo, Undoing, undo_plan};
use crate::cli::machine::{Back, EngineChoice, UndoArgs};
use crate::engines::Engine;
use crate::engines::podman::Asker;
use crate::host::Root;
use crate::record::{Held, Record};

/// Of one tree.
pub(super) struct WayOut {
    asker: Asker,
    root: Root,
    state: PathBuf,
    /// Engines that were named: found or not.
    named: Vec<Engine>,
    undo: Undo,
}

impl WayOut {
    /// As somebody asked for it.
    pub(super) fn of(args: &UndoArgs) -> Result<Self, MachineFailure> {
        let root = look::root(&args.machine.root)?;
        let named = match &args.machine.engine {
            Some(EngineChoice::Only(engines)) => engines.clone(),
            Some(EngineChoice::Found) | None => Vec::new(),
        };
        let engines = if named.is_empty() { Engine::RECORDED.to_vec() } else { named.clone() };
        let undo = Undo { engines, keep_edits: args.keep_edits, clean: args.to == Back::Clean };
        Ok(Self { named, undo, ..Self::of_tree(&root) })
    }

    /// All engines, each file as it was.
    pub(super) fn of_tree(root: &Root) -> Self {
        let asker = look::asker(root);
        let undo = Undo { engines: Engine::RECORDED.to_vec(), keep_edits: false, clean: false };
        Self { state: look::state(&asker), asker, root: root.clone(), named: Vec::new(), undo }
    }

    /// For who only looks.
    pub(super) fn read(&self) -> Result<Record, MachineFailure> {
        Ok(Record::read(&self.root, &self.state)?)
    }

    /// Nobody else changes the machine from here on; what is seen of it after this stays so.
    pub(super) fn hold(&self) -> Result<Held, MachineFailure> {
        Ok(Held::open(&self.root, &self.state)?)
    }

    /// The machine as it is now.
    pub(super) fn look(&self) -> Result<Machine, MachineFailure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MachineFailure::Runtime)?;
        let supposed = [self.named.as_slice(), &[Engine::System]].concat();
        Ok(runtime.block_on(Machine::look(&self.root, &self.asker, &nothing(), &supposed))?)
    }

    /// What is to be done.
    pub(super) fn plan(&self, record: &Record, machine: &Machine) -> Result<Undoing, MachineFailure> {
        Ok(undo_plan(record, machine, &self.undo)?)
    }
}

/// How a machine stands after it.
pub(super) fn note(record: &Record, had_steps: bool) -> Option<String> {
    let left: Vec<String> = record.engines().iter().map(ToString::to_string).collect();
    match left.as_slice() {
        [] if had_steps => None,
        [] => Some("nothing of chandler's is left on this machine's engines".to_owned()),
        left => Some(format!("what chandler wrote for {} is still there", left.join(", "))),
    }
}
