// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory.

use super::Mount;
use crate::{
    bento::{
        Attributes,
        FileRange,
        FileSystem,
        Ino,
        Inode,
        InodeCore,
        Kind,
        Step, //
    },
    error::{
        code::*,
        Result, //
    },
    pr_err,
    user::space::Tid, //
};
use std::{
    collections::HashMap,
    sync::{
        atomic::{
            AtomicBool,
            AtomicU32,
            Ordering, //
        },
        Arc,
        Condvar,
        Mutex,
        MutexGuard,
        OnceLock,
        PoisonError,
        RwLock,
        RwLockReadGuard,
        RwLockWriteGuard, //
    },
};

/// Inodes without a reference that are kept.
const KEEP: usize = 65_536;

/// An inode in memory.
pub(crate) struct InodeState<T> {
    core: InodeCore<T>,
    /// What the kernel calls `i_rwsem`: names of a directory, size and mapping of a file.
    content: RwLock<()>,
    /// The attributes are newer than the stored ones.
    dirty: AtomicBool,
    /// The transaction that has to be durable for the inode to be.
    tid: AtomicU32,
    /// Made without a name: it may get one.
    linkable: AtomicBool,
    /// The target of a symbolic link.
    target: OnceLock<Vec<u8>>,
}

impl<T> InodeState<T> {
    fn new(core: InodeCore<T>, tid: Tid) -> Self {
        Self {
            core,
            content: RwLock::new(()),
            dirty: AtomicBool::new(false),
            tid: AtomicU32::new(tid),
            linkable: AtomicBool::new(false),
            target: OnceLock::new(),
        }
    }

    pub(super) fn ino(&self) -> Ino {
        self.core.ino()
    }

    pub(super) fn kind(&self) -> Kind {
        self.core.kind()
    }

    /// A copy of the attributes.
    pub(super) fn attributes(&self) -> Attributes {
        *self.core.attributes()
    }

    /// Changes the attributes.
    pub(super) fn update(&self, change: impl FnOnce(&mut Attributes)) {
        change(&mut self.core.attributes());
    }

    pub(super) fn lock_shared(&self) -> RwLockReadGuard<'_, ()> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> RwLockWriteGuard<'_, ()> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tid(&self) -> Tid {
        self.tid.load(Ordering::Acquire)
    }

    /// Remembers a transaction that changed the inode, and stored all its attributes.
    pub(super) fn set_tid(&self, tid: Tid) {
        self.tid.store(tid, Ordering::Release);
    }

    pub(super) fn set_dirty(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    pub(super) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_linkable(&self) -> bool {
        self.linkable.load(Ordering::Relaxed)
    }

    pub(super) fn set_linkable(&self, linkable: bool) {
        self.linkable.store(linkable, Ordering::Relaxed);
    }

    pub(super) fn target(&self) -> &OnceLock<Vec<u8>> {
        &self.target
    }
}

impl<T: Copy> InodeState<T> {
    /// The inode as a file system sees it.
    pub(super) fn view(&self) -> Inode<'_, T> {
        Inode::new(&self.core)
    }
}

/// The inodes in memory, by number.
pub(super) struct InodeCache<T> {
    slots: Mutex<HashMap<Ino, Slot<T>>>,
    /// A slot is busy no more.
    changed: Condvar,
}

enum Slot<T> {
    /// Being read, made or evicted.
    Busy,
    Ready {
        inode: Arc<InodeState<T>>,
        references: u64,
    },
}

