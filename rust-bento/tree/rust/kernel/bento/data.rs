// SPDX-License-Identifier: GPL-2.0

//! File data: what the core keeps for each inode, and where the blocks of a file are.
//!
//! Blocks become part of a file after their data is on disk ("publish after write"): a write over a
//! hole only reserves space, write-back chooses the blocks and holds them as pending, and when the
//! data is there they are published in a transaction. So a commit never waits for data, a crash
//! never shows stale blocks, and a file that is deleted before write-back never touches the
//! allocator.
//!
//! Whoever looks for a block looks here first and asks the file system then, and publishing enters
//! a block there before it leaves this set: so it is never missed.

pub(super) use super::size::{
    finish_truncate,
    flush_for_rename,
    set_size, //
};
use super::{
    claims::{
        retry_memory,
        ClaimScope,
        NofsScope,
        NOFS, //
    },
    extents::{
        DirtyNode,
        Extents,
        Known,
        Needs,
        PendingNode, //
    },
    inode::CoreInode,
    iomap,
    space::{
        Fate,
        Tid, //
    },
    writeback,
    Extent,
    FileRange,
    Handle,
    Intent,
    Kind,
    Mapping, //
};
use crate::{
    bindings, new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Mutex,
        MutexGuard,
        SpinLock, //
    },
};

/// The core's truth about a file's data.
#[pin_data]
pub(super) struct InodeData {
    /// What is reserved and pending. A leaf: its holder takes the space sets' lock and no other.
    #[pin]
    extents: Mutex<Extents>,
    /// One task chooses blocks for this file at a time. Taken before the gate, never by the holder
    /// of a handle.
    #[pin]
    choosing: Mutex<()>,
    /// One task publishes blocks of this file at a time, see [`Publishing`]. Taken before the
    /// handle.
    #[pin]
    publishing: Mutex<()>,
    /// Counts changes of the mapping: one seen before is stale if this moved on.
    sequence: Atomic<u64>,
    /// The last mapping that the file system gave, and the sequence it was asked for at.
    #[pin]
    last: SpinLock<(u64, Option<Extent>)>,
    /// The size that is stored, which `i_size` runs ahead of until data is published.
    disk_size: Atomic<u64>,
    /// The size that a store of the record carries: while one is under way that moves the size,
    /// the new one.
    next_size: Atomic<u64>,
    /// The last transaction that stored this inode.
    tid: Atomic<u32>,
    /// Truncated to nothing since it was opened: write-back starts at close.
    truncated: Atomic<u32>,
    /// A write has failed, and may have left blocks that were chosen for it.
    failed: Atomic<u32>,
}

