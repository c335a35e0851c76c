//! `chandler verify --time IMAGE`: the classic measurement. Pull, remove, pull again, remove, by each engine.
//!
//! No image that was on the machine is removed: where an engine has it already, under this name or another, nothing is timed. Nor is one that a container got hold of in between: the engine
//! refuses to remove that, and it stays.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use super::failover::seconds;
use super::look::Machine;
use crate::engines::canary::Nonce;
use crate::engines::image::Image;
use crate::engines::program::{self, ProgramError, Timed};
use crate::engines::{Engine, containerd, docker, podman};
use crate::report::plain;
use crate::terminal::Progress;

/// One engine's.
#[derive(Debug)]
pub(super) struct Timing {
    pub(super) whose: String,
    /// Both pulls; or why they were not timed.
    pub(super) took: Result<[Duration; 2], String>,
    /// What stayed behind.
    pub(super) left: Option<String>,
}

/// All engines', and what they pulled.
#[derive(Debug)]
pub(super) struct Timings {
    pub(super) image: Image,
    /// Of this machine's platform, as it is transferred; `None`: the mirror does not have it, and whoever pulled it may have been to the registry itself.
    pub(super) bytes: Option<u64>,
    pub(super) all: Vec<Timing>,
}

/// What an engine does with one image.
trait Puller {
    /// Other than by us; the sentence says what is there.
    async fn has(&self) -> Result<Option<String>, String>;
    async fn pull(&self) -> Result<Duration, String>;
    /// What else it is called, once it is there.
    async fn other_name(&self) -> Result<Option<String>, String>;
    /// If nothing uses it.
    async fn remove(&self) -> Result<(), String>;
    /// What a pull that was cut may have left, and nobody else uses.
    async fn tidy(&self) {}
}

/// One engine after another.
pub(super) async fn of(machine: &Machine, engines: &[Engine], image: &Image, progress: &mut Progress) -> Vec<Timing> {
    let mut all = Vec::new();
    for engine in engines {
        let whose = engine.to_string();
        progress.say(&format!("{whose}: pulls, removes and pulls {image}"));
        match engine {
            Engine::Docker => {
                for facts in &machine.docker {
                    all.push(of_docker(facts, image).await);
                }
            }
            Engine::Podman => all.push(match podman::verify::puller(&machine.podman) {
                Some(program) => time(whose, &Podman { program: program.clone(), image }).await,
                None => Timing::not(whose, podman::verify::NOBODY),
            }),
            Engine::Containerd => all.extend(of_containerd(&machine.containerd, image).await),
            Engine::BuildKit => all.push(Timing::not(whose, "it keeps no images, but a cache of parts, which is left as it is")),
            Engine::System => {}
        }
    }
    all
}

impl Timing {
    fn not(whose: impl Into<String>, why: impl Into<String>) -> Self {
        Self { whose: whose.into(), took: Err(why.into()), left: None }
    }
}

async fn time(whose: String, puller: &impl Puller) -> Timing {
    match puller.has().await {
        Ok(None) => {}
        Ok(Some(there)) => return Timing::not(whose, format!("{there}, and it is not removed; name an image that is not there")),
        Err(why) => return Timing::not(whose, why),
    }
    let took = both(puller).await;
    // Whatever came of it: it was not there before.
    let left = match puller.has().await {
        Ok(Some(_)) => puller.remove().await.err(),
        _ => None,
    };
    puller.tidy().await;
    Timing { whose, took, left }
}

async fn both(puller: &impl Puller) -> Result<[Duration; 2], String> {
    let first = puller.pull().await?;
    if let Some(name) = puller.other_name().await? {
        return Err(format!("it has the same image as {name}, so that nothing had to be transferred; name an image that is not there"));
    }
    puller.remove().await?;
    Ok([first, puller.pull().await?])
}

async fn of_docker(facts: &docker::Facts, image: &Image) -> Timing {
    let whose = facts.owner.to_string();
    let Some(Ok(answer)) = facts.running.as_ref().map(|running| running.answer.as_ref()) else {
        return Timing::not(whose, "it cannot be asked");
    };
    let report = &answer.report;
    if image.registry != "docker.io" && !(report.has_containerd_store && report.api >= docker::Api::READS_HOSTS) {
        return Timing::not(whose, "it pulls images of other registries past its mirrors");
    }
    match docker::api::connect(&answer.daemon.socket).await {
        Ok(client) => time(whose, &Docker { client, image }).await,
        Err(error) => Timing::not(whose, ::mirror::chain(&error)),
    }
}