impl<T> InodeCache<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, Slot<T>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        slots: MutexGuard<'a, HashMap<Ino, Slot<T>>>,
    ) -> MutexGuard<'a, HashMap<Ino, Slot<T>>> {
        self.changed
            .wait(slots)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The inodes whose attributes have to be stored.
    pub(super) fn dirty(&self) -> Vec<Ino> {
        let slots = self.lock();
        let dirty = slots.iter().filter(|(_, slot)| match slot {
            Slot::Ready { inode, .. } => inode.dirty.load(Ordering::Acquire),
            Slot::Busy => false,
        });
        dirty.map(|(&ino, _)| ino).collect()
    }

    /// The inode with one more reference, if it is in memory and not busy.
    fn get_ready(&self, ino: Ino) -> Option<Arc<InodeState<T>>> {
        match self.lock().get_mut(&ino) {
            Some(Slot::Ready { inode, references }) => {
                *references += 1;
                Some(inode.clone())
            }
            _ => None,
        }
    }

    /// The inode with one more reference; or [`None`], and the slot is busy on the caller's behalf.
    fn get_or_reserve(&self, ino: Ino) -> Option<Arc<InodeState<T>>> {
        let mut slots = self.lock();
        loop {
            match slots.get_mut(&ino) {
                Some(Slot::Ready { inode, references }) => {
                    *references += 1;
                    return Some(inode.clone());
                }
                Some(Slot::Busy) => slots = self.wait(slots),
                None => {
                    if slots.len() > KEEP {
                        shrink(&mut slots);
                    }
                    slots.insert(ino, Slot::Busy);
                    return None;
                }
            }
        }
    }

    /// Ends a busy slot: with an inode, which has one reference, or empty.
    fn settle(&self, ino: Ino, inode: Option<Arc<InodeState<T>>>) {
        let mut slots = self.lock();
        match inode {
            Some(inode) => {
                slots.insert(
                    ino,
                    Slot::Ready {
                        inode,
                        references: 1,
                    },
                );
            }
            None => {
                slots.remove(&ino);
            }
        }
        self.changed.notify_all();
    }

    /// Drops references. Gives the inode, and makes its slot busy, if it has to be evicted now.
    fn put(&self, ino: Ino, count: u64) -> Option<Arc<InodeState<T>>> {
        let mut slots = self.lock();
        let Some(Slot::Ready { inode, references }) = slots.get_mut(&ino) else {
            debug_assert!(false, "inode {ino} has no reference to drop");
            return None;
        };
        *references = references.saturating_sub(count);
        if *references > 0 || inode.attributes().nlink > 0 {
            return None;
        }
        let inode = inode.clone();
        slots.insert(ino, Slot::Busy);
        Some(inode)
    }
}

/// Lets go of the clean inodes that nobody has a reference to.
fn shrink<T>(slots: &mut HashMap<Ino, Slot<T>>) {
    slots.retain(|_, slot| match slot {
        Slot::Busy => true,
        Slot::Ready { inode, references } => {
            *references > 0 || inode.dirty.load(Ordering::Acquire) || Arc::strong_count(inode) > 1
        }
    });
}

/// A reference to an inode: while it exists the inode stays, also without a name.
pub struct InodeRef<'m, F: FileSystem> {
    mount: &'m Mount<F>,
    inode: Arc<InodeState<F::Node>>,
}

impl<F: FileSystem> InodeRef<'_, F> {
    /// The inode's number.
    pub fn ino(&self) -> Ino {
        self.inode.ino()
    }

    /// What the inode is.
    pub fn kind(&self) -> Kind {
        self.inode.kind()
    }

    /// Keeps the inode, until [`Mount::unpin`].
    pub fn pin(self) -> Ino {
        let ino = self.ino();
        // The reference stays behind in the count.
        let mut slots = self.mount.inodes.lock();
        if let Some(Slot::Ready { references, .. }) = slots.get_mut(&ino) {
            *references += 1;
        }
        ino
    }

    pub(super) fn state(&self) -> &InodeState<F::Node> {
        &self.inode
    }
}

impl<F: FileSystem> Drop for InodeRef<'_, F> {
    fn drop(&mut self) {
        self.mount.put(self.ino(), 1);
    }
}

