// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, and making and removing inodes by them. Renaming is in [`rename`].
//!
//! The VFS holds the directories, has checked permissions, and has a dentry for the name. The core
//! starts a transaction, sets the attributes that change, then calls the file system; if that
//! fails, the attributes go back to what they were. Write-back and fsync may store an inode's
//! record at any moment, and a link count must not be on disk without the change of names: so it is
//! never set before the transaction, and others store the old count until the operation itself has
//! stored the new one (see [`Unsettled`](super::inode::Unsettled)).

use super::{
    attr,
    change::Changes,
    dir,
    entered::Entered,
    iget::{
        self,
        Blank,
        Newborn, //
    },
    inode::CoreInode,
    journal::{
        with_handle,
        Handle, //
    },
    rename,
    super_block::CoreSuper,
    symlink,
    Credits,
    Kind,
    Name,
    NewInode, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*,
    str::CStr, //
};
use core::ptr;

/// Inode operations of a directory.
pub(super) static DIR_INODE_OPS: bindings::inode_operations = bindings::inode_operations {
    lookup: Some(lookup),
    create: Some(create),
    link: Some(link),
    unlink: Some(unlink),
    symlink: Some(symlink),
    mkdir: Some(mkdir),
    rmdir: Some(rmdir),
    mknod: Some(mknod),
    rename: Some(rename::rename),
    tmpfile: Some(tmpfile),
    getattr: Some(attr::getattr),
    setattr: Some(attr::setattr),
    fileattr_get: Some(attr::fileattr_get),
    fileattr_set: Some(attr::fileattr_set),
    ..pin_init::zeroed()
};

/// How often an operation is tried again when it finds no space, with a commit before each try.
const SPACE_RETRIES: usize = 3;

/// The name that a dentry is for.
///
/// # Safety
///
/// The dentry is valid and cannot be renamed during `'a`.
pub(super) unsafe fn name_of<'a>(dentry: *mut bindings::dentry) -> Result<Name<'a>> {
    let mut len = 0;
    // SAFETY: By this function's requirement.
    let bytes = unsafe {
        let name = bindings::bento_dentry_name(dentry, &mut len);
        core::slice::from_raw_parts(name.cast::<u8>(), len as usize)
    };
    Name::new(bytes)
}

/// The inode that a dentry is for.
///
/// # Safety
///
/// The dentry is valid, and does not become negative during `'a`.
pub(super) unsafe fn inode_of<'a>(dentry: *mut bindings::dentry) -> Option<&'a CoreInode> {
    // SAFETY: By this function's requirement.
    unsafe {
        let inode = (*dentry).d_inode;
        (!inode.is_null()).then(|| CoreInode::from_raw(inode))
    }
}

/// Runs an operation in a handle. What it frees (blocks of a directory that shrinks) it also
/// changes the parents of, so it revokes no more blocks than it has credits for. `needs` says which
/// credits it takes.
///
/// If there is no space, blocks that were freed may be waiting for a
/// commit: commits, and tries again.
pub(super) fn transact<R>(
    dir: &CoreInode,
    needs: impl Fn(&Credits) -> u32,
    operation: impl FnMut(&Entered<'_>, &Handle<'_>) -> Result<R>,
) -> Result<R> {
    transact_in([dir, dir], needs, operation)
}

/// As [`transact`], where names may change in two directories: either may ask that this is on disk
/// at the end.
pub(super) fn transact_in<R>(
    dirs: [&CoreInode; 2],
    needs: impl Fn(&Credits) -> u32,
    mut operation: impl FnMut(&Entered<'_>, &Handle<'_>) -> Result<R>,
) -> Result<R> {
    let [dir, _] = dirs;
    let sb: &CoreSuper = dir.core_super();
    let sync = dirs.iter().any(|dir| {
        // SAFETY: The inode is valid.
        unsafe { bindings::bento_is_dirsync(dir.raw()) }
    });
    let mut tries = 0;
    loop {
        let both = |credits: &Credits| (needs(credits), needs(credits));
        let result = with_handle(sb, both, |entered, handle| {
            if sync {
                handle.set_sync();
            }
            operation(entered, handle)
        });
        match result {
            Err(error)
                if error == ENOSPC && tries < SPACE_RETRIES && sb.space().uncommitted() > 0 =>
            {
                tries += 1;
                sb.journal()?.commit(true)?;
            }
            result => return result,
        }
    }
}

