// SPDX-License-Identifier: GPL-2.0

//! Reading a large directory.

use super::{
    super::{
        load::{
            on_threads,
            Until, //
        },
        sample::{
            Axis,
            Row,
            Unit, //
        },
        visit::{
            Ends,
            Visit, //
        },
    },
    names::{
        self,
        Names, //
    },
};
use rustix::fs::{
    AtFlags,
    RawDir, //
};
use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    path::Path, //
};

/// What readdir(3) of the C library asks for at a time.
const BUFFER: usize = 32 << 10;

/// Reads it once. Returns the number of names, and does a stat of each if told so, in the order in which they came, as
/// `ls -l` does.
fn list(path: &Path, stat: bool) -> io::Result<u64> {
    let dir = File::open(path)?;
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut number = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if stat {
            rustix::fs::statat(&dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        number += 1;
    }
    Ok(number)
}

pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("directory")?;
    let (large, window, several) = (visit.plan.large, visit.plan.window, visit.plan.several());
    Names::new(&[&dir], 1, large, "file").once(names::create)?;
    let row = |what: &str| Row::new("directory", what, Unit::Operations);

    visit.measure_cold(row("readdir cold"), Ends::Done, |_| list(&dir, false))?;
    visit.measure_cold(row("readdir and stat cold"), Ends::Done, |_| {
        list(&dir, true)
    })?;
    for threads in [1, several] {
        let row = row("readdir").at(Axis::Threads, threads);
        visit.measure(row, Ends::Done, |_| {
            on_threads(threads, |_| {
                let (mut until, mut number) = (Until::new(window, 1), 0);
                while !until.over() {
                    number += list(&dir, false)?;
                }
                Ok(number)
            })
        })?;
    }
    Ok(())
}
