// SPDX-License-Identifier: GPL-2.0

//! Inodes come into memory here: those that are read, and those that are made.
//!
//! While an inode is `I_NEW` others wait for it, outside the gate. So a [`NewInode`] is dealt with
//! outside, and the gate is entered only to read or write what is on disk.

use super::{
    attr,
    claims::ClaimScope,
    data,
    dir,
    file,
    inode::{
        time,
        CoreInode, //
    },
    namei,
    super_block::CoreSuper,
    symlink,
    Attributes,
    Ino,
    Kind, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

/// A reference to an inode.
///
/// # Invariants
///
/// A reference count of the inode is held.
pub(super) struct InodeRef(NonNull<bindings::inode>);

impl InodeRef {
    /// Takes over a reference count.
    ///
    /// # Safety
    ///
    /// `inode` is a Bento mount's, and the caller gives away a reference count.
    unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: By this function's requirement.
        Self(inode)
    }

    /// Gives the reference count away.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Deref for InodeRef {
    type Target = CoreInode;

    fn deref(&self) -> &CoreInode {
        // SAFETY: By the type invariant it is not freed.
        unsafe { CoreInode::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for InodeRef {
    fn drop(&mut self) {
        self.core_super().assert_outside();
        // SAFETY: By the type invariant. Callers hold neither gate nor handle.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// An inode that is `I_NEW`: in the hash, and others wait for it. When dropped it goes away again.
///
/// # Invariants
///
/// The inode is `I_NEW`, and this is its only user.
pub(super) struct NewInode(ManuallyDrop<InodeRef>);

impl Deref for NewInode {
    type Target = CoreInode;

    fn deref(&self) -> &CoreInode {
        &self.0
    }
}

impl NewInode {
    /// Fills in `struct inode`, and what the kind of inode needs.
    fn fill(&self, attributes: &Attributes) {
        // SAFETY: By the type invariant nobody else uses it.
        unsafe { self.set_attributes(attributes) };
        self.set_up(attributes.rdev);
    }

    /// Sets the operations that go with the kind of the inode.
    fn set_up(&self, rdev: u32) {
        let inode = self.raw();
        // SAFETY: By the type invariant nobody else uses it. All tables are static in the core.
        unsafe {
            // There are none, and who looks up a path need not ask each time.
            bindings::cache_no_acl(inode);
            match self.kind() {
                Kind::Regular => {
                    (*inode).i_op = &attr::FILE_INODE_OPS;
                    bindings::bento_set_file_ops(inode, &*file::FILE_OPS);
                }
                Kind::Directory => {
                    (*inode).i_op = &namei::DIR_INODE_OPS;
                    bindings::bento_set_file_ops(inode, &*dir::DIR_OPS);
                }
                Kind::Symlink => {
                    (*inode).i_op = &symlink::SYMLINK_INODE_OPS;
                    bindings::inode_nohighmem(inode);
                }
                Kind::Fifo | Kind::CharDevice | Kind::BlockDevice | Kind::Socket => {
                    (*inode).i_op = &attr::SPECIAL_INODE_OPS;
                    bindings::init_special_inode(
                        inode,
                        (*inode).i_mode,
                        bindings::new_decode_dev(rdev),
                    );
                }
            }
        }
        data::init_inode(self);
    }

    /// Lets others use the inode.
    fn unlock(self) -> InodeRef {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant it is `I_NEW`.
        unsafe { bindings::unlock_new_inode(this.raw()) };
        // SAFETY: `this` is not used again.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl Drop for NewInode {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is `I_NEW`; this marks it bad, takes it out of the hash,
        // wakes who waits and puts the reference.
        unsafe { bindings::iget_failed(self.raw()) };
    }
}

/// The inode of the number, from memory or from disk. Outside of gate and handle.
///
/// # Errors
///
/// `ESTALE` if no inode of this number is in use, or it is only being made; `EUCLEAN` if it makes
/// no sense.
pub(super) fn iget(sb: &CoreSuper, ino: Ino) -> Result<InodeRef> {
    sb.assert_outside();
    let inode = iget_locked(sb, ino)?;
    // SAFETY: The inode is valid.
    if !unsafe { bindings::bento_inode_is_new(inode.raw()) } {
        // SAFETY: As above.
        if unsafe { bindings::is_bad_inode(inode.raw()) } {
            return Err(EIO);
        }
        return Ok(inode);
    }
    // INVARIANT: `iget_locked` says so.
    let inode = NewInode(ManuallyDrop::new(inode));
    // SAFETY: Nobody else uses it.
    let attributes = unsafe { sb.enter()?.read_inode(&inode) }?;
    check(sb, ino, &attributes)?;
    inode.fill(&attributes);
    // An orphan may have lost its target already: nobody follows it.
    if inode.kind() == Kind::Symlink && inode.nlink() != 0 {
        symlink::read(&inode)?;
    }
    Ok(inode.unlock())
}

/// The inode of the number in memory, which is `I_NEW` if it was not there before.
///
/// # Errors
///
/// `ESTALE` if the inode is being made, `ENOMEM`.
fn iget_locked(sb: &CoreSuper, ino: Ino) -> Result<InodeRef> {
    // NULL means that memory is short or that the inode is being made. As long as it is made its
    // number is claimed. If a claim has ended meanwhile, it may have been this one.
    let mut ended = sb.space().ino_claim(ino).1;
    let inode = loop {
        // SAFETY: The super block is live.
        if let Some(inode) = NonNull::new(unsafe { bindings::iget_locked(sb.raw(), ino) }) {
            break inode;
        }
        match sb.space().ino_claim(ino) {
            (true, _) => return Err(ESTALE),
            (false, now) if now == ended => return Err(ENOMEM),
            (false, now) => ended = now,
        }
    };
    // SAFETY: `iget_locked` gives a reference.
    Ok(unsafe { InodeRef::from_raw(inode) })
}

/// Whether attributes that came from disk make sense.
fn check(sb: &CoreSuper, ino: Ino, attributes: &Attributes) -> Result {
    let times = [
        attributes.atime,
        attributes.mtime,
        attributes.ctime,
        attributes.btime,
    ];
    let wrong = if Kind::from_mode(attributes.mode).is_none() {
        "mode"
    } else if attributes.size > sb.info()?.max_file_size {
        "size"
    } else if times.iter().any(|time| time.nsec >= 1_000_000_000) {
        "time"
    } else {
        return Ok(());
    };
    Err(sb
        .volume()
        .corrupt(fmt!("inode {ino} has an impossible {wrong}")))
}

/// What a new inode is to be.
pub(super) struct Blank {
    /// Type and permissions; the umask has been applied.
    pub(super) mode: u16,
    /// The device of a device node.
    pub(super) device: bindings::dev_t,
    /// The first number of links.
    pub(super) nlink: u32,
    /// The first size.
    pub(super) size: u64,
}

/// The number of a new inode. Goes back if the inode does not come to be.
struct ClaimedIno<'a> {
    sb: &'a CoreSuper,
    ino: Ino,
}

impl ClaimedIno<'_> {
    /// The inode is on disk.
    fn take(self) {
        let this = ManuallyDrop::new(self);
        this.sb.space().take_ino(this.ino);
    }
}

impl Drop for ClaimedIno<'_> {
    fn drop(&mut self) {
        self.sb.space().unclaim_ino(self.ino);
    }
}

/// An inode that is being made: in memory, `I_NEW`, and not on disk yet. If nothing comes of it,
/// dropping it lets it go, and then its number. The number is claimed until the inode is no longer
/// `I_NEW`: see [`iget_locked`].
pub(super) struct Newborn<'a> {
    // In this order: the number is free only after the inode has left the hash.
    inode: NewInode,
    claimed: ClaimedIno<'a>,
}

impl Deref for Newborn<'_> {
    type Target = CoreInode;

    fn deref(&self) -> &CoreInode {
        &self.inode
    }
}

