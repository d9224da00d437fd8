// SPDX-License-Identifier: GPL-2.0

//! Regular files: what a program does with an open one.

use super::{
    buffer::BLOCK_SHIFT,
    data,
    direct,
    fallocate,
    inode::CoreInode,
    ioctl,
    iomap,
    super_block::CoreSuper,
    table::Table, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// `IOCB_NOWAIT`, a cast that bindgen leaves out.
const IOCB_NOWAIT: u32 = 0x8;

/// `IOCB_DIRECT`.
const IOCB_DIRECT: u32 = bindings::IOCB_DIRECT;

/// How often an operation that found no space is tried again.
const ROOM_TRIES: u32 = 3;

/// Locks `i_rwsem`; `EAGAIN` if that would wait and may not.
///
/// # Safety
///
/// `inode` is in use, and the caller unlocks it.
pub(super) unsafe fn lock(inode: *mut bindings::inode, nowait: bool) -> Result {
    // SAFETY: By this function's requirement.
    unsafe {
        if !nowait {
            bindings::inode_lock(inode);
        } else if bindings::inode_trylock(inode) == 0 {
            return Err(EAGAIN);
        }
    }
    Ok(())
}

/// Locks `i_rwsem` shared; `EAGAIN` if that would wait and may not.
///
/// # Safety
///
/// As [`lock`].
pub(super) unsafe fn lock_shared(inode: *mut bindings::inode, nowait: bool) -> Result {
    // SAFETY: By this function's requirement.
    unsafe {
        if !nowait {
            bindings::inode_lock_shared(inode);
        } else if bindings::inode_trylock_shared(inode) == 0 {
            return Err(EAGAIN);
        }
    }
    Ok(())
}

/// Ends what [`lock`] or [`lock_shared`] began.
///
/// # Safety
///
/// This task has locked it so.
pub(super) unsafe fn unlock(inode: *mut bindings::inode, exclusive: bool) {
    // SAFETY: By this function's requirement.
    unsafe {
        if exclusive {
            bindings::inode_unlock(inode);
        } else {
            bindings::inode_unlock_shared(inode);
        }
    }
}

/// Whether a request may not wait.
///
/// # Safety
///
/// `iocb` is valid.
pub(super) unsafe fn is_nowait(iocb: *mut bindings::kiocb) -> bool {
    // SAFETY: By this function's requirement.
    unsafe { (*iocb).ki_flags as u32 & IOCB_NOWAIT != 0 }
}

/// Whether a request is for direct I/O.
///
/// # Safety
///
/// `iocb` is valid.
unsafe fn is_direct(iocb: *mut bindings::kiocb) -> bool {
    // SAFETY: By this function's requirement.
    unsafe { (*iocb).ki_flags as u32 & IOCB_DIRECT != 0 }
}

/// Tries to make room after `ENOSPC`: whether trying again makes sense. The caller holds no lock
/// but `s_writers`, and perhaps `mmap_lock`.
///
/// Space comes back when dirty data is written, which needs less than was reserved for it, and when
/// what was freed is committed.
pub(super) fn make_room(sb: &CoreSuper) -> bool {
    let space = sb.space();
    if space.reserved() == 0 && space.uncommitted() == 0 {
        return false;
    }
    // With the pool, which promises for mapping blocks come from.
    let before = space.unpromised();
    if space.reserved() != 0 {
        // Waited for, as what was promised beside the data comes back when that is published. If
        // somebody is about to mount, freeze or thaw, it is done without.
        // SAFETY: The super block is mounted; what is locked is unlocked.
        unsafe {
            let umount = &raw mut (*sb.raw()).s_umount;
            if bindings::down_read_trylock(umount) != 0 {
                bindings::sync_inodes_sb(sb.raw());
                bindings::up_read(umount);
            }
        }
    }
    if let Ok(journal) = sb.journal() {
        let _ = journal.commit(true);
    }
    space.unpromised() > before
}

/// Runs `attempt`, again when it finds no space and some can be made.
pub(super) fn with_room(
    sb: &CoreSuper,
    nowait: bool,
    mut attempt: impl FnMut() -> Result<isize>,
) -> Result<isize> {
    let mut tries = 0;
    loop {
        let result = attempt();
        let full = match &result {
            Ok(value) => *value == ENOSPC.to_errno() as isize,
            Err(error) => *error == ENOSPC,
        };
        if !full || nowait || tries == ROOM_TRIES || !make_room(sb) {
            return result;
        }
        tries += 1;
    }
}

/// Zeroes what is behind the end of the file in its last block, before the file grows to `size`:
/// programs may have written there through a mapping. The caller holds `i_rwsem`.
pub(super) fn zero_tail(inode: &CoreInode, size: u64) -> Result {
    let old = inode.size();
    let end = (old.div_ceil(1 << BLOCK_SHIFT) << BLOCK_SHIFT).min(size);
    if old >= end {
        return Ok(());
    }
    if iomap::zero(inode, old, end - old)? {
        // On disk before the size covers it.
        iomap::flush(inode, iomap::blocks_of(old as i64, (end - old) as i64))?;
    }
    Ok(())
}

/// # Safety
///
/// Called by the VFS.
unsafe extern "C" fn read_iter(iocb: *mut bindings::kiocb, to: *mut bindings::iov_iter) -> isize {
    // SAFETY: The VFS passes a valid request.
    unsafe {
        if bindings::iov_iter_count(to) == 0 {
            return 0;
        }
        if is_direct(iocb) {
            return from_result(|| direct::read(iocb, to));
        }
        bindings::filemap_read(iocb, to, 0)
    }
}

/// # Safety
///
/// Called by the VFS.
unsafe extern "C" fn write_iter(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The VFS passes a valid request on an open file.
    let (inode, nowait) = unsafe {
        (
            CoreInode::from_raw(bindings::file_inode((*iocb).ki_filp)),
            is_nowait(iocb),
        )
    };
    let sb = inode.core_super();
    from_result(|| {
        sb.check_writing()?;
        // SAFETY: As above.
        if unsafe { is_direct(iocb) } {
            // Each try begins where the first did: one that found no space halfway has moved
            // `from`, but not the position.
            // SAFETY: As above; a copy of the iterator stands for the same place in the memory.
            let first = unsafe { from.read() };
            // SAFETY: As above.
            let result = with_room(sb, nowait, || unsafe {
                core::ptr::copy_nonoverlapping(&first, from, 1);
                direct::write(iocb, from)
            })?;
            if result != ENOTBLK.to_errno() as isize {
                return Ok(result);
            }
        }
        // SAFETY: As above.
        let written = with_room(sb, nowait, || unsafe {
            buffered_write(inode, iocb, from, nowait)
        })?;
        if written <= 0 {
            return Ok(written);
        }
        // SAFETY: As above.
        unsafe {
            let written = bindings::generic_write_sync(iocb, written);
            if written > 0 && is_direct(iocb) {
                // Fell back from direct I/O: the program wants the data on disk, not in the cache.
                let start = (*iocb).ki_pos - written as i64;
                to_result(bindings::filemap_write_and_wait_range(
                    (*inode.raw()).i_mapping,
                    start,
                    (*iocb).ki_pos - 1,
                ))?;
            }
            Ok(written)
        }
    })
}

/// A write into the page cache.
///
/// # Safety
///
/// `iocb` and `from` are those of a `write_iter` on `inode`.
unsafe fn buffered_write(
    inode: &CoreInode,
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    nowait: bool,
) -> Result<isize> {
    // SAFETY: The inode is in use; unlocked below.
    unsafe { lock(inode.raw(), nowait)? };
    // SAFETY: By this function's requirement.
    let result = unsafe { buffered_write_locked(inode, iocb, from, nowait) };
    // SAFETY: Locked above.
    unsafe { unlock(inode.raw(), true) };
    result
}

/// # Safety
///
/// As [`buffered_write`], with `i_rwsem` held.
unsafe fn buffered_write_locked(
    inode: &CoreInode,
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    nowait: bool,
) -> Result<isize> {
    // SAFETY: By this function's requirement.
    let count = unsafe { bindings::generic_write_checks(iocb, from) };
    if count <= 0 {
        return Ok(count);
    }
    // SAFETY: As above.
    to_result(unsafe { bindings::kiocb_modified(iocb) })?;
    // SAFETY: As above.
    let pos = unsafe { (*iocb).ki_pos } as u64;
    if pos > inode.size() {
        if nowait {
            return Err(EAGAIN);
        }
        zero_tail(inode, pos)?;
    }
    // SAFETY: As above; `i_rwsem` is held.
    let written = unsafe {
        bindings::iomap_file_buffered_write(
            iocb,
            from,
            &iomap::WRITE_OPS,
            &iomap::FOLIO_OPS,
            core::ptr::null_mut(),
        )
    };
    let (end, written_end) = (pos + count as u64, pos + written.max(0) as u64);
    if written_end < end && !nowait {
        // SAFETY: As above; `i_rwsem` is held.
        unsafe { iomap::abandon(inode, written_end, end) };
    }
    Ok(written)
}

/// A page is written to through a mapping.
///
/// # Safety
///
/// Called by the memory manager.
unsafe extern "C" fn page_mkwrite(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The memory manager passes a fault on a mapping of a file of this mount.
    let (file, inode) = unsafe {
        let file = (*(*fault).__bindgen_anon_1.vma).vm_file;
        (file, CoreInode::from_raw(bindings::file_inode(file)))
    };
    let sb = inode.core_super();
    if sb.check_writing().is_err() {
        return bindings::vm_fault_reason_VM_FAULT_SIGBUS;
    }
    // SAFETY: As above. What is taken is released in reverse order.
    unsafe {
        bindings::sb_start_pagefault(sb.raw());
        bindings::file_update_time(file);
        let mapping = (*inode.raw()).i_mapping;
        let mut tries = 0;
        let result = loop {
            bindings::filemap_invalidate_lock_shared(mapping);
            let result =
                bindings::iomap_page_mkwrite(fault, &iomap::WRITE_OPS, core::ptr::null_mut());
            bindings::filemap_invalidate_unlock_shared(mapping);
            if result & bindings::vm_fault_reason_VM_FAULT_SIGBUS == 0
                || tries == ROOM_TRIES
                || !make_room(sb)
            {
                break result;
            }
            tries += 1;
        };
        bindings::sb_end_pagefault(sb.raw());
        result
    }
}

static VM_OPS: bindings::vm_operations_struct = bindings::vm_operations_struct {
    fault: Some(bindings::filemap_fault),
    map_pages: Some(bindings::filemap_map_pages),
    page_mkwrite: Some(page_mkwrite),
    ..pin_init::zeroed()
};

/// # Safety
///
/// Called by the memory manager.
unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: The memory manager passes a valid description.
    unsafe {
        bindings::file_accessed((*desc).file);
        (*desc).vm_ops = &raw const VM_OPS;
    }
    0
}

