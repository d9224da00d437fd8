// SPDX-License-Identifier: GPL-2.0

//! Journal credits: the most metadata blocks that each operation writes to.

use super::{
    extent::{
        FREE_GROUPS,
        PUBLISH_LEAVES, //
    },
    layout::MAX_DEPTH,
    namei,
    tree::{
        INSERT_CREDITS,
        NODE_ENTRIES_HALF,
        REMOVE_CREDITS, //
    },
};
use kernel::bento::Credits;

/// Bits of a bitmap: its block, and that of the group's descriptor if this is its first change.
pub(super) const BITMAP: u32 = 2;
/// A record: its block of the inode table.
pub(super) const RECORD: u32 = 1;

/// The larger of two.
const fn max(a: u32, b: u32) -> u32 {
    if a > b {
        a
    } else {
        b
    }
}

/// A step of freeing what a file maps: bitmaps and the record; a hole in the middle of an extent
/// makes two of it, all else removes entries.
const FREE_EXTENTS: u32 =
    FREE_GROUPS as u32 * BITMAP + RECORD + max(INSERT_CREDITS, REMOVE_CREDITS);

pub(super) const CREDITS: Credits = Credits {
    create: namei::CREATE_CREDITS,
    link: namei::LINK_CREDITS,
    unlink: namei::UNLINK_CREDITS,
    rename: namei::RENAME_CREDITS,
    write_inode: RECORD,
    publish: BITMAP + RECORD + PUBLISH_LEAVES * INSERT_CREDITS,
    free_blocks: max(FREE_EXTENTS, namei::FREE_CREDITS),
    free_revokes: max(MAX_DEPTH as u32, namei::FREE_REVOKES),
    free_inode: BITMAP,
    orphan: BITMAP,
    set_clean: 1,
    tree_depth: MAX_DEPTH as u32,
    half_node: NODE_ENTRIES_HALF,
};
