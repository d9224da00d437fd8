// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: the target is read once, and then kept in `i_link`, where walks under RCU find
//! it.

use super::{
    attr,
    inode::CoreInode, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// The longest target, in bytes, with its NUL.
pub(super) const PATH_MAX: usize = bindings::PATH_MAX as usize;

/// Inode operations of a symbolic link.
pub(super) static SYMLINK_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
    get_link: Some(bindings::simple_get_link),
    getattr: Some(attr::getattr),
    setattr: Some(attr::setattr),
    ..pin_init::zeroed()
};

/// Reads the target of an inode that is new.
pub(super) fn read(inode: &CoreInode) -> Result {
    let mut target = KVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
    let len = inode.core_super().enter()?.read_link(inode, &mut target)?;
    let damaged = || {
        inode.core_super().volume().corrupt(fmt!(
            "the target of symbolic link {} makes no sense",
            inode.ino()
        ))
    };
    let target = target.get(..len).ok_or_else(damaged)?;
    if target.is_empty() || len >= PATH_MAX || target.contains(&0) || len as u64 != inode.size() {
        return Err(damaged());
    }
    keep(inode, target)
}

/// Keeps the target of an inode that is new.
pub(super) fn keep(inode: &CoreInode, target: &[u8]) -> Result {
    // SAFETY: The target is valid for its length; the inode is new, so nobody else looks at it; the
    // copy is freed with the inode.
    let copy = unsafe {
        bindings::kmemdup_nul(target.as_ptr().cast(), target.len(), bindings::GFP_KERNEL)
    };
    if copy.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: As above.
    unsafe { bindings::inode_set_cached_link(inode.raw(), copy, target.len() as c_int) };
    Ok(())
}
