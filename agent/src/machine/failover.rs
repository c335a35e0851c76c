//! `chandler verify --failover`: how long this machine's engines are held up by a mirror that is dead or hangs.
//!
//! Nothing that runs is disturbed, and no configuration is changed: the dead mirrors are stand-ins on loopback ([`stand_in`](crate::engines::stand_in)). Podman and containerd take a configuration for
//! one pull, so that they pull a canary with a stand-in before the mirror. Docker and `BuildKit` take none: they are asked for an image of the stand-in's, and what is told is how long they wait for it.
//! A second engine with a configuration of its own is no way: a dockerd without a bridge removes the machine's `docker0`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use serde_json::{Value, json};
use tokio::process::Command;

use super::MachineFailure;
use super::look::Machine;
use crate::edit::registries;
use crate::engines::canary::Nonce;
use crate::engines::fall_over::{self, Took};
use crate::engines::program::Timed;
use crate::engines::stand_in::{Fault, Greeting, StandIn};
use crate::engines::{Engine, MirrorUrl, Others, Wish, buildkit, containerd, docker, podman};
use crate::report::plain;
use crate::terminal::Progress;

/// One engine's, before one mirror or none.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) whose: String,
    pub(super) measured: Measured,
    pub(super) took: Vec<(Fault, Took)>,
}

/// What the times are.
#[derive(Debug)]
pub(super) enum Measured {
    /// Of pulls: the stand-in, then this mirror, which alone takes so long.
    Pull { mirror: MirrorUrl, usual: Duration },
    /// Of waits for the stand-in alone; how often an image costs that.
    Wait { each: &'static str },
    /// Nothing, for this reason.
    Nothing(String),
}

impl Trial {
    fn nothing(whose: &str, why: impl Into<String>) -> Self {
        Self { whose: whose.to_owned(), measured: Measured::Nothing(why.into()), took: Vec::new() }
    }

    fn is_good(&self) -> bool {
        self.took.iter().all(|(_, took)| matches!(took, Took::Over(_) | Took::Untried(_)))
    }

    fn saw_something(&self) -> bool {
        self.took.iter().any(|(_, took)| !matches!(took, Took::Untried(_)))
    }
}

/// One after another, so that no trial slows another down.
pub(super) struct Trials<'a> {
    pub(super) machine: &'a Machine,
    pub(super) wish: &'a Wish,
    /// For each fault.
    pub(super) limit: Duration,
    pub(super) progress: &'a mut Progress,
}

