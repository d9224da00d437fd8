// SPDX-License-Identifier: GPL-2.0

//! The super block: checked, and written when a volume comes into use and when it is left.

use super::{
    group::Which,
    layout::*,
    Xv6, //
};
use kernel::{
    bento::{
        crc32c,
        Handle,
        JournalArea,
        Space,
        Volume,
        VolumeInfo, //
    },
    prelude::*, //
};
use zerocopy::IntoBytes;

/// Bitmaps for which reading is started ahead.
const READAHEAD: u64 = 64;

/// The checksum of a super block, whose block is zero behind the structure.
fn checksum(mut super_block: SuperBlock) -> u32 {
    super_block.checksum = 0.into();
    let zeros = [0; 64];
    let mut sum = crc32c(!0, super_block.as_bytes());
    let mut rest = BLOCK_SIZE.saturating_sub(size_of::<SuperBlock>());
    while rest > 0 {
        let (part, _) = zeros.split_at_checked(rest).unwrap_or((&zeros, &[]));
        sum = crc32c(sum, part);
        rest = rest.saturating_sub(part.len());
    }
    sum
}

/// Reads and checks the super block.
///
/// # Errors
///
/// See [`FileSystem::probe`](kernel::bento::FileSystem::probe).
pub(super) fn read(volume: &Volume) -> Result<SuperBlock> {
    let buffer = volume.read(SUPER_BLOCK)?;
    let super_block: SuperBlock = buffer.load(0)?;
    match check(volume, &super_block) {
        Ok(()) => Ok(super_block),
        Err((error, field, value)) => {
            Err(volume.refuse(error, format_args!("super block: {field}: {value:#x}")))
        }
    }
}

/// Checks a super block; an error names the field and its value.
fn check(volume: &Volume, super_block: &SuperBlock) -> Result<(), (Error, &'static str, u64)> {
    let check = |good: bool, error, field, value| {
        if good {
            Ok(())
        } else {
            Err((error, field, value))
        }
    };
    let s = super_block;
    let magic = u64::from_le_bytes(s.magic);
    check(s.magic == SUPER_MAGIC, EINVAL, "magic", magic)?;
    let value = s.version.get();
    check(value == VERSION, EINVAL, "version", value.into())?;
    let value = s.checksum.get();
    check(value == checksum(*s), EUCLEAN, "checksum", value.into())?;
    let value = s.incompat.get();
    check(
        value & !INCOMPAT_KNOWN == 0,
        EINVAL,
        "incompat",
        value.into(),
    )?;
    let value = s.block_size.get();
    check(
        value as usize == BLOCK_SIZE,
        EINVAL,
        "block_size",
        value.into(),
    )?;
    check(s.group.get() == 0, EUCLEAN, "group", s.group.get().into())?;
    let blocks = s.blocks.get();
    let sane = (MIN_BLOCKS..=MAX_BLOCKS).contains(&blocks);
    check(sane, EUCLEAN, "blocks", blocks)?;
    check(
        blocks <= volume.blocks(),
        EINVAL,
        "blocks, more than the device has",
        blocks,
    )?;
    let geometry = s.geometry();
    let value = s.group_inodes.get();
    check(geometry.is_valid(), EUCLEAN, "group_inodes", value.into())?;
    let (start, len) = (s.journal_start.get(), s.journal_blocks.get());
    check(geometry.is_data(start, 1), EUCLEAN, "journal_start", start)?;
    check(geometry.is_data(start, len), EUCLEAN, "journal_blocks", len)?;
    let value = s.free_blocks.get();
    check(value <= blocks, EUCLEAN, "free_blocks", value)?;
    let value = s.free_inodes.get();
    check(value <= geometry.max_ino(), EUCLEAN, "free_inodes", value)
}

/// What the core needs to know of a volume.
pub(super) fn info(super_block: &SuperBlock) -> VolumeInfo {
    VolumeInfo {
        blocks: super_block.blocks.get(),
        journal: journal(super_block),
        root: ROOT_INO,
        max_file_size: MAX_FILE_SIZE,
        max_links: MAX_LINKS,
        time_min: i64::MIN,
        time_max: i64::MAX,
        uuid: super_block.uuid,
        read_only: super_block.ro_compat.get() & !RO_COMPAT_KNOWN != 0,
    }
}

