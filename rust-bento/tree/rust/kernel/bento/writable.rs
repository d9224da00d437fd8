// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks that a transaction may change.

use super::{
    buffer::{
        copy_words,
        BLOCK_SIZE, //
    },
    data,
    inode::{
        CoreInode,
        RecordGuard, //
    },
    Attributes,
    Buffer,
    Handle,
    Inode, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};
use core::{
    cell::Cell,
    mem::MaybeUninit,
    ops::Deref, //
};
use zerocopy::Immutable;

/// The largest record that [`Writable::store_inode`] takes, in bytes.
const MAX_RECORD: usize = 512;

/// Write access to a block, for the time of a handle.
///
/// The first store marks the block dirty in the journal before a byte changes: a commit reads the
/// bytes only after all handles of its transaction have stopped. So nothing is owed at the end, and
/// a block that nothing was stored to is not journaled.
pub struct Writable<'h> {
    handle: &'h Handle<'h>,
    buffer: Buffer,
    dirty: Cell<bool>,
    /// The old content is to be zeroed before the first store.
    fresh: bool,
}

impl<'h> Writable<'h> {
    /// A token for a block that `handle` has write access to.
    pub(super) fn new(handle: &'h Handle<'h>, buffer: Buffer) -> Self {
        Self {
            handle,
            buffer,
            dirty: Cell::new(false),
            fresh: false,
        }
    }

    /// As [`Writable::new`], for a block whose old content is worth nothing.
    pub(super) fn fresh(handle: &'h Handle<'h>, buffer: Buffer) -> Self {
        Self {
            fresh: true,
            ..Self::new(handle, buffer)
        }
    }

    /// A pointer to bytes that may be changed now: the block is marked dirty.
    #[inline(never)]
    fn begin(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let to = self.buffer.range(offset, len)?;
        if !self.dirty.get() {
            // SAFETY: The handle has write access to the buffer.
            to_result(unsafe {
                bindings::jbd2_journal_dirty_metadata(self.handle.raw(), self.buffer.raw())
            })?;
            self.dirty.set(true);
            self.handle.note_store();
            if self.fresh {
                // SAFETY: The block is this long, and marked dirty.
                unsafe { zero_bytes(self.buffer.range(0, BLOCK_SIZE)?, BLOCK_SIZE) };
                self.buffer.set_checked();
            }
        }
        Ok(to)
    }

    /// Copies bytes into the block.
    ///
    /// # Safety
    ///
    /// `from` is valid for reads of `len` bytes.
    #[inline(never)]
    unsafe fn copy_in(&self, offset: usize, from: *const u8, len: usize) -> Result {
        let to = self.begin(offset, len)?;
        // SAFETY: `begin` checked the destination; the source is valid by this function's
        // requirement. They do not overlap: no reference points into the block device's cache.
        unsafe { copy_words(from, to, len) };
        Ok(())
    }

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it would not lie inside the block; `EROFS` if the journal was aborted.
    pub fn store<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Result {
        let bytes = value.as_bytes();
        // SAFETY: `bytes` is valid for reads of its length.
        unsafe { self.copy_in(offset, bytes.as_ptr(), bytes.len()) }
    }

