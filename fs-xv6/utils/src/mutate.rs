// SPDX-License-Identifier: GPL-2.0

//! Damages a volume, knowing what its blocks are: for tests of what reads it.
//!
//! The same seed makes the same damage of the same volume.

use crate::{
    failure::{
        Context,
        Result, //
    },
    image,
    random::Seeded, //
};
use kernel::user::device::{
    BlockData,
    Device, //
};
use std::mem::{
    offset_of,
    size_of, //
};
use xv6::layout::*;
use zerocopy::FromBytes;

/// What a block holds, as far as one can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The super block or a copy.
    Super,
    /// Inode records.
    Inodes,
    /// A block with a header of this magic.
    Headed(u32),
    /// A block of the journal.
    Journal,
}

/// The metadata blocks of a volume.
///
/// # Errors
///
/// If the volume has no good super block, or the device fails.
pub fn metadata(device: &dyn Device) -> Result<(SuperBlock, Vec<(u64, What)>)> {
    let first = image::read(device, SUPER_BLOCK).context("cannot read the super block")?;
    let super_block: SuperBlock = image::load(&first[..], 0)
        .filter(|s: &SuperBlock| s.magic == SUPER_MAGIC && s.geometry().is_valid())
        .ok_or_else(|| crate::Failure::new("no xv6 file system"))?;
    let geometry = super_block.geometry();
    let seed = super_block.seed();
    let journal = super_block.journal_start.get()
        ..super_block.journal_start.get() + super_block.journal_blocks.get();
    let mut found = Vec::new();
    // A volume of one group has a copy of its super block behind its end.
    for block in 1..(geometry.blocks + 1).min(device.blocks()) {
        let data = image::read(device, block).context(format_args!("cannot read block {block}"))?;
        if data.iter().all(|&byte| byte == 0) {
            continue;
        }
        let group = geometry.group_of(block);
        let table = geometry.inode_table(group)..geometry.data_start(group);
        let what = if journal.contains(&block) {
            What::Journal
        } else if table.contains(&block) {
            What::Inodes
        } else if image::is_sealed(seed, &data) {
            What::Headed(image::header(&data).magic.get())
        } else if data.starts_with(&SUPER_MAGIC) {
            What::Super
        } else {
            continue;
        };
        found.push((block, what));
    }
    Ok((super_block, found))
}

/// A number that is likely to be taken wrongly.
fn nasty(random: &mut Seeded, old: u64, blocks: u64) -> u64 {
    let choices = [
        0,
        1,
        old.wrapping_add(1),
        old.wrapping_sub(1),
        old ^ 1 << random.below(64),
        old.wrapping_mul(2),
        u64::MAX,
        1 << 31,
        (1 << 32) - 1,
        1 << 63,
        blocks,
        blocks.wrapping_sub(1),
        random.below(blocks),
        random.below(16),
        random.word(),
    ];
    random.pick(&choices).copied().unwrap_or(0)
}

/// Changes a field of `size` bytes.
fn change(data: &mut [u8], offset: usize, size: usize, random: &mut Seeded, blocks: u64) {
    let Some(field) = data.get_mut(offset..offset + size) else {
        return;
    };
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(field);
    let new = nasty(random, u64::from_le_bytes(bytes), blocks);
    field.copy_from_slice(&new.to_le_bytes()[..size]);
}

/// Fields of an inode record: offset and size.
const INODE_FIELDS: &[(usize, usize)] = &[
    (offset_of!(RawInode, mode), 2),
    (offset_of!(RawInode, depth), 2),
    (offset_of!(RawInode, ino), 8),
    (offset_of!(RawInode, generation), 4),
    (offset_of!(RawInode, nlink), 4),
    (offset_of!(RawInode, size), 8),
    (offset_of!(RawInode, blocks), 8),
    (offset_of!(RawInode, mtime_nsec), 4),
    (offset_of!(RawInode, xattr_block), 8),
    (offset_of!(RawInode, root_count), 2),
    (offset_of!(RawInode, root), 4),
    (offset_of!(RawInode, root), 8),
    (offset_of!(RawInode, root) + 4, 4),
    (offset_of!(RawInode, root) + 8, 8),
    (offset_of!(RawInode, root) + 16, 8),
    (offset_of!(RawInode, root) + 24, 8),
    (offset_of!(RawInode, root) + 24, 2),
    (offset_of!(RawInode, root) + 40, 8),
];

