// SPDX-License-Identifier: GPL-2.0

//! What the core knows of a file's data that the file system does not know yet.
//!
//! A dirty block of a file that has none on the volume is *reserved*: space is promised, no block
//! chosen. When it is written back it becomes *pending*: a block is chosen, its data on the way.
//! When the data is on disk the block is published, which makes it part of the file, and leaves
//! this set.
//!
//! Plain data: the locking is in [`data`](super::data). This file is compiled in both worlds.

use super::{
    Block,
    Extent,
    FileRange, //
};
use crate::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
};

/// Where a run of pending blocks begins, in the file and on the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    file_block: u64,
    block: Block,
}

/// Memory for one more reserved run.
pub(super) type ReservedNode = RBTreeNodeReservation<u64, u64>;

/// Memory for one more pending run.
pub(super) type PendingNode = RBTreeNodeReservation<u64, Start>;

/// What is known of a block of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Reserved, up to this block.
    Reserved {
        /// First block behind the run.
        end: u64,
    },
    /// Pending: the rest of its run.
    Pending(Extent),
    /// Nothing is known, up to this block.
    Nothing {
        /// First block that something is known of, or `u64::MAX`.
        end: u64,
    },
}

/// See the [module](self).
pub(super) struct Extents {
    /// End (exclusive) to start, of runs that do not touch.
    reserved: RBTree<u64, u64>,
    /// End (exclusive) to start. Runs do not overlap; each is what one claim gave, or a part of it.
    pending: RBTree<u64, Start>,
    /// Blocks promised to this file: its reserved blocks, and the mapping blocks that they and the
    /// pending ones may need.
    promised: u64,
}

/// Mapping blocks that a run of `blocks` blocks may need, if each of them becomes an extent of its
/// own: the leaves, and the nodes of `depth` levels above them, each half full, and one more of
/// each.
fn mapping_blocks(blocks: u64, depth: u32, half_node: u32) -> u64 {
    if blocks == 0 {
        return 0;
    }
    let half = u64::from(half_node.max(2));
    let (mut total, mut level) = (0u64, blocks);
    for _ in 0..=depth {
        level = level.div_ceil(half);
        total = total.saturating_add(level + 1);
    }
    total
}

impl Extents {
    /// Nothing known.
    pub(super) fn new() -> Self {
        Self {
            reserved: RBTree::new(),
            pending: RBTree::new(),
            promised: 0,
        }
    }

    /// Whether nothing is reserved or pending.
    pub(super) fn is_empty(&self) -> bool {
        self.reserved.is_empty() && self.pending.is_empty()
    }

    fn first_reserved(&self, at: u64) -> Option<FileRange> {
        let cursor = self.reserved.cursor_lower_bound(&at.checked_add(1)?)?;
        let (&end, &start) = cursor.current();
        Some(FileRange { start, end })
    }

    fn first_pending(&self, at: u64) -> Option<Extent> {
        let cursor = self.pending.cursor_lower_bound(&at.checked_add(1)?)?;
        let (&end, start) = cursor.current();
        Some(Extent {
            file_block: start.file_block,
            block: start.block,
            len: end - start.file_block,
            unwritten: true,
        })
    }

    /// What is known of block `at`.
    pub(super) fn lookup(&self, at: u64) -> Known {
        let mut end = u64::MAX;
        if let Some(run) = self.first_reserved(at) {
            if run.start <= at {
                return Known::Reserved { end: run.end };
            }
            end = run.start;
        }
        if let Some(run) = self.first_pending(at) {
            if run.file_block <= at {
                let skip = at - run.file_block;
                return Known::Pending(Extent {
                    file_block: at,
                    block: run.block + skip,
                    len: run.len - skip,
                    unwritten: true,
                });
            }
            end = end.min(run.file_block);
        }
        Known::Nothing { end }
    }

    /// The blocks that must be promised before `range`, of which nothing is known, is reserved.
    pub(super) fn needed(&self, range: FileRange, depth: u32, half_node: u32) -> u64 {
        let len = range.end - range.start;
        let left = match self.reserved.get(&range.start) {
            Some(&start) => range.start - start,
            None => 0,
        };
        let right = match self.first_reserved(range.end) {
            Some(run) if run.start == range.end => run.end - run.start,
            _ => 0,
        };
        let tree = |blocks| mapping_blocks(blocks, depth, half_node);
        let more = tree(left + len + right)
            .saturating_sub(tree(left))
            .saturating_sub(tree(right));
        len.saturating_add(more)
    }

