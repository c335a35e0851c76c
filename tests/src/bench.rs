//! The benchmark: chandler, its peers and the bare loop, measured side by side in one run on this machine.
//!
//! `content` is what there is to pull, `hub` the upstream that has it, `contender` who is compared (each a `process` group), `load` the clients.
//! `hits`, `acme`, `cold`, `engine` and `start` measure their rows, `table` prints them, `bare` is the loop itself.
//!
//! All traffic stays on this machine, and everything that is started is ended with the run. Figures of two runs are not to be compared with
//! each other, only the columns of one.

pub mod acme;
pub mod bare;
pub mod cold;
pub mod contender;
pub mod content;
pub mod engine;
pub mod hits;
pub mod hub;
pub mod load;
pub mod process;
pub mod start;
pub mod table;

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use self::cold::HERDS;
use self::contender::{Kind, NAMES, Yard};
use self::content::Content;
use self::hits::{Effort, HITS, Hit};
use self::hub::Hub;
use crate::tools;

/// A benchmark that meets a problem has no figures: all it can do is say what happened.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Everything a row needs.
#[derive(Debug)]
pub struct Bench {
    /// What the hub holds.
    pub content: Content,
    /// How much is done.
    pub effort: Effort,
    /// The upstream.
    pub hub: Hub,
    /// Who is compared.
    pub kinds: Vec<Kind>,
    /// The load generator's script.
    pub script: PathBuf,
    /// Folder, certificate and programs.
    pub yard: Yard,
}

/// The programs that are started.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Ours.
    pub chandler: PathBuf,
    /// Docker's command line.
    pub docker: PathBuf,
    /// Docker 20.10.
    pub dockerd: PathBuf,
    /// The upstream and a peer.
    pub nginx: PathBuf,
    /// A peer.
    pub registry_2: PathBuf,
    /// A peer.
    pub registry_3: PathBuf,
    /// The load generator.
    pub wrk: PathBuf,
}

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The program to measure.
    pub chandler: PathBuf,
    /// Where the run may write some gigabytes; it is removed at the end.
    pub folder: PathBuf,
    /// Fewer rows, rounds and peers.
    pub quick: bool,
    /// Only these; all when empty.
    pub rows: Vec<String>,
}

/// Measures, and returns the table.
pub async fn run(request: &Request) -> Outcome<String> {
    let rows = chosen(request)?;
    let programs = Programs::find(&request.chandler)?;
    let bench = Bench::prepare(request, programs).await?;
    let asked = |row: &str| rows.contains(&row);
    let hits: Vec<Hit> = HITS.into_iter().filter(|hit| asked(hit.row)).collect();
    let mut lines = Vec::new();
    if !hits.is_empty() {
        lines.extend(hits::measure(&bench, &hits).await?);
    }
    if asked("acme") {
        lines.extend(acme::measure(&bench).await?);
    }
    for herd in HERDS {
        let alone = herd.row == "herd16" && asked("cold");
        if alone || asked(herd.row) {
            lines.extend(cold::measure(&bench, herd, alone, asked(herd.row)).await?);
        }
    }
    if asked("docker") {
        lines.extend(engine::measure(&bench).await?);
    }
    if asked("start") {
        lines.extend(start::measure(&bench).await?);
    }
    Ok(table::markdown(&lines, &bench.kinds))
}

impl Bench {
    async fn prepare(request: &Request, programs: Programs) -> Outcome<Self> {
        let folder = request.folder.clone();
        say("making content");
        let content = Content::make(&folder)?;
        let hub = Hub::start(&programs, &content, &folder).await?;
        let script = folder.join("wrk.lua");
        fs::write(&script, load::SCRIPT)?;
        let (certificate, key) = pair(&folder)?;
        let mut kinds = vec![Kind::Chandler, Kind::Distribution3, Kind::Distribution2, Kind::Nginx, Kind::Bare];
        let effort = if request.quick {
            kinds.retain(|kind| *kind != Kind::Distribution2);
            Effort { cold_rounds: 1, hit_rounds: 3, hit_time: Duration::from_secs(1), acme_rounds: 3, pull_rounds: 3 }
        } else {
            Effort { cold_rounds: 3, hit_rounds: 5, hit_time: Duration::from_secs(3), acme_rounds: 9, pull_rounds: 7 }
        };
        let yard = Yard { certificate, folder, key, programs, next: AtomicUsize::new(0) };
        Ok(Self { content, effort, hub, kinds, script, yard })
    }
}

impl Programs {
    fn find(chandler: &Path) -> Outcome<Self> {
        let find = |name: &str| tools::find(name).ok_or_else(|| format!("{name} is not there, tests/setup provides it"));
        Ok(Self {
            chandler: chandler.canonicalize().map_err(|error| format!("{}: {error}", chandler.display()))?,
            docker: find("docker")?,
            dockerd: find("dockerd-20")?,
            nginx: find("nginx")?,
            registry_2: find("registry-2")?,
            registry_3: find("registry-3")?,
            wrk: find("wrk")?,
        })
    }
}

/// One line for the person who waits.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The rows that are asked for; a name that is none is an error.
fn chosen(request: &Request) -> Outcome<Vec<&str>> {
    if let Some(unknown) = request.rows.iter().find(|row| !ROWS.contains(&row.as_str())) {
        return Err(format!("there is no row `{unknown}`; rows are {}", ROWS.join(", ")).into());
    }
    let all = if request.quick { &QUICK[..] } else { &ROWS[..] };
    Ok(if request.rows.is_empty() { all.to_vec() } else { request.rows.iter().map(String::as_str).collect() })
}

/// ECDSA on P-256, as every public certificate authority gives out today.
fn pair(folder: &Path) -> Outcome<(PathBuf, PathBuf)> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(NAMES.map(str::to_owned))?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, cert.pem())?;
    fs::write(&key, signing_key.serialize_pem())?;
    Ok((certificate, key))
}

/// All rows, by the names that the command line takes.
pub const ROWS: [&str; 12] = ["big", "mid", "small", "digest", "tag", "handshake", "acme", "cold", "herd16", "herd200", "docker", "start"];
const QUICK: [&str; 5] = ["big", "small", "digest", "cold", "herd16"];
