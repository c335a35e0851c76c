//! Rows of stored content: every contender is filled once, then all of them take turns under load, round by round, so that whatever else the
//! machine does meets all of them.

use std::fs;
use std::time::Duration;

use super::contender::{Contender, Kind};
use super::content::Content;
use super::hub::Speed;
use super::load::{Load, Rate, headers, herd, load};
use super::table::{Better, Line, Samples};

use super::{Bench, Outcome, bare, say};

/// A row: what is asked for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Hit {
    connections: u32,
    /// A connection for each request: what is measured is its handshake.
    fresh: bool,
    /// What the table calls it.
    pub name: &'static str,
    of: fn(&Content) -> String,
    /// What the command line calls it.
    pub row: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Megabytes,
    Requests,
}

/// All such rows.
pub const HITS: [Hit; 6] = [
    Hit { fresh: false, row: "big", name: "256 MiB blob", connections: 4, of: |content| content.big.path.clone(), unit: Unit::Megabytes },
    Hit { fresh: false, row: "mid", name: "8 MiB blob", connections: 16, of: |content| content.mid.path.clone(), unit: Unit::Megabytes },
    Hit {
        fresh: false,
        row: "small",
        name: "16 KiB blob",
        connections: 64,
        of: |content| content.small.path.clone(),
        unit: Unit::Requests,
    },
    Hit {
        fresh: false,
        row: "digest",
        name: "manifest by digest",
        connections: 64,
        of: |content| content.manifest.path.clone(),
        unit: Unit::Requests,
    },
    Hit { fresh: false, row: "tag", name: "manifest by tag", connections: 64, of: |_| Content::tag_path(), unit: Unit::Requests },
    Hit {
        fresh: true,
        row: "handshake",
        name: "manifest, each by a new connection",
        connections: 16,
        of: |content| content.manifest.path.clone(),
        unit: Unit::Requests,
    },
];

/// Measures `hits`, each over HTTP and HTTPS; new connections over HTTPS only, where they cost something.
pub async fn measure(bench: &Bench, hits: &[Hit]) -> Outcome<Vec<Line>> {
    say("hits: starting everybody and filling them");
    let contenders = start(bench).await?;
    let mut lines = Vec::new();
    for tls in [false, true] {
        for hit in hits.iter().filter(|hit| tls || !hit.fresh) {
            lines.push(row(bench, &contenders, *hit, tls).await?);
        }
    }
    Ok(lines)
}

/// The bare loop comes last: it needs the headers of chandler's answers.
async fn start(bench: &Bench) -> Outcome<Vec<Contender>> {
    let mut contenders = Vec::new();
    for kind in bench.kinds.iter().copied().filter(|kind| *kind != Kind::Bare) {
        contenders.push(filled(bench, kind).await?);
    }
    let chandler = contenders.iter().find(|one| one.kind == Kind::Chandler).ok_or("chandler is always measured")?;
    let mut routes = Vec::new();
    for hit in HITS {
        let path = (hit.of)(&bench.content);
        let headers = headers(&format!("{}{path}", chandler.url(false))).await?;
        routes.push(bare::Route { file: bench.content.root.join(&path[1..]), headers, path });
    }
    let file = bench.yard.folder.join("routes.json");
    fs::write(&file, serde_json::to_vec(&routes)?)?;
    contenders.push(Contender::start(&bench.yard, Kind::Bare, "", Some(&file)).await?);
    Ok(contenders)
}

/// One that has everything already.
pub(super) async fn filled(bench: &Bench, kind: Kind) -> Outcome<Contender> {
    let one = Contender::start(&bench.yard, kind, &bench.hub.url(Speed::Free), None).await?;
    for tls in [false, true] {
        fill(bench, &one, tls).await?;
    }
    Ok(one)
}

/// Twice: some peers store only after they have answered.
async fn fill(bench: &Bench, one: &Contender, tls: bool) -> Outcome<()> {
    let content = &bench.content;
    for _ in 0..2 {
        for object in [&content.manifest, &content.big, &content.mid, &content.small] {
            herd(&format!("{}{}", one.url(tls), object.path), 1, &object.bytes).await?;
        }
        herd(&format!("{}{}", one.url(tls), Content::tag_path()), 1, &content.manifest.bytes).await?;
    }
    Ok(())
}

async fn row(bench: &Bench, contenders: &[Contender], hit: Hit, tls: bool) -> Outcome<Line> {
    let name = format!("{}, {}", hit.name, if tls { "HTTPS" } else { "HTTP" });
    let mut samples: Vec<Samples> = contenders.iter().map(|one| Samples::of(one.kind)).collect();
    for round in 0..bench.effort.hit_rounds {
        for turn in 0..contenders.len() {
            let place = (turn + round) % contenders.len();
            samples[place].values.push(hit.turn(bench, &contenders[place], tls, bench.effort.hit_time).await?);
            samples[place].memory = Some(contenders[place].memory(tls));
        }
    }
    let line = Line::compared(name, samples, Better::Higher, |value| hit.show(value));
    say(&format!("{}: {}", line.name, line.cells.join(" | ")));
    Ok(line)
}

impl Hit {
    /// One contender's turn: what it does while it is asked for `time`.
    pub(super) async fn turn(&self, bench: &Bench, one: &Contender, tls: bool, time: Duration) -> Outcome<f64> {
        let url = format!("{}{}", one.url(tls), (self.of)(&bench.content));
        let of = Load { connections: self.connections, fresh: self.fresh, time };
        Ok(self.unit.of(load(&bench.yard.programs.wrk, &bench.script, &url, of).await?))
    }

    /// A figure with its unit.
    pub(super) fn show(&self, value: f64) -> String {
        self.unit.show(value)
    }
}

impl Unit {
    fn of(self, rate: Rate) -> f64 {
        match self {
            Self::Megabytes => rate.bytes / 1e6,
            Self::Requests => rate.requests,
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Megabytes => format!("{value:.0} MB/s"),
            Self::Requests => format!("{value:.0} /s"),
        }
    }
}

/// How much of everything is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of the rows whose content is cold.
    pub cold_rounds: usize,
    /// Rounds of a row of hits.
    pub hit_rounds: usize,
    /// How long a round of hits is.
    pub hit_time: Duration,
    /// Rounds of each comparison between files and ACME.
    pub acme_rounds: usize,
    /// Rounds of an engine's pulls: short, and the least even of all.
    pub pull_rounds: usize,
}