async fn of_containerd(facts: &containerd::Facts, image: &Image) -> Vec<Timing> {
    let mut all = Vec::new();
    if let Some(daemon) = &facts.daemon {
        let whose = Engine::Containerd.to_string();
        all.push(match (containerd::verify::client(daemon), Nonce::new()) {
            (Err(why), _) => Timing::not(whose, why),
            (_, Err(error)) => Timing::not(whose, error.to_string()),
            (Ok(client), Ok(nonce)) => {
                let hosts = daemon.folders().swap_remove(0).display().to_string();
                time(whose, &Ctr { client, hosts, image, namespace: format!("chandler-time-{nonce}") }).await
            }
        });
    }
    all.extend(facts.distributions.iter().map(|distribution| Timing::not(distribution.name, "its images are Kubernetes' to remove")));
    all
}

struct Docker<'a> {
    client: bollard::Docker,
    image: &'a Image,
}

impl Puller for Docker<'_> {
    async fn has(&self) -> Result<Option<String>, String> {
        let names = docker::api::names(&self.client, &self.image.to_string()).await.map_err(|error| error.to_string())?;
        Ok(names.map(|_| there(self.image)))
    }

    async fn pull(&self) -> Result<Duration, String> {
        let (began, repository) = (Instant::now(), self.image.repository_in_full());
        let pull = docker::api::pull(&self.client, &repository, &self.image.reference);
        match timeout(PATIENCE, pull).await {
            Ok(Ok(())) => Ok(began.elapsed()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the pull was not over after {} s", PATIENCE.as_secs())),
        }
    }

    async fn other_name(&self) -> Result<Option<String>, String> {
        let names = docker::api::names(&self.client, &self.image.to_string()).await.map_err(|error| error.to_string())?;
        Ok(other(names.unwrap_or_default(), self.image))
    }

    async fn remove(&self) -> Result<(), String> {
        docker::api::remove_unused(&self.client, &self.image.to_string()).await.map_err(|error| error.to_string())
    }
}

struct Podman<'a> {
    program: PathBuf,
    image: &'a Image,
}

impl Podman<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words);
        command
    }
}

impl Puller for Podman<'_> {
    async fn has(&self) -> Result<Option<String>, String> {
        let filter = format!("reference={}", self.image);
        let found = run(self.command(&["images", "--quiet", "--filter", &filter])).await?;
        Ok((!found.trim().is_empty()).then(|| there(self.image)))
    }

    async fn pull(&self) -> Result<Duration, String> {
        timed(self.command(&["pull", "--quiet", &self.image.to_string()])).await
    }

    async fn other_name(&self) -> Result<Option<String>, String> {
        let filter = format!("reference={}", self.image);
        let id = run(self.command(&["images", "--quiet", "--no-trunc", "--filter", &filter])).await?;
        let list = run(self.command(&["images", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"])).await?;
        let same = list.lines().filter_map(|line| line.split_once(' ')).filter(|(other, _)| id.contains(*other));
        Ok(other(same.map(|(_, name)| name.to_owned()).collect(), self.image))
    }

    async fn remove(&self) -> Result<(), String> {
        run(self.command(&["rmi", &self.image.to_string()])).await.map(drop)
    }
}

/// In a namespace of its own, that is removed with all in it. Its content is shared with others': so it is looked for in all of them.
struct Ctr<'a, C> {
    client: C,
    hosts: String,
    image: &'a Image,
    namespace: String,
}

impl<C: Fn() -> Command> Ctr<'_, C> {
    async fn within(&self, namespace: &str, words: &[&str]) -> Result<String, String> {
        run(self.command(namespace, words)).await
    }

    fn command(&self, namespace: &str, words: &[&str]) -> Command {
        let mut command = (self.client)();
        command.args(["--namespace", namespace]).args(words);
        command
    }
}

impl<C: Fn() -> Command> Puller for Ctr<'_, C> {
    async fn has(&self) -> Result<Option<String>, String> {
        let filter = format!("name=={}", self.image);
        for namespace in self.within("default", &["namespaces", "list", "--quiet"]).await?.split_whitespace() {
            if !self.within(namespace, &["images", "list", "--quiet", &filter]).await?.trim().is_empty() {
                return Ok(Some(format!("{} (namespace {namespace})", there(self.image))));
            }
        }
        Ok(None)
    }

    async fn pull(&self) -> Result<Duration, String> {
        timed(self.command(&self.namespace, &["images", "pull", "--hosts-dir", &self.hosts, &self.image.to_string()])).await
    }

    async fn other_name(&self) -> Result<Option<String>, String> {
        Ok(None)
    }

    async fn remove(&self) -> Result<(), String> {
        self.within(&self.namespace, &["images", "remove", "--sync", &self.image.to_string()]).await.map(drop)
    }

    async fn tidy(&self) {
        let leases = self.within(&self.namespace, &["leases", "list", "--quiet"]).await.unwrap_or_default();
        for lease in leases.split_whitespace() {
            let _ = self.within(&self.namespace, &["leases", "delete", "--sync", lease]).await;
        }
        let _ = self.within("default", &["namespaces", "remove", &self.namespace]).await; // An empty name, if it stays.
    }
}

