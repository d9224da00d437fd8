// SPDX-License-Identifier: GPL-2.0

//! Claims: who may take a block.
//!
//! The core is the arbiter of blocks and inode numbers that are not, or not yet, marked in the
//! bitmaps of a file system. The file system looks at its bitmap, claims what is free there, and
//! looks again under the lock that it sets bits with; on a conflict it lets go.

use super::{
    inode::CoreInode,
    space::{
        Fate,
        From,
        InoNode,
        RangeNode,
        Sets,
        Tid, //
    },
    super_block::CoreSuper,
    Block,
    Ino,
    Space, //
};
use crate::{
    alloc::Flags,
    bindings,
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        delay::fsleep,
        Delta, //
    },
    types::NotThreadSafe, //
};
use core::cell::Cell;

/// What the core knows of the space on a volume, see [`space`](super::space).
///
/// The lock is a leaf: its holder waits for nothing.
#[pin_data]
pub(super) struct SpaceSets {
    #[pin]
    sets: Mutex<Sets>,
}

/// Repeats `attempt` until there is memory: for what may not fail any more.
pub(super) fn retry_memory<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(error) if error == ENOMEM => fsleep(Delta::from_millis(20)),
            result => return result,
        }
    }
}

/// Allocations here happen in handles, in the gate and in a [`NofsScope`]: nothing that they lead
/// to calls a file system.
pub(super) const NOFS: Flags = GFP_KERNEL;

/// No allocation of the task that made it calls a file system.
pub(super) struct NofsScope {
    flags: c_uint,
    _task: NotThreadSafe,
}

impl NofsScope {
    /// Begins a scope. Scopes nest.
    pub(super) fn new() -> Self {
        Self {
            // SAFETY: Always allowed; restored in `drop`, by the same task.
            flags: unsafe { bindings::memalloc_nofs_save() },
            _task: NotThreadSafe,
        }
    }
}

impl Drop for NofsScope {
    fn drop(&mut self) {
        // SAFETY: The flags are those that `new` saved, in this task.
        unsafe { bindings::memalloc_nofs_restore(self.flags) };
    }
}

impl SpaceSets {
    /// Sets of a volume that nothing is known of.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            sets <- new_mutex!(Sets::new()),
        })
    }

    /// Takes the counts of a volume that was just mounted.
    pub(super) fn set_totals(&self, space: Space) -> Result {
        self.sets.lock().set_totals(space);
        Ok(())
    }

    /// The counts. Blocks that were freed and not yet committed are not free.
    pub(super) fn snapshot(&self) -> Space {
        self.sets.lock().snapshot()
    }

    /// Blocks free on disk that are promised or kept back.
    pub(super) fn reserved(&self) -> u64 {
        self.sets.lock().reserved()
    }

    /// Blocks that a new reservation may have.
    pub(super) fn available(&self) -> u64 {
        self.sets.lock().available()
    }

    /// Free blocks that nobody was promised, the pool included.
    pub(super) fn unpromised(&self) -> u64 {
        self.sets.lock().unpromised()
    }

    /// Blocks that become free with a commit.
    pub(super) fn uncommitted(&self) -> u64 {
        self.sets.lock().uncommitted()
    }

    /// Promises `blocks`, all or none: `ENOSPC`.
    pub(super) fn reserve(&self, blocks: u64) -> Result {
        self.sets.lock().reserve(blocks)
    }

    /// Promises `blocks` for mapping blocks alone, all or none: `ENOSPC`.
    pub(super) fn reserve_for_mapping(&self, blocks: u64) -> Result {
        self.sets.lock().reserve_for_mapping(blocks)
    }

    /// Takes a promise back.
    pub(super) fn unreserve(&self, blocks: u64) {
        if blocks != 0 {
            self.sets.lock().unreserve(blocks)
        }
    }

    /// Ends a claim. Never fails.
    pub(super) fn release(&self, start: Block, len: u64, fate: Fate) {
        if self.sets.lock().release(start, len, fate, None).is_ok() {
            return;
        }
        let node = match retry_memory(|| RangeNode::new(NOFS)) {
            Ok(node) => node,
            Err(_) => return,
        };
        // With a spare node this does not fail.
        let _ = self.sets.lock().release(start, len, fate, Some(node));
    }

    /// Notes blocks that transaction `tid` frees: `EUCLEAN` if they cannot be.
    pub(super) fn free(&self, start: Block, len: u64, tid: Tid) -> Result {
        let node = retry_memory(|| RangeNode::new(NOFS))?;
        self.sets.lock().free(start, len, tid, node)
    }

    /// Calls `each` with every range that transaction `tid` and older ones freed.
    pub(super) fn for_each_freed(&self, tid: Tid, each: impl FnMut(Block, u64)) {
        self.sets.lock().for_each_freed(tid, each)
    }

    /// Transaction `tid` has committed: what it and older ones freed is free now.
    pub(super) fn committed(&self, tid: Tid) {
        let garbage = self.sets.lock().committed(tid);
        // The guard is gone: many nodes may have to be given back.
        drop(garbage);
    }

    /// Gives a claimed inode number back.
    pub(super) fn unclaim_ino(&self, ino: Ino) {
        self.sets.lock().release_ino(ino, Fate::Unused)
    }

    /// Whether an inode number is claimed, which is while the inode is being made; and how many
    /// such claims have ended so far.
    pub(super) fn ino_claim(&self, ino: Ino) -> (bool, u64) {
        self.sets.lock().ino_claim(ino)
    }

    /// A claimed inode number is in use on disk now.
    pub(super) fn take_ino(&self, ino: Ino) {
        self.sets.lock().release_ino(ino, Fate::Used)
    }

    /// An inode was freed on disk.
    pub(super) fn release_ino(&self, _ino: Ino) {
        self.sets.lock().ino_freed()
    }
}