impl Newborn<'_> {
    /// The inode is on disk: lets others use it.
    pub(super) fn unlock(self) -> InodeRef {
        let inode = self.inode.unlock();
        self.claimed.take();
        inode
    }

    /// The inode is on disk: lets others use it, by the name that `dentry` is for.
    ///
    /// # Safety
    ///
    /// `dentry` is negative, and the caller holds its directory.
    pub(super) unsafe fn instantiate(self, dentry: *mut bindings::dentry) {
        let inode = ManuallyDrop::new(self.inode);
        // SAFETY: The inode is `I_NEW`, and by this function's requirement. It takes the reference.
        unsafe { bindings::d_instantiate_new(dentry, inode.raw()) };
        self.claimed.take();
    }

    /// The inode is on disk, without a name: lets others use it, by the file that is being opened.
    ///
    /// # Safety
    ///
    /// `->tmpfile` was called for `file`.
    pub(super) unsafe fn instantiate_tmpfile(self, file: *mut bindings::file) {
        let inode = ManuallyDrop::new(self.inode);
        // SAFETY: By this function's requirement its dentry is negative and nobody else's. It takes
        // the reference.
        unsafe {
            bindings::d_mark_tmpfile(file, inode.raw());
            bindings::d_instantiate(bindings::bento_file_dentry(file), inode.raw());
            bindings::unlock_new_inode(inode.raw());
        }
        self.claimed.take();
    }
}