fn there(image: &Image) -> String {
    format!("{image} is on this machine already")
}

/// Pure.
fn other(names: Vec<String>, image: &Image) -> Option<String> {
    let is_it = |name: &String| name.parse::<Image>().is_ok_and(|named| named == *image);
    names.into_iter().find(|name| !is_it(name) && !name.contains("<none>"))
}

async fn run(command: Command) -> Result<String, String> {
    program::run(command, PATIENCE).await.map_err(|error| ::mirror::chain(&error))
}

async fn timed(command: Command) -> Result<Duration, String> {
    let Timed { pulled, took } = Timed::run(command, PATIENCE).await;
    pulled.map(|()| took).map_err(|error: ProgramError| ::mirror::chain(&error))
}

impl Timings {
    /// Whether one engine at least was timed, with the mirror's image, and nothing stayed behind.
    pub(super) fn hold(&self) -> bool {
        self.bytes.is_some() && self.all.iter().any(|timing| timing.took.is_ok()) && self.all.iter().all(|timing| timing.left.is_none())
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let size = self.bytes.map_or_else(|| NOT_THE_MIRRORS.to_owned(), |bytes| format!("{bytes} bytes"));
        let mut out = format!("      {} as {}, {size}\n", self.image, platform());
        for Timing { whose, took, left } in &self.all {
            let _ = match took {
                Ok([first, second]) => writeln!(
                    out,
                    "time  {whose}: {} as the mirror had it, cold or warm; removed; {} again, warm",
                    seconds(*first),
                    seconds(*second)
                ),
                Err(why) => writeln!(out, "-     {whose}: not timed: {why}"),
            };
            if let Some(why) = left {
                let _ = writeln!(out, "      {} stays on this machine: {why}", self.image);
            }
        }
        plain(&out)
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let pull = |time: &Duration| json!({ "seconds": time.as_secs_f64(), "bytes": self.bytes });
        let one = |Timing { whose, took, left }: &Timing| {
            let pulls = took.as_ref().ok().map(|both| both.iter().map(pull).collect::<Value>());
            json!({ "engine": whose, "pulls": pulls, "said": took.as_ref().err(), "left_behind": left })
        };
        json!({ "image": self.image.to_string(), "platform": platform(), "bytes": self.bytes, "engines": self.all.iter().map(one).collect::<Value>() })
    }
}

/// As images name it.
pub(super) fn platform() -> String {
    format!("linux/{}", architecture())
}

/// As Go names it.
pub(super) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

const NOT_THE_MIRRORS: &str = "which the mirror does not give: who has it was at the registry itself";
/// For a large image over a slow line.
const PATIENCE: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        "alpine:3.20".parse().expect("a name")
    }

    #[test]
    fn both_pulls_are_told_or_why_there_are_none() {
        let took = Ok([Duration::from_millis(12_340), Duration::from_millis(560)]);
        let all = vec![
            Timing { whose: "Docker".into(), took, left: None },
            Timing { whose: "Podman".into(), took: Err(there(&image())), left: Some("in use".into()) },
        ];
        let timings = Timings { image: image(), bytes: Some(1234), all };
        insta::assert_snapshot!(timings.text().replace(&platform(), "PLATFORM"), @r"
              docker.io/library/alpine:3.20 as PLATFORM, 1234 bytes
        time  Docker: 12.3 s as the mirror had it, cold or warm; removed; 0.6 s again, warm
        -     Podman: not timed: docker.io/library/alpine:3.20 is on this machine already
              docker.io/library/alpine:3.20 stays on this machine: in use
        ");
        let json = timings.json();
        assert_eq!((&json["engines"][0]["pulls"][1]["seconds"], &json["engines"][0]["pulls"][0]["bytes"]), (&0.56.into(), &1234.into()));
        assert_eq!(json["engines"][1]["pulls"], Value::Null);
        assert!(!timings.hold(), "something stayed behind");
        let past =
            Timings { bytes: None, all: vec![Timing { whose: "Docker".into(), took: Ok([Duration::ZERO; 2]), left: None }], ..timings };
        assert!(!past.hold() && past.text().contains("at the registry itself"), "{}", past.text());
    }

    #[test]
    fn an_image_that_has_another_name_too_is_found_by_it() {
        let named = |names: &[&str]| other(names.iter().map(ToString::to_string).collect(), &image());
        assert_eq!(named(&["alpine:3.20", "docker.io/library/alpine:3.20", "<none>:<none>"]), None);
        assert_eq!(named(&["alpine:3.20", "alpine:3"]), Some("alpine:3".to_owned()));
    }
}
