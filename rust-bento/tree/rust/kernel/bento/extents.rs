// SPDX-License-Identifier: GPL-2.0

//! What the core knows of a file's data that the file system does not know yet.
//!
//! A dirty block of a file that has none on the volume is *reserved*: space is promised, no block
//! chosen. One that has an unwritten block is *splitting*: what is promised is only what the
//! mapping may need when the extent around it falls into pieces. When either is written back it
//! becomes *pending*: its block is fixed, its data on the way. When the data is on disk the block
//! is published, which makes it a written part of the file, and leaves this set.
//!
//! Plain data: the locking is in [`data`](super::data).

use super::{
    super_block::TreeShape,
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

/// Where a run of blocks lies on the volume, if it has a place there.
trait Site: Copy {
    /// The place of what lies `blocks` further on in the run.
    fn along(self, blocks: u64) -> Self;
}

impl Site for () {
    fn along(self, _blocks: u64) {}
}

impl Site for Block {
    fn along(self, blocks: u64) -> Self {
        self + blocks
    }
}

/// Memory for one more run.
type Node<S> = RBTreeNodeReservation<u64, (u64, S)>;

/// Memory for one more run of dirty blocks.
pub(super) type DirtyNode = Node<()>;

/// Memory for one more pending run.
pub(super) type PendingNode = Node<Block>;

/// Runs of blocks of a file that do not overlap.
struct Runs<S: Site> {
    /// End (exclusive) to start and place, so that the first key above a block belongs to the first
    /// run that holds it or comes after.
    tree: RBTree<u64, (u64, S)>,
    /// How many there are.
    count: u64,
    /// Blocks in all of them.
    blocks: u64,
}

impl<S: Site> Runs<S> {
    fn new() -> Self {
        Self {
            tree: RBTree::new(),
            count: 0,
            blocks: 0,
        }
    }

    /// The first run that holds block `at` or comes after it.
    fn first(&self, at: u64) -> Option<(FileRange, S)> {
        let cursor = self.tree.cursor_lower_bound(&at.checked_add(1)?)?;
        let (&end, &(start, place)) = cursor.current();
        Some((FileRange { start, end }, place))
    }

    /// Adds a run, of whose blocks there are none.
    fn add(&mut self, run: FileRange, place: S, node: Node<S>) {
        self.tree
            .insert(node.into_node(run.end, (run.start, place)));
        self.count += 1;
        self.blocks += run.end - run.start;
    }

    /// Takes the first blocks of `range` out, up to the end of their run.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if a run has to be split and `spare` is [`None`]; nothing has changed then.
    fn take(
        &mut self,
        range: FileRange,
        spare: &mut Option<Node<S>>,
    ) -> Result<Option<(FileRange, S)>> {
        let (run, place) = match self.first(range.start) {
            Some((run, place)) if run.start < range.end => (run, place),
            _ => return Ok(None),
        };
        let (start, end) = (run.start.max(range.start), run.end.min(range.end));
        let rest = (end, place.along(end - run.start));
        match (run.start < start, end < run.end) {
            (true, true) => {
                let node = spare.take().ok_or(ENOMEM)?;
                self.tree.insert(node.into_node(start, (run.start, place)));
                if let Some(value) = self.tree.get_mut(&run.end) {
                    *value = rest;
                }
                self.count += 1;
            }
            (false, true) => {
                if let Some(value) = self.tree.get_mut(&run.end) {
                    *value = rest;
                }
            }
            (true, false) => {
                if let Some(node) = self.tree.remove_node(&run.end) {
                    let node = node.into_reservation();
                    self.tree.insert(node.into_node(start, (run.start, place)));
                }
            }
            (false, false) => {
                self.tree.remove(&run.end);
                self.count -= 1;
            }
        }
        self.blocks -= end - start;
        Ok(Some((
            FileRange { start, end },
            place.along(start - run.start),
        )))
    }
}

impl Runs<()> {
    /// The runs that end where `range` starts, and start where it ends.
    fn neighbours(&self, range: FileRange) -> (Option<FileRange>, Option<FileRange>) {
        let left = self.tree.get(&range.start).map(|&(start, ())| FileRange {
            start,
            end: range.start,
        });
        let right = self.first(range.end).map(|(run, ())| run);
        (left, right.filter(|run| run.start == range.end))
    }

    /// Adds a range, as one run with those that it touches.
    fn join(&mut self, range: FileRange, node: DirtyNode) {
        let mut run = range;
        let (left, right) = self.neighbours(range);
        for other in [left, right].into_iter().flatten() {
            self.tree.remove(&other.end);
            self.count -= 1;
            self.blocks -= other.end - other.start;
            run = FileRange {
                start: run.start.min(other.start),
                end: run.end.max(other.end),
            };
        }
        self.add(run, (), node);
    }
}

/// What a block that becomes dirty needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// A block, and what the mapping may need for it.
    Block,
    /// It has an unwritten one: what the mapping may need when that is split off.
    Split,
}

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
    /// Nothing that the file system does not know, up to this block.
    Nothing {
        /// First block that something is known of, or `u64::MAX`.
        end: u64,
    },
}

