// SPDX-License-Identifier: GPL-2.0

//! A device in memory.

use super::{
    check_range,
    BlockData,
    Device,
    BLOCK_SIZE, //
};
use crate::{
    bento::Block,
    error::Result, //
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        PoisonError,
        RwLock, //
    },
};

/// A sparse device in memory. A clone is a device of its own that starts with the same content.
pub struct MemDevice {
    blocks: u64,
    content: RwLock<HashMap<Block, Arc<BlockData>>>,
}

impl MemDevice {
    /// A device of zeroes.
    pub fn new(blocks: u64) -> Self {
        Self {
            blocks,
            content: RwLock::default(),
        }
    }
}

impl MemDevice {
    /// Sets the content of a block of the device.
    pub(super) fn insert(&self, block: Block, data: Arc<BlockData>) {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        content.insert(block, data);
    }

    /// The content of a block of the device.
    pub(super) fn block(&self, block: Block) -> BlockData {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        content.get(&block).map_or([0; BLOCK_SIZE], |data| **data)
    }
}

impl Clone for MemDevice {
    fn clone(&self) -> Self {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        Self {
            blocks: self.blocks,
            content: RwLock::new(content.clone()),
        }
    }
}

impl Device for MemDevice {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: Block, out: &mut [u8]) -> Result {
        check_range(self.blocks, block, out.len())?;
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        for (at, out) in (block..).zip(out.chunks_exact_mut(BLOCK_SIZE)) {
            match content.get(&at) {
                Some(data) => out.copy_from_slice(&data[..]),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, block: Block, data: &[u8]) -> Result {
        check_range(self.blocks, block, data.len())?;
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        for (at, data) in (block..).zip(blocks_of(data)) {
            content.insert(at, Arc::new(*data));
        }
        Ok(())
    }

    fn flush(&self) -> Result {
        Ok(())
    }

    fn discard(&self, block: Block, len: u64) -> Result {
        self.zero(block, len)
    }

    fn zero(&self, block: Block, len: u64) -> Result {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        for at in block..block.saturating_add(len).min(self.blocks) {
            content.remove(&at);
        }
        Ok(())
    }
}

/// The blocks of a run: `as_chunks` is not in Rust 1.85.
pub(super) fn blocks_of(data: &[u8]) -> impl Iterator<Item = &BlockData> {
    data.chunks_exact(BLOCK_SIZE)
        .filter_map(|chunk| chunk.try_into().ok())
}
