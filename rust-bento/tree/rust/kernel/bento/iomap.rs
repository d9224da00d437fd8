// SPDX-License-Identifier: GPL-2.0

//! Answers to iomap: where the blocks of a file range are.
//!
//! C header: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use super::{
    buffer::BLOCK_SHIFT,
    data::{
        self,
        Place, //
    },
    extents::{
        Known,
        Needs, //
    },
    inode::CoreInode,
    Extent,
    FileRange, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// Blocks that one answer covers at most.
const MAX_BLOCKS: u64 = 1 << 20;

/// The blocks that hold `len` bytes at `pos`.
pub(super) fn blocks_of(pos: i64, len: i64) -> FileRange {
    let pos = pos.max(0) as u64;
    let end = pos.saturating_add(len.max(1) as u64);
    let start = pos >> BLOCK_SHIFT;
    FileRange {
        start,
        end: end.div_ceil(1 << BLOCK_SHIFT).min(start + MAX_BLOCKS),
    }
}

/// The blocks that hold the bytes of `start..end`.
pub(super) fn blocks_between(start: u64, end: u64) -> FileRange {
    FileRange {
        start: start >> BLOCK_SHIFT,
        end: end.div_ceil(1 << BLOCK_SHIFT),
    }
}

/// Fills in an answer: what is at the start of `range`.
///
/// # Safety
///
/// `iomap` is valid for writes.
pub(super) unsafe fn fill(
    iomap: *mut bindings::iomap,
    inode: &CoreInode,
    start: u64,
    place: Place,
    cookie: u64,
) {
    let at = |extent: Extent| (extent.file_end(), extent.block << BLOCK_SHIFT);
    let (kind, (end, address)) = match place {
        Place::Reserved { end } => (bindings::IOMAP_DELALLOC, (end, u64::MAX)),
        Place::Hole { end } => (bindings::IOMAP_HOLE, (end, u64::MAX)),
        Place::Pending(extent) => (bindings::IOMAP_UNWRITTEN, at(extent)),
        Place::Mapped(extent) if extent.unwritten => (bindings::IOMAP_UNWRITTEN, at(extent)),
        Place::Mapped(extent) => (bindings::IOMAP_MAPPED, at(extent)),
    };
    // SAFETY: By this function's requirement.
    unsafe {
        (*iomap).addr = address;
        (*iomap).offset = (start << BLOCK_SHIFT) as i64;
        (*iomap).length = (end - start) << BLOCK_SHIFT;
        (*iomap).type_ = kind as u16;
        (*iomap).flags = 0;
        (*iomap).bdev = inode.core_super().bdev();
        (*iomap).validity_cookie = cookie;
    }
}

/// Reads, reports, and zeroing, which skips holes.
fn begin_read(inode: &CoreInode, range: FileRange, flags: u32) -> Result<Place> {
    let nowait = flags & bindings::IOMAP_NOWAIT != 0;
    let place = data::look(inode, range, nowait)?;
    if !matches!(place, Place::Reserved { .. }) || flags & bindings::IOMAP_DIRECT == 0 {
        return Ok(place);
    }
    // A mapped page was dirtied after the cache was written back for this read.
    if nowait {
        return Err(EAGAIN);
    }
    flush(inode, range)?;
    Ok(match data::look(inode, range, nowait)? {
        // No page was dirty there, or one has become so just now: this read comes before it.
        Place::Reserved { end } => Place::Hole { end },
        place => place,
    })
}

/// Writes the page cache over `range` back, and waits until it is published.
///
/// # Errors
///
/// Why data could not be written now. An earlier error is not the caller's: `fsync` tells of it.
pub(super) fn flush(inode: &CoreInode, range: FileRange) -> Result {
    inode.core_super().assert_outside();
    let start = (range.start << BLOCK_SHIFT) as i64;
    let end = range
        .end
        .saturating_mul(1 << BLOCK_SHIFT)
        .min(i64::MAX as u64) as i64;
    // SAFETY: The inode is valid; the caller holds nothing that write-back waits for.
    crate::error::to_result(unsafe {
        let mapping = (*inode.raw()).i_mapping;
        // Takes the flags of earlier errors away. `fsync` does not go by them, but by `wb_err`,
        // which stays.
        bindings::filemap_check_errors(mapping);
        bindings::filemap_write_and_wait_range(mapping, start, end - 1)
    })
}

