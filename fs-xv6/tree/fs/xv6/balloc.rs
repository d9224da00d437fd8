// SPDX-License-Identifier: GPL-2.0

//! Blocks: chosen and claimed, taken, given back.
//!
//! Claiming changes nothing on disk. Who takes or gives back blocks does it in two phases, as every
//! operation: `prepare_*` reads, claims and takes write access; `apply` stores.

use super::{
    group::{
        BitmapWrite,
        Which, //
    },
    inode::{
        Node,
        SECTORS, //
    },
    layout::GROUP_BLOCKS,
    Xv6, //
};
use kernel::{
    bento::{
        Block,
        BlockUse,
        Claims,
        Handle,
        Inode,
        Volume,
        Writable, //
    },
    prelude::*, //
};

/// A run of blocks shorter than this is passed over at first, if more is wanted.
const GOOD_RUN: u64 = 64;
/// Groups that are searched for a good run before any run will do.
const GOOD_GROUPS: u64 = 16;

/// A claimed block that is to become metadata.
pub(super) struct NewBlock<'h> {
    bitmap: BitmapWrite<'h>,
    bit: usize,
    block: Writable<'h>,
}

/// A metadata block that is to be freed.
pub(super) struct OldBlock<'h> {
    bitmap: BitmapWrite<'h>,
    bit: usize,
    block: Block,
}

impl Xv6 {
    /// Claims up to `want` blocks in a row, at `goal` or near it. The first block of a group as the
    /// goal means: anywhere in that group.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if no block could be claimed.
    pub(super) fn claim_blocks(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        goal: Block,
        want: u64,
    ) -> Result<(Block, u64)> {
        let groups = self.geometry.groups();
        let first = self
            .geometry
            .group_of(goal.min(self.geometry.blocks.saturating_sub(1)));
        let want = want.clamp(1, GROUP_BLOCKS);
        let passes = [(want.min(GOOD_RUN), GOOD_GROUPS.min(groups)), (1, groups)];
        for (least, count) in passes {
            for group in Iterator::chain(first..groups, 0..first).take(count as usize) {
                let found = self.claim_in_group(volume, claims, group, goal, (least, want))?;
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        }
        Err(ENOSPC)
    }

    /// Claims a run of `least` to `want` blocks in a group.
    fn claim_in_group(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        group: u64,
        goal: Block,
        (least, want): (u64, u64),
    ) -> Result<Option<(Block, u64)>> {
        let mut cached = self.group(group)?.lock();
        if cached
            .map(Which::Blocks)
            .free
            .is_some_and(|free| u64::from(free) < least)
        {
            return Ok(None);
        }
        let bitmap = self.bitmap(volume, group, Which::Blocks, &mut cached)?;
        let start = self.geometry.group_start(group);
        let goal = goal
            .checked_sub(start)
            .filter(|bit| (1..GROUP_BLOCKS).contains(bit));
        let from = goal.map_or(cached.map(Which::Blocks).next, |bit| bit as usize);

        for (mut bit, end) in [(from, bitmap.end), (0, from)] {
            loop {
                bit = bitmap.next_clear(bit, end);
                if bit >= end.min(bitmap.end) {
                    break;
                }
                let stop = bitmap.next_set(bit, bit.saturating_add(want as usize));
                let block = start.saturating_add(bit as u64);
                let len = stop.saturating_sub(bit) as u64;
                if len < least {
                    bit = stop;
                    continue;
                }
                if !self.is_data(block, len) {
                    return Err(volume.corrupt(format_args!(
                        "group {group}: blocks {block}+{len} are marked as free"
                    )));
                }
                let got = claims.claim(block, len)?;
                if got >= least {
                    let next = bit.saturating_add(got as usize);
                    cached.map(Which::Blocks).next = next;
                    return Ok(Some((block, got)));
                }
                // Others have claimed here. What is left may be too short, or there may be more
                // behind.
                if got > 0 {
                    claims.unclaim(block, got);
                }
                let taken = block.saturating_add(got);
                let next = claims.next_unclaimed(taken, block.saturating_add(len));
                let skip = next.saturating_sub(block).max(1);
                bit = bit.saturating_add(skip as usize);
            }
        }
        Ok(None)
    }

    /// Where to look for a block that belongs to an inode and has no better place: in its group.
    pub(super) fn goal_of(&self, inode: Inode<'_, Node>) -> Block {
        self.geometry
            .group_start(self.geometry.group_of_ino(inode.ino()))
    }

    /// Takes write access to the bitmap that has the block, and gives the block's bit in it.
    pub(super) fn prepare_blocks<'h>(
        &self,
        handle: &'h Handle<'_>,
        block: Block,
    ) -> Result<(BitmapWrite<'h>, usize)> {
        let group = self.geometry.group_of(block);
        let bitmap = self.prepare_bitmap(handle, group, Which::Blocks)?;
        Ok((bitmap, self.block_bit(block)))
    }

