// SPDX-License-Identifier: GPL-2.0

//! A volume with transactions, and no file system.

use super::{
    device::Device,
    journal::{
        self,
        Journal, //
    },
    space::Tid,
    types::VolumeOptions, //
};
use crate::{
    bento::{
        Handle,
        JournalArea,
        Space,
        Volume, //
    },
    error::{
        code::*,
        Result, //
    },
};
use core::sync::atomic::Ordering;
use std::sync::Arc;

/// A volume that transactions run on. [`Mount`](super::Mount) is built on it; tests of a part of a
/// file system use it alone.
///
/// Dropped without [`Session::close`], it leaves the device as a crash would.
pub struct Session {
    volume: Volume,
}

impl Session {
    /// Opens a volume, for reading at first.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self::with_options(device, VolumeOptions::default())
    }

    pub(crate) fn with_options(device: Arc<dyn Device>, options: VolumeOptions) -> Self {
        Self {
            volume: Volume::new(device, options),
        }
    }

    /// The volume.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Replays the journal, if that is needed. Buffers read before are of no use any more.
    pub fn replay(&self, area: JournalArea) -> Result {
        let device = &self.volume.device;
        if journal::needs_replay(device, area.start, area.len)? {
            if device.is_read_only() {
                return Err(EROFS);
            }
            journal::replay(device, area.start, area.len)?;
        }
        self.volume.cache.forget_all();
        Ok(())
    }

    /// Opens the journal, which has been replayed: transactions can run.
    pub fn open_journal(&self, area: JournalArea) -> Result {
        let journal = Journal::open(self.volume.device.clone(), area)?;
        self.volume.journal.set(journal).map_err(|_| EBUSY)
    }

    /// Sets the counters of free blocks and inodes. `pool` blocks may only be claimed for mapping
    /// trees.
    pub fn set_space(&self, space: &Space, pool: u64) {
        self.volume
            .space
            .set_free(space.free_blocks, space.free_inodes, pool);
    }

    /// Runs one operation under a handle.
    pub fn transact<R>(
        &self,
        credits: u32,
        revokes: u32,
        operation: impl FnOnce(&Handle<'_>) -> Result<R>,
    ) -> Result<R> {
        self.transact_tid(credits, revokes, operation)
            .map(|(value, _)| value)
    }

    pub(crate) fn transact_tid<R>(
        &self,
        credits: u32,
        revokes: u32,
        operation: impl FnOnce(&Handle<'_>) -> Result<R>,
    ) -> Result<(R, Tid)> {
        let handle = Handle::start(&self.volume, credits, revokes)?;
        let tid = handle.tid();
        let result = operation(&handle);
        Ok((handle.stop(result)?, tid))
    }

    /// Commits all that has been done: it is durable.
    pub fn commit(&self) -> Result {
        let journal = self.volume.journal()?;
        self.commit_tid(journal.newest())
    }

    /// Makes a transaction durable, and all data written before.
    pub(crate) fn commit_tid(&self, tid: Tid) -> Result {
        let data = &self.volume.data;
        let written = data.written();
        match self.volume.journal()?.commit(&self.volume, tid)? {
            // A commit flushes.
            true => {
                data.set_flushed(written);
                Ok(())
            }
            false => data.flush(&*self.volume.device, written),
        }
    }

    /// Commits, and writes everything to its place. The journal is empty then.
    pub fn close(&self) -> Result {
        self.volume.read_only.store(true, Ordering::Relaxed);
        self.volume.journal()?.close(&self.volume)
    }

    /// Breaches of the contract so far: each is a bug of the file system.
    pub fn breaches(&self) -> u64 {
        self.volume.breaches.load(Ordering::Relaxed)
    }

    /// How often damage was met so far.
    pub fn damage(&self) -> u64 {
        self.volume.damaged.load(Ordering::Relaxed)
    }
}
