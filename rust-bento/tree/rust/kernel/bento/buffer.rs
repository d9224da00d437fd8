// SPDX-License-Identifier: GPL-2.0

//! Cached metadata blocks.
//!
//! A [`Buffer`] is a reference to a block in the block device's page cache. Its bytes move as word
//! copies and are never borrowed: blocks of the inode table and of bitmaps are shared by unrelated
//! inodes, and root may write to the device of a mounted file system. So a value is copied out
//! first and checked afterwards, and what a reader sees while another task writes is up to the
//! locks of the file system, but it is never undefined behaviour.
//!
//! No buffer lock is taken to read: the journal takes it itself.
//!
//! C header: [`include/linux/buffer_head.h`](srctree/include/linux/buffer_head.h)

use super::{
    Block,
    Volume, //
};
use crate::{
    bindings,
    prelude::*, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};

/// Size of a block in bytes. That of a page, so that a block is one folio's part at most.
pub(super) const BLOCK_SIZE: usize = 4096;

/// Logarithm of [`BLOCK_SIZE`].
pub(super) const BLOCK_SHIFT: u32 = 12;

const WORD: usize = size_of::<u64>();

/// A reference to a cached metadata block.
///
/// # Invariants
///
/// `head` points at a buffer head that is up to date, of `BLOCK_SIZE` bytes, and of which this
/// owns one reference. Its data is aligned to `BLOCK_SIZE`.
pub struct Buffer {
    head: NonNull<bindings::buffer_head>,
}

// SAFETY: A reference to a buffer head may be given up by any task, and the accessors below may be
// called from any.
unsafe impl Send for Buffer {}
// SAFETY: As above; the data is only reached by volatile word accesses.
unsafe impl Sync for Buffer {}

impl Volume {
    /// Reads a block, from the cache if it is there.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if the block lies outside the volume, `EIO` if it cannot be read.
    #[inline(never)]
    pub fn read(&self, block: Block) -> Result<Buffer> {
        if block >= self.blocks() {
            return Err(EUCLEAN);
        }
        // SAFETY: The super block is alive while its `Volume` is, and its block size is
        // `BLOCK_SIZE`.
        let head = unsafe { bindings::bento_bread(self.core().raw(), block) };
        // INVARIANT: `bento_bread` gives a reference to a buffer that is up to date.
        Ok(Buffer {
            head: NonNull::new(head).ok_or(EIO)?,
        })
    }

    /// Starts to read blocks that will be wanted soon. Never waits for them.
    #[inline(never)]
    pub fn readahead(&self, block: Block, count: u64) {
        let end = block.saturating_add(count).min(self.blocks());
        for block in block..end {
            // SAFETY: As in `read`.
            unsafe { bindings::bento_breadahead(self.core().raw(), block) };
        }
    }
}

impl Buffer {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `head` is up to date, of `BLOCK_SIZE` bytes, and the caller gives up a reference to it.
    pub(super) unsafe fn from_raw(head: NonNull<bindings::buffer_head>) -> Self {
        // INVARIANT: By this function's requirements.
        Self { head }
    }

    pub(super) fn raw(&self) -> *mut bindings::buffer_head {
        self.head.as_ptr()
    }

    /// Another reference to the same block.
    pub(super) fn share(&self) -> Self {
        // SAFETY: `self` owns a reference, so the count is not zero.
        unsafe { bindings::get_bh(self.raw()) };
        // INVARIANT: Of the same buffer; the reference was taken above.
        Self { head: self.head }
    }

    /// The first byte of the block.
    fn data(&self) -> *mut u8 {
        // SAFETY: The buffer head is alive; `b_data` does not change while it is referenced.
        unsafe { (*self.raw()).b_data }.cast()
    }

    /// A pointer to `len` bytes at `offset`, if they lie inside the block.
    pub(super) fn range(&self, offset: usize, len: usize) -> Result<*mut u8> {
        match offset.checked_add(len) {
            // SAFETY: `offset` is at most `BLOCK_SIZE`, which is the size of the block.
            Some(end) if end <= BLOCK_SIZE => Ok(unsafe { self.data().add(offset) }),
            _ => Err(EUCLEAN),
        }
    }

    /// The number of the block.
    #[inline(never)]
    pub fn block(&self) -> Block {
        // SAFETY: The buffer head is alive, and its number does not change while it is referenced.
        unsafe { (*self.raw()).b_blocknr }
    }

    /// Whether the block is one of this device, which is open. It is none any more after the device
    /// that it was read from has been closed.
    pub(super) fn is_of(&self, device: *mut bindings::block_device) -> bool {
        // SAFETY: The buffer head is alive. The word is set to null when the device lets go of it.
        let own = unsafe { (&raw const (*self.raw()).b_bdev).read_volatile() };
        core::ptr::eq(own, device)
    }

