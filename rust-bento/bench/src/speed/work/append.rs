// SPDX-License-Identifier: GPL-2.0

//! Appends of 4 KiB, each followed by fsync, as logs and mail servers do; each thread has its file.

use super::super::{
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
};
use std::{
    fs::File,
    io::{
        self,
        Write, //
    },
};

pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("append")?;
    let window = visit.plan.window;
    for &threads in visit.plan.threads {
        let row = Row::new("fsync", "append 4 KiB and fsync", Unit::Operations)
            .at(Axis::Threads, threads);
        visit.measure(row, Ends::Done, |_| {
            on_threads(threads, |thread| {
                let mut file = File::create(dir.join(format!("log-{threads}-{thread}")))?;
                let (mut until, mut number) = (Until::new(window, 1), 0);
                while !until.over() {
                    file.write_all(&[thread as u8; 4096])?;
                    file.sync_all()?;
                    number += 1;
                }
                Ok(number)
            })
        })?;
    }
    Ok(())
}