impl InodeData {
    /// Of an inode that nothing is known of.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            extents <- new_mutex!(Extents::new(), "bento_extents"),
            choosing <- new_mutex!((), "bento_choosing"),
            publishing <- new_mutex!((), "bento_publishing"),
            sequence: Atomic::new(1),
            last <- new_spinlock!((0, None), "bento_last_mapping"),
            disk_size: Atomic::new(0),
            next_size: Atomic::new(0),
            tid: Atomic::new(0),
            truncated: Atomic::new(0),
            failed: Atomic::new(0),
        })
    }

    /// The size that is stored, in bytes: in the transaction that [`InodeData::tid`] gives from now
    /// on, or in an earlier one.
    ///
    /// Acquire: whoever writes inside this size publishes nothing, and a sync waits for that
    /// transaction alone. The transaction is noted before the size moves, so who sees the size sees
    /// the transaction.
    pub(super) fn disk_size(&self) -> u64 {
        self.disk_size.load(Acquire)
    }

    /// The size that a store of the record carries.
    pub(super) fn next_size(&self) -> u64 {
        self.next_size.load(Relaxed)
    }

    /// Sets the size that is stored through `handle` next. Nobody writes to the file or publishes
    /// meanwhile, so nobody goes by the size before it is stored.
    pub(super) fn set_disk_size(&self, size: u64, handle: &Handle<'_>) {
        self.note(handle);
        self.next_size.store(size, Relaxed);
        // Release: pairs with `disk_size`.
        self.disk_size.store(size, Release)
    }

    /// Runs `store`, which stores the record, with a size that has grown to `size`. The size moves
    /// for others when it is stored: were it taken back after that, they would have gone by a size
    /// that is never stored.
    pub(super) fn grow_disk_size(
        &self,
        size: u64,
        store: impl FnOnce() -> Result,
        _publishing: &Publishing<'_>,
    ) -> Result {
        self.next_size.store(size, Relaxed);
        match store() {
            // Release: pairs with `disk_size`. Storing has noted the transaction.
            Ok(()) => self.disk_size.store(size, Release),
            Err(error) => {
                self.next_size.store(self.disk_size(), Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The transaction that whoever wants this inode on disk has to wait for.
    pub(super) fn tid(&self) -> Tid {
        self.tid.load(Relaxed)
    }

    /// Notes that the record is stored through `handle`. All handles that are open at a time belong
    /// to one transaction, so this never goes back to an older one.
    fn note(&self, handle: &Handle<'_>) {
        self.tid.store(handle.tid(), Relaxed);
    }

    /// What mappings that are made now are compared with later. To be read before looking.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Acquire)
    }

    /// Makes all mappings stale that were made before. To be called after the change.
    pub(super) fn changed(&self) {
        self.sequence.fetch_add(1, Full);
    }

    /// Takes up to `blocks` of what is promised to the file.
    pub(super) fn spend(&self, blocks: u64) -> u64 {
        self.extents.lock().spend(blocks)
    }

    /// Gives promised blocks back that were taken and not used.
    pub(super) fn refund(&self, blocks: u64) {
        if blocks != 0 {
            self.extents.lock().refund(blocks)
        }
    }

    /// What is reserved or pending at block `at`.
    pub(super) fn known(&self, at: u64) -> Known {
        self.extents.lock().lookup(at)
    }

    /// Keeps others from publishing blocks of this file. The caller holds no handle.
    pub(super) fn lock_publishing(&self) -> Publishing<'_> {
        let nofs = NofsScope::new();
        Publishing {
            _lock: self.publishing.lock(),
            _nofs: nofs,
        }
    }

    /// Notes whether the file was truncated to nothing. Gives what was noted before.
    pub(super) fn set_truncated(&self, truncated: bool) -> bool {
        self.truncated.xchg(truncated.into(), Relaxed) != 0
    }

    /// Notes that a write has failed after blocks were chosen for it. From any context.
    pub(super) fn set_failed(&self) {
        self.failed.store(1, Relaxed);
    }
}

/// Keeps others from publishing blocks of a file: what is found pending stays so until its holder
/// publishes it. Several may have to, for overlapping direct writes, or for parts of one run; an
/// extent that somebody has published a part of meanwhile, the file system takes for damage.
///
/// A handle is started under the lock, which may wait for a commit. That ends: no holder of a
/// handle, and nothing that a commit or a checkpoint waits for, takes this lock.
///
/// Memory reclaim waits for write-back, which waits for this lock: its holder allocates without.
#[must_use = "others may publish at once when it is dropped"]
pub(super) struct Publishing<'a> {
    /// Declared before the scope, so that it is given up before the scope ends.
    _lock: MutexGuard<'a, ()>,
    _nofs: NofsScope,
}

/// What is at a block of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Space is reserved.
    Reserved {
        /// First block behind it.
        end: u64,
    },
    /// A block is chosen, and not published.
    Pending(Extent),
    /// The file system's: mapped.
    Mapped(Extent),
    /// The file system's: nothing.
    Hole {
        /// First block behind the hole, or behind what was asked for.
        end: u64,
    },
}

