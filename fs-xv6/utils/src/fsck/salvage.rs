// SPDX-License-Identifier: GPL-2.0

//! Pass 1b: leaves that a damaged tree has lost, because a node above them is lost.
//!
//! A leaf names its owner and the owner's generation. It is one that was lost if its block is
//! marked as used and nothing leads to it. Only if some tree is damaged are such blocks looked for.

use super::{
    check::Check,
    directory, extents,
    groups::{
        is_used,
        read_bitmap,
        Which, //
    },
};
use crate::{
    failure::Result,
    image, //
};
use std::collections::BTreeMap;
use xv6::layout::{
    MAGIC_DIR_LEAF,
    MAGIC_EXTENTS, //
};

/// Runs of a file that are taken: first block, and first block behind.
type Taken = BTreeMap<u64, u64>;

impl Check<'_, '_, '_> {
    /// Finds what damaged trees have lost.
    pub fn salvage(&mut self) -> Result {
        if self.rebuild.is_empty() && self.damaged.is_empty() {
            return Ok(());
        }
        let geometry = self.volume.geometry;
        let mut taken: BTreeMap<u64, Taken> = BTreeMap::new();
        for group in 0..geometry.groups() {
            if self.flag(group, Which::Blocks.fresh_flag()) {
                continue;
            }
            let (bitmap, good) = read_bitmap(&self.volume, group, Which::Blocks)?;
            if good.is_err() {
                continue;
            }
            for block in geometry.data_start(group)..geometry.group_end(group) {
                let bit = (block - geometry.group_start(group)) as usize;
                if is_used(&bitmap, bit) && !self.used.get(block) && self.volume.is_data(block, 1) {
                    self.salvage_block(block, &mut taken)?;
                }
            }
        }
        Ok(())
    }

    fn salvage_block(&mut self, block: u64, taken: &mut BTreeMap<u64, Taken>) -> Result {
        let data = self.volume.read(block)?;
        let header = image::header(&data);
        let owner = header.owner.get();
        let ours = match header.magic.get() {
            MAGIC_EXTENTS => self.rebuild.contains(&owner),
            MAGIC_DIR_LEAF => self.damaged.contains(&owner),
            _ => false,
        };
        if !ours
            || header.level.get() != 0
            || header.block.get() != block
            || !self.volume.is_sealed(&data)
        {
            return Ok(());
        }
        let raw = self.volume.record(owner)?;
        if raw.generation != header.generation {
            return Ok(());
        }
        if header.magic.get() == MAGIC_DIR_LEAF {
            let entries = directory::of_leaf(&self.volume, &data, &header);
            self.log.note(format_args!(
                "directory {owner}: {} names found in block {block}",
                entries.len()
            ));
            self.lost_entries.entry(owner).or_default().extend(entries);
            return Ok(());
        }
        if !taken.contains_key(&owner) {
            let mut runs = Taken::new();
            extents::walk(&self.volume, owner, &raw, &mut |found| {
                if let extents::Found::Extent(extent) = found {
                    runs.insert(extent.file_block, extent.file_end());
                }
            })?;
            taken.insert(owner, runs);
        }
        let runs = taken.entry(owner).or_default();
        for extent in extents::of_leaf(&self.volume, &data, &header) {
            let before = runs.range(..extent.file_end()).next_back();
            let overlaps = before.is_some_and(|(_, &end)| end > extent.file_block);
            let Some(extent) = self.kept(owner, &raw, extent).filter(|_| !overlaps) else {
                continue;
            };
            let blocks = extent.block..extent.block + extent.len;
            if blocks.clone().any(|block| self.used.get(block)) {
                continue;
            }
            runs.insert(extent.file_block, extent.file_end());
            for block in blocks {
                self.used.set(block);
            }
            self.lost_extents.entry(owner).or_default().push(extent);
        }
        Ok(())
    }
}
