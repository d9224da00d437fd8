// SPDX-License-Identifier: GPL-2.0

//! Operations on names and inodes: empty files, by one thread and by several, each in a directory of its own or all
//! in one.

use super::{
    super::{
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
use std::{
    io,
    path::{
        Path,
        PathBuf, //
    }, //
};

/// One thread has a directory of its own in any case.
pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    for &threads in visit.plan.threads {
        of(visit, threads, false)?;
        if threads > 1 {
            of(visit, threads, true)?;
        }
    }
    Ok(())
}

fn of(visit: &mut Visit<'_>, threads: u64, shared: bool) -> io::Result<()> {
    let (folders, place) = match shared {
        true => (1, "one directory"),
        false => (threads, "own directories"),
    };
    let root = visit.folder(&format!("metadata-{threads}-{shared}"))?;
    let folders: Vec<PathBuf> = (0..folders).map(|n| root.join(n.to_string())).collect();
    for folder in &folders {
        std::fs::create_dir(folder)?;
    }
    let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    let row = |what: &str| {
        let name = format!("{what} in {place}");
        Row::new("metadata", name, Unit::Operations).at(Axis::Threads, threads)
    };
    let (files, window) = (visit.plan.files, visit.plan.window);
    let old = Names::new(&folders, threads, files, "file");
    let new = Names::new(&folders, threads, files, "renamed");

    visit.measure(row("create"), Ends::Settled, |_| old.once(names::create))?;
    visit.measure(row("stat"), Ends::Done, |_| old.again(window, names::stat))?;
    visit.measure(row("open and close"), Ends::Done, |_| {
        old.again(window, names::open)
    })?;
    visit.measure_cold(row("stat cold"), Ends::Done, |_| old.once(names::stat))?;
    visit.measure(row("rename"), Ends::Settled, |_| {
        old.once_with(&new, names::rename)
    })?;
    visit.measure(row("unlink"), Ends::Settled, |_| new.once(names::unlink))?;
    Ok(())
}
