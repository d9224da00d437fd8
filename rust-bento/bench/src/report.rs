// SPDX-License-Identifier: GPL-2.0

//! What a measurement says.

use crate::record::{
    Measurement,
    Operation,
    Upgrade,
    Window, //
};
use bentoctl::show::duration;
use std::{
    collections::BTreeMap,
    fmt::Write, //
};

/// The longest pause, and by how much the client's gap may grow at its 99th percentile.
const BAR: u64 = 10_000_000;

/// The `percent`th percentile by nearest rank; 0 of nothing.
pub fn percentile(values: &[u64], percent: u64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as u64 * percent).div_ceil(100).max(1);
    sorted.get(rank as usize - 1).copied().unwrap_or(0)
}

/// The longest time in a window in which a thread ended no operation, over all threads. An operation
/// that reaches beyond the window counts in whole.
pub fn gap(operations: &[Operation], window: &Window) -> u64 {
    operations
        .iter()
        .filter(|op| op.start < window.end && op.end() > window.start)
        .map(|op| op.latency)
        .max()
        .unwrap_or(0)
}

/// Operations that ended between the two moments.
fn ended(operations: &[Operation], from: u64, to: u64) -> u64 {
    let inside = operations
        .iter()
        .filter(|op| (from..to).contains(&op.end()));
    inside.count() as u64
}

/// The figures of one measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Name, p50, p99 and maximum of each step.
    pub steps: Vec<(&'static str, [u64; 3])>,
    /// Upgrades, their retries, and how many were given up: an operation was in the way in every try.
    pub upgrades: u64,
    pub retries: u64,
    pub held_up: u64,
    /// p50, p99 and maximum of the client's gap, with and without an upgrade.
    pub gap_with: [u64; 3],
    pub gap_without: [u64; 3],
    /// p50, p99 and maximum of an operation's latency.
    pub latency: [u64; 3],
    /// Operations from the upgrade to the end of its window: the median; and the least and the most
    /// in the same part of the windows without one.
    pub after: u64,
    pub after_without: [u64; 2],
}

fn three(values: &[u64]) -> [u64; 3] {
    [50, 99, 100].map(|percent| percentile(values, percent))
}

impl Figures {
    /// Works them out.
    pub fn new(measurement: &Measurement) -> Self {
        type Step = (&'static str, fn(&Upgrade) -> u64);
        const STEPS: [Step; 6] = [
            ("stage", |u| u.stage),
            ("drain", |u| u.drain),
            ("transfer", |u| u.transfer),
            ("switch", |u| u.switch),
            ("pause", |u| u.pause),
            ("longest wait", |u| u.longest_wait),
        ];
        let operations = &measurement.operations;
        let of = |upgrade: bool, value: &dyn Fn(&Window) -> u64| -> Vec<u64> {
            let windows = measurement.windows.iter();
            windows
                .filter(|w| w.upgrade == upgrade)
                .map(value)
                .collect()
        };
        // A quarter is left out, in which those who waited catch up
        let after = |w: &Window| {
            let from = w.at + (w.end - w.at) / 4;
            ended(operations, from, w.end)
        };
        let without = of(false, &after);
        let asked = measurement.windows.iter().filter(|w| w.upgrade);
        let upgrades = measurement.upgrades.len() as u64;
        let latencies: Vec<u64> = operations.iter().map(|op| op.latency).collect();
        Self {
            steps: STEPS
                .iter()
                .map(|(name, value)| {
                    let values: Vec<u64> = measurement.upgrades.iter().map(value).collect();
                    (*name, three(&values))
                })
                .collect(),
            upgrades,
            retries: measurement.upgrades.iter().map(|u| u.retries).sum(),
            held_up: (asked.count() as u64).saturating_sub(upgrades),
            gap_with: three(&of(true, &|w| gap(operations, w))),
            gap_without: three(&of(false, &|w| gap(operations, w))),
            latency: three(&latencies),
            after: percentile(&of(true, &after), 50),
            after_without: [
                without.iter().min().copied().unwrap_or(0),
                without.iter().max().copied().unwrap_or(0),
            ],
        }
    }

    /// p50, p99 and maximum of a step.
    pub fn step(&self, name: &str) -> [u64; 3] {
        let found = self.steps.iter().find(|(step, _)| *step == name);
        found.map_or([0; 3], |(_, values)| *values)
    }

    /// Each bar, and whether it is met: `None` if nothing was measured that could tell.
    pub fn bars(&self) -> Vec<(String, Option<bool>)> {
        let [_, _, pause] = self.step("pause");
        let grown = self.gap_with[1].saturating_sub(self.gap_without[1]);
        let [least, most] = self.after_without;
        vec![
            (
                format!(
                    "longest pause {}, at most {}",
                    duration(pause),
                    duration(BAR)
                ),
                (pause > 0).then_some(pause <= BAR),
            ),
            (
                format!(
                    "p99 of the gap grows by {}, at most {}",
                    duration(grown),
                    duration(BAR)
                ),
                (self.gap_with[2] > 0 && self.gap_without[2] > 0).then_some(grown <= BAR),
            ),
            (
                format!(
                    "{} operations afterwards, without upgrade {least} to {most}",
                    self.after
                ),
                (most > 0).then_some((least..=most).contains(&self.after)),
            ),
        ]
    }
}

/// All measurements: load, cached inodes, figures.
pub type Results = BTreeMap<(String, u64), Figures>;

/// Whether the median pause stays within twice that of the fewest inodes, for each load.
pub fn flat(results: &Results) -> Vec<(String, Option<bool>)> {
    let mut loads: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for ((load, cached), figures) in results {
        loads
            .entry(load)
            .or_default()
            .push((*cached, figures.step("pause")[0]));
    }
    loads
        .into_iter()
        .filter(|(_, pauses)| pauses.len() > 1)
        .map(|(load, pauses)| {
            let (few, first) = pauses[0];
            let (many, last) = pauses[pauses.len() - 1];
            let text = format!(
                "{load}: median pause {} with {few} inodes cached, {} with {many}",
                duration(first),
                duration(last)
            );
            (text, (first > 0 && last > 0).then_some(last <= 2 * first))
        })
        .collect()
}

fn line(name: &str, [p50, p99, max]: [u64; 3]) -> String {
    let cells = [p50, p99, max].map(duration);
    format!(
        "  {name:28}{:>12}{:>12}{:>12}\n",
        cells[0], cells[1], cells[2]
    )
}

/// The report as text.
pub fn text(results: &Results) -> String {
    let mut out = format!("{:30}{:>12}{:>12}{:>12}\n", "", "p50", "p99", "maximum");
    let mut bars = Vec::new();
    for ((load, cached), figures) in results {
        let name = format!("{load}, {cached} inodes cached");
        let _ = writeln!(
            out,
            "{name}: {} upgrades, {} retries, {} held up",
            figures.upgrades, figures.retries, figures.held_up
        );
        for (step, values) in &figures.steps {
            out.push_str(&line(step, *values));
        }
        out.push_str(&line("gap, with an upgrade", figures.gap_with));
        out.push_str(&line("gap, without", figures.gap_without));
        out.push_str(&line("latency of an operation", figures.latency));
        for (bar, met) in figures.bars() {
            bars.push((format!("{load}, {cached}: {bar}"), met));
        }
    }
    bars.extend(flat(results));
    out.push('\n');
    for (bar, met) in bars {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "unmeasured",
        };
        let _ = writeln!(out, "{verdict:12}{bar}");
    }
    out
}
