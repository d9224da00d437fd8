// SPDX-License-Identifier: GPL-2.0

//! Handles: a running transaction, as one operation sees it.

use super::{
    Block,
    BlockUse,
    Buffer,
    ClaimLog,
    Claims,
    Inode,
    Volume,
    Writable, //
};
use crate::{
    error::{
        code::*,
        Result, //
    },
    user::{
        fault::{
            self,
            Point, //
        },
        journal::Journal,
        space::{
            From,
            Tid, //
        },
    },
};
use core::{
    cell::{
        Cell,
        RefCell, //
    },
    marker::PhantomData,
};
use std::collections::BTreeSet;

/// A running transaction. One operation has it, and ends it.
pub struct Handle<'a> {
    volume: &'a Volume,
    journal: &'a Journal,
    tid: Tid,
    credits: u32,
    revokes: u32,
    /// Blocks that write access was taken to.
    accessed: RefCell<BTreeSet<Block>>,
    /// A byte may have changed.
    stored: Cell<bool>,
    ended: Cell<bool>,
    claims: ClaimLog,
    freed: RefCell<Vec<(Block, u64, BlockUse)>>,
    _not_send: PhantomData<*const ()>,
}

impl<'a> Handle<'a> {
    /// Starts a handle. May wait for a commit.
    pub(crate) fn start(volume: &'a Volume, credits: u32, revokes: u32) -> Result<Self> {
        if volume.is_read_only() {
            return Err(EROFS);
        }
        let journal = volume.journal()?;
        let tid = journal.start(volume, credits, revokes)?;
        Ok(Self {
            volume,
            journal,
            tid,
            credits,
            revokes,
            accessed: RefCell::default(),
            stored: Cell::new(false),
            ended: Cell::new(false),
            claims: ClaimLog::default(),
            freed: RefCell::default(),
            _not_send: PhantomData,
        })
    }

    /// Ends the handle with the operation's result. After an error behind the first store the
    /// journal is aborted.
    pub(crate) fn stop<R>(self, result: Result<R>) -> Result<R> {
        if result.is_ok() {
            self.claims.settle(self.volume);
            for (start, len, was) in self.freed.take() {
                if was == BlockUse::Metadata {
                    for block in start..start + len {
                        self.journal.revoke(block);
                        self.volume.cache.forget(block);
                    }
                }
            }
        } else {
            self.undo();
        }
        self.ended.set(true);
        self.journal.stop(self.credits, self.revokes);
        result
    }

    fn undo(&self) {
        if self.stored.get() {
            self.journal
                .abort(format_args!("an operation failed after its first store"));
        }
        self.claims.drop_all(self.volume);
        for (start, len, _) in self.freed.take() {
            self.volume.space.unfree_run(start, len);
        }
    }

    /// The transaction.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// The volume.
    pub fn volume(&self) -> &Volume {
        self.volume
    }

    fn access(&self, block: Block) -> Result {
        if fault::hit(Point::Access) {
            return Err(ENOMEM);
        }
        let mut accessed = self.accessed.borrow_mut();
        if accessed.insert(block) && accessed.len() > self.credits as usize {
            self.volume.breach(format_args!(
                "write access to more than the {} blocks that the handle has credits for",
                self.credits
            ));
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Takes write access to a buffer; nothing is journaled before the first store.
    pub fn write<'h>(&'h self, buffer: &Buffer) -> Result<Writable<'h>> {
        self.access(buffer.block())?;
        Ok(Writable::new(Buffer::new(buffer.cached().clone()), self))
    }

    /// Takes write access to a block newly allocated to metadata: zero-filled, and checked.
    pub fn create<'h>(&'h self, block: Block) -> Result<Writable<'h>> {
        if block >= self.volume.blocks() {
            return Err(EUCLEAN);
        }
        self.access(block)?;
        Ok(Writable::new(
            Buffer::new(self.volume.cache.create(block)),
            self,
        ))
    }

    /// Takes write access to a block whose content nobody needs, without reading it: it is zero-filled
    /// at once. Who stores makes sure that nobody begins this afterwards.
    pub fn write_unread<'h>(&'h self, block: Block) -> Result<Writable<'h>> {
        self.create(block)
    }

    /// Claims from free space: blocks of directories, symbolic links, groups.
    pub fn claims(&self) -> Claims<'_> {
        Claims::new(self.volume, &self.claims, From::Free)
    }

    /// Claims from the inode's reservation, then from the pool: blocks of extent trees.
    pub fn tree_claims<T: Copy>(&self, _inode: Inode<'_, T>) -> Claims<'_> {
        Claims::new(self.volume, &self.claims, From::Pool)
    }

    /// Enters blocks into the freed set: to be called before their bits are cleared. They are not
    /// free before the transaction has committed.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` if a block is behind the end, claimed, or being freed already; `ENOSPC` if the
    /// handle has no credits for so many revoke records.
    pub fn free(&self, start: Block, len: u64, was: BlockUse) -> Result {
        let end = start.checked_add(len).ok_or(EUCLEAN)?;
        if end > self.volume.blocks() {
            return Err(self.volume.corrupt(format_args!(
                "blocks {start}..{end} to free are behind the end"
            )));
        }
        let mut freed = self.freed.borrow_mut();
        if was == BlockUse::Metadata {
            let revokes: u64 = freed
                .iter()
                .filter(|(_, _, was)| *was == BlockUse::Metadata)
                .map(|(_, len, _)| len)
                .sum();
            if revokes + len > u64::from(self.revokes) {
                self.volume.breach(format_args!(
                    "more than the {} revoke records that the handle has credits for",
                    self.revokes
                ));
                return Err(ENOSPC);
            }
        }
        if len > 0 {
            if !self.volume.space.free_run(start, len, self.tid) {
                return Err(self
                    .volume
                    .corrupt(format_args!("blocks {start}..{end} are freed twice")));
            }
            freed.push((start, len, was));
        }
        Ok(())
    }

    /// Marks a buffer dirty, before a byte of it changes.
    pub(crate) fn dirty(&self, buffer: &Buffer) -> Result {
        if fault::hit(Point::Store) {
            return Err(EIO);
        }
        self.journal.dirty(buffer.cached())?;
        self.stored.set(true);
        Ok(())
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // Only when the operation panicked.
        if !self.ended.get() {
            self.undo();
            self.journal.stop(self.credits, self.revokes);
        }
    }
}
