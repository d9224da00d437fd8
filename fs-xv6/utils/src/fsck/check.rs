// SPDX-License-Identifier: GPL-2.0

//! What the passes share: the volume, what was found on it, and how a tree gets blocks.

use super::{
    directory,
    extents,
    log::Log,
    maps::{
        BlockMap,
        InodeMap, //
    },
    volume::Volume, //
};
use crate::failure::Result;
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use xv6::layout::{
    RawInode,
    BLOCK_SIZE, //
};

/// What was found of a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirInfo {
    /// The parent that its record names.
    pub parent: u64,
    /// The directory in which its name was found, or zero.
    pub named_in: u64,
}

/// A check in progress.
pub struct Check<'d, 'l, 'u> {
    pub volume: Volume<'d>,
    pub log: &'l mut Log<'u>,
    /// Groups' flags, as they are on disk.
    pub flags: Vec<u32>,
    /// Groups whose descriptor is lost: their flags are a guess.
    pub guessed: BTreeSet<u64>,
    /// Blocks that inodes use.
    pub used: BlockMap,
    /// Those among them that are metadata.
    pub metadata: BlockMap,
    /// Blocks that more than one inode claims.
    pub shared: BlockMap,
    pub inodes: InodeMap,
    pub dirs: BTreeMap<u64, DirInfo>,
    /// Regular files whose tree is to be built anew.
    pub rebuild: BTreeSet<u64>,
    /// Those among them whose truncation a crash has interrupted.
    pub unfinished: BTreeSet<u64>,
    /// Directories whose tree is damaged.
    pub damaged: BTreeSet<u64>,
    /// Extents from nodes that their damaged trees have lost.
    pub lost_extents: BTreeMap<u64, Vec<extents::Extent>>,
    /// Entries from leaves that their damaged trees have lost.
    pub lost_entries: BTreeMap<u64, Vec<directory::Entry>>,
    /// Where the next block may be free.
    cursor: u64,
}

impl<'d, 'l, 'u> Check<'d, 'l, 'u> {
    /// Nothing found yet.
    pub fn new(volume: Volume<'d>, log: &'l mut Log<'u>) -> Self {
        let geometry = volume.geometry;
        Self {
            log,
            flags: vec![0; geometry.groups() as usize],
            guessed: BTreeSet::new(),
            used: BlockMap::new(&geometry),
            metadata: BlockMap::new(&geometry),
            shared: BlockMap::new(&geometry),
            inodes: InodeMap::new(&geometry),
            dirs: BTreeMap::new(),
            rebuild: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            damaged: BTreeSet::new(),
            lost_extents: BTreeMap::new(),
            lost_entries: BTreeMap::new(),
            cursor: 0,
            volume,
        }
    }

    /// A group's flags.
    pub fn flag(&self, group: u64, flag: u32) -> bool {
        self.flags
            .get(group as usize)
            .is_some_and(|flags| flags & flag != 0)
    }

    /// Changes a group's flags.
    pub fn clear_flag(&mut self, group: u64, flag: u32) {
        if let Some(flags) = self.flags.get_mut(group as usize) {
            *flags &= !flag;
        }
    }

    /// A block becomes metadata of an inode.
    pub fn claim_metadata(&mut self, block: u64) {
        if self.used.set(block) {
            self.shared.set(block);
        }
        self.metadata.set(block);
    }

    /// A run of blocks becomes data of an inode.
    pub fn claim_data(&mut self, start: u64, len: u64) {
        self.used.claim(start, len, &mut self.shared);
    }

    /// A block is used no more.
    pub fn release(&mut self, block: u64) {
        self.used.clear(block);
        self.metadata.clear(block);
    }

    /// What a file keeps of an extent. Data behind the end is what a truncation has left, and would
    /// show again when the file grows; blocks that were allocated ahead have no data, and stay
    /// unless the file was being cut.
    pub fn kept(
        &self,
        ino: u64,
        raw: &RawInode,
        extent: extents::Extent,
    ) -> Option<extents::Extent> {
        if extent.unwritten && !self.unfinished.contains(&ino) {
            return Some(extent);
        }
        extent.clipped(raw.size.get().div_ceil(BLOCK_SIZE as u64))
    }

    /// `count` blocks that nothing uses, claimed as metadata. [`None`] if there are not as many.
    ///
    /// Only when all that is used has been found.
    pub fn allocate(&mut self, count: usize) -> Option<Vec<u64>> {
        let end = self.volume.geometry.blocks;
        let mut found = Vec::with_capacity(count);
        let mut left = end;
        let mut block = self.cursor;
        while found.len() < count {
            if left == 0 {
                for block in found {
                    self.release(block);
                }
                return None;
            }
            if block >= end {
                block = 0;
            }
            if !self.used.get(block) && self.volume.is_data(block, 1) {
                self.claim_metadata(block);
                found.push(block);
            }
            block += 1;
            left -= 1;
        }
        self.cursor = block;
        Some(found)
    }

    /// Allocates from this block on.
    pub fn allocate_from(&mut self, block: u64) {
        self.cursor = block;
    }

    /// Puts a directory's entries into a new tree, in place of the nodes that it had, and stores
    /// its record.
    ///
    /// Gives back the entries for which there is no place; all of them if there is no room on the
    /// volume, which is left as it was.
    pub fn rebuild_directory(
        &mut self,
        ino: u64,
        raw: &mut RawInode,
        mut entries: Vec<directory::Entry>,
        old: &[u64],
    ) -> Result<Result<Vec<directory::Entry>, Vec<directory::Entry>>> {
        let refused = directory::arrange(&self.volume, &mut entries);
        for &block in old {
            self.release(block);
        }
        if let Some(&first) = old.first() {
            self.allocate_from(first);
        }
        let Some(blocks) = self.allocate(directory::nodes_for(&entries)) else {
            for &block in old {
                self.claim_metadata(block);
            }
            entries.extend(refused);
            return Ok(Err(entries));
        };
        directory::build(&self.volume, ino, raw, &entries, &blocks)?;
        self.volume.store_record(ino, raw)?;
        Ok(Ok(refused))
    }

    /// Puts a file's extents into a new tree, in place of the nodes that it had, and stores its
    /// record. False if there is no room on the volume, which is left as it was.
    pub fn rebuild_file(
        &mut self,
        ino: u64,
        raw: &mut RawInode,
        extents: &[extents::Extent],
        old: &[u64],
    ) -> Result<bool> {
        let extents = extents::join(&self.volume, extents);
        for &block in old {
            self.release(block);
        }
        if let Some(&first) = old.first() {
            self.allocate_from(first);
        }
        let Some(blocks) = self.allocate(extents::nodes_for(extents.len())) else {
            for &block in old {
                self.claim_metadata(block);
            }
            return Ok(false);
        };
        extents::build(&self.volume, ino, raw, &extents, &blocks)?;
        let data: u64 = extents.iter().map(|extent| extent.len).sum();
        raw.blocks = (data + blocks.len() as u64).into();
        self.volume.store_record(ino, raw)?;
        Ok(true)
    }
}