/// # Safety
///
/// Called by the VFS.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS passes a file that is being opened.
    unsafe {
        bindings::bento_file_set_modes(file);
        bindings::generic_file_open(inode, file)
    }
}

/// # Safety
///
/// Called by the VFS.
unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS passes a file that is being closed.
    unsafe {
        let core = CoreInode::from_raw(inode);
        if bindings::bento_file_writable(file) {
            // A file that was emptied and written anew: its old content is gone, so the new one
            // shall not wait long.
            if core.data.set_truncated(false) {
                bindings::filemap_flush((*inode).i_mapping);
            }
            data::give_back_failed(core);
        }
    }
    0
}

/// Writes data, attributes and what leads to them to the disk. For directories too.
///
/// # Safety
///
/// Called by the VFS.
pub(super) unsafe extern "C" fn fsync(
    file: *mut bindings::file,
    start: i64,
    end: i64,
    datasync: c_int,
) -> c_int {
    // SAFETY: The VFS passes an open file.
    let inode = unsafe { CoreInode::from_raw(bindings::file_inode(file)) };
    let sb = inode.core_super();
    let result = from_result(|| {
        // First: what a volume that was stopped has in memory does not get to the disk any more.
        sb.check_writable().map_err(|_| EIO)?;
        // SAFETY: As above.
        to_result(unsafe { bindings::file_write_and_wait_range(file, start, end) })?;
        if sb.is_mounted_read_only() {
            return Ok(0);
        }
        let journal = sb.journal()?;
        // For times alone only a full sync stores the record. It asks in any case: a flusher that
        // has just called the inode clean may not have stored it yet, which this waits for. SAFETY:
        // The inode is in use; a dirty one is stored by `write_inode`.
        if datasync == 0 || unsafe { bindings::bento_inode_is_dirty(inode.raw(), true) } {
            // SAFETY: As above.
            to_result(unsafe { bindings::sync_inode_metadata(inode.raw(), 1) })?;
        }
        journal.commit_tid(sb, inode.data.tid())?;
        // Stopped meanwhile, `write_inode` has stored nothing and said nothing.
        sb.check_writable().map_err(|_| EIO)?;
        Ok(0)
    });
    // SAFETY: As above.
    let late = unsafe { bindings::file_check_and_advance_wb_err(file) };
    if result == 0 {
        late
    } else {
        result
    }
}

