// SPDX-License-Identifier: GPL-2.0

//! An inode as a file system sees it, and the data that the file system caches in it.
//!
//! The data lies in the core's inode, tagged with the generation of the version that wrote it. It
//! is plain data: a new version never runs or frees anything of its predecessor's, it only writes
//! its own over it, when it first meets the inode.

use super::{
    inode::CoreInode,
    Attributes,
    Ino,
    Kind, //
};
use crate::types::NotThreadSafe;
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
};

/// A borrowed inode whose cached data is a `T`.
///
/// A file system gets these as arguments and owns none: they end with the call.
///
/// # Invariants
///
/// While `core` is attached, its node area holds a `T`.
pub struct Inode<'a, T: Copy> {
    core: &'a CoreInode,
    _node: PhantomData<fn() -> T>,
}

impl<T: Copy> Clone for Inode<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Inode<'_, T> {}

impl<'a, T: Copy> Inode<'a, T> {
    /// The view of `core`.
    ///
    /// # Safety
    ///
    /// If the inode is attached, or becomes attached during `'a`, its node area holds a `T`.
    pub(super) unsafe fn new(core: &'a CoreInode) -> Self {
        // INVARIANT: By this function's requirement.
        Self {
            core,
            _node: PhantomData,
        }
    }

    /// The core's inode.
    pub(super) fn core(&self) -> &'a CoreInode {
        self.core
    }

    /// The inode's number.
    pub fn ino(&self) -> Ino {
        self.core.ino()
    }

    /// What the inode is.
    pub fn kind(&self) -> Kind {
        self.core.kind()
    }

    /// What tells this use of the number from others.
    pub fn generation(&self) -> u32 {
        self.core.generation()
    }

    /// The size in bytes. For a regular file it may run ahead of what is on disk, see
    /// [`Attributes::size`].
    pub fn size(&self) -> u64 {
        self.core.size()
    }

    /// The number of links.
    pub fn nlink(&self) -> u32 {
        self.core.nlink()
    }

    /// All attributes, as they would be stored now.
    pub fn attributes(&self) -> Attributes {
        self.core.attributes()
    }

    /// Counts `blocks` blocks more (or less) as space that the inode uses.
    ///
    /// The count ends at zero. That the inode counts what is to be freed is for the file system to
    /// check, before it stores anything: the count came from a record that may be damaged.
    pub fn add_blocks(&self, blocks: i64) {
        self.core.add_blocks(blocks);
    }

    /// Sets the size in bytes of a directory or a symbolic link. Does nothing to a regular file,
    /// whose size is the core's.
    pub fn set_size(&self, size: u64) {
        if self.kind() != Kind::Regular {
            self.core.set_size(size);
        }
    }

    /// Shared access to the cached data. Sleeps while someone has exclusive access.
    ///
    /// A task holds one guard at a time.
    ///
    /// # Panics
    ///
    /// If the inode has no cached data yet: in `create` for the inode that is made, and in
    /// `attach`.
    pub fn read(&self) -> ReadGuard<'a, T> {
        // INVARIANT: The lock is taken; the inode is attached, so the area holds a `T`.
        self.core.lock_node_shared();
        ReadGuard {
            core: self.core,
            _node: PhantomData,
            _task: NotThreadSafe,
        }
    }

    /// Exclusive access to the cached data. Sleeps while someone else has access.
    ///
    /// A task holds one guard at a time.
    ///
    /// # Panics
    ///
    /// As [`Inode::read`].
    pub fn write(&self) -> WriteGuard<'a, T> {
        // INVARIANT: The lock is taken; the inode is attached, so the area holds a `T`.
        self.core.lock_node_exclusive();
        WriteGuard {
            core: self.core,
            _node: PhantomData,
            _task: NotThreadSafe,
        }
    }
}

/// Shared access to an inode's cached data.
///
/// # Invariants
///
/// The node lock is held shared, and the node area holds a `T`.
#[must_use = "the lock is released at once when the guard is dropped"]
pub struct ReadGuard<'a, T: Copy> {
    core: &'a CoreInode,
    _node: PhantomData<fn() -> T>,
    _task: NotThreadSafe,
}

impl<T: Copy> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant the area holds a `T` that nobody writes meanwhile.
        unsafe { &*self.core.node_area().cast::<T>() }
    }
}

impl<T: Copy> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is held shared.
        unsafe { self.core.unlock_node_shared() };
    }
}

/// Exclusive access to an inode's cached data.
///
/// # Invariants
///
/// The node lock is held exclusively, and the node area holds a `T`.
#[must_use = "the lock is released at once when the guard is dropped"]
pub struct WriteGuard<'a, T: Copy> {
    core: &'a CoreInode,
    _node: PhantomData<fn() -> T>,
    _task: NotThreadSafe,
}

impl<T: Copy> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant the area holds a `T` that nobody else uses meanwhile.
        unsafe { &*self.core.node_area().cast::<T>() }
    }
}

impl<T: Copy> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant the area holds a `T` that nobody else uses meanwhile.
        unsafe { &mut *self.core.node_area().cast::<T>() }
    }
}

impl<T: Copy> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is held exclusively.
        unsafe { self.core.unlock_node_exclusive() };
    }
}