    /// Copies a value out of the block.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it does not lie inside the block.
    pub fn load<T: FromBytes>(&self, offset: usize) -> Result<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: `value` is valid for writes of its size.
        unsafe { self.copy_out(offset, value.as_mut_ptr().cast(), size_of::<T>())? };
        // SAFETY: Every byte was written, and any bytes make a `T`.
        Ok(unsafe { value.assume_init() })
    }

    /// Copies bytes out of the block.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if they do not lie inside the block.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        // SAFETY: `out` is valid for writes of its length.
        unsafe { self.copy_out(offset, out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes out of the block.
    ///
    /// # Safety
    ///
    /// `out` is valid for writes of `len` bytes.
    #[inline(never)]
    unsafe fn copy_out(&self, offset: usize, out: *mut u8, len: usize) -> Result {
        let from = self.range(offset, len)?;
        // SAFETY: `range` checked the source; the destination is valid by this function's
        // requirement, and no one else's: a reference or a local value never lies in the block
        // device's cache.
        unsafe { copy_words(from, out, len) };
        Ok(())
    }

    /// Whether the block holds `bytes` at `offset`. No, if that is outside.
    #[inline(never)]
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        let Ok(from) = self.range(offset, bytes.len()) else {
            return false;
        };
        bytes.iter().enumerate().all(|(i, &byte)| {
            // SAFETY: `range` checked that `bytes.len()` bytes are there.
            unsafe { from.add(i).read_volatile() == byte }
        })
    }

    /// The CRC32C of `len` bytes at `offset`, as [`crc32c`] computes it. Bytes outside the block
    /// are left out.
    #[inline(never)]
    pub fn crc32c(&self, seed: u32, offset: usize, len: usize) -> u32 {
        let offset = offset.min(BLOCK_SIZE);
        let len = len.min(BLOCK_SIZE - offset);
        // SAFETY: The range was cut to the block. C reads it as it reads any page cache page.
        unsafe { bindings::crc32c(seed, self.data().add(offset).cast(), len) }
    }

    /// The first clear bit of `from..end` in the bitmap that begins at byte `offset`, a multiple of
    /// 8; `end` if there is none, or if that is outside the block. Bit 0 is the lowest of the first
    /// byte.
    #[inline(never)]
    pub fn next_zero_bit(&self, offset: usize, from: usize, end: usize) -> usize {
        self.next_bit(offset, from, end, u64::MAX)
    }

    /// The first set bit of `from..end`, see [`Buffer::next_zero_bit`].
    #[inline(never)]
    pub fn next_set_bit(&self, offset: usize, from: usize, end: usize) -> usize {
        self.next_bit(offset, from, end, 0)
    }

    /// The first bit that differs from those of `background`.
    fn next_bit(&self, offset: usize, from: usize, end: usize, background: u64) -> usize {
        let Ok(base) = self.range(offset, end.div_ceil(64).saturating_mul(WORD)) else {
            return end;
        };
        if offset % WORD != 0 {
            return end;
        }
        let mut bit = from;
        while bit < end {
            // SAFETY: `bit` is below `end`, whose word lies in the range checked above; blocks are
            // aligned, and so is `offset`.
            let word = unsafe { base.cast::<u64>().add(bit / 64).read_volatile() };
            let differs = (u64::from_le(word) ^ background) >> (bit % 64);
            if differs != 0 {
                return (bit + differs.trailing_zeros() as usize).min(end);
            }
            bit = (bit / 64 + 1) * 64;
        }
        end
    }

    /// Whether the block's checksum was verified since it was read or made.
    ///
    /// Whoever tests the flag, verifies and sets it holds a lock that keeps writers of the block
    /// away.
    #[inline(never)]
    pub fn is_checked(&self) -> bool {
        // SAFETY: The buffer head is alive.
        unsafe { bindings::bento_buffer_checked(self.raw()) }
    }

    /// Notes that the block's checksum is right.
    #[inline(never)]
    pub fn set_checked(&self) {
        // SAFETY: The buffer head is alive.
        unsafe { bindings::bento_set_buffer_checked(self.raw()) }
    }
}

impl Drop for Buffer {
    #[inline(never)]
    fn drop(&mut self) {
        // SAFETY: `self` owns a reference by the type invariants.
        unsafe { bindings::__brelse(self.raw()) }
    }
}

/// The CRC32C of `bytes`, continued from `seed`, without a final inversion.
#[inline(never)]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { bindings::crc32c(seed, bytes.as_ptr().cast(), bytes.len()) }
}

/// Copies bytes by volatile accesses, by words where both sides are aligned.
///
/// # Safety
///
/// `from` is valid for volatile reads of `len` bytes and `to` for volatile writes, and they do not
/// overlap.
pub(super) unsafe fn copy_words(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    if (from as usize | to as usize) % WORD == 0 {
        while done + WORD <= len {
            // SAFETY: Both pointers are aligned, `done + WORD` is at most `len`.
            unsafe {
                let word = from.add(done).cast::<u64>().read_volatile();
                to.add(done).cast::<u64>().write_volatile(word);
            }
            done += WORD;
        }
    }
    while done < len {
        // SAFETY: `done` is less than `len`.
        unsafe { to.add(done).write_volatile(from.add(done).read_volatile()) };
        done += 1;
    }
}
