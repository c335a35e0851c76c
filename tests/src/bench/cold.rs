//! Rows of content that nobody has yet: one client against going to the hub itself, and herds that ask for the same blob at once.
//! Each round starts each contender anew, with nothing stored but the manifest that a client reads before it asks for a blob.

use std::time::Duration;

use super::contender::{Contender, Kind};
use super::content::{Content, Object};
use super::hub::Speed;
use super::load::{Pull, herd};
use super::table::{Better, Line, Samples, median, ratios};
use super::{Bench, Outcome, say};

/// A herd and the one client it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Herd {
    clients: usize,
    is_small: bool,
    name: &'static str,
    /// What the command line calls it.
    pub row: &'static str,
    speed: Speed,
}

/// All herds.
pub const HERDS: [Herd; 2] = [
    Herd { row: "herd16", name: "cold herd of 16, 256 MiB at 60 MB/s", clients: 16, is_small: false, speed: Speed::Line },
    Herd { row: "herd200", name: "cold herd of 200, 16 MiB at 2 MB/s", clients: 200, is_small: true, speed: Speed::Slow },
];

/// What one contender did in all rounds.
struct Figures {
    alone: Vec<Pull>,
    alone_memory: u64,
    herds: Vec<Pull>,
    kind: Kind,
    memory: u64,
    multiples: Vec<f64>,
}

/// Measures a herd; `alone` adds the row of the one client against the hub itself.
pub async fn measure(bench: &Bench, row: Herd, alone: bool, herd_too: bool) -> Outcome<Vec<Line>> {
    let object = if row.is_small { &bench.content.herd } else { &bench.content.big };
    let kinds = bench.kinds.iter().copied().filter(|kind| *kind != Kind::Bare);
    let mut all: Vec<Figures> = kinds.map(Figures::of).collect();
    let mut direct = Vec::new();
    for round in 0..bench.effort.cold_rounds {
        direct.push(herd(&format!("{}{}", bench.hub.url(row.speed), object.path), 1, &object.bytes).await?);
        for turn in 0..all.len() {
            let place = (turn + round) % all.len();
            all[place].round(bench, row, object, herd_too).await?;
        }
    }
    let mut lines = Vec::new();
    if alone {
        lines.push(alone_line(&all, &direct));
    }
    if herd_too {
        lines.push(herd_line(row, &all));
    }
    for line in &lines {
        say(&format!("{}: {}", line.name, line.cells.join(" | ")));
    }
    Ok(lines)
}

impl Figures {
    fn of(kind: Kind) -> Self {
        Self { alone: Vec::new(), alone_memory: 0, herds: Vec::new(), kind, memory: 0, multiples: Vec::new() }
    }

    async fn round(&mut self, bench: &Bench, row: Herd, object: &Object, herd_too: bool) -> Outcome<()> {
        let upstream = bench.hub.url(row.speed);
        {
            let one = started(bench, self.kind, &upstream).await?;
            self.alone.push(herd(&format!("{}{}", one.url(false), object.path), 1, &object.bytes).await?);
            self.alone_memory = one.memory(false);
        }
        if herd_too {
            let before = bench.hub.sent(&object.path).await?;
            let one = started(bench, self.kind, &upstream).await?;
            self.herds.push(herd(&format!("{}{}", one.url(false), object.path), row.clients, &object.bytes).await?);
            self.memory = one.memory(false);
            let sent = bench.hub.sent(&object.path).await? - before;
            self.multiples.push(sent as f64 / object.bytes.len() as f64);
        }
        Ok(())
    }

    fn samples(&self, memory: u64, pulls: &[Pull], of: fn(&Pull) -> Duration) -> Samples {
        Samples { kind: self.kind, memory: Some(memory), values: pulls.iter().map(|pull| of(pull).as_secs_f64()).collect() }
    }
}

async fn started(bench: &Bench, kind: Kind, upstream: &str) -> Outcome<Contender> {
    let one = Contender::start(&bench.yard, kind, upstream, None).await?;
    let manifest = &bench.content.manifest;
    for path in [Content::tag_path(), manifest.path.clone()] {
        herd(&format!("{}{path}", one.url(false)), 1, &manifest.bytes).await?;
    }
    Ok(one)
}

fn alone_line(all: &[Figures], direct: &[Pull]) -> Line {
    let middle = |pulls: &[Pull], of: fn(&Pull) -> Duration| median(&pulls.iter().map(|pull| of(pull).as_secs_f64()).collect::<Vec<_>>());
    let (hub_first, hub_total) = (middle(direct, |pull| pull.first), middle(direct, |pull| pull.total));
    let samples: Vec<Samples> = all.iter().map(|one| one.samples(one.alone_memory, &one.alone, |pull| pull.total)).collect();
    let (to_best, _) = ratios(&samples, Better::Lower);
    let show = |one: &Figures| {
        let (first, total) = (middle(&one.alone, |pull| pull.first), middle(&one.alone, |pull| pull.total));
        format!("{:.1} ms, {total:.2} s", first * 1e3)
    };
    let ours = all.iter().find(|one| one.kind == Kind::Chandler);
    let is_met = ours.is_some_and(|one| {
        let (first, total) = (middle(&one.alone, |pull| pull.first), middle(&one.alone, |pull| pull.total));
        first <= hub_first + FIRST_BYTE && total <= hub_total * TIME
    });
    Line {
        cells: all.iter().map(show).collect(),
        is_met,
        name: format!("one cold pull of 256 MiB: first byte, total (the hub itself: {:.1} ms, {hub_total:.2} s)", hub_first * 1e3),
        to_best,
        to_bare: None,
        samples,
        target: "first ≤ hub + 5 ms, total ≤ 1.05 × hub".into(),
    }
}

fn herd_line(row: Herd, all: &[Figures]) -> Line {
    let seconds = |pulls: &[Pull]| median(&pulls.iter().map(|pull| pull.total.as_secs_f64()).collect::<Vec<_>>());
    let times = |one: &Figures| seconds(&one.herds) / seconds(&one.alone);
    let samples: Vec<Samples> = all.iter().map(|one| one.samples(one.memory, &one.herds, |pull| pull.total)).collect();
    let (to_best, _) = ratios(&samples, Better::Lower);
    let show = |one: &Figures| format!("{:.2} × bytes, {:.2} s = {:.2} × alone", median(&one.multiples), seconds(&one.herds), times(one));
    let ours = all.iter().find(|one| one.kind == Kind::Chandler);
    Line {
        cells: all.iter().map(show).collect(),
        is_met: ours.is_some_and(|one| median(&one.multiples) <= BYTES && times(one) <= TIME),
        name: row.name.into(),
        to_best,
        to_bare: None,
        samples,
        target: "1.00 × bytes, ≤ 1.05 × alone".into(),
    }
}

const FIRST_BYTE: f64 = 0.005;
const TIME: f64 = 1.05;
const BYTES: f64 = 1.0005;
