// SPDX-License-Identifier: GPL-2.0

//! Inodes: what the core keeps of each, and the borrowed view that a file system gets.

use super::{
    Attributes,
    Ino,
    Kind, //
};
use core::{
    cell::Cell,
    ops::{
        Deref,
        DerefMut, //
    },
};
use std::sync::{
    Mutex,
    MutexGuard,
    PoisonError,
    RwLock,
    RwLockReadGuard,
    RwLockWriteGuard, //
};

/// What both the core and a file system know of an inode in memory.
pub(crate) struct InodeCore<T> {
    ino: Ino,
    kind: Kind,
    generation: u32,
    /// The kernel core's spinlock: held for moments, also while a record is encoded.
    attributes: Mutex<Attributes>,
    /// [`None`] until the file system made it.
    node: RwLock<Option<T>>,
}

impl<T> InodeCore<T> {
    pub(crate) fn new(ino: Ino, kind: Kind, attributes: Attributes, node: Option<T>) -> Self {
        Self {
            ino,
            kind,
            generation: attributes.generation,
            attributes: Mutex::new(attributes),
            node: RwLock::new(node),
        }
    }

    pub(crate) fn ino(&self) -> Ino {
        self.ino
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn attributes(&self) -> MutexGuard<'_, Attributes> {
        self.attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_node(&self, node: T) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }
}

/// A borrowed inode whose cached data is a `T`.
pub struct Inode<'a, T: Copy>(&'a InodeCore<T>);

impl<T: Copy> Clone for Inode<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Inode<'_, T> {}

impl<'a, T: Copy> Inode<'a, T> {
    pub(crate) fn new(core: &'a InodeCore<T>) -> Self {
        Self(core)
    }

    /// Its number.
    pub fn ino(&self) -> Ino {
        self.0.ino
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its generation.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// Its on-disk size in bytes.
    pub fn size(&self) -> u64 {
        self.0.attributes().size
    }

    /// Its link count.
    pub fn nlink(&self) -> u32 {
        self.0.attributes().nlink
    }

    /// Its attributes, as they are now.
    pub fn attributes(&self) -> Attributes {
        *self.0.attributes()
    }

    /// Its cached data, shared. One guard at a time per task.
    ///
    /// # Panics
    ///
    /// If the task has a guard already, or the inode has no data yet (in
    /// [`FileSystem::create`](super::FileSystem::create) the new one): a bug of the file system.
    pub fn read(&self) -> ReadGuard<'a, T> {
        let held = Held::new();
        let guard = self.0.node.read().unwrap_or_else(PoisonError::into_inner);
        assert!(guard.is_some(), "inode {} has no data yet", self.0.ino);
        ReadGuard { guard, _held: held }
    }

    /// Its cached data, exclusive. One guard at a time per task.
    ///
    /// # Panics
    ///
    /// As [`Inode::read`].
    pub fn write(&self) -> WriteGuard<'a, T> {
        let held = Held::new();
        let guard = self.0.node.write().unwrap_or_else(PoisonError::into_inner);
        assert!(guard.is_some(), "inode {} has no data yet", self.0.ino);
        WriteGuard { guard, _held: held }
    }

    /// Changes the space it uses, by this many blocks: to none at the least.
    pub fn add_blocks(&self, blocks: i64) {
        let mut attributes = self.0.attributes();
        attributes.sectors = attributes
            .sectors
            .saturating_add_signed(blocks.saturating_mul(8));
    }

    /// Sets the size of a directory or a symbolic link.
    pub fn set_size(&self, size: u64) {
        debug_assert!(matches!(self.0.kind, Kind::Directory | Kind::Symlink));
        self.0.attributes().size = size;
    }

    pub(crate) fn core(&self) -> &'a InodeCore<T> {
        self.0
    }
}

thread_local! {
    static GUARDS: Cell<u32> = const { Cell::new(0) };
}

/// Counts the guards of a task, which may have one.
struct Held(());

impl Held {
    fn new() -> Self {
        GUARDS.with(|guards| {
            assert_eq!(guards.get(), 0, "a second inode guard in one task");
            guards.set(1);
        });
        Self(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        GUARDS.with(|guards| guards.set(0));
    }
}

/// Shared access to the cached data of an inode.
#[must_use = "the lock is released at once when the guard is not kept"]
pub struct ReadGuard<'a, T> {
    guard: RwLockReadGuard<'a, Option<T>>,
    _held: Held,
}

/// Exclusive access to the cached data of an inode.
#[must_use = "the lock is released at once when the guard is not kept"]
pub struct WriteGuard<'a, T> {
    guard: RwLockWriteGuard<'a, Option<T>>,
    _held: Held,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("checked when it was made")
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("checked when it was made")
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("checked when it was made")
    }
}
