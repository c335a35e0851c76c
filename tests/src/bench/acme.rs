//! HTTPS with a certificate that came by ACME beside one from files: what the resolver costs.
//!
//! Both are chandler, so less lies between them than between one second of this machine and the next. Each round is files, ACME, files: the one in the middle is held against the mean of its
//! neighbours, so that a drift of the machine meets both alike, and the neighbours are held against each other, which tells how much of a difference is the machine's alone.

use super::contender::{Contender, Kind};
use super::hits::{HITS, Hit, filled};
use super::table::{Line, Samples, median};
use super::{Bench, Outcome, say};

/// One round's figures.
#[derive(Clone, Copy, Debug)]
struct Round {
    before: f64,
    issued: f64,
    after: f64,
}

/// Each row of hits over HTTPS, in both ways.
pub async fn measure(bench: &Bench) -> Outcome<Vec<Line>> {
    say("acme: starting chandler twice, with files and with a CA");
    let (files, issued) = (filled(bench, Kind::Chandler).await?, filled(bench, Kind::Issued).await?);
    let mut lines = Vec::new();
    for hit in HITS {
        let line = row(bench, hit, &files, &issued).await?;
        say(&format!("{}: {}", line.name, line.cells.join(" | ")));
        lines.push(line);
    }
    Ok(lines)
}

async fn row(bench: &Bench, hit: Hit, files: &Contender, issued: &Contender) -> Outcome<Line> {
    let time = bench.effort.hit_time;
    let mut rounds = Vec::new();
    for _ in 0..bench.effort.acme_rounds {
        rounds.push(Round {
            before: hit.turn(bench, files, true, time).await?,
            issued: hit.turn(bench, issued, true, time).await?,
            after: hit.turn(bench, files, true, time).await?,
        });
    }
    let samples =
        Samples { kind: Kind::Issued, memory: Some(issued.memory(true)), values: rounds.iter().map(|round| round.issued).collect() };
    Ok(Line::between(format!("{}, HTTPS, by ACME", hit.name), samples, compared(&rounds), |value| hit.show(value)))
}

/// ACME against files, and files against themselves.
fn compared(rounds: &[Round]) -> (f64, f64) {
    let of = |ratio: fn(&Round) -> f64| median(&rounds.iter().map(ratio).collect::<Vec<f64>>());
    (of(|round| round.issued / f64::midpoint(round.before, round.after)), of(|round| round.after / round.before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slows_down_makes_neither_way_the_worse_one() {
        let slowing = [100.0, 80.0, 60.0].map(|speed| Round { before: speed, issued: speed - 5.0, after: speed - 10.0 });
        let (ratio, itself) = compared(&slowing);
        assert!((ratio - 1.0).abs() < 1e-9 && itself < 0.9, "{ratio} {itself}");
        let worse = slowing.map(|round| Round { issued: round.issued * 0.9, ..round });
        assert!((compared(&worse).0 - 0.9).abs() < 1e-9);
    }
}