/// Fields of the super block.
const SUPER_FIELDS: &[(usize, usize)] = &[
    (offset_of!(SuperBlock, magic), 8),
    (offset_of!(SuperBlock, version), 4),
    (offset_of!(SuperBlock, compat), 4),
    (offset_of!(SuperBlock, ro_compat), 4),
    (offset_of!(SuperBlock, incompat), 4),
    (offset_of!(SuperBlock, state), 4),
    (offset_of!(SuperBlock, uuid), 8),
    (offset_of!(SuperBlock, hash_key), 8),
    (offset_of!(SuperBlock, blocks), 8),
    (offset_of!(SuperBlock, journal_start), 8),
    (offset_of!(SuperBlock, journal_blocks), 8),
    (offset_of!(SuperBlock, group), 4),
    (offset_of!(SuperBlock, group_inodes), 4),
    (offset_of!(SuperBlock, free_blocks), 8),
    (offset_of!(SuperBlock, free_inodes), 8),
    (offset_of!(SuperBlock, block_size), 4),
];

/// Fields of a block header, and the first bytes behind it.
const HEADER_FIELDS: &[(usize, usize)] = &[
    (offset_of!(BlockHeader, magic), 4),
    (offset_of!(BlockHeader, block), 8),
    (offset_of!(BlockHeader, owner), 8),
    (offset_of!(BlockHeader, generation), 4),
    (offset_of!(BlockHeader, level), 2),
    (offset_of!(BlockHeader, count), 2),
    (LEAF_USED, 2),
    (offset_of!(BitmapHeader, free), 4),
    (offset_of!(BitmapHeader, orphans), 4),
];

/// Damages one block, and says how.
fn damage_block(
    data: &mut BlockData,
    block: u64,
    what: What,
    s: &SuperBlock,
    random: &mut Seeded,
) -> String {
    let blocks = s.blocks.get();
    // In one of four cases the checksum shows the damage at once.
    let mend = random.below(4) != 0;
    let mended = if mend { ", checksum mended" } else { "" };
    let how = match what {
        What::Super => {
            let &(offset, size) = random.pick(SUPER_FIELDS).unwrap_or(&(0, 8));
            change(&mut data[..], offset, size, random, blocks);
            if mend {
                image::seal_super(data);
            }
            format!("field at {offset}")
        }
        What::Inodes => {
            let slots: Vec<usize> = (0..INODES_PER_BLOCK as usize)
                .filter(|&slot| image::inode_at(data, slot).is_some_and(|raw| raw.mode.get() != 0))
                .collect();
            let slot = random.pick(&slots).copied().unwrap_or(0);
            let &(offset, size) = random.pick(INODE_FIELDS).unwrap_or(&(4, 2));
            let place = slot * INODE_SIZE;
            change(&mut data[..], place + offset, size, random, blocks);
            if mend {
                if let Some(mut raw) = image::inode_at(data, slot) {
                    image::seal_inode(s.seed(), &mut raw);
                    image::store(&mut data[..], place, &raw);
                }
            }
            format!("record {slot}, field at {offset}")
        }
        What::Headed(magic) => {
            let how = damage_headed(&mut data[..], magic, random, blocks);
            if mend {
                image::seal(s.seed(), data);
            }
            how
        }
        What::Journal => {
            // The journal's super block and headers stand at the start.
            let most = random.pick(&[128, 4096]).copied().unwrap_or(128);
            let offset = random.below(most) as usize;
            change(&mut data[..], offset & !3, 4, random, blocks);
            format!("word at {}", offset & !3)
        }
    };
    format!("block {block} ({what:?}): {how}{mended}")
}

