// SPDX-License-Identifier: GPL-2.0

//! Orphans: what a crash left to be done is done, as a mount would.

use super::{
    check::Check,
    directory,
    extents::{
        self,
        Extent, //
    },
    groups::{
        is_orphan,
        is_used,
        read_bitmap,
        Which, //
    },
};
use crate::{
    failure::Result,
    groups::bit,
    image, //
};
use kernel::{
    bento::Kind,
    user::device::BlockData, //
};
use xv6::layout::{
    BitmapHeader,
    RawExtent,
    RawInode,
    BITMAP_HEADER,
    BLOCK_SIZE,
    INLINE_LINK,
    ORPHAN_BITS,
    STATE_CLEAN, //
};

/// Clears a bit.
fn clear_bit(data: &mut BlockData, offset: usize, bit: usize) {
    if let Some(byte) = data.get_mut(offset + bit / 8) {
        *byte &= !(1 << (bit % 8));
    }
}

impl Check<'_, '_, '_> {
    /// Frees the orphans without a name, and cuts the others at their size. Gives how many there
    /// were.
    ///
    /// Only what is sound is touched: the rest is for the passes that come.
    pub fn finish_orphans(&mut self) -> Result<u64> {
        let mut count = 0;
        for group in 0..self.volume.geometry.groups() {
            if self.flag(group, Which::Inodes.fresh_flag()) {
                continue;
            }
            let (data, good) = read_bitmap(&self.volume, group, Which::Inodes)?;
            let bits = data.get(ORPHAN_BITS..).unwrap_or_default();
            if good.is_err() || bits.iter().all(|&byte| byte == 0) {
                continue;
            }
            for at in 0..self.volume.geometry.group_inodes as usize {
                if is_orphan(&data, at) && is_used(&data, at) {
                    let ino = self.volume.geometry.ino_at(group, at);
                    count += u64::from(self.finish_orphan(ino)?);
                }
            }
        }
        let clean = self.volume.super_block.state.get() & STATE_CLEAN != 0;
        if clean && count > 0 {
            self.log.minor(format_args!(
                "{count} orphans on a volume that says that it was left clean"
            ));
        }
        Ok(count)
    }

    fn finish_orphan(&mut self, ino: u64) -> Result<bool> {
        let mut raw = self.volume.record(ino)?;
        let kind = Kind::from_mode(raw.mode.get());
        if !image::is_sealed_inode(self.volume.seed, &raw)
            || raw.ino.get() != ino
            || ino < xv6::layout::FIRST_INO
        {
            return Ok(false);
        }
        match kind {
            Some(kind) if raw.nlink.get() == 0 => {
                self.log.note(format_args!("orphan {ino} freed"));
                self.free_blocks_of(ino, &raw, kind)?;
                self.change_inode_bits(ino, true)?;
                Ok(true)
            }
            Some(Kind::Regular) => {
                self.log.note(format_args!("orphan {ino} cut at its size"));
                self.cut(ino, &mut raw)?;
                self.change_inode_bits(ino, false)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn free_blocks_of(&mut self, ino: u64, raw: &RawInode, kind: Kind) -> Result {
        let mut runs = Vec::new();
        match kind {
            Kind::Regular => {
                extents::walk(&self.volume, ino, raw, &mut |found| match found {
                    extents::Found::Node(block) => runs.push((block, 1)),
                    extents::Found::Extent(extent) => runs.push((extent.block, extent.len)),
                })?;
            }
            Kind::Directory => {
                directory::walk(&self.volume, ino, raw, &mut |found| {
                    if let directory::Found::Node(block) = found {
                        runs.push((block, 1));
                    }
                })?;
            }
            Kind::Symlink if raw.size.get() > INLINE_LINK as u64 => {
                runs.extend(image::load::<RawExtent>(&raw.root, 0).map(|e| (e.block.get(), 1)));
            }
            _ => {}
        }
        for (start, len) in runs {
            self.free_run(start, len)?;
        }
        Ok(())
    }

    /// Cuts a file at its size; or leaves that to those who build a damaged tree anew.
    fn cut(&mut self, ino: u64, raw: &mut RawInode) -> Result {
        let end = raw.size.get().div_ceil(BLOCK_SIZE as u64);
        let mut kept: Vec<Extent> = Vec::new();
        let mut freed = Vec::new();
        let mut nodes = Vec::new();
        let damage = extents::walk(&self.volume, ino, raw, &mut |found| match found {
            extents::Found::Node(block) => nodes.push(block),
            extents::Found::Extent(extent) => {
                let keep = extent.clipped(end);
                let len = keep.map_or(0, |keep| keep.len);
                kept.extend(keep);
                if len < extent.len {
                    freed.push((extent.block + len, extent.len - len));
                }
            }
        })?;
        // What is left fits into the nodes that were there.
        let kept = extents::join(&self.volume, &kept);
        let needed = extents::nodes_for(kept.len());
        let nodes = nodes.split_at_checked(needed);
        let Some((use_again, rest)) = nodes.filter(|_| damage.is_empty()) else {
            self.unfinished.insert(ino);
            return Ok(());
        };
        if freed.is_empty() {
            return Ok(());
        }
        extents::build(&self.volume, ino, raw, &kept, use_again)?;
        let data: u64 = kept.iter().map(|extent| extent.len).sum();
        raw.blocks = (data + needed as u64).into();
        self.volume.store_record(ino, raw)?;
        for (start, len) in freed.into_iter().chain(rest.iter().map(|&node| (node, 1))) {
            self.free_run(start, len)?;
        }
        Ok(())
    }

    /// Clears the bits of a run, which lies in one group, where the bitmap is sound.
    fn free_run(&mut self, start: u64, len: u64) -> Result {
        let geometry = self.volume.geometry;
        let group = geometry.group_of(start);
        if !self.volume.is_data(start, len) || self.flag(group, Which::Blocks.fresh_flag()) {
            return Ok(());
        }
        let (mut data, good) = read_bitmap(&self.volume, group, Which::Blocks)?;
        if good.is_err() {
            return Ok(());
        }
        let mut freed = 0u32;
        for block in start..start + len {
            let at = (block - geometry.group_start(group)) as usize;
            if is_used(&data, at) {
                clear_bit(&mut data, BITMAP_HEADER, at);
                freed += 1;
            }
        }
        self.change_counts(&mut data, |header| {
            header.free = header.free.get().wrapping_add(freed).into();
        });
        self.volume
            .write_sealed(geometry.block_bitmap(group), &mut data)
    }

    /// Clears an inode's orphan bit, and with `free` its own.
    fn change_inode_bits(&mut self, ino: u64, free: bool) -> Result {
        let geometry = self.volume.geometry;
        let group = geometry.group_of_ino(ino);
        let at = geometry.ino_bit(ino);
        let (mut data, _) = read_bitmap(&self.volume, group, Which::Inodes)?;
        debug_assert!(bit(&data[..], ORPHAN_BITS, at));
        clear_bit(&mut data, ORPHAN_BITS, at);
        if free {
            clear_bit(&mut data, BITMAP_HEADER, at);
        }
        self.change_counts(&mut data, |header| {
            header.orphans = header.orphans.get().wrapping_sub(1).into();
            if free {
                header.free = header.free.get().wrapping_add(1).into();
            }
        });
        self.volume
            .write_sealed(geometry.inode_bitmap(group), &mut data)
    }

    fn change_counts(&self, data: &mut BlockData, change: impl FnOnce(&mut BitmapHeader)) {
        if let Some(mut header) = image::load::<BitmapHeader>(&data[..], 0) {
            change(&mut header);
            image::store(&mut data[..], 0, &header);
        }
    }
}
