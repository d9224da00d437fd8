// SPDX-License-Identifier: GPL-2.0

//! File data: read, write, and size.
//!
//! Data goes to the device first and is published after that, so a crash shows no block that was
//! not written. When a file grows, the rest of what was its last block is zeroed first: behind the
//! end there may be anything.

use super::{
    icache::InodeState,
    Mount, //
};
use crate::{
    bento::{
        Block,
        ClaimLog,
        Claims,
        Extent,
        FileRange,
        FileSystem,
        Ino,
        Intent,
        Kind,
        Mapping, //
    },
    error::{
        code::*,
        Result, //
    },
    user::{
        device::BLOCK_SIZE,
        space::From, //
    },
};
use core::ops::Range;

/// Size of a block, as a number of bytes in a file.
pub(super) const BLOCK: u64 = BLOCK_SIZE as u64;

/// What stands in the first blocks of a range.
pub(super) enum Run {
    /// Nothing, for so many blocks.
    Hole(u64),
    /// Blocks of the file.
    Extent(Extent),
}

impl<F: FileSystem> Mount<F> {
    /// Reads from a file: the number of bytes, fewer than `out` has at the end of the file.
    pub fn read(&self, ino: Ino, offset: u64, out: &mut [u8]) -> Result<usize> {
        let inode = self.regular(ino)?;
        let inode = inode.state();
        let _content = inode.lock_shared();
        let size = inode.attributes().size;
        let len = size.saturating_sub(offset).min(out.len() as u64);
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let run = self.look(inode, blocks(at..end))?;
            let stop = run_end(at, &run).min(end);
            let out = &mut out[(at - offset) as usize..(stop - offset) as usize];
            match run {
                Run::Extent(extent) if !extent.unwritten => {
                    self.read_bytes(extent.block, at % BLOCK, out)?
                }
                _ => out.fill(0),
            }
            at = stop;
        }
        Ok(len as usize)
    }

    /// Writes to a file: the number of bytes, fewer than `data` has if there was an error behind
    /// them.
    pub fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<usize> {
        self.check_writable()?;
        let inode = self.regular(ino)?;
        let inode = inode.state();
        if data.is_empty() {
            return Ok(0);
        }
        let _content = inode.lock();
        self.write_locked(inode, offset, data)
    }

    /// Writes at the end of a file. Gives the offset of what was written, and the number of bytes.
    pub fn append(&self, ino: Ino, data: &[u8]) -> Result<(u64, usize)> {
        self.check_writable()?;
        let inode = self.regular(ino)?;
        let inode = inode.state();
        let _content = inode.lock();
        let offset = inode.attributes().size;
        match data.is_empty() {
            true => Ok((offset, 0)),
            false => Ok((offset, self.write_locked(inode, offset, data)?)),
        }
    }

    fn write_locked(&self, inode: &InodeState<F::Node>, offset: u64, data: &[u8]) -> Result<usize> {
        let room = self.info.max_file_size.saturating_sub(offset);
        if room == 0 {
            return Err(EFBIG);
        }
        let data = &data[..data.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let end = offset + data.len() as u64;
        if offset > inode.attributes().size {
            self.zero_behind_end(inode)?;
        }
        let now = self.now();
        inode.update(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
            attributes.version = attributes.version.wrapping_add(1);
        });
        inode.set_dirty();
        let mut at = offset;
        while at < end {
            match self.write_run(inode, at, &data[(at - offset) as usize..]) {
                Ok(stop) => at = stop,
                Err(error) if at == offset => return Err(error),
                Err(_) => break,
            }
        }
        Ok((at - offset) as usize)
    }

    /// Writes as much as one mapping holds. Gives the end of it in the file.
    fn write_run(&self, inode: &InodeState<F::Node>, at: u64, data: &[u8]) -> Result<u64> {
        let end = at + data.len() as u64;
        let range = blocks(at..end);
        let log = ClaimLog::default();
        let mut new = true;
        let extent = match self.look(inode, range)? {
            Run::Hole(len) => self.claim(inode, range.start..range.start + len, &log)?,
            Run::Extent(extent) => {
                new = extent.unwritten;
                extent
            }
        };
        let stop = end.min(extent.file_end().saturating_mul(BLOCK));
        let data = &data[..(stop - at) as usize];
        let size = inode.attributes().size;
        let result = match new {
            true => self.write_padded(extent.block, at % BLOCK, data),
            false => self.write_bytes(extent.block, at % BLOCK, data),
        };
        let result = result.and_then(|()| match new || stop > size {
            true => self.publish(
                inode,
                Extent {
                    unwritten: false,
                    len: stop.div_ceil(BLOCK) - extent.file_block,
                    ..extent
                },
                size.max(stop),
            ),
            false => Ok(()),
        });
        match result.is_ok() {
            true => log.settle(self.volume()),
            false => log.drop_all(self.volume()),
        }
        result.map(|()| stop)
    }

    /// What stands at the start of a range, as far as one mapping tells.
    pub(super) fn look(&self, inode: &InodeState<F::Node>, range: FileRange) -> Result<Run> {
        let log = ClaimLog::default();
        let claims = Claims::new(self.volume(), &log, From::Free);
        match self
            .fs
            .map(self.volume(), &claims, inode.view(), range, Intent::Look)?
        {
            Mapping::Hole { len } if len > 0 && len <= range.end - range.start => {
                Ok(Run::Hole(len))
            }
            Mapping::Mapped(extent) if self.is_sane(&extent, range) => Ok(Run::Extent(extent)),
            other => {
                self.volume()
                    .breach(format_args!("map of {range:?} gave {other:?}"));
                Err(EIO)
            }
        }
    }

    /// Claims blocks for the start of a hole. They are pending while `log` is not settled.
    pub(super) fn claim(
        &self,
        inode: &InodeState<F::Node>,
        hole: Range<u64>,
        log: &ClaimLog,
    ) -> Result<Extent> {
        let range = FileRange {
            start: hole.start,
            end: hole.end,
        };
        let claims = Claims::new(self.volume(), log, From::Free);
        let mapping = self
            .with_space(|| {
                self.fs.map(
                    self.volume(),
                    &claims,
                    inode.view(),
                    range,
                    Intent::Allocate,
                )
            })
            .inspect_err(|_| log.drop_all(self.volume()))?;
        match mapping {
            Mapping::Claimed(extent) if self.is_sane(&extent, range) => Ok(extent),
            other => {
                log.drop_all(self.volume());
                self.volume().breach(format_args!(
                    "map of the hole {range:?} to allocate gave {other:?}"
                ));
                Err(EIO)
            }
        }
    }

    fn is_sane(&self, extent: &Extent, range: FileRange) -> bool {
        extent.file_block == range.start
            && extent.len > 0
            && extent.file_end() <= range.end
            && extent
                .block
                .checked_add(extent.len)
                .is_some_and(|end| end <= self.info.blocks)
    }

    /// Makes an extent part of the file, whose size becomes `size`.
    pub(super) fn publish(&self, inode: &InodeState<F::Node>, extent: Extent, size: u64) -> Result {
        let before = inode.attributes().size;
        inode.update(|attributes| attributes.size = size);
        self.with_space(|| {
            self.transact(self.credits.publish, 0, &[inode], |handle| {
                self.fs.publish(handle, inode.view(), extent)
            })
        })
        .inspect_err(|_| inode.update(|attributes| attributes.size = before))
    }

    /// Changes the size of a file whose content is locked.
    pub(super) fn set_size(&self, inode: &InodeState<F::Node>, size: u64) -> Result {
        if size > self.info.max_file_size {
            return Err(EFBIG);
        }
        let before = inode.attributes();
        if size > before.size {
            self.zero_behind_end(inode)?;
        }
        let cut = size <= before.size && before.sectors > 0;
        // A file without a name is an orphan already, and stays one: who holds the content keeps
        // the names. A handle of its own: the other's failure comes before its first store. An
        // orphan of the old size is no harm.
        if cut && before.nlink > 0 {
            self.transact(self.credits.orphan, 0, &[inode], |handle| {
                self.fs.set_orphan(handle, inode.view(), true)
            })?;
        }
        inode.update(|attributes| attributes.size = size);
        let result = self.transact(self.credits.write_inode, 0, &[inode], |handle| {
            self.fs.write_inode(handle, inode.view())
        });
        if result.is_err() {
            inode.update(|attributes| attributes.size = before.size);
            if cut {
                // If that fails too, the next mount does it.
                let _ = self.end_cut(inode);
            }
            return result;
        }
        match cut {
            true => self.cut(inode, size),
            false => Ok(()),
        }
    }

    /// Frees what lies behind the size, and takes a file with a name off the orphan list.
    pub(super) fn cut(&self, inode: &InodeState<F::Node>, size: u64) -> Result {
        self.free_range(
            inode,
            FileRange {
                start: size.div_ceil(BLOCK),
                end: self.end_block(),
            },
        )?;
        self.end_cut(inode)
    }

    fn end_cut(&self, inode: &InodeState<F::Node>) -> Result {
        if inode.attributes().nlink == 0 {
            return Ok(());
        }
        self.transact(self.credits.orphan, 0, &[inode], |handle| {
            self.fs.set_orphan(handle, inode.view(), false)
        })
    }

    /// Zeroes the rest of the last block: the file is about to grow.
    pub(super) fn zero_behind_end(&self, inode: &InodeState<F::Node>) -> Result {
        let size = inode.attributes().size;
        match size % BLOCK {
            0 => Ok(()),
            _ => self.zero_in_block(inode, size..size.next_multiple_of(BLOCK)),
        }
    }

    /// Zeroes bytes of one block of a file, if it has been written.
    pub(super) fn zero_in_block(&self, inode: &InodeState<F::Node>, range: Range<u64>) -> Result {
        match self.look(inode, blocks(range.clone()))? {
            Run::Extent(extent) if !extent.unwritten => self.write_bytes(
                extent.block,
                range.start % BLOCK,
                &vec![0; (range.end - range.start) as usize],
            ),
            _ => Ok(()),
        }
    }

    /// The first block that no file reaches.
    pub(super) fn end_block(&self) -> u64 {
        self.info.max_file_size.div_ceil(BLOCK)
    }

    pub(super) fn regular(&self, ino: Ino) -> Result<super::InodeRef<'_, F>> {
        let inode = self.get(ino)?;
        match inode.kind() {
            Kind::Regular => Ok(inode),
            Kind::Directory => Err(EISDIR),
            _ => Err(EINVAL),
        }
    }

    /// Reads bytes that begin `skip` bytes behind the start of a block.
    fn read_bytes(&self, block: Block, skip: u64, out: &mut [u8]) -> Result {
        let device = &self.volume().device;
        if skip == 0 && out.len() as u64 % BLOCK == 0 {
            return device.read(block, out);
        }
        let skip = skip as usize;
        let mut whole = vec![0; (skip + out.len()).next_multiple_of(BLOCK_SIZE)];
        device.read(block, &mut whole)?;
        out.copy_from_slice(&whole[skip..skip + out.len()]);
        Ok(())
    }

    /// Writes bytes that begin `skip` bytes behind the start of a block; what stands around them
    /// stays.
    fn write_bytes(&self, block: Block, skip: u64, data: &[u8]) -> Result {
        let device = &self.volume().device;
        if skip == 0 && data.len() as u64 % BLOCK == 0 {
            return self.write_blocks(block, data);
        }
        let skip = skip as usize;
        let mut whole = vec![0; (skip + data.len()).next_multiple_of(BLOCK_SIZE)];
        let last = whole.len() - BLOCK_SIZE;
        device.read(block, &mut whole[..BLOCK_SIZE])?;
        if last > 0 {
            device.read(block + last as u64 / BLOCK, &mut whole[last..])?;
        }
        whole[skip..skip + data.len()].copy_from_slice(data);
        self.write_blocks(block, &whole)
    }

    /// Writes bytes into new blocks; what stands around them is zero.
    fn write_padded(&self, block: Block, skip: u64, data: &[u8]) -> Result {
        if skip == 0 && data.len() as u64 % BLOCK == 0 {
            return self.write_blocks(block, data);
        }
        let skip = skip as usize;
        let mut whole = vec![0; (skip + data.len()).next_multiple_of(BLOCK_SIZE)];
        whole[skip..skip + data.len()].copy_from_slice(data);
        self.write_blocks(block, &whole)
    }

    fn write_blocks(&self, block: Block, data: &[u8]) -> Result {
        let volume = self.volume();
        volume.data.write(&*volume.device, block, data)
    }
}

/// The blocks that hold a range of bytes.
pub(super) fn blocks(bytes: Range<u64>) -> FileRange {
    FileRange {
        start: bytes.start / BLOCK,
        end: bytes.end.div_ceil(BLOCK),
    }
}

/// Where a run that begins in the block of `at` ends, in bytes.
pub(super) fn run_end(at: u64, run: &Run) -> u64 {
    let len = match run {
        Run::Hole(len) => *len,
        Run::Extent(extent) => extent.len,
    };
    (at / BLOCK + len).saturating_mul(BLOCK)
}
