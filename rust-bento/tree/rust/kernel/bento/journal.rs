// SPDX-License-Identifier: GPL-2.0

//! The journal of a mounted volume, and handles on its transactions.
//!
//! jbd2 does the work. The journal is a contiguous region of the volume, opened as a device journal
//! with a mapping of its own: a journal inode would make the commit thread call back into a file
//! system. Its features are pinned, so that user space reads the same journal: checksum version 3,
//! revoke records and 64-bit block numbers, neither asynchronous nor fast commits.
//!
//! jbd2 cannot roll back. A handle remembers whether anything was stored through it; an error after
//! that aborts the journal, an error before it leaves no trace.
//!
//! C header: [`include/linux/jbd2.h`](srctree/include/linux/jbd2.h)

use super::{
    claims::{
        self,
        Claims,
        Made, //
    },
    discard,
    entered::Entered,
    inode::CoreInode,
    space::{
        Fate,
        Tid, //
    },
    super_block::CoreSuper,
    writable::Writable,
    Block,
    BlockUse,
    Buffer,
    Credits,
    Inode,
    JournalArea,
    Volume, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed,
        Release, //
    },
    types::NotThreadSafe, //
};
use core::{
    cell::Cell,
    ptr::NonNull, //
};

/// Incompatible features that a journal has, all of them and no other.
const FEATURES: u32 = bindings::JBD2_FEATURE_INCOMPAT_REVOKE
    | bindings::JBD2_FEATURE_INCOMPAT_64BIT
    | bindings::JBD2_FEATURE_INCOMPAT_CSUM_V3;

/// The journal of a mounted volume.
///
/// # Invariants
///
/// `raw` points at a loaded journal that this owns, and whose `j_private` points at the
/// [`CoreSuper`] that owns this.
pub(super) struct Journal {
    raw: NonNull<bindings::journal_t>,
    destroyed: Atomic<u32>,
    /// The last transaction whose callback has run: jbd2 calls a transaction committed before.
    released: Atomic<Tid>,
}

// SAFETY: jbd2 does its own locking.
unsafe impl Send for Journal {}
// SAFETY: As above.
unsafe impl Sync for Journal {}

/// Maps a block of the journal to one of the device.
///
/// # Safety
///
/// Called by jbd2 with a valid journal and block.
unsafe extern "C" fn map_block(
    journal: *mut bindings::journal_t,
    block: *mut bindings::sector_t,
) -> c_int {
    // SAFETY: By this function's requirement. The offset does not change.
    unsafe { *block += (*journal).j_blk_offset };
    0
}

/// A transaction has committed: the blocks that it freed may be used again.
///
/// # Safety
///
/// Called by jbd2 with a journal that [`Journal::open`] made, and one of its transactions.
unsafe extern "C" fn committed(
    journal: *mut bindings::journal_t,
    transaction: *mut bindings::transaction_t,
) {
    // SAFETY: By `Journal`'s invariants `j_private` is the super block, which outlives the journal.
    let sb = unsafe { &*(*journal).j_private.cast::<CoreSuper>() };
    // SAFETY: The transaction is valid while its callback runs.
    let tid = unsafe { (*transaction).t_tid };
    // Called for a transaction that did not reach the disk, too: after the next mount its blocks
    // are in use again, so nothing may be written to them now.
    // SAFETY: The journal is valid.
    if unsafe { bindings::is_journal_aborted(journal) } == 0 {
        if sb.discard() {
            discard::freed(sb, tid);
        }
        sb.space().committed(tid);
    }
    // Also if nothing was given back: nothing will be. jbd2 wakes who waits for it when this has
    // returned. There is a journal here: no transaction starts before the super block has it.
    if let Some(journal) = sb.journal.as_ref() {
        journal.released.store(tid, Release);
    }
}

