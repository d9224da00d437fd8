// SPDX-License-Identifier: GPL-2.0

//! Recovery: committed transactions are written to their places.
//!
//! As in fs/jbd2/recovery.c there are three passes: find the end of the log, collect the revoke
//! records, write the blocks.

use super::{
    format::{
        self,
        CommitHeader,
        Header,
        RevokeHeader,
        SuperBlock,
        Tag, //
    },
    tid_newer, //
};
use crate::{
    bento::{
        Block,
        JournalArea, //
    },
    error::{
        code::*,
        Result, //
    },
    pr_err,
    user::{
        device::{
            BlockData,
            Device,
            BLOCK_SIZE, //
        },
        space::Tid, //
    },
};
use std::collections::HashMap;
use zerocopy::{
    big_endian::U64,
    FromBytes, //
};

/// What [`replay`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Transactions that were committed and not yet at their places.
    pub transactions: u32,
    /// Blocks written.
    pub blocks: u64,
    /// Blocks left out, since a later transaction revoked them.
    pub revoked: u64,
}

/// Whether a journal holds transactions that may have to be written to their places.
pub fn needs_replay(device: &dyn Device, start: Block, len: u64) -> Result<bool> {
    Ok(SuperBlock::read(device, JournalArea { start, len })?
        .start
        .get()
        != 0)
}

/// Writes all committed transactions to their places, and empties the journal.
///
/// # Errors
///
/// `EUCLEAN` if the journal is damaged: then blocks that are right may have been written, and the
/// journal is as it was. Else those of the device.
pub fn replay(device: &dyn Device, start: Block, len: u64) -> Result<Replayed> {
    let area = JournalArea { start, len };
    let mut super_block = SuperBlock::read(device, area)?;
    if super_block.start.get() == 0 {
        return Ok(Replayed::default());
    }
    let mut recovery = Recovery {
        device,
        area,
        seed: super_block.seed(),
        first: super_block.first.get(),
        start: super_block.start.get(),
        first_tid: super_block.sequence.get(),
        end_tid: super_block.sequence.get(),
        revoked: HashMap::new(),
        done: Replayed::default(),
    };
    recovery.scan()?;
    recovery.pass(Pass::Revoke)?;
    recovery.pass(Pass::Replay)?;
    device.flush()?;
    super_block.sequence = recovery.end_tid.wrapping_add(1).into();
    super_block.start = 0.into();
    super_block.write(device, area)?;
    Ok(recovery.done)
}

/// Empties a journal without a look at what is in it: for fsck, when [`replay`] found it damaged.
pub fn discard_log(device: &dyn Device, start: Block, len: u64) -> Result {
    let area = JournalArea { start, len };
    let mut super_block = SuperBlock::read(device, area)?;
    // More than the ring can hold, so that nothing in it is of an expected transaction.
    let ring = super_block.blocks.get();
    super_block.sequence = super_block.sequence.get().wrapping_add(ring).into();
    super_block.start = 0.into();
    super_block.write(device, area)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Revoke,
    Replay,
}

struct Recovery<'d> {
    device: &'d dyn Device,
    area: JournalArea,
    seed: u32,
    first: u32,
    start: u32,
    first_tid: Tid,
    /// The first transaction that is not committed.
    end_tid: Tid,
    /// The newest transaction that revokes a block.
    revoked: HashMap<Block, Tid>,
    done: Replayed,
}

/// A place in the ring. It goes round once at most, whatever the blocks say.
struct Position {
    at: u32,
    left: u32,
}

