// SPDX-License-Identifier: GPL-2.0

//! The buffer cache: metadata blocks in memory.

use super::{
    device::{
        BlockData,
        Device,
        BLOCK_SIZE, //
    },
    fault, //
};
use crate::{
    bento::Block,
    error::{
        code::*,
        Result, //
    },
};
use std::{
    collections::HashMap,
    sync::{
        atomic::{
            AtomicBool,
            Ordering, //
        },
        Arc,
        Mutex,
        MutexGuard,
        PoisonError,
        RwLock,
        RwLockReadGuard,
        RwLockWriteGuard, //
    },
};

const SHARDS: usize = 16;
/// Blocks that a shard holds before it lets go of those that nobody uses: 64 MiB in all.
const SHARD_BLOCKS: usize = 1024;

/// A block in the cache.
pub(crate) struct Cached {
    block: Block,
    data: RwLock<Data>,
    checked: AtomicBool,
    /// Used since the shard was last swept.
    recent: AtomicBool,
}

struct Data {
    bytes: Box<BlockData>,
    uptodate: bool,
}

/// The blocks of a device. One that anybody has a reference to (a buffer, a transaction, the
/// checkpoint list) stays.
pub(crate) struct Cache {
    device: Arc<dyn Device>,
    shards: [Mutex<HashMap<Block, Arc<Cached>>>; SHARDS],
}

impl Cached {
    pub(crate) fn block(&self) -> Block {
        self.block
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Acquire)
    }

    pub(crate) fn set_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }

    pub(crate) fn bytes(&self) -> Bytes<'_> {
        Bytes(self.data.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn bytes_mut(&self) -> BytesMut<'_> {
        BytesMut(self.lock())
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Data> {
        self.data.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a block, shared.
pub(crate) struct Bytes<'a>(RwLockReadGuard<'a, Data>);

/// The content of a block, exclusive.
pub(crate) struct BytesMut<'a>(RwLockWriteGuard<'a, Data>);

impl core::ops::Deref for Bytes<'_> {
    type Target = BlockData;

    fn deref(&self) -> &BlockData {
        &self.0.bytes
    }
}

impl core::ops::Deref for BytesMut<'_> {
    type Target = BlockData;

    fn deref(&self) -> &BlockData {
        &self.0.bytes
    }
}

impl core::ops::DerefMut for BytesMut<'_> {
    fn deref_mut(&mut self) -> &mut BlockData {
        &mut self.0.bytes
    }
}

impl Cache {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        Self {
            device,
            shards: Default::default(),
        }
    }

    /// The block, read if it is not there.
    pub(crate) fn read(&self, block: Block) -> Result<Arc<Cached>> {
        if fault::hit(fault::Point::Read) {
            return Err(EIO);
        }
        let cached = self.get(block);
        if !cached
            .data
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .uptodate
        {
            let mut data = cached.lock();
            if !data.uptodate {
                self.device.read(block, &mut data.bytes[..])?;
                data.uptodate = true;
                cached.checked.store(false, Ordering::Release);
            }
        }
        Ok(cached)
    }

    /// The block, zero-filled and checked, without reading.
    pub(crate) fn create(&self, block: Block) -> Arc<Cached> {
        let cached = self.get(block);
        let mut data = cached.lock();
        data.bytes.fill(0);
        data.uptodate = true;
        drop(data);
        cached.set_checked();
        cached
    }

    /// Forgets a block that has been freed, or that was written behind the cache's back.
    pub(crate) fn forget(&self, block: Block) {
        self.shard(block).remove(&block);
    }

    /// Forgets everything: only while nobody uses the cache.
    pub(crate) fn forget_all(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn shard(&self, block: Block) -> MutexGuard<'_, HashMap<Block, Arc<Cached>>> {
        self.shards[block as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, block: Block) -> Arc<Cached> {
        let mut shard = self.shard(block);
        if let Some(cached) = shard.get(&block) {
            cached.recent.store(true, Ordering::Relaxed);
            return cached.clone();
        }
        if shard.len() >= SHARD_BLOCKS {
            shard.retain(|_, cached| {
                Arc::strong_count(cached) > 1 || cached.recent.swap(false, Ordering::Relaxed)
            });
        }
        let cached = Arc::new(Cached {
            block,
            data: RwLock::new(Data {
                bytes: Box::new([0; BLOCK_SIZE]),
                uptodate: false,
            }),
            checked: AtomicBool::new(false),
            recent: AtomicBool::new(true),
        });
        shard.insert(block, cached.clone());
        cached
    }
}