    /// Reserves `range`, of which nothing is known, with `promised` blocks.
    pub(super) fn reserve(&mut self, range: FileRange, promised: u64, node: ReservedNode) {
        let FileRange { mut start, mut end } = range;
        if let Some(left) = self.reserved.remove(&start) {
            start = left;
        }
        if let Some(run) = self.first_reserved(end) {
            if run.start == end {
                self.reserved.remove(&run.end);
                end = run.end;
            }
        }
        self.reserved.insert(node.into_node(end, start));
        self.promised += promised;
    }

    /// Takes `range` out of what is reserved. Gives the number of blocks that were. Their promise
    /// stays.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if a run has to be split and `spare` is [`None`]; nothing has changed then.
    pub(super) fn unreserve(
        &mut self,
        range: FileRange,
        mut spare: Option<ReservedNode>,
    ) -> Result<u64> {
        let mut removed = 0;
        while let Some(run) = self.first_reserved(range.start) {
            if run.start >= range.end {
                break;
            }
            let (start, end) = (run.start.max(range.start), run.end.min(range.end));
            match (run.start < start, end < run.end) {
                (true, true) => {
                    let node = spare.take().ok_or(ENOMEM)?;
                    self.reserved.insert(node.into_node(start, run.start));
                    if let Some(run_start) = self.reserved.get_mut(&run.end) {
                        *run_start = end;
                    }
                }
                (false, true) => {
                    if let Some(run_start) = self.reserved.get_mut(&run.end) {
                        *run_start = end;
                    }
                }
                (true, false) => {
                    if let Some(node) = self.reserved.remove_node(&run.end) {
                        let node = node.into_reservation().into_node(start, run.start);
                        self.reserved.insert(node);
                    }
                }
                (false, false) => {
                    self.reserved.remove(&run.end);
                }
            }
            removed += end - start;
        }
        Ok(removed)
    }

    /// Adds a pending run, of whose blocks nothing is known.
    pub(super) fn add_pending(&mut self, extent: Extent, node: PendingNode) {
        self.pending.insert(node.into_node(
            extent.file_end(),
            Start {
                file_block: extent.file_block,
                block: extent.block,
            },
        ));
    }

    /// Takes the first pending blocks of `range` out, up to the end of their run.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if a run has to be split and `spare` is [`None`]; nothing has changed then.
    pub(super) fn take_pending(
        &mut self,
        range: FileRange,
        spare: &mut Option<PendingNode>,
    ) -> Result<Option<Extent>> {
        let run = match self.first_pending(range.start) {
            Some(run) if run.file_block < range.end => run,
            _ => return Ok(None),
        };
        let (start, end) = (
            run.file_block.max(range.start),
            run.file_end().min(range.end),
        );
        let run_start = Start {
            file_block: run.file_block,
            block: run.block,
        };
        let rest = Start {
            file_block: end,
            block: run.block + (end - run.file_block),
        };
        match (run.file_block < start, end < run.file_end()) {
            (true, true) => {
                let node = spare.take().ok_or(ENOMEM)?;
                self.pending.insert(node.into_node(start, run_start));
                if let Some(start) = self.pending.get_mut(&run.file_end()) {
                    *start = rest;
                }
            }
            (false, true) => {
                if let Some(start) = self.pending.get_mut(&run.file_end()) {
                    *start = rest;
                }
            }
            (true, false) => {
                if let Some(node) = self.pending.remove_node(&run.file_end()) {
                    let node = node.into_reservation().into_node(start, run_start);
                    self.pending.insert(node);
                }
            }
            (false, false) => {
                self.pending.remove(&run.file_end());
            }
        }
        Ok(Some(Extent {
            file_block: start,
            block: run.block + (start - run.file_block),
            len: end - start,
            unwritten: true,
        }))
    }

    /// Takes up to `blocks` of what is promised.
    pub(super) fn spend(&mut self, blocks: u64) -> u64 {
        let spent = blocks.min(self.promised);
        self.promised -= spent;
        spent
    }

    /// Gives promised blocks back that were taken and not used.
    pub(super) fn refund(&mut self, blocks: u64) {
        self.promised += blocks;
    }

    /// What is promised, if nothing needs it any more.
    pub(super) fn surplus(&mut self) -> u64 {
        if self.is_empty() {
            core::mem::take(&mut self.promised)
        } else {
            0
        }
    }
}
