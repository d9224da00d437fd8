// SPDX-License-Identifier: GPL-2.0

//! mkfs, mount, umount and a full check, over the size of the volume; the check finds the source tree on it.

use super::{
    super::{
        sample::{
            Axis,
            Row,
            Unit, //
        },
        system::Size,
        visit::{
            Ends,
            Visit, //
        },
        volume::drop_caches,
    },
    tree, //
};
use std::io;

pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let sizes = match visit.system.has_disk() {
        true => visit.plan.sizes,
        false => return Ok(()),
    };
    for &mib in sizes {
        let row = |what: &str| Row::new("volume", what, Unit::Runs).at(Axis::MiB, mib);
        let size = Size {
            mib: Some(mib),
            files: None,
        };
        if let Some(mkfs) = visit.system.mkfs(visit.disk, size) {
            visit.measure(row("mkfs"), Ends::Done, |_| mkfs.run().map(|()| 1))?;
        }
        visit.mount()?;
        let (_, _, _, untar) = tree::COMMANDS[0];
        tree::line(untar, visit.dir, visit.input).run()?;
        visit.umount()?;
        cycle(visit, row)?;
    }
    Ok(())
}

/// Mounts and unmounts a volume, and checks it, all with cold caches.
pub fn cycle(visit: &mut Visit<'_>, row: impl Fn(&str) -> Row) -> io::Result<()> {
    drop_caches()?;
    visit.measure(row("mount"), Ends::Done, |visit| visit.mount().map(|()| 1))?;
    visit.measure(row("umount"), Ends::Done, |visit| {
        visit.umount().map(|()| 1)
    })?;
    drop_caches()?;
    if let Some(fsck) = visit.system.fsck(visit.disk) {
        visit.measure(row("fsck"), Ends::Done, |_| fsck.run().map(|()| 1))?;
    }
    Ok(())
}