    /// Stores bytes. Errors as [`Writable::store`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        // SAFETY: `bytes` is valid for reads of its length.
        unsafe { self.copy_in(offset, bytes.as_ptr(), bytes.len()) }
    }

    /// Stores zeros. Errors as [`Writable::store`].
    #[inline(never)]
    pub fn zero(&mut self, offset: usize, len: usize) -> Result {
        let to = self.begin(offset, len)?;
        // SAFETY: `begin` checked that `len` bytes are there.
        unsafe { zero_bytes(to, len) };
        Ok(())
    }

    /// Moves bytes inside the block; source and destination may overlap. Errors as
    /// [`Writable::store`].
    #[inline(never)]
    pub fn move_within(&mut self, from: usize, to: usize, len: usize) -> Result {
        let source = self.buffer.range(from, len)?;
        let target = self.begin(to, len)?;
        // SAFETY: Both ranges lie inside the block; bytes are moved in the order that reads each
        // one before it is overwritten.
        unsafe {
            if to <= from {
                for i in 0..len {
                    target.add(i).write_volatile(source.add(i).read_volatile());
                }
            } else {
                for i in (0..len).rev() {
                    target.add(i).write_volatile(source.add(i).read_volatile());
                }
            }
        }
        Ok(())
    }

    /// Sets `count` bits from bit `from` on, or clears them, of the bitmap that begins at byte
    /// `offset`, in the order of [`Buffer::next_zero_bit`]. Errors as [`Writable::store`].
    #[inline(never)]
    pub fn set_bits(&mut self, offset: usize, from: usize, count: usize, set: bool) -> Result {
        let end = from.checked_add(count).ok_or(EUCLEAN)?;
        let base = self.begin(offset, end.div_ceil(8))?;
        let mut bit = from;
        while bit < end {
            let stop = end.min((bit / 8 + 1) * 8);
            let mask = (0xff_u32 << (bit % 8)) & (0xff_u32 >> (7 - (stop - 1) % 8));
            // SAFETY: The byte is below `end.div_ceil(8)`, which `begin` checked.
            unsafe {
                let byte = base.add(bit / 8);
                let old = byte.read_volatile();
                byte.write_volatile(if set {
                    old | mask as u8
                } else {
                    old & !(mask as u8)
                });
            }
            bit = stop;
        }
        Ok(())
    }

    /// Stores the record of an inode: loads it, lets `encode` put the inode's current attributes
    /// into it, and stores it again, all under a lock that every writer of this record takes. So a
    /// record is never stored from attributes that were read before somebody else changed them.
    ///
    /// `encode` is pure: it does not sleep, and computes the record's checksum.
    ///
    /// # Errors
    ///
    /// As [`Writable::store`].
    pub fn store_inode<T: Copy, R: FromBytes + IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        inode: Inode<'_, T>,
        encode: impl FnOnce(&Attributes, &mut R),
    ) -> Result {
        const { assert!(size_of::<R>() <= MAX_RECORD) };
        self.begin(offset, size_of::<R>())?;
        let mut record = MaybeUninit::<R>::uninit();
        let to = record.as_mut_ptr().cast();
        let (guard, attributes) = self.open_record(inode.core(), offset, to, size_of::<R>());
        // SAFETY: `open_record` wrote every byte, and any bytes make an `R`.
        let mut record = unsafe { record.assume_init() };
        encode(&attributes, &mut record);
        self.close_record(guard, inode.core(), offset, record.as_bytes());
        Ok(())
    }

    /// Locks the record of `inode` and copies it out.
    #[inline(never)]
    fn open_record<'a>(
        &self,
        inode: &'a CoreInode,
        offset: usize,
        out: *mut u8,
        len: usize,
    ) -> (RecordGuard<'a>, Attributes) {
        let mut guard = inode.lock_record();
        if let Ok(from) = self.buffer.range(offset, len) {
            // SAFETY: `range` checked the source; the destination is the caller's local value.
            unsafe { copy_words(from, out, len) };
        }
        let mut attributes = inode.attributes();
        match &*guard {
            // From here on the operation does not fail without stopping the volume.
            Some(links) if links.handle == self.handle.id() => *guard = None,
            Some(links) => attributes.nlink = links.nlink,
            None => (),
        }
        (guard, attributes)
    }

    /// Copies the record of `inode` back and unlocks it.
    #[inline(never)]
    fn close_record(
        &self,
        guard: RecordGuard<'_>,
        inode: &CoreInode,
        offset: usize,
        record: &[u8],
    ) {
        if let Ok(to) = self.buffer.range(offset, record.len()) {
            // SAFETY: `range` checked the destination, which is marked dirty since `store_inode`
            // began.
            unsafe { copy_words(record.as_ptr(), to, record.len()) };
        }
        drop(guard);
        data::touched(inode, self.handle);
    }
}

/// Writes zeros by volatile accesses.
///
/// # Safety
///
/// `to` is valid for volatile writes of `len` bytes.
unsafe fn zero_bytes(to: *mut u8, len: usize) {
    let word = size_of::<u64>();
    let mut done = 0;
    while done < len {
        // SAFETY: `done` is less than `len`, and the words are aligned and end before it.
        unsafe {
            let at = to.add(done);
            if at as usize % word == 0 && done + word <= len {
                at.cast::<u64>().write_volatile(0);
                done += word;
            } else {
                at.write_volatile(0);
                done += 1;
            }
        }
    }
}

impl Deref for Writable<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}
