// SPDX-License-Identifier: GPL-2.0

//! A run: rounds, in each of them the visits, each with all systems in turn.
//!
//! All systems use one disk, which is formatted for each visit: so they have the same blocks of the same disk below them,
//! in the same state. Who comes first changes from visit to visit and from round to round, and the order is turned round every other
//! time: what the host does meanwhile, or the disk keeps of the one before, is not always to the same system's harm.

use super::{
    environment,
    plan::Plan,
    sample::{
        Row,
        Sample,
        Unit,
        HEAD, //
    },
    system::System,
    visit::Visit,
    work, //
};
use std::{
    fs,
    io,
    path::{
        Path,
        PathBuf, //
    },
    time::Instant, //
};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub plan: Plan,
    pub disk: PathBuf,
    /// Where to mount.
    pub dir: PathBuf,
    /// The archives that are worked with.
    pub input: PathBuf,
    /// The record.
    pub out: PathBuf,
    /// Those that are wanted.
    pub systems: Vec<System>,
}

/// The systems in the order of their turns, one order for each number.
pub fn order(systems: &[System], number: usize) -> Vec<System> {
    let mut order = systems.to_vec();
    if !order.is_empty() {
        let first = number / 2 % order.len();
        order.rotate_left(first);
    }
    if number % 2 == 1 {
        order.reverse();
    }
    order
}

/// Where a visit's samples are. The names sort as the visits come.
fn place(out: &Path, (number, name): (usize, &str), round: u64, system: System) -> PathBuf {
    let file = format!("{number:02}-{name}-{round}-{}.csv", system.name());
    out.join("samples").join(file)
}

/// Writes them so that they are there in whole or not at all: a visit that is there is not made again.
fn write(path: &Path, samples: &[Sample]) -> io::Result<()> {
    let mut text = format!("{HEAD}\n");
    for sample in samples {
        text.push_str(&format!("{sample}\n"));
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// Runs what the record does not have yet. Returns the failures.
pub fn run(options: &Options) -> io::Result<Vec<String>> {
    fs::create_dir_all(options.out.join("samples"))?;
    let (systems, missing): (Vec<_>, Vec<_>) = options
        .systems
        .iter()
        .map(|&system| (system, system.missing()))
        .partition(|(_, missing)| missing.is_none());
    let systems: Vec<System> = systems.into_iter().map(|(system, _)| system).collect();
    let boot = environment::write(options, &systems, &missing)?;
    let visits = &options.plan.visits;
    let mut failures = Vec::new();
    for round in 0..options.plan.rounds {
        for (at, (name, groups)) in visits.iter().enumerate() {
            for system in order(&systems, round as usize + at) {
                let path = place(&options.out, (at, name), round, system);
                if path.exists() {
                    continue;
                }
                let begin = Instant::now();
                let paths = [&options.disk, &options.dir, &options.input];
                let mut visit = Visit::new(
                    &options.plan,
                    paths.map(PathBuf::as_path),
                    (system, round, boot),
                );
                if let Err(error) = work::run(groups, &mut visit) {
                    failures.push(format!("{name} on {}: {error}", system.name()));
                    visit.failed(Row::new("failed", *name, Unit::Runs), error);
                }
                let samples = visit.into_samples();
                println!(
                    "round {} of {}: {name}: {}: {} rows, {:.1} s",
                    round + 1,
                    options.plan.rounds,
                    system.name(),
                    samples.len(),
                    begin.elapsed().as_secs_f64()
                );
                write(&path, &samples)?;
            }
        }
    }
    Ok(failures)
}

/// All samples of a record, in the order of the visits.
pub fn read(out: &Path) -> io::Result<Vec<Sample>> {
    let wrong = |text| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(out.join("samples"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "csv"));
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        for line in fs::read_to_string(path)?.lines().skip(1) {
            samples.push(line.parse().map_err(wrong)?);
        }
    }
    Ok(samples)
}
