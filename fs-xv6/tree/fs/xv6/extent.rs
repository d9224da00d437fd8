// SPDX-License-Identifier: GPL-2.0

//! What a file maps: looked up, claimed for, published, freed.

use super::{
    group::BitmapWrite,
    inode::Node,
    tree::{
        Entries,
        Path,
        END, //
    },
    Xv6, //
};
use kernel::{
    bento::{
        Block,
        BlockUse,
        Claims,
        Extent,
        FileRange,
        Handle,
        Inode,
        Intent,
        Mapping,
        Step,
        Volume, //
    },
    prelude::*, //
};

/// Groups that one step of freeing takes blocks from.
pub(super) const FREE_GROUPS: usize = 4;

/// Leaves that one extent may reach into when it is published.
pub(super) const PUBLISH_LEAVES: u32 = 2;

impl Xv6 {
    /// The extent of the leaf that begins last at or before the block that was looked for.
    fn extent_before(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        path: &Path,
    ) -> Result<Option<Extent>> {
        match path.position()?.checked_sub(1) {
            Some(index) => self.leaf_extent(volume, inode, path, index),
            None => Ok(None),
        }
    }

    /// See [`FileSystem::map`](kernel::bento::FileSystem::map).
    pub(super) fn map_range(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        let FileRange { start, end } = range;
        if start >= end {
            return Err(EINVAL);
        }
        if start >= END {
            return match intent {
                Intent::Look => Ok(Mapping::Hole {
                    len: end.saturating_sub(start),
                }),
                Intent::Allocate => Err(EFBIG),
            };
        }
        let end = end.min(END);
        let node = inode.read();
        let path = self.find(volume, inode, &node, start)?;
        let before = self.extent_before(volume, inode, &path)?;
        if let Some(mapped) = before.and_then(|before| cut(before, start, end)) {
            return Ok(Mapping::Mapped(mapped));
        }
        let after = self.leaf_extent(volume, inode, &path, path.position()?)?;
        let hole_end = after.map_or(path.range()?.end, |after| after.file_block);
        let len = hole_end.min(end).saturating_sub(start);
        if intent == Intent::Look {
            return Ok(Mapping::Hole { len });
        }
        let goal = near(start, before, after).unwrap_or_else(|| self.goal_of(inode));
        let (block, len) = self.claim_blocks(volume, claims, goal, len)?;
        Ok(Mapping::Claimed(Extent {
            file_block: start,
            block,
            len,
            unwritten: false,
        }))
    }

    /// See [`FileSystem::publish`](kernel::bento::FileSystem::publish).
    pub(super) fn publish_extent(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        extent: Extent,
    ) -> Result {
        if extent.len == 0 || extent.file_end() > END || !self.is_data(extent.block, extent.len) {
            return Err(EINVAL);
        }
        let volume = handle.volume();
        let mut node = inode.write();
        let mut record = self.prepare_store(handle, inode.ino())?;

        // All leaves that it reaches into are found first, so that no bad one is met between
        // stores.
        let mut start = extent.file_block;
        for _ in 0..PUBLISH_LEAVES {
            if start < extent.file_end() {
                start = self.find(volume, inode, &node, start)?.range()?.end;
            }
        }
        if start < extent.file_end() {
            return Err(EINVAL);
        }
        let mut start = extent.file_block;
        while start < extent.file_end() {
            let path = self.find(volume, inode, &node, start)?;
            let end = path.range()?.end;
            if let Some(part) = cut(extent, start, end) {
                self.publish_in_leaf(handle, inode, &mut node, path, part)?;
            }
            start = end;
        }
        record.apply_with(self, inode, &node)
    }

