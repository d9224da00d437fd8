// SPDX-License-Identifier: GPL-2.0

//! A device that fails on request.

use super::{
    Device,
    BLOCK_SIZE,
    SECTOR_SIZE, //
};
use crate::{
    bento::Block,
    error::{
        code::*,
        Result, //
    },
};
use std::sync::atomic::{
    AtomicBool,
    AtomicI64,
    AtomicU64,
    Ordering, //
};

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
}

/// A device whose n-th read, write or flush fails with `EIO`, alone or with all that follow.
///
/// ```
/// # use kernel::user::device::*;
/// let device = FaultDevice::new(MemDevice::new(1024));
/// device.fail(Operation::Flush, 2, false); // The third flush, and no other.
/// device.tear(5, 3); // Power goes while the sixth write is under way: three sectors are written.
/// ```
pub struct FaultDevice<D> {
    inner: D,
    plans: [Plan; 3],
    /// Sectors of the failing write that are written all the same.
    torn: AtomicU64,
}

#[derive(Default)]
struct Plan {
    seen: AtomicU64,
    /// Number of the one to fail; negative for none.
    fail_at: AtomicI64,
    stays: AtomicBool,
}

impl<D: Device> FaultDevice<D> {
    /// A device without faults.
    pub fn new(inner: D) -> Self {
        let plans: [Plan; 3] = Default::default();
        for plan in &plans {
            plan.fail_at.store(-1, Ordering::Relaxed);
        }
        Self {
            inner,
            plans,
            torn: AtomicU64::new(0),
        }
    }

    /// The device that this one stands before.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Lets the `n`-th (from 0) such operation from now on fail, and if `stays` all after it.
    pub fn fail(&self, operation: Operation, n: u64, stays: bool) {
        let plan = &self.plans[operation as usize];
        let at = plan.seen.load(Ordering::Relaxed).saturating_add(n);
        plan.stays.store(stays, Ordering::Relaxed);
        plan.fail_at.store(at as i64, Ordering::Relaxed);
    }

    /// Lets power go in the `n`-th (from 0) write from now on: only its first `sectors` sectors
    /// reach the medium, and every write and flush after it fails.
    pub fn tear(&self, n: u64, sectors: u64) {
        self.torn.store(sectors, Ordering::Relaxed);
        self.fail(Operation::Write, n, true);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.torn.store(0, Ordering::Relaxed);
        for plan in &self.plans {
            plan.fail_at.store(-1, Ordering::Relaxed);
        }
    }

    /// How many such operations there were.
    pub fn count(&self, operation: Operation) -> u64 {
        self.plans[operation as usize].seen.load(Ordering::Relaxed)
    }

    fn write_sectors(&self, block: Block, data: &[u8], sectors: u64) -> Result {
        let len = data.len().min(sectors as usize * SECTOR_SIZE);
        let mut torn = vec![0; len.next_multiple_of(BLOCK_SIZE)];
        self.inner.read(block, &mut torn)?;
        torn[..len].copy_from_slice(&data[..len]);
        self.inner.write(block, &torn)
    }

    fn check(&self, operation: Operation) -> Result {
        let plan = &self.plans[operation as usize];
        let this = plan.seen.fetch_add(1, Ordering::Relaxed) as i64;
        let at = plan.fail_at.load(Ordering::Relaxed);
        let stays = plan.stays.load(Ordering::Relaxed);
        match at >= 0 && (this == at || stays && this > at) {
            true => Err(EIO),
            false => Ok(()),
        }
    }
}

impl<D: Device> Device for FaultDevice<D> {
    fn blocks(&self) -> u64 {
        self.inner.blocks()
    }

    fn is_read_only(&self) -> bool {
        self.inner.is_read_only()
    }

    fn read(&self, block: Block, out: &mut [u8]) -> Result {
        self.check(Operation::Read)?;
        self.inner.read(block, out)
    }

    fn write(&self, block: Block, data: &[u8]) -> Result {
        let Err(error) = self.check(Operation::Write) else {
            return self.inner.write(block, data);
        };
        // The first that fails takes the number.
        let sectors = self.torn.swap(0, Ordering::Relaxed);
        if sectors > 0 {
            self.fail(Operation::Flush, 0, true);
            self.write_sectors(block, data, sectors)?;
        }
        Err(error)
    }

    fn flush(&self) -> Result {
        self.check(Operation::Flush)?;
        self.inner.flush()
    }

    fn discard(&self, block: Block, len: u64) -> Result {
        self.inner.discard(block, len)
    }

    fn zero(&self, block: Block, len: u64) -> Result {
        self.check(Operation::Write)?;
        self.inner.zero(block, len)
    }
}
