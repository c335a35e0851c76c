//! What may be written behind `chandler plan`, `apply`, `verify`, `undo` and `doctor`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::engines::image::Image;
use crate::engines::{Engine, MirrorUrl, Others};
use crate::trust::CaChoice;

/// What is looked at and changed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Noun {
    /// This machine's container engines
    #[default]
    Engines,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    Apply(ApplyArgs),
    Doctor(DoctorArgs),
    Plan(PlanArgs),
    Undo(UndoArgs),
    Verify(VerifyArgs),
}

/// Which machine, and how it is told of.
#[derive(Args, Clone, Debug)]
pub(crate) struct MachineArgs {
    /// What: the container engines
    #[arg(value_enum, default_value_t, hide_default_value = true, hide_possible_values = true)]
    pub(crate) noun: Noun,
    /// The agent's configuration file [default: /etc/chandler/agent.yaml, where it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// These engines alone [default: auto, those that are found]
    #[arg(long, value_name = "auto|docker,podman,containerd,buildkit")]
    pub(crate) engine: Option<EngineChoice>,
    /// A tree that is no running machine: an image that is being built
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub(crate) root: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which mirror.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct WishArgs {
    /// A mirror's URL, scheme, host and port (repeatable, in the order in which they are asked)
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Vec<MirrorUrl>,
    /// The mirror that runs on this machine (`chandler install mirror --local`), by its own configuration
    #[arg(long, conflicts_with_all = ["mirror", "client_cert"])]
    pub(crate) local: bool,
    /// By what the mirror is known over HTTPS: a PEM file, or the SHA-256 of its CA, which is fetched from the mirror [default: the system's roots]
    #[arg(long, value_name = "FILE|sha256:HEX")]
    pub(crate) ca: Option<CaChoice>,
    /// A client's certificate for a mirror that asks for one (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// A registry beside Docker Hub that is pulled through the mirror, such as ghcr.io (repeatable)
    #[arg(long, value_name = "HOST")]
    pub(crate) registry: Vec<String>,
    /// What becomes of mirrors that are configured already [default: prepend, ours before them]
    #[arg(long, value_name = "prepend|replace")]
    pub(crate) mirrors: Option<OthersWord>,
    /// Have the whole system trust the mirror's CA (--ca), not the engines alone: curl, git and what else reads the system's store
    #[arg(long)]
    pub(crate) system_trust: bool,
    /// Only that: no mirror need be named
    #[arg(skip)]
    pub(crate) trust_alone: bool,
}

/// `chandler plan`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// End with 3 if anything would be changed
    #[arg(long)]
    pub(crate) check: bool,
}

/// `chandler apply`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Write files alone: for when the engine is about to start, or somebody else reloads it
    #[arg(long)]
    pub(crate) no_reload: bool,
    /// Change nothing while no mirror serves this machine [default: say so, and go on]
    #[arg(long, conflicts_with = "check")]
    pub(crate) require_mirror: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `chandler verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// Time also how long engines are held up by a mirror that is dead or hangs; each may take so long [default: 90]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "90", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) failover: Option<u64>,
    /// Time also this image, which is not on this machine yet: pull, remove, pull again, remove
    #[arg(long, value_name = "IMAGE")]
    pub(crate) time: Option<Image>,
}

/// `chandler doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) wish: WishArgs,
    /// This machine is none of the mirror's clients: see that it is kept out, and look at nothing else
    #[arg(long)]
    pub(crate) kept_out: bool,
}

/// `chandler undo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UndoArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// What the machine goes back to [default: original, each file as it was, to the byte]
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    pub(crate) to: Back,
    /// Of files that somebody edited since, only our own entries are taken out
    #[arg(long)]
    pub(crate) keep_edits: bool,
    /// Print what would be done, and end with 3 if that is anything
    #[arg(long)]
    pub(crate) check: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How far back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Back {
    /// As before the first `chandler apply`
    #[default]
    Original,
    /// Without any mirror, also without those that were there before
    Clean,
}

/// As `--mirrors` takes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum OthersWord {
    /// Ours before theirs
    Prepend,
    /// Ours alone
    Replace,
}

impl From<OthersWord> for Others {
    fn from(word: OthersWord) -> Self {
        match word {
            OthersWord::Prepend => Self::Keep,
            OthersWord::Replace => Self::Replace,
        }
    }
}

/// Which engines.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum EngineChoice {
    /// Those that are found.
    Found,
    /// These, found or not.
    Only(Vec<Engine>),
}

impl EngineChoice {
    /// Whether it is one of them.
    pub(crate) fn takes(&self, engine: Engine) -> bool {
        match self {
            Self::Found => true,
            Self::Only(engines) => engines.contains(&engine),
        }
    }
}

impl FromStr for EngineChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Found);
        }
        let one = |word: &str| {
            let found = Engine::RECORDED.into_iter().find(|engine| engine.word() == word.trim());
            found.ok_or_else(|| {
                format!("`{word}` is no engine: write auto, or of docker, podman, containerd and buildkit those that are meant")
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self::Only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Verify {
        #[command(flatten)]
        args: VerifyArgs,
    }

    #[test]
    fn a_time_for_falling_over_is_given_with_its_flag_or_not_at_all() {
        use clap::Parser as _;
        let failover =
            |words: &str| Verify::try_parse_from(words.split(' ')).map(|verify| verify.args.failover).map_err(|error| error.kind());
        assert_eq!(failover("verify"), Ok(None));
        assert_eq!(failover("verify --failover engines"), Ok(Some(90)));
        assert_eq!(failover("verify --failover=20"), Ok(Some(20)));
        for words in
            ["verify --failover 20", "verify --failover=0", "verify --failover=soon", "verify --time", "verify --time Not/An:Image:"]
        {
            assert!(failover(words).is_err(), "{words}");
        }
    }

    #[test]
    fn engines_are_named_or_found() {
        assert_eq!("auto".parse(), Ok(EngineChoice::Found));
        assert_eq!("docker, podman".parse(), Ok(EngineChoice::Only(vec![Engine::Docker, Engine::Podman])));
        for text in ["", "Docker", "auto,docker", "docker,"] {
            assert!(text.parse::<EngineChoice>().is_err(), "{text}");
        }
    }
}