    /// Publishes an extent that lies within what one leaf is there for.
    fn publish_in_leaf(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        node: &mut Node,
        path: Path,
        extent: Extent,
    ) -> Result {
        let volume = handle.volume();
        let (start, end) = (extent.file_block, extent.file_end());

        // The extents of the leaf that it lies over: `first..last`.
        let position = path.position()?;
        let first = match self.extent_before(volume, inode, &path)? {
            Some(before) if before.file_end() > start => position.saturating_sub(1),
            _ => position,
        };
        let mut last = first;
        let mut covered = start;
        let mut unwritten = false;
        let (mut left, mut right) = (None, None);
        while let Some(old) = self.leaf_extent(volume, inode, &path, last)? {
            if old.file_block >= end {
                break;
            }
            let same = cut(extent, old.file_block, old.file_end());
            if same.map(|same| same.block) != cut(old, start, end).map(|old| old.block)
                || old.file_block.max(start) != covered
            {
                return Err(self.bad_publish(volume, inode, extent, old));
            }
            left = left.or(cut(old, 0, start));
            right = cut(old, end, END);
            covered = old.file_end();
            unwritten |= old.unwritten;
            last = last.saturating_add(1);
        }

        let mut bitmap = None;
        if first == last {
            self.check_blocks(volume, extent.block, extent.len, false)?;
            bitmap = Some(self.prepare_blocks(handle, extent.block)?);
        } else if covered < end {
            return Err(self.bad_publish(volume, inode, extent, extent));
        } else if !unwritten || extent.unwritten {
            return Ok(());
        }

        // The neighbours are taken in, as they may become one with it.
        let mut entries = Entries::default();
        let mut at = first;
        if let Some(index) = first.checked_sub(1) {
            if let Some(before) = self.leaf_extent(volume, inode, &path, index)? {
                entries.push(before);
                at = index;
            }
        }
        let parts = [left, Some(extent), right];
        let after = self.leaf_extent(volume, inode, &path, last)?;
        for part in Iterator::chain(parts.into_iter(), [after]).flatten() {
            entries.push(part);
        }
        let to = last.saturating_add(usize::from(after.is_some()));
        let remove = to.saturating_sub(at);
        let claims = handle.tree_claims(inode);
        let change = self.prepare_change(handle, &claims, inode, path, (at, remove, entries))?;

        if let Some((bitmap, bit)) = &mut bitmap {
            bitmap.change(self, volume, *bit, extent.len as usize, true)?;
            inode.add_blocks(extent.len as i64);
        }
        change.apply(self, handle, inode, node)
    }

    fn bad_publish(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        new: Extent,
        old: Extent,
    ) -> Error {
        let ino = inode.ino();
        volume.corrupt(format_args!("inode {ino}: {new:?} published over {old:?}"))
    }

