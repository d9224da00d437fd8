// SPDX-License-Identifier: GPL-2.0

//! Groups: their bitmaps, looked at and changed.
//!
//! A group has one lock. It covers its two bitmaps and what is cached of them, so that looking for
//! a clear bit together with claiming it, and setting it, exclude each other: who has claimed a bit
//! that was clear need not look again. A task holds one group's lock at a time, and the lock of the
//! descriptors within it.
//!
//! A bitmap that was never written ("fresh") is computed. The first change writes it.

use super::{
    layout::*,
    metadata::Identity,
    Xv6, //
};
use kernel::{
    bento::{
        sync::Mutex,
        Block,
        Buffer,
        Handle,
        Volume,
        Writable, //
    },
    prelude::*, //
};

/// One of the two bitmaps of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Blocks,
    Inodes,
}

impl Which {
    fn magic(self) -> u32 {
        match self {
            Self::Blocks => MAGIC_BLOCK_BITMAP,
            Self::Inodes => MAGIC_INODE_BITMAP,
        }
    }

    /// The descriptor's flag of a bitmap that was never written.
    fn fresh_flag(self) -> u32 {
        match self {
            Self::Blocks => GROUP_BLOCKS_UNINIT,
            Self::Inodes => GROUP_INODES_UNINIT,
        }
    }

    /// Bits that the block has room for.
    fn capacity(self) -> usize {
        match self {
            Self::Blocks => GROUP_BLOCKS as usize,
            Self::Inodes => MAX_GROUP_INODES as usize,
        }
    }
}

/// What is cached of a bitmap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapState {
    /// It is known to have been written.
    stored: bool,
    /// Its clear bits, once it was looked at.
    pub(super) free: Option<u32>,
    /// Where to look first for a clear bit.
    pub(super) next: usize,
}

/// What is cached of a group.
#[derive(Debug, Default)]
pub(super) struct Group {
    blocks: MapState,
    inodes: MapState,
}

impl Group {
    /// What is cached of one of its bitmaps.
    pub(super) fn map(&mut self, which: Which) -> &mut MapState {
        match which {
            Which::Blocks => &mut self.blocks,
            Which::Inodes => &mut self.inodes,
        }
    }
}

/// The bits of a fresh bitmap that are set: below `start`, and in `journal`.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    start: usize,
    journal: (usize, usize),
}

/// A bitmap to look at, under the lock of its group.
pub(super) struct Bitmap {
    /// None if it was never written.
    buffer: Option<Buffer>,
    fresh: Fresh,
    /// Bits that stand for a block or an inode.
    pub(super) end: usize,
}

impl Bitmap {
    /// The first clear bit in `from..end`, or `end`.
    pub(super) fn next_clear(&self, from: usize, end: usize) -> usize {
        let end = end.min(self.end);
        match &self.buffer {
            Some(buffer) => buffer.next_zero_bit(BITMAP_HEADER, from, end),
            None => {
                let (start, stop) = self.fresh.journal;
                let bit = from.max(self.fresh.start);
                let bit = if bit >= start { bit.max(stop) } else { bit };
                bit.min(end)
            }
        }
    }

    /// The first set bit in `from..end`, or `end`.
    pub(super) fn next_set(&self, from: usize, end: usize) -> usize {
        let end = end.min(self.end);
        match &self.buffer {
            Some(buffer) => buffer.next_set_bit(BITMAP_HEADER, from, end),
            None => {
                let (start, stop) = self.fresh.journal;
                if from < self.fresh.start {
                    from.min(end)
                } else if from < stop {
                    from.max(start).min(end)
                } else {
                    end
                }
            }
        }
    }

    /// Whether `bit` is set.
    pub(super) fn is_set(&self, bit: usize) -> bool {
        self.next_clear(bit, bit.saturating_add(1)) != bit
    }

    /// The first orphan's bit in `from..end`, or `end`.
    pub(super) fn next_orphan(&self, from: usize) -> usize {
        match &self.buffer {
            Some(buffer) => buffer.next_set_bit(ORPHAN_BITS, from, self.end),
            None => self.end,
        }
    }
}

/// A bitmap in a transaction.
pub(super) struct BitmapWrite<'h> {
    group: u64,
    which: Which,
    bitmap: Writable<'h>,
    /// The block of the group's descriptor, if the bitmap had not been written yet.
    descriptor: Option<Writable<'h>>,
}

impl Xv6 {
    /// The lock of a group.
    pub(super) fn group(&self, group: u64) -> Result<&Mutex<Group>> {
        usize::try_from(group)
            .ok()
            .and_then(|group| self.groups.get(group))
            .ok_or(EUCLEAN)
    }