impl Journal {
    /// Opens the journal in `area`, and replays it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no journal or one with other features; `EROFS` if it has to be replayed
    /// and the device cannot be written; what jbd2 says.
    pub(super) fn open(sb: &CoreSuper, area: JournalArea) -> Result<Self> {
        let volume = sb.volume();
        let len = c_int::try_from(area.len).map_err(|_| EINVAL)?;
        // SAFETY: The device is open while the super block is mounted.
        let raw = from_err_ptr(unsafe {
            bindings::jbd2_journal_init_dev(sb.bdev(), sb.bdev(), area.start, len, 4096)
        })
        .map_err(|error| volume.refuse(error, fmt!("journal: no valid super block")))?;
        // Destroys the journal in what follows, too: jbd2 allows it for one that was not loaded.
        let journal = Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            destroyed: Atomic::new(0),
            released: Atomic::new(0),
        };
        // SAFETY: The journal was just made, nobody else uses it; its super block is in memory.
        let (incompat, start) = unsafe {
            (*raw).j_private = core::ptr::from_ref(sb).cast_mut().cast();
            (*raw).j_bmap = Some(map_block);
            (*raw).j_commit_callback = Some(committed);
            // The replay goes by it too: what it has brought to its place is flushed before the
            // journal says that it is empty.
            (*raw).j_flags |= bindings::JBD2_BARRIER as c_ulong;
            let disk = (*raw).j_superblock;
            (
                u32::from_be((*disk).s_feature_incompat),
                u32::from_be((*disk).s_start),
            )
        };
        if incompat != FEATURES {
            return Err(volume.refuse(EINVAL, fmt!("journal: features {incompat:#x}")));
        }
        // SAFETY: The device is open while the super block is mounted.
        if start != 0 && unsafe { bindings::bento_bdev_read_only(sb.bdev()) } {
            return Err(volume.refuse(EROFS, fmt!("journal: needs recovery, device is read-only")));
        }
        // SAFETY: The journal is complete and not loaded yet.
        to_result(unsafe { bindings::jbd2_journal_load(raw) })
            .map_err(|error| volume.refuse(error, fmt!("journal: cannot be replayed")))?;
        // SAFETY: Loaded, and still nobody else's: no transaction changes the word.
        let committed = unsafe { (*raw).j_commit_sequence };
        journal.released.store(committed, Relaxed);
        // INVARIANT: Loaded, and `j_private` was set above.
        Ok(journal)
    }

    fn raw(&self) -> *mut bindings::journal_t {
        self.raw.as_ptr()
    }

    /// Credits that one handle may ask for at most: a quarter of the journal's maximum, so that a
    /// handle need not wait for the journal to become empty.
    pub(super) fn max_credits(&self) -> u32 {
        // SAFETY: The journal is valid; the number is constant after loading.
        u32::try_from(unsafe { (*self.raw()).j_max_transaction_buffers }).unwrap_or(0) / 4
    }

    /// Starts a commit of what there is. Waits for it if `wait`, and until the blocks that were
    /// freed before may be used again. Who waits is outside of the gate, holds no handle, and is
    /// not the commit thread.
    pub(super) fn commit(&self, wait: bool) -> Result {
        if wait {
            // SAFETY: By the type invariant; the super block owns this, so it lives as long.
            let sb = unsafe { &*(*self.raw()).j_private.cast::<CoreSuper>() };
            sb.assert_outside();
            // SAFETY: The journal is valid, and the task holds no handle.
            to_result(unsafe { bindings::jbd2_journal_force_commit(self.raw()) })?;
            // SAFETY: The journal and the word are valid while `self` is borrowed. The word reaches
            // the newest transaction that has committed: the commit thread, which this is not, runs
            // the callback next, also for a journal that is aborted, and waits for nobody there.
            unsafe { bindings::bento_journal_wait_released(self.raw(), self.released.as_ptr()) };
            return Ok(());
        }
        // SAFETY: The journal is valid; the number of the transaction is not wanted.
        unsafe { bindings::jbd2_journal_start_commit(self.raw(), core::ptr::null_mut()) };
        Ok(())
    }

    /// Waits until transaction `tid` is on disk.
    pub(super) fn wait_for(&self, sb: &CoreSuper, tid: Tid) -> Result {
        sb.assert_outside();
        // SAFETY: The journal is valid, and the task holds no handle.
        to_result(unsafe { bindings::jbd2_complete_transaction(self.raw(), tid) })
    }

    /// Waits until transaction `tid` is on disk, and all data that was written before the call too.
    pub(super) fn commit_tid(&self, sb: &CoreSuper, tid: Tid) -> Result {
        // SAFETY: The journal is valid.
        let flushes = unsafe { bindings::jbd2_trans_will_send_data_barrier(self.raw(), tid) != 0 };
        let result = self.wait_for(sb, tid);
        if !flushes {
            // SAFETY: The device is open while the super block is mounted.
            to_result(unsafe { bindings::blkdev_issue_flush(sb.bdev()) })?;
        }
        result
    }

    /// The transaction that what is changed now belongs to or, if none runs, the last one: whoever
    /// waits for it waits for everything that was changed before.
    pub(super) fn current_tid(&self) -> Tid {
        // SAFETY: The journal is valid.
        unsafe { bindings::bento_journal_current_tid(self.raw()) }
    }

    /// Whether transaction `tid` is on disk.
    pub(super) fn is_committed(&self, tid: Tid) -> bool {
        // SAFETY: The journal is valid; a word is read that only grows.
        let done = unsafe { core::ptr::addr_of!((*self.raw()).j_commit_sequence).read_volatile() };
        (done.wrapping_sub(tid) as i32) >= 0
    }

    /// Brings everything to its place on the volume: the journal is empty then. New handles wait
    /// meanwhile: jbd2 insists on it.
    pub(super) fn flush(&self) -> Result {
        // SAFETY: The journal is valid, and the task holds no handle. What is locked is unlocked by
        // the same task: inside it is a mutex.
        unsafe {
            bindings::jbd2_journal_lock_updates(self.raw());
            let result = to_result(bindings::jbd2_journal_flush(self.raw(), 0));
            bindings::jbd2_journal_unlock_updates(self.raw());
            result
        }
    }

    /// Gives up: nothing is written any more.
    pub(super) fn abort(&self, error: Error) {
        // SAFETY: The journal is valid.
        unsafe { bindings::jbd2_journal_abort(self.raw(), error.to_errno()) };
    }

    /// Whether it was given up.
    pub(super) fn is_aborted(&self) -> bool {
        // SAFETY: The journal is valid.
        unsafe { bindings::is_journal_aborted(self.raw()) != 0 }
    }

    /// The error with which an earlier mount gave up, if any.
    pub(super) fn last_error(&self) -> Result {
        // SAFETY: The journal is valid.
        to_result(unsafe { bindings::jbd2_journal_errno(self.raw()) })
    }

    /// Lets handles be started all the same.
    pub(super) fn acknowledge_error(&self) {
        // SAFETY: The journal is valid.
        unsafe { bindings::jbd2_journal_ack_err(self.raw()) };
    }

    /// Forgets that error, also on disk.
    pub(super) fn clear_error(&self) {
        // SAFETY: The journal is valid; called while the volume becomes writable.
        unsafe {
            bindings::jbd2_journal_clear_err(self.raw());
            bindings::jbd2_journal_update_sb_errno(self.raw());
        }
    }

    /// How old a transaction may become, in seconds; 0 stands for jbd2's default.
    pub(super) fn set_commit_interval(&self, seconds: u32) {
        let seconds = match seconds {
            0 => bindings::JBD2_DEFAULT_MAX_COMMIT_AGE,
            seconds => seconds,
        };
        // SAFETY: The journal is valid; the word is read without a lock.
        unsafe { (*self.raw()).j_commit_interval = seconds as c_ulong * bindings::HZ as c_ulong };
    }
}

