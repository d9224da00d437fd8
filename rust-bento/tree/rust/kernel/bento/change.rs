// SPDX-License-Identifier: GPL-2.0

//! Attributes that an operation changes, and that go back if it fails.

use super::{
    inode::{
        CoreInode,
        Unsettled, //
    },
    journal::Handle, //
};
use crate::{
    bindings,
    prelude::*, //
};

/// The most inodes that one operation changes: a rename's two directories, source, target and
/// whiteout.
const INODES: usize = 5;

/// What an inode had before.
struct Before<'a> {
    inode: &'a CoreInode,
    mtime: bindings::timespec64,
    ctime: bindings::timespec64,
    nlink: u32,
    /// Whether this operation changes the link count. Else it is not the caller's: a directory that
    /// is renamed inside its parent is not locked, and others make subdirectories in it meanwhile.
    links: bool,
}

/// Changes of an operation's inodes, undone when dropped.
pub(super) struct Changes<'a> {
    handle: usize,
    before: [Option<Before<'a>>; INODES],
}

impl<'a> Changes<'a> {
    /// No changes yet, of the operation that holds `handle`.
    pub(super) fn new(handle: &Handle<'_>) -> Self {
        Self {
            handle: handle.id(),
            before: [const { None }; INODES],
        }
    }

    /// Remembers what `inode` has, the first time it is changed.
    fn remember(&mut self, inode: &'a CoreInode) {
        for place in &mut self.before {
            match place {
                Some(before) if core::ptr::eq(before.inode, inode) => return,
                Some(_) => (),
                None => {
                    // SAFETY: The inode is valid, and the caller holds it.
                    *place = Some(unsafe {
                        Before {
                            inode,
                            mtime: bindings::inode_get_mtime(inode.raw()),
                            ctime: bindings::inode_get_ctime(inode.raw()),
                            nlink: inode.nlink(),
                            links: false,
                        }
                    });
                    return;
                }
            }
        }
    }

    /// Remembers what `inode` has, before its link count is changed.
    fn remember_links(&mut self, inode: &'a CoreInode) {
        self.remember(inode);
        for before in self.before.iter_mut().flatten() {
            if core::ptr::eq(before.inode, inode) && !before.links {
                before.nlink = inode.nlink();
                before.links = true;
                *inode.lock_record() = Some(Unsettled {
                    handle: self.handle,
                    nlink: before.nlink,
                });
            }
        }
    }

    /// The attributes of `inode` change: its ctime is now.
    pub(super) fn touch(&mut self, inode: &'a CoreInode) {
        self.remember(inode);
        // SAFETY: The inode is valid, and the caller holds it.
        unsafe {
            bindings::inode_set_ctime_current(inode.raw());
            bindings::inode_inc_iversion(inode.raw());
        }
    }

    /// The content of `dir` changes: its mtime and ctime are now.
    pub(super) fn modify(&mut self, dir: &'a CoreInode) {
        self.remember(dir);
        // SAFETY: As in `touch`.
        unsafe {
            let now = bindings::inode_set_ctime_current(dir.raw());
            bindings::inode_set_mtime_to_ts(dir.raw(), now);
            bindings::inode_inc_iversion(dir.raw());
        }
    }

    /// One link more.
    pub(super) fn add_link(&mut self, inode: &'a CoreInode) {
        self.remember_links(inode);
        // SAFETY: As in `touch`. Unlike `inc_nlink` it does not mind an inode without links.
        unsafe { bindings::set_nlink(inode.raw(), inode.nlink().saturating_add(1)) };
    }

    /// One link less.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if there is none.
    pub(super) fn drop_link(&mut self, inode: &'a CoreInode) -> Result {
        self.drop_link_above(inode, 0)
    }

    /// One subdirectory of `dir` less.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it has none, by its link count.
    pub(super) fn drop_subdirectory(&mut self, dir: &'a CoreInode) -> Result {
        self.drop_link_above(dir, 2)
    }

    fn drop_link_above(&mut self, inode: &'a CoreInode, least: u32) -> Result {
        if inode.nlink() <= least {
            return Err(inode.core_super().volume().corrupt(fmt!(
                "inode {} has {} links, which are too few",
                inode.ino(),
                inode.nlink()
            )));
        }
        self.remember_links(inode);
        // SAFETY: As in `touch`; there is a link to drop.
        unsafe { bindings::drop_nlink(inode.raw()) };
        Ok(())
    }

    /// The directory `inode`, which is in `parent`, loses all links.
    pub(super) fn drop_directory(&mut self, inode: &'a CoreInode, parent: &'a CoreInode) -> Result {
        self.drop_subdirectory(parent)?;
        self.remember_links(inode);
        // SAFETY: As in `touch`.
        unsafe { bindings::clear_nlink(inode.raw()) };
        Ok(())
    }

    /// The operation has succeeded.
    pub(super) fn keep(mut self) {
        self.settle();
        for place in &mut self.before {
            *place = None;
        }
    }

    /// The link counts are what they are from here on, for all who store them.
    fn settle(&self) {
        for before in self.before.iter().flatten().filter(|before| before.links) {
            *before.inode.lock_record() = None;
        }
    }
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        for before in self.before.iter().flatten() {
            let inode = before.inode.raw();
            // SAFETY: As in `touch`.
            unsafe {
                bindings::inode_set_mtime_to_ts(inode, before.mtime);
                bindings::inode_set_ctime_to_ts(inode, before.ctime);
                if before.links && before.inode.nlink() != before.nlink {
                    bindings::set_nlink(inode, before.nlink);
                }
            }
        }
        self.settle();
        for before in self.before.iter().flatten() {
            let dirty = bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int;
            // The flusher may have stored, in this very transaction, times that are undone here.
            // SAFETY: As in `touch`.
            unsafe { bindings::__mark_inode_dirty(before.inode.raw(), dirty) };
        }
    }
}