/// Prepares an inode whose attributes are in place and that nobody else has.
pub(super) fn init_inode(inode: &CoreInode) {
    let data = &inode.data;
    data.tid.store(
        match inode.core_super().journal() {
            Ok(journal) => journal.current_tid(),
            Err(_) => 0,
        },
        Relaxed,
    );
    if inode.kind() != Kind::Regular {
        return;
    }
    // No handle: it is stored already. The VFS orders this before whoever gets the inode.
    data.disk_size.store(inode.size(), Relaxed);
    data.next_size.store(inode.size(), Relaxed);
    // SAFETY: The inode is valid, and nobody else has it.
    unsafe {
        let mapping = (*inode.raw()).i_mapping;
        (*mapping).a_ops = &raw const writeback::AOPS;
        bindings::mapping_set_large_folios(mapping);
    }
}

/// Forgets what is reserved and pending. The page cache is empty, no I/O is under way.
pub(super) fn evict(inode: &CoreInode) {
    if inode.kind() == Kind::Regular {
        forget(inode, 0);
    }
}

/// Notes that the inode's record was stored through `handle`.
pub(super) fn touched(inode: &CoreInode, handle: &Handle<'_>) {
    inode.data.note(handle);
}

/// Asks the file system what is at the start of `range`, and keeps the answer.
fn ask(inode: &CoreInode, range: FileRange, nowait: bool) -> Result<Place> {
    let data = &inode.data;
    let sequence = data.sequence();
    {
        let last = data.last.lock();
        if let (at, Some(extent)) = *last {
            if at == sequence && extent.file_block <= range.start && range.start < extent.file_end()
            {
                return Ok(Place::Mapped(tail(extent, range)));
            }
        }
    }
    if nowait {
        return Err(EAGAIN);
    }
    let sb = inode.core_super();
    let scope = ClaimScope::free(sb);
    let mapping = sb
        .enter()?
        .map(&scope.claims(), inode, range, Intent::Look)?;
    match mapping {
        Mapping::Hole { len } if len > 0 => Ok(Place::Hole {
            end: range.start.saturating_add(len).min(range.end),
        }),
        Mapping::Mapped(extent)
            if extent.file_block <= range.start && range.start < extent.file_end() =>
        {
            *data.last.lock() = (sequence, Some(extent));
            Ok(Place::Mapped(tail(extent, range)))
        }
        _ => Err(EIO),
    }
}

/// The part of `extent` that lies in `range`, whose start it holds.
pub(super) fn tail(extent: Extent, range: FileRange) -> Extent {
    let skip = range.start - extent.file_block;
    Extent {
        file_block: range.start,
        block: extent.block + skip,
        len: (extent.len - skip).min(range.end - range.start),
        unwritten: extent.unwritten,
    }
}

/// What is at the start of `range`, which is not empty; at most up to its end.
///
/// # Errors
///
/// What the file system says; `EAGAIN` if `nowait` and it would have to be asked.
pub(super) fn look(inode: &CoreInode, range: FileRange, nowait: bool) -> Result<Place> {
    Ok(match inode.data.known(range.start) {
        Known::Reserved { end } => Place::Reserved {
            end: end.min(range.end),
        },
        Known::Pending(extent) => Place::Pending(tail(extent, range)),
        Known::Nothing { end } => {
            let end = end.min(range.end);
            ask(inode, FileRange { end, ..range }, nowait)?
        }
    })
}

