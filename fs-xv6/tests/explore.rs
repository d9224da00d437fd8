// SPDX-License-Identifier: GPL-2.0

//! Crashes in every short sequence of operations and in some long ones, at every flush, with every
//! part of what was written since the last one lost.
//!
//! The long form (`BENTO_LONG=1`) runs all sequences of two operations; the short one takes some
//! of them by chance, always the same. `BENTO_ONLY=TEXT` takes those that have this in what is
//! printed of them. What is broken on purpose has to be found.

mod common;

use bento_testing::{
    is_long,
    workload::{
        ace,
        explore,
        Effort,
        Model,
        Op,
        Player,
        Random,
        Report,
        World, //
    },
};
use kernel::{
    bento::FileSystem,
    print::Capture,
    user::device::{
        Device,
        MemDevice, //
    },
};
use std::{
    sync::{
        atomic::{
            AtomicUsize,
            Ordering, //
        },
        Arc,
        Mutex, //
    },
    thread,
};
use xv6::Xv6;

/// Blocks of a volume.
const VOLUME: u64 = 4096;

fn world<F: FileSystem>() -> World {
    let start = MemDevice::clone(&common::format(VOLUME));
    World::new::<F>(start, common::check).unwrap()
}

/// The volume that sequences begin with.
fn prepared<F: FileSystem>(world: &World) -> (MemDevice, Model) {
    let mut player = Player::<F>::new(world).unwrap();
    for op in ace::setup() {
        player.step(&op).unwrap();
    }
    player.step(&Op::Remount).unwrap();
    (player.device().content(), player.model().clone())
}

/// Explores sequences, on two threads.
fn run<F: FileSystem>(world: &World, sequences: &[Vec<Op>], effort: &Effort) -> Report {
    let (start, model) = prepared::<F>(world);
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Report::default());
    let work = || {
        let _quiet = Capture::start();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(sequence) = sequences.get(number) else {
                break;
            };
            let effort = Effort {
                seed: effort.seed ^ (number as u64) << 32,
                ..*effort
            };
            let report = explore::<F>(world, (&start, &model), sequence, &effort);
            total.lock().unwrap().merge(report);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    total.into_inner().unwrap()
}

#[track_caller]
fn none_wrong(what: &str, report: &Report) {
    println!(
        "{what}: {} sequences, {} crashes ({} with every state), {} states, {} violations",
        report.workloads,
        report.cuts,
        report.exhausted,
        report.states,
        report.violations.len()
    );
    let some: Vec<_> = report.violations.iter().take(5).collect();
    assert!(some.is_empty(), "{some:#?}");
}

/// So many of all sequences, by chance, the same each time.
fn some_of_two(count: usize) -> Vec<Vec<Op>> {
    let mut random = Random(1);
    let mut numbers: Vec<usize> = (0..ace::count()).collect();
    for at in 0..count {
        let other = at as u64 + random.below((numbers.len() - at) as u64);
        numbers.swap(at, other as usize);
    }
    let some = &numbers[..count];
    some.iter().map(|number| ace::sequence(*number)).collect()
}

#[test]
fn two_operations() {
    let (sequences, states) = match is_long() {
        true => (ace::count(), 24),
        false => (220, 8),
    };
    let mut some = some_of_two(sequences);
    let only = std::env::var("BENTO_ONLY");
    if let Ok(only) = &only {
        some.retain(|sequence| format!("{sequence:?}").contains(only));
    }
    let effort = Effort {
        states,
        torn: 2,
        seed: 1,
    };
    let report = run::<Xv6>(&world::<Xv6>(), &some, &effort);
    none_wrong("two operations", &report);
    if only.is_ok() {
        return;
    }
    assert!(report.states >= if is_long() { 100_000 } else { 5000 });
}

/// One operation, with a greater part of its states.
#[test]
fn one_operation() {
    let effort = Effort {
        states: if is_long() { 1024 } else { 32 },
        torn: 4,
        seed: 2,
    };
    let operations = ace::operations().into_iter();
    let some: Vec<_> = operations
        .map(|(op, target)| vec![op, Op::Fsync(target)])
        .collect();
    none_wrong(
        "one operation",
        &run::<Xv6>(&world::<Xv6>(), &some, &effort),
    );
}

/// Long sequences by chance, with few syncs and with many.
#[test]
fn random_operations() {
    let (sequences, states) = if is_long() { (200, 24) } else { (6, 8) };
    let sequence = |seed| {
        let mut random = Random(seed);
        let bytes: Vec<u8> = (0..2000).map(|_| random.next() as u8).collect();
        let syncs = |op: &Op| matches!(op, Op::Fsync(_) | Op::Fdatasync(_) | Op::Sync | Op::Commit);
        // A crash comes where the explorer says.
        let ends = |op: &Op| matches!(op, Op::Crash(_) | Op::Remount | Op::Inject(_));
        let mut ops = Op::decode(&bytes, 300);
        ops.retain(|op| !ends(op) && (seed % 2 == 0 || !syncs(op) || random.below(4) == 0));
        ops.truncate(80);
        ops
    };
    let some: Vec<_> = (0..sequences).map(sequence).collect();
    let effort = Effort {
        states,
        torn: 2,
        seed: 4,
    };
    none_wrong(
        "random operations",
        &run::<Xv6>(&world::<Xv6>(), &some, &effort),
    );
}

const SABOTAGE: Effort = Effort {
    states: 8,
    torn: 0,
    seed: 3,
};

/// A device that does not flush: what was promised gets lost.
#[test]
fn a_lying_device_is_found_out() {
    let world = World {
        honest: false,
        ..world::<Xv6>()
    };
    let report = run::<Xv6>(&world, &some_of_two(20), &SABOTAGE);
    let wrong = report.violations.len();
    println!("{wrong} of {} states", report.states);
    assert!(wrong * 10 > report.states);
}

/// A recovery that does not replay: the journal is empty when anybody looks.
#[test]
fn a_missing_replay_is_found_out() {
    fn forget_journal(device: &MemDevice) {
        let journal = Xv6::probe(kernel::user::Session::new(Arc::new(device.clone())).volume());
        let journal = journal.unwrap().journal;
        // Behind its super block.
        device.zero(journal.start + 1, journal.len - 1).unwrap();
    }
    let world = World {
        tamper: forget_journal,
        ..world::<Xv6>()
    };
    let report = run::<Xv6>(&world, &some_of_two(20), &SABOTAGE);
    let wrong = report.violations.len();
    println!("{wrong} of {} states", report.states);
    assert!(wrong * 10 > report.states);
}
