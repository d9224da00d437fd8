// SPDX-License-Identifier: GPL-2.0

//! The arbiter over blocks that are not, or not yet, in the bitmaps.

use super::{
    Block,
    Ino,
    Volume, //
};
use crate::{
    error::{
        code::*,
        Result, //
    },
    user::space::From, //
};
use core::cell::RefCell;

/// What has been claimed through a [`Claims`].
#[derive(Default)]
pub(crate) struct ClaimLog {
    blocks: RefCell<Vec<(Block, u64)>>,
    inos: RefCell<Vec<Ino>>,
}

impl ClaimLog {
    /// The claimed blocks are marked in the bitmaps, or somebody else keeps them as pending.
    pub(crate) fn settle(&self, volume: &Volume) {
        for (start, len) in self.blocks.take() {
            volume.space.settle(start, len);
        }
        for ino in self.inos.take() {
            volume.space.settle_ino(ino);
        }
    }

    /// Gives everything back.
    pub(crate) fn drop_all(&self, volume: &Volume) {
        for (start, len) in self.blocks.take() {
            volume.space.unclaim(start, len);
        }
        for ino in self.inos.take() {
            volume.space.unclaim_ino(ino);
        }
    }

    /// Forgets a run that the caller keeps claimed.
    pub(crate) fn forget(&self, start: Block, len: u64) {
        self.remove(start, len);
    }

    fn remove(&self, start: Block, len: u64) {
        let end = start.saturating_add(len);
        let mut blocks = self.blocks.borrow_mut();
        let mut kept = Vec::with_capacity(blocks.len());
        for (at, len) in blocks.drain(..) {
            let to = at + len;
            if at < start {
                kept.push((at, to.min(start) - at));
            }
            if to > end {
                kept.push((at.max(end), to - at.max(end)));
            }
        }
        *blocks = kept;
    }
}

/// Claims blocks and inode numbers for one operation.
///
/// Look at the bitmap, claim, look again under the group's lock, and [`Claims::unclaim`] on
/// conflict. If the look, the claim and all setting of bits run under the group's lock, the second
/// look is not needed.
pub struct Claims<'a> {
    volume: &'a Volume,
    log: &'a ClaimLog,
    from: From,
}

impl<'a> Claims<'a> {
    pub(crate) fn new(volume: &'a Volume, log: &'a ClaimLog, from: From) -> Self {
        Self { volume, log, from }
    }

    /// Claims the longest prefix of `start..start + len` that nobody has claimed and that is not
    /// freed without having been committed. `Ok(0)` if the first block is not to be had.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if nothing is left to claim from.
    pub fn claim(&self, start: Block, len: u64) -> Result<u64> {
        let len = len.min(self.volume.blocks().saturating_sub(start));
        let len = self
            .volume
            .space
            .claim(start, len, self.from)
            .ok_or(ENOSPC)?;
        if len > 0 {
            self.log.blocks.borrow_mut().push((start, len));
        }
        Ok(len)
    }

    /// Gives back what [`Claims::claim`] gave.
    pub fn unclaim(&self, start: Block, len: u64) {
        self.log.remove(start, len);
        self.volume.space.unclaim(start, len);
    }

    /// The first block from `start` on that could be claimed; `end` if there is none before it.
    pub fn next_unclaimed(&self, start: Block, end: Block) -> Block {
        self.volume.space.next_unclaimed(start, end)
    }

    /// Claims an inode number: whether it was not claimed yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn claim_ino(&self, ino: Ino) -> Result<bool> {
        crate::alloc::check()?;
        let claimed = self.volume.space.claim_ino(ino);
        if claimed {
            self.log.inos.borrow_mut().push(ino);
        }
        Ok(claimed)
    }
}