/// Reserves what the start of `range` needs before it may become dirty, by what was found there
/// when the sequence was `seen`: a hole, or an unwritten extent that reaches to its end. Gives the
/// end of what is reserved, and whether this call has reserved it; or [`None`] if the mapping has
/// changed since.
///
/// # Errors
///
/// `ENOSPC`, `ENOMEM`.
pub(super) fn reserve(
    inode: &CoreInode,
    range: FileRange,
    needs: Needs,
    seen: u64,
) -> Result<Option<(u64, bool)>> {
    let sb = inode.core_super();
    let shape = *sb.tree()?;
    if needs == Needs::Split {
        // Written to before, and still dirty.
        if let Some(end) = inode.data.extents.lock().split_end(range.start) {
            return Ok(Some((end.min(range.end), false)));
        }
    }
    let node = DirtyNode::new(NOFS)?;
    let mut extents = inode.data.extents.lock();
    let Some(mut range) = extents.vacant(range, needs) else {
        return Ok(None);
    };
    if inode.data.sequence() != seen {
        return Ok(None);
    }
    loop {
        let needed = extents.needed(range, needs, shape);
        let result = match needs {
            Needs::Block => sb.space().reserve(needed),
            Needs::Split => sb.space().reserve_for_mapping(needed),
        };
        match result {
            Ok(()) => {
                extents.reserve(range, needs, needed, node);
                return Ok(Some((range.end, true)));
            }
            // Less may be left than was asked for: take what there is.
            Err(_) if range.end - range.start > 1 => {
                range.end = range.start + (range.end - range.start) / 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes `range` out of what is reserved and splitting, and keeps the lock.
fn cut(inode: &CoreInode, range: FileRange) -> MutexGuard<'_, Extents> {
    let mut spare = None;
    loop {
        let mut extents = inode.data.extents.lock();
        if extents.unreserve(range, &mut spare).is_ok() {
            return extents;
        }
        drop(extents);
        spare = retry_memory(|| DirtyNode::new(NOFS)).ok();
    }
}

/// Gives back what is reserved in `range`: it will not be written.
pub(super) fn unreserve(inode: &CoreInode, range: FileRange) {
    let _nofs = NofsScope::new();
    drop(cut(inode, range));
    give_back_surplus(inode);
}

/// Gives back what nothing needs any more of what was promised to the file.
fn give_back_surplus(inode: &CoreInode) {
    let sb = inode.core_super();
    // Without a shape nothing was ever promised.
    if let Ok(shape) = sb.tree() {
        let surplus = inode.data.extents.lock().surplus(*shape);
        sb.space().unreserve(surplus);
    }
}

/// Has promised again what an attempt to publish has claimed before it failed, and given back as
/// free: the next one may need it.
pub(super) fn promise_again(inode: &CoreInode) {
    let sb = inode.core_super();
    if let Ok(shape) = sb.tree() {
        let mut extents = inode.data.extents.lock();
        let missing = extents.missing(*shape);
        if sb.space().reserve_for_mapping(missing).is_ok() {
            extents.refund(missing);
        }
    }
}

/// Takes the first pending blocks of `range` out of the set, up to the end of their run.
fn take_pending(inode: &CoreInode, range: FileRange) -> Option<Extent> {
    let first = inode.data.extents.lock().take_pending(range, &mut None);
    match first {
        Ok(extent) => extent,
        Err(_) => {
            let mut spare = retry_memory(|| PendingNode::new(NOFS)).ok();
            inode
                .data
                .extents
                .lock()
                .take_pending(range, &mut spare)
                .unwrap_or(None)
        }
    }
}

/// Pending blocks of `range` were published, all under one lock.
pub(super) fn published(inode: &CoreInode, range: FileRange, _publishing: &Publishing<'_>) {
    // Before as well: an unwritten extent that was kept from an earlier look is not found again in
    // the place of what leaves the set.
    inode.data.changed();
    while let Some(extent) = take_pending(inode, range) {
        inode
            .core_super()
            .space()
            .release(extent.block, extent.len, Fate::Used);
    }
    inode.data.changed();
    give_back_surplus(inode);
}

/// Forgets what is reserved and pending from `block` on. No page and no I/O is left there.
pub(super) fn forget(inode: &CoreInode, block: u64) {
    forget_range(
        inode,
        FileRange {
            start: block,
            end: u64::MAX,
        },
    )
}

/// Forgets what is reserved and pending in `range`. No page and no I/O is left there.
pub(super) fn forget_range(inode: &CoreInode, range: FileRange) {
    abandon(inode, range, false)
}

/// Forgets what is reserved in `range`, where no page is dirty, and no I/O but write-back is under
/// way. What is pending is seen to later if a page is `busy`, and may be on its way there.
pub(super) fn abandon(inode: &CoreInode, range: FileRange, busy: bool) {
    let _nofs = NofsScope::new();
    // Whoever is choosing blocks for a run that reaches into the range ends first: else they would
    // become pending after they were forgotten.
    let _choosing = inode.data.choosing.lock();
    let left = cut(inode, range).has_pending(range);
    if left && busy {
        inode.data.set_failed();
    } else {
        while let Some(extent) = take_pending(inode, range) {
            inode
                .core_super()
                .space()
                .release(extent.block, extent.len, Fate::Unused);
        }
    }
    inode.data.changed();
    give_back_surplus(inode);
}

/// Gives back what writes that failed have left reserved or pending, if any did: nobody else writes
/// it, and it may be long before the inode is evicted. The caller holds no lock of the file.
pub(super) fn give_back_failed(inode: &CoreInode) {
    if inode.data.failed.load(Relaxed) == 0 || inode.data.failed.xchg(0, Relaxed) == 0 {
        return;
    }
    let all = FileRange {
        start: 0,
        end: u64::MAX,
    };
    // SAFETY: The inode is in use. What is locked is unlocked in reverse order; direct I/O ends
    // without it.
    unsafe {
        let mapping = (*inode.raw()).i_mapping;
        bindings::inode_lock(inode.raw());
        bindings::inode_dio_wait(inode.raw());
        bindings::filemap_invalidate_lock(mapping);
        // What has a dirty page is published by the flush. The rest has none, and gets none while
        // the locks are held.
        let empty = inode.data.extents.lock().is_empty();
        if !empty && iomap::flush(inode, all).is_ok() {
            forget_range(inode, all);
        }
        bindings::filemap_invalidate_unlock(mapping);
        bindings::inode_unlock(inode.raw());
    }
}

/// Sees to it that the start of `range` has blocks, and that they are pending if they are not
/// written: chooses some if it has none.
///
/// # Errors
///
/// `ENOSPC` if nothing was reserved and nothing is free; what the file system says.
pub(super) fn choose(inode: &CoreInode, range: FileRange) -> Result<Place> {
    let _nofs = NofsScope::new();
    let data = &inode.data;
    let _choosing = data.choosing.lock();
    // The whole dirty run, so that it comes to lie in one piece.
    let extents = data.extents.lock();
    let end = match extents.lookup(range.start) {
        Known::Reserved { end } => end,
        Known::Pending(extent) => return Ok(Place::Pending(extent)),
        Known::Nothing { end } => end.min(extents.split_end(range.start).unwrap_or(range.end)),
    };
    drop(extents);
    let range = FileRange { end, ..range };
    let sb = inode.core_super();
    let scope = ClaimScope::data(inode);
    let node = retry_memory(|| PendingNode::new(NOFS))?;
    let mapping = retry_memory(|| {
        sb.enter()?
            .map(&scope.claims(), inode, range, Intent::Allocate)
    })?;
    let extent = match mapping {
        Mapping::Claimed(extent)
            if extent.file_block == range.start
                && extent.file_end() <= range.end
                && scope.holds(extent.block, extent.len) =>
        {
            // The device's own cache may hold these blocks from an earlier life: it must not write
            // them.
            // SAFETY: The device is open while the inode is in use.
            unsafe { bindings::clean_bdev_aliases(sb.bdev(), extent.block, extent.len) };
            scope.take(extent.block, extent.len);
            extent
        }
        Mapping::Mapped(extent)
            if extent.file_block <= range.start && range.start < extent.file_end() =>
        {
            tail(extent, range)
        }
        _ => return Err(EIO),
    };
    drop(scope);
    let chosen = FileRange {
        start: extent.file_block,
        end: extent.file_end(),
    };
    let mut extents = cut(inode, chosen);
    let place = match mapping {
        // Nothing is to be published there.
        Mapping::Mapped(mapped) if !mapped.unwritten => Place::Mapped(extent),
        _ => {
            extents.add_pending(extent, node);
            Place::Pending(extent)
        }
    };
    drop(extents);
    // A preallocation has blocks of its own for what was taken for a hole.
    give_back_surplus(inode);
    Ok(place)
}
