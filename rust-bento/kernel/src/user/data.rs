// SPDX-License-Identifier: GPL-2.0

//! Writes of data, and whether they have been flushed: many that wait for their data share a flush.

use super::device::Device;
use crate::{
    bento::Block,
    error::Result, //
};
use std::sync::{
    atomic::{
        AtomicU64,
        Ordering, //
    },
    Mutex,
    PoisonError, //
};

/// Counts the writes of data to a device.
#[derive(Default)]
pub(crate) struct DataWrites {
    ended: AtomicU64,
    /// So many of them are durable.
    flushed: AtomicU64,
    flushing: Mutex<()>,
}

impl DataWrites {
    /// Writes data.
    pub(crate) fn write(&self, device: &dyn Device, block: Block, data: &[u8]) -> Result {
        let result = device.write(block, data);
        // Also after an error: some of it may have been written.
        self.ended.fetch_add(1, Ordering::AcqRel);
        result
    }

    /// Writes zeroes.
    pub(crate) fn zero(&self, device: &dyn Device, block: Block, len: u64) -> Result {
        let result = device.zero(block, len);
        self.ended.fetch_add(1, Ordering::AcqRel);
        result
    }

    /// The number of writes that have ended.
    pub(crate) fn written(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Remembers that the device was flushed when so many writes had ended.
    pub(crate) fn set_flushed(&self, written: u64) {
        self.flushed.fetch_max(written, Ordering::AcqRel);
    }

    /// Makes the first `written` writes durable, if nobody has done so.
    pub(crate) fn flush(&self, device: &dyn Device, written: u64) -> Result {
        let is_flushed = || self.flushed.load(Ordering::Acquire) >= written;
        if is_flushed() {
            return Ok(());
        }
        let _one = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have done it while this waited.
        if is_flushed() {
            return Ok(());
        }
        let covered = self.written();
        device.flush()?;
        self.set_flushed(covered);
        Ok(())
    }
}
