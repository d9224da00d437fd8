// SPDX-License-Identifier: GPL-2.0

//! A device whose writes stay in memory until they are wanted.

use super::{
    check_range,
    BlockData,
    Device,
    BLOCK_SIZE, //
};
use crate::error::Result;
use std::{
    collections::BTreeMap,
    sync::{
        PoisonError,
        RwLock,
        RwLockReadGuard,
        RwLockWriteGuard, //
    },
};

/// Blocks that were written, by their number.
type Blocks = BTreeMap<u64, Box<BlockData>>;

/// A device seen through the writes that were made to it. Only [`Overlay::commit`] writes.
pub struct Overlay<'d> {
    device: &'d dyn Device,
    blocks: RwLock<Blocks>,
}

impl<'d> Overlay<'d> {
    /// Over `device`, without any change.
    pub fn new(device: &'d dyn Device) -> Self {
        Self {
            device,
            blocks: RwLock::default(),
        }
    }

    fn blocks(&self) -> RwLockReadGuard<'_, Blocks> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn blocks_mut(&self) -> RwLockWriteGuard<'_, Blocks> {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything was written.
    pub fn is_changed(&self) -> bool {
        !self.blocks().is_empty()
    }

    /// Writes to the device all that was written here: `last` after the others are durable, in this
    /// order.
    pub fn commit(&self, last: &[u64]) -> Result {
        let blocks = std::mem::take(&mut *self.blocks_mut());
        for (block, data) in blocks.iter().filter(|(block, _)| !last.contains(block)) {
            self.device.write(*block, &data[..])?;
        }
        self.device.flush()?;
        for block in last {
            if let Some(data) = blocks.get(block) {
                self.device.write(*block, &data[..])?;
                self.device.flush()?;
            }
        }
        Ok(())
    }
}

impl Device for Overlay<'_> {
    fn blocks(&self) -> u64 {
        self.device.blocks()
    }

    fn read(&self, block: u64, out: &mut [u8]) -> Result {
        self.device.read(block, out)?;
        let len = (out.len() / BLOCK_SIZE) as u64;
        for (at, data) in self.blocks().range(block..block.saturating_add(len)) {
            let offset = (at - block) as usize * BLOCK_SIZE;
            if let Some(out) = out.get_mut(offset..offset + BLOCK_SIZE) {
                out.copy_from_slice(&data[..]);
            }
        }
        Ok(())
    }

    fn write(&self, block: u64, data: &[u8]) -> Result {
        check_range(self.device.blocks(), block, data.len())?;
        let mut blocks = self.blocks_mut();
        for (at, data) in (block..).zip(data.chunks_exact(BLOCK_SIZE)) {
            let mut copy = Box::new([0; BLOCK_SIZE]);
            copy.copy_from_slice(data);
            blocks.insert(at, copy);
        }
        Ok(())
    }

    fn flush(&self) -> Result {
        Ok(())
    }
}