impl Journal {
    /// Commits what there is, leaves the journal empty, and ends it. Nothing uses it any more. Does
    /// nothing if that was done before.
    pub(super) fn destroy(&self) {
        if self.destroyed.xchg(1, Full) != 0 {
            return;
        }
        // SAFETY: This owns the journal, which was not destroyed before, and no handle is left:
        // each belongs to an operation on a mounted volume.
        let error = unsafe { bindings::jbd2_journal_destroy(self.raw()) };
        if error != 0 {
            pr_debug!("bento: journal not left clean: {error}\n");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// A part of a running transaction.
///
/// What is stored through one handle is on disk as a whole after a crash, or not at all.
///
/// # Invariants
///
/// `raw` is a handle that this task started.
pub struct Handle<'a> {
    raw: NonNull<bindings::handle_t>,
    sb: &'a CoreSuper,
    /// Whether a byte may have changed since the operation began.
    stored: Cell<bool>,
    made: Made,
    _task: NotThreadSafe,
}

impl<'a> Handle<'a> {
    /// Starts a handle that takes write access to `credits` blocks and frees `revokes` metadata
    /// blocks at most. May wait for a commit.
    pub(super) fn start(sb: &'a CoreSuper, credits: u32, revokes: u32) -> Result<Self> {
        sb.check_writable()?;
        sb.gate.assert_left();
        let journal = sb.journal()?;
        let (credits, revokes) = (c_int::try_from(credits)?, c_int::try_from(revokes)?);
        // SAFETY: The journal is valid and outlives the handle, which borrows the super block.
        let raw = from_err_ptr(unsafe {
            bindings::bento_journal_start(journal.raw(), credits, revokes)
        })?;
        // INVARIANT: Started above, by this task.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            sb,
            stored: Cell::new(false),
            made: Made::default(),
            _task: NotThreadSafe,
        })
    }

