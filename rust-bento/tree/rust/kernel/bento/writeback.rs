// SPDX-License-Identifier: GPL-2.0

//! The page cache's way to the volume, and what follows when the data is there.
//!
//! Write-back chooses blocks for a whole dirty run and sends the data. When it has arrived a worker
//! publishes the blocks, while the folios are still under write-back, and only then ends that. An
//! overwrite of blocks that the file has already, inside its stored size, needs none of this.

use super::{
    buffer::BLOCK_SHIFT,
    claims::retry_memory,
    data::{
        self,
        Place, //
    },
    inode::CoreInode,
    iomap,
    publish,
    FileRange, //
};
use crate::{
    bindings,
    prelude::*,
    static_lock_class,
    str::CStrExt as _,
    types::Opaque, //
};

/// Writes that have ended and whose blocks are to be published, and the worker that does it.
#[pin_data(PinnedDrop)]
pub(super) struct Publisher {
    #[pin]
    lock: Opaque<bindings::spinlock_t>,
    /// `iomap_ioend`s, by `io_list`. Protected by `lock`, with interrupts off.
    #[pin]
    ended: Opaque<bindings::list_head>,
    #[pin]
    work: Opaque<bindings::work_struct>,
    queue: *mut bindings::workqueue_struct,
}

// SAFETY: The list is protected by the lock, the rest does its own locking.
unsafe impl Send for Publisher {}
// SAFETY: As above.
unsafe impl Sync for Publisher {}