impl Trials<'_> {
    /// Of each engine that can be tried.
    pub(super) async fn of(&mut self, engines: &[Engine]) -> io::Result<Vec<Trial>> {
        let mut trials = Vec::new();
        for engine in engines {
            match engine {
                Engine::Docker => {
                    for facts in &self.machine.docker {
                        trials.push(self.docker(facts).await?);
                    }
                }
                Engine::Podman => trials.extend(self.podman().await?),
                Engine::Containerd => trials.extend(self.containerd().await?),
                Engine::BuildKit => {
                    for daemon in &self.machine.buildkit.daemons {
                        trials.push(self.buildkit(daemon).await?);
                    }
                }
                Engine::System => {}
            }
        }
        Ok(trials)
    }

    /// It reads `hosts.toml` at each pull, but only where that is its configuration.
    async fn docker(&mut self, facts: &docker::Facts) -> io::Result<Trial> {
        let whose = facts.owner.to_string();
        let Some(Ok(answer)) = facts.running.as_ref().map(|running| running.answer.as_ref()) else {
            return Ok(Trial::nothing(&whose, "it cannot be asked"));
        };
        let client = match docker::api::connect(&answer.daemon.socket).await {
            Ok(client) => client,
            Err(error) => return Ok(Trial::nothing(&whose, ::mirror::chain(&error))),
        };
        let dials_by_file = answer.report.has_containerd_store && facts.trusted(&facts.folder("docker.io").join("hosts.toml")).is_some();
        let mut took = Vec::new();
        for fault in Fault::ALL {
            if fault == Fault::Loses && dials_by_file {
                took.push((fault, Took::Untried(BY_FILE.to_owned())));
                continue;
            }
            self.tell(&whose, fault);
            let stand_in = StandIn::new(fault, self.greeting(fault)).await?;
            let repository = format!("{}/chandler-canary/{}", stand_in.authority(), Nonce::new()?);
            let pull = docker::api::pull(&client, &repository, Nonce::tag());
            took.push((fault, fall_over::before(pull, &stand_in, self.limit).await));
        }
        let each = if answer.report.has_containerd_store { EACH_REQUEST } else { EACH_PULL };
        Ok(Trial { whose, measured: Measured::Wait { each }, took: unseen(took) })
    }

    async fn buildkit(&mut self, daemon: &buildkit::look::Daemon) -> io::Result<Trial> {
        let whose = Engine::BuildKit.to_string();
        let buildctl = match buildkit::verify::client(daemon) {
            Ok(buildctl) => buildctl,
            Err(why) => return Ok(Trial::nothing(&whose, why)),
        };
        let mut took = Vec::new();
        for fault in Fault::ALL {
            self.tell(&whose, fault);
            let stand_in = StandIn::new(fault, if fault == Fault::Loses { Greeting::Any } else { self.greeting(fault) }).await?;
            let (nonce, folder) = (Nonce::new()?, Folder::new()?);
            let repository = format!("{}/chandler-canary/{nonce}", stand_in.authority());
            // Ours is the limit that counts; nothing was pulled that could be left.
            let patience = self.limit + A_MOMENT;
            let build = async { buildkit::verify::build_on(&buildctl, &folder.path, &repository, &nonce, patience).await.pulled };
            took.push((fault, fall_over::before(build, &stand_in, self.limit).await));
        }
        Ok(Trial { whose, measured: Measured::Wait { each: EACH_REQUEST }, took: unseen(took) })
    }

    async fn podman(&mut self) -> io::Result<Vec<Trial>> {
        let whose = Engine::Podman.to_string();
        let Some(program) = podman::verify::puller(&self.machine.podman) else {
            return Ok(vec![Trial::nothing(&whose, podman::verify::NOBODY)]);
        };
        let pull = async |mirrors: Vec<MirrorUrl>, limit| {
            let (nonce, folder) = (Nonce::new()?, Folder::new()?);
            let name = nonce.repository();
            let text = match registries::render(&[name], &mirrors, &[], Others::Keep) {
                Ok(text) => text,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let file = folder.write("registries.conf", &text)?;
            let command = || {
                let mut command = Command::new(program);
                command.env("CONTAINERS_REGISTRIES_CONF", &file);
                command
            };
            Ok(Ok(podman::verify::timed(command, &nonce, limit).await))
        };
        self.past_each(&whose, pull).await
    }

    async fn containerd(&mut self) -> io::Result<Vec<Trial>> {
        let facts = &self.machine.containerd;
        let mut trials = Vec::new();
        if let Some(daemon) = &facts.daemon {
            let whose = Engine::Containerd.to_string();
            match containerd::verify::client(daemon) {
                Ok(ctr) => {
                    let wish = self.wish;
                    let pull = async |mirrors: Vec<MirrorUrl>, limit| {
                        let (nonce, folder) = (Nonce::new()?, Folder::new()?);
                        folder.write("docker.io/hosts.toml", &containerd::plan::for_one_pull(daemon, &mirrors, wish))?;
                        Ok(Ok(containerd::verify::timed(&ctr, &folder.path, &nonce, limit).await))
                    };
                    trials.extend(self.past_each(&whose, pull).await?);
                }
                Err(why) => trials.push(Trial::nothing(&whose, why)),
            }
        }
        trials.extend(facts.distributions.iter().map(|distribution| Trial::nothing(distribution.name, ONE_CONFIGURATION)));
        Ok(trials)
    }

    /// With a stand-in before each mirror. `pull` is given the mirrors in their order.
    async fn past_each(
        &mut self,
        whose: &str,
        pull: impl AsyncFn(Vec<MirrorUrl>, Duration) -> io::Result<Result<Timed, String>>,
    ) -> io::Result<Vec<Trial>> {
        let mut trials = Vec::new();
        for mirror in &self.wish.mirrors {
            self.progress.say(&format!("{whose}: a pull from {mirror}"));
            let usual = match pull(vec![mirror.clone()], USUAL).await? {
                Ok(Timed { pulled: Ok(()), took }) => took,
                Ok(Timed { pulled: Err(error), .. }) => {
                    trials.push(Trial::nothing(whose, format!("{mirror} alone gives it nothing: {error}")));
                    continue;
                }
                Err(why) => {
                    trials.push(Trial::nothing(whose, why));
                    continue;
                }
            };
            let mut took = Vec::new();
            for fault in Fault::ALL {
                self.tell(whose, fault);
                let stand_in = StandIn::new(fault, Greeting::Any).await?;
                let timed = pull(vec![stand_in.url(mirror.is_secure()), mirror.clone()], self.limit).await?;
                took.push((fault, timed.map_or_else(Took::Untried, |timed| fall_over::past(timed, &stand_in))));
            }
            let measured = Measured::Pull { mirror: mirror.clone(), usual };
            trials.push(Trial { whose: whose.to_owned(), measured, took: unseen(took) });
        }
        Ok(trials)
    }

    /// A first mirror over HTTPS hangs before it has said anything; over HTTP it takes the request. Packets are lost alike, and are to be lost once, of an engine that tries both.
    fn greeting(&self, fault: Fault) -> Greeting {
        let is_secure = self.wish.mirrors.first().is_some_and(MirrorUrl::is_secure);
        if is_secure && fault == Fault::Hangs { Greeting::Any } else { Greeting::Plain }
    }

    fn tell(&mut self, whose: &str, fault: Fault) {
        let what = format!("{whose} before a mirror of no use: {fault} (at most {} s)", self.limit.as_secs());
        self.progress.say(&what);
    }
}