/// Claims a number for a new inode in `dir`.
fn claim_ino(dir: &CoreInode, kind: Kind) -> Result<ClaimedIno<'_>> {
    let sb = dir.core_super();
    let scope = ClaimScope::free(sb);
    let claims = scope.claims();
    let mut ino = sb.enter()?.alloc_inode(&claims, dir, kind);
    if ino.as_ref().err() == Some(&ENOSPC) && sb.space().uncommitted() > 0 {
        // Blocks that were freed may be waiting for a commit.
        sb.journal()?.commit(true)?;
        ino = sb.enter()?.alloc_inode(&claims, dir, kind);
    }
    Ok(ClaimedIno { sb, ino: ino? })
}

/// A new inode in `dir`, in memory only. Outside of gate and handle.
///
/// # Safety
///
/// `idmap` is that of the mount that `dir` was reached by; the caller holds `dir`.
pub(super) unsafe fn new_inode<'a>(
    idmap: *mut bindings::mnt_idmap,
    dir: &'a CoreInode,
    blank: &Blank,
) -> Result<Newborn<'a>> {
    let sb = dir.core_super();
    sb.assert_outside();
    let kind = Kind::from_mode(blank.mode).ok_or(EINVAL)?;
    let claimed = claim_ino(dir, kind)?;

    // SAFETY: The super block is live.
    let inode = NonNull::new(unsafe { bindings::new_inode(sb.raw()) }).ok_or(ENOMEM)?;
    // SAFETY: `new_inode` gives a reference.
    let inode = unsafe { InodeRef::from_raw(inode) };
    let raw = inode.raw();
    // SAFETY: Nobody else knows the inode; the rest is by this function's requirement.
    let now = unsafe {
        (*raw).i_ino = claimed.ino;
        bindings::inode_init_owner(idmap, raw, dir.raw(), blank.mode);
        bindings::set_nlink(raw, blank.nlink);
        (*raw).i_generation = bindings::get_random_u32();
        (*raw).i_blocks = 0;
        bindings::inode_set_iversion_queried(raw, 1);
        bindings::simple_inode_init_ts(raw)
    };
    // SAFETY: As above.
    unsafe { inode.set_btime(time(now)) };
    inode.set_size(blank.size);
    inode.set_flags(dir.flags() & attr::INHERITED_FLAGS);
    // SAFETY: As above.
    if let Err(error) = to_result(unsafe { bindings::insert_inode_locked(raw) }) {
        // Nothing of it is on disk: a bad inode is not freed there.
        // SAFETY: As above.
        unsafe { bindings::make_bad_inode(raw) };
        if error == EBUSY {
            return Err(sb
                .volume()
                .corrupt(fmt!("inode {} is marked free, and in use", claimed.ino)));
        }
        return Err(error);
    }
    // INVARIANT: `insert_inode_locked` makes it so.
    let inode = NewInode(ManuallyDrop::new(inode));
    // SAFETY: This is pure arithmetic.
    inode.set_up(unsafe { bindings::new_encode_dev(blank.device) });
    Ok(Newborn { inode, claimed })
}
