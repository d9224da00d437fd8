// SPDX-License-Identifier: GPL-2.0

//! Makes a volume.

use crate::tinyfs::{
    SuperBlock,
    BITMAP,
    BLOCK,
    BLOCKS,
    MAGIC,
    ROOT,
    SLOTS, //
};
use kernel::{
    bento::{
        Attributes,
        StoredAttributes,
        Time, //
    },
    error::{
        code::*,
        Result, //
    },
    user::{
        device::Device,
        journal::{
            mkjournal,
            MIN_BLOCKS, //
        },
    },
};
use std::time::{
    SystemTime,
    UNIX_EPOCH, //
};
use zerocopy::IntoBytes;

/// Makes an empty volume at the start of `device`, with this many inodes; one for every sixteen
/// blocks if 0. There is room for half as many names again.
///
/// # Errors
///
/// `ENOSPC` if the device is too small; else those of the device.
pub fn mkfs(device: &dyn Device, inodes: u64, uuid: [u8; 16]) -> Result<SuperBlock> {
    let blocks = device.blocks().min(BLOCKS);
    let count = match inodes {
        0 => blocks / 16 + 1,
        _ => inodes.min(BLOCKS),
    };
    let inodes = ROOT + 2 * count;
    let names = inodes + (count + count / 2).div_ceil(SLOTS);
    let journal = names + MIN_BLOCKS;
    if journal >= blocks {
        return Err(ENOSPC);
    }
    let super_block = SuperBlock {
        magic: MAGIC,
        uuid,
        ends: [inodes, names, journal, blocks].map(|end| (end as u32).into()),
    };
    // An interrupted mkfs leaves nothing that mounts: the super block comes last.
    device.zero(0, journal)?;
    device.flush()?;
    mkjournal(device, names, MIN_BLOCKS, uuid)?;
    let mut bitmap = [0; BLOCK];
    for used in [0..ROOT + 1, inodes..journal].into_iter().flatten() {
        bitmap[(used / 8) as usize] |= 1 << (used % 8);
    }
    device.write(BITMAP, &bitmap)?;
    device.write(ROOT, &block(&root()))?;
    device.flush()?;
    device.write(0, &block(&super_block))?;
    device.flush()?;
    Ok(super_block)
}

/// A block that begins with a value.
fn block(value: &(impl IntoBytes + zerocopy::Immutable)) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..size_of_val(value)].copy_from_slice(value.as_bytes());
    block
}

/// The root directory.
fn root() -> StoredAttributes {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Time {
        sec: now.map_or(0, |now| now.as_secs() as i64),
        nsec: 0,
    };
    let attributes = Attributes {
        mode: 0o040_755,
        nlink: 2,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        ..Attributes::default()
    };
    (&attributes).into()
}
