//! What people time: `docker pull` of an image that the mirror does not have yet, then again after `docker rmi`. The engine is Docker 20.10.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::contender::{Contender, Kind};
use super::content::{IMAGE, REPO};
use super::hub::Speed;
use super::process::Process;
use super::table::{Better, Line, Samples};
use super::{Bench, Outcome, Programs, say};

/// Measures both rows.
pub async fn measure(bench: &Bench) -> Outcome<Vec<Line>> {
    let engine = Engine::start(&bench.yard.programs, &bench.yard.folder).await?;
    // The first pull of a daemon's life is slower than all others.
    let hub = format!("{}/{REPO}:{IMAGE}", bench.hub.url(Speed::Free).trim_start_matches("http://"));
    engine.pull(&hub)?;
    engine.run(&["rmi", "-f", &hub])?;
    let kinds = bench.kinds.iter().copied().filter(|kind| *kind != Kind::Bare);
    let mut cold: Vec<Samples> = kinds.map(Samples::of).collect();
    let mut warm = cold.clone();
    for round in 0..bench.effort.pull_rounds {
        for turn in 0..cold.len() {
            let place = (turn + round) % cold.len();
            let one = Contender::start(&bench.yard, cold[place].kind, &bench.hub.url(Speed::Line), None).await?;
            let image = format!("{}/{REPO}:{IMAGE}", one.address());
            for pull in 0..=WARM_PULLS {
                let samples = if pull == 0 { &mut cold[place] } else { &mut warm[place] };
                samples.values.push(engine.pull(&image)?);
                samples.memory = Some(one.memory(false));
                engine.run(&["rmi", "-f", &image])?;
            }
        }
    }
    let seconds = |value: f64| format!("{value:.2} s");
    let lines = vec![
        Line::compared("`docker pull`, cold, the hub at 60 MB/s a connection".into(), cold, Better::Lower, seconds),
        Line::compared("`docker pull` again after `docker rmi`".into(), warm, Better::Lower, seconds),
    ];
    for line in &lines {
        say(&format!("{}: {}", line.name, line.cells.join(" | ")));
    }
    Ok(lines)
}

/// A daemon of its own, with its command line.
struct Engine {
    client: PathBuf,
    _process: Process,
    socket: String,
}

impl Engine {
    async fn start(programs: &Programs, folder: &Path) -> Outcome<Self> {
        let folder = folder.join("docker");
        fs::create_dir_all(&folder)?;
        let socket = format!("unix://{}", folder.join("sock").display());
        let mut command = Command::new(&programs.dockerd);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "-H", &socket]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("-p", "pid")] {
            command.arg(flag).arg(folder.join(name));
        }
        let mut process = Process::start("dockerd", &mut command, &folder.join("out.log"))?;
        let client = programs.docker.clone();
        process
            .wait_until(|| Command::new(&client).args(["-H", &socket, "version"]).output().is_ok_and(|output| output.status.success()))
            .await?;
        Ok(Self { client, _process: process, socket })
    }

    /// Seconds that a pull takes. What was written before goes to the disk first: an engine's own syncs would wait for it.
    fn pull(&self, image: &str) -> Outcome<f64> {
        rustix::fs::sync();
        let began = Instant::now();
        self.run(&["pull", "-q", image])?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn run(&self, arguments: &[&str]) -> Outcome<()> {
        let output = Command::new(&self.client).args(["-H", &self.socket]).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)).into())
    }
}

/// Of each start of a contender. They are a second each, nearly all of it the engine's own, and uneven.
const WARM_PULLS: usize = 3;
