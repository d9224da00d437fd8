// SPDX-License-Identifier: GPL-2.0

//! Renaming.

use super::{
    change::Changes,
    data,
    inode::CoreInode,
    instance::RawRename,
    namei::{
        check_empty,
        inode_of,
        make_nameless,
        name_of,
        transact_in, //
    },
    Credits,
    Kind, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// `inode_operations.rename`
///
/// # Safety
///
/// The VFS holds both directories and the inodes of both dentries, `old_dentry` is positive, and
/// neither name changes meanwhile; `idmap` is that of the mount.
pub(super) unsafe extern "C" fn rename(
    idmap: *mut bindings::mnt_idmap,
    old_dir: *mut bindings::inode,
    old_dentry: *mut bindings::dentry,
    new_dir: *mut bindings::inode,
    new_dentry: *mut bindings::dentry,
    flags: c_uint,
) -> c_int {
    from_result(|| {
        let known =
            bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;
        if flags & !known != 0 {
            return Err(EINVAL);
        }
        // SAFETY: By this function's requirement.
        let rename = unsafe {
            RawRename {
                old_dir: CoreInode::from_raw(old_dir),
                old_name: name_of(old_dentry)?,
                inode: inode_of(old_dentry).ok_or(ENOENT)?,
                new_dir: CoreInode::from_raw(new_dir),
                new_name: name_of(new_dentry)?,
                target: inode_of(new_dentry),
                exchange: flags & bindings::RENAME_EXCHANGE != 0,
                whiteout: None,
            }
        };
        if let Some(target) = rename.target.filter(|_| !rename.exchange) {
            if target.kind() == Kind::Directory {
                check_empty(target)?;
            }
            // After this rename no crash shows an empty file under the new name.
            if rename.inode.kind() == Kind::Regular {
                data::flush_for_rename(rename.inode)?;
            }
        }
        if flags & bindings::RENAME_WHITEOUT == 0 {
            return run(&rename).map(|()| 0);
        }
        let mode = bindings::S_IFCHR as u16;
        // SAFETY: By this function's requirement.
        let whiteout = unsafe { make_nameless(idmap, rename.old_dir, mode) }?.unlock();
        run(&RawRename {
            whiteout: Some(&whiteout),
            ..rename
        })?;
        Ok(0)
    })
}

/// Sets the attributes, and renames in one transaction.
fn run(rename: &RawRename<'_>) -> Result {
    let needs = |credits: &Credits| credits.rename;
    let dirs = [rename.old_dir, rename.new_dir];
    transact_in(dirs, needs, |entered, handle| {
        let mut changes = Changes::new(handle);
        changes.modify(rename.old_dir);
        if !core::ptr::eq(rename.old_dir, rename.new_dir) {
            changes.modify(rename.new_dir);
        }
        changes.touch(rename.inode);
        if let Some(target) = rename.target {
            changes.touch(target);
        }
        if let Some(whiteout) = rename.whiteout {
            changes.add_link(whiteout);
        }
        move_links(&mut changes, rename)?;
        entered.rename(handle, rename)?;
        changes.keep();
        Ok(())
    })
}

/// Changes link counts.
fn move_links<'a>(changes: &mut Changes<'a>, rename: &RawRename<'a>) -> Result {
    let is_dir = |inode: &CoreInode| inode.kind() == Kind::Directory;
    let crosses = !core::ptr::eq(rename.old_dir, rename.new_dir);
    let target_is_dir = rename.target.is_some_and(is_dir);

    if let Some(target) = rename.target.filter(|_| !rename.exchange) {
        if target_is_dir {
            changes.drop_directory(target, rename.new_dir)?;
        } else {
            changes.drop_link(target)?;
        }
    }
    if crosses && is_dir(rename.inode) && !(rename.exchange && target_is_dir) {
        changes.drop_subdirectory(rename.old_dir)?;
        changes.add_link(rename.new_dir);
    }
    if crosses && rename.exchange && target_is_dir && !is_dir(rename.inode) {
        changes.drop_subdirectory(rename.new_dir)?;
        changes.add_link(rename.old_dir);
    }
    Ok(())
}
