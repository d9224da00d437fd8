// SPDX-License-Identifier: GPL-2.0

//! What is free, and who may take it: the sets of blocks that are not, or not yet, in the bitmaps.

use crate::bento::{
    Block,
    Ino, //
};
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    sync::{
        Mutex,
        MutexGuard,
        PoisonError, //
    },
};

/// A transaction's number; compare with [`super::journal::tid_newer`].
pub(crate) type Tid = u32;

/// The sets and the counters of a mount.
#[derive(Default)]
pub(crate) struct SpaceSets(Mutex<Sets>);

#[derive(Default)]
struct Sets {
    free_blocks: u64,
    free_inodes: u64,
    /// Blocks that only mapping trees may take.
    pool: u64,
    /// Claimed and not in the bitmap yet: start to length.
    claimed: Runs<()>,
    /// Freed in a transaction that has not committed: start to length and transaction.
    freed: Runs<Tid>,
    inos: BTreeSet<Ino>,
}

/// Who claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Free space: not the pool.
    Free,
    /// Free space, then the pool.
    Pool,
}

/// Disjoint runs of blocks, each with a mark.
struct Runs<M>(BTreeMap<Block, (u64, M)>);

impl<M> Default for Runs<M> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<M: Copy> Runs<M> {
    /// The first run that meets `start..end`: its start and end.
    fn first(&self, start: Block, end: Block) -> Option<(Block, Block)> {
        if let Some((&at, &(len, _))) = self.0.range(..start).next_back() {
            if at + len > start {
                return Some((at, at + len));
            }
        }
        let (&at, &(len, _)) = self.0.range(start..end).next()?;
        Some((at, at + len))
    }

    fn insert(&mut self, start: Block, len: u64, mark: M) {
        self.0.insert(start, (len, mark));
    }

    /// Takes out what is in `start..end`; gives the number of blocks.
    fn remove(&mut self, start: Block, end: Block) -> u64 {
        let mut removed = 0;
        while let Some((from, to)) = self.first(start, end) {
            let Some((_, mark)) = self.0.remove(&from) else {
                break;
            };
            if from < start {
                self.insert(from, start - from, mark);
            }
            if to > end {
                self.insert(end, to - end, mark);
            }
            removed += to.min(end) - from.max(start);
        }
        removed
    }
}

impl SpaceSets {
    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the counters, when the volume is mounted.
    pub(crate) fn set_free(&self, blocks: u64, inodes: u64, pool: u64) {
        let mut sets = self.lock();
        sets.free_blocks = blocks;
        sets.free_inodes = inodes;
        sets.pool = pool;
    }

    /// Free blocks (those of the pool among them) and free inodes.
    pub(crate) fn free(&self) -> (u64, u64) {
        let sets = self.lock();
        (sets.free_blocks, sets.free_inodes)
    }

    /// Blocks of the pool that are free.
    pub(crate) fn pool(&self) -> u64 {
        let sets = self.lock();
        sets.pool.min(sets.free_blocks)
    }

    /// Claims the longest free prefix of a run: its length, or [`None`] if there is nothing to
    /// claim from.
    pub(crate) fn claim(&self, start: Block, len: u64, from: From) -> Option<u64> {
        let mut sets = self.lock();
        let available = match from {
            From::Free => sets.free_blocks.saturating_sub(sets.pool),
            From::Pool => sets.free_blocks,
        };
        if available == 0 {
            return None;
        }
        let end = start.saturating_add(len.min(available));
        let end = match (sets.claimed.first(start, end), sets.freed.first(start, end)) {
            (Some((a, _)), Some((b, _))) => a.min(b).min(end),
            (Some((a, _)), None) | (None, Some((a, _))) => a.min(end),
            (None, None) => end,
        };
        let len = end.saturating_sub(start);
        if len > 0 {
            sets.claimed.insert(start, len, ());
            sets.free_blocks -= len;
        }
        Some(len)
    }

    /// Gives a claim back: the blocks are free again.
    pub(crate) fn unclaim(&self, start: Block, len: u64) {
        let mut sets = self.lock();
        sets.free_blocks += sets.claimed.remove(start, start.saturating_add(len));
    }

    /// Ends a claim whose blocks are marked in the bitmap by now.
    pub(crate) fn settle(&self, start: Block, len: u64) {
        self.lock().claimed.remove(start, start.saturating_add(len));
    }

    /// The first block from `start` on that is neither claimed nor freed; `end` if none.
    pub(crate) fn next_unclaimed(&self, start: Block, end: Block) -> Block {
        let sets = self.lock();
        let mut at = start;
        while at < end {
            match (sets.claimed.first(at, at + 1), sets.freed.first(at, at + 1)) {
                (Some((_, to)), _) | (None, Some((_, to))) => at = to,
                (None, None) => return at,
            }
        }
        end
    }

    /// Enters blocks that transaction `tid` frees. False if any is in the set already.
    pub(crate) fn free_run(&self, start: Block, len: u64, tid: Tid) -> bool {
        let mut sets = self.lock();
        let end = start.saturating_add(len);
        if sets.freed.first(start, end).is_some() || sets.claimed.first(start, end).is_some() {
            return false;
        }
        sets.freed.insert(start, len, tid);
        true
    }

    /// Takes back [`SpaceSets::free_run`]: the blocks stay in use.
    pub(crate) fn unfree_run(&self, start: Block, len: u64) {
        self.lock().freed.remove(start, start.saturating_add(len));
    }

    /// Whether a commit would free blocks.
    pub(crate) fn has_freed(&self) -> bool {
        !self.lock().freed.0.is_empty()
    }

    /// The number of blocks that a commit would free.
    pub(crate) fn freed(&self) -> u64 {
        self.lock().freed.0.values().map(|(len, _)| len).sum()
    }

    /// The runs that a transaction freed.
    pub(crate) fn freed_by(&self, tid: Tid) -> Vec<(Block, u64)> {
        let sets = self.lock();
        let runs = sets.freed.0.iter().filter(|(_, (_, of))| *of == tid);
        runs.map(|(&start, &(len, _))| (start, len)).collect()
    }

    /// A transaction has committed: the blocks that it freed are free.
    pub(crate) fn release(&self, tid: Tid) {
        let mut sets = self.lock();
        let mut released = 0;
        sets.freed.0.retain(|_, &mut (len, of)| {
            if of == tid {
                released += len;
            }
            of != tid
        });
        sets.free_blocks += released;
    }

    /// Claims an inode number. False if somebody has it.
    pub(crate) fn claim_ino(&self, ino: Ino) -> bool {
        let mut sets = self.lock();
        if sets.free_inodes == 0 || !sets.inos.insert(ino) {
            return false;
        }
        sets.free_inodes -= 1;
        true
    }

    /// Gives the claim of an inode number back.
    pub(crate) fn unclaim_ino(&self, ino: Ino) {
        let mut sets = self.lock();
        if sets.inos.remove(&ino) {
            sets.free_inodes += 1;
        }
    }

    /// Ends the claim of a number that is marked in the bitmap by now.
    pub(crate) fn settle_ino(&self, ino: Ino) {
        self.lock().inos.remove(&ino);
    }

    /// An inode has been freed.
    pub(crate) fn free_ino(&self) {
        self.lock().free_inodes += 1;
    }
}
