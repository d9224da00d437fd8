// SPDX-License-Identifier: GPL-2.0

//! How operations, the memory of an inode, mount and check grow with the number of files on the volume.

use super::{
    super::{
        counters,
        load::Until,
        random::Random,
        sample::{
            Axis,
            Row,
            Unit, //
        },
        system::{
            Size,
            System, //
        },
        visit::{
            Ends,
            Visit, //
        },
    },
    names,
    volumes, //
};
use std::{
    ffi::CString,
    fs,
    io,
    ops::Range,
    path::Path, //
};

/// Files in a folder.
const FOLDER: u64 = 1000;
/// Files that an operation is measured with.
const PROBES: u64 = 5000;
/// Files up to which the server of FUSE is taken along: more would take it most of an hour.
const MOST_BY_FUSE: u64 = 100_000;

fn path(root: &Path, number: u64) -> CString {
    let folder = root.join((number / FOLDER).to_string());
    names::c_path(&folder.join(format!("{:03}", number % FOLDER)))
}

fn make(root: &Path, numbers: Range<u64>) -> io::Result<u64> {
    let number = numbers.end - numbers.start;
    for n in numbers {
        names::create(&path(root, n))?;
    }
    Ok(number)
}

pub fn run(visit: &mut Visit<'_>, files: u64) -> io::Result<()> {
    if visit.system == System::Xv6Fuse && files > MOST_BY_FUSE {
        return Ok(());
    }
    // Folders too, and room
    let size = Size {
        mib: None,
        files: Some(files + files / 10 + 10_000),
    };
    visit.start(size)?;
    let root = visit.folder("files")?;
    let row = |what: &str| Row::new("growth", what, Unit::Operations).at(Axis::Files, files);
    for folder in 0..files.div_ceil(FOLDER) {
        fs::create_dir(root.join(folder.to_string()))?;
    }
    let probes = PROBES.min(files / 2);
    make(&root, 0..files - probes)?;
    visit.measure(row("create"), Ends::Settled, |_| {
        make(&root, files - probes..files)
    })?;

    // All inodes that there are, in the order of their folders
    let all: Vec<CString> = (0..files).map(|n| path(&root, n)).collect();
    let window = visit.plan.patience;
    let mut empty = 0;
    let sample = visit.measure_cold(row("stat cold"), Ends::Done, |_| {
        empty = counters::slab()?;
        let (mut until, mut number) = (Until::new(window, 64), 0);
        for name in &all {
            if until.over() {
                break;
            }
            names::stat(name)?;
            number += 1;
        }
        Ok(number)
    })?;
    if let Some(sample) = sample {
        sample.slab = counters::slab()?.saturating_sub(empty);
    }

    let mut random = Random::new(files);
    let some: Vec<&CString> = (0..probes)
        .map(|_| &all[random.below(files) as usize])
        .collect();
    visit.measure(row("stat at random"), Ends::Done, |_| {
        some.iter().try_for_each(|name| names::stat(name))?;
        Ok(probes)
    })?;
    // Folders are far apart: each file of one comes once
    let spread = |n: u64| &all[(n * (files / probes)) as usize];
    visit.measure(row("unlink"), Ends::Settled, |_| {
        (0..probes).try_for_each(|n| names::unlink(spread(n)))?;
        Ok(probes)
    })?;
    visit.umount()?;
    if !visit.system.has_disk() {
        return Ok(());
    }
    volumes::cycle(visit, |what| {
        Row::new("volume", what, Unit::Runs).at(Axis::Files, files)
    })
}