    /// The bit of a block in its group's bitmap.
    pub(super) fn block_bit(&self, block: Block) -> usize {
        let group = self.geometry.group_of(block);
        block.saturating_sub(self.geometry.group_start(group)) as usize
    }

    /// Checks that blocks of one group are all in use or all free on disk, as they have to be.
    pub(super) fn check_blocks(
        &self,
        volume: &Volume,
        start: Block,
        len: u64,
        used: bool,
    ) -> Result {
        let group = self.geometry.group_of(start);
        let mut cached = self.group(group)?.lock();
        let bitmap = self.bitmap(volume, group, Which::Blocks, &mut cached)?;
        let bit = self.block_bit(start);
        let end = bit.saturating_add(len as usize);
        let wrong = if used {
            bitmap.next_clear(bit, end)
        } else {
            bitmap.next_set(bit, end)
        };
        if wrong == end {
            return Ok(());
        }
        Err(volume.corrupt(format_args!(
            "blocks {start}+{len}: not all marked as {}",
            if used { "used" } else { "free" }
        )))
    }

    /// Checks that an inode counts at least these blocks: those that are about to be freed, and one
    /// if it keeps any.
    pub(super) fn check_count(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        least: u64,
    ) -> Result {
        let blocks = inode.attributes().sectors / SECTORS;
        if blocks >= least {
            return Ok(());
        }
        let ino = inode.ino();
        Err(volume.corrupt(format_args!(
            "inode {ino}: counts {blocks} blocks, and has {least} at least"
        )))
    }

    /// Claims a metadata block for an inode. Several may be open in one handle.
    pub(super) fn prepare_alloc<'h>(
        &self,
        handle: &'h Handle<'_>,
        claims: &Claims<'_>,
        goal: Block,
    ) -> Result<NewBlock<'h>> {
        let (block, _) = self.claim_blocks(handle.volume(), claims, goal, 1)?;
        let (bitmap, bit) = self.prepare_blocks(handle, block)?;
        Ok(NewBlock {
            bitmap,
            bit,
            block: handle.create(block)?,
        })
    }

    /// Makes a metadata block ready to be freed. Several may be open in one handle.
    pub(super) fn prepare_free<'h>(
        &self,
        handle: &'h Handle<'_>,
        block: Block,
    ) -> Result<OldBlock<'h>> {
        self.check_blocks(handle.volume(), block, 1, true)?;
        let (bitmap, bit) = self.prepare_blocks(handle, block)?;
        Ok(OldBlock { bitmap, bit, block })
    }
}

impl<'h> NewBlock<'h> {
    /// The block's number.
    pub(super) fn block(&self) -> Block {
        self.block.block()
    }

    /// Takes the block: it belongs to `inode` now, is filled with zeros, and wants a header.
    pub(super) fn apply(
        mut self,
        fs: &Xv6,
        volume: &Volume,
        inode: Inode<'_, Node>,
    ) -> Result<Writable<'h>> {
        self.bitmap.change(fs, volume, self.bit, 1, true)?;
        inode.add_blocks(1);
        Ok(self.block)
    }
}

impl OldBlock<'_> {
    /// Frees the block.
    pub(super) fn apply(mut self, fs: &Xv6, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result {
        handle.free(self.block, 1, BlockUse::Metadata)?;
        self.bitmap
            .change(fs, handle.volume(), self.bit, 1, false)?;
        inode.add_blocks(-1);
        Ok(())
    }
}