/// Who did not come to the one that hangs came to no other: that they were done soon says nothing.
fn unseen(took: Vec<(Fault, Took)>) -> Vec<(Fault, Took)> {
    let hung = took.iter().find(|(fault, _)| *fault == Fault::Hangs).map(|(_, took)| took.clone());
    match hung {
        Some(untried @ Took::Untried(_)) => took.into_iter().map(|(fault, _)| (fault, untried.clone())).collect(),
        _ => took,
    }
}

/// What is not as it should be: an engine that does not go on in time, or that nothing was seen at all.
pub(super) fn failure(trials: &[Trial]) -> Option<MachineFailure> {
    if !trials.iter().all(Trial::is_good) {
        return Some(MachineFailure::Slow);
    }
    (!trials.iter().any(Trial::saw_something)).then_some(MachineFailure::Untimed)
}

/// For people.
pub(super) fn text(trials: &[Trial]) -> String {
    let mut out = String::new();
    for trial in trials {
        let Trial { whose, measured, took } = trial;
        let word = if trial.is_good() { "time" } else { "slow" };
        let _ = match measured {
            Measured::Pull { mirror, usual } => {
                writeln!(out, "{word}  {whose} has a canary from {mirror} in {}; with a mirror of no use before it:", seconds(*usual))
            }
            Measured::Wait { each } => writeln!(out, "{word}  {whose} turns away from a mirror of no use, {each}:"),
            Measured::Nothing(why) => writeln!(out, "-     {whose}: no fall-over was timed: {why}"),
        };
        for (fault, took) in took {
            let _ = match took {
                Took::Over(time) => writeln!(out, "      {}, if {fault}", seconds(*time)),
                Took::Late(limit) => writeln!(out, "      not within {}, if {fault}", seconds(*limit)),
                Took::Failed(said) => writeln!(out, "      never, if {fault}: {said}"),
                Took::Untried(why) => writeln!(out, "      not timed, if {fault}: {why}"),
            };
        }
        if let Measured::Wait { .. } = measured {
            let _ = writeln!(out, "      {WAIT}");
        }
    }
    plain(&out)
}

/// For programs.
pub(super) fn json(trials: &[Trial]) -> Value {
    let one = |Trial { whose, measured, took }: &Trial| {
        let (word, mirror, usual, said) = match measured {
            Measured::Pull { mirror, usual } => (Some("pull"), Some(mirror.to_string()), Some(usual.as_secs_f64()), None),
            Measured::Wait { each } => (Some("wait"), None, None, Some(*each)),
            Measured::Nothing(why) => (None, None, None, Some(why.as_str())),
        };
        let faults = took.iter().map(|(fault, took)| {
            let (went_on, seconds, said) = match took {
                Took::Over(time) => (Some(true), Some(time.as_secs_f64()), None),
                Took::Late(limit) => (Some(false), Some(limit.as_secs_f64()), None),
                Took::Failed(said) => (Some(false), None, Some(said.as_str())),
                Took::Untried(why) => (None, None, Some(why.as_str())),
            };
            json!({ "fault": fault.word(), "went_on": went_on, "seconds": seconds, "said": said })
        });
        json!({ "engine": whose, "measured": word, "mirror": mirror, "usual_seconds": usual, "said": said, "faults": faults.collect::<Value>() })
    };
    trials.iter().map(one).collect()
}