/// What was claimed and is not yet settled: (start, length).
#[derive(Default)]
pub(super) struct Made(Cell<KVec<(Block, u64)>>);

impl Made {
    /// Runs `change` on the list. It must not come back here: the list is empty meanwhile.
    fn with<R>(&self, change: impl FnOnce(&mut KVec<(Block, u64)>) -> R) -> R {
        let mut list = self.0.take();
        let result = change(&mut list);
        self.0.set(list);
        result
    }
}

/// Ends all claims of `made`.
pub(super) fn settle(sb: &CoreSuper, made: &Made, fate: Fate) {
    made.with(|list| {
        for (start, len) in list.drain_all() {
            sb.space().release(start, len, fate);
        }
    })
}

/// Whose blocks a claim takes.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// Free space.
    Free,
    /// What was reserved for an inode, and when that is used up, this.
    Inode(&'a CoreInode, From),
}

/// The right to claim blocks, and inode numbers, for one operation.
pub struct Claims<'a> {
    sb: &'a CoreSuper,
    source: Source<'a>,
    made: &'a Made,
}

impl<'a> Claims<'a> {
    /// Claims from free space.
    pub(super) fn free(sb: &'a CoreSuper, made: &'a Made) -> Self {
        let source = Source::Free;
        Self { sb, source, made }
    }

    /// Claims for data of `inode`.
    pub(super) fn data(inode: &'a CoreInode, made: &'a Made) -> Self {
        Self {
            sb: inode.core_super(),
            source: Source::Inode(inode, From::Free),
            made,
        }
    }

    /// Claims for mapping blocks of `inode`.
    pub(super) fn tree(inode: &'a CoreInode, made: &'a Made) -> Self {
        Self {
            sb: inode.core_super(),
            source: Source::Inode(inode, From::Pool),
            made,
        }
    }

    fn claim_from(&self, start: Block, len: u64, from: From) -> Result<u64> {
        let node = RangeNode::new(NOFS)?;
        self.sb.space().sets.lock().claim(start, len, from, node)
    }

    /// Claims the longest start of `start..start + len` that is neither claimed nor freed without
    /// having been committed. Gives its length, 0 if the first block is not to be had.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if nothing is left to claim from; `ENOMEM`.
    #[inline(never)]
    pub fn claim(&self, start: Block, len: u64) -> Result<u64> {
        if len == 0 {
            return Ok(0);
        }
        self.made.with(|list| list.reserve(1, NOFS))?;
        let taken = match self.source {
            Source::Free => self.claim_from(start, len, From::Free)?,
            Source::Inode(inode, beyond) => match inode.data.spend(len) {
                0 => self.claim_from(start, len, beyond)?,
                promised => {
                    let result = self.claim_from(start, len, From::Reserved(promised));
                    let taken = result.unwrap_or(0);
                    inode.data.refund(promised - taken);
                    result?
                }
            },
        };
        if taken > 0 {
            // There is room: it was reserved above.
            let _ = self.made.with(|list| list.push((start, taken), NOFS));
        }
        Ok(taken)
    }