/// Damages a block with a header: its header, an entry, or a byte.
fn damage_headed(data: &mut [u8], magic: u32, random: &mut Seeded, blocks: u64) -> String {
    let count = BlockHeader::read_from_prefix(data).map_or(0, |(header, _)| header.count.get());
    let entry = random.below(u64::from(count).max(1)) as usize;
    match random.below(4) {
        0 => {
            let &(offset, size) = random.pick(HEADER_FIELDS).unwrap_or(&(0, 4));
            change(data, offset, size, random, blocks);
            format!("header field at {offset}")
        }
        1 | 2 if magic == MAGIC_EXTENTS || magic == MAGIC_DIR_INDEX => {
            let fields: [(usize, usize); 4] = [(0, 4), (4, 4), (8, 8), (0, 8)];
            let &(offset, size) = random.pick(&fields).unwrap_or(&(0, 4));
            let place = NODE_HEADER + entry * size_of::<RawExtent>() + offset;
            change(data, place, size, random, blocks);
            format!("entry {entry}, field at {offset}")
        }
        1 | 2 if magic == MAGIC_DIR_LEAF => {
            let mut place = NODE_HEADER;
            for _ in 0..entry {
                let len = data.get(place + offset_of!(DirEntry, name_len)).copied();
                let size = size_of::<DirEntry>() + usize::from(len.unwrap_or(0));
                place += size.next_multiple_of(8);
            }
            let fields = [
                (offset_of!(DirEntry, key), 8),
                (offset_of!(DirEntry, ino), 8),
                (offset_of!(DirEntry, name_len), 1),
                (offset_of!(DirEntry, kind), 1),
                (size_of::<DirEntry>(), 1),
            ];
            let &(offset, size) = random.pick(&fields).unwrap_or(&(0, 8));
            change(data, place + offset, size, random, blocks);
            format!("entry {entry}, field at {offset}")
        }
        _ => {
            let at = random.below(BLOCK_SIZE as u64) as usize;
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            format!("bit of byte {at}")
        }
    }
}

/// Damages the volume on `device` in one to four places, and says how.
///
/// # Errors
///
/// As [`metadata`], and if the device fails.
pub fn mutate(device: &dyn Device, seed: u64) -> Result<Vec<String>> {
    let (super_block, all) = metadata(device)?;
    mutate_among(device, &super_block, &all, seed)
}

/// As [`mutate`], where the metadata blocks are known.
///
/// # Errors
///
/// If the device fails.
pub fn mutate_among(
    device: &dyn Device,
    super_block: &SuperBlock,
    all: &[(u64, What)],
    seed: u64,
) -> Result<Vec<String>> {
    let mut random = Seeded::new(seed);
    let mut how = Vec::new();
    for _ in 0..1 + random.below(4) {
        // Of each sort as often, although there are many more blocks of some.
        let mut sorts: Vec<What> = Vec::new();
        for (_, what) in all {
            if !sorts.contains(what) {
                sorts.push(*what);
            }
        }
        let Some(&sort) = random.pick(&sorts) else {
            break;
        };
        let of_sort: Vec<u64> = all
            .iter()
            .filter(|(_, what)| *what == sort)
            .map(|(block, _)| *block)
            .collect();
        let Some(&block) = random.pick(&of_sort) else {
            break;
        };
        let read =
            |block| image::read(device, block).context(format_args!("cannot read block {block}"));
        let mut data = read(block)?;
        let text = match random.below(16) {
            0 => {
                data.fill(0);
                format!("block {block} ({sort:?}): zeroed")
            }
            1 => match random.pick(&of_sort) {
                Some(&other) => {
                    data = read(other)?;
                    format!("block {block} ({sort:?}): replaced by block {other}")
                }
                None => continue,
            },
            2 => {
                for byte in data.iter_mut() {
                    *byte = random.word() as u8;
                }
                format!("block {block} ({sort:?}): random bytes")
            }
            _ => damage_block(&mut data, block, sort, super_block, &mut random),
        };
        device
            .write(block, &data[..])
            .context(format_args!("cannot write block {block}"))?;
        how.push(text);
    }
    Ok(how)
}
