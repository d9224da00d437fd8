// SPDX-License-Identifier: GPL-2.0

//! Figures from a record that is known, and a load on a file system without upgrades.

use bento_bench::{
    load::{
        measure,
        Kind,
        Plan, //
    },
    plot,
    prepare::prepare,
    record::{
        Measurement,
        Operation,
        Upgrade,
        Window, //
    },
    report::{
        flat,
        gap,
        percentile,
        Figures,
        Results, //
    }, //
};
use std::time::Duration;

const MS: u64 = 1_000_000;

fn operation(thread: u32, start: u64, latency: u64) -> Operation {
    Operation {
        thread,
        start: start * MS,
        latency: latency * MS,
    }
}

fn window(start: u64, upgrade: bool) -> Window {
    Window {
        start: start * MS,
        end: (start + 100) * MS,
        at: (start + 20) * MS,
        upgrade,
    }
}

/// An operation each millisecond, but one of 30 ms after the upgrade at 120.
fn record(pause: u64) -> Measurement {
    let mut operations: Vec<_> = (0..120)
        .chain(150..200)
        .map(|ms| operation(0, ms, 1))
        .collect();
    operations.insert(120, operation(0, 120, 30));
    Measurement {
        operations,
        windows: vec![window(0, false), window(100, true)],
        upgrades: vec![Upgrade {
            pause,
            ..Upgrade::default()
        }],
    }
}

#[test]
fn percentiles_are_by_nearest_rank() {
    let values: Vec<u64> = (1..=200).rev().collect();
    assert_eq!(
        [1, 50, 99, 100].map(|p| percentile(&values, p)),
        [2, 100, 198, 200]
    );
    assert_eq!(percentile(&[7], 50), 7);
    assert_eq!(percentile(&[], 99), 0);
}

#[test]
fn a_gap_is_the_longest_operation_that_touches_the_window() {
    let operations = [
        operation(0, 0, 10),
        operation(1, 95, 50),
        operation(0, 200, 70),
    ];
    assert_eq!(gap(&operations, &window(0, false)), 50 * MS);
    assert_eq!(gap(&operations, &window(100, false)), 50 * MS);
    assert_eq!(gap(&operations, &window(145, false)), 70 * MS);
    assert_eq!(gap(&operations, &window(300, false)), 0);
}

#[test]
fn figures_and_bars() {
    let figures = Figures::new(&record(11 * MS));
    assert_eq!(figures.gap_with, [30 * MS; 3]);
    assert_eq!(figures.gap_without, [MS; 3]);
    assert_eq!(figures.step("pause"), [11 * MS; 3]);
    assert_eq!((figures.after, figures.after_without), (50, [60, 60]));
    assert_eq!((figures.upgrades, figures.held_up), (1, 0));
    let mut held = record(MS);
    held.upgrades.clear();
    assert_eq!(Figures::new(&held).held_up, 1);
    let met: Vec<_> = figures.bars().into_iter().map(|(_, met)| met).collect();
    assert_eq!(met, [Some(false); 3]);
    let mut good = record(MS);
    good.windows[1].upgrade = false;
    good.windows[0].upgrade = true;
    let met: Vec<_> = Figures::new(&good)
        .bars()
        .into_iter()
        .map(|(_, met)| met)
        .collect();
    assert_eq!(met, [Some(true), Some(true), Some(false)]);
    // Nothing against nothing is no bar that is met
    let nothing = Figures::new(&Measurement::default());
    assert!(nothing.bars().iter().all(|(_, met)| met.is_none()));
}

#[test]
fn a_pause_that_grows_with_the_inodes_is_told() {
    let mut results = Results::new();
    for (cached, pause) in [(1000, 1), (100_000, 3)] {
        results.insert(("create".into(), cached), Figures::new(&record(pause * MS)));
    }
    assert_eq!(flat(&results)[0].1, Some(false));
    results.insert(("create".into(), 100_000), Figures::new(&record(2 * MS)));
    assert_eq!(flat(&results)[0].1, Some(true));
}

#[test]
fn records_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().expect("a folder");
    record(5).write(dir.path()).expect("files");
    assert_eq!(Measurement::read(dir.path()).expect("files"), record(5));
    std::fs::write(dir.path().join("windows.csv"), "head\n1,2,3\n").expect("a file");
    assert!(Measurement::read(dir.path()).is_err());
}

#[test]
fn throughput_is_counted_around_the_upgrade() {
    let rates = plot::throughput(&record(0), true);
    let rate = |at: i64| rates.iter().find(|(ms, _)| *ms == at).expect("a bin").1;
    assert_eq!((rate(-50), rate(5), rate(50)), (1000.0, 0.0, 1000.0));
}

#[test]
fn loads_run_on_any_file_system() {
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path(), 100, 1500).expect("files");
    for kind in [Kind::Create, Kind::Write, Kind::Mixed] {
        let plan = Plan {
            kind,
            cached: 1500,
            upgrades: 2,
            window: Duration::from_millis(40),
            between: None,
        };
        let measurement = measure(dir.path(), &plan).expect("a measurement");
        assert_eq!(measurement.windows.len(), 4);
        assert!(measurement.upgrades.is_empty());
        let threads = measurement.operations.iter().map(|op| op.thread).max();
        assert_eq!(
            threads,
            Some(if kind == Kind::Create { 0 } else { 9 }),
            "{kind:?}"
        );
    }
    // More than there are
    let plan = Plan {
        kind: Kind::Create,
        cached: 1501,
        upgrades: 1,
        window: Duration::from_millis(1),
        between: None,
    };
    assert!(measure(dir.path(), &plan).is_err());
}