    /// The bitmap of a group whose lock the caller holds.
    pub(super) fn bitmap(
        &self,
        volume: &Volume,
        group: u64,
        which: Which,
        cached: &mut Group,
    ) -> Result<Bitmap> {
        let fresh = self.fresh(group, which);
        let end = self.bits(group, which);
        let cached = cached.map(which);
        if !cached.stored {
            cached.stored = self.descriptor(volume, group)?.flags.get() & which.fresh_flag() == 0;
        }
        if !cached.stored {
            cached.free = Some(self.fresh_free(group, which) as u32);
            return Ok(Bitmap {
                buffer: None,
                fresh,
                end,
            });
        }
        let block = self.bitmap_block(group, which);
        let (buffer, _) = self.read_block(volume, block, Self::bitmap_identity(group, which))?;
        let header: BitmapHeader = buffer.load(0)?;
        if header.free.get() as usize > end || header.orphans.get() as usize > end {
            return Err(volume.corrupt(format_args!("group {group}: counts of {which:?}")));
        }
        cached.free = Some(header.free.get());
        Ok(Bitmap {
            buffer: Some(buffer),
            fresh,
            end,
        })
    }

    /// The counts of a bitmap: clear bits and orphans.
    pub(super) fn counts(&self, volume: &Volume, group: u64, which: Which) -> Result<(u32, u32)> {
        let mut cached = self.group(group)?.lock();
        let bitmap = self.bitmap(volume, group, which, &mut cached)?;
        let free = cached.map(which).free.unwrap_or(0);
        match bitmap.buffer {
            Some(buffer) => Ok((free, buffer.load::<BitmapHeader>(0)?.orphans.get())),
            None => Ok((free, 0)),
        }
    }

    /// The block of a bitmap.
    pub(super) fn bitmap_block(&self, group: u64, which: Which) -> Block {
        match which {
            Which::Blocks => self.geometry.block_bitmap(group),
            Which::Inodes => self.geometry.inode_bitmap(group),
        }
    }

    fn bitmap_identity(group: u64, which: Which) -> Identity {
        Identity {
            magic: which.magic(),
            owner: group,
            generation: 0,
        }
    }

    /// The bits of a bitmap that stand for something.
    pub(super) fn bits(&self, group: u64, which: Which) -> usize {
        match which {
            Which::Blocks => {
                let start = self.geometry.group_start(group);
                self.geometry.group_end(group).saturating_sub(start) as usize
            }
            Which::Inodes => self.geometry.group_inodes as usize,
        }
    }

    /// The bits that are set in a bitmap that was never written.
    fn fresh(&self, group: u64, which: Which) -> Fresh {
        if which == Which::Inodes {
            return Fresh {
                start: 0,
                journal: (0, 0),
            };
        }
        let first = self.geometry.group_start(group);
        let end = self.geometry.group_end(group);
        let bit = |block: Block| block.min(end).saturating_sub(first);
        let journal = self.journal;
        Fresh {
            start: bit(self.geometry.data_start(group)) as usize,
            journal: (
                bit(journal.start) as usize,
                bit(journal.start.saturating_add(journal.len)) as usize,
            ),
        }
    }

    /// The clear bits of a bitmap that was never written.
    pub(super) fn fresh_free(&self, group: u64, which: Which) -> usize {
        let Fresh { start, journal } = self.fresh(group, which);
        let journal = journal.1.saturating_sub(journal.0);
        self.bits(group, which)
            .saturating_sub(start)
            .saturating_sub(journal)
    }

    fn descriptor_identity(group: u64) -> Identity {
        Identity {
            magic: MAGIC_GROUPS,
            owner: group.saturating_sub(group % GROUPS_PER_BLOCK),
            generation: 0,
        }
    }

    /// The descriptor of a group.
    pub(super) fn descriptor(&self, volume: &Volume, group: u64) -> Result<GroupDescriptor> {
        let (block, offset) = self.geometry.descriptor(group);
        let _guard = self.descriptors.lock();
        let (buffer, _) = self.read_block(volume, block, Self::descriptor_identity(group))?;
        buffer.load(offset)
    }

    /// Takes write access to a bitmap, and if it is fresh to what its first change needs.
    pub(super) fn prepare_bitmap<'h>(
        &self,
        handle: &'h Handle<'_>,
        group: u64,
        which: Which,
    ) -> Result<BitmapWrite<'h>> {
        let mut cached = self.group(group)?.lock();
        let bitmap = self.bitmap(handle.volume(), group, which, &mut cached)?;
        let (bitmap, descriptor) = match bitmap.buffer {
            Some(buffer) => {
                drop(cached);
                (handle.write(&buffer)?, None)
            }
            // Under the lock: so whoever finds the bitmap fresh finds it before its first change.
            None => {
                let buffer = handle.volume().read(self.geometry.descriptor(group).0)?;
                let descriptor = handle.write(&buffer)?;
                let bitmap = handle.write_unread(self.bitmap_block(group, which))?;
                (bitmap, Some(descriptor))
            }
        };
        Ok(BitmapWrite {
            group,
            which,
            bitmap,
            descriptor,
        })
    }
}