/// # Safety
///
/// Called by the VFS.
unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
    // SAFETY: The VFS passes an open file.
    unsafe {
        let inode = bindings::file_inode(file);
        let found = match whence as u32 {
            bindings::SEEK_HOLE => {
                bindings::inode_lock_shared(inode);
                bindings::iomap_seek_hole(inode, offset, &iomap::READ_OPS)
            }
            bindings::SEEK_DATA => {
                bindings::inode_lock_shared(inode);
                bindings::iomap_seek_data(inode, offset, &iomap::READ_OPS)
            }
            _ => return bindings::generic_file_llseek(file, offset, whence),
        };
        bindings::inode_unlock_shared(inode);
        if found < 0 {
            return found;
        }
        bindings::vfs_setpos(file, found, (*(*inode).i_sb).s_maxbytes)
    }
}

/// Reports where a file's blocks are: for the inode operations.
///
/// # Safety
///
/// Called by the VFS.
pub(super) unsafe extern "C" fn fiemap(
    inode: *mut bindings::inode,
    info: *mut bindings::fiemap_extent_info,
    start: u64,
    len: u64,
) -> c_int {
    // SAFETY: The VFS passes an inode in use.
    unsafe {
        bindings::inode_lock_shared(inode);
        let len = len.min(bindings::i_size_read(inode).max(0) as u64);
        let result = bindings::iomap_fiemap(inode, info, start, len, &iomap::READ_OPS);
        bindings::inode_unlock_shared(inode);
        result
    }
}

