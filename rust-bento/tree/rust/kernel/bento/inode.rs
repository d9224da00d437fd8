// SPDX-License-Identifier: GPL-2.0

//! The core's inode: `struct inode` and what belongs to it in every version of a file system.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    data::InodeData,
    gate::{
        Generation,
        NO_GENERATION, //
    },
    instance::NodeArea,
    super_block::CoreSuper,
    Attributes,
    Ino,
    Kind,
    Time, //
};
use crate::{
    bindings,
    new_spinlock,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        lock::{
            spinlock::SpinLockBackend,
            Guard, //
        },
        SpinLock, //
    },
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    mem::MaybeUninit, //
};

/// An inode of a Bento mount.
///
/// # Invariants
///
/// - `vfs` is a `struct inode` of a Bento mount, initialised by the cache's constructor.
/// - While `tag` is not [`NO_GENERATION`], `node` holds what the version of that generation wrote.
#[pin_data]
pub(super) struct CoreInode {
    #[pin]
    vfs: Opaque<bindings::inode>,
    /// The core's truth about the file's data.
    #[pin]
    pub(super) data: InodeData,
    /// Orders all who write the inode's record on disk.
    #[pin]
    record: SpinLock<Option<Unsettled>>,
    /// Protects `node`. Inside the gate only.
    #[pin]
    node_lock: Opaque<bindings::rw_semaphore>,
    /// The generation of the version that wrote `node`.
    tag: Atomic<u64>,
    node: UnsafeCell<NodeArea>,
    /// Time of creation; set while nobody else has the inode.
    btime: UnsafeCell<Time>,
    /// `FS_*_FL` flags, as they are stored.
    flags: Atomic<u32>,
}

// SAFETY: `struct inode` has its own locking, and so have the fields that are not atomic: `node`
// by `node_lock`, `btime` is constant once others can see the inode.
unsafe impl Send for CoreInode {}
// SAFETY: As above.
unsafe impl Sync for CoreInode {}

/// A link count that an operation changed, and may change back: it has stored nothing of it yet.
/// Others who store the record meanwhile store the count from before.
pub(super) struct Unsettled {
    /// The operation's handle, by its address.
    pub(super) handle: usize,
    /// The count from before.
    pub(super) nlink: u32,
}

/// The lock that orders those who write an inode's record.
pub(super) type RecordGuard<'a> = Guard<'a, Option<Unsettled>, SpinLockBackend>;

impl CoreInode {
    /// Initialises all but `struct inode`, which is the slab constructor's and the VFS's.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The cache's constructor has run for this memory (see `cache`).
            vfs <- unsafe {
                pin_init::pin_init_from_closure(|_: *mut Opaque<bindings::inode>| {
                    Ok::<(), core::convert::Infallible>(())
                })
            },
            data <- InodeData::new(),
            record <- new_spinlock!(None, "bento_record"),
            node_lock <- Opaque::ffi_init(|slot: *mut bindings::rw_semaphore| {
                // SAFETY: `slot` is valid for writes and stays in place; the class is static.
                unsafe {
                    bindings::__init_rwsem(
                        slot,
                        c"bento_node".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            // INVARIANT: Nothing was written yet.
            tag: Atomic::new(NO_GENERATION),
            node: UnsafeCell::new(MaybeUninit::uninit()),
            btime: UnsafeCell::new(Time::default()),
            flags: Atomic::new(0),
        })
    }

    /// The core's inode around a `struct inode`.
    ///
    /// # Safety
    ///
    /// `inode` belongs to a Bento mount and is not freed during `'a`.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> &'a Self {
        // SAFETY: By this function's requirement.
        unsafe { &*Self::container(inode) }
    }

    /// The `CoreInode` around a `struct inode`, without looking at it.
    ///
    /// # Safety
    ///
    /// `inode` was allocated for a Bento mount.
    pub(super) unsafe fn container(inode: *mut bindings::inode) -> *mut Self {
        // SAFETY: All inodes of a Bento mount are allocated as `CoreInode` by `cache`.
        unsafe { crate::container_of!(Opaque::cast_from(inode.cast_const()).cast_mut(), Self, vfs) }
    }

    /// The `struct inode` in memory for a `CoreInode`, without looking at it.
    ///
    /// # Safety
    ///
    /// `core` points to memory for a `CoreInode`.
    pub(super) unsafe fn raw_of(core: *mut Self) -> *mut bindings::inode {
        // SAFETY: By this function's requirement the field is within the memory.
        Opaque::cast_into(unsafe { &raw const (*core).vfs })
    }