/// Buffered writes and faults: reserves what the blocks need before they may become dirty. Also
/// whether it did, for this call.
fn begin_write(inode: &CoreInode, range: FileRange, flags: u32) -> Result<(Place, u64, bool)> {
    let nowait = flags & bindings::IOMAP_NOWAIT != 0;
    let mut ask = false;
    loop {
        let seen = inode.data.sequence();
        let disk_end = inode.data.disk_size().div_ceil(1 << BLOCK_SHIFT);
        let guess = range.start >= disk_end && !ask;
        let place = if guess {
            // Nothing is there but, perhaps, a preallocation, which write-back will find.
            match inode.data.known(range.start) {
                Known::Nothing { end } => Place::Hole {
                    end: end.min(range.end),
                },
                _ => data::look(inode, range, nowait)?,
            }
        } else {
            data::look(inode, range, nowait)?
        };
        let Some((end, needs)) = needs(place) else {
            return Ok((place, seen, false));
        };
        match data::reserve(inode, FileRange { end, ..range }, needs, seen) {
            Ok(Some((end, new))) => {
                let place = match place {
                    Place::Mapped(extent) => {
                        Place::Mapped(data::tail(extent, FileRange { end, ..range }))
                    }
                    _ => Place::Reserved { end },
                };
                return Ok((place, seen, new));
            }
            Ok(None) => (),
            // A preallocation needs less.
            Err(error) if error == ENOSPC && guess => ask = true,
            Err(error) => return Err(error),
        }
    }
}

/// What has to be reserved before what is at `place` becomes dirty, and up to which block.
fn needs(place: Place) -> Option<(u64, Needs)> {
    match place {
        Place::Hole { end } => Some((end, Needs::Block)),
        Place::Mapped(extent) if extent.unwritten => Some((extent.file_end(), Needs::Split)),
        _ => None,
    }
}

/// `iomap_begin` of what does not allocate.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn read_begin(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes an inode of this mount that is in use.
    let inode = unsafe { CoreInode::from_raw(inode) };
    from_result(|| {
        let range = blocks_of(pos, len);
        let cookie = inode.data.sequence();
        let place = begin_read(inode, range, flags)?;
        // SAFETY: iomap passes a valid answer to fill in.
        unsafe { fill(iomap, inode, range.start, place, cookie) };
        Ok(0)
    })
}

/// `iomap_begin` of buffered writes, faults and zeroing.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn write_begin(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    srcmap: *mut bindings::iomap,
) -> c_int {
    if flags & bindings::IOMAP_ZERO != 0 {
        // SAFETY: Passed on as it came.
        return unsafe { read_begin(inode, pos, len, flags, iomap, srcmap) };
    }
    // SAFETY: iomap passes an inode of this mount that is in use.
    let inode = unsafe { CoreInode::from_raw(inode) };
    from_result(|| {
        let range = blocks_of(pos, len);
        let (place, cookie, new) = begin_write(inode, range, flags)?;
        // SAFETY: iomap passes a valid answer to fill in.
        unsafe {
            fill(iomap, inode, range.start, place, cookie);
            if new {
                (*iomap).flags |= bindings::IOMAP_F_NEW as u16;
            }
        }
        Ok(0)
    })
}

/// Gives back what a short write reserved and did not use.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn write_end(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    written: isize,
    flags: c_uint,
    iomap: *mut bindings::iomap,
) -> c_int {
    let block = 1i64 << BLOCK_SHIFT;
    // SAFETY: iomap passes the answer that `write_begin` filled in.
    let new = unsafe { u32::from((*iomap).flags) & bindings::IOMAP_F_NEW != 0 };
    let start = match written as i64 {
        0 => pos & -block,
        written => (pos + written + block - 1) & -block,
    };
    let end = (pos + len + block - 1) & -block;
    if new && start < end && flags & bindings::IOMAP_FAULT == 0 {
        // SAFETY: The inode is in use. Writers hold `i_rwsem` and no folio here, which is the order
        // that the lock wants; faults, which hold it already, were sorted out above.
        unsafe {
            let mapping = (*inode).i_mapping;
            bindings::filemap_invalidate_lock(mapping);
            bindings::iomap_write_delalloc_release(inode, start, end, flags, iomap, Some(punch));
            bindings::filemap_invalidate_unlock(mapping);
        }
    }
    0
}

/// Drops reservations that no dirty page needs.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn punch(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _iomap: *mut bindings::iomap,
) {
    // SAFETY: iomap passes an inode of this mount that is in use.
    let inode = unsafe { CoreInode::from_raw(inode) };
    let block = 1u64 << BLOCK_SHIFT;
    data::unreserve(
        inode,
        FileRange {
            start: (pos as u64).div_ceil(block),
            end: (pos + len) as u64 / block,
        },
    );
}

/// As [`punch`], and blocks that were chosen for a write that has ended.
///
/// # Safety
///
/// Called by [`abandon`] through iomap.
unsafe extern "C" fn punch_chosen(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    _iomap: *mut bindings::iomap,
) {
    let block = 1u64 << BLOCK_SHIFT;
    let range = FileRange {
        start: (pos as u64).div_ceil(block),
        end: (pos + len) as u64 / block,
    };
    // SAFETY: iomap passes on the inode that it was given, which is in use.
    let (inode, busy) = unsafe {
        let mapping = (*inode).i_mapping;
        (
            CoreInode::from_raw(inode),
            bindings::filemap_range_has_writeback(mapping, pos, pos + len - 1),
        )
    };
    data::abandon(inode, range, busy);
}