impl BitmapWrite<'_> {
    /// Sets or clears `count` bits, which are all clear or set now.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if they are not.
    pub(super) fn change(
        &mut self,
        fs: &Xv6,
        volume: &Volume,
        first: usize,
        count: usize,
        set: bool,
    ) -> Result {
        let mut cached = fs.group(self.group)?.lock();
        self.store_fresh(fs, cached.map(self.which))?;
        let end = first.saturating_add(count);
        let mut header: BitmapHeader = self.bitmap.load(0)?;
        let free = header.free.get() as usize;
        let (wrong, free) = if set {
            let wrong = self.bitmap.next_set_bit(BITMAP_HEADER, first, end);
            (wrong, free.checked_sub(count))
        } else {
            let wrong = self.bitmap.next_zero_bit(BITMAP_HEADER, first, end);
            (wrong, free.checked_add(count))
        };
        let limit = fs.bits(self.group, self.which);
        let free = match free {
            Some(free) if wrong == end && end <= limit && free <= limit => free as u32,
            _ => {
                let (group, which) = (self.group, self.which);
                return Err(volume.corrupt(format_args!(
                    "group {group}: bit {wrong} of {which:?} is {set} already, or miscounted"
                )));
            }
        };
        self.bitmap.set_bits(BITMAP_HEADER, first, count, set)?;
        header.free = free.into();
        let cached = cached.map(self.which);
        cached.free = Some(free);
        if !set && self.which == Which::Inodes {
            cached.next = cached.next.min(first);
        }
        self.store_header(fs, &header)
    }

    /// Makes an inode an orphan, or one no more. Nothing if it is so already.
    pub(super) fn change_orphan(
        &mut self,
        fs: &Xv6,
        volume: &Volume,
        bit: usize,
        set: bool,
    ) -> Result {
        let mut cached = fs.group(self.group)?.lock();
        self.store_fresh(fs, cached.map(self.which))?;
        let end = bit.saturating_add(1);
        if (self.bitmap.next_set_bit(ORPHAN_BITS, bit, end) == bit) == set {
            return Ok(());
        }
        let mut header: BitmapHeader = self.bitmap.load(0)?;
        let orphans = header.orphans.get();
        let orphans = if set {
            orphans.checked_add(1)
        } else {
            orphans.checked_sub(1)
        };
        let Some(orphans) = orphans else {
            let group = self.group;
            return Err(volume.corrupt(format_args!("group {group}: orphans miscounted")));
        };
        self.bitmap.set_bits(ORPHAN_BITS, bit, 1, set)?;
        header.orphans = orphans.into();
        self.store_header(fs, &header)
    }

    fn store_header(&mut self, fs: &Xv6, header: &BitmapHeader) -> Result {
        self.bitmap.store(0, header)?;
        let identity = Xv6::bitmap_identity(self.group, self.which);
        fs.seal(&mut self.bitmap, identity, 0, 0)
    }

    /// Writes the bitmap as it is while fresh, unless another task was faster.
    fn store_fresh(&mut self, fs: &Xv6, cached: &mut MapState) -> Result {
        let Some(descriptor) = &mut self.descriptor else {
            return Ok(());
        };
        if cached.stored {
            return Ok(());
        }
        let (group, which) = (self.group, self.which);
        let end = fs.bits(group, which);
        let Fresh { start, journal } = fs.fresh(group, which);
        let used = [(0, start), journal, (end, which.capacity())];
        for (from, to) in used {
            let count = to.saturating_sub(from);
            self.bitmap.set_bits(BITMAP_HEADER, from, count, true)?;
        }
        let mut header: BitmapHeader = self.bitmap.load(0)?;
        header.free = (fs.fresh_free(group, which) as u32).into();
        self.bitmap.store(0, &header)?;

        let _guard = fs.descriptors.lock();
        let (_, offset) = fs.geometry.descriptor(group);
        let mut value: GroupDescriptor = descriptor.load(offset)?;
        value.flags = (value.flags.get() & !which.fresh_flag()).into();
        descriptor.store(offset, &value)?;
        let header: BlockHeader = descriptor.load(0)?;
        let identity = Xv6::descriptor_identity(group);
        fs.seal(descriptor, identity, header.level.get(), header.count.get())?;
        cached.stored = true;
        Ok(())
    }
}
