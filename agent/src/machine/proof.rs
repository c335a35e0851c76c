//! Whether engines really pull through the mirror: each pulls an image that only the mirror can make, and the mirror is asked who came for it.

use std::fmt::Write as _;
use std::time::Duration;
use std::{env, fs, io};

use serde_json::{Value, json};

use super::MachineFailure;
use super::look::Machine;
use crate::engines::canary::{Nonce, Testimony, Verdict, Witness, WitnessError, judge};
use crate::engines::program::Proof as Tried;
use crate::engines::{Engine, MirrorUrl, Wish, buildkit, containerd, docker, podman};
use crate::report::plain;
use crate::terminal::Progress;

/// Why nothing is proved or disproved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    #[error("a proof needs a random number, and a folder for a build")]
    System(#[from] io::Error),
    #[error(transparent)]
    Witness(#[from] WitnessError),
}

/// One engine's.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) outcome: Outcome,
    /// `Docker`, `alice's rootless Docker`.
    pub(super) whose: String,
}

/// What it came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It pulls through these, the one with most of it first.
    Proved(Vec<MirrorUrl>),
    /// It does not, or not through one of ours: what it said, what the mirrors said.
    Disproved { mirrors: Vec<Testimony>, said: String },
    /// The mirror on this machine gets nothing from the site's.
    Unchained { said: String, site: Vec<MirrorUrl> },
    /// It could not be tried, for this reason.
    Untried(String),
}

impl Proof {
    /// Of an engine that cannot be tried.
    pub(super) fn untried(engine: Engine, why: &str) -> Self {
        Self { outcome: Outcome::Untried(why.to_owned()), whose: engine.to_string() }
    }

    /// Nothing speaks against it.
    fn holds(&self) -> bool {
        !matches!(self.outcome, Outcome::Disproved { .. } | Outcome::Unchained { .. })
    }

    /// An engine's, and it does not use the mirror.
    fn is_disproved(&self) -> bool {
        matches!(self.outcome, Outcome::Disproved { .. })
    }

    fn is_proved(&self) -> bool {
        matches!(self.outcome, Outcome::Proved(_))
    }
}

/// One after another, each engine of these that can be tried.
pub(super) async fn of(machine: &Machine, engines: &[Engine], wish: &Wish, progress: &mut Progress) -> Result<Vec<Proof>, ProofError> {
    let witness = Witness::new(wish)?;
    let mut proofs = Vec::new();
    for engine in engines {
        progress.say(&format!("{engine} pulls an image that only the mirror can make (at most {} s)", PATIENCE.as_secs()));
        let whose = || engine.to_string();
        match engine {
            Engine::Docker => {
                for facts in &machine.docker {
                    proofs.push(Proof { outcome: of_docker(facts, &witness).await, whose: facts.owner.to_string() });
                }
            }
            Engine::Podman => proofs.push(Proof { outcome: of_podman(&machine.podman, &witness).await?, whose: whose() }),
            Engine::Containerd => {
                for (whose, nonce, tried) in containerd::verify::prove(&machine.containerd, Nonce::new, PATIENCE).await? {
                    proofs.push(Proof { outcome: heard(tried, &nonce, &witness).await, whose });
                }
            }
            Engine::System => {}
            Engine::BuildKit => {
                for daemon in &machine.buildkit.daemons {
                    proofs.push(Proof { outcome: of_buildkit(daemon, &witness).await?, whose: whose() });
                }
            }
        }
    }
    Ok(proofs)
}

/// Whether it is proved for one engine at least, and disproved for none.
pub(super) fn hold(proofs: &[Proof]) -> bool {
    proofs.iter().all(Proof::holds) && proofs.iter().any(Proof::is_proved)
}

/// What is not as it is to be, if that is not that an engine uses the mirror.
pub(super) fn failure(proofs: &[Proof]) -> MachineFailure {
    if proofs.iter().any(Proof::is_disproved) {
        MachineFailure::Disproved
    } else if !proofs.iter().all(Proof::holds) {
        MachineFailure::Unchained
    } else if proofs.iter().any(Proof::is_proved) {
        MachineFailure::Unwell
    } else {
        MachineFailure::Unproved
    }
}