    /// The `struct inode`.
    pub(super) fn raw(&self) -> *mut bindings::inode {
        self.vfs.get()
    }

    /// The mount that the inode belongs to.
    pub(super) fn core_super(&self) -> &CoreSuper {
        // SAFETY: `i_sb` is constant, and outlives the inode; it is a Bento mount's.
        unsafe { CoreSuper::from_raw((*self.raw()).i_sb) }
    }

    /// The inode's number.
    pub(super) fn ino(&self) -> Ino {
        // SAFETY: Constant once the inode is in the hash, and set by its maker before.
        unsafe { (*self.raw()).i_ino }
    }

    /// Type and permissions.
    pub(super) fn mode(&self) -> u16 {
        // SAFETY: A racing chmod changes it as one word; the type bits are constant.
        unsafe { (&raw const (*self.raw()).i_mode).read_volatile() }
    }

    /// What the inode is.
    pub(super) fn kind(&self) -> Kind {
        // The mode was checked when the inode was read, or comes from the VFS.
        Kind::from_mode(self.mode()).unwrap_or(Kind::Regular)
    }

    /// What tells this use of the number from others.
    pub(super) fn generation(&self) -> u32 {
        // SAFETY: Constant once others can see the inode.
        unsafe { (*self.raw()).i_generation }
    }

    /// The size in bytes.
    pub(super) fn size(&self) -> u64 {
        // SAFETY: The inode is valid.
        let size = unsafe { bindings::i_size_read(self.raw()) };
        size.max(0) as u64
    }

    /// Sets the size in bytes. Callers exclude each other, for instance by `i_rwsem`.
    pub(super) fn set_size(&self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: The inode is valid; that writers exclude each other is the caller's part.
        unsafe { bindings::i_size_write(self.raw(), size) };
    }

    /// The number of links.
    pub(super) fn nlink(&self) -> u32 {
        // SAFETY: The inode is valid.
        unsafe { bindings::bento_nlink(self.raw()) }
    }

    /// Time of creation.
    pub(super) fn btime(&self) -> Time {
        // SAFETY: Written only while nobody else has the inode.
        unsafe { *self.btime.get() }
    }