/// A buffered write has ended before what it reserved for `start..end`, in bytes. Write-back may
/// have chosen blocks for all of the run meanwhile: gives back what no page needs.
///
/// # Safety
///
/// `i_rwsem` is held exclusively.
pub(super) unsafe fn abandon(inode: &CoreInode, start: u64, end: u64) {
    let block = 1u64 << BLOCK_SHIFT;
    let (start, end) = (start.next_multiple_of(block), end.next_multiple_of(block));
    if start >= end {
        return;
    }
    // SAFETY: The inode is in use. Direct I/O may have been told of these blocks: it ends without
    // `i_rwsem`, and none begins. Nor does a fault under the other lock.
    unsafe {
        let mapping = (*inode.raw()).i_mapping;
        bindings::inode_dio_wait(inode.raw());
        bindings::filemap_invalidate_lock(mapping);
        bindings::iomap_write_delalloc_release(
            inode.raw(),
            start as i64,
            end as i64,
            0,
            core::ptr::null_mut(),
            Some(punch_chosen),
        );
        bindings::filemap_invalidate_unlock(mapping);
    }
}

/// `iomap_begin` of direct writes: chooses blocks at once.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn direct_begin(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: iomap passes an inode of this mount that is in use.
    let inode = unsafe { CoreInode::from_raw(inode) };
    from_result(|| {
        let range = blocks_of(pos, len);
        let nowait = flags & bindings::IOMAP_NOWAIT != 0;
        let place = loop {
            let seen = inode.data.sequence();
            let place = data::look(inode, range, nowait)?;
            let end = match (place, needs(place)) {
                (Place::Pending(_) | Place::Mapped(_), None) => break place,
                _ if nowait => return Err(EAGAIN),
                (_, Some((end, needs))) => {
                    let range = FileRange { end, ..range };
                    data::reserve(inode, range, needs, seen)?.map(|(end, _)| end)
                }
                _ => Some(range.end),
            };
            if let Some(end) = end {
                break data::choose(inode, FileRange { end, ..range })?;
            }
        };
        // Looked at before the transaction: if the size holds this write already, that is the one
        // which stores the size, see `InodeData::disk_size`.
        let beyond = (pos + len) as u64 > inode.data.disk_size();
        let uncommitted = match inode.core_super().journal() {
            Ok(journal) => !journal.is_committed(inode.data.tid()),
            Err(_) => false,
        };
        // SAFETY: iomap passes a valid answer to fill in.
        unsafe {
            fill(iomap, inode, range.start, place, inode.data.sequence());
            if uncommitted || beyond {
                (*iomap).flags |= bindings::IOMAP_F_DIRTY as u16;
            }
        }
        Ok(0)
    })
}

/// Whether an answer is still right, with the folio locked.
///
/// # Safety
///
/// Called by iomap.
unsafe extern "C" fn is_valid(inode: *mut bindings::inode, iomap: *const bindings::iomap) -> bool {
    // SAFETY: iomap passes an inode of this mount that is in use.
    let inode = unsafe { CoreInode::from_raw(inode) };
    // SAFETY: iomap passes the answer that one of the functions above filled in.
    unsafe { (*iomap).validity_cookie == inode.data.sequence() }
}

const NO_OPS: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: None,
    iomap_end: None,
    iomap_next: None,
};

/// Reads, direct and buffered, and reports.
pub(super) static READ_OPS: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: Some(read_begin),
    ..NO_OPS
};

/// Buffered writes, faults and zeroing.
pub(super) static WRITE_OPS: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: Some(write_begin),
    iomap_end: Some(write_end),
    ..NO_OPS
};

/// Direct writes.
pub(super) static DIRECT_WRITE_OPS: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: Some(direct_begin),
    ..NO_OPS
};

/// How buffered writes check their answers.
pub(super) static FOLIO_OPS: bindings::iomap_write_ops = bindings::iomap_write_ops {
    get_folio: None,
    put_folio: None,
    iomap_valid: Some(is_valid),
    read_folio_range: None,
};

/// Zeroes the page cache over `len` bytes at `pos`, where there is data. Whether there was.
///
/// The caller holds `i_rwsem` exclusively.
pub(super) fn zero(inode: &CoreInode, pos: u64, len: u64) -> Result<bool> {
    let mut zeroed = false;
    // SAFETY: The inode is in use; what iomap asks for is held, by this function's contract.
    crate::error::to_result(unsafe {
        bindings::iomap_zero_range(
            inode.raw(),
            pos as i64,
            len as i64,
            &mut zeroed,
            &WRITE_OPS,
            &FOLIO_OPS,
            core::ptr::null_mut(),
        )
    })?;
    Ok(zeroed)
}
