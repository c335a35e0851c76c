//! `chandler verify`: whether engines pull through the mirror, and, for who asks, how long they take: to fall over from a mirror of no use, and for an image of the operator's choice.

use std::time::Duration;

use serde_json::{Value, json};

use super::failover::{self, Trial, Trials};
use super::proof::{self, Proof};
use super::timing::{self, Timings};
use super::{Answer, MachineFailure, Site, doctor, shown, size};
use crate::cli::machine::VerifyArgs;
use crate::engines::{Engine, Finding, Wish};
use crate::terminal::Progress;

/// All that was seen.
struct Verification {
    proofs: Vec<Proof>,
    /// What keeps mirrors from serving, where something is not proved.
    troubles: Vec<Finding>,
    /// `None`: nobody asked.
    failover: Option<Vec<Trial>>,
    /// The same.
    timings: Option<Timings>,
}

/// Does it.
pub(super) fn verify(args: &VerifyArgs) -> Result<Answer, MachineFailure> {
    let site = Site::find(&args.machine, &args.wish)?;
    let wish = site.wish(&args.wish)?;
    if let Some(image) = &args.time
        && image.registry != "docker.io"
        && !wish.registries.contains(&image.registry)
    {
        return Err(MachineFailure::NotMirrored(image.registry.clone()));
    }
    let machine = site.look(&wish)?;
    let engines = site.engines(&machine)?;
    let mut progress = Progress::new();
    let proofs = site.proofs(&machine, &engines, &wish, &mut progress)?;
    let is_proved = proof::hold(&proofs);
    let mut verification = Verification { proofs, troubles: Vec::new(), failover: None, timings: None };
    if is_proved {
        let measure = measure(args, &machine, &engines, &wish, progress);
        (verification.failover, verification.timings) = site.runtime.block_on(measure)?;
    } else {
        drop(progress);
        verification.troubles = site.seen(&wish).iter().filter_map(doctor::trouble).collect();
    }
    let answer = Answer::of(args.machine.json, || verification.text(args), || verification.json());
    Ok(match verification.failure() {
        Some(failure) => answer.failing(failure),
        None => answer,
    })
}

/// What was asked for beside the proof. It is worth something only where engines use the mirror.
async fn measure(
    args: &VerifyArgs,
    machine: &super::Machine,
    engines: &[Engine],
    wish: &Wish,
    mut progress: Progress,
) -> Result<(Option<Vec<Trial>>, Option<Timings>), MachineFailure> {
    let failover = match args.failover {
        Some(seconds) => {
            let limit = Duration::from_secs(seconds);
            let mut trials = Trials { machine, wish, limit, progress: &mut progress };
            Some(trials.of(engines).await.map_err(MachineFailure::StandIn)?)
        }
        None => None,
    };
    let timings = match &args.time {
        Some(image) => {
            let all = timing::of(machine, engines, image, &mut progress).await;
            // Afterwards: a look at the manifest would warm what the first pull is to find as it was.
            Some(Timings { image: image.clone(), bytes: size::of(image, wish).await, all })
        }
        None => None,
    };
    Ok((failover, timings))
}

impl Verification {
    fn failure(&self) -> Option<MachineFailure> {
        if !proof::hold(&self.proofs) {
            return Some(proof::failure(&self.proofs));
        }
        let slow = self.failover.as_ref().and_then(|trials| failover::failure(trials));
        slow.or_else(|| self.timings.as_ref().is_some_and(|timings| !timings.hold()).then_some(MachineFailure::Untimed))
    }

    fn text(&self, args: &VerifyArgs) -> String {
        let mut out = proof::text(&self.proofs) + &shown::findings(&self.troubles);
        out.extend(self.failover.iter().map(|trials| failover::text(trials)));
        out.extend(self.timings.iter().map(Timings::text));
        if !proof::hold(&self.proofs) && (args.failover.is_some() || args.time.is_some()) {
            out.push_str("-     nothing was timed: first the mirror is to be used\n");
        }
        out
    }

    fn json(&self) -> Value {
        json!({
            "proved": proof::hold(&self.proofs),
            "engines": proof::json(&self.proofs),
            "findings": self.troubles.iter().map(shown::finding).collect::<Value>(),
            "failover": self.failover.as_ref().map(|trials| failover::json(trials)),
            "time": self.timings.as_ref().map(Timings::json),
        })
    }
}
