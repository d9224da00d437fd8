// SPDX-License-Identifier: GPL-2.0

//! Reads.

use super::{
    super::{
        super::{
            load::{
                on_threads,
                Until, //
            },
            sample::Axis,
            visit::{
                Ends,
                Visit, //
            },
        },
        mapping::Mapping,
    },
    filled,
    open,
    row,
    Buffer,
    Order, //
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::Duration, //
};

/// How a piece is read.
#[derive(Clone, Copy)]
enum From<'a> {
    File(&'a File),
    Mapping(&'a Mapping),
}

impl From<'_> {
    fn read(self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            From::File(file) => file.read_exact_at(buffer, at),
            From::Mapping(mapping) => {
                mapping.read(at as usize, buffer);
                Ok(())
            }
        }
    }
}

/// Reads pieces until the time is over, or once each if `once` is set. Returns bytes.
fn pieces(
    from: From<'_>,
    offsets: &[u64],
    block: u64,
    window: Duration,
    once: bool,
) -> io::Result<u64> {
    let mut buffer = Buffer::new(block);
    let (mut until, mut bytes) = (Until::new(window, 8), 0);
    loop {
        for &at in offsets {
            if until.over() {
                return Ok(bytes);
            }
            from.read(buffer.get_mut(), at)?;
            bytes += block;
        }
        if once {
            return Ok(bytes);
        }
    }
}

/// Measures them.
pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("read")?;
    let path = dir.join("file");
    let (len, window) = (visit.plan.file, visit.plan.window);
    let file = filled(&path, len)?;
    let direct = open(&path, true);
    for &block in visit.plan.blocks {
        for order in Order::BOTH {
            let row = |way| row("read", order, block, way);
            let offsets = order.offsets(len, block, block);
            visit.measure_cold(row("cold"), Ends::Done, |_| {
                pieces(From::File(&file), &offsets, block, window, true)
            })?;
            // What the random order left out
            pieces(
                From::File(&file),
                &Order::Sequential.offsets(len, 1 << 20, 0),
                1 << 20,
                Duration::MAX,
                true,
            )?;
            visit.measure(row("warm"), Ends::Done, |_| {
                pieces(From::File(&file), &offsets, block, window, false)
            })?;
            let mapping = Mapping::new(&file, len as usize)?;
            visit.measure(row("mapped"), Ends::Done, |_| {
                pieces(From::Mapping(&mapping), &offsets, block, window, false)
            })?;
            drop(mapping);
            match &direct {
                Ok(direct) => visit
                    .measure(row("direct"), Ends::Done, |_| {
                        pieces(From::File(direct), &offsets, block, window, false)
                    })
                    .map(drop)?,
                Err(why) => visit.failed(row("direct"), why),
            }
        }
    }
    // The smallest pieces once more, by several threads
    let (block, threads) = (visit.plan.blocks[0], visit.plan.several());
    for (way, file) in [("warm", Some(&file)), ("direct", direct.as_ref().ok())] {
        let Some(file) = file else { continue };
        let row = row("read", Order::Random, block, way).at(Axis::Threads, threads);
        visit.measure(row, Ends::Done, |_| {
            on_threads(threads, |thread| {
                let offsets = Order::Random.offsets(len, block, thread + 1);
                pieces(From::File(file), &offsets, block, window, false)
            })
        })?;
    }
    Ok(())
}