/// See the [module](self).
pub(super) struct Extents {
    /// Joined where they touch.
    reserved: Runs<()>,
    /// Joined where they touch. Where these blocks are the file system knows.
    splitting: Runs<()>,
    /// Each is what one claim gave or one extent had, or a part of it.
    pending: Runs<Block>,
    /// Blocks promised to this file.
    promised: u64,
}

impl Extents {
    /// Nothing known.
    pub(super) fn new() -> Self {
        Self {
            reserved: Runs::new(),
            splitting: Runs::new(),
            pending: Runs::new(),
            promised: 0,
        }
    }

    /// Whether nothing is known, nor splitting.
    pub(super) fn is_empty(&self) -> bool {
        self.totals().0 == 0
    }

    /// What is known of block `at`.
    pub(super) fn lookup(&self, at: u64) -> Known {
        let mut end = u64::MAX;
        if let Some((run, ())) = self.reserved.first(at) {
            if run.start <= at {
                return Known::Reserved { end: run.end };
            }
            end = run.start;
        }
        if let Some((run, block)) = self.pending.first(at) {
            if run.start <= at {
                return Known::Pending(Extent {
                    file_block: at,
                    block: block.along(at - run.start),
                    len: run.end - at,
                    unwritten: true,
                });
            }
            end = end.min(run.start);
        }
        Known::Nothing { end }
    }

    /// The end of the splitting run that holds block `at`, if one does.
    pub(super) fn split_end(&self, at: u64) -> Option<u64> {
        let (run, ()) = self.splitting.first(at)?;
        (run.start <= at).then_some(run.end)
    }

    /// The start of `range` that can be reserved: of which nothing is known, and that is not
    /// splitting if it would be.
    pub(super) fn vacant(&self, range: FileRange, needs: Needs) -> Option<FileRange> {
        let Known::Nothing { end } = self.lookup(range.start) else {
            return None;
        };
        let next = match (needs, self.splitting.first(range.start)) {
            (Needs::Split, Some((run, ()))) => run.start,
            _ => u64::MAX,
        };
        (next > range.start).then_some(FileRange {
            end: end.min(next).min(range.end),
            ..range
        })
    }