    /// See [`FileSystem::free_blocks`](kernel::bento::FileSystem::free_blocks), for a regular file.
    pub(super) fn free_extents(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Node>,
        range: FileRange,
    ) -> Result<Step> {
        let volume = handle.volume();
        let start = range.start;
        let end = range.end.min(END);
        let mut node = inode.write();
        let mut record = self.prepare_store(handle, inode.ino())?;
        let Some(path) = self.find_last(volume, inode, &node, start, end)? else {
            record.apply_with(self, inode, &node)?;
            return Ok(Step::Done);
        };

        // What goes, from the last on: of the extents `first..last` of the leaf what lies in the
        // range.
        let last = path.position()?;
        let mut first = last;
        let mut bitmaps = [const { None }; FREE_GROUPS];
        let (mut left, mut right) = (None, None);
        let mut freed: u64 = 0;
        let mut step = Step::More;
        while let Some(index) = first.checked_sub(1) {
            let old = self
                .leaf_extent(volume, inode, &path, index)?
                .ok_or(EUCLEAN)?;
            let Some(part) = cut(old, start, end) else {
                step = Step::Done;
                break;
            };
            self.check_blocks(volume, part.block, part.len, true)?;
            if !self.prepare_free_in(handle, &mut bitmaps, part.block)? {
                break;
            }
            freed = freed.saturating_add(part.len);
            right = right.or(cut(old, end, END));
            left = cut(old, 0, start);
            first = index;
        }
        if left.is_some() || path.range()?.start <= start && first == 0 {
            step = Step::Done;
        }
        let mut entries = Entries::default();
        for rest in [left, right].into_iter().flatten() {
            entries.push(rest);
        }
        let remove = last.saturating_sub(first);
        let claims = handle.tree_claims(inode);
        let change = self.prepare_change(handle, &claims, inode, path, (first, remove, entries))?;
        let freed = freed.saturating_add(change.gone());
        let left = u64::from(!change.empties()?);
        self.check_count(volume, inode, freed.saturating_add(left))?;

        for index in (first..last).rev() {
            let old = self.leaf_extent(volume, inode, change.path(), index)?;
            let part = old.and_then(|old| cut(old, start, end)).ok_or(EUCLEAN)?;
            handle.free(part.block, part.len, BlockUse::Data)?;
            let group = self.geometry.group_of(part.block);
            let found = bitmaps.iter_mut().flatten().find(|(g, _)| *g == group);
            let (_, bitmap) = found.ok_or(EUCLEAN)?;
            let bit = self.block_bit(part.block);
            bitmap.change(self, volume, bit, part.len as usize, false)?;
            inode.add_blocks((part.len as i64).saturating_neg());
        }
        change.apply(self, handle, inode, &mut node)?;
        record.apply_with(self, inode, &node)?;
        Ok(step)
    }

    /// Goes to the leaf that has the last extent in `start..end`.
    fn find_last(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        node: &Node,
        start: u64,
        end: u64,
    ) -> Result<Option<Path>> {
        let mut end = end;
        while let Some(block) = end.checked_sub(1).filter(|_| start < end) {
            let path = self.find(volume, inode, node, block)?;
            if let Some(last) = self.extent_before(volume, inode, &path)? {
                return Ok((last.file_end() > start).then_some(path));
            }
            // All that the leaf has lies behind; the one before it is not empty.
            end = path.range()?.start;
        }
        Ok(None)
    }

    /// Takes write access to the bitmap that has `block`, if it is open already or there is room
    /// for it.
    fn prepare_free_in<'h>(
        &self,
        handle: &'h Handle<'_>,
        bitmaps: &mut [Option<(u64, BitmapWrite<'h>)>],
        block: Block,
    ) -> Result<bool> {
        let group = self.geometry.group_of(block);
        for place in bitmaps {
            match place {
                Some((open, _)) if *open == group => return Ok(true),
                Some(_) => {}
                None => {
                    *place = Some((group, self.prepare_blocks(handle, block)?.0));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The part of an extent within `start..end` of the file.
fn cut(extent: Extent, start: u64, end: u64) -> Option<Extent> {
    let from = extent.file_block.max(start);
    let to = extent.file_end().min(end);
    let len = to.checked_sub(from).filter(|len| *len > 0)?;
    let skipped = from.saturating_sub(extent.file_block);
    Some(Extent {
        file_block: from,
        block: extent.block.saturating_add(skipped),
        len,
        ..extent
    })
}

/// Where `start` of a file should lie, by the extents around it: as far from them on the volume as
/// it is in the file, so that the blocks between fit there too; unless that is further than a
/// group.
fn near(start: u64, before: Option<Extent>, after: Option<Extent>) -> Option<Block> {
    use super::layout::GROUP_BLOCKS;

    if let Some(before) = before {
        let distance = start.saturating_sub(before.file_block);
        let distance = if distance < before.len.saturating_add(GROUP_BLOCKS) {
            distance
        } else {
            before.len
        };
        return before.block.checked_add(distance);
    }
    let after = after?;
    let distance = after.file_block.saturating_sub(start);
    after
        .block
        .checked_sub(distance)
        .filter(|_| distance < GROUP_BLOCKS)
}