/// # Safety
///
/// The VFS holds `dir`, at least shared; `dentry` is being looked up.
unsafe extern "C" fn lookup(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> *mut bindings::dentry {
    // SAFETY: By this function's requirement.
    match unsafe { find(CoreInode::from_raw(dir), dentry) } {
        // SAFETY: As above; nothing is held but what the VFS holds. It takes the reference.
        Ok(inode) => unsafe { bindings::d_splice_alias(inode, dentry) },
        Err(error) => error.to_ptr(),
    }
}

/// # Safety
///
/// As [`lookup`].
unsafe fn find(dir: &CoreInode, dentry: *mut bindings::dentry) -> Result<*mut bindings::inode> {
    // SAFETY: By this function's requirement.
    let name = unsafe { name_of(dentry) }?;
    let sb = dir.core_super();
    let found = sb.enter()?.lookup(dir, name)?;
    let Some(ino) = found else {
        return Ok(ptr::null_mut());
    };
    let damaged = || {
        sb.volume().corrupt(fmt!(
            "directory {} names inode {ino}, which is not in use",
            dir.ino()
        ))
    };
    let inode = iget::iget(sb, ino).map_err(|error| match error {
        error if error == ESTALE => damaged(),
        error => error,
    })?;
    if inode.nlink() == 0 {
        return Err(damaged());
    }
    Ok(inode.into_raw())
}

/// Makes an inode with a name, in memory and on disk.
///
/// # Safety
///
/// As for [`create`].
unsafe fn make<'a>(
    idmap: *mut bindings::mnt_idmap,
    dir: &'a CoreInode,
    dentry: *mut bindings::dentry,
    blank: Blank,
    target: &[u8],
) -> Result<Newborn<'a>> {
    // SAFETY: By this function's requirement.
    let name = unsafe { name_of(dentry) }?;
    // SAFETY: As above.
    let inode = unsafe { iget::new_inode(idmap, dir, &blank) }?;
    if !target.is_empty() {
        symlink::keep(&inode, target)?;
    }
    let new = NewInode {
        name: Some(name),
        target,
    };
    transact(
        dir,
        |credits| credits.create,
        |entered, handle| {
            let mut changes = Changes::new(handle);
            changes.modify(dir);
            if inode.kind() == Kind::Directory {
                changes.add_link(dir);
            }
            // SAFETY: Nobody else uses the new inode.
            unsafe { entered.create(handle, dir, &inode, &new) }?;
            changes.keep();
            Ok(())
        },
    )?;
    Ok(inode)
}

/// # Safety
///
/// The VFS holds `dir`; `dentry` is negative and in it; `idmap` is that of the mount.
unsafe extern "C" fn create(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> c_int {
    // SAFETY: By this function's requirement.
    unsafe { mknod(idmap, dir, dentry, mode, 0) }
}

/// # Safety
///
/// As [`create`].
unsafe extern "C" fn mknod(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    device: bindings::dev_t,
) -> c_int {
    let blank = Blank {
        mode,
        device,
        nlink: 1,
        size: 0,
    };
    from_result(|| {
        // SAFETY: By this function's requirement.
        unsafe {
            let dir = CoreInode::from_raw(dir);
            make(idmap, dir, dentry, blank, &[])?.instantiate(dentry);
        }
        Ok(0)
    })
}

/// # Safety
///
/// As [`create`].
unsafe extern "C" fn mkdir(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> *mut bindings::dentry {
    let blank = Blank {
        mode: mode | bindings::S_IFDIR as u16,
        device: 0,
        nlink: 2,
        size: 0,
    };
    // SAFETY: By this function's requirement.
    match unsafe { make(idmap, CoreInode::from_raw(dir), dentry, blank, &[]) } {
        Ok(inode) => {
            // SAFETY: As above.
            unsafe { inode.instantiate(dentry) };
            ptr::null_mut()
        }
        Err(error) => error.to_ptr(),
    }
}

/// # Safety
///
/// As [`create`]; `target` is a string.
unsafe extern "C" fn symlink(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    target: *const c_char,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let target = unsafe { CStr::from_char_ptr(target) }.to_bytes();
        if target.len() >= symlink::PATH_MAX {
            return Err(ENAMETOOLONG);
        }
        if target.is_empty() {
            return Err(ENOENT);
        }
        let blank = Blank {
            mode: bindings::S_IFLNK as u16 | 0o777,
            device: 0,
            nlink: 1,
            size: target.len() as u64,
        };
        // SAFETY: By this function's requirement.
        unsafe {
            let dir = CoreInode::from_raw(dir);
            make(idmap, dir, dentry, blank, target)?.instantiate(dentry);
        }
        Ok(0)
    })
}

