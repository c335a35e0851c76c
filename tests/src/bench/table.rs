//! The figures as one Markdown table: medians, ratios (above 1 is better than the other, whatever the unit), and whether the target is met.

use std::fmt::Write as _;

use super::contender::Kind;

/// All rounds of one contender in one row.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Whose.
    pub kind: Kind,
    /// Memory after the row, in bytes.
    pub memory: Option<u64>,
    /// One figure per round.
    pub values: Vec<f64>,
}

/// Which figures are good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times.
    Lower,
}

/// One row.
#[derive(Debug)]
pub struct Line {
    /// What each contender's cell says, in the order of `samples`.
    pub cells: Vec<String>,
    /// Whether the target is met; the memory's limit comes on top.
    pub is_met: bool,
    /// What was measured.
    pub name: String,
    /// Against the best peer, where that makes sense.
    pub to_best: Option<f64>,
    /// Against the bare loop.
    pub to_bare: Option<f64>,
    /// The figures.
    pub samples: Vec<Samples>,
    /// The target, in words.
    pub target: String,
}

impl Samples {
    /// For `kind`, with no figures yet.
    pub fn of(kind: Kind) -> Self {
        Self { kind, memory: None, values: Vec::new() }
    }

    /// The middle figure.
    pub fn median(&self) -> f64 {
        median(&self.values)
    }
}

impl Line {
    /// A row whose target is 0.97 of the lower of the best peer and the bare loop.
    pub fn compared(name: String, samples: Vec<Samples>, better: Better, show: impl Fn(f64) -> String) -> Self {
        let (to_best, to_bare) = ratios(&samples, better);
        let least = [to_best, to_bare].into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
        Self {
            cells: samples.iter().map(|one| show(one.median())).collect(),
            is_met: least >= SHARE,
            name,
            to_best,
            to_bare,
            samples,
            target: format!("≥ {SHARE}"),
        }
    }

    /// A row for chandler in another way, whose target is 0.97 of its first way. `ratio` is the other against the first, `itself` the first against its own next turn.
    pub fn between(name: String, samples: Samples, (ratio, itself): (f64, f64), show: impl Fn(f64) -> String) -> Self {
        Self {
            cells: vec![format!("{}, {ratio:.2} of files (files of themselves {itself:.2})", show(samples.median()))],
            is_met: ratio >= SHARE,
            name,
            to_best: None,
            to_bare: None,
            samples: vec![Samples { kind: Kind::Chandler, ..samples }], // In its column.
            target: format!("≥ {SHARE} of files"),
        }
    }

    fn memory_is_met(&self) -> bool {
        self.samples.iter().filter(|one| one.kind == Kind::Chandler).all(|one| one.memory.is_none_or(|bytes| bytes < MEMORY))
    }

    fn memory(&self, of: impl Fn(Kind) -> bool) -> String {
        let mine = self.samples.iter().filter(|one| of(one.kind)).map(|one| one.memory.map_or_else(none, mebibytes));
        let mine: Vec<String> = mine.collect();
        if mine.iter().all(|text| text == NONE) { none() } else { mine.join(" / ") }
    }
}

/// chandler against the best peer and against the bare loop.
pub fn ratios(samples: &[Samples], better: Better) -> (Option<f64>, Option<f64>) {
    let median_of = |kind: Kind| samples.iter().find(|one| one.kind == kind && !one.values.is_empty()).map(Samples::median);
    let Some(ours) = median_of(Kind::Chandler) else { return (None, None) };
    let ratio = |theirs: f64| if better == Better::Higher { ours / theirs } else { theirs / ours };
    let peers = samples.iter().filter(|one| one.kind.is_peer() && !one.values.is_empty());
    let worst_ratio = peers.map(|one| ratio(one.median())).reduce(f64::min);
    (worst_ratio, median_of(Kind::Bare).map(ratio))
}

