// SPDX-License-Identifier: GPL-2.0

//! Publishing: making blocks part of a file once their data is on disk.

use super::{
    buffer::BLOCK_SHIFT,
    claims::retry_memory,
    data::{
        self,
        Place,
        Publishing, //
    },
    extents::Known,
    inode::CoreInode,
    journal::with_handle,
    Block,
    Extent,
    FileRange, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// How far data that is on disk moves the stored size.
#[derive(Clone, Copy)]
struct Reach {
    /// First byte behind the data.
    end: u64,
    /// The size that the file gets, if `i_size` does not tell it yet.
    grows: Option<u64>,
}

impl Reach {
    /// The same for the data before `block`: the size may hold only bytes whose blocks are
    /// published, and those before were in earlier steps.
    fn before(self, block: u64) -> Self {
        Self {
            end: self.end.min(block << BLOCK_SHIFT),
            ..self
        }
    }
}

/// The data of `size` bytes at `offset` is on disk, in blocks from `disk` on if that is given:
/// makes them part of the file, one extent in one transaction, and moves the stored size: up to
/// `i_size`, or up to `grows`, where the caller moves `i_size` afterwards.
///
/// The caller holds nothing that a commit waits for.
///
/// # Errors
///
/// `EROFS` if the journal was aborted; what the file system says. The data is lost then.
pub(super) fn written(
    inode: &CoreInode,
    offset: u64,
    size: u64,
    disk: Option<Block>,
    grows: Option<u64>,
) -> Result {
    let range = FileRange {
        start: offset >> BLOCK_SHIFT,
        end: offset.saturating_add(size).div_ceil(1 << BLOCK_SHIFT),
    };
    let reach = Reach {
        end: offset + size,
        grows,
    };
    let mut at = range.start;
    while at < range.end {
        // Held from this look until the blocks are published.
        let publishing = inode.data.lock_publishing();
        at = match inode.data.known(at) {
            Known::Pending(extent) => {
                let len = extent.len.min(range.end - at);
                if disk.is_some_and(|disk| disk + (at - range.start) != extent.block) {
                    pr_err!("bento: data of inode {} went elsewhere\n", inode.ino());
                    return Err(EIO);
                }
                let extent = Extent {
                    len,
                    unwritten: false,
                    ..extent
                };
                publish(inode, extent, reach, &publishing)?;
                at + len
            }
            Known::Reserved { end } => end,
            Known::Nothing { end } => {
                let end = end.min(range.end);
                written_end(inode, FileRange { start: at, end })?
            }
        };
    }
    // An append inside a block that was published before.
    if grown(inode, reach).is_some() {
        grow(inode, reach)?;
    }
    Ok(())
}

/// The end of what the file has at the start of `range`: written before, or published by another
/// write meanwhile.
fn written_end(inode: &CoreInode, range: FileRange) -> Result<u64> {
    match retry_memory(|| data::look(inode, range, false))? {
        Place::Mapped(extent) if !extent.unwritten => Ok(extent.file_end()),
        _ => {
            pr_err!("bento: inode {} lost blocks under a write\n", inode.ino());
            Err(EIO)
        }
    }
}

/// The size to be stored, if it is greater than what is stored.
fn grown(inode: &CoreInode, reach: Reach) -> Option<u64> {
    let size = reach.grows.unwrap_or_else(|| inode.size()).min(reach.end);
    (size > inode.data.disk_size()).then_some(size)
}

/// Runs `store`, which stores the record, with the stored size moved as far as `reach`. To be
/// called in a handle.
fn with_size(
    inode: &CoreInode,
    reach: Reach,
    publishing: &Publishing<'_>,
    store: impl FnOnce() -> Result,
) -> Result {
    let Some(size) = grown(inode, reach) else {
        return store();
    };
    let result = inode.data.grow_disk_size(size, store, publishing);
    if result.is_err() {
        // The flusher may have stored, in this very transaction, the size that it did not become.
        let dirty = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;
        // SAFETY: The inode is in use.
        unsafe { bindings::__mark_inode_dirty(inode.raw(), dirty) };
    }
    result
}

/// Publishes blocks that were pending. While there is no memory it is tried again.
fn publish(inode: &CoreInode, extent: Extent, reach: Reach, publishing: &Publishing<'_>) -> Result {
    let sb = inode.core_super();
    let reach = reach.before(extent.file_end());
    retry_memory(|| {
        with_handle(
            sb,
            |credits| (credits.publish, 0),
            |entered, handle| {
                with_size(inode, reach, publishing, || {
                    entered.publish(handle, inode, extent)
                })
            },
        )
        .inspect_err(|_| data::promise_again(inode))
    })?;
    let range = FileRange {
        start: extent.file_block,
        end: extent.file_end(),
    };
    data::published(inode, range, publishing);
    Ok(())
}

/// Stores the record, with a size that has grown as far as `reach`.
fn grow(inode: &CoreInode, reach: Reach) -> Result {
    let sb = inode.core_super();
    let publishing = inode.data.lock_publishing();
    retry_memory(|| {
        with_handle(
            sb,
            |credits| (credits.write_inode, 0),
            |entered, handle| {
                with_size(inode, reach, &publishing, || {
                    entered.write_inode(handle, inode)
                })
            },
        )
    })
}

/// Stores the record, with a size that has grown to `size` and whose data is on disk or zeros.
pub(super) fn grow_to(inode: &CoreInode, size: u64) -> Result {
    let reach = Reach {
        end: size,
        grows: Some(size),
    };
    grow(inode, reach)
}