    /// Gives back blocks that [`Claims::claim`] gave and that turned out to be in use.
    #[inline(never)]
    pub fn unclaim(&self, start: Block, len: u64) {
        let end = start.saturating_add(len);
        self.made.with(|list| {
            let mut left = None;
            list.retain(|(made, made_len)| {
                let made_end = *made + *made_len;
                if made_end <= start || *made >= end {
                    return true;
                }
                if *made < start {
                    if made_end > end {
                        left = Some((end, made_end - end));
                    }
                    *made_len = start - *made;
                    true
                } else if made_end > end {
                    *made = end;
                    *made_len = made_end - end;
                    true
                } else {
                    false
                }
            });
            if let Some(rest) = left {
                // Without memory the end of a split claim stays claimed until the volume is
                // unmounted.
                let _ = list.push(rest, NOFS);
            }
        });
        match self.source {
            Source::Free => self.sb.space().release(start, len, Fate::Unused),
            Source::Inode(inode, _) => {
                self.sb.space().release(start, len, Fate::Promised);
                inode.data.refund(len);
            }
        }
    }

    /// The first block of `start..end` that is not claimed; `end` if none.
    #[inline(never)]
    pub fn next_unclaimed(&self, start: Block, end: Block) -> Block {
        self.sb.space().sets.lock().next_unclaimed(start, end)
    }

    /// Claims an inode number: whether it was not claimed yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline(never)]
    pub fn claim_ino(&self, ino: Ino) -> Result<bool> {
        let node = InoNode::new(NOFS)?;
        Ok(self.sb.space().sets.lock().claim_ino(ino, node))
    }
}

/// Claims without a handle. What was claimed and not taken out is given back at the end.
pub(super) struct ClaimScope<'a> {
    sb: &'a CoreSuper,
    inode: Option<&'a CoreInode>,
    made: Made,
}

impl<'a> ClaimScope<'a> {
    /// From free space.
    pub(super) fn free(sb: &'a CoreSuper) -> Self {
        Self {
            sb,
            inode: None,
            made: Made::default(),
        }
    }

    /// For the data of `inode`, from its reservation.
    pub(super) fn data(inode: &'a CoreInode) -> Self {
        Self {
            sb: inode.core_super(),
            inode: Some(inode),
            made: Made::default(),
        }
    }

    /// The right to claim.
    pub(super) fn claims(&self) -> Claims<'_> {
        match self.inode {
            Some(inode) => Claims::data(inode, &self.made),
            None => Claims::free(self.sb, &self.made),
        }
    }

    fn give_back(&self, start: Block, len: u64) {
        match self.inode {
            _ if len == 0 => (),
            None => self.sb.space().release(start, len, Fate::Unused),
            Some(inode) => {
                self.sb.space().release(start, len, Fate::Promised);
                inode.data.refund(len);
            }
        }
    }

    /// Whether exactly these blocks are among those that were claimed.
    pub(super) fn holds(&self, start: Block, len: u64) -> bool {
        self.made.with(|list| {
            list.iter()
                .any(|&(made, made_len)| made <= start && start + len <= made + made_len)
        })
    }

    /// Takes blocks out of the scope: somebody else answers for the claim.
    pub(super) fn take(&self, start: Block, len: u64) {
        self.made.with(|list| {
            for entry in list.iter_mut() {
                let (made_start, made_len) = *entry;
                if made_start <= start && start + len <= made_start + made_len {
                    // What lies around it goes back at once, so that one entry is enough.
                    let end = start + len;
                    self.give_back(made_start, start - made_start);
                    self.give_back(end, made_start + made_len - end);
                    *entry = (start, 0);
                }
            }
        })
    }
}

impl Drop for ClaimScope<'_> {
    fn drop(&mut self) {
        self.made.with(|list| {
            for (start, len) in list.drain_all() {
                self.give_back(start, len);
            }
        })
    }
}
