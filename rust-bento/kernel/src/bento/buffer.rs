// SPDX-License-Identifier: GPL-2.0

//! Metadata buffers.

use super::{
    Attributes,
    Block,
    Handle,
    Inode, //
};
use crate::{
    error::{
        code::*,
        Result, //
    },
    user::{
        cache::Cached,
        device::{
            BlockData,
            BLOCK_SIZE, //
        },
    },
};
use core::{
    marker::PhantomData,
    ops::{
        Deref,
        Range, //
    },
};
use std::sync::Arc;
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// The largest record that [`Writable::store_inode`] takes, in bytes.
const MAX_RECORD: usize = 512;

/// A reference to a cached metadata block.
pub struct Buffer {
    cached: Arc<Cached>,
    /// Stays with its task, as in the kernel.
    _not_send: PhantomData<*const ()>,
}

/// The range `offset..offset + len`, if it lies within a block.
fn within(offset: usize, len: usize) -> Result<Range<usize>> {
    match offset.checked_add(len) {
        Some(end) if end <= BLOCK_SIZE => Ok(offset..end),
        _ => Err(EUCLEAN),
    }
}

impl Buffer {
    pub(crate) fn new(cached: Arc<Cached>) -> Self {
        Self {
            cached,
            _not_send: PhantomData,
        }
    }

    pub(crate) fn cached(&self) -> &Arc<Cached> {
        &self.cached
    }

    /// The block's number.
    pub fn block(&self) -> Block {
        self.cached.block()
    }

    /// Copies a value out. `EUCLEAN` if it is not wholly inside the block.
    pub fn load<T: FromBytes>(&self, offset: usize) -> Result<T> {
        let range = within(offset, size_of::<T>())?;
        T::read_from_bytes(&self.cached.bytes()[range]).map_err(|_| EUCLEAN)
    }

    /// Copies bytes out. `EUCLEAN` if they are not wholly inside the block.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result {
        let range = within(offset, out.len())?;
        out.copy_from_slice(&self.cached.bytes()[range]);
        Ok(())
    }

    /// Whether these bytes stand there. False outside the block.
    pub fn equals(&self, offset: usize, bytes: &[u8]) -> bool {
        match within(offset, bytes.len()) {
            Ok(range) => self.cached.bytes()[range] == *bytes,
            Err(_) => false,
        }
    }

    /// The raw CRC32C of a range. Bytes outside the block are left out.
    pub fn crc32c(&self, seed: u32, offset: usize, len: usize) -> u32 {
        let start = offset.min(BLOCK_SIZE);
        let end = offset.saturating_add(len).min(BLOCK_SIZE);
        super::crc32c(seed, &self.cached.bytes()[start..end])
    }

    /// The first zero bit in `from..end` of the bitmap that begins at byte `offset`, a multiple of
    /// 8; `end` if none.
    pub fn next_zero_bit(&self, offset: usize, from: usize, end: usize) -> usize {
        next_bit(&self.cached.bytes(), offset, from, end, 0xff)
    }

    /// The first set bit in `from..end` of the bitmap that begins at byte `offset`, a multiple of
    /// 8; `end` if none.
    pub fn next_set_bit(&self, offset: usize, from: usize, end: usize) -> usize {
        next_bit(&self.cached.bytes(), offset, from, end, 0)
    }

    /// Whether the block's checksum was verified since it was read.
    pub fn is_checked(&self) -> bool {
        self.cached.is_checked()
    }

    /// Records that the block's checksum is right.
    pub fn set_checked(&self) {
        self.cached.set_checked();
    }
}

/// Looks for the first bit that differs from those of `skip`.
fn next_bit(bytes: &BlockData, offset: usize, from: usize, end: usize, skip: u8) -> usize {
    debug_assert_eq!(offset % 8, 0);
    let mut at = from;
    while at < end {
        let Some(byte) = bytes.get(offset.saturating_add(at / 8)) else {
            return end;
        };
        let rest = (byte ^ skip) >> (at % 8);
        if rest != 0 {
            return (at + rest.trailing_zeros() as usize).min(end);
        }
        at = (at / 8 + 1) * 8;
    }
    end
}

/// A buffer that a handle may store to.
///
/// The first store marks the buffer dirty in the handle's transaction, before a byte changes.
pub struct Writable<'h> {
    buffer: Buffer,
    handle: &'h Handle<'h>,
    dirty: bool,
}

impl<'h> Writable<'h> {
    pub(crate) fn new(buffer: Buffer, handle: &'h Handle<'h>) -> Self {
        Self {
            buffer,
            handle,
            dirty: false,
        }
    }

    fn change(&mut self, range: Range<usize>, change: impl FnOnce(&mut [u8])) -> Result {
        if !self.dirty {
            self.handle.dirty(&self.buffer)?;
            self.dirty = true;
        }
        change(&mut self.buffer.cached.bytes_mut()[range]);
        Ok(())
    }

    /// Stores a value.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if it would not lie inside the block; else those of the journal.
    pub fn store<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Result {
        self.write(offset, value.as_bytes())
    }

    /// Stores bytes. Errors as [`Writable::store`].
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        let range = within(offset, bytes.len())?;
        self.change(range, |at| at.copy_from_slice(bytes))
    }

    /// Stores zeroes. Errors as [`Writable::store`].
    pub fn zero(&mut self, offset: usize, len: usize) -> Result {
        let range = within(offset, len)?;
        self.change(range, |at| at.fill(0))
    }

    /// Copies bytes within the block; the ranges may overlap. Errors as [`Writable::store`].
    pub fn move_within(&mut self, from: usize, to: usize, len: usize) -> Result {
        let from = within(from, len)?;
        within(to, len)?;
        self.change(0..BLOCK_SIZE, |block| block.copy_within(from, to))
    }

    /// Sets `count` bits from `from` on, or clears them, of the bitmap that begins at byte
    /// `offset`. Errors as [`Writable::store`].
    pub fn set_bits(&mut self, offset: usize, from: usize, count: usize, set: bool) -> Result {
        let end = from.checked_add(count).ok_or(EUCLEAN)?;
        let range = within(offset, end.div_ceil(8))?;
        self.change(range, |bytes| {
            for bit in from..end {
                let mask = 1 << (bit % 8);
                match set {
                    true => bytes[bit / 8] |= mask,
                    false => bytes[bit / 8] &= !mask,
                }
            }
        })
    }

    /// Brings an inode's record up to date: loads it, lets `encode` put in the attributes as they
    /// are now, with the on-disk size, and stores it, all under the inode's spinlock.
    ///
    /// `encode` is pure and does not sleep; it also computes the record's checksum. A record has
    /// 512 bytes at most. Errors as [`Writable::store`].
    pub fn store_inode<T: Copy, R: FromBytes + IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        inode: Inode<'_, T>,
        encode: impl FnOnce(&Attributes, &mut R),
    ) -> Result {
        const { assert!(size_of::<R>() <= MAX_RECORD) };
        let range = within(offset, size_of::<R>())?;
        let attributes = inode.core().attributes();
        self.change(range, |bytes| {
            if let Ok(mut record) = R::read_from_bytes(bytes) {
                encode(&attributes, &mut record);
                bytes.copy_from_slice(record.as_bytes());
            }
        })
    }
}

impl Deref for Writable<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}
