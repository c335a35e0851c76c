//! From starting the program on a store of 100,000 blobs to the first hit.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::sleep;

use super::contender::{Contender, Kind};
use super::hub::Speed;
use super::load::herd;
use super::table::{Better, Line, Samples, ratios};
use super::{Bench, Outcome, say};

/// Measures the row. nginx is not asked: its index is a format of its own.
pub async fn measure(bench: &Bench) -> Outcome<Vec<Line>> {
    let mut samples = Vec::new();
    for kind in bench.kinds.iter().copied().filter(|kind| !matches!(kind, Kind::Bare | Kind::Nginx)) {
        samples.push(starts(bench, kind).await?);
    }
    let (to_best, _) = ratios(&samples, Better::Lower);
    let ours = samples.iter().find(|one| one.kind == Kind::Chandler).map(Samples::median);
    let line = Line {
        cells: samples.iter().map(|one| format!("{:.0} ms", one.median() * 1e3)).collect(),
        is_met: ours.is_some_and(|seconds| seconds <= 1.0),
        name: "start with 100,000 stored blobs to the first hit".into(),
        to_best,
        to_bare: None,
        samples,
        target: "≤ 1 s".into(),
    };
    say(&format!("{}: {}", line.name, line.cells.join(" | ")));
    Ok(vec![line])
}

async fn starts(bench: &Bench, kind: Kind) -> Outcome<Samples> {
    let mut one = Contender::start(&bench.yard, kind, &bench.hub.url(Speed::Free), None).await?;
    let small = &bench.content.small;
    let url = format!("{}{}", one.url(false), small.path);
    for object in [&bench.content.manifest, small, small] {
        herd(&format!("{}{}", one.url(false), object.path), 1, &object.bytes).await?;
    }
    one.stop();
    say(&format!("start: writing {BLOBS} blobs for {}", kind.name()));
    crowd(kind, &one.store())?;
    let mut samples = Samples::of(kind);
    for _ in 0..bench.effort.cold_rounds {
        let began = Instant::now();
        one.spawn()?;
        while herd(&url, 1, &small.bytes).await.is_err() {
            if began.elapsed() > PATIENCE {
                return Err(format!("{} does not answer {PATIENCE:?} after its start", kind.name()).into());
            }
            sleep(POLL).await;
        }
        samples.values.push(began.elapsed().as_secs_f64());
        // Whatever it does after the first answer is part of what a start takes.
        sleep(SETTLE).await;
        samples.memory = Some(one.memory(false));
        one.stop();
    }
    Ok(samples)
}

/// Blobs of one byte in the layout of `kind`. Names are all that matters: nobody reads them.
fn crowd(kind: Kind, store: &Path) -> Outcome<()> {
    for number in 0..BLOBS {
        let hash = hex::encode(digest(&SHA256, &number.to_le_bytes()));
        let file = match kind {
            Kind::Chandler => store.join("blobs/sha256").join(&hash[..2]).join(&hash),
            _ => store.join("docker/registry/v2/blobs/sha256").join(&hash[..2]).join(&hash).join("data"),
        };
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, b"x")?;
    }
    Ok(())
}

const BLOBS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(2);
const SETTLE: Duration = Duration::from_secs(3);