/// For people.
pub(super) fn text(proofs: &[Proof]) -> String {
    let mut out = String::new();
    for Proof { outcome, whose } in proofs {
        let _ = match outcome {
            Outcome::Proved(mirrors) => writeln!(out, "good  {whose} pulls through {}", listed(mirrors)),
            Outcome::Disproved { said, .. } => writeln!(out, "bad   {whose} does not pull through the mirror: {said}"),
            Outcome::Unchained { said, site } => writeln!(out, "bad   {whose} gets nothing from {}: {said}", listed(site)),
            Outcome::Untried(why) => writeln!(out, "-     {whose}: not tried: {why}"),
        };
        if let Outcome::Disproved { mirrors, .. } = outcome {
            for Testimony { mirror, said } in mirrors {
                let said = said.as_ref().map_or_else(Clone::clone, |receipts| format!("it gave {} parts of the image", receipts.len()));
                let _ = writeln!(out, "      {mirror}: {said}");
            }
        }
    }
    plain(&out)
}

/// For programs.
pub(super) fn json(proofs: &[Proof]) -> Value {
    let one = |Proof { outcome, whose }: &Proof| match outcome {
        Outcome::Proved(mirrors) => {
            json!({ "engine": whose, "proved": true, "mirrors": mirrors.iter().map(ToString::to_string).collect::<Value>() })
        }
        Outcome::Disproved { said, .. } | Outcome::Unchained { said, .. } => json!({ "engine": whose, "proved": false, "said": said }),
        Outcome::Untried(why) => json!({ "engine": whose, "proved": null, "said": why }),
    };
    proofs.iter().map(one).collect()
}

async fn of_docker(facts: &docker::Facts, witness: &Witness) -> Outcome {
    let Some(running) = &facts.running else { return Outcome::Untried("it does not run".to_owned()) };
    match &running.answer {
        Err(why) => Outcome::Untried(format!("process {} cannot be asked: {why}", running.pid)),
        Ok(answer) => match docker::verify(&answer.daemon.socket, witness, PATIENCE).await {
            Ok(verdict) => judged(verdict),
            Err(error) => Outcome::Untried(format!("process {} cannot be asked: {}", running.pid, ::mirror::chain(&error))),
        },
    }
}

async fn of_podman(facts: &podman::Facts, witness: &Witness) -> io::Result<Outcome> {
    let nonce = Nonce::new()?;
    Ok(heard(podman::verify::prove(facts, &nonce, PATIENCE).await, &nonce, witness).await)
}

async fn of_buildkit(daemon: &buildkit::look::Daemon, witness: &Witness) -> io::Result<Outcome> {
    let nonce = Nonce::new()?;
    let folder = env::temp_dir().join(format!("chandler-canary-{nonce}"));
    fs::create_dir(&folder)?;
    let tried = buildkit::verify::prove(daemon, &folder, &nonce, PATIENCE).await;
    let _ = fs::remove_dir_all(&folder); // A name is in it, and nothing else.
    Ok(heard(tried, &nonce, witness).await)
}

/// What follows, once the mirrors are asked.
async fn heard(tried: Tried, nonce: &Nonce, witness: &Witness) -> Outcome {
    match tried {
        Tried::Untried(why) => Outcome::Untried(why),
        Tried::Pulled => judged(judge(Ok(()), witness.hear(nonce).await)),
        Tried::Failed(error) => judged(judge(Err(error.to_string()), witness.hear(nonce).await)),
    }
}

fn judged(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Served(mirrors) => Outcome::Proved(mirrors),
        Verdict::Failed { engine, mirrors } => Outcome::Disproved { mirrors, said: engine },
        Verdict::Past(mirrors) => Outcome::Disproved {
            mirrors,
            said: "it got the image, and none of the mirrors gave all of it: something else answers in their place".to_owned(),
        },
    }
}

fn listed(mirrors: &[MirrorUrl]) -> String {
    mirrors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// For a canary of a few KiB, by an engine that may ask the Hub too.
const PATIENCE: Duration = Duration::from_secs(60);
