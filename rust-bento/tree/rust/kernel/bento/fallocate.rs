// SPDX-License-Identifier: GPL-2.0

//! `fallocate`: preallocation, holes and zeros.

use super::{
    buffer::BLOCK_SHIFT,
    claims::retry_memory,
    data::{
        self,
        Place, //
    },
    extents::{
        Known,
        Needs, //
    },
    file,
    inode::CoreInode,
    iomap,
    journal::with_handle,
    publish,
    size,
    Extent,
    FileRange, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

const KEEP_SIZE: u32 = bindings::FALLOC_FL_KEEP_SIZE;
const PUNCH_HOLE: u32 = bindings::FALLOC_FL_PUNCH_HOLE;
const ZERO_RANGE: u32 = bindings::FALLOC_FL_ZERO_RANGE;

/// # Safety
///
/// Called by the VFS.
pub(super) unsafe extern "C" fn fallocate(
    file: *mut bindings::file,
    mode: c_int,
    offset: i64,
    len: i64,
) -> c_long {
    // SAFETY: The VFS passes an open file.
    let inode = unsafe { CoreInode::from_raw(bindings::file_inode(file)) };
    let sb = inode.core_super();
    from_result(|| {
        sb.check_writing()?;
        let mode = mode as u32;
        if mode & !(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE) != 0 {
            return Err(EOPNOTSUPP);
        }
        file::with_room(sb, false, || {
            // SAFETY: As above; unlocked below, in reverse order. Direct I/O ends without these.
            unsafe {
                bindings::inode_lock(inode.raw());
                bindings::inode_dio_wait(inode.raw());
                let mapping = (*inode.raw()).i_mapping;
                bindings::filemap_invalidate_lock(mapping);
                let result = to_result(bindings::file_modified(file))
                    .and_then(|()| change(inode, mode, offset as u64, len as u64));
                bindings::filemap_invalidate_unlock(mapping);
                bindings::inode_unlock(inode.raw());
                result.map(|()| 0)
            }
        })?;
        // SAFETY: As above.
        if unsafe { bindings::bento_file_is_sync(file) } {
            // SAFETY: As above.
            to_result(unsafe { bindings::vfs_fsync(file, 0) })?;
        }
        Ok(0)
    })
}

/// The caller holds `i_rwsem` and the invalidate lock; no direct I/O is under way.
fn change(inode: &CoreInode, mode: u32, offset: u64, len: u64) -> Result {
    let end = offset.checked_add(len).ok_or(EFBIG)?;
    let grows = mode & KEEP_SIZE == 0 && end > inode.size();
    if grows {
        // SAFETY: The inode is in use, and `i_rwsem` is held.
        to_result(unsafe { bindings::inode_newsize_ok(inode.raw(), i64::try_from(end)?) })?;
    }
    if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
        punch(inode, offset, end)?;
    }
    if mode & PUNCH_HOLE != 0 {
        return store(inode);
    }
    allocate(inode, iomap::blocks_between(offset, end))?;
    if grows {
        file::zero_tail(inode, end)?;
        let old = inode.size();
        let stored = inode.data.disk_size();
        if stored < old {
            // What was written there before comes to the disk before the size does. If it cannot,
            // the size has not changed.
            iomap::flush(inode, iomap::blocks_between(stored, old))?;
        }
        inode.set_size(end);
        // SAFETY: The inode is in use.
        unsafe { bindings::pagecache_isize_extended(inode.raw(), old as i64, end as i64) };
        return publish::grow_to(inode, end);
    }
    store(inode)
}

/// Stores the inode's record.
fn store(inode: &CoreInode) -> Result {
    let sb = inode.core_super();
    // What it is stored for has been done already: a lack of memory may not make a failure of it.
    retry_memory(|| {
        with_handle(
            sb,
            |credits| (credits.write_inode, 0),
            |entered, handle| entered.write_inode(handle, inode),
        )
    })
}