/// A tenth of a second is as fine as a busy machine is.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Gone when it is dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("chandler-canary-{}", Nonce::new()?));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let file = self.path.join(name);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        fs::write(&file, text)?;
        Ok(file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // A configuration is in it, and nothing else.
    }
}

const EACH_PULL: &str = "once for each pull";
const EACH_REQUEST: &str = "for each part of an image that it asks for";
const WAIT: &str = "seen with a registry on 127.0.0.1 that is of no use: it takes no configuration for one pull alone, and its own was not touched; what it asks next was not timed";
const BY_FILE: &str = "its hosts.toml says how long it dials (dial_timeout), and only for its mirrors";
const ONE_CONFIGURATION: &str = "its pulls go by its own configuration alone, which was not touched";
/// For a canary of a few KiB from a mirror that serves.
const USUAL: Duration = Duration::from_secs(60);
const A_MOMENT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(measured: Measured, took: Vec<(Fault, Took)>) -> Trial {
        Trial { whose: "Podman".to_owned(), measured, took }
    }

    fn trials() -> Vec<Trial> {
        let time = Duration::from_millis;
        let pull = Measured::Pull { mirror: "http://m:5000".parse().expect("a mirror"), usual: time(210) };
        let late = (Fault::Hangs, Took::Late(time(90_000)));
        let wait = Measured::Wait { each: EACH_PULL };
        vec![
            trial(pull, vec![(Fault::Refuses, Took::Over(time(260))), (Fault::Loses, Took::Failed("no\u{1b}".into())), late]),
            trial(wait, vec![(Fault::Refuses, Took::Over(time(0))), (Fault::Loses, Took::Untried("why".into()))]),
            Trial::nothing("k3s", "as it is"),
        ]
    }

    #[test]
    fn what_was_timed_is_told_with_what_was_not() {
        insta::assert_snapshot!(text(&trials()), @r"
        slow  Podman has a canary from http://m:5000 in 0.2 s; with a mirror of no use before it:
              0.3 s, if it refuses connections
              never, if packets to it are lost: no\u{1b}
              not within 90.0 s, if it hangs
        time  Podman turns away from a mirror of no use, once for each pull:
              0.0 s, if it refuses connections
              not timed, if packets to it are lost: why
              seen with a registry on 127.0.0.1 that is of no use: it takes no configuration for one pull alone, and its own was not touched; what it asks next was not timed
        -     k3s: no fall-over was timed: as it is
        ");
        let told = json(&trials());
        let said =
            |trial: usize, fault: usize| (told[trial]["faults"][fault]["went_on"].clone(), told[trial]["faults"][fault]["seconds"].clone());
        assert_eq!(
            (&told[0]["measured"], &told[0]["usual_seconds"], &told[0]["mirror"]),
            (&"pull".into(), &0.21.into(), &"http://m:5000".into())
        );
        assert_eq!(
            (said(0, 0), said(0, 1), said(0, 2)),
            ((true.into(), 0.26.into()), (false.into(), Value::Null), (false.into(), 90.0.into()))
        );
        assert_eq!((&told[1]["measured"], said(1, 1)), (&"wait".into(), (Value::Null, Value::Null)));
        assert_eq!((&told[2]["measured"], &told[2]["said"]), (&Value::Null, &"as it is".into()));
    }

    #[test]
    fn an_engine_that_does_not_go_on_in_time_is_no_good_and_one_that_was_not_tried_says_nothing() {
        let all = trials();
        assert!(matches!(failure(&all), Some(MachineFailure::Slow)));
        assert!(failure(&all[1..]).is_none());
        assert!([&all[2..], &[]].into_iter().all(|none| matches!(failure(none), Some(MachineFailure::Untimed))));
        let untried = Took::Untried("never came".into());
        let took = unseen(vec![(Fault::Refuses, Took::Over(Duration::ZERO)), (Fault::Hangs, untried.clone())]);
        assert_eq!(took, [(Fault::Refuses, untried.clone()), (Fault::Hangs, untried)]);
    }
}