    /// `FS_*_FL` flags.
    pub(super) fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Sets the `FS_*_FL` flags, and what follows from them in `i_flags`.
    pub(super) fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Relaxed);
        let mut to = 0;
        for (stored, vfs) in [
            (bindings::FS_SYNC_FL, bindings::S_SYNC),
            (bindings::FS_APPEND_FL, bindings::S_APPEND),
            (bindings::FS_IMMUTABLE_FL, bindings::S_IMMUTABLE),
            (bindings::FS_NOATIME_FL, bindings::S_NOATIME),
            (bindings::FS_DIRSYNC_FL, bindings::S_DIRSYNC),
        ] {
            if flags & stored != 0 {
                to |= vfs;
            }
        }
        let mask = bindings::S_SYNC
            | bindings::S_APPEND
            | bindings::S_IMMUTABLE
            | bindings::S_NOATIME
            | bindings::S_DIRSYNC;
        // SAFETY: The inode is valid; the function updates the word atomically.
        unsafe { bindings::inode_set_flags(self.raw(), to, mask) };
    }

    /// Counts `blocks` blocks more (or less) as space in use, and no less than none.
    pub(super) fn add_blocks(&self, blocks: i64) {
        // SAFETY: The inode is valid; the helper takes `i_lock`.
        unsafe { bindings::bento_add_blocks(self.raw(), blocks) };
    }

    /// The attributes, as they would be stored now.
    pub(super) fn attributes(&self) -> Attributes {
        let inode = self.raw();
        // SAFETY: The inode is valid, and these are reads of single words. A field that changes
        // meanwhile is stored again by who changes it, under the record's lock.
        unsafe {
            Attributes {
                mode: self.mode(),
                nlink: self.nlink(),
                uid: bindings::i_uid_read(inode),
                gid: bindings::i_gid_read(inode),
                size: match self.kind() {
                    Kind::Regular => self.data.next_size(),
                    _ => self.size(),
                },
                sectors: bindings::bento_blocks(inode),
                atime: Time {
                    sec: (*inode).i_atime_sec,
                    nsec: (*inode).i_atime_nsec,
                },
                mtime: Time {
                    sec: (*inode).i_mtime_sec,
                    nsec: (*inode).i_mtime_nsec,
                },
                ctime: time(bindings::inode_get_ctime(inode)),
                btime: self.btime(),
                generation: self.generation(),
                version: bindings::inode_peek_iversion(inode),
                flags: self.flags(),
                rdev: match self.kind() {
                    Kind::CharDevice | Kind::BlockDevice => {
                        bindings::new_encode_dev((*inode).i_rdev)
                    }
                    _ => 0,
                },
            }
        }
    }

    /// Fills in `struct inode` from stored attributes.
    ///
    /// # Safety
    ///
    /// Nobody else uses the inode: it is `I_NEW`, or not in the hash.
    pub(super) unsafe fn set_attributes(&self, attributes: &Attributes) {
        let inode = self.raw();
        // SAFETY: By this function's requirement.
        unsafe { *self.btime.get() = attributes.btime };
        // SAFETY: As above; the inode is valid.
        unsafe {
            (*inode).i_mode = attributes.mode;
            bindings::set_nlink(inode, attributes.nlink);
            bindings::i_uid_write(inode, attributes.uid);
            bindings::i_gid_write(inode, attributes.gid);
            (*inode).i_blocks = attributes.sectors;
            bindings::inode_set_atime_to_ts(inode, timespec(attributes.atime));
            bindings::inode_set_mtime_to_ts(inode, timespec(attributes.mtime));
            bindings::inode_set_ctime_to_ts(inode, timespec(attributes.ctime));
            (*inode).i_generation = attributes.generation;
            bindings::inode_set_iversion_queried(inode, attributes.version);
        }
        self.set_size(attributes.size);
        self.set_flags(attributes.flags);
    }

    /// Sets the time of creation.
    ///
    /// # Safety
    ///
    /// Nobody else uses the inode.
    pub(super) unsafe fn set_btime(&self, btime: Time) {
        // SAFETY: By this function's requirement.
        unsafe { *self.btime.get() = btime };
    }

    /// Keeps others from writing the inode's record on disk. A spinlock: no sleeping.
    pub(super) fn lock_record(&self) -> RecordGuard<'_> {
        self.record.lock()
    }

    /// The generation of the version that wrote the cached data.
    pub(super) fn tag(&self) -> Generation {
        self.tag.load(Acquire)
    }

    /// Sets the generation of the cached data.
    ///
    /// # Safety
    ///
    /// The caller has exclusive use of the node, and it holds what that version wrote, or
    /// `tag` is [`NO_GENERATION`].
    pub(super) unsafe fn set_tag(&self, tag: Generation) {
        // INVARIANT: By this function's requirement.
        self.tag.store(tag, Release);
    }

    /// Where the cached data lies.
    pub(super) fn node_area(&self) -> *mut NodeArea {
        self.node.get()
    }

    fn check_attached(&self) {
        if self.tag() == NO_GENERATION {
            panic!("bento: use of an inode's data before it exists");
        }
    }

    /// Takes the node lock shared.
    pub(super) fn lock_node_shared(&self) {
        self.check_attached();
        // SAFETY: Initialised by `new`.
        unsafe { bindings::down_read(self.node_lock.get()) };
    }

    /// Takes the node lock for exclusive use.
    pub(super) fn lock_node_exclusive(&self) {
        self.check_attached();
        // SAFETY: Initialised by `new`.
        unsafe { bindings::down_write(self.node_lock.get()) };
    }

    /// Takes the node lock in order to attach.
    pub(super) fn lock_node_to_attach(&self) {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::down_write(self.node_lock.get()) };
    }

    /// Releases the node lock.
    ///
    /// # Safety
    ///
    /// This task holds it shared.
    pub(super) unsafe fn unlock_node_shared(&self) {
        // SAFETY: By this function's requirement.
        unsafe { bindings::up_read(self.node_lock.get()) };
    }

    /// Releases the node lock.
    ///
    /// # Safety
    ///
    /// This task holds it exclusively.
    pub(super) unsafe fn unlock_node_exclusive(&self) {
        // SAFETY: By this function's requirement.
        unsafe { bindings::up_write(self.node_lock.get()) };
    }
}

/// A time as C has it.
pub(super) fn timespec(time: Time) -> bindings::timespec64 {
    bindings::timespec64 {
        tv_sec: time.sec,
        tv_nsec: time.nsec as c_long,
    }
}

/// A time as file systems see it.
pub(super) fn time(time: bindings::timespec64) -> Time {
    Time {
        sec: time.tv_sec,
        nsec: time.tv_nsec as u32,
    }
}