/// Makes an inode without a name, an orphan on disk.
///
/// # Safety
///
/// The VFS holds `dir`, or it is being renamed in; `idmap` is that of the mount.
pub(super) unsafe fn make_nameless<'a>(
    idmap: *mut bindings::mnt_idmap,
    dir: &'a CoreInode,
    mode: u16,
) -> Result<Newborn<'a>> {
    let blank = Blank {
        mode,
        device: 0,
        nlink: 0,
        size: 0,
    };
    // SAFETY: By this function's requirement.
    let inode = unsafe { iget::new_inode(idmap, dir, &blank) }?;
    let new = NewInode {
        name: None,
        target: &[],
    };
    transact(
        dir,
        |credits| credits.create,
        |entered, handle| {
            // SAFETY: Nobody else uses the new inode.
            unsafe { entered.create(handle, dir, &inode, &new) }
        },
    )?;
    Ok(inode)
}

/// # Safety
///
/// `file` is being opened, with a dentry of its own; `idmap` is that of the mount.
unsafe extern "C" fn tmpfile(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    file: *mut bindings::file,
    mode: bindings::umode_t,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        unsafe {
            let dir = CoreInode::from_raw(dir);
            make_nameless(idmap, dir, mode)?.instantiate_tmpfile(file);
            Ok(bindings::finish_open_simple(file, 0))
        }
    })
}

/// # Safety
///
/// The VFS holds `dir` and the inode of `old`; `dentry` is negative and in `dir`.
unsafe extern "C" fn link(
    old: *mut bindings::dentry,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let (dir, name, inode) = unsafe {
            (
                CoreInode::from_raw(dir),
                name_of(dentry)?,
                inode_of(old).ok_or(ENOENT)?,
            )
        };
        transact(
            dir,
            |credits| credits.link,
            |entered, handle| {
                let mut changes = Changes::new(handle);
                changes.modify(dir);
                changes.touch(inode);
                changes.add_link(inode);
                entered.link(handle, dir, inode, name)?;
                changes.keep();
                Ok(())
            },
        )?;
        // SAFETY: As above; `d_instantiate` takes the new reference.
        unsafe {
            bindings::ihold(inode.raw());
            bindings::d_instantiate(dentry, inode.raw());
        }
        Ok(0)
    })
}

/// # Safety
///
/// The VFS holds `dir` and the inode of `dentry`, which is in it.
unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let (dir, name, inode) = unsafe {
            (
                CoreInode::from_raw(dir),
                name_of(dentry)?,
                inode_of(dentry).ok_or(ENOENT)?,
            )
        };
        transact(
            dir,
            |credits| credits.unlink,
            |entered, handle| {
                let mut changes = Changes::new(handle);
                changes.modify(dir);
                changes.touch(inode);
                changes.drop_link(inode)?;
                entered.unlink(handle, dir, inode, name)?;
                changes.keep();
                Ok(())
            },
        )?;
        Ok(0)
    })
}

/// Whether a directory may go away.
///
/// # Errors
///
/// `ENOTEMPTY` if it has entries.
pub(super) fn check_empty(dir: &CoreInode) -> Result {
    if dir::is_empty(dir)? {
        Ok(())
    } else {
        Err(ENOTEMPTY)
    }
}

/// # Safety
///
/// As [`unlink`].
unsafe extern "C" fn rmdir(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let (dir, name, inode) = unsafe {
            (
                CoreInode::from_raw(dir),
                name_of(dentry)?,
                inode_of(dentry).ok_or(ENOENT)?,
            )
        };
        check_empty(inode)?;
        transact(
            dir,
            |credits| credits.unlink,
            |entered, handle| {
                let mut changes = Changes::new(handle);
                changes.modify(dir);
                changes.touch(inode);
                changes.drop_directory(inode, dir)?;
                entered.unlink(handle, dir, inode, name)?;
                changes.keep();
                Ok(())
            },
        )?;
        Ok(0)
    })
}
