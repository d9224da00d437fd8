// SPDX-License-Identifier: GPL-2.0

//! The journal: jbd2's format.

use super::{
    cache::Cached,
    space::Tid, //
};
use crate::{
    bento::{
        Block,
        Volume, //
    },
    error::{
        code::*,
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

/// A mounted volume's journal.
pub struct Journal {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    running: Running,
    aborted: bool,
}

/// The transaction that handles join.
struct Running {
    tid: Tid,
    handles: u32,
    buffers: BTreeMap<Block, Arc<Cached>>,
    revoked: BTreeSet<Block>,
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the running transaction.
    pub(crate) fn start(&self, _volume: &Volume, _credits: u32, _revokes: u32) -> Result<Tid> {
        let mut state = self.lock();
        if state.aborted {
            return Err(EROFS);
        }
        state.running.handles += 1;
        Ok(state.running.tid)
    }

    /// Leaves the running transaction.
    pub(crate) fn stop(&self, _credits: u32, _revokes: u32) {
        self.lock().running.handles -= 1;
        self.changed.notify_all();
    }

    /// Makes a block part of the running transaction.
    pub(crate) fn dirty(&self, cached: &Arc<Cached>) -> Result {
        let mut state = self.lock();
        if state.aborted {
            return Err(EROFS);
        }
        state.running.buffers.insert(cached.block(), cached.clone());
        Ok(())
    }

    /// Takes a freed metadata block out of the running transaction, and revokes its older copies.
    pub(crate) fn revoke(&self, block: Block) {
        let mut state = self.lock();
        state.running.buffers.remove(&block);
        state.running.revoked.insert(block);
    }

    /// Gives up: nothing is committed any more.
    pub(crate) fn abort(&self, why: fmt::Arguments<'_>) {
        let mut state = self.lock();
        if !state.aborted {
            pr_err!("bento: journal aborted: {why}");
        }
        state.aborted = true;
    }
}
