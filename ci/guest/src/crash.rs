// SPDX-License-Identifier: GPL-2.0

//! Verifies what a killed load left, and replays a recorded device at many points in time.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::fs;
use crate::fs::Small;
use crate::load;
use crate::model;
use crate::pattern::Rng;
use crate::record;
use crate::record::Line;
use crate::writelog::Log;
use crate::writelog::DISCARD;
use crate::writelog::FLUSH;
use crate::writelog::FUA;

/// Compares `dir` with the newest run of the record.
pub fn verify(dir: &Path, device: &Path) -> Result<()> {
    let (run, lines) = record::read(device)?;
    if run == 0 {
        println!("# no run is recorded yet");
        return Ok(());
    }
    let found = model::check(&load::root(dir, run), &lines)?;
    println!(
        "# run {run}: {} lines, {} names, {} of them promised, {} KiB",
        lines.len(),
        found.names,
        found.promised,
        found.bytes / 1024
    );
    Ok(())
}

/// Where the parts of the device are, in bytes.
#[derive(Clone, Copy)]
pub struct Layout {
    pub fs: (u64, u64),
    pub record: (u64, u64),
}

/// Applies the writes of an entry that fall into the file system's part.
fn apply(log: &Log, at: usize, image: &File, layout: Layout) -> Result<()> {
    let entry = &log.entries[at];
    let (start, len) = layout.fs;
    if entry.len == 0 || entry.offset < start || entry.offset >= start + len {
        return Ok(());
    }
    image.write_all_at(&log.data(entry)?, entry.offset - start)?;
    Ok(())
}

/// Where a recorded device is cut.
#[derive(Clone, Copy)]
pub enum Cuts {
    /// At so many places by chance: half of them at flushes, half between.
    Some(usize),
    /// At every n-th of the flushes and the writes with FUA.
    Every(usize),
}

/// Cuts the log, and looks at what is there at each place.
///
/// Between two flushes a disk may have kept any of the writes: there, each one is kept or lost by chance,
/// but for those with FUA.
pub fn replay(
    kind: &str,
    scratch: &Path,
    log: &Path,
    layout: Layout,
    cuts: Cuts,
    seed: u64,
) -> Result<()> {
    let log = Log::open(log)?;
    std::fs::create_dir_all(scratch)?;
    let mut rng = Rng::new(seed);
    let in_record =
        |offset: u64| offset >= layout.record.0 && offset < layout.record.0 + layout.record.1;
    // Before the load began there is nothing to look at
    let mut lines: Vec<(usize, u64, Line)> = Vec::new();
    let mut run = 0;
    for (at, entry) in log.entries.iter().enumerate() {
        if entry.flags & DISCARD != 0 || !in_record(entry.offset) {
            continue;
        }
        for sector in log.data(entry)?.chunks(record::SECTOR) {
            if let Some((of, number, line)) = record::decode(sector) {
                if line == Line::Start {
                    lines.clear();
                    run = of;
                }
                if of == run {
                    lines.push((at, number, line));
                }
            }
        }
    }
    let first = lines.first().context("the log has no record of a load")?.0;
    let flushes: Vec<usize> = (first..log.entries.len())
        .filter(|at| log.entries[*at].flags & FLUSH != 0)
        .collect();
    ensure!(
        flushes.len() >= 2,
        "the log has {} flushes under load",
        flushes.len()
    );
    println!(
        "# {} requests, {} flushes under load, {} lines of record",
        log.entries.len(),
        flushes.len(),
        lines.len()
    );
    let mut places: Vec<(usize, bool)> = match cuts {
        Cuts::Every(step) => (first..log.entries.len())
            .filter(|at| log.entries[*at].flags & (FLUSH | FUA) != 0)
            .step_by(step)
            .map(|at| (at, true))
            .collect(),
        Cuts::Some(cuts) => (0..cuts)
            .map(|n| {
                let at = flushes[rng.below(flushes.len() as u64) as usize];
                let between = first + rng.below((log.entries.len() - first) as u64) as usize;
                if n % 2 == 0 {
                    (at, true)
                } else {
                    (between, false)
                }
            })
            .collect(),
    };
    places.sort();

    // What is certainly on the disk, up to the newest flush; grows as the cuts go on
    let base = scratch.join("base.img");
    fs::stale(&base, layout.fs.1)?;
    let base_file = File::options().write(true).open(&base)?;
    let (mut certain, mut promised, begin) = (0, 0, Instant::now());
    for (number, (at, whole)) in places.iter().enumerate() {
        let flush = (certain..=*at)
            .rev()
            .find(|at| log.entries[*at].flags & FLUSH != 0)
            .map_or(certain, |at| at + 1);
        for at in certain..flush {
            apply(&log, at, &base_file, layout)?;
        }
        certain = flush;
        std::fs::copy(&base, scratch.join("cut.img"))?;
        let cut = File::options().write(true).open(scratch.join("cut.img"))?;
        let mut kept = 0;
        for at in certain..=*at {
            if *whole || log.entries[at].flags & FUA != 0 || rng.below(2) == 0 {
                apply(&log, at, &cut, layout)?;
                kept += 1;
            }
        }
        drop(cut);
        let mut known: Vec<_> = lines
            .iter()
            .filter(|l| l.0 <= *at)
            .map(|l| (l.1, &l.2))
            .collect();
        known.sort_by_key(|l| l.0);
        let known: Vec<Line> = known.into_iter().map(|l| l.1.clone()).collect();
        let what = format!(
            "cut {number}: entry {at}, {kept} of {} since the flush",
            at + 1 - certain
        );
        let found = (|| -> Result<model::Found> {
            let mut small = Small::attach(kind, scratch, "cut")?;
            small.mount("")?;
            let found = model::check(&load::root(&small.dir, run), &known)?;
            small.finish()?;
            Ok(found)
        })()
        .context(what)?;
        promised += found.promised;
    }
    ensure!(promised > 0, "no promise was made before any of the cuts");
    println!(
        "# {} cuts, {promised} promised files found whole, {:.0} s",
        places.len(),
        begin.elapsed().as_secs_f32()
    );
    Ok(())
}