/// Makes `offset..end` read as zeros: frees whole blocks, zeroes parts of blocks.
fn punch(inode: &CoreInode, offset: u64, end: u64) -> Result {
    let block = 1 << BLOCK_SHIFT;
    // What is under way there ends first; nothing new comes while the locks are held.
    iomap::flush(inode, iomap::blocks_between(offset, end))?;
    let size = inode.size();
    let (first, last) = (offset.div_ceil(block), end / block);
    let inside = |at: u64| at.min(size);
    if first > last {
        // Inside one block.
        if inside(end) > offset {
            iomap::zero(inode, offset, inside(end) - offset)?;
        }
        return Ok(());
    }
    let (start_byte, end_byte) = (first * block, last * block);
    if inside(start_byte) > offset {
        iomap::zero(inode, offset, inside(start_byte) - offset)?;
    }
    if inside(end) > end_byte {
        iomap::zero(inode, end_byte, inside(end) - end_byte)?;
    }
    if first == last {
        return Ok(());
    }
    // SAFETY: The inode is in use; `i_rwsem` and the invalidate lock are held by the caller.
    unsafe {
        bindings::truncate_pagecache_range(inode.raw(), start_byte as i64, end_byte as i64 - 1)
    };
    let range = FileRange {
        start: first,
        end: last,
    };
    data::forget_range(inode, range);
    size::free_range(inode, range)
}

/// Whether there is space for all holes of `range`: else nothing is begun.
fn check_space(inode: &CoreInode, range: FileRange) -> Result {
    let available = inode.core_super().space().available();
    if range.end - range.start <= available {
        return Ok(());
    }
    let (mut at, mut holes) = (range.start, 0);
    while at < range.end {
        at = match data::look(inode, FileRange { start: at, ..range }, false)? {
            Place::Hole { end } => {
                holes += end - at;
                if holes > available {
                    return Err(ENOSPC);
                }
                end
            }
            Place::Reserved { end } => end,
            Place::Pending(extent) | Place::Mapped(extent) => extent.file_end(),
        };
    }
    Ok(())
}

/// Gives every hole of `range` blocks that read as zeros.
fn allocate(inode: &CoreInode, range: FileRange) -> Result {
    // Dirty data there gets its blocks first, so that only holes are left.
    iomap::flush(inode, range)?;
    check_space(inode, range)?;
    let mut at = range.start;
    while at < range.end {
        let rest = FileRange {
            start: at,
            end: range.end,
        };
        let seen = inode.data.sequence();
        at = match data::look(inode, rest, false)? {
            Place::Mapped(extent) => extent.file_end(),
            Place::Hole { end } => {
                let hole = FileRange { end, ..rest };
                match data::reserve(inode, hole, Needs::Block, seen)? {
                    Some((end, _)) => preallocate(inode, FileRange { end, ..hole })?,
                    None => at,
                }
            }
            // Left by direct I/O that failed, or by a fault that came before the locks.
            Place::Reserved { end } => preallocate(inode, FileRange { end, ..rest })?,
            Place::Pending(_) => publish_unwritten(inode, rest)?,
        };
        // SAFETY: Reads the state of this task.
        if unsafe { bindings::bento_fatal_signal_pending() } {
            return Err(EINTR);
        }
    }
    Ok(())
}

/// Chooses blocks for the start of `range`, which is reserved, and makes those that lie in it part
/// of the file, unwritten. Gives the end of what has blocks now.
fn preallocate(inode: &CoreInode, range: FileRange) -> Result<u64> {
    match data::choose(inode, range) {
        Ok(Place::Pending(_)) => publish_unwritten(inode, range),
        Ok(Place::Mapped(extent)) => Ok(extent.file_end()),
        Ok(_) => Err(EIO),
        Err(error) => {
            data::unreserve(inode, range);
            Err(error)
        }
    }
}

/// Makes what is pending at the start of `range` part of the file, unwritten. Gives the end of it.
///
/// Not more than `range`: blocks are chosen for a whole dirty run, and what lies behind the range
/// may be under write-back, which publishes it when the data is there.
fn publish_unwritten(inode: &CoreInode, range: FileRange) -> Result<u64> {
    let sb = inode.core_super();
    let publishing = inode.data.lock_publishing();
    let Known::Pending(extent) = inode.data.known(range.start) else {
        // Published meanwhile: the caller looks again.
        return Ok(range.start);
    };
    let unwritten = Extent {
        unwritten: true,
        ..data::tail(extent, range)
    };
    with_handle(
        sb,
        |credits| (credits.publish, 0),
        |entered, handle| entered.publish(handle, inode, unwritten),
    )?;
    data::published(
        inode,
        FileRange {
            start: unwritten.file_block,
            end: unwritten.file_end(),
        },
        &publishing,
    );
    Ok(unwritten.file_end())
}
