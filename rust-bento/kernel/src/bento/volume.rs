// SPDX-License-Identifier: GPL-2.0

//! The volume that a file system lies on.

use super::{
    Block,
    Buffer, //
};
use crate::{
    error::{
        code::*,
        Error,
        Result, //
    },
    pr_err,
    user::{
        cache::Cache,
        data::DataWrites,
        device::Device,
        journal::Journal,
        space::SpaceSets,
        types::{
            Errors,
            VolumeOptions, //
        }, //
    },
};
use core::fmt;
use std::sync::{
    atomic::{
        AtomicBool,
        AtomicU64,
        Ordering, //
    },
    Arc,
    OnceLock, //
};

/// Read access to a volume; given to every call.
pub struct Volume {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) cache: Cache,
    pub(crate) journal: OnceLock<Journal>,
    pub(crate) space: SpaceSets,
    pub(crate) data: DataWrites,
    pub(crate) read_only: AtomicBool,
    /// It was so from the beginning.
    mounted_read_only: bool,
    /// Freed blocks are discarded.
    discard: bool,
    errors: Errors,
    /// Damage was met.
    pub(crate) damaged: AtomicU64,
    /// Breaches of the contract by the file system, each with a message.
    pub(crate) breaches: AtomicU64,
}

impl Volume {
    pub(crate) fn new(device: Arc<dyn Device>, options: VolumeOptions) -> Self {
        let VolumeOptions {
            read_only,
            discard,
            errors,
        } = options;
        let mounted_read_only = read_only || device.is_read_only();
        Self {
            cache: Cache::new(device.clone()),
            read_only: AtomicBool::new(mounted_read_only),
            mounted_read_only,
            device,
            journal: OnceLock::new(),
            space: SpaceSets::default(),
            data: DataWrites::default(),
            discard,
            errors,
            damaged: AtomicU64::new(0),
            breaches: AtomicU64::new(0),
        }
    }

    /// Size of the device in blocks.
    pub fn blocks(&self) -> u64 {
        self.device.blocks()
    }

    /// Whether the volume is mounted read-only, or has become so.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Whether the volume was mounted read-only: nothing was ever written to it.
    pub(crate) fn is_mounted_read_only(&self) -> bool {
        self.mounted_read_only
    }

    /// Reads a metadata block, through the cache.
    ///
    /// # Errors
    ///
    /// `EUCLEAN` for a block at or behind [`Volume::blocks`]; `EIO`.
    pub fn read(&self, block: Block) -> Result<Buffer> {
        if block >= self.blocks() {
            return Err(self.corrupt(format_args!("block {block} is behind the end")));
        }
        Ok(Buffer::new(self.cache.read(block)?))
    }

    /// Starts to read blocks, and does not wait for them. Nothing here: the host reads ahead.
    pub fn readahead(&self, _block: Block, _count: u64) {}

    /// Reports damage: one message for each mount. Gives the error to return, `EUCLEAN`.
    pub fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        if self.damaged.fetch_add(1, Ordering::Relaxed) == 0 {
            pr_err!("bento: damaged: {what}");
        }
        if self.errors == Errors::RemountReadOnly {
            self.read_only.store(true, Ordering::Relaxed);
        }
        EUCLEAN
    }

    /// Reports why a volume cannot be mounted. Gives `error`.
    pub fn refuse(&self, error: Error, what: fmt::Arguments<'_>) -> Error {
        pr_err!("bento: cannot mount: {what}");
        error
    }

    pub(crate) fn discards(&self) -> bool {
        self.discard
    }

    /// Reports that the file system broke the contract.
    pub(crate) fn breach(&self, what: fmt::Arguments<'_>) {
        self.breaches.fetch_add(1, Ordering::Relaxed);
        pr_err!("bento: broken contract: {what}");
    }

    pub(crate) fn journal(&self) -> Result<&Journal> {
        self.journal.get().ok_or(EROFS)
    }
}
