//! Why a step was not done.

use std::path::PathBuf;

use super::Fault;
use crate::engines::Engine;
use crate::host::HostError;
use crate::record::RecordError;

/// What went wrong, and how the machine stands.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody edited the file, and what is ours cannot be told from it.
    #[error("{} was edited since chandler changed it, and chandler's part cannot be taken out of it: {why}", path.display())]
    Edited {
        /// Which.
        path: PathBuf,
        /// What the editor says.
        why: String,
    },
    /// A file.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It was told, and works by something else.
    #[error("{engine} was told to reload, and reports {} where {} should be", listed(reported), listed(wanted))]
    NotTaken {
        /// Who.
        engine: Engine,
        /// The mirrors that it was to have.
        wanted: Vec<String>,
        /// Those that it has.
        reported: Vec<String>,
    },
    /// It took the mirrors, and would not speak with them.
    #[error("{engine} was told to reload, and does not report {} as insecure", listed(missing))]
    NotInsecure {
        /// Who.
        engine: Engine,
        /// The registries that it lacks.
        missing: Vec<String>,
    },
    /// An engine could not be asked or told.
    #[error("cannot {doing} {engine}")]
    Engine {
        /// Who.
        engine: Engine,
        /// `ask`, `reload`.
        doing: &'static str,
        /// Why.
        #[source]
        source: Fault,
    },
    /// A step failed; the engine's files are what they were before the run, and it works by them.
    #[error("{engine} is left as it was: its files are put back{}", if *reloaded { ", and it was reloaded with them" } else { "" })]
    PutBack {
        /// Who.
        engine: Engine,
        /// Whether it had been told of the new ones.
        reloaded: bool,
        /// What failed.
        #[source]
        source: Box<Self>,
    },
    /// A step failed, and so did putting back.
    #[error("{engine} is between two states, since it could not be put back either ({then})")]
    Stranded {
        /// Who.
        engine: Engine,
        /// What failed when it was put back.
        then: String,
        /// What failed first.
        #[source]
        source: Box<Self>,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ApplyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Edited { .. } => Some("mend the file, or bring back what chandler wrote, and run this again"),
            Self::Host(error) => error.hint(),
            Self::NotTaken { .. } | Self::NotInsecure { .. } => Some(
                "the engine's log says why it did not take its configuration; `chandler doctor` looks for what is known to keep it from that",
            ),
            Self::Engine { .. } => None,
            Self::PutBack { source, .. } => source.hint(),
            Self::Stranded { .. } => Some("run it again to complete it, or `chandler undo` to bring the originals back"),
            Self::Record(error) => error.hint(),
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no mirror".to_owned() } else { names.join(", ") }
}
