// SPDX-License-Identifier: GPL-2.0

//! Space of a file, without its data: preallocation, holes.

use super::{
    data::{
        blocks,
        run_end,
        Run,
        BLOCK, //
    },
    icache::InodeState,
    Mount, //
};
use crate::{
    bento::{
        ClaimLog,
        Extent,
        FileRange,
        FileSystem,
        Ino, //
    },
    error::{
        code::*,
        Result, //
    },
};
use core::ops::Range;

/// What to look for in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekFrom {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

impl<F: FileSystem> Mount<F> {
    /// Gives blocks to a range of a file that has none there: they read as zeroes. Without
    /// `keep_size` the file reaches to the end of the range at least.
    pub fn allocate(&self, ino: Ino, offset: u64, len: u64, keep_size: bool) -> Result {
        self.change_space(ino, offset, len, |inode, range| {
            self.extend_to(inode, range.end, keep_size, |inode| {
                self.fill_holes(inode, blocks(range.clone()), false)
            })
        })
    }

    /// Makes a range of a file a hole. The size stays.
    pub fn punch_hole(&self, ino: Ino, offset: u64, len: u64) -> Result {
        self.change_space(ino, offset, len, |inode, range| {
            if let Some(whole) = self.zero_edges(inode, range)? {
                self.free_range(inode, whole)?;
            }
            self.store_times(inode)
        })
    }

    /// Makes a range of a file zeroes, with blocks behind them.
    pub fn zero_range(&self, ino: Ino, offset: u64, len: u64, keep_size: bool) -> Result {
        self.change_space(ino, offset, len, |inode, range| {
            self.extend_to(inode, range.end, keep_size, |inode| {
                self.zero_edges(inode, range.clone())?;
                let all = blocks(range.clone());
                let inner = inner_blocks(&range);
                self.fill_holes(
                    inode,
                    FileRange {
                        start: all.start,
                        end: inner.start.min(all.end),
                    },
                    false,
                )?;
                self.fill_holes(inode, inner, true)?;
                self.fill_holes(
                    inode,
                    FileRange {
                        start: inner.end.max(inner.start),
                        end: all.end,
                    },
                    false,
                )
            })
        })
    }

    fn change_space(
        &self,
        ino: Ino,
        offset: u64,
        len: u64,
        change: impl FnOnce(&InodeState<F::Node>, Range<u64>) -> Result,
    ) -> Result {
        self.check_writable()?;
        let inode = self.regular(ino)?;
        let inode = inode.state();
        let end = offset.checked_add(len).ok_or(EFBIG)?;
        if len == 0 {
            return Err(EINVAL);
        }
        if end > self.info.max_file_size {
            return Err(EFBIG);
        }
        let _content = inode.lock();
        change(inode, offset..end)
    }

    /// Does something to a file, and lets it reach to `end` after that.
    fn extend_to(
        &self,
        inode: &InodeState<F::Node>,
        end: u64,
        keep_size: bool,
        change: impl FnOnce(&InodeState<F::Node>) -> Result,
    ) -> Result {
        let grows = !keep_size && end > inode.attributes().size;
        if grows {
            self.zero_behind_end(inode)?;
        }
        change(inode)?;
        let size = inode.attributes().size;
        if grows {
            inode.update(|attributes| attributes.size = end);
        }
        self.store_times(inode)
            .inspect_err(|_| inode.update(|attributes| attributes.size = size))
    }

    fn store_times(&self, inode: &InodeState<F::Node>) -> Result {
        let now = self.now();
        inode.update(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
            attributes.version = attributes.version.wrapping_add(1);
        });
        self.transact(self.credits.write_inode, 0, &[inode], |handle| {
            self.fs.write_inode(handle, inode.view())
        })
    }

    /// Zeroes what a range has of blocks that it does not hold wholly. Gives the blocks that it
    /// does.
    fn zero_edges(
        &self,
        inode: &InodeState<F::Node>,
        range: Range<u64>,
    ) -> Result<Option<FileRange>> {
        let first_end = range.start.next_multiple_of(BLOCK).min(range.end);
        if range.start < first_end {
            self.zero_in_block(inode, range.start..first_end)?;
        }
        let last_start = (range.end / BLOCK * BLOCK).max(first_end);
        if last_start < range.end {
            self.zero_in_block(inode, last_start..range.end)?;
        }
        let inner = inner_blocks(&range);
        Ok((inner.start < inner.end).then_some(inner))
    }

    /// Gives unwritten blocks to the holes in a range; with `zero` what is written becomes zeroes.
    fn fill_holes(&self, inode: &InodeState<F::Node>, range: FileRange, zero: bool) -> Result {
        let mut at = range.start;
        while at < range.end {
            let rest = FileRange {
                start: at,
                end: range.end,
            };
            at = match self.look(inode, rest)? {
                Run::Hole(len) => self.preallocate(inode, at..at + len)?,
                Run::Extent(extent) => {
                    if zero && !extent.unwritten {
                        let volume = self.volume();
                        volume
                            .data
                            .zero(&*volume.device, extent.block, extent.len)?;
                    }
                    extent.file_end()
                }
            };
        }
        Ok(())
    }

    /// Gives unwritten blocks to the start of a hole. Gives their end.
    fn preallocate(&self, inode: &InodeState<F::Node>, hole: Range<u64>) -> Result<u64> {
        let log = ClaimLog::default();
        let extent = Extent {
            unwritten: true,
            ..self.claim(inode, hole, &log)?
        };
        let size = inode.attributes().size;
        match self.publish(inode, extent, size) {
            Ok(()) => {
                log.settle(self.volume());
                Ok(extent.file_end())
            }
            Err(error) => {
                log.drop_all(self.volume());
                Err(error)
            }
        }
    }

    /// The next data, or the next hole, from an offset on. There is a hole at the end of every
    /// file.
    ///
    /// # Errors
    ///
    /// `ENXIO` at or behind the end, or if there is no more data.
    pub fn seek(&self, ino: Ino, offset: u64, what: SeekFrom) -> Result<u64> {
        let inode = self.regular(ino)?;
        let inode = inode.state();
        let _content = inode.lock_shared();
        let size = inode.attributes().size;
        let mut at = offset;
        while at < size {
            let run = self.look(inode, blocks(at..size))?;
            let is_data = matches!(&run, Run::Extent(extent) if !extent.unwritten);
            if is_data == (what == SeekFrom::Data) {
                return Ok(at);
            }
            at = run_end(at, &run);
        }
        match what {
            SeekFrom::Hole if offset < size => Ok(size),
            _ => Err(ENXIO),
        }
    }
}

/// The blocks that lie wholly within a range of bytes; `start` may be behind `end` if there are
/// none.
fn inner_blocks(range: &Range<u64>) -> FileRange {
    FileRange {
        start: range.start.div_ceil(BLOCK),
        end: range.end / BLOCK,
    }
}