    pub(super) fn raw(&self) -> *mut bindings::handle_t {
        self.raw.as_ptr()
    }

    /// Tells this handle from all others that are there.
    pub(super) fn id(&self) -> usize {
        self.raw.as_ptr() as usize
    }

    /// The volume.
    #[inline(never)]
    pub fn volume(&self) -> &Volume {
        self.sb.volume()
    }

    /// The transaction.
    pub(super) fn tid(&self) -> Tid {
        // SAFETY: The handle is valid, and so is its transaction as long as it is.
        unsafe { (*(*self.raw()).__bindgen_anon_1.h_transaction).t_tid }
    }

    /// Makes the end of the handle wait until the transaction is on disk.
    pub(super) fn set_sync(&self) {
        // SAFETY: The handle is valid and belongs to this task.
        unsafe { (*self.raw()).set_h_sync(1) };
    }

    /// Notes that a byte is about to change.
    pub(super) fn note_store(&self) {
        self.stored.set(true);
    }

    /// Takes write access to a block. It is not journaled before the first store through the token.
    ///
    /// # Errors
    ///
    /// `EROFS` if the journal was aborted, `ENOMEM`, `EIO`; `EINVAL` if the block is not one of
    /// this mount.
    #[inline(never)]
    pub fn write<'h>(&'h self, buffer: &Buffer) -> Result<Writable<'h>> {
        // A buffer can be kept anywhere. In a transaction of another journal than that of its
        // device jbd2 would change it under the wrong locks.
        if !buffer.is_of(self.sb.bdev()) {
            return Err(EINVAL);
        }
        // SAFETY: Handle and buffer are valid; the buffer is up to date and not locked by this
        // task, and its device is that of the journal.
        to_result(unsafe { bindings::jbd2_journal_get_write_access(self.raw(), buffer.raw()) })?;
        Ok(Writable::new(self.erase(), buffer.share()))
    }

    /// Takes a block that was newly allocated to metadata. It is filled with zeros.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it lies outside the volume; as [`Handle::write`].
    #[inline(never)]
    pub fn create<'h>(&'h self, block: Block) -> Result<Writable<'h>> {
        self.access_unread(block, true)
    }

    /// Takes write access to a block whose content nobody needs, without reading it. It is filled
    /// with zeros unless a transaction knows it already: so several operations may do this to one
    /// block at a time, and none clears what another has stored. Who stores makes sure that nobody
    /// begins this afterwards.
    ///
    /// # Errors
    ///
    /// As [`Handle::create`].
    #[inline(never)]
    pub fn write_unread<'h>(&'h self, block: Block) -> Result<Writable<'h>> {
        self.access_unread(block, false)
    }

    fn access_unread<'h>(&'h self, block: Block, clear: bool) -> Result<Writable<'h>> {
        if block >= self.volume().blocks() {
            return Err(EUCLEAN);
        }
        // SAFETY: The super block is mounted, its block size is that of `Buffer`.
        let head = unsafe { bindings::sb_getblk(self.sb.raw(), block) };
        let head = NonNull::new(head).ok_or(ENOMEM)?;
        // SAFETY: Of the block size, a reference of our own; it is made up to date below, before
        // anyone gets at its bytes.
        let buffer = unsafe { Buffer::from_raw(head) };
        // SAFETY: The buffer is valid.
        if unsafe { bindings::bento_buffer_is_journaled(buffer.raw()) } {
            // In use before, and never freed: a transaction may be writing it. Its old content goes
            // with the first store.
            // SAFETY: Handle and buffer are valid; the buffer is up to date and not locked by us.
            to_result(unsafe {
                bindings::jbd2_journal_get_write_access(self.raw(), buffer.raw())
            })?;
            return Ok(match clear {
                true => Writable::fresh(self.erase(), buffer),
                false => Writable::new(self.erase(), buffer),
            });
        }
        // SAFETY: The buffer is valid; locked here and unlocked below. Nobody else uses a block
        // that is newly allocated, and its `BLOCK_SIZE` bytes are in memory.
        unsafe {
            bindings::lock_buffer(buffer.raw());
            let error = bindings::jbd2_journal_get_create_access(self.raw(), buffer.raw());
            if error == 0 {
                core::ptr::write_bytes(buffer.range(0, 4096)?, 0, 4096);
                bindings::set_buffer_uptodate(buffer.raw());
            }
            bindings::unlock_buffer(buffer.raw());
            to_result(error)?;
        }
        buffer.set_checked();
        Ok(Writable::new(self.erase(), buffer))
    }

    /// This handle, by its shorter lifetime alone.
    fn erase<'h>(&'h self) -> &'h Handle<'h> {
        self
    }

    /// Claims from free space: for directories, symbolic links, whatever is not file data.
    #[inline(never)]
    pub fn claims(&self) -> Claims<'_> {
        Claims::free(self.sb, &self.made)
    }

    /// Claims for the mapping blocks of an inode.
    pub fn tree_claims<T: Copy>(&self, inode: Inode<'_, T>) -> Claims<'_> {
        self.tree_claims_of(inode.core())
    }

    #[inline(never)]
    fn tree_claims_of<'h>(&'h self, inode: &CoreInode) -> Claims<'h> {
        // SAFETY: An inode that is handed to an operation outlives the operation's handle, which is
        // stopped only after the operation returned.
        let inode = unsafe { &*core::ptr::from_ref(inode) };
        Claims::tree(inode, &self.made)
    }

    /// Frees blocks: to be called before their bits are cleared. They stay unused until the
    /// transaction has committed.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if one of them is free or claimed, or outside the volume: the volume is damaged.
    #[inline(never)]
    pub fn free(&self, start: Block, len: u64, was: BlockUse) -> Result {
        let volume = self.volume();
        match start.checked_add(len) {
            Some(end) if end <= volume.blocks() => (),
            _ => return Err(volume.corrupt(fmt!("blocks {start}+{len} to free lie outside"))),
        }
        self.sb
            .space()
            .free(start, len, self.tid())
            .map_err(|_| volume.corrupt(fmt!("blocks {start}+{len} are freed twice")))?;
        self.note_store();
        if was == BlockUse::Metadata {
            for block in start..start + len {
                self.revoke(block)?;
            }
        }
        Ok(())
    }

    /// Forgets what the journal knows of a block, and keeps a replay from writing it.
    fn revoke(&self, block: Block) -> Result {
        // The look-up that may sleep: the other one does not find a block whose folio is being
        // moved in memory, and a block that is not found is revoked and not forgotten.
        // SAFETY: The super block is mounted. `jbd2_journal_revoke` takes over the reference, if
        // any.
        to_result(unsafe {
            let head = bindings::sb_find_get_block_nonatomic(self.sb.raw(), block);
            if !head.is_null() {
                bindings::bento_clear_buffer_checked(head);
            }
            bindings::jbd2_journal_revoke(self.raw(), block, head)
        })
    }

    /// Ends one of several operations in this handle.
    pub(super) fn end_operation<R>(&self, result: Result<R>) -> Result<R> {
        let failed = result.is_err();
        let fate = if failed && !self.stored.get() {
            Fate::Unused
        } else {
            Fate::Used
        };
        claims::settle(self.sb, &self.made, fate);
        if let (Err(error), true) = (&result, self.stored.get()) {
            self.give_up(*error);
        }
        self.stored.set(false);
        result
    }

    /// An operation has failed halfway: nothing of its transaction may reach the disk.
    #[cold]
    fn give_up(&self, error: Error) {
        let Ok(journal) = self.sb.journal() else {
            return;
        };
        if !journal.is_aborted() {
            pr_err!(
                "bento ({}): {error:?} in the middle of an operation\n",
                self.sb.name()
            );
        }
        self.sb.stop_writing(error, EROFS);
    }

    /// Ends the last operation, and the handle.
    pub(super) fn finish<R>(self, result: Result<R>) -> Result<R> {
        let result = self.end_operation(result);
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: `made` is not used again: `this` is not dropped.
        drop(unsafe { core::ptr::read(&this.made) });
        // SAFETY: The handle belongs to this task and is not used again.
        let stopped = to_result(unsafe { bindings::jbd2_journal_stop(this.raw()) });
        match result {
            Ok(value) => stopped.map(|()| value),
            error => error,
        }
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        let _ = self.end_operation::<()>(Err(ECANCELED));
        // SAFETY: The handle belongs to this task and is not used again.
        unsafe { bindings::jbd2_journal_stop(self.raw()) };
    }
}

