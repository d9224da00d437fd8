// SPDX-License-Identifier: GPL-2.0

//! The journal: jbd2's on-disk format, read and written.
//!
//! One transaction runs and handles join it. A commit waits until they have ended, copies the
//! blocks, lets the next transaction run, and writes the copy to the log. What is committed stays
//! in memory until a checkpoint writes it to its place. There is no thread: whoever needs a commit
//! does it.

mod commit;
mod format;
mod recovery;

use self::commit::Log;
pub use self::{
    format::{
        look,
        mkjournal,
        remake,
        State as JournalState,
        MIN_BLOCKS, //
    },
    recovery::{
        discard_log,
        needs_replay,
        replay,
        Replayed, //
    },
};
use super::{
    cache::Cached,
    device::Device,
    space::Tid, //
};
use crate::{
    bento::{
        Block,
        JournalArea,
        Volume, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
    pr_err, //
};
use core::fmt;
use std::{
    collections::{
        BTreeMap,
        BTreeSet, //
    },
    sync::{
        Arc,
        Condvar,
        Mutex,
        MutexGuard,
        PoisonError, //
    },
};

/// Whether transaction `a` comes after `b`. Numbers wrap.
pub(crate) fn tid_newer(a: Tid, b: Tid) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// The journal of a volume that is mounted read-write.
///
/// Locks: `log`, then `state`. Whoever has a handle takes `state` only.
pub(crate) struct Journal {
    log: Mutex<Log>,
    state: Mutex<State>,
    /// A handle ended, or a new transaction runs.
    changed: Condvar,
    /// The greatest transaction, in blocks.
    limit: u32,
}

struct State {
    running: Running,
    /// A commit waits for the handles of the running transaction: no new ones.
    locked: bool,
    /// The newest committed transaction.
    committed: Tid,
    aborted: bool,
}

/// The transaction that handles join.
struct Running {
    tid: Tid,
    handles: u32,
    /// Credits of the handles, which may become blocks.
    reserved: u32,
    buffers: BTreeMap<Block, Arc<Cached>>,
    revoked: BTreeSet<Block>,
}

impl Running {
    fn new(tid: Tid) -> Self {
        Self {
            tid,
            handles: 0,
            reserved: 0,
            buffers: BTreeMap::new(),
            revoked: BTreeSet::new(),
        }
    }

    fn blocks(&self) -> u32 {
        self.buffers.len() as u32
            + self.reserved
            + self.revoked.len().div_ceil(format::REVOKES_PER_BLOCK) as u32
    }

    fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.revoked.is_empty() && self.handles == 0
    }
}

/// What a handle with these credits adds to a transaction at most.
fn reservation(credits: u32, revokes: u32) -> u32 {
    credits.saturating_add(revokes.div_ceil(format::REVOKES_PER_BLOCK as u32))
}

impl Journal {
    /// Takes over a journal that has been replayed.
    pub(crate) fn open(device: Arc<dyn Device>, area: JournalArea) -> Result<Self> {
        let (log, tid) = Log::open(device, area)?;
        Ok(Self {
            limit: log.len() / 3,
            log: Mutex::new(log),
            state: Mutex::new(State {
                running: Running::new(tid),
                locked: false,
                committed: tid.wrapping_sub(1),
                aborted: false,
            }),
            changed: Condvar::new(),
        })
    }

    /// The most credits that a handle can have: a quarter of what jbd2 allows a transaction, a
    /// third of the journal.
    pub(crate) fn limit(&self) -> u32 {
        self.limit / 4
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the running transaction. Waits for a commit if it is full.
    pub(crate) fn start(&self, volume: &Volume, credits: u32, revokes: u32) -> Result<Tid> {
        let reservation = reservation(credits, revokes);
        if reservation > self.limit() {
            volume.breach(format_args!(
                "{credits} credits and {revokes} revokes are more than a quarter of a transaction"
            ));
            return Err(ENOSPC);
        }
        let mut state = self.lock();
        loop {
            if state.aborted {
                return Err(EROFS);
            }
            if state.locked {
                state = self.wait(state);
            } else if state.running.blocks() + reservation > self.limit {
                let tid = state.running.tid;
                drop(state);
                self.commit(volume, tid)?;
                state = self.lock();
            } else {
                break;
            }
        }
        state.running.handles += 1;
        state.running.reserved += reservation;
        Ok(state.running.tid)
    }

    /// Leaves the running transaction.
    pub(crate) fn stop(&self, credits: u32, revokes: u32) {
        let mut state = self.lock();
        state.running.handles -= 1;
        state.running.reserved -= reservation(credits, revokes);
        if state.running.handles == 0 {
            self.changed.notify_all();
        }
    }

    /// Makes a block part of the running transaction, in which the caller has a handle.
    pub(crate) fn dirty(&self, cached: &Arc<Cached>) -> Result {
        let mut state = self.lock();
        if state.aborted {
            return Err(EROFS);
        }
        state
            .running
            .buffers
            .entry(cached.block())
            .or_insert_with(|| cached.clone());
        Ok(())
    }

    /// Takes a freed metadata block out of the running transaction, and revokes its older copies.
    pub(crate) fn revoke(&self, block: Block) {
        let mut state = self.lock();
        state.running.buffers.remove(&block);
        state.running.revoked.insert(block);
    }

    /// The running transaction, or the newest committed one if nothing has joined it.
    pub(crate) fn newest(&self) -> Tid {
        let state = self.lock();
        match state.running.is_empty() {
            true => state.running.tid.wrapping_sub(1),
            false => state.running.tid,
        }
    }

    /// Waits until a transaction is durable, and commits it if it runs. True if there was something
    /// to do: then all data written before is durable too.
    pub(crate) fn commit(&self, volume: &Volume, tid: Tid) -> Result<bool> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if state.aborted {
            return Err(EIO);
        }
        if !tid_newer(tid, state.committed) {
            return Ok(false);
        }
        state.locked = true;
        while state.running.handles > 0 {
            state = self.wait(state);
        }
        // A handle may have aborted it. And one that is empty has no use for its number, which
        // recovery would miss.
        if state.aborted || state.running.is_empty() {
            state.locked = false;
            self.changed.notify_all();
            return if state.aborted { Err(EIO) } else { Ok(false) };
        }
        let image = log.image(&state.running);
        let tid = state.running.tid;
        state.running = Running::new(tid.wrapping_add(1));
        state.locked = false;
        self.changed.notify_all();
        drop(state);

        let result = log.commit(tid, image);
        if let Err(error) = result {
            self.abort(format_args!("commit failed: {error:?}"));
            return Err(error);
        }
        if volume.discards() {
            for (start, len) in volume.space.freed_by(tid) {
                // Advice only.
                let _ = volume.device.discard(start, len);
            }
        }
        volume.space.release(tid);
        self.lock().committed = tid;
        Ok(true)
    }

    /// Gives up: nothing is committed any more.
    pub(crate) fn abort(&self, why: fmt::Arguments<'_>) {
        let mut state = self.lock();
        if !state.aborted {
            pr_err!("bento: journal aborted: {why}");
        }
        state.aborted = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.lock().aborted
    }

    /// Commits what runs, writes all to its place, and marks the journal as empty. No handle may be
    /// open.
    pub(crate) fn close(&self, volume: &Volume) -> Result {
        self.commit(volume, self.newest())?;
        let next = self.lock().running.tid;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.close(next)
            .inspect_err(|error: &Error| self.abort(format_args!("checkpoint failed: {error:?}")))
    }
}
