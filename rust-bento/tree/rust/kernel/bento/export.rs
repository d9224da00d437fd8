// SPDX-License-Identifier: GPL-2.0

//! File handles: `open_by_handle_at`, and export over NFS.
//!
//! A handle holds an inode's number and its generation, and may hold those of its parent.
//!
//! C header: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)

use super::{
    iget,
    inode::CoreInode,
    namei::inode_of,
    super_block::CoreSuper,
    Ino, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};
use core::ptr;

/// Export operations.
pub(super) static EXPORT_OPS: bindings::export_operations = bindings::export_operations {
    encode_fh: Some(encode_fh),
    fh_to_dentry: Some(fh_to_dentry),
    fh_to_parent: Some(fh_to_parent),
    get_parent: Some(get_parent),
    commit_metadata: Some(commit_metadata),
    ..pin_init::zeroed()
};

/// Words of a handle for one inode: two of the number, one of the generation.
const WORDS: usize = 3;
const PLAIN: c_int = bindings::fid_type_FILEID_INO64_GEN as c_int;
const WITH_PARENT: c_int = bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int;

fn words(inode: &CoreInode) -> [u32; WORDS] {
    let ino = inode.ino();
    [ino as u32, (ino >> 32) as u32, inode.generation()]
}

/// # Safety
///
/// `fh` has room for `*max_len` words; both inodes are of a Bento mount, `parent` may be null.
unsafe extern "C" fn encode_fh(
    inode: *mut bindings::inode,
    fh: *mut u32,
    max_len: *mut c_int,
    parent: *mut bindings::inode,
) -> c_int {
    let (len, kind) = if parent.is_null() {
        (WORDS, PLAIN)
    } else {
        (2 * WORDS, WITH_PARENT)
    };
    // SAFETY: By this function's requirement.
    unsafe {
        let room = usize::try_from(*max_len).unwrap_or(0);
        *max_len = len as c_int;
        if room < len {
            return bindings::fid_type_FILEID_INVALID as c_int;
        }
        fh.cast::<[u32; WORDS]>()
            .write_unaligned(words(CoreInode::from_raw(inode)));
        if !parent.is_null() {
            fh.add(WORDS)
                .cast::<[u32; WORDS]>()
                .write_unaligned(words(CoreInode::from_raw(parent)));
        }
    }
    kind
}

/// A dentry for the inode that three words of a handle name.
///
/// # Safety
///
/// `sb` is a Bento mount's, `words` are valid.
unsafe fn decode(sb: *mut bindings::super_block, words: *const u32) -> *mut bindings::dentry {
    // SAFETY: By this function's requirement.
    let (sb, [low, high, generation]) = unsafe {
        (
            CoreSuper::from_raw(sb),
            words.cast::<[u32; WORDS]>().read_unaligned(),
        )
    };
    let ino = Ino::from(high) << 32 | Ino::from(low);
    let find = || {
        if ino == 0 {
            return Err(ESTALE);
        }
        let inode = iget::iget(sb, ino)?;
        if inode.generation() != generation || inode.nlink() == 0 {
            return Err(ESTALE);
        }
        Ok(inode)
    };
    match find() {
        // SAFETY: It takes the reference; neither gate nor handle is held.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(error) => error.to_ptr(),
    }
}

/// # Safety
///
/// `sb` is a Bento mount's, `fid` has `len` words.
unsafe extern "C" fn fh_to_dentry(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    if !matches!(kind, PLAIN | WITH_PARENT) || len < WORDS as c_int {
        return ptr::null_mut();
    }
    // SAFETY: By this function's requirement, and there are enough words.
    unsafe { decode(sb, fid.cast()) }
}

/// # Safety
///
/// As [`fh_to_dentry`].
unsafe extern "C" fn fh_to_parent(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    if kind != WITH_PARENT || len < 2 * WORDS as c_int {
        return ptr::null_mut();
    }
    // SAFETY: By this function's requirement, and there are enough words.
    unsafe { decode(sb, fid.cast::<u32>().add(WORDS)) }
}

/// # Safety
///
/// `child` is a directory of a Bento mount.
unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
    // SAFETY: By this function's requirement.
    let find = || unsafe {
        let dir = inode_of(child).ok_or(ESTALE)?;
        let sb = dir.core_super();
        let parent = sb.enter()?.parent(dir)?;
        iget::iget(sb, parent)
    };
    match find() {
        // SAFETY: It takes the reference; neither gate nor handle is held.
        Ok(parent) => unsafe { bindings::d_obtain_alias(parent.into_raw()) },
        Err(error) => error.to_ptr(),
    }
}

/// Brings the last change of an inode, or of the names in it, to the disk: the NFS server answers
/// then. Without this it would rely on `write_inode`, which does not commit.
///
/// # Safety
///
/// `inode` is a Bento mount's, and in use.
unsafe extern "C" fn commit_metadata(inode: *mut bindings::inode) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let core = unsafe { CoreInode::from_raw(inode) };
        let sb = core.core_super();
        // SAFETY: As above; neither gate nor handle is held.
        to_result(unsafe { bindings::sync_inode_metadata(inode, 1) })?;
        sb.journal()?.wait_for(sb, core.data.tid())?;
        // Stopped meanwhile, `write_inode` has stored nothing and said nothing.
        sb.check_writable().map_err(|_| EIO)?;
        Ok(0)
    })
}
