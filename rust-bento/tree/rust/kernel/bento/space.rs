// SPDX-License-Identifier: GPL-2.0

//! What the core knows of the space on a volume.
//!
//! A file system's bitmaps say which blocks are in use on disk. They do not say which of the others
//! may be taken: blocks that were chosen for data not yet written are used although their bits are
//! clear, and blocks that were freed must keep their content until the transaction that freed them
//! has committed, lest a crash brings back a file whose blocks hold another's data. Both kinds are
//! kept here, with the counts of what is free and what is promised.
//!
//! Plain data: the locking is in [`claims`](super::claims).

use super::{
    Block,
    Ino,
    Space, //
};
use crate::{
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
};

/// A transaction's number. Wraps.
pub(super) type Tid = u32;

/// Ranges of blocks that do not overlap: end (exclusive) to start. Keyed by the end, so that the
/// first key above a block belongs to the first range that holds it or comes after.
type Ranges = RBTree<Block, Block>;

/// Memory for one more range, taken outside locks.
pub(super) type RangeNode = RBTreeNodeReservation<Block, Block>;

/// Memory for one more inode number.
pub(super) type InoNode = RBTreeNodeReservation<Ino, ()>;

/// Where the blocks of a claim come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Free space that nobody was promised.
    Free,
    /// A reservation: at most this many blocks.
    Reserved(u64),
    /// What is kept back for mapping blocks beyond a reservation.
    Pool,
}

/// What becomes of blocks that are no longer claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are in use on disk.
    Used,
    /// They are free again.
    Unused,
    /// They are free again, and promised again to whom they were promised.
    Promised,
}

/// The blocks that one transaction freed.
struct Freed {
    tid: Tid,
    blocks: u64,
    ranges: Ranges,
}

/// Transactions whose freed blocks are kept apart: the running and the committing one, and some
/// that have committed and whose blocks are being discarded.
const FREED_SETS: usize = 4;

/// See the [module](self).
pub(super) struct Sets {
    total_blocks: u64,
    total_inodes: u64,
    /// Blocks that are neither in use on disk nor in `claimed` nor in `freed`.
    free: u64,
    /// Of these, promised to dirty data and to the mapping blocks that it may need.
    reserved: u64,
    /// Of these, kept back for mapping blocks beyond a reservation.
    pool: u64,
    free_inodes: u64,
    claimed: Ranges,
    freed: [Option<Freed>; FREED_SETS],
    inos: RBTree<Ino, ()>,
    /// Claims of inode numbers that have ended.
    ended_ino_claims: u64,
}

/// The first range of `set` that holds `block` or comes after it, as (start, end).
fn first(set: &Ranges, block: Block) -> Option<(Block, Block)> {
    let cursor = set.cursor_lower_bound(&block.checked_add(1)?)?;
    let (&end, &start) = cursor.current();
    Some((start, end))
}

/// Removes `start..end` from `set`. Gives the number of blocks that were there.
///
/// # Errors
///
/// `ENOMEM` if a range has to be split and `spare` is [`None`]; nothing has changed then.
fn remove(set: &mut Ranges, start: Block, end: Block, mut spare: Option<RangeNode>) -> Result<u64> {
    let mut removed = 0;
    let mut at = start;
    while let Some((first_start, first_end)) = first(set, at) {
        if first_start >= end {
            break;
        }
        let (cut_start, cut_end) = (first_start.max(start), first_end.min(end));
        match (first_start < cut_start, cut_end < first_end) {
            (false, false) => {
                set.remove(&first_end);
            }
            (false, true) => {
                if let Some(range_start) = set.get_mut(&first_end) {
                    *range_start = cut_end;
                }
            }
            (true, false) => {
                if let Some(node) = set.remove_node(&first_end) {
                    set.insert(node.into_reservation().into_node(cut_start, first_start));
                }
            }
            (true, true) => {
                let node = spare.take().ok_or(ENOMEM)?;
                if let Some(range_start) = set.get_mut(&first_end) {
                    *range_start = cut_end;
                }
                set.insert(node.into_node(cut_start, first_start));
            }
        }
        removed += cut_end - cut_start;
        at = cut_end;
    }
    Ok(removed)
}

