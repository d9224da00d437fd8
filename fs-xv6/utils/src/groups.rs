// SPDX-License-Identifier: GPL-2.0

//! The blocks that stand at the head of each group, made anew.

use crate::image;
use kernel::user::device::BlockData;
use xv6::layout::{
    BitmapHeader,
    BlockHeader,
    Geometry,
    GroupDescriptor,
    BITMAP_HEADER,
    BLOCK_SIZE,
    FIRST_INO,
    GROUPS_HEADER,
    GROUPS_PER_BLOCK,
    GROUP_BLOCKS,
    MAGIC_BLOCK_BITMAP,
    MAGIC_GROUPS,
    MAGIC_INODE_BITMAP,
    MAX_BLOCKS,
    MAX_GROUP_INODES,
    ORPHAN_BITS, //
};

/// A run of blocks of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First block.
    pub start: u64,
    /// Blocks.
    pub len: u64,
}

impl Run {
    /// First block behind the run.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Whether the runs have a block in common.
    pub fn overlaps(&self, other: Run) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Whether bit `bit` of the bits from byte `offset` on is set.
pub fn bit(data: &[u8], offset: usize, bit: usize) -> bool {
    data.get(offset + bit / 8)
        .is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
}

/// Sets bit `bit` of the bits from byte `offset` on.
pub fn set_bit(data: &mut [u8], offset: usize, bit: usize) {
    if let Some(byte) = data.get_mut(offset + bit / 8) {
        *byte |= 1 << (bit % 8);
    }
}

/// Sets the bits from `from` to `end`.
pub fn set_bits(data: &mut [u8], offset: usize, from: usize, end: usize) {
    for bit in from..end {
        set_bit(data, offset, bit);
    }
}

/// A bitmap block in the making: the bits, without header.
pub fn bitmap_header(magic: u32, block: u64, group: u64, free: u32, orphans: u32) -> BitmapHeader {
    BitmapHeader {
        header: BlockHeader {
            magic: magic.into(),
            checksum: 0.into(),
            block: block.into(),
            owner: group.into(),
            generation: 0.into(),
            level: 0.into(),
            count: 0.into(),
        },
        free: free.into(),
        orphans: orphans.into(),
        ..zerocopy::FromZeros::new_zeroed()
    }
}

/// The block bitmap of a group in which `used` tells the used blocks among the data blocks that are
/// not the journal's.
pub fn block_bitmap(
    geometry: &Geometry,
    journal: Run,
    seed: u32,
    group: u64,
    mut used: impl FnMut(u64) -> bool,
) -> Box<BlockData> {
    let mut data = image::zeroed();
    let start = geometry.group_start(group);
    let end = geometry.group_end(group);
    let mut free = 0;
    set_bits(
        &mut data[..],
        BITMAP_HEADER,
        0,
        (geometry.data_start(group) - start) as usize,
    );
    for block in geometry.data_start(group)..end {
        if used(block)
            || journal.overlaps(Run {
                start: block,
                len: 1,
            })
        {
            set_bit(&mut data[..], BITMAP_HEADER, (block - start) as usize);
        } else {
            free += 1;
        }
    }
    set_bits(
        &mut data[..],
        BITMAP_HEADER,
        (end - start) as usize,
        GROUP_BLOCKS as usize,
    );
    let place = geometry.block_bitmap(group);
    let header = bitmap_header(MAGIC_BLOCK_BITMAP, place, group, free, 0);
    image::store(&mut data[..], 0, &header);
    image::seal(seed, &mut data);
    data
}

/// The inode bitmap of a group in which `used` tells the inodes in use, beside the reserved ones.
pub fn inode_bitmap(
    geometry: &Geometry,
    seed: u32,
    group: u64,
    mut used: impl FnMut(u64) -> bool,
) -> Box<BlockData> {
    let mut data = image::zeroed();
    let mut free = 0;
    for bit in 0..geometry.group_inodes as usize {
        let ino = geometry.ino_at(group, bit);
        if ino < FIRST_INO || used(ino) {
            set_bit(&mut data[..], BITMAP_HEADER, bit);
        } else {
            free += 1;
        }
    }
    set_bits(
        &mut data[..],
        BITMAP_HEADER,
        geometry.group_inodes as usize,
        MAX_GROUP_INODES as usize,
    );
    let place = geometry.inode_bitmap(group);
    let header = bitmap_header(MAGIC_INODE_BITMAP, place, group, free, 0);
    image::store(&mut data[..], 0, &header);
    image::seal(seed, &mut data);
    data
}

/// Sets an orphan bit, without counting it or sealing the block.
pub fn set_orphan(data: &mut BlockData, bit: usize) {
    set_bit(&mut data[..], ORPHAN_BITS, bit);
}

/// Block `index` of the descriptors, to stand at `place`; `flags` gives a group's flags.
pub fn descriptors(
    geometry: &Geometry,
    seed: u32,
    index: u64,
    place: u64,
    mut flags: impl FnMut(u64) -> u32,
) -> Box<BlockData> {
    let mut data = image::zeroed();
    let first = index * GROUPS_PER_BLOCK;
    let end = (first + GROUPS_PER_BLOCK).min(geometry.groups());
    let header = BlockHeader {
        magic: MAGIC_GROUPS.into(),
        checksum: 0.into(),
        block: place.into(),
        owner: first.into(),
        generation: 0.into(),
        level: 0.into(),
        count: ((end - first) as u16).into(),
    };
    image::store(&mut data[..], 0, &header);
    for group in first..end {
        let descriptor = GroupDescriptor {
            flags: flags(group).into(),
            reserved: Default::default(),
        };
        let (_, offset) = geometry.descriptor(group);
        image::store(&mut data[..], offset, &descriptor);
    }
    image::seal(seed, &mut data);
    data
}

/// The groups that may have a copy of the super block, and the blocks where it would stand, while
/// the size of the volume is not known. The last block of a small device is for a volume of one
/// group.
pub fn copies(device_blocks: u64) -> impl Iterator<Item = (u64, u64)> {
    let groups = device_blocks.min(MAX_BLOCKS).div_ceil(GROUP_BLOCKS);
    let powers = |base: u64| {
        std::iter::successors(Some(base), move |power| power.checked_mul(base))
            .take_while(move |&power| power < groups)
    };
    let mut all: Vec<u64> = [3, 5, 7].into_iter().flat_map(powers).collect();
    all.push(1);
    all.sort_unstable();
    let behind = (groups == 1).then(|| (1, device_blocks.saturating_sub(1)));
    all.into_iter()
        .filter(move |&group| group < groups)
        .map(|group| (group, group * GROUP_BLOCKS))
        .chain(behind)
}

/// Those among them that are a volume's.
pub fn copies_of(geometry: &Geometry, device_blocks: u64) -> impl Iterator<Item = (u64, u64)> {
    let geometry = *geometry;
    copies(device_blocks).filter(move |&(group, block)| place_of(&geometry, group) == Some(block))
}

/// Where a volume has its super block for a group, or the copy.
pub fn place_of(geometry: &Geometry, group: u64) -> Option<u64> {
    match geometry.groups() {
        1 if group == 1 => Some(geometry.blocks),
        groups => {
            (group < groups && geometry.has_super(group)).then(|| geometry.super_block(group))
        }
    }
}

/// Free blocks of a group in which nothing is used but the fixed metadata and the journal.
pub fn fresh_free_blocks(geometry: &Geometry, journal: Run, group: u64) -> u64 {
    let start = geometry.data_start(group);
    let end = geometry.group_end(group);
    let taken = journal
        .end()
        .min(end)
        .saturating_sub(journal.start.max(start));
    end - start - taken
}

const _: () = assert!(BLOCK_SIZE > GROUPS_HEADER);