/// `FOP_BUFFER_RASYNC | FOP_BUFFER_WASYNC | FOP_DIO_PARALLEL_WRITE`, which are casts that bindgen
/// leaves out.
const FOP_FLAGS: bindings::fop_flags_t = 1 << 0 | 1 << 1 | 1 << 3;

/// What the VFS calls.
pub(super) static FILE_OPS: Table<bindings::file_operations> = Table(bindings::file_operations {
    fop_flags: FOP_FLAGS,
    llseek: Some(llseek),
    read_iter: Some(read_iter),
    write_iter: Some(write_iter),
    iopoll: Some(bindings::iocb_bio_iopoll),
    mmap_prepare: Some(mmap_prepare),
    open: Some(open),
    release: Some(release),
    fsync: Some(fsync),
    #[cfg(CONFIG_TRANSPARENT_HUGEPAGE)]
    get_unmapped_area: Some(bindings::thp_get_unmapped_area),
    splice_read: Some(bindings::filemap_splice_read),
    splice_write: Some(bindings::iter_file_splice_write),
    setlease: Some(bindings::generic_setlease),
    fallocate: Some(fallocate::fallocate),
    unlocked_ioctl: Some(ioctl::ioctl),
    compat_ioctl: bindings::compat_ptr_ioctl,
    ..pin_init::zeroed()
});