/// Whether transaction `a` is `b` or an older one.
fn not_after(a: Tid, b: Tid) -> bool {
    (b.wrapping_sub(a) as i32) >= 0
}

impl Sets {
    /// Nothing known yet, and nothing free.
    pub(super) fn new() -> Self {
        Self {
            total_blocks: 0,
            total_inodes: 0,
            free: 0,
            reserved: 0,
            pool: 0,
            free_inodes: 0,
            claimed: RBTree::new(),
            freed: [const { None }; FREED_SETS],
            inos: RBTree::new(),
            ended_ino_claims: 0,
        }
    }

    /// Takes the counts of a volume that was just mounted.
    pub(super) fn set_totals(&mut self, space: Space) {
        self.total_blocks = space.total_blocks;
        self.total_inodes = space.total_inodes;
        self.free = space.free_blocks;
        self.free_inodes = space.free_inodes;
        // As ext4 does: 2 %, 4096 blocks at most.
        self.pool = (space.total_blocks / 50).min(4096);
    }

    /// The counts. Blocks that were freed and not yet committed are not free.
    pub(super) fn snapshot(&self) -> Space {
        Space {
            total_blocks: self.total_blocks,
            free_blocks: self.free,
            total_inodes: self.total_inodes,
            free_inodes: self.free_inodes,
        }
    }

    /// Free blocks that nobody was promised, the pool included.
    pub(super) fn unpromised(&self) -> u64 {
        self.free.saturating_sub(self.reserved)
    }

    /// Blocks that a new claim or reservation may have.
    pub(super) fn available(&self) -> u64 {
        self.unpromised().saturating_sub(self.pool)
    }

    /// Blocks that become free with a commit.
    pub(super) fn uncommitted(&self) -> u64 {
        self.freed.iter().flatten().map(|freed| freed.blocks).sum()
    }

    /// Blocks that are promised.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Promises `blocks`, all or none.
    pub(super) fn reserve(&mut self, blocks: u64) -> Result {
        if blocks > self.available() {
            return Err(ENOSPC);
        }
        self.reserved += blocks;
        Ok(())
    }

    /// Promises `blocks` for mapping blocks alone, all or none: the pool is there for these.
    pub(super) fn reserve_for_mapping(&mut self, blocks: u64) -> Result {
        if blocks > self.unpromised() {
            return Err(ENOSPC);
        }
        self.reserved += blocks;
        Ok(())
    }

    /// Takes a promise back.
    pub(super) fn unreserve(&mut self, blocks: u64) {
        self.reserved = self.reserved.saturating_sub(blocks);
    }

    /// The first range that is claimed or freed and not committed, and holds `block` or comes
    /// after.
    fn first_busy(&self, block: Block) -> Option<(Block, Block)> {
        let freed = self.freed.iter().flatten().map(|freed| &freed.ranges);
        let earliest = freed.filter_map(|set| first(set, block)).min();
        match (earliest, first(&self.claimed, block)) {
            (Some(freed), Some(claimed)) => Some(freed.min(claimed)),
            (freed, claimed) => freed.or(claimed),
        }
    }

    /// Claims the longest free start of `start..start + len`. Gives its length, which is 0 if the
    /// first block is claimed or freed already.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if nothing is left of `from`.
    pub(super) fn claim(
        &mut self,
        start: Block,
        len: u64,
        from: From,
        node: RangeNode,
    ) -> Result<u64> {
        let end = start.checked_add(len).ok_or(EINVAL)?;
        let allowance = match from {
            From::Free => self.available(),
            From::Reserved(blocks) => blocks.min(self.free),
            From::Pool => self.unpromised(),
        };
        if allowance == 0 {
            return Err(ENOSPC);
        }
        let limit = match self.first_busy(start) {
            Some((busy, _)) if busy < end => busy.saturating_sub(start),
            _ => len,
        };
        let taken = limit.min(allowance);
        if taken == 0 {
            return Ok(0);
        }
        self.claimed.insert(node.into_node(start + taken, start));
        self.free -= taken;
        if matches!(from, From::Reserved(_)) {
            self.reserved = self.reserved.saturating_sub(taken);
        }
        Ok(taken)
    }