impl<F: FileSystem> Mount<F> {
    /// The inode of a number.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is not in use.
    pub fn get(&self, ino: Ino) -> Result<InodeRef<'_, F>> {
        let inode = match self.inodes.get_or_reserve(ino) {
            Some(inode) => inode,
            None => {
                let inode = self.read_inode(ino).map(Arc::new);
                self.inodes.settle(ino, inode.as_ref().ok().cloned());
                inode?
            }
        };
        Ok(InodeRef { mount: self, inode })
    }

    /// The inode of a number that stands on the volume: it is damaged if there is no such inode.
    pub(super) fn get_known(&self, ino: Ino) -> Result<InodeRef<'_, F>> {
        self.get(ino).map_err(|error| match error {
            ESTALE => self
                .volume()
                .corrupt(format_args!("inode {ino} is named and not in use")),
            error => error,
        })
    }

    /// The inode of a number, if it is in memory.
    pub(super) fn get_ready(&self, ino: Ino) -> Option<InodeRef<'_, F>> {
        let inode = self.inodes.get_ready(ino)?;
        Some(InodeRef { mount: self, inode })
    }

    fn read_inode(&self, ino: Ino) -> Result<InodeState<F::Node>> {
        let (attributes, node) = self.fs.read_inode(self.volume(), ino)?;
        let Some(kind) = Kind::from_mode(attributes.mode) else {
            return Err(self
                .volume()
                .corrupt(format_args!("inode {ino} has mode {:o}", attributes.mode)));
        };
        let tid = match self.volume().journal() {
            Ok(journal) => journal.newest(),
            Err(_) => 0,
        };
        Ok(InodeState::new(
            InodeCore::new(ino, kind, attributes, Some(node)),
            tid,
        ))
    }

    /// Makes an inode with a claimed number: `make` gives it its first content.
    pub(super) fn new_inode(
        &self,
        ino: Ino,
        attributes: Attributes,
        make: impl FnOnce(&InodeState<F::Node>) -> Result<F::Node>,
    ) -> Result<InodeRef<'_, F>> {
        let kind = Kind::from_mode(attributes.mode).ok_or(EINVAL)?;
        if self.inodes.get_or_reserve(ino).is_some() {
            self.put(ino, 1);
            return Err(self
                .volume()
                .corrupt(format_args!("inode {ino} is in use and marked as free")));
        }
        let inode = InodeState::new(InodeCore::new(ino, kind, attributes, None), 0);
        let made = make(&inode).map(|node| {
            inode.core.set_node(node);
            Arc::new(inode)
        });
        self.inodes.settle(ino, made.as_ref().ok().cloned());
        Ok(InodeRef {
            mount: self,
            inode: made?,
        })
    }

    /// Drops `count` references that [`InodeRef::pin`] left.
    pub fn unpin(&self, ino: Ino, count: u64) {
        self.put(ino, count);
    }

    fn put(&self, ino: Ino, count: u64) {
        let Some(inode) = self.inodes.put(ino, count) else {
            return;
        };
        // What fails here is done by the next mount: the inode is an orphan.
        if self.check_writable().is_ok() {
            if let Err(error) = self.evict(&inode) {
                pr_err!("bento: inode {ino} could not be freed: {error:?}");
            }
        }
        self.inodes.settle(ino, None);
    }

    /// Frees an inode that has no name and no user.
    fn evict(&self, inode: &InodeState<F::Node>) -> Result {
        if matches!(
            inode.kind(),
            Kind::Regular | Kind::Directory | Kind::Symlink
        ) {
            self.free_range(
                inode,
                FileRange {
                    start: 0,
                    end: self.end_block(),
                },
            )?;
        }
        let credits = &self.credits;
        self.transact(
            credits.free_inode,
            credits.free_revokes,
            &[inode],
            |handle| self.fs.free_inode(handle, inode.view()),
        )?;
        self.volume().space.free_ino();
        Ok(())
    }

    /// Frees what a file maps in a range, step by step.
    pub(super) fn free_range(&self, inode: &InodeState<F::Node>, range: FileRange) -> Result {
        let credits = &self.credits;
        loop {
            let step = self.with_space(|| {
                self.transact(
                    credits.free_blocks,
                    credits.free_revokes,
                    &[inode],
                    |handle| self.fs.free_blocks(handle, inode.view(), range),
                )
            })?;
            if step == Step::Done {
                return Ok(());
            }
        }
    }

    /// Ends what a crash left half done: inodes without a name, and files that were being cut.
    pub(super) fn process_orphans(&self) -> Result {
        let mut cursor = 0;
        while let Some(ino) = self.fs.next_orphan(self.volume(), cursor)? {
            if ino <= cursor {
                return Err(self
                    .volume()
                    .corrupt(format_args!("orphan {ino} comes behind orphan {cursor}")));
            }
            cursor = ino;
            let inode = self.get_known(ino)?;
            let attributes = inode.state().attributes();
            // Without a name: dropping the reference evicts it.
            if attributes.nlink > 0 {
                self.cut(inode.state(), attributes.size)?;
            }
        }
        Ok(())
    }
}