impl Recovery<'_> {
    fn begin(&self) -> Position {
        Position {
            at: self.start,
            left: self.area.len as u32 - self.first,
        }
    }

    /// Reads the next block of the ring; [`None`] when it has been round.
    fn next(&self, position: &mut Position, block: &mut BlockData) -> Result<Option<()>> {
        if position.left == 0 {
            return Ok(None);
        }
        self.device
            .read(self.area.start + u64::from(position.at), block)?;
        self.skip(position, 1);
        Ok(Some(()))
    }

    fn skip(&self, position: &mut Position, blocks: u32) {
        let blocks = blocks.min(position.left);
        position.left -= blocks;
        position.at += blocks;
        if u64::from(position.at) >= self.area.len {
            position.at -= self.area.len as u32 - self.first;
        }
    }

    /// Finds the first transaction without a commit block.
    fn scan(&mut self) -> Result {
        let mut position = self.begin();
        let mut block: BlockData = [0; BLOCK_SIZE];
        let mut last_time = (0, 0);
        // A block of the current transaction has a wrong checksum: it is an old one, unless a
        // commit block follows.
        let mut suspect = false;
        while self.next(&mut position, &mut block)?.is_some() {
            let Some(header) = own_header(&block, self.end_tid) else {
                break;
            };
            match header.kind.get() {
                format::DESCRIPTOR => {
                    suspect |= !format::block_sum_is_right(self.seed, &block);
                    self.skip(&mut position, tags(&block).count() as u32);
                }
                format::REVOKE => suspect |= !format::block_sum_is_right(self.seed, &block),
                format::COMMIT => {
                    let (commit, _) =
                        CommitHeader::read_from_prefix(&block).map_err(|_| EUCLEAN)?;
                    let time = (commit.seconds.get(), commit.nanoseconds.get());
                    if suspect || !commit_is_right(self.seed, &block) {
                        if time < last_time {
                            break;
                        }
                        pr_err!(
                            "bento: journal: wrong checksum in transaction {}",
                            self.end_tid
                        );
                        return Err(EUCLEAN);
                    }
                    last_time = time;
                    self.end_tid = self.end_tid.wrapping_add(1);
                    self.done.transactions += 1;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn pass(&mut self, pass: Pass) -> Result {
        let mut position = self.begin();
        let mut block: BlockData = [0; BLOCK_SIZE];
        let mut tid = self.first_tid;
        let mut damaged = false;
        while tid != self.end_tid && self.next(&mut position, &mut block)?.is_some() {
            let header = own_header(&block, tid).ok_or(EIO)?;
            match header.kind.get() {
                format::DESCRIPTOR if pass == Pass::Revoke => {
                    self.skip(&mut position, tags(&block).count() as u32);
                }
                format::DESCRIPTOR => {
                    let mut logged: BlockData = [0; BLOCK_SIZE];
                    for tag in tags(&block) {
                        self.next(&mut position, &mut logged)?.ok_or(EUCLEAN)?;
                        damaged |= !self.write_back(tid, &tag, &mut logged)?;
                    }
                }
                format::REVOKE if pass == Pass::Revoke => self.collect_revokes(tid, &block)?,
                format::COMMIT => tid = tid.wrapping_add(1),
                _ => {}
            }
        }
        match damaged {
            true => Err(EUCLEAN),
            false => Ok(()),
        }
    }

    fn collect_revokes(&mut self, tid: Tid, block: &BlockData) -> Result {
        let (header, _) = RevokeHeader::read_from_prefix(block).map_err(|_| EUCLEAN)?;
        let records = block[..format::RECORDS_END]
            .get(size_of::<RevokeHeader>()..header.count.get() as usize)
            .ok_or(EUCLEAN)?;
        for record in records.chunks_exact(size_of::<U64>()) {
            let revoked = U64::read_from_bytes(record).map_err(|_| EUCLEAN)?.get();
            let newest = self.revoked.entry(revoked).or_insert(tid);
            if tid_newer(tid, *newest) {
                *newest = tid;
            }
        }
        Ok(())
    }

    /// Writes a block to its place. False if it is damaged.
    fn write_back(&mut self, tid: Tid, tag: &Tag, logged: &mut BlockData) -> Result<bool> {
        let block = tag.block();
        if self
            .revoked
            .get(&block)
            .is_some_and(|newest| !tid_newer(tid, *newest))
        {
            self.done.revoked += 1;
            return Ok(true);
        }
        let in_journal = (self.area.start..self.area.start + self.area.len).contains(&block);
        if tag.checksum.get() != format::tag_sum(self.seed, tid, logged)
            || block >= self.device.blocks()
            || in_journal
        {
            pr_err!("bento: journal: transaction {tid}: damaged copy of block {block}");
            return Ok(false);
        }
        if tag.flags.get() & format::FLAG_ESCAPE != 0 {
            logged[..4].copy_from_slice(&format::MAGIC.to_be_bytes());
        }
        self.device.write(block, logged)?;
        self.done.blocks += 1;
        Ok(true)
    }
}

/// The header, if this is a block of the journal's own and of this transaction.
fn own_header(block: &BlockData, tid: Tid) -> Option<Header> {
    let (header, _) = Header::read_from_prefix(block).ok()?;
    (header.magic.get() == format::MAGIC && header.sequence.get() == tid).then_some(header)
}

/// The tags of a descriptor block.
fn tags(block: &BlockData) -> impl Iterator<Item = Tag> + '_ {
    let mut at = Some(size_of::<Header>());
    core::iter::from_fn(move || {
        let start = at?;
        let end = start + size_of::<Tag>();
        let bytes = block[..format::RECORDS_END].get(start..end)?;
        let tag = Tag::read_from_bytes(bytes).ok()?;
        let flags = tag.flags.get();
        at = match flags {
            _ if flags & format::FLAG_LAST != 0 => None,
            _ if flags & format::FLAG_SAME_UUID != 0 => Some(end),
            _ => Some(end + format::UUID),
        };
        Some(tag)
    })
}

/// Whether the checksum of a commit block is right, or would be if only its first sector had been
/// written.
fn commit_is_right(seed: u32, block: &BlockData) -> bool {
    const SECTOR: usize = 512;
    let Ok((commit, _)) = CommitHeader::read_from_prefix(block) else {
        return false;
    };
    let found = commit.checksum[0].get();
    if format::commit_sum(seed, block) == found {
        return true;
    }
    let mut partial: BlockData = [0; BLOCK_SIZE];
    partial[..SECTOR].copy_from_slice(&block[..SECTOR]);
    format::commit_sum(seed, &partial) == found
}