    /// Ends the claim of blocks.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if `spare` is [`None`] and is needed; nothing has changed then.
    pub(super) fn release(
        &mut self,
        start: Block,
        len: u64,
        fate: Fate,
        spare: Option<RangeNode>,
    ) -> Result {
        let released = remove(&mut self.claimed, start, start.saturating_add(len), spare)?;
        if fate != Fate::Used {
            self.free += released;
        }
        if fate == Fate::Promised {
            self.reserved += released;
        }
        Ok(())
    }

    /// The first block of `start..end` that is neither claimed nor freed; `end` if none.
    pub(super) fn next_unclaimed(&self, start: Block, end: Block) -> Block {
        let mut block = start;
        while block < end {
            match self.first_busy(block) {
                Some((busy, busy_end)) if busy <= block => block = busy_end,
                _ => return block,
            }
        }
        end
    }

    /// Notes blocks that transaction `tid` frees.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if one of them is claimed, or freed already: the volume is damaged.
    pub(super) fn free(&mut self, start: Block, len: u64, tid: Tid, node: RangeNode) -> Result {
        let end = start.checked_add(len).ok_or(EUCLEAN)?;
        if matches!(self.first_busy(start), Some((busy, _)) if busy < end) {
            return Err(EUCLEAN);
        }
        // Without a place of its own it shares that of a younger transaction, or of the last one:
        // kept longer than it must be, never shorter.
        let place = self
            .freed
            .iter()
            .position(|set| matches!(set, Some(freed) if freed.tid == tid))
            .or_else(|| self.freed.iter().position(Option::is_none))
            .unwrap_or(FREED_SETS - 1);
        if let Some(place) = self.freed.get_mut(place) {
            let set = place.get_or_insert_with(|| Freed {
                tid,
                blocks: 0,
                ranges: Ranges::new(),
            });
            if not_after(set.tid, tid) {
                set.tid = tid;
            }
            set.ranges.insert(node.into_node(end, start));
            set.blocks += len;
        }
        Ok(())
    }

    /// Calls `each` with every range that transaction `tid` and older ones freed, as (start,
    /// length).
    pub(super) fn for_each_freed(&self, tid: Tid, mut each: impl FnMut(Block, u64)) {
        for freed in self.freed.iter().flatten() {
            if not_after(freed.tid, tid) {
                for (&end, &start) in freed.ranges.iter() {
                    each(start, end - start);
                }
            }
        }
    }

    /// Transaction `tid` has committed: what it and older ones freed is free now. Gives the memory
    /// to drop outside locks.
    pub(super) fn committed(&mut self, tid: Tid) -> [Option<Ranges>; FREED_SETS] {
        let mut garbage = [const { None }; FREED_SETS];
        for (set, garbage) in self.freed.iter_mut().zip(garbage.iter_mut()) {
            if matches!(set, Some(freed) if not_after(freed.tid, tid)) {
                if let Some(freed) = set.take() {
                    self.free += freed.blocks;
                    *garbage = Some(freed.ranges);
                }
            }
        }
        garbage
    }

    /// Claims an inode number: whether it was not claimed yet.
    pub(super) fn claim_ino(&mut self, ino: Ino, node: InoNode) -> bool {
        if self.free_inodes == 0 || self.inos.get(&ino).is_some() {
            return false;
        }
        self.inos.insert(node.into_node(ino, ()));
        self.free_inodes -= 1;
        true
    }

    /// Whether an inode number is claimed, and how many such claims have ended so far.
    pub(super) fn ino_claim(&self, ino: Ino) -> (bool, u64) {
        (self.inos.get(&ino).is_some(), self.ended_ino_claims)
    }

    /// Ends the claim of an inode number.
    pub(super) fn release_ino(&mut self, ino: Ino, fate: Fate) {
        self.ended_ino_claims = self.ended_ino_claims.wrapping_add(1);
        if self.inos.remove(&ino).is_some() && fate == Fate::Unused {
            self.free_inodes += 1;
        }
    }

    /// An inode was freed on disk.
    pub(super) fn ino_freed(&mut self) {
        self.free_inodes += 1;
    }
}
