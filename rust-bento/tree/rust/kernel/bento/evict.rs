// SPDX-License-Identifier: GPL-2.0

//! Inodes leave memory here, and what is left to store of them is stored.
//!
//! An inode with links enters neither handle nor gate when it is evicted, so that memory reclaim
//! never waits there. One without links is freed on disk, in bounded steps.

use super::{
    claims::retry_memory,
    data,
    inode::CoreInode,
    journal::with_handle,
    FileRange,
    Kind,
    Step, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// `super_operations.write_inode`: stores what changed without a transaction of its own: times.
/// Never commits.
///
/// # Safety
///
/// `inode` is a Bento mount's.
pub(super) unsafe extern "C" fn write_inode(
    inode: *mut bindings::inode,
    _wbc: *mut bindings::writeback_control,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let inode = unsafe { CoreInode::from_raw(inode) };
        let sb = inode.core_super();
        // SAFETY: The inode is valid.
        if sb.is_read_only() || unsafe { bindings::is_bad_inode(inode.raw()) } {
            return Ok(0);
        }
        let result = with_handle(
            sb,
            |credits| (credits.write_inode, 0),
            |entered, handle| entered.write_inode(handle, inode),
        );
        if result == Err(ENOMEM) {
            // The VFS takes it for clean now; the next write-back tries again.
            let dirty = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;
            // SAFETY: The inode is valid.
            unsafe { bindings::__mark_inode_dirty(inode.raw(), dirty) };
        }
        result.map(|()| 0)
    })
}

/// `super_operations.evict_inode`
///
/// # Safety
///
/// `inode` is a Bento mount's, and being freed.
pub(super) unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
    // SAFETY: By this function's requirement.
    let core = unsafe { CoreInode::from_raw(inode) };
    // SAFETY: By this function's requirement nobody adds to its mapping.
    unsafe { bindings::truncate_inode_pages_final(&mut (*inode).i_data) };
    data::evict(core);
    // SAFETY: The inode is valid.
    if core.nlink() == 0 && !unsafe { bindings::is_bad_inode(inode) } {
        if let Err(error) = free(core) {
            // It stays on the list of orphans, and the next mount tries again.
            core.core_super().note_orphan();
            if error != EROFS {
                pr_err!(
                    "bento ({}): inode {} could not be freed ({error:?})\n",
                    core.core_super().name(),
                    core.ino()
                );
            }
        }
    }
    // SAFETY: By this function's requirement.
    unsafe { bindings::clear_inode(inode) };
}

/// Frees the inode and all that it has on disk.
fn free(inode: &CoreInode) -> Result {
    let sb = inode.core_super();
    // An orphan of a read-only mount stays what it is.
    if !sb.is_writing() || sb.journal()?.is_aborted() {
        return Err(EROFS);
    }
    // SAFETY: The super block is live. This is the last step of the outside: handle and gate
    // follow.
    unsafe { bindings::sb_start_intwrite(sb.raw()) };
    let result = free_steps(inode);
    // SAFETY: Taken above.
    unsafe { bindings::sb_end_intwrite(sb.raw()) };
    result
}

fn free_steps(inode: &CoreInode) -> Result {
    let sb = inode.core_super();
    if matches!(
        inode.kind(),
        Kind::Regular | Kind::Directory | Kind::Symlink
    ) {
        let all = FileRange {
            start: 0,
            end: u64::MAX,
        };
        loop {
            let step = retry_memory(|| {
                with_handle(
                    sb,
                    |credits| (credits.free_blocks, credits.free_revokes),
                    |entered, handle| entered.free_blocks(handle, inode, all),
                )
            })?;
            if step == Step::Done {
                break;
            }
        }
    }
    retry_memory(|| {
        with_handle(
            sb,
            |credits| (credits.free_inode, 0),
            |entered, handle| entered.free_inode(handle, inode),
        )
    })?;
    sb.space().release_ino(inode.ino());
    Ok(())
}
