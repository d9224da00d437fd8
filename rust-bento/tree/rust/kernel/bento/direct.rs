// SPDX-License-Identifier: GPL-2.0

//! Direct I/O.
//!
//! A write that may not share blocks with another one (not aligned to blocks), or that moves the
//! size, excludes all others and is waited for. All other writes run side by side. Blocks for holes
//! are chosen at once, and published when the data is there.

use super::{
    buffer::BLOCK_SHIFT,
    data,
    file,
    inode::CoreInode,
    iomap,
    publish,
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

/// Direct I/O has ended: publishes what was written.
///
/// After an error nothing is published, and what was chosen is given back, see [`write`]: here not,
/// as other writes may have been told of these blocks, and nobody can wait for them while this one
/// counts as under way.
///
/// # Safety
///
/// Called by iomap; in process context if blocks were chosen or the size moves.
unsafe extern "C" fn end_io(
    iocb: *mut bindings::kiocb,
    size: isize,
    error: c_int,
    flags: c_uint,
) -> c_int {
    // SAFETY: iomap passes the request that it was given, on a file of this mount.
    let (inode, pos) = unsafe {
        (
            CoreInode::from_raw(bindings::file_inode((*iocb).ki_filp)),
            (*iocb).ki_pos as u64,
        )
    };
    if error != 0 {
        // A request that may not wait chooses nothing, and fails often.
        // SAFETY: As above.
        if unsafe { !file::is_nowait(iocb) } {
            inode.data.set_failed();
        }
        return error;
    }
    if size <= 0 {
        return 0;
    }
    let end = pos + size as u64;
    if flags & bindings::IOMAP_DIO_UNWRITTEN == 0 && (end <= inode.data.disk_size() || !can_sleep())
    {
        return 0;
    }
    // The size moves under `i_rwsem` only, which such a write holds until it has ended.
    let grows = (end > inode.size()).then_some(end);
    let result = publish::written(inode, pos, size as u64, None, grows);
    if grows.is_some() {
        // Not before: who sees the size may read or map what is there, and unwritten blocks are
        // zeros. After an error it moves as far as what was published.
        inode.set_size(inode.size().max(inode.data.disk_size()));
    }
    if result.is_err() {
        inode.data.set_failed();
    }
    from_result(|| result.map(|()| 0))
}

/// Whether this is not an interrupt: the end of a write that chose no blocks and does not extend
/// the file may be one. Such a write ends behind the stored size only if the size has changed under
/// it: then whoever changed it stores it.
fn can_sleep() -> bool {
    // SAFETY: Reads what context this is.
    unsafe { bindings::bento_in_task() }
}

static DIRECT_OPS: Table<bindings::iomap_dio_ops> = Table(bindings::iomap_dio_ops {
    end_io: Some(end_io),
    submit_io: None,
    bio_set: core::ptr::null_mut(),
});

/// A direct read.
///
/// # Safety
///
/// `iocb` and `to` are those of a `read_iter` on a file of a Bento mount.
pub(super) unsafe fn read(
    iocb: *mut bindings::kiocb,
    to: *mut bindings::iov_iter,
) -> Result<isize> {
    // SAFETY: By this function's requirement.
    unsafe {
        let inode = bindings::file_inode((*iocb).ki_filp);
        file::lock_shared(inode, file::is_nowait(iocb))?;
        bindings::file_accessed((*iocb).ki_filp);
        let result = bindings::iomap_dio_rw(
            iocb,
            to,
            &iomap::READ_OPS,
            core::ptr::null(),
            0,
            core::ptr::null_mut(),
            0,
        );
        bindings::inode_unlock_shared(inode);
        Ok(result)
    }
}

/// A direct write. Gives `-ENOTBLK` if it is to be done through the page cache.
///
/// # Safety
///
/// `iocb` and `from` are those of a `write_iter` on a file of a Bento mount.
pub(super) unsafe fn write(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> Result<isize> {
    // SAFETY: By this function's requirement.
    let inode = unsafe { bindings::file_inode((*iocb).ki_filp) };
    // SAFETY: The file is open, so its inode is in use.
    let core = unsafe { CoreInode::from_raw(inode) };
    // SAFETY: By this function's requirement.
    let nowait = unsafe { file::is_nowait(iocb) };
    let mut exclusive = false;
    let result = loop {
        if exclusive {
            // SAFETY: The inode is in use; unlocked below.
            unsafe { file::lock(inode, nowait)? };
        } else {
            // SAFETY: As above.
            unsafe { file::lock_shared(inode, nowait)? };
        }
        // SAFETY: The lock is held as said.
        match unsafe { write_locked(core, iocb, from, exclusive, nowait) } {
            Locked::Done(result) => {
                // SAFETY: Locked above.
                unsafe { file::unlock(inode, exclusive) };
                break result;
            }
            Locked::WantsExclusive => {
                // SAFETY: Locked above.
                unsafe { file::unlock(inode, exclusive) };
                exclusive = true;
            }
        }
    };
    // A write that has not ended yet and then fails is seen to when the file is closed.
    if !nowait {
        data::give_back_failed(core);
    }
    result
}

enum Locked {
    Done(Result<isize>),
    WantsExclusive,
}

/// # Safety
///
/// As [`write`], and `i_rwsem` is held, exclusively if `exclusive`.
unsafe fn write_locked(
    inode: &CoreInode,
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
    exclusive: bool,
    nowait: bool,
) -> Locked {
    // SAFETY: By this function's requirement.
    let count = unsafe { bindings::generic_write_checks(iocb, from) };
    if count <= 0 {
        return Locked::Done(Ok(count));
    }
    // SAFETY: As above.
    let pos = unsafe { (*iocb).ki_pos } as u64;
    let end = pos + count as u64;
    let aligned = (pos | end) & ((1 << BLOCK_SHIFT) - 1) == 0;
    let extends = end > inode.size().min(inode.data.disk_size());
    // SAFETY: The inode is in use.
    let strips = unsafe { !bindings::bento_is_nosec(inode.raw()) };
    if !exclusive && (!aligned || extends || strips) {
        return Locked::WantsExclusive;
    }
    // SAFETY: The request is valid, and the lock is held as it has to be.
    if let Err(error) = to_result(unsafe { bindings::kiocb_modified(iocb) }) {
        return Locked::Done(Err(error));
    }
    let mut flags = 0;
    if !aligned || extends {
        // The blocks' other parts may be under way, and zeros around this one must not meet them.
        // SAFETY: The inode is in use; direct I/O does not wait for `i_rwsem` to end.
        unsafe { bindings::inode_dio_wait(inode.raw()) };
        flags = bindings::IOMAP_DIO_FORCE_WAIT;
    }
    if pos > inode.size() {
        if nowait {
            return Locked::Done(Err(EAGAIN));
        }
        if let Err(error) = file::zero_tail(inode, pos) {
            return Locked::Done(Err(error));
        }
    }
    // SAFETY: The request is valid, and the lock is held as it has to be.
    Locked::Done(Ok(unsafe {
        bindings::iomap_dio_rw(
            iocb,
            from,
            &iomap::DIRECT_WRITE_OPS,
            &*DIRECT_OPS,
            flags,
            core::ptr::null_mut(),
            0,
        )
    }))
}