/// The whole table, its columns in the order of `kinds`.
pub fn markdown(lines: &[Line], kinds: &[Kind]) -> String {
    let mut text = String::from("| row |");
    for kind in kinds {
        let _ = write!(text, " {} |", kind.name());
    }
    let peers: Vec<&str> = kinds.iter().filter(|kind| kind.is_peer()).map(|kind| kind.name()).collect();
    let _ = writeln!(text, " ÷ best peer | ÷ bare loop | memory, MiB | theirs ({}) | target | met |", peers.join(" / "));
    let _ = writeln!(text, "|{}", "---|".repeat(kinds.len() + 7));
    for line in lines {
        let _ = write!(text, "| {} |", line.name);
        for kind in kinds {
            let place = line.samples.iter().position(|one| one.kind == *kind && !one.values.is_empty());
            let _ = write!(text, " {} |", place.map_or(NONE, |place| &line.cells[place]));
        }
        let ratio = |value: Option<f64>| value.map_or_else(none, |value| format!("{value:.2}"));
        let met = match (line.is_met, line.memory_is_met()) {
            (true, true) => "yes",
            (true, false) => "**no: memory**",
            (false, _) => "**no**",
        };
        let (ours, theirs) = (line.memory(|kind| kind == Kind::Chandler), line.memory(Kind::is_peer));
        let _ = writeln!(text, " {} | {} | {ours} | {theirs} | {} | {met} |", ratio(line.to_best), ratio(line.to_bare), line.target);
    }
    text
}

/// The middle of some figures; of an even number the mean of both middles.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Bytes as MiB.
fn mebibytes(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / f64::from(1 << 20))
}

fn none() -> String {
    NONE.to_owned()
}

const NONE: &str = "–";
const SHARE: f64 = 0.97;
/// What chandler may take after any row.
const MEMORY: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(kind: Kind, values: &[f64]) -> Samples {
        Samples { kind, memory: Some(20 << 20), values: values.to_vec() }
    }

    #[test]
    fn the_target_is_the_lower_of_the_best_peer_and_the_bare_loop() {
        let figures = |ours: f64| {
            vec![
                samples(Kind::Chandler, &[ours, 1.0, 1e9]),
                samples(Kind::Nginx, &[100.0]),
                samples(Kind::Distribution3, &[10.0]),
                samples(Kind::Bare, &[200.0, 220.0]),
            ]
        };
        let line = |ours| Line::compared("row".into(), figures(ours), Better::Higher, |value| format!("{value:.0}"));
        assert!(line(97.0).is_met && !line(96.0).is_met);
        assert_eq!((line(105.0).to_best, line(105.0).to_bare), (Some(1.05), Some(0.5)));
    }

    #[test]
    fn another_way_of_ours_is_held_against_the_first() {
        let between =
            |ratio| Line::between("row, by ACME".into(), samples(Kind::Issued, &[98.0]), (ratio, 1.01), |value| format!("{value:.0}"));
        assert!(between(0.97).is_met && !between(0.96).is_met);
        let table = markdown(&[between(0.98)], &[Kind::Chandler, Kind::Nginx]);
        assert_eq!(
            table.lines().last(),
            Some("| row, by ACME | 98, 0.98 of files (files of themselves 1.01) | – | – | – | 20 | – | ≥ 0.97 of files | yes |")
        );
    }

    #[test]
    fn of_times_the_shorter_is_better() {
        let figures = vec![samples(Kind::Chandler, &[2.0]), samples(Kind::Nginx, &[4.0]), samples(Kind::Distribution3, &[3.0])];
        assert_eq!(ratios(&figures, Better::Lower), (Some(1.5), None));
    }

    #[test]
    fn too_much_memory_misses_the_target_of_any_row() {
        let mut figures = vec![samples(Kind::Chandler, &[2.0]), samples(Kind::Nginx, &[1.0])];
        figures[0].memory = Some(65 << 20);
        let line = Line::compared("row".into(), figures, Better::Higher, |value| format!("{value:.0}"));
        let table = markdown(&[line], &[Kind::Chandler, Kind::Nginx]);
        assert_eq!(table.lines().last(), Some("| row | 2 | 1 | 2.00 | – | 65 | 20 | ≥ 0.97 | **no: memory** |"));
    }
}
