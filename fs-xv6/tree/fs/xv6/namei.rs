// SPDX-License-Identifier: GPL-2.0

//! Names: what changes directories together with inodes.

use super::{
    inode::Node,
    Xv6, //
};
use kernel::{
    bento::{
        DirSink,
        Handle,
        Ino,
        Inode,
        Name,
        NewInode,
        Rename,
        Step,
        Volume, //
    },
    prelude::*, //
};

pub(super) const CREATE_CREDITS: u32 = 1;
pub(super) const LINK_CREDITS: u32 = 1;
pub(super) const UNLINK_CREDITS: u32 = 1;
pub(super) const RENAME_CREDITS: u32 = 1;
pub(super) const FREE_CREDITS: u32 = 1;
pub(super) const FREE_REVOKES: u32 = 1;

pub(super) fn lookup(
    _fs: &Xv6,
    _volume: &Volume,
    _dir: Inode<'_, Node>,
    _name: Name<'_>,
) -> Result<Option<Ino>> {
    Err(EOPNOTSUPP)
}

pub(super) fn read_dir(
    _fs: &Xv6,
    _volume: &Volume,
    _dir: Inode<'_, Node>,
    _position: u64,
    _sink: &mut DirSink<'_>,
) -> Result {
    Err(EOPNOTSUPP)
}

pub(super) fn is_empty(_fs: &Xv6, _volume: &Volume, _dir: Inode<'_, Node>) -> Result<bool> {
    Err(EOPNOTSUPP)
}

pub(super) fn parent(_fs: &Xv6, _volume: &Volume, dir: Inode<'_, Node>) -> Result<Ino> {
    Ok(dir.read().dir_root().parent.get())
}

pub(super) fn create(
    _fs: &Xv6,
    _handle: &Handle<'_>,
    _dir: Inode<'_, Node>,
    _inode: Inode<'_, Node>,
    _new: &NewInode<'_>,
) -> Result<Node> {
    Err(EOPNOTSUPP)
}

pub(super) fn link(
    _fs: &Xv6,
    _handle: &Handle<'_>,
    _dir: Inode<'_, Node>,
    _inode: Inode<'_, Node>,
    _name: Name<'_>,
) -> Result {
    Err(EOPNOTSUPP)
}

pub(super) fn unlink(
    _fs: &Xv6,
    _handle: &Handle<'_>,
    _dir: Inode<'_, Node>,
    _inode: Inode<'_, Node>,
    _name: Name<'_>,
) -> Result {
    Err(EOPNOTSUPP)
}

pub(super) fn rename(_fs: &Xv6, _handle: &Handle<'_>, _rename: &Rename<'_, Node>) -> Result {
    Err(EOPNOTSUPP)
}

pub(super) fn free_step(_fs: &Xv6, _handle: &Handle<'_>, _dir: Inode<'_, Node>) -> Result<Step> {
    Err(EOPNOTSUPP)
}