    /// The promise that covers `data` blocks to be chosen, and `blocks` blocks in `runs` runs that
    /// are to become written extents: at worst each block one of its own.
    ///
    /// A run of `n` blocks adds at most `n` entries, and one more where it leaves two ends of an
    /// unwritten extent. A leaf that splits is half empty after that, so the new entries split as
    /// many leaves as they fill halves of, and two more for each run: those that it begins and ends
    /// in may have been full before. (A full one between these had its entries out of the run's own
    /// blocks, and gets that many fewer new ones.) Each split is an entry for the level above,
    /// where the same holds.
    fn promise(shape: TreeShape, data: u64, blocks: u64, runs: u64) -> u64 {
        // Without mapping blocks, the file system's inodes have room for every extent.
        if blocks == 0 || shape.half_node == u32::MAX {
            return data;
        }
        let half = u64::from(shape.half_node.max(2));
        let (mut total, mut level) = (data, blocks);
        for _ in 0..=shape.depth {
            level = level.div_ceil(half);
            total = total.saturating_add(level).saturating_add(2 * runs);
        }
        total
    }

    /// Blocks and runs of all sets.
    fn totals(&self) -> (u64, u64) {
        (
            self.reserved.blocks + self.splitting.blocks + self.pending.blocks,
            self.reserved.count + self.splitting.count + self.pending.count,
        )
    }

    /// The blocks that must be promised before `range`, which is vacant, is reserved.
    ///
    /// Not what it adds, but what is missing: part of what was promised before may be spent.
    pub(super) fn needed(&self, range: FileRange, needs: Needs, shape: TreeShape) -> u64 {
        let len = range.end - range.start;
        let (set, data) = match needs {
            Needs::Block => (&self.reserved, self.reserved.blocks + len),
            Needs::Split => (&self.splitting, self.reserved.blocks),
        };
        let (left, right) = set.neighbours(range);
        let (blocks, runs) = self.totals();
        let joined = u64::from(left.is_some()) + u64::from(right.is_some());
        let needed = Self::promise(shape, data, blocks + len, runs + 1 - joined);
        needed.saturating_sub(self.promised)
    }

    /// Reserves `range`, which is vacant, with `promised` more blocks.
    pub(super) fn reserve(
        &mut self,
        range: FileRange,
        needs: Needs,
        promised: u64,
        node: DirtyNode,
    ) {
        match needs {
            Needs::Block => self.reserved.join(range, node),
            Needs::Split => self.splitting.join(range, node),
        }
        self.promised += promised;
    }

    /// Takes `range` out of what is reserved and splitting. The promise stays.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if a run has to be split and `spare` is [`None`]: to be called again.
    pub(super) fn unreserve(&mut self, range: FileRange, spare: &mut Option<DirtyNode>) -> Result {
        while self.reserved.take(range, spare)?.is_some() {}
        while self.splitting.take(range, spare)?.is_some() {}
        Ok(())
    }

    /// Adds a pending run, of whose blocks nothing is known.
    pub(super) fn add_pending(&mut self, extent: Extent, node: PendingNode) {
        let run = FileRange {
            start: extent.file_block,
            end: extent.file_end(),
        };
        self.pending.add(run, extent.block, node);
    }

    /// Whether a block of `range` is pending.
    pub(super) fn has_pending(&self, range: FileRange) -> bool {
        let first = self.pending.first(range.start);
        first.is_some_and(|(run, _)| run.start < range.end)
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
        let taken = self.pending.take(range, spare)?;
        Ok(taken.map(|(run, block)| Extent {
            file_block: run.start,
            block,
            len: run.end - run.start,
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

    /// What is needed, and what is promised.
    fn balance(&self, shape: TreeShape) -> (u64, u64) {
        let (blocks, runs) = self.totals();
        let needed = Self::promise(shape, self.reserved.blocks, blocks, runs);
        (needed, self.promised)
    }

    /// Takes what is promised and not needed any more.
    pub(super) fn surplus(&mut self, shape: TreeShape) -> u64 {
        let (needed, promised) = self.balance(shape);
        self.promised = promised.min(needed);
        promised.saturating_sub(needed)
    }

    /// The blocks that are needed and not promised: they were spent on what came to nothing.
    pub(super) fn missing(&self, shape: TreeShape) -> u64 {
        let (needed, promised) = self.balance(shape);
        needed.saturating_sub(promised)
    }
}
