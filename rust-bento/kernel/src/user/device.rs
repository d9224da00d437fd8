// SPDX-License-Identifier: GPL-2.0

//! Block devices.

mod faulty;
mod file;
mod memory;
mod overlay;
mod record;

pub use self::{
    faulty::{
        FaultDevice,
        Operation, //
    },
    file::FileDevice,
    memory::MemDevice,
    overlay::Overlay,
    record::{
        Crashes,
        Log,
        Reached,
        RecordingDevice, //
    }, //
};
use crate::{
    bento::Block,
    error::Result, //
};
use std::sync::Arc;

/// Size of a block in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Size in bytes of what a device never writes in part.
pub const SECTOR_SIZE: usize = 512;

/// The bytes of a block.
pub type BlockData = [u8; BLOCK_SIZE];

/// A device of 4 KiB blocks, used by many threads.
///
/// A write may stay in a volatile cache until the next [`Device::flush`], and may reach the medium
/// in any order with others up to there.
pub trait Device: Send + Sync {
    /// Size in blocks.
    fn blocks(&self) -> u64;

    /// Whether every write fails.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Reads `out.len() / BLOCK_SIZE` blocks.
    fn read(&self, block: Block, out: &mut [u8]) -> Result;

    /// Writes `data.len() / BLOCK_SIZE` blocks.
    fn write(&self, block: Block, data: &[u8]) -> Result;

    /// Makes all writes durable that ended before.
    fn flush(&self) -> Result;

    /// Says that the content of blocks is not needed any more: they may read as anything.
    fn discard(&self, _block: Block, _len: u64) -> Result {
        Ok(())
    }

    /// Makes blocks read as zeroes.
    fn zero(&self, block: Block, len: u64) -> Result {
        write_zeroes(self, block, len)
    }
}

impl<D: Device + ?Sized> Device for Arc<D> {
    fn blocks(&self) -> u64 {
        (**self).blocks()
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }

    fn read(&self, block: Block, out: &mut [u8]) -> Result {
        (**self).read(block, out)
    }

    fn write(&self, block: Block, data: &[u8]) -> Result {
        (**self).write(block, data)
    }

    fn flush(&self) -> Result {
        (**self).flush()
    }

    fn discard(&self, block: Block, len: u64) -> Result {
        (**self).discard(block, len)
    }

    fn zero(&self, block: Block, len: u64) -> Result {
        (**self).zero(block, len)
    }
}

/// Checks that `bytes` are whole blocks within a device of `blocks`, and gives the first one's
/// offset in bytes.
fn check_range(blocks: u64, block: Block, bytes: usize) -> Result<u64> {
    let len = (bytes / BLOCK_SIZE) as u64;
    match block.checked_add(len) {
        Some(end) if end <= blocks && bytes % BLOCK_SIZE == 0 => Ok(block * BLOCK_SIZE as u64),
        _ => Err(crate::error::code::EIO),
    }
}

/// Writes zeroes, in steps of 1 MiB.
fn write_zeroes<D: Device + ?Sized>(device: &D, block: Block, len: u64) -> Result {
    const STEP: u64 = 256;
    let zeroes = vec![0; len.min(STEP) as usize * BLOCK_SIZE];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(STEP);
        device.write(block + done, &zeroes[..step as usize * BLOCK_SIZE])?;
        done += step;
    }
    Ok(())
}
