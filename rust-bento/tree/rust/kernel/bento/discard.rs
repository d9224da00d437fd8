// SPDX-License-Identifier: GPL-2.0

//! Discard of freed blocks, for volumes mounted with `discard`.

use super::{
    buffer::BLOCK_SHIFT,
    claims::NofsScope,
    space::Tid,
    super_block::CoreSuper, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// Discards what transaction `tid` and older ones freed. They have committed, and the blocks are
/// not handed out again before this returns.
pub(super) fn freed(sb: &CoreSuper, tid: Tid) {
    // The commit thread: no file system is called for its memory.
    let _nofs = NofsScope::new();
    let mut ranges: KVVec<(u64, u64)> = KVVec::new();
    sb.space().for_each_freed(tid, |start, len| {
        // A range more or less that the device keeps is no harm.
        // The lock of the sets is held, which write-back needs: no waiting for memory.
        let _ = ranges.push((start, len), GFP_NOWAIT | __GFP_NOWARN);
    });
    let shift = BLOCK_SHIFT - bindings::SECTOR_SHIFT;
    for &(start, len) in ranges.iter() {
        // SAFETY: The device is open while the super block is mounted.
        let error = unsafe {
            bindings::blkdev_issue_discard(
                sb.bdev(),
                start << shift,
                len << shift,
                bindings::GFP_KERNEL,
            )
        };
        if error != 0 {
            return;
        }
    }
}