impl Publisher {
    /// An idle worker.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            lock <- Opaque::ffi_init(|slot: *mut bindings::spinlock_t| {
                // SAFETY: `slot` is valid for writes and stays in place; the class is static.
                unsafe {
                    bindings::__spin_lock_init(
                        slot,
                        c"bento_ended".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            ended <- Opaque::ffi_init(|slot: *mut bindings::list_head| {
                // SAFETY: `slot` is valid for writes and stays in place.
                unsafe { bindings::INIT_LIST_HEAD(slot) }
            }),
            work <- Opaque::ffi_init(|slot: *mut bindings::work_struct| {
                // SAFETY: `slot` is valid for writes and stays in place until `drop` has waited for
                // the worker; the class is static.
                unsafe {
                    bindings::init_work_with_key(
                        slot,
                        Some(run),
                        false,
                        c"bento_publish".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            queue: {
                // SAFETY: The format takes no arguments.
                let queue = unsafe {
                    bindings::alloc_workqueue_noprof(
                        c"bento-publish".as_char_ptr(),
                        bindings::wq_flags_WQ_MEM_RECLAIM | bindings::wq_flags_WQ_UNBOUND,
                        1,
                    )
                };
                if queue.is_null() {
                    return Err(ENOMEM);
                }
                queue
            },
        }? Error)
    }

    /// Waits until everything that has been handed over is published.
    pub(super) fn drain(&self) {
        // SAFETY: Made by `new`.
        unsafe { bindings::__flush_workqueue(self.queue) };
    }

    /// Runs other work of the mount, one at a time with what is published.
    ///
    /// # Safety
    ///
    /// `work` is initialised, and stays in place as long as the publisher.
    pub(super) unsafe fn queue(&self, work: *mut bindings::work_struct) {
        // SAFETY: The queue was made by `new`; the rest is by this function's requirement.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue,
                work,
            )
        };
    }

    /// Hands over a write that has ended. From any context.
    ///
    /// # Safety
    ///
    /// `ioend` has ended, is on no list, and belongs to the mount of this publisher.
    unsafe fn add(&self, ioend: *mut bindings::iomap_ioend) {
        // SAFETY: By this function's requirement; lock, list and work were initialised by `new`.
        unsafe {
            bindings::bento_list_add(
                self.lock.get(),
                &raw mut (*ioend).io_list,
                self.ended.get(),
                self.queue,
                self.work.get(),
            );
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Publisher {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Made by `new`. No write is under way any more: all inodes are gone. This waits
        // for the worker.
        unsafe { bindings::destroy_workqueue(self.queue) };
    }
}

/// Publishes what has ended.
///
/// # Safety
///
/// Called by the workqueue with the work of a [`Publisher`].
unsafe extern "C" fn run(work: *mut bindings::work_struct) {
    // SAFETY: By this function's requirement; the publisher outlives its worker.
    let publisher =
        unsafe { &*crate::container_of!(Opaque::cast_from(work.cast_const()), Publisher, work) };
    let mut list = bindings::list_head::default();
    let head = &raw mut list;
    // SAFETY: The list stays in place until it is empty, at the end of this function. What is on it
    // are ioends, which this task alone has now.
    unsafe {
        bindings::INIT_LIST_HEAD(head);
        bindings::bento_list_take(publisher.lock.get(), publisher.ended.get(), head);
        loop {
            let first = bindings::bento_list_pop(head);
            if first.is_null() {
                break;
            }
            let ioend = crate::container_of!(first, bindings::iomap_ioend, io_list);
            bindings::iomap_ioend_try_merge(ioend, head);
            end(ioend);
        }
    }
}

/// Publishes one write, with those that were merged into it, and ends write-back of its folios.
///
/// # Safety
///
/// `ioend` has ended, and belongs to the caller.
unsafe fn end(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: By this function's requirement. The inode is there as long as its folios are under
    // write-back, which is until `iomap_finish_ioends`.
    let (inode, offset, size, sector, status) = unsafe {
        (
            CoreInode::from_raw((*ioend).io_inode),
            (*ioend).io_offset as u64,
            (*ioend).io_size as u64,
            (*ioend).io_sector,
            bindings::blk_status_to_errno((*ioend).io_bio.bi_status),
        )
    };
    let error = if status != 0 {
        status
    } else {
        let block = sector >> (BLOCK_SHIFT - bindings::SECTOR_SHIFT);
        match publish::written(inode, offset, size, Some(block), None) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    };
    if error != 0 {
        inode.data.set_failed();
    }
    // SAFETY: The ioend is given up here. The inode is not used after this.
    unsafe { bindings::iomap_finish_ioends(ioend, error) };
}

/// The end of a write that has to be published.
///
/// # Safety
///
/// Called by the block layer with the bio of an ioend of a Bento mount.
unsafe extern "C" fn bio_ended(bio: *mut bindings::bio) {
    // SAFETY: By this function's requirement; the inode is there until write-back of its folios
    // ends.
    unsafe {
        let ioend = crate::container_of!(bio, bindings::iomap_ioend, io_bio);
        let inode = CoreInode::from_raw((*ioend).io_inode);
        inode.core_super().publisher().add(ioend);
    }
}

/// Maps a dirty range of a folio, and adds it to the write that is being built.
///
/// # Safety
///
/// Called by iomap with a locked folio under write-back.
unsafe extern "C" fn writeback_range(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end_pos: u64,
) -> isize {
    // SAFETY: iomap passes a valid context and an inode of this mount.
    let (inode, map) = unsafe { (CoreInode::from_raw((*wpc).inode), &raw mut (*wpc).iomap) };
    // SAFETY: The context is this task's own.
    let fits = unsafe {
        let start = (*map).offset as u64;
        (*map).length != 0
            && (start..start + (*map).length).contains(&pos)
            && (*map).validity_cookie == inode.data.sequence()
    };
    if !fits {
        let range = iomap::blocks_of(pos as i64, len.into());
        let cookie = inode.data.sequence();
        match place_for(inode, range) {
            // SAFETY: As above.
            Ok(place) => unsafe { iomap::fill(map, inode, range.start, place, cookie) },
            Err(error) => {
                // The rest of the folio will be clean: nothing needs the space any more.
                let end = end_pos.div_ceil(1 << BLOCK_SHIFT).max(range.end);
                data::unreserve(inode, FileRange { end, ..range });
                return error.to_errno() as isize;
            }
        }
    }
    // SAFETY: The mapping holds `pos`; the rest is passed on as it came.
    unsafe { bindings::iomap_add_to_ioend(wpc, folio, pos as i64, end_pos as i64, len) }
}

/// Where the dirty blocks of `range` go.
fn place_for(inode: &CoreInode, range: FileRange) -> Result<Place> {
    // Dirty data is not dropped for lack of memory.
    match retry_memory(|| data::look(inode, range, false))? {
        place @ Place::Pending(_) => Ok(place),
        Place::Mapped(extent) if !extent.unwritten => Ok(Place::Mapped(extent)),
        // A hole is not expected here: every dirty page has its reservation. But data is not
        // dropped.
        Place::Mapped(_) | Place::Reserved { .. } | Place::Hole { .. } => {
            data::choose(inode, range)
        }
    }
}

/// Sends a write.
///
/// # Safety
///
/// Called by iomap with a context that has an ioend.
unsafe extern "C" fn writeback_submit(
    wpc: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: By this function's requirement; the ioend is not sent yet, so it is this task's own.
    unsafe {
        let ioend: *mut bindings::iomap_ioend = (*wpc).wb_ctx.cast();
        let inode = CoreInode::from_raw((*ioend).io_inode);
        let end = (*ioend).io_offset as u64 + (*ioend).io_size as u64;
        // Two files' writes are never merged.
        (*ioend).io_private = inode.raw().cast();
        if u32::from((*ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0
            || end > inode.data.disk_size()
        {
            bindings::bento_ioend_defer(ioend, Some(bio_ended));
        }
        bindings::iomap_ioend_writeback_submit(wpc, error)
    }
}

static WRITEBACK_OPS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
    writeback_range: Some(writeback_range),
    writeback_submit: Some(writeback_submit),
};

/// # Safety
///
/// Called by the page cache.
unsafe extern "C" fn writepages(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: All zero is a valid empty context.
    let mut wpc: bindings::iomap_writepage_ctx = unsafe { core::mem::zeroed() };
    // SAFETY: The page cache passes a mapping in use, whose host is its inode.
    wpc.inode = unsafe { (*mapping).host };
    wpc.wbc = wbc;
    wpc.ops = &raw const WRITEBACK_OPS;
    // SAFETY: The context is complete, and outlives the call.
    unsafe { bindings::iomap_writepages(&mut wpc) }
}

/// # Safety
///
/// Called by the page cache with a locked folio.
unsafe extern "C" fn read_folio(_file: *mut bindings::file, folio: *mut bindings::folio) -> c_int {
    // SAFETY: Passed on as it came.
    unsafe { bindings::iomap_bio_read_folio(folio, &iomap::READ_OPS) };
    0
}

/// # Safety
///
/// Called by the page cache.
unsafe extern "C" fn readahead(control: *mut bindings::readahead_control) {
    // SAFETY: Passed on as it came.
    unsafe { bindings::iomap_bio_readahead(control, &iomap::READ_OPS) };
}

/// # Safety
///
/// Called by the VFS for `FIBMAP`.
unsafe extern "C" fn bmap(
    mapping: *mut bindings::address_space,
    block: bindings::sector_t,
) -> bindings::sector_t {
    // SAFETY: Passed on as it came.
    unsafe { bindings::iomap_bmap(mapping, block, &iomap::READ_OPS) }
}

/// What the page cache calls.
pub(super) static AOPS: bindings::address_space_operations = bindings::address_space_operations {
    read_folio: Some(read_folio),
    readahead: Some(readahead),
    writepages: Some(writepages),
    dirty_folio: Some(bindings::iomap_dirty_folio),
    invalidate_folio: Some(bindings::iomap_invalidate_folio),
    release_folio: Some(bindings::iomap_release_folio),
    #[cfg(CONFIG_MIGRATION)]
    migrate_folio: Some(bindings::filemap_migrate_folio),
    is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
    error_remove_folio: Some(bindings::generic_error_remove_folio),
    bmap: Some(bmap),
    ..pin_init::zeroed()
};
