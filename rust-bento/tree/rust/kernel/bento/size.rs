// SPDX-License-Identifier: GPL-2.0

//! Changes of a file's size, and the freeing of blocks in bounded steps.

use super::{
    buffer::BLOCK_SHIFT,
    claims::retry_memory,
    data,
    file,
    inode::CoreInode,
    iomap,
    journal::with_handle,
    Credits,
    FileRange,
    Step, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Frees the blocks that the file system has mapped in `range`, step by step.
///
/// No page and no I/O is left there.
pub(super) fn free_range(inode: &CoreInode, range: FileRange) -> Result {
    let sb = inode.core_super();
    loop {
        let needs = |credits: &Credits| (credits.free_blocks, credits.free_revokes);
        // Write-back goes on in what stays of the file, and may have just added a node to the tree
        // that this step frees: the claim of such a node ends with the publisher's handle.
        let _publishing = inode.data.lock_publishing();
        let step = retry_memory(|| {
            with_handle(sb, needs, |entered, handle| {
                entered.free_blocks(handle, inode, range)
            })
        });
        inode.data.changed();
        if step? == Step::Done {
            return Ok(());
        }
    }
}

/// The blocks behind the first `size` bytes.
fn behind(size: u64) -> FileRange {
    FileRange {
        start: size.div_ceil(1 << BLOCK_SHIFT),
        end: u64::MAX,
    }
}

/// Changes the size of a file. The caller holds `i_rwsem`, has checked the size and the
/// permissions, and has set the other attributes that change with it.
///
/// # Errors
///
/// `ENOSPC` or `EIO` if data before the end cannot be written, or the block that the end lies in
/// cannot be zeroed: the size is what it was. What the file system says.
pub(super) fn set_size(inode: &CoreInode, size: u64) -> Result {
    let sb = inode.core_super();
    sb.assert_outside();
    // SAFETY: The inode is in use, and the caller holds `i_rwsem`.
    unsafe {
        bindings::inode_dio_wait(inode.raw());
        let mapping = (*inode.raw()).i_mapping;
        bindings::filemap_invalidate_lock(mapping);
        let result = set_size_locked(inode, size);
        bindings::filemap_invalidate_unlock(mapping);
        result?;
    }
    // SAFETY: The inode is in use.
    if unsafe { bindings::bento_is_dirsync(inode.raw()) } {
        // Once, and not in each of the steps.
        sb.journal()?.commit_tid(sb, inode.data.tid())?;
    }
    Ok(())
}

/// # Safety
///
/// The caller holds `i_rwsem` and the mapping's invalidate lock.
unsafe fn set_size_locked(inode: &CoreInode, size: u64) -> Result {
    // The cache keeps what it has, if nothing can be stored.
    inode.core_super().check_writing()?;
    let old = inode.size();
    let block = 1 << BLOCK_SHIFT;
    let stored = inode.data.disk_size();
    let kept = size.min(old);
    if stored < kept {
        // What was written there before comes to the disk before the size does. If it cannot, that
        // is found while nothing has changed. Faults are kept out, so no page is dirtied again.
        iomap::flush(inode, iomap::blocks_between(stored, kept))?;
    }
    if size > old {
        file::zero_tail(inode, size)?;
    } else if size % block != 0 {
        iomap::zero(inode, size, block - size % block)?;
    }
    // SAFETY: By this function's requirement.
    unsafe { bindings::truncate_setsize(inode.raw(), i64::try_from(size)?) };
    let result = store_size(inode, old, size);
    if let (Err(error), true) = (&result, size < old) {
        // The pages are gone, and the blocks are still there: what is read would depend on the
        // cache.
        inode.core_super().stop_writing(*error, EROFS);
    }
    result
}

/// Stores a size that has changed in memory, and frees what lies behind it. Touches no data.
fn store_size(inode: &CoreInode, old: u64, size: u64) -> Result {
    let stored = inode.data.disk_size();
    data::forget(inode, behind(size).start);
    if size == 0 && old > 0 {
        inode.data.set_truncated(true);
    }
    let sb = inode.core_super();
    // A file without blocks has nothing to free.
    let shrinks = (size < old || size < stored) && inode.attributes().sectors != 0;
    // A file without a name is an orphan already, and stays one. `i_rwsem` keeps the names.
    let named = inode.nlink() != 0;
    let needs = |credits: &Credits| (credits.orphan + credits.write_inode, 0);
    retry_memory(|| {
        with_handle(sb, needs, |entered, handle| {
            inode.data.set_disk_size(size, handle);
            if shrinks && named {
                entered.set_orphan(handle, inode, true)?;
            }
            entered.write_inode(handle, inode)
        })
    })?;
    match (shrinks, named) {
        (false, _) => Ok(()),
        (true, false) => free_range(inode, behind(size)),
        (true, true) => finish_truncate(inode),
    }
}

/// Ends a truncation: frees what lies behind the size, and takes the inode off the orphan list.
/// Also for an inode that a crash left there.
pub(super) fn finish_truncate(inode: &CoreInode) -> Result {
    let sb = inode.core_super();
    free_range(inode, behind(inode.size()))?;
    // The size has changed already: a lack of memory may not make a failure of it.
    retry_memory(|| {
        with_handle(
            sb,
            |credits| (credits.orphan, 0),
            |entered, handle| entered.set_orphan(handle, inode, false),
        )
    })
}

/// Writes the data of a file that is about to take the place of another, and waits until it is
/// published: so that no crash shows an empty file under the name. The caller holds no handle.
pub(super) fn flush_for_rename(inode: &CoreInode) -> Result {
    inode.core_super().assert_outside();
    // SAFETY: The inode is in use.
    to_result(unsafe {
        bindings::filemap_write_and_wait_range((*inode.raw()).i_mapping, 0, i64::MAX)
    })
}
