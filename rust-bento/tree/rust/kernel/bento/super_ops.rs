// SPDX-License-Identifier: GPL-2.0

//! The super block's operations: one table, for every mount.
//!
//! C header: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h)

use super::{
    buffer::BLOCK_SHIFT,
    cache,
    evict,
    mount,
    super_block::CoreSuper, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*,
    str::CString, //
};

/// The operations. `dirty_inode` is left out on purpose: nothing may journal from there.
pub(super) static SUPER_OPS: bindings::super_operations = bindings::super_operations {
    alloc_inode: Some(cache::alloc_inode),
    destroy_inode: Some(cache::destroy_inode),
    free_inode: Some(cache::free_inode),
    write_inode: Some(evict::write_inode),
    evict_inode: Some(evict::evict_inode),
    put_super: Some(put_super),
    sync_fs: Some(sync_fs),
    freeze_fs: Some(freeze_fs),
    statfs: Some(statfs),
    show_options: Some(show_options),
    shutdown: Some(shutdown),
    ..pin_init::zeroed()
};

/// # Safety
///
/// `sb` is a Bento mount's, whose inodes are gone.
unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
    // SAFETY: By this function's requirement.
    mount::unmount(unsafe { CoreSuper::from_raw(sb) });
    // SAFETY: By this function's requirement; the VFS does not use the mount any more.
    unsafe { mount::take_down(sb) };
}

/// # Safety
///
/// `sb` is a Bento mount's.
unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let core = unsafe { CoreSuper::from_raw(sb) };
        core.check_writable()?;
        // Not `is_read_only`: one that is stopped just now has not been synced.
        if !core.is_mounted_read_only() {
            let journal = core.journal()?;
            if wait == 0 {
                journal.commit(false)?;
            } else {
                // Data may have been written over without any transaction: flushes the device, too.
                journal.commit_tid(core, journal.current_tid())?;
            }
        }
        Ok(0)
    })
}

/// # Safety
///
/// `sb` is a Bento mount's; the VFS has stopped writers and synced.
unsafe extern "C" fn freeze_fs(sb: *mut bindings::super_block) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let core = unsafe { CoreSuper::from_raw(sb) };
        if !core.is_read_only() {
            // The VFS keeps writers out from here on.
            core.journal()?.flush()?;
        }
        Ok(0)
    })
}

/// # Safety
///
/// `dentry` is of a Bento mount, `buf` is valid for writes.
unsafe extern "C" fn statfs(dentry: *mut bindings::dentry, buf: *mut bindings::kstatfs) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let core = unsafe { CoreSuper::from_raw((*dentry).d_sb) };
        let space = core.space().snapshot();
        let info = core.info()?;
        // The two words in which a file system's UUID is its id, as C file systems have it.
        let (low, high) = info.uuid.split_at(8);
        let fold = |half: &[u8]| {
            half.iter()
                .rev()
                .fold(0u64, |id, &b| id << 8 | u64::from(b))
        };
        let id = fold(low) ^ fold(high);
        // SAFETY: By this function's requirement.
        let buf = unsafe { &mut *buf };
        buf.f_type = 0x4265_6e74;
        buf.f_bsize = 1 << BLOCK_SHIFT;
        buf.f_blocks = space.total_blocks;
        // Without what is promised to data that was written and is not on disk yet.
        buf.f_bfree = space.free_blocks.saturating_sub(core.space().reserved());
        buf.f_bavail = core.space().available();
        buf.f_files = space.total_inodes;
        buf.f_ffree = space.free_inodes;
        buf.f_namelen = super::NAME_MAX as c_long;
        buf.f_fsid.val = [id as c_int, (id >> 32) as c_int];
        Ok(0)
    })
}

/// # Safety
///
/// `seq` is valid, `dentry` is of a Bento mount.
unsafe extern "C" fn show_options(
    seq: *mut bindings::seq_file,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: By this function's requirement.
    let core = unsafe { CoreSuper::from_raw((*dentry).d_sb) };
    let show = |text: &CStr| {
        // SAFETY: `seq` is valid.
        unsafe { bindings::__seq_puts(seq, text.as_char_ptr()) }
    };
    from_result(|| {
        show(c",impl=");
        show(&CString::try_from_fmt(fmt!(
            "{}",
            core.implementation().as_str()
        ))?);
        show(c",errors=");
        show(core.on_error().word());
        if core.commit_seconds() != 0 {
            show(&CString::try_from_fmt(fmt!(
                ",commit={}",
                core.commit_seconds()
            ))?);
        }
        if core.check_writable().is_err() {
            show(c",emergency_ro");
        }
        if core.discard() {
            show(c",discard");
        }
        for (name, value) in core.given.iter() {
            show(&match value {
                Some(value) => CString::try_from_fmt(fmt!(",{name}={value}"))?,
                None => CString::try_from_fmt(fmt!(",{name}"))?,
            });
        }
        Ok(0)
    })
}

/// # Safety
///
/// `sb` is a Bento mount's, whose device has gone.
unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
    // SAFETY: By this function's requirement.
    unsafe { CoreSuper::from_raw(sb) }.stop_writing(ESHUTDOWN, EIO);
}
