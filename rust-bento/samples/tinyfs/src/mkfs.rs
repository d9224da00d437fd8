// SPDX-License-Identifier: GPL-2.0

//! Makes a volume.

use crate::tinyfs::layout::{
    Record,
    SuperBlock,
    BLOCK,
    MAGIC,
    POINTERS,
    ROOT,
    UNWRITTEN, //
};
use kernel::{
    bento::{
        Attributes,
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

/// Makes an empty volume on the whole of `device`, with this many inodes; one for every sixteen
/// blocks if 0.
///
/// # Errors
///
/// `ENOSPC` if the device is too small, `EFBIG` if it is too large; else those of the device.
pub fn mkfs(device: &dyn Device, inodes: u32, uuid: [u8; 16]) -> Result<SuperBlock> {
    let blocks = u32::try_from(device.blocks()).map_err(|_| EFBIG)?;
    if blocks >= UNWRITTEN {
        return Err(EFBIG);
    }
    let inodes = if inodes == 0 { blocks / 16 } else { inodes };
    let super_block = SuperBlock {
        magic: MAGIC,
        uuid,
        blocks: blocks.into(),
        inodes: inodes.max(1).into(),
        journal_blocks: (MIN_BLOCKS as u32).into(),
    };
    let data = super_block.data();
    // The root directory's block is one of them.
    if data.end < data.start + 2 {
        return Err(ENOSPC);
    }
    // An interrupted mkfs leaves nothing that mounts: the super block comes last.
    device.zero(0, data.start + 1)?;
    device.flush()?;
    let journal = super_block.journal();
    mkjournal(device, journal.start, journal.len, uuid)?;
    for bitmap in 1..super_block.inode(1) {
        let first = (bitmap - 1) * BLOCK * 8;
        let mut bits = [0; BLOCK as usize];
        for bit in first..(data.start + 1).min(first + BLOCK * 8) {
            bits[((bit - first) / 8) as usize] |= 1 << (bit % 8);
        }
        device.write(bitmap, &bits)?;
    }
    device.write(super_block.inode(ROOT), &root(data.start as u32)[..])?;
    device.flush()?;
    let mut first = [0; BLOCK as usize];
    first[..size_of::<SuperBlock>()].copy_from_slice(super_block.as_bytes());
    device.write(0, &first)?;
    device.flush()?;
    Ok(super_block)
}

/// The block of the root directory's inode.
fn root(content: u32) -> Box<[u8; BLOCK as usize]> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Time {
        sec: now.map_or(0, |now| now.as_secs() as i64),
        nsec: 0,
    };
    let record = Record {
        attributes: (&Attributes {
            mode: 0o040_755,
            nlink: 2,
            size: BLOCK,
            sectors: BLOCK / 512,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..Attributes::default()
        })
            .into(),
        parent: (ROOT as u32).into(),
        orphan: 0.into(),
    };
    let mut block = Box::new([0; BLOCK as usize]);
    block[..size_of::<Record>()].copy_from_slice(record.as_bytes());
    block[POINTERS..POINTERS + 4].copy_from_slice(&content.to_le_bytes());
    block
}
