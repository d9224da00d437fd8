// SPDX-License-Identifier: GPL-2.0

//! Inodes in memory.

use super::{
    Mount,
    Stat, //
};
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
    user::{
        journal::tid_newer,
        space::Tid, //
    }, //
};
use std::{
    collections::{
        HashMap,
        HashSet, //
    },
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

const SHARDS: usize = 16;
/// Inodes that a shard holds before it lets go of those without a reference: 65,536 in all.
const KEEP: usize = 4096;

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

    /// Remembers a transaction that changed the inode, and stored all its attributes. Of two that
    /// end at the same time the newer one stays.
    pub(super) fn set_tid(&self, tid: Tid) {
        let newer = |old| tid_newer(tid, old).then_some(tid);
        let _ = self
            .tid
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, newer);
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

/// The inodes in memory, by number: in shards, so that no lock is everybody's.
pub(super) struct InodeCache<T>([Shard<T>; SHARDS]);

struct Shard<T> {
    slots: Mutex<Slots<T>>,
    /// A slot is busy no more.
    changed: Condvar,
}

struct Slots<T> {
    by_ino: HashMap<Ino, Slot<T>>,
    /// Those without a name that somebody has a reference to, or that are being freed.
    nameless: HashSet<Ino>,
    /// The number from which on it is worth a look which can go.
    limit: usize,
}

enum Slot<T> {
    /// Being read, made or evicted.
    Busy,
    Ready {
        inode: Arc<InodeState<T>>,
        references: u64,
    },
}

impl<T> Shard<T> {
    fn new() -> Self {
        Self {
            slots: Mutex::new(Slots {
                by_ino: HashMap::new(),
                nameless: HashSet::new(),
                limit: KEEP,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots<T>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, slots: MutexGuard<'a, Slots<T>>) -> MutexGuard<'a, Slots<T>> {
        self.changed
            .wait(slots)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slots<T> {
    /// Lets go of the clean inodes that nobody has a reference to.
    fn shrink(&mut self) {
        self.by_ino.retain(|_, slot| match slot {
            Slot::Busy => true,
            Slot::Ready { inode, references } => {
                *references > 0
                    || inode.dirty.load(Ordering::Acquire)
                    || Arc::strong_count(inode) > 1
            }
        });
        // Where most have a reference, looking at all of them each time would be the whole work.
        self.limit = KEEP.max(2 * self.by_ino.len());
    }
}

impl<T> InodeCache<T> {
    pub(super) fn new() -> Self {
        Self(core::array::from_fn(|_| Shard::new()))
    }

    fn shard(&self, ino: Ino) -> &Shard<T> {
        // The numbers of inodes that are used together differ in their last digits.
        &self.0[ino as usize % SHARDS]
    }

    /// The same inodes for another version of the file system, whose cached data `attach` makes.
    pub(super) fn attached<U: Copy>(
        &self,
        attach: impl Fn(Inode<'_, U>) -> Result<U>,
    ) -> Result<InodeCache<U>> {
        let other = InodeCache::new();
        for (shard, new_shard) in self.0.iter().zip(&other.0) {
            let (slots, mut new_slots) = (shard.lock(), new_shard.lock());
            for (&ino, slot) in &slots.by_ino {
                let Slot::Ready { inode, references } = slot else {
                    // Nobody uses the mount, so nothing is being read or evicted.
                    return Err(EBUSY);
                };
                let new = InodeState::new(
                    InodeCore::new(ino, inode.kind(), inode.attributes(), None),
                    inode.tid(),
                );
                let node = attach(new.view())?;
                new.core.set_node(node);
                new.dirty
                    .store(inode.dirty.load(Ordering::Acquire), Ordering::Release);
                new.set_linkable(inode.is_linkable());
                if let Some(target) = inode.target.get() {
                    let _ = new.target.set(target.clone());
                }
                let slot = Slot::Ready {
                    inode: Arc::new(new),
                    references: *references,
                };
                new_slots.by_ino.insert(ino, slot);
            }
            new_slots.nameless.clone_from(&slots.nameless);
        }
        Ok(other)
    }

    /// The inodes whose attributes have to be stored.
    pub(super) fn dirty(&self) -> Vec<Ino> {
        let mut dirty = Vec::new();
        for shard in &self.0 {
            let slots = shard.lock();
            dirty.extend(slots.by_ino.iter().filter_map(|(&ino, slot)| match slot {
                Slot::Ready { inode, .. } if inode.dirty.load(Ordering::Acquire) => Some(ino),
                _ => None,
            }));
        }
        dirty
    }

    /// The inodes without a name, which are there because of a reference.
    fn nameless(&self) -> Vec<Ino> {
        let shards = self.0.iter();
        shards
            .flat_map(|shard| shard.lock().nameless.iter().copied().collect::<Vec<_>>())
            .collect()
    }

    fn count_nameless(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().nameless.len()).sum()
    }

    /// The inode with one more reference, if it is in memory and not busy.
    fn get_ready(&self, ino: Ino) -> Option<Arc<InodeState<T>>> {
        match self.shard(ino).lock().by_ino.get_mut(&ino) {
            Some(Slot::Ready { inode, references }) => {
                *references += 1;
                Some(inode.clone())
            }
            _ => None,
        }
    }

    /// The inode with one more reference; or [`None`], and the slot is busy on the caller's behalf.
    fn get_or_reserve(&self, ino: Ino) -> Option<Arc<InodeState<T>>> {
        let shard = self.shard(ino);
        let mut slots = shard.lock();
        loop {
            match slots.by_ino.get_mut(&ino) {
                Some(Slot::Ready { inode, references }) => {
                    *references += 1;
                    return Some(inode.clone());
                }
                Some(Slot::Busy) => slots = shard.wait(slots),
                None => {
                    if slots.by_ino.len() >= slots.limit {
                        slots.shrink();
                    }
                    slots.by_ino.insert(ino, Slot::Busy);
                    return None;
                }
            }
        }
    }

    /// Ends a busy slot: with an inode, which has one reference, or empty.
    fn settle(&self, ino: Ino, inode: Option<Arc<InodeState<T>>>) {
        let shard = self.shard(ino);
        let mut slots = shard.lock();
        match inode {
            Some(inode) => {
                slots.by_ino.insert(
                    ino,
                    Slot::Ready {
                        inode,
                        references: 1,
                    },
                );
            }
            None => {
                slots.by_ino.remove(&ino);
                slots.nameless.remove(&ino);
            }
        }
        shard.changed.notify_all();
    }

    /// Drops references. Gives the inode, and makes its slot busy, if it has to be evicted now.
    fn put(&self, ino: Ino, count: u64) -> Option<Arc<InodeState<T>>> {
        let mut slots = self.shard(ino).lock();
        let Slots {
            by_ino, nameless, ..
        } = &mut *slots;
        let Some(Slot::Ready { inode, references }) = by_ino.get_mut(&ino) else {
            debug_assert!(false, "inode {ino} has no reference to drop");
            return None;
        };
        *references = references.saturating_sub(count);
        if inode.attributes().nlink > 0 {
            nameless.remove(&ino);
            return None;
        }
        nameless.insert(ino);
        if *references > 0 {
            return None;
        }
        let inode = inode.clone();
        by_ino.insert(ino, Slot::Busy);
        Some(inode)
    }
}

/// A reference to an inode: while it exists the inode stays, also without a name.
pub struct InodeRef<'m, F: FileSystem> {
    mount: &'m Mount<F>,
    inode: Arc<InodeState<F::Node>>,
    /// The reference stays in the count when this is dropped.
    pinned: bool,
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

    /// The inode's attributes.
    pub fn stat(&self) -> Stat {
        Stat {
            ino: self.ino(),
            kind: self.kind(),
            attributes: self.inode.attributes(),
        }
    }

    /// Keeps the inode, until [`Mount::unpin`].
    pub fn pin(mut self) -> Ino {
        self.pinned = true;
        self.ino()
    }

    pub(super) fn state(&self) -> &InodeState<F::Node> {
        &self.inode
    }
}

impl<F: FileSystem> Drop for InodeRef<'_, F> {
    fn drop(&mut self) {
        if !self.pinned {
            self.mount.put(self.ino(), 1);
        }
    }
}

impl<F: FileSystem> Mount<F> {
    fn reference(&self, inode: Arc<InodeState<F::Node>>) -> InodeRef<'_, F> {
        InodeRef {
            mount: self,
            inode,
            pinned: false,
        }
    }

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
        Ok(self.reference(inode))
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
        Some(self.reference(self.inodes.get_ready(ino)?))
    }

    fn read_inode(&self, ino: Ino) -> Result<InodeState<F::Node>> {
        let (attributes, node) = self.fs.read_inode(self.volume(), ino)?;
        let Some(kind) = Kind::from_mode(attributes.mode) else {
            return Err(self
                .volume()
                .corrupt(format_args!("inode {ino} has mode {:o}", attributes.mode)));
        };
        Ok(InodeState::new(
            InodeCore::new(ino, kind, attributes, Some(node)),
            self.newest_tid(),
        ))
    }

    /// The transaction that an inode may have been changed in at the latest.
    fn newest_tid(&self) -> Tid {
        match self.volume().journal() {
            Ok(journal) => journal.newest(),
            Err(_) => 0,
        }
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
        let core = InodeCore::new(ino, kind, attributes, None);
        let inode = InodeState::new(core, self.newest_tid());
        let made = make(&inode).map(|node| {
            inode.core.set_node(node);
            Arc::new(inode)
        });
        self.inodes.settle(ino, made.as_ref().ok().cloned());
        Ok(self.reference(made?))
    }

    /// Drops `count` references that [`InodeRef::pin`] left.
    pub fn unpin(&self, ino: Ino, count: u64) {
        self.put(ino, count);
    }

    /// The number of inodes without a name that are not freed yet: somebody has a reference.
    pub fn nameless(&self) -> usize {
        self.inodes.count_nameless()
    }

    /// Drops every reference that [`InodeRef::pin`] left to an inode without a name: it goes.
    pub(super) fn unpin_nameless(&self) {
        for ino in self.inodes.nameless() {
            self.put(ino, u64::MAX);
        }
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
