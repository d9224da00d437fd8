// SPDX-License-Identifier: GPL-2.0

//! Reading and changing attributes.
//!
//! `stat` is answered from `struct inode`, without the gate. A change is journaled in the
//! operation; only times of reads and data writes wait for write-back.

use super::{
    data,
    file,
    inode::timespec,
    inode::CoreInode,
    namei::{
        inode_of,
        transact, //
    },
    Credits,
    Kind, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// Flags that can be set and read.
const KNOWN_FLAGS: u32 = bindings::FS_SYNC_FL
    | bindings::FS_IMMUTABLE_FL
    | bindings::FS_APPEND_FL
    | bindings::FS_NODUMP_FL
    | bindings::FS_NOATIME_FL
    | bindings::FS_DIRSYNC_FL;

/// Flags that a new inode has from its directory.
pub(super) const INHERITED_FLAGS: u32 =
    bindings::FS_SYNC_FL | bindings::FS_NODUMP_FL | bindings::FS_NOATIME_FL;

/// Inode operations of a regular file.
pub(super) static FILE_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
    getattr: Some(getattr),
    setattr: Some(setattr),
    fiemap: Some(file::fiemap),
    fileattr_get: Some(fileattr_get),
    fileattr_set: Some(fileattr_set),
    ..pin_init::zeroed()
};

/// Inode operations of device nodes, pipes and sockets.
pub(super) static SPECIAL_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
    getattr: Some(getattr),
    setattr: Some(setattr),
    ..pin_init::zeroed()
};

/// `inode_operations.getattr`
///
/// # Safety
///
/// All arguments are valid, and `path` is of a Bento mount.
pub(super) unsafe extern "C" fn getattr(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    request_mask: u32,
    _flags: c_uint,
) -> c_int {
    // SAFETY: By this function's requirement.
    unsafe {
        let inode = CoreInode::from_raw((*(*path).dentry).d_inode);
        let flags = inode.flags();
        for (flag, attribute) in [
            (bindings::FS_APPEND_FL, bindings::STATX_ATTR_APPEND),
            (bindings::FS_IMMUTABLE_FL, bindings::STATX_ATTR_IMMUTABLE),
            (bindings::FS_NODUMP_FL, bindings::STATX_ATTR_NODUMP),
        ] {
            (*stat).attributes_mask |= u64::from(attribute);
            if flags & flag != 0 {
                (*stat).attributes |= u64::from(attribute);
            }
        }
        bindings::generic_fillattr(idmap, request_mask, inode.raw(), stat);
        (*stat).btime = timespec(inode.btime());
        (*stat).result_mask |= bindings::STATX_BTIME;
        if inode.kind() == Kind::Regular && request_mask & bindings::STATX_DIOALIGN != 0 {
            let sector = bindings::bento_logical_block_size(inode.core_super().bdev());
            (*stat).result_mask |= bindings::STATX_DIOALIGN;
            (*stat).dio_mem_align = bindings::bento_dma_alignment(inode.core_super().bdev());
            (*stat).dio_offset_align = sector;
        }
        0
    }
}

/// What a change of attributes may have to go back to.
struct Before {
    mode: u16,
    uid: bindings::kuid_t,
    gid: bindings::kgid_t,
    atime: bindings::timespec64,
    mtime: bindings::timespec64,
    ctime: bindings::timespec64,
}

impl Before {
    fn of(inode: &CoreInode) -> Self {
        let raw = inode.raw();
        // SAFETY: The inode is valid, and the caller holds it.
        unsafe {
            Self {
                mode: (*raw).i_mode,
                uid: (*raw).i_uid,
                gid: (*raw).i_gid,
                atime: bindings::inode_get_atime(raw),
                mtime: bindings::inode_get_mtime(raw),
                ctime: bindings::inode_get_ctime(raw),
            }
        }
    }

    fn restore(self, inode: &CoreInode) {
        let raw = inode.raw();
        // SAFETY: As in `of`.
        unsafe {
            (*raw).i_mode = self.mode;
            (*raw).i_uid = self.uid;
            (*raw).i_gid = self.gid;
            bindings::inode_set_atime_to_ts(raw, self.atime);
            bindings::inode_set_mtime_to_ts(raw, self.mtime);
            bindings::inode_set_ctime_to_ts(raw, self.ctime);
        }
    }
}

/// Stores an inode's record in a transaction of its own.
fn store(inode: &CoreInode) -> Result {
    let needs = |credits: &Credits| credits.write_inode;
    transact(inode, needs, |entered, handle| {
        entered.write_inode(handle, inode)
    })
}

/// `inode_operations.setattr`
///
/// # Safety
///
/// All arguments are valid; the VFS holds the inode of `dentry`, which is of a Bento mount.
pub(super) unsafe extern "C" fn setattr(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let inode = unsafe { inode_of(dentry) }.ok_or(ENOENT)?;
        // SAFETY: As above.
        to_result(unsafe { bindings::setattr_prepare(idmap, dentry, attr) })?;
        // SAFETY: As above.
        let size =
            unsafe { ((*attr).ia_valid & bindings::ATTR_SIZE != 0).then(|| (*attr).ia_size) };
        let before = Before::of(inode);
        // SAFETY: As above.
        unsafe {
            bindings::setattr_copy(idmap, inode.raw(), attr);
            // truncate(2) leaves the times to the file system.
            if size.is_some_and(|size| size as u64 != inode.size())
                && (*attr).ia_valid & bindings::ATTR_MTIME == 0
            {
                let now = bindings::inode_set_ctime_current(inode.raw());
                bindings::inode_set_mtime_to_ts(inode.raw(), now);
            }
            bindings::inode_inc_iversion(inode.raw());
        }
        let result = match size {
            Some(size) if inode.kind() == Kind::Regular => {
                data::set_size(inode, u64::try_from(size).map_err(|_| EINVAL)?)
            }
            Some(_) => Err(EINVAL),
            None => store(inode),
        };
        if let Err(error) = result {
            before.restore(inode);
            return Err(error);
        }
        Ok(0)
    })
}

/// `inode_operations.fileattr_get`
///
/// # Safety
///
/// Both arguments are valid, `dentry` is of a Bento mount.
pub(super) unsafe extern "C" fn fileattr_get(
    dentry: *mut bindings::dentry,
    fa: *mut bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        unsafe {
            let inode = inode_of(dentry).ok_or(ENOENT)?;
            bindings::fileattr_fill_flags(fa, inode.flags() & KNOWN_FLAGS);
        }
        Ok(0)
    })
}

/// `inode_operations.fileattr_set`
///
/// # Safety
///
/// All arguments are valid; the VFS holds the inode of `dentry`, which is of a Bento mount.
pub(super) unsafe extern "C" fn fileattr_set(
    _idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    fa: *mut bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let (inode, has_fsx, flags) = unsafe {
            (
                inode_of(dentry).ok_or(ENOENT)?,
                bindings::fileattr_has_fsx(fa),
                bindings::bento_fileattr_flags(fa),
            )
        };
        if has_fsx || flags & !KNOWN_FLAGS != 0 {
            return Err(EOPNOTSUPP);
        }
        let before = (Before::of(inode), inode.flags());
        inode.set_flags(before.1 & !KNOWN_FLAGS | flags);
        // SAFETY: As above.
        unsafe {
            bindings::inode_set_ctime_current(inode.raw());
            bindings::inode_inc_iversion(inode.raw());
        }
        store(inode).inspect_err(|_| {
            before.0.restore(inode);
            inode.set_flags(before.1);
        })?;
        Ok(0)
    })
}
