// SPDX-License-Identifier: GPL-2.0

//! Writes. Those that go through the page cache count until they are on the disk.

use super::{
    super::{
        super::{
            load::Until,
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
    fs::{
        self,
        File, //
    },
    io,
    os::unix::fs::FileExt,
    time::Duration, //
};

/// Calls `write` with where each piece begins until the time is over, or once each if `once` is set. Returns bytes.
fn pieces(
    offsets: &[u64],
    block: u64,
    (window, once): (Duration, bool),
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<u64> {
    let buffer = Buffer::new(block);
    let (mut until, mut bytes) = (Until::new(window, 8), 0);
    loop {
        for &at in offsets {
            if until.over() {
                return Ok(bytes);
            }
            write(buffer.get(), at)?;
            bytes += block;
        }
        if once {
            return Ok(bytes);
        }
    }
}

/// Measures them.
pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("write")?;
    let (path, new) = (dir.join("file"), dir.join("new"));
    let (len, window) = (visit.plan.file, visit.plan.window);
    let file = filled(&path, len)?;
    let direct = open(&path, true);
    for &block in visit.plan.blocks {
        let offsets = Order::Sequential.offsets(len, block, block);
        visit.measure(
            row("write", Order::Sequential, block, "new"),
            Ends::Settled,
            |_| {
                let file = File::create_new(&new)?;
                pieces(&offsets, block, (window, true), |data, at| {
                    file.write_all_at(data, at)
                })
            },
        )?;
        fs::remove_file(&new)?;
        for order in Order::BOTH {
            let row = |way| row("write", order, block, way);
            let offsets = order.offsets(len, block, block);
            visit.measure(row("over"), Ends::Settled, |_| {
                pieces(&offsets, block, (window, false), |data, at| {
                    file.write_all_at(data, at)
                })
            })?;
            let mut mapping = Mapping::new(&file, len as usize)?;
            visit.measure(row("mapped"), Ends::Settled, |_| {
                let bytes = pieces(&offsets, block, (window, false), |data, at| {
                    mapping.write(at as usize, data);
                    Ok(())
                })?;
                mapping.sync()?;
                Ok(bytes)
            })?;
            drop(mapping);
            match &direct {
                Ok(direct) => visit
                    .measure(row("direct"), Ends::Done, |_| {
                        pieces(&offsets, block, (window, false), |data, at| {
                            direct.write_all_at(data, at)
                        })
                    })
                    .map(drop)?,
                Err(why) => visit.failed(row("direct"), why),
            }
        }
    }
    Ok(())
}