/// Runs one operation in a handle of its own: starts the handle, enters the gate, runs, leaves,
/// stops. `needs` says which credits, and how many revoke records, the operation takes.
///
/// If another version is found inside than the credits are of, nothing has been done yet, and it
/// begins again.
///
/// The caller holds nothing that a commit waits for.
///
/// # Errors
///
/// `EROFS` if the volume is not written to (yet, or any more); what `run` says.
pub(super) fn with_handle<R>(
    sb: &CoreSuper,
    needs: impl Fn(&Credits) -> (u32, u32),
    run: impl FnOnce(&Entered<'_>, &Handle<'_>) -> Result<R>,
) -> Result<R> {
    with_handle_to_mark(sb, needs, |entered, handle| {
        // Asked in the handle: who ends writing commits then, and so waits for handles that have
        // not seen it.
        sb.check_writing()?;
        run(entered, handle)
    })
}

/// As [`with_handle`], for what is stored when writing begins and when it has ended.
pub(super) fn with_handle_to_mark<R>(
    sb: &CoreSuper,
    needs: impl Fn(&Credits) -> (u32, u32),
    run: impl FnOnce(&Entered<'_>, &Handle<'_>) -> Result<R>,
) -> Result<R> {
    loop {
        let (generation, (credits, revokes)) = sb.with_credits(&needs)?;
        let handle = Handle::start(sb, credits, revokes)?;
        let entered = match sb.enter() {
            Ok(entered) if entered.generation() == generation => entered,
            Ok(other) => {
                drop(other);
                handle.finish(Ok(()))?;
                continue;
            }
            Err(error) => return handle.finish(Err(error)),
        };
        let result = run(&entered, &handle);
        drop(entered);
        return handle.finish(result);
    }
}