/// The place of the journal.
pub(super) fn journal(super_block: &SuperBlock) -> JournalArea {
    JournalArea {
        start: super_block.journal_start.get(),
        len: super_block.journal_blocks.get(),
    }
}

/// Changes the super block, which nobody else changes meanwhile.
fn change(handle: &Handle<'_>, change: impl FnOnce(&mut SuperBlock)) -> Result {
    let buffer = handle.volume().read(SUPER_BLOCK)?;
    let mut super_block: SuperBlock = buffer.load(0)?;
    let mut block = handle.write(&buffer)?;
    change(&mut super_block);
    super_block.checksum = checksum(super_block).into();
    block.store(0, &super_block)
}

impl Xv6 {
    /// What is free: the totals of a volume that was left clean, else the sums of the bitmaps'
    /// counts.
    pub(super) fn count_space(&self, volume: &Volume) -> Result<Space> {
        let geometry = self.geometry;
        let super_block = read(volume)?;
        let mut space = Space {
            total_blocks: 0,
            free_blocks: super_block.free_blocks.get(),
            total_inodes: geometry.max_ino(),
            free_inodes: super_block.free_inodes.get(),
        };
        for group in 0..geometry.groups() {
            let data = geometry
                .group_end(group)
                .saturating_sub(geometry.data_start(group));
            space.total_blocks = space.total_blocks.saturating_add(data);
        }
        space.total_blocks = space.total_blocks.saturating_sub(self.journal.len);
        if super_block.state.get() & STATE_CLEAN != 0 {
            return Self::check_space(volume, space);
        }

        (space.free_blocks, space.free_inodes) = (0, 0);
        for group in 0..geometry.groups() {
            if group % READAHEAD == 0 {
                self.read_bitmaps_ahead(volume, group)?;
            }
            let (blocks, _) = self.counts(volume, group, Which::Blocks)?;
            let (inodes, _) = self.counts(volume, group, Which::Inodes)?;
            space.free_blocks = space.free_blocks.saturating_add(blocks.into());
            space.free_inodes = space.free_inodes.saturating_add(inodes.into());
        }
        Self::check_space(volume, space)
    }

    /// Checks that no more is free than there is.
    fn check_space(volume: &Volume, space: Space) -> Result<Space> {
        if space.free_blocks > space.total_blocks || space.free_inodes > space.total_inodes {
            return Err(volume.refuse(EUCLEAN, format_args!("free blocks or inodes: {space:?}")));
        }
        Ok(space)
    }

    /// Starts to read the bitmaps of some groups.
    fn read_bitmaps_ahead(&self, volume: &Volume, first: u64) -> Result {
        let end = first.saturating_add(READAHEAD).min(self.geometry.groups());
        for group in first..end {
            let flags = self.descriptor(volume, group)?.flags.get();
            if flags & GROUP_BLOCKS_UNINIT == 0 {
                volume.readahead(self.geometry.block_bitmap(group), 1);
            }
            if flags & GROUP_INODES_UNINIT == 0 {
                volume.readahead(self.geometry.inode_bitmap(group), 1);
            }
        }
        Ok(())
    }

    /// Stores whether the volume is in use, or was left with this much free.
    pub(super) fn store_clean(&self, handle: &Handle<'_>, space: Option<Space>) -> Result {
        change(handle, |super_block| {
            let state = super_block.state.get();
            match space {
                None => super_block.state = (state & !STATE_CLEAN).into(),
                Some(space) => {
                    super_block.state = (state | STATE_CLEAN).into();
                    super_block.free_blocks = space.free_blocks.into();
                    super_block.free_inodes = space.free_inodes.into();
                }
            }
        })
    }

    /// Stores that damage was met.
    pub(super) fn store_error(&self, handle: &Handle<'_>) -> Result {
        change(handle, |super_block| {
            super_block.state = (super_block.state.get() | STATE_ERROR).into();
        })
    }
}
